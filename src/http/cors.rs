//! CORS: the marketplace's own pages at other origins may call the routes of accounts from a
//! browser, with a key or token in `Authorization`. Cookies are not used.

use std::time::Duration;

use axum::http::{HeaderValue, Method, header};
use tower_http::cors::CorsLayer;

use super::extract::IDEMPOTENCY_KEY;
use super::measure::REQUEST_ID;
use crate::ops::config::PublicOrigin;

/// How long browsers may remember what is allowed.
const MAX_AGE: Duration = Duration::from_secs(3_600);

/// The layer that allows these origins; `None` if there are none.
pub(super) fn layer(origins: &[PublicOrigin]) -> Option<CorsLayer> {
    let origins = origins.iter().map(|origin| origin.to_string().parse());
    let origins: Vec<HeaderValue> = origins.filter_map(Result::ok).collect();
    if origins.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, IDEMPOTENCY_KEY])
        .expose_headers([header::RETRY_AFTER, REQUEST_ID])
        .max_age(MAX_AGE);
    Some(layer)
}
