//! TLS by rustls, for who has no proxy before the service.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate chain and its key.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ServerConfig>);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("cannot read {wanted} from {file}: {error}; it must be a PEM file")]
    File {
        /// Which.
        file: PathBuf,
        /// What it should contain.
        wanted: &'static str,
        /// Why.
        error: rustls::pki_types::pem::Error,
    },
    /// A PEM file contains something else.
    #[error(
        "{file} does not contain {wanted} (-----BEGIN {label}-----); check tls_certificate and tls_key, which may be swapped"
    )]
    Missing {
        /// Which.
        file: PathBuf,
        /// What it should contain.
        wanted: &'static str,
        /// How that begins.
        label: &'static str,
    },
    /// Certificate and key do not go together.
    #[error(
        "the certificate in {certificate} and the key in {key} cannot be used together: {error}"
    )]
    Unusable {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        error: rustls::Error,
    },
}

/// What a file should contain.
struct PemFile<'f> {
    file: &'f Path,
    what: &'static str,
    label: &'static str,
}

impl PemFile<'_> {
    fn missing(&self) -> TlsError {
        TlsError::Missing {
            file: self.file.to_owned(),
            wanted: self.what,
            label: self.label,
        }
    }

    fn error(&self, error: pem::Error) -> TlsError {
        match error {
            pem::Error::NoItemsFound => self.missing(),
            error => TlsError::File {
                file: self.file.to_owned(),
                wanted: self.what,
                error,
            },
        }
    }
}

impl Tls {
    /// Reads the files. TLS 1.2 and 1.3; HTTP/1.1.
    pub fn load(certificate: &Path, key: &Path) -> Result<Tls, TlsError> {
        let wanted = PemFile {
            file: certificate,
            what: "a certificate chain",
            label: "CERTIFICATE",
        };
        let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
        let chain: Vec<CertificateDer<'static>> = chain.map_err(|error| wanted.error(error))?;
        if chain.is_empty() {
            return Err(wanted.missing());
        }
        let wanted = PemFile {
            file: key,
            what: "a private key",
            label: "PRIVATE KEY",
        };
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wanted.error(error))?;
        let unusable = |error| TlsError::Unusable {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            error,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls(Arc::new(config)))
    }
}

impl From<Tls> for RustlsConfig {
    fn from(Tls(config): Tls) -> RustlsConfig {
        RustlsConfig::from_config(config)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::Tls;

    fn load(certificate: &Path, key: &Path) -> String {
        let loaded = Tls::load(certificate, key);
        loaded
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn a_file_without_its_part_is_named_with_what_it_lacks() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/http/fixtures");
        let (certificate, key) = (fixtures.join("certificate.pem"), fixtures.join("key.pem"));
        assert_eq!(load(&certificate, &key), "");
        let folder = tempfile::tempdir().expect("a folder");
        let empty = folder.path().join("empty.pem");
        fs::write(&empty, "").expect("a file");
        for (error, lacks) in [
            (
                load(&key, &certificate),
                "key.pem does not contain a certificate chain",
            ),
            (
                load(&empty, &key),
                "empty.pem does not contain a certificate chain",
            ),
            (
                load(&certificate, &empty),
                "empty.pem does not contain a private key",
            ),
            (
                load(&certificate, &certificate),
                "certificate.pem does not contain a private key",
            ),
            (
                load(&folder.path().join("no.pem"), &key),
                "cannot read a certificate chain",
            ),
        ] {
            assert!(error.contains(lacks), "{error}");
        }
        assert!(load(&key, &certificate).contains("may be swapped"));
    }
}
