//! The server: listens, answers until it is asked to stop, and lets requests finish.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware;
use axum::response::Response;
use axum_server::Handle;
use axum_server::accept::DefaultAcceptor;
use axum_server::tls_rustls::RustlsAcceptor;
use tokio::net::TcpListener;

use super::connections::Connections;
use super::tls::Tls;
use crate::ops::shutdown::Shutdown;

/// Largest head of a request: the longest token and a browser's cookie fit.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Answers requests until `shutdown`, then finishes those that are under way, within `drain`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Tls>,
    connections: Connections,
    shutdown: Shutdown,
    drain: Duration,
) -> std::io::Result<()> {
    let handle: Handle<SocketAddr> = Handle::new();
    let router = match tls {
        None => router,
        Some(_) => router.layer(middleware::map_response(only_over_tls)),
    };
    let app = router.into_make_service_with_connect_info::<SocketAddr>();
    let stop = {
        let handle = handle.clone();
        let mut shutdown = shutdown;
        async move {
            shutdown.requested().await;
            handle.graceful_shutdown(Some(drain));
        }
    };
    let stop = tokio::spawn(stop);
    let mut server = axum_server::from_tcp(listener.into_std()?)?
        .handle(handle.clone())
        .http1_only();
    let mut http = server.http_builder().http1();
    http.max_buf_size(HEAD_BYTES_MAX)
        .header_read_timeout(connections.idle_timeout());
    let served = match tls {
        None => {
            let acceptor = connections.before(DefaultAcceptor::new(), true);
            server.acceptor(acceptor).serve(app).await
        }
        Some(tls) => {
            let acceptor = RustlsAcceptor::new(tls.into());
            let acceptor = acceptor.handshake_timeout(connections.head_timeout());
            let acceptor = connections.before(acceptor, false);
            server.acceptor(acceptor).serve(app).await
        }
    };
    stop.abort();
    let unfinished = handle.connection_count();
    if unfinished > 0 {
        tracing::warn!(
            event = "http.unfinished",
            connections = unfinished,
            "some requests did not finish before shutdown; clients should retry"
        );
    }
    served
}

/// Browsers that were here once come back over TLS alone.
async fn only_over_tls(mut response: Response) -> Response {
    const A_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");
    let headers = response.headers_mut();
    headers.insert(header::STRICT_TRANSPORT_SECURITY, A_YEAR);
    response
}
