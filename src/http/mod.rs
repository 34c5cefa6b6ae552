//! The HTTP service: usage events in, what they came to out; and what admins and operators need.
//!
//! Nobody gets past `access` without a key, but to health, metrics and the API document. `up` listens on loopback and answers only requests
//! whose `Host` is a loopback name: a web page that points its own name at 127.0.0.1 (DNS rebinding) gets nothing. `serve` is for everybody.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRef, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum_server::Handle;
use axum_server::accept::DefaultAcceptor;
use axum_server::tls_rustls::RustlsAcceptor;
use futures::{FutureExt, StreamExt};
use tokio::net::TcpListener;
use tracing::Instrument;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::commands::Commands;
use crate::app::queries::Queries;
use crate::log::Log;
pub use crate::log::Partitions;
use crate::ops::clock::Clock;
use crate::ops::config::{HttpConfig, PublicOrigin};
use crate::ops::health::Health;
use crate::ops::metrics::{self, Metrics};
use crate::ops::random_name;
use crate::ops::shutdown::Shutdown;
use crate::ops::traces;
use crate::store::db::Db;
use failures::Failures;
use problem::Problem;

mod access;
mod accounts;
mod admin;
mod body;
mod budget;
mod connections;
mod decoding;
mod dependencies;
mod docs;
mod failures;
mod ingest;
mod internal;
mod keyring;
mod limits;
mod listener;
mod openapi;
mod pages;
mod problem;
mod status;
mod strict;
mod tls;
mod tokens;

pub use connections::Connections;
pub use dependencies::watch_dependencies;
pub use ingest::EVENTS_PER_REQUEST_MAX;
pub use internal::{LOG_DAMAGED, LogOverview, PartitionOverview, RecordLine, TopicOverview};
pub use keyring::KEY_BELIEVED;
pub use listener::{LISTENER_PATH, listener_proof};
#[doc(hidden)]
pub use pages::fuzzed_form;
pub use pages::{Needs, PageRoute, page_routes};
pub use status::NOT_READY;
pub use tls::{Tls, TlsError};

/// Bytes of request bodies that may be in memory at once, unpacked; further ones wait a moment, then are told to come again.
const BODY_BYTES_IN_FLIGHT_MAX: usize = 256 * 1024 * 1024;
/// Largest head of a request: the longest token and a browser's cookie fit.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Names a request, in its answer and in our log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_CHARS_MAX: usize = 64;

/// What health and metrics are told from.
#[derive(Clone)]
pub struct Operator {
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// What the pipeline reports.
    pub health: Arc<Health>,
    /// Liveness fails when a partition with lag has made no progress for so long.
    pub stalled_after: Duration,
}

/// What the service works with.
pub struct Parts {
    /// Where events go.
    pub log: Arc<dyn Log>,
    /// Its partitions.
    pub partitions: Partitions,
    /// The tables.
    pub db: Arc<dyn Db>,
    /// For dates of changes.
    pub clock: Arc<dyn Clock>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// What the pipeline reports.
    pub health: Arc<Health>,
    /// Limits.
    pub config: HttpConfig,
}

/// The service.
#[derive(Clone)]
pub struct Service {
    parts: Arc<Parts>,
    operator: Operator,
    budget: Arc<budget::Budget>,
    decoding: decoding::Decoding,
    keys: Arc<keyring::Keyring>,
    limits: Arc<limits::Limits>,
    queries: Arc<Queries>,
    commands: Arc<Commands>,
    /// `None`: only API keys are taken.
    tokens: Option<Arc<tokens::Tokens>>,
    pages: Arc<pages::Shared>,
    identity: Arc<listener::Identity>,
}

