//! By which names the service may be called.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use crate::ops::config::PublicOrigin;

/// Who may ask by which name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Only names of this machine, in the `Host` header.
    Loopback,
    /// Any.
    Any,
}

/// Answers requests to names of this machine, and to the one by which a proxy before it is known.
pub(super) async fn only_known_hosts(
    State(public): State<Option<PublicOrigin>>,
    request: Request,
    next: Next,
) -> Response {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let is_public =
        |public: &PublicOrigin| host.is_some_and(|host| host.eq_ignore_ascii_case(&public.host));
    if is_loopback_host(request.headers()) || public.as_ref().is_some_and(is_public) {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "foreign_host",
        "the Host header must be localhost, 127.0.0.1, [::1] or the host of http.public_origin",
    )
    .into_response()
}

pub(super) fn is_loopback_host(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let Some(host) = host else { return false };
    let is_port = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
