//! What the AWS client sends its requests through, in place of a network.

use std::io;
use std::path::Path;
use std::sync::Arc;

use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::config::{HttpClient, RuntimeComponents};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use hyper::Response;

use super::engine::{Answer, Lost, Queue};
use super::socket::{SocketAddress, SocketError};

/// Where the AWS client believes to send its requests to. The name cannot exist (RFC 6761).
pub(in crate::store) const ENDPOINT: &str = "http://embedded.invalid";

/// A way to an embedded store: to that of this process, or over the Unix socket of another. Cheap
/// to clone.
#[derive(Clone, Debug)]
pub struct EmbeddedClient(Way);

#[derive(Clone, Debug)]
enum Way {
    Process(Arc<Queue>),
    Socket(Arc<SocketAddress>),
}

impl EmbeddedClient {
    pub(super) fn of_process(queue: Arc<Queue>) -> EmbeddedClient {
        EmbeddedClient(Way::Process(queue))
    }

    /// To the process that serves the store in `dir` over its Unix socket. Nothing is sent yet.
    pub fn over_socket(dir: &Path) -> EmbeddedClient {
        EmbeddedClient(Way::Socket(Arc::new(SocketAddress::of(dir))))
    }

    /// The engine of this process, if it is that.
    pub(in crate::store) fn engine(&self) -> Option<&Arc<Queue>> {
        match &self.0 {
            Way::Process(queue) => Some(queue),
            Way::Socket(_) => None,
        }
    }

    async fn send(self, target: String, body: Bytes) -> Result<Answer, ConnectorError> {
        match self.0 {
            Way::Process(queue) => queue.ask(target, body).await.map_err(|lost| match lost {
                Lost::Closed => never_sent(lost),
                Lost::Failed => ConnectorError::io(lost.into()),
            }),
            Way::Socket(address) => address
                .ask(target, body)
                .await
                .map_err(|error| match error {
                    SocketError::Connect { .. } => never_sent(error),
                    SocketError::Exchange(_) => ConnectorError::io(error.into()),
                }),
        }
    }
}

/// The request was surely not applied. The kind of the inner error is what tells
/// (`dynamo/retry.rs`).
fn never_sent(error: impl std::error::Error + Send + Sync + 'static) -> ConnectorError {
    let error = io::Error::new(io::ErrorKind::ConnectionRefused, error);
    ConnectorError::io(error.into()).never_connected()
}

impl HttpClient for EmbeddedClient {
    /// Time-outs are the SDK's: it stops waiting for the answer.
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for EmbeddedClient {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.clone();
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target");
            let target = target.unwrap_or_default().to_owned();
            // Requests of DynamoDB are never streams.
            let body = request.body().bytes().map(Bytes::copy_from_slice);
            let answer = client.send(target, body.unwrap_or_default()).await?;
            response(answer).map_err(|error| ConnectorError::other(error, None))
        })
    }
}

fn response(answer: Answer) -> Result<HttpResponse, Box<dyn std::error::Error + Send + Sync>> {
    let response = Response::builder()
        .status(answer.status)
        .header("content-type", "application/x-amz-json-1.0")
        .body(SdkBody::from(answer.body))?;
    Ok(HttpResponse::try_from(response)?)
}
