//! Requests to S3: by hyper and rustls, as those to DynamoDB, and signed with AWS's own chain of
//! credentials.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::TokioExecutor;
use object_store::aws::AwsCredential;
use object_store::client::{
    ClientOptions, CredentialProvider, HttpClient, HttpConnector, HttpError, HttpErrorKind,
    HttpRequest, HttpRequestBody, HttpResponse, HttpService,
};

/// A request and its answer take no longer: a file has some ten megabytes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// So long before they expire, credentials are asked for again.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);

/// Connects to S3, or to a server that speaks its protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connector {
    /// Without TLS, and without a look at the machine's root certificates, which may be missing.
    pub(super) is_plain: bool,
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let builder = Client::builder(TokioExecutor::new());
        if self.is_plain {
            return Ok(HttpClient::new(Hyper(builder.build(Tcp::new()))));
        }
        let provider = rustls::crypto::ring::default_provider();
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .map_err(|error| object_store::Error::Generic {
                store: "S3",
                source: Box::new(error),
            })?;
        let tls: HttpsConnector<Tcp> = tls.https_only().enable_http1().build();
        Ok(HttpClient::new(Hyper(builder.build(tls))))
    }
}

#[derive(Debug)]
struct Hyper<C>(Client<C, HttpRequestBody>);

#[async_trait]
impl<C> HttpService for Hyper<C>
where
    C: hyper_util::client::legacy::connect::Connect
        + Clone
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answered = async {
            let answer = self.0.request(request).await.map_err(|error| {
                let kind = match error.is_connect() {
                    true => HttpErrorKind::Connect,
                    false => HttpErrorKind::Request,
                };
                HttpError::new(kind, error)
            })?;
            let (parts, body) = answer.into_parts();
            let body = body.collect().await;
            let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error))?;
            Ok(HttpResponse::from_parts(parts, body.to_bytes().into()))
        };
        match tokio::time::timeout(REQUEST_TIMEOUT, answered).await {
            Ok(answer) => answer,
            Err(error) => Err(HttpError::new(HttpErrorKind::Timeout, error)),
        }
    }
}

/// Credentials of AWS's chain, kept until shortly before they expire.
#[derive(Debug)]
pub(super) struct CachedCredentials {
    chain: SharedCredentialsProvider,
    kept: tokio::sync::Mutex<Option<(Arc<AwsCredential>, Option<SystemTime>)>>,
}

impl CachedCredentials {
    pub(super) fn of(chain: SharedCredentialsProvider) -> CachedCredentials {
        CachedCredentials {
            chain,
            kept: tokio::sync::Mutex::default(),
        }
    }
}

#[async_trait]
impl CredentialProvider for CachedCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut kept = self.kept.lock().await;
        let lives = |expires: Option<SystemTime>| {
            expires.is_none_or(|at| SystemTime::now() + RENEWED_BEFORE < at)
        };
        if let Some((credential, expires)) = &*kept
            && lives(*expires)
        {
            return Ok(Arc::clone(credential));
        }
        let found = self.chain.provide_credentials().await;
        let found = found.map_err(|error| object_store::Error::Generic {
            store: "S3",
            source: Box::new(error),
        })?;
        let credential = Arc::new(AwsCredential {
            key_id: found.access_key_id().to_owned(),
            secret_key: found.secret_access_key().to_owned(),
            token: found.session_token().map(str::to_owned),
        });
        *kept = Some((Arc::clone(&credential), found.expiry()));
        Ok(credential)
    }
}
