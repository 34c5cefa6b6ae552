//! TLS by rustls, for who has no proxy before the service.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate chain and its key.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ServerConfig>);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("{file}: {error}; it must hold {wanted} as PEM")]
    File {
        /// Which.
        file: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// Why.
        error: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not go together.
    #[error("certificate and key cannot be used together: {0}")]
    Unusable(#[from] rustls::Error),
}

impl Tls {
    /// Reads the files. TLS 1.2 and 1.3; HTTP/1.1.
    pub fn load(certificate: &Path, key: &Path) -> Result<Tls, TlsError> {
        let of = |file: &Path, wanted| {
            let file = file.to_owned();
            move |error| TlsError::File {
                file,
                wanted,
                error,
            }
        };
        let no_chain = of(certificate, "a certificate chain");
        let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
        let chain: Vec<CertificateDer<'static>> = chain.map_err(no_chain)?;
        let no_key = of(key, "a private key");
        let key = PrivateKeyDer::from_pem_file(key).map_err(no_key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls(Arc::new(config)))
    }
}

impl From<Tls> for RustlsConfig {
    fn from(Tls(config): Tls) -> RustlsConfig {
        RustlsConfig::from_config(config)
    }
}
