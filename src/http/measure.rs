//! What surrounds every route: names, counts and times each request, and gives it an answer in any
//! case.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody as _};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::{FutureExt, StreamExt};
use tracing::Instrument;

use super::failures::Failures;
use super::problem::Problem;
use super::{ingest, pages};
use crate::ops::metrics::Metrics;
use crate::ops::random_name;
use crate::ops::traces;

/// Names a request, in its answer and in our log.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_CHARS_MAX: usize = 64;

#[derive(Clone)]
pub(super) struct Measured {
    pub metrics: Arc<Metrics>,
    pub failures: Arc<Failures>,
}

/// Counts and times every request by its route, never by its path: paths have no bound. Names it in
/// the log and in its answer.
pub(super) async fn measure(
    State(measured): State<Measured>,
    request: Request,
    next: Next,
) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let id = request_id(request.headers());
    let method = request.method().clone();
    let span = tracing::info_span!("http.request", %method, route, request_id = %id, caller = tracing::field::Empty);
    let headers = request.headers();
    traces::continue_from(&span, |name| headers.get(name)?.to_str().ok());
    let start = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    // Outside of everything that answers, time-outs and panics included.
    let mut response = hardened(response);
    let status = response.status();
    traces::answered(&span, status.as_u16());
    // A probe that is told "not yet" is no failure.
    if status.is_server_error() && !matches!(route.as_str(), "/readyz" | "/healthz") {
        let problem = response.extensions().get::<Arc<Problem>>().cloned();
        let _entered = span.enter();
        measured.failures.report(status, problem.as_deref());
        if let Some(problem) = problem
            && problem.is_unavailable()
            && ingest::is_ingest(&route)
        {
            response = hardened(problem.of_resendable_events().into_response());
        }
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let metrics = &measured.metrics;
    metrics
        .http_requests_total
        .with_label_values(&[route.as_str(), status.as_str()])
        .inc();
    metrics
        .http_request_seconds
        .with_label_values(&[route.as_str()])
        .observe(start.elapsed().as_secs_f64());
    response
}

/// Gives a request an answer in any case: also when it takes too long, or when a handler panics.
pub(super) async fn answered(
    State(within): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    let (body, awaited) = watched(body);
    let request = Request::from_parts(head, body);
    let for_people = pages::is_for_people(&request);
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(within, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!(event = "http.panic", "a handler panicked, which is a bug");
            if for_people {
                pages::broken()
            } else {
                Problem::internal().into_response()
            }
        }
        Err(_) if awaited.load(Ordering::Relaxed) => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            format!("the body did not arrive within {within:?}; nothing was done, send it again"),
        )
        .into_response(),
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timeout",
            "the request timed out and may have been applied; retry it, a POST with the same Idempotency-Key",
        )
        .retry_after(1)
        .into_response(),
    }
}

/// A body, and whether its client has been waited for when it was last asked for more.
fn watched(body: Body) -> (Body, Arc<AtomicBool>) {
    let awaited = Arc::new(AtomicBool::new(false));
    if body.is_end_stream() {
        return (body, awaited);
    }
    let told = awaited.clone();
    let mut frames = body.into_data_stream();
    let frames = futures::stream::poll_fn(move |context| {
        let frame = frames.poll_next_unpin(context);
        told.store(frame.is_pending(), Ordering::Relaxed);
        frame
    });
    (Body::from_stream(frames), awaited)
}

/// The caller's own name for its request, if it is a harmless one, else a random one.
fn request_id(headers: &HeaderMap) -> String {
    let is_harmless = |id: &&str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=REQUEST_ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(allowed)
    };
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    match given.filter(is_harmless) {
        Some(id) => id.to_owned(),
        None => random_name(),
    }
}

/// Headers that keep browsers from doing what nobody asked for.
pub(super) fn hardened(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let defaults = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in defaults {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::header::{ACCEPT, CONTENT_TYPE};
    use axum::middleware::from_fn_with_state;
    use axum::routing::{get, post};
    use bytes::Bytes;
    use tower::ServiceExt;

    use super::*;

    fn service(within: Duration) -> Router {
        async fn panics() -> Response {
            panic!("on purpose")
        }
        async fn hangs() -> Response {
            std::future::pending().await
        }
        let measured = Measured {
            metrics: Arc::new(Metrics::new()),
            failures: Arc::default(),
        };
        Router::new()
            .route("/panics", get(panics))
            .route("/hangs", get(hangs))
            .route("/reads", post(|body: Bytes| async { drop(body) }))
            .layer(from_fn_with_state(within, answered))
            .layer(from_fn_with_state(measured, measure))
    }

    fn assert_hardened(answer: &Response, referrer: &str) {
        let headers = answer.headers();
        for (name, value) in [
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, referrer),
            (header::CACHE_CONTROL, "no-store"),
        ] {
            let found = headers.get_all(&name).iter().collect::<Vec<_>>();
            assert_eq!(found, [value], "{name} of {}", answer.status());
        }
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(headers.contains_key(REQUEST_ID));
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_in_the_form_that_was_asked_for() {
        let router = service(Duration::from_secs(10));
        for (accept, content_type, referrer) in [
            // Forms of pages tell their own site where they come from.
            ("text/html", "text/html; charset=utf-8", "same-origin"),
            ("*/*", "application/problem+json", "no-referrer"),
        ] {
            let request = Request::get("/panics").header(ACCEPT, accept);
            let request = request.body(Body::empty()).unwrap();
            let answer = router.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(answer.headers()[CONTENT_TYPE], content_type, "{accept}");
            assert_hardened(&answer, referrer);
        }
    }

    #[tokio::test]
    async fn time_outs_carry_the_security_headers_too() {
        let router = service(Duration::from_millis(20));
        let hangs = Request::get("/hangs").body(Body::empty()).unwrap();
        let endless = futures::stream::pending::<std::io::Result<Bytes>>();
        let trickles = Request::post("/reads").body(Body::from_stream(endless));
        for (request, status, code) in [
            (hangs, StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            (
                trickles.unwrap(),
                StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
            ),
        ] {
            let answer = router.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status);
            assert_hardened(&answer, "no-referrer");
            let body = axum::body::to_bytes(answer.into_body(), 4_096)
                .await
                .unwrap();
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["code"], code);
        }
    }
}
