//! The HTTP service of `tidemark up`: events in, metrics and health out, and reads of the log for the command line.
//!
//! It listens on loopback alone and asks for no keys, so it answers only requests whose `Host` is a loopback name:
//! a web page that points its own name at 127.0.0.1 (DNS rebinding) gets nothing.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, Semaphore};

use crate::log::Log;
use crate::ops::config::HttpConfig;
use crate::ops::health::Health;
use crate::ops::metrics::{self, Metrics};
use crate::ops::shutdown::Shutdown;
use problem::Problem;

mod ingest;
mod internal;
mod problem;
mod status;

pub use ingest::EVENTS_PER_REQUEST_MAX;
pub use internal::{LOG_DAMAGED, LogOverview, PartitionOverview, RecordLine, TopicOverview};

/// Bytes of request bodies that may be in memory at once; further requests wait.
const BODY_BYTES_IN_FLIGHT_MAX: usize = 256 * 1024 * 1024;

/// What the service works with.
#[derive(Clone)]
pub struct Service {
    /// Where events go.
    pub log: Arc<dyn Log>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// What the pipeline reports.
    pub health: Arc<Health>,
    /// Limits.
    pub config: HttpConfig,
    body_permits: Arc<Semaphore>,
    partitions: Arc<OnceCell<ingest::Partitions>>,
}

impl Service {
    /// A service.
    pub fn new(
        log: Arc<dyn Log>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        config: HttpConfig,
    ) -> Service {
        let in_flight = BODY_BYTES_IN_FLIGHT_MAX.max(config.body_bytes_max);
        Service {
            log,
            metrics,
            health,
            config,
            body_permits: Arc::new(Semaphore::new(in_flight)),
            partitions: Arc::default(),
        }
    }
}

/// Every route.
pub fn router(service: Service) -> Router {
    let body_limit = DefaultBodyLimit::max(service.config.body_bytes_max);
    Router::new()
        .merge(ingest::routes().split_for_parts().0.layer(body_limit))
        .route("/metrics", get(render_metrics))
        .route("/healthz", get(status::alive))
        .route("/readyz", get(status::ready))
        .route("/internal/log", get(internal::overview))
        .route("/internal/log/{topic}/{partition}", get(internal::records))
        .fallback(nothing_here)
        .layer(middleware::from_fn(only_loopback_hosts))
        .layer(middleware::from_fn_with_state(service.clone(), measure))
        .with_state(service)
}

/// Health and metrics alone, which anybody may read: what a worker serves.
pub fn operator_router(service: Service) -> Router {
    Router::new()
        .route("/metrics", get(render_metrics))
        .route("/healthz", get(status::alive))
        .route("/readyz", get(status::ready))
        .fallback(nothing_here)
        .layer(middleware::from_fn_with_state(service.clone(), measure))
        .with_state(service)
}

async fn nothing_here() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
}

/// Answers requests until `shutdown`, then finishes those that are under way.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let mut shutdown = shutdown;
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { shutdown.requested().await })
        .await
}

async fn render_metrics(State(service): State<Service>) -> Response {
    let content_type = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (content_type, service.metrics.render()).into_response()
}

/// Counts and times every request by its route, never by its path: paths have no bound.
async fn measure(State(service): State<Service>, request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let start = Instant::now();
    let response = next.run(request).await;
    let metrics = &service.metrics;
    metrics
        .http_requests_total
        .with_label_values(&[route.as_str(), response.status().as_str()])
        .inc();
    metrics
        .http_request_seconds
        .with_label_values(&[route.as_str()])
        .observe(start.elapsed().as_secs_f64());
    response
}

async fn only_loopback_hosts(request: Request, next: Next) -> Response {
    if is_loopback_host(request.headers()) {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "foreign_host",
        "this service answers only to localhost, 127.0.0.1 and [::1] in the Host header",
    )
    .into_response()
}

fn is_loopback_host(headers: &HeaderMap) -> bool {
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