impl std::ops::Deref for Service {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl FromRef<Service> for Operator {
    fn from_ref(service: &Service) -> Operator {
        service.operator.clone()
    }
}

impl Service {
    /// A service.
    pub fn new(parts: Parts) -> Service {
        let tokens = parts.config.jwt.clone().map(|config| {
            let clock = parts.clock.clone();
            Arc::new(tokens::Tokens::new(config, clock))
        });
        let queries = Queries::new(parts.db.clone(), parts.log.clone(), parts.partitions);
        let queries = Arc::new(queries);
        Service {
            operator: Operator {
                metrics: parts.metrics.clone(),
                health: parts.health.clone(),
                stalled_after: parts.config.stalled_after,
            },
            budget: budget::Budget::new(
                BODY_BYTES_IN_FLIGHT_MAX,
                parts.config.body_bytes_max,
                budget::PATIENCE,
                parts.metrics.clone(),
            ),
            decoding: decoding::Decoding::new(),
            keys: keyring::Keyring::new(parts.db.clone(), parts.metrics.clone()),
            limits: Arc::new(limits::Limits::new(&parts.config)),
            tokens,
            pages: Arc::default(),
            identity: Arc::default(),
            commands: Arc::new(Commands::new(queries.clone(), parts.clock.clone())),
            queries,
            parts: Arc::new(parts),
        }
    }
}

impl Service {
    /// The connections by which it can be asked.
    pub fn connections(&self) -> Connections {
        Connections::new(&self.config, self.metrics.clone())
    }

    /// Lets commands make sure that this is the `up` of a data directory: it has this key, and listens there.
    pub fn prove_listener(&self, key: &str, address: SocketAddr) {
        self.identity.set(key, address);
    }

    /// How the bodies of a caller are read.
    fn reading(&self, caller: &str) -> body::Reading {
        body::Reading {
            budget: self.budget.clone(),
            metrics: self.metrics.clone(),
            caller: caller.into(),
            bytes_per_second_min: self.config.body_bytes_per_second_min,
        }
    }
}

/// Who may ask by which name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Only names of this machine, in the `Host` header.
    Loopback,
    /// Any.
    Any,
}

/// The API document, and its page.
#[derive(Clone)]
struct Described {
    json: bytes::Bytes,
    page: String,
}

/// Every route.
pub fn router(service: Service, hosts: Hosts) -> Router {
    let (open, closed) = (open_routes(), closed_routes());
    let document = described(&open, &closed);
    let (open, _) = open.split_for_parts();
    let (closed, _) = closed.split_for_parts();
    let (identity, _) = identity_routes().split_for_parts();
    let guard = middleware::from_fn_with_state(service.clone(), access::guard);
    let described = Described {
        page: docs::page(&document),
        json: serde_json::to_vec_pretty(&document)
            .expect("a document of texts always serialises")
            .into(),
    };
    let routes = closed
        .layer(guard)
        .with_state(service.clone())
        .merge(open.with_state(service.operator.clone()))
        .merge(identity.with_state(service.clone()))
        .merge(document_routes().split_for_parts().0.with_state(described))
        .merge(pages::router(&service, hosts))
        .fallback(no_page_here)
        .method_not_allowed_fallback(no_such_method);
    let routes = match hosts {
        Hosts::Loopback => {
            let public = service.config.public_origin.clone();
            routes.layer(middleware::from_fn_with_state(public, only_known_hosts))
        }
        Hosts::Any => routes,
    };
    let within = service.config.request_timeout;
    finished(routes, &service.operator, service.limits.clone(), within)
}

/// The same for a service whose metrics are read at an address of their own: `/metrics` is not here.
pub fn router_without_metrics(service: Service, hosts: Hosts) -> Router {
    router(service, hosts).layer(middleware::from_fn(hide_metrics))
}

async fn hide_metrics(request: Request, next: Next) -> Response {
    match request.uri().path() == "/metrics" {
        true => hardened(no_page_here(request).await),
        false => next.run(request).await,
    }
}

/// Health and metrics alone, which anybody may read: what a worker serves.
pub fn operator_router(operator: Operator, config: &HttpConfig) -> Router {
    const WITHIN: Duration = Duration::from_secs(10);
    let (open, _) = open_routes().split_for_parts();
    let routes = open
        .with_state(operator.clone())
        .fallback(nothing_here)
        .method_not_allowed_fallback(no_such_method);
    let limits = Arc::new(limits::Limits::new(config));
    finished(routes, &operator, limits, WITHIN)
}

/// The document that describes every route.
pub fn document() -> utoipa::openapi::OpenApi {
    described(&open_routes(), &closed_routes())
}

fn described(
    open: &OpenApiRouter<Operator>,
    closed: &OpenApiRouter<Service>,
) -> utoipa::openapi::OpenApi {
    let mut document = openapi::Document::openapi();
    for part in [
        open.get_openapi(),
        closed.get_openapi(),
        identity_routes().get_openapi(),
        document_routes().get_openapi(),
    ] {
        document.merge(part.clone());
    }
    openapi::complete(document)
}

