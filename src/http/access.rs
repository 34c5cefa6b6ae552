//! Who a request comes from, and what that allows.
//!
//! [`guard`] stands before every route but the open ones: nobody gets past it without a key that is
//! good. What a key allows, each handler says by its argument ([`May`](super::caller::May)) or by
//! [`Caller::must`]; and says it again in its documentation (`security`), against which a test
//! tries every route with every kind of key.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::ApiState;
use super::caller::{Caller, no_key};
use super::extract::IDEMPOTENCY_KEY;
use super::limits::Costs;
use super::problem::Problem;
use super::tokens;
use crate::store::keys::KeyText;

/// Lets through who has a good key and is within its limits, and tells the handlers who it is.
pub(super) async fn guard(
    State(service): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(doubled) = doubled(request.headers()) {
        let why = format!("the header {doubled} was sent more than once; send it once");
        return Problem::new(StatusCode::BAD_REQUEST, "duplicate_header", why).into_response();
    }
    // A body is not to be held across an await by reference.
    let token = bearer(request.headers()).map(str::to_owned);
    let costs = Costs::of(&request);
    match admit(&service, token.as_deref(), costs).await {
        Ok(caller) => {
            tracing::Span::current().record("caller", caller.by.as_str());
            let reading = service.reading(&caller.by);
            request.extensions_mut().insert(reading);
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn admit(service: &ApiState, token: Option<&str>, costs: Costs) -> Result<Caller, Problem> {
    let caller = who(service, token.ok_or_else(no_key)?).await?;
    service.limits.of_caller(&caller.by, costs)?;
    Ok(caller)
}

/// A header that was sent more than once, and of which either could be meant.
fn doubled(headers: &HeaderMap) -> Option<HeaderName> {
    let single = [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        IDEMPOTENCY_KEY,
    ];
    let mut single = single.into_iter();
    single.find(|name| headers.get_all(name).iter().nth(1).is_some())
}

/// The peer's address; requests that came through no socket have none.
pub(super) fn address_of(extensions: &Extensions) -> Option<IpAddr> {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map(|ConnectInfo(address)| address.ip().to_canonical())
}

/// The address whose share of something counts: the peer's. `None`: there is none, or all clients
/// come from a proxy's, so that a share of it would be one for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientAddress(pub Option<IpAddr>);

impl FromRequestParts<ApiState> for ClientAddress {
    type Rejection = Infallible;
    async fn from_request_parts(
        parts: &mut Parts,
        service: &ApiState,
    ) -> Result<ClientAddress, Infallible> {
        // The setting that an operator takes away behind a proxy.
        let is_counted = service.config.connections_per_address_max.is_some();
        let address = address_of(&parts.extensions);
        Ok(ClientAddress(address.filter(|_| is_counted)))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// A token (JWT) and an API key look different: there is never a guess which one was meant.
pub(super) async fn who(service: &ApiState, token: &str) -> Result<Caller, Problem> {
    if let Some(tokens) = &service.tokens
        && tokens::is_token(token)
    {
        return tokens.caller(token).await;
    }
    let sent: KeyText = token.parse().map_err(|_| bad_key())?;
    let found = service.keys.find(&sent).await?;
    let key = found.ok_or_else(bad_key)?;
    let by = format!("key {} ({})", key.id, key.name);
    Ok(Caller::new(by, key.scopes.clone()).with_key(&key.id))
}

fn bad_key() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "bad_key",
        "unknown or revoked API key; an admin can create one: tidemark keys create",
    )
}