/// Nobody needs a key for these.
fn open_routes() -> OpenApiRouter<Operator> {
    OpenApiRouter::new()
        .routes(routes!(render_metrics))
        .routes(routes!(status::alive))
        .routes(routes!(status::ready))
}

fn identity_routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(listener::prove))
}

fn document_routes() -> OpenApiRouter<Described> {
    OpenApiRouter::new()
        .routes(routes!(openapi::json))
        .routes(routes!(openapi::page))
}

/// Everybody needs a key for these.
fn closed_routes() -> OpenApiRouter<Service> {
    ingest::routes()
        .routes(routes!(internal::overview))
        .routes(routes!(internal::records))
        .merge(accounts::routes())
        .merge(admin::routes())
}

fn finished(
    routes: Router,
    operator: &Operator,
    limits: Arc<limits::Limits>,
    within: Duration,
) -> Router {
    let measured = Measured {
        metrics: operator.metrics.clone(),
        within,
        failures: Arc::default(),
    };
    routes
        .layer(middleware::from_fn_with_state(limits, limit_address))
        .layer(middleware::from_fn_with_state(measured, measure))
}

/// Refuses an address that asks too often, whatever it asks for: also what nobody needs a key for.
async fn limit_address(
    State(limits): State<Arc<limits::Limits>>,
    request: Request,
    next: Next,
) -> Response {
    match limits.of_address(access::address_of(request.extensions())) {
        Ok(()) => next.run(request).await,
        Err(problem) if pages::is_for_people(&request) => pages::of_problem(problem).await,
        Err(problem) => problem.into_response(),
    }
}

async fn nothing_here() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing here; /docs lists what there is",
    )
}

/// The same, as a page for people.
async fn no_page_here(request: Request) -> Response {
    if pages::is_for_people(&request) {
        return pages::no_such_page();
    }
    nothing_here().await.into_response()
}

async fn no_such_method(request: Request) -> Response {
    if pages::is_for_people(&request) {
        return pages::no_such_method();
    }
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path takes other methods; /docs lists them",
    )
    .into_response()
}

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
            "not everything was finished in time; who got no answer asks again"
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

/// Metrics, as Prometheus reads them.
#[utoipa::path(get, path = "/metrics", tag = "operators",
    responses((status = 200, description = "Prometheus text format.", content_type = "text/plain")))]
async fn render_metrics(State(operator): State<Operator>) -> Response {
    let content_type = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (content_type, operator.metrics.render()).into_response()
}

#[derive(Clone)]
struct Measured {
    metrics: Arc<Metrics>,
    within: Duration,
    failures: Arc<Failures>,
}

/// Counts and times every request by its route, never by its path: paths have no bound. Names it in the log and in its answer, and gives it
/// an answer in any case: also when it takes too long, or when a handler panics.
async fn measure(State(measured): State<Measured>, request: Request, next: Next) -> Response {
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
    let response = answered(request, next, measured.within)
        .instrument(span.clone())
        .await;
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

async fn answered(request: Request, next: Next, within: Duration) -> Response {
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
            format!("the body did not come within {within:?}; nothing was done, send it again"),
        )
        .into_response(),
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timeout",
            "this took too long, and may be done or not; asking again is safe for everything but POST without an Idempotency-Key",
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
fn hardened(mut response: Response) -> Response {
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

/// Answers requests to names of this machine, and to the one by which a proxy before it is known.
async fn only_known_hosts(
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
        "this service answers only to localhost, 127.0.0.1, [::1] and the name of http.public_origin in the Host header",
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::header::{ACCEPT, CONTENT_TYPE};
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_in_the_form_that_was_asked_for() {
        async fn panics() -> Response {
            panic!("on purpose")
        }
        let measured = Measured {
            metrics: Arc::new(Metrics::new()),
            within: Duration::from_secs(10),
            failures: Arc::default(),
        };
        let router = Router::new()
            .route("/x", get(panics))
            .layer(from_fn_with_state(measured, measure));
        for (accept, content_type) in [
            ("text/html", "text/html; charset=utf-8"),
            ("*/*", "application/problem+json"),
        ] {
            let request = Request::get("/x").header(ACCEPT, accept);
            let request = request.body(Body::empty()).unwrap();
            let answer = router.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(answer.headers()[CONTENT_TYPE], content_type, "{accept}");
            assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        }
    }
}
