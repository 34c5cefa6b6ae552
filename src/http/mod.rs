//! The HTTP service: usage events in, what they came to out; and what admins and operators need.
//!
//! Nobody gets past `access` without a key, but to health, metrics and the API document. `up`
//! listens on loopback and answers only requests whose `Host` is a loopback name: a web page that
//! points its own name at 127.0.0.1 (DNS rebinding) gets nothing. `serve` is for everybody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::closing::Closing;
use crate::app::commands::Commands;
use crate::app::queries::{Queries, StoredArchive};
use crate::log::Log;
pub use crate::log::Partitions;
use crate::objects::Objects;
use crate::ops::clock::Clock;
use crate::ops::config::HttpConfig;
use crate::ops::health::Health;
use crate::ops::metrics::{self, Metrics};
use crate::store::db::Db;
use hosts::only_known_hosts;
use measure::{Measured, answered, hardened, measure};
use problem::Problem;

mod access;
mod accounts;
mod admin;
mod badges;
mod body;
mod budget;
mod caller;
mod connections;
mod cors;
mod decoding;
mod dependencies;
mod docs;
mod download;
mod extract;
mod failures;
mod governance;
mod hosts;
mod ingest;
mod internal;
mod keyring;
mod limits;
mod listener;
mod measure;
mod openapi;
mod pages;
mod problem;
mod public_room;
mod requests;
mod server;
mod status;
mod tls;
mod tokens;

pub use connections::Connections;
pub use dependencies::watch_dependencies;
pub use hosts::Hosts;
pub use ingest::EVENTS_PER_REQUEST_MAX;
#[doc(hidden)]
pub use ingest::fuzzed_binary_event;
pub use internal::{LOG_DAMAGED, LogOverview, PartitionOverview, RecordLine, TopicOverview};
pub use keyring::KEY_CACHE_TTL;
pub use listener::{LISTENER_PATH, listener_proof};
#[doc(hidden)]
pub use pages::fuzzed_form;
pub use pages::{Needs, PageRoute, page_routes};
pub use server::serve;
pub use status::NOT_READY;
pub use tls::{Tls, TlsError};

/// Bytes of request bodies that may be in memory at once, unpacked; further ones wait a moment,
/// then are told to come again.
const BODY_BYTES_IN_FLIGHT_MAX: usize = 256 * 1024 * 1024;

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
    /// The archive of requests, if there is one.
    pub archive: Option<StoredArchive>,
    /// The files of closed months, if a place for them is configured.
    pub closing: Option<Objects>,
}

/// What all routes share: the tables, the log, keys, limits, and what people ask and do.
#[derive(Clone)]
pub struct ApiState {
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
    /// Room for downloads.
    downloads: Arc<Semaphore>,
    /// Room for downloads of what anybody may see.
    published: Arc<public_room::PublicRoom>,
    closing: Arc<Closing>,
}

impl std::ops::Deref for ApiState {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl FromRef<ApiState> for Operator {
    fn from_ref(service: &ApiState) -> Operator {
        service.operator.clone()
    }
}

impl ApiState {
    /// The state of a service with these parts.
    pub fn new(parts: Parts) -> ApiState {
        let tokens = parts.config.jwt.clone().map(|config| {
            let clock = parts.clock.clone();
            Arc::new(tokens::Tokens::new(config, clock))
        });
        let queries = Queries::new(parts.db.clone(), parts.log.clone(), parts.partitions);
        let queries = Arc::new(queries.with_archive(parts.archive.clone()));
        ApiState {
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
            downloads: Arc::new(Semaphore::new(download::DOWNLOADS_MAX)),
            published: public_room::PublicRoom::new(
                download::PUBLISHED_MAX,
                download::PUBLISHED_SHARE,
            ),
            closing: Arc::new(Closing::new(
                queries.clone(),
                parts.clock.clone(),
                parts.metrics.clone(),
                parts.closing.clone(),
            )),
            commands: Arc::new(Commands::new(queries.clone(), parts.clock.clone())),
            queries,
            parts: Arc::new(parts),
        }
    }
}

impl ApiState {
    /// The connections by which it can be asked.
    pub fn connections(&self) -> Connections {
        Connections::new(&self.config, self.metrics.clone())
    }

    /// Lets commands make sure that this is the `up` of a data directory: it has this key, and
    /// listens there.
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

/// The API document, and its page.
#[derive(Clone)]
struct Described {
    json: bytes::Bytes,
    page: String,
}

/// Every route.
pub fn router(service: ApiState, hosts: Hosts) -> Router {
    let open = open_routes();
    let document = described(&open, &closed_routes());
    let (open, _) = open.split_for_parts();
    let (keyed, _) = keyed_routes().split_for_parts();
    let (accounts, _) = accounts::routes().split_for_parts();
    let (identity, _) = identity_routes().split_for_parts();
    let (badges, _) = badges::routes().split_for_parts();
    let (published, _) = published_routes().split_for_parts();
    let (governance, _) = governance::routes().split_for_parts();
    let guard = middleware::from_fn_with_state(service.clone(), access::guard);
    let described = Described {
        page: docs::page(&document),
        json: serde_json::to_vec_pretty(&document)
            .expect("a document of texts always serialises")
            .into(),
    };
    let made_with = pages::made_with(&service, hosts);
    let answering = |routes: Router| {
        let made_with = made_with.clone();
        let no_form = move |request: Request| no_form_here(made_with, request);
        let routes = routes.method_not_allowed_fallback(no_form);
        let routes = match hosts {
            Hosts::Loopback => {
                let public = service.config.public_origin.clone();
                routes.layer(middleware::from_fn_with_state(public, only_known_hosts))
            }
            Hosts::Any => routes,
        };
        bounded(
            routes,
            service.limits.clone(),
            service.config.request_timeout,
        )
    };
    let accounts = answering(accounts.layer(guard.clone()).with_state(service.clone()));
    // Around everything that answers, refusals and time-outs included: pages of other origins can
    // read only what this layer has marked. Preflights end here. They carry no key, reach no route
    // and no store, and are no part of what an address may ask: a limited page could not learn why.
    let accounts = match cors::layer(&service.config.cors_origins) {
        Some(cors) => accounts.layer(cors),
        None => accounts,
    };
    let of_paths = made_with.clone();
    let others = keyed
        .layer(guard)
        .with_state(service.clone())
        .merge(open.with_state(service.operator.clone()))
        .merge(identity.with_state(service.clone()))
        .merge(badges.with_state(service.clone()))
        .merge(published.with_state(service.clone()))
        .merge(governance.with_state(service.clone()))
        .merge(document_routes().split_for_parts().0.with_state(described))
        .merge(pages::router(made_with.clone()))
        .fallback(move |request: Request| no_page_here(of_paths, request));
    measured(answering(others).merge(accounts), &service.operator)
}

/// The same for a service whose metrics are read at an address of their own: `/metrics` is not
/// here.
pub fn router_without_metrics(service: ApiState, hosts: Hosts) -> Router {
    router(service, hosts).layer(middleware::from_fn(hide_metrics))
}

async fn hide_metrics(request: Request, next: Next) -> Response {
    match request.uri().path() == "/metrics" {
        false => next.run(request).await,
        true if pages::is_for_people(&request) => {
            hardened(pages::of_problem(&nothing_here().await))
        }
        true => hardened(nothing_here().await.into_response()),
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
    measured(bounded(routes, limits, WITHIN), &operator)
}

/// The document that describes every route.
pub fn document() -> utoipa::openapi::OpenApi {
    described(&open_routes(), &closed_routes())
}

fn described(
    open: &OpenApiRouter<Operator>,
    closed: &OpenApiRouter<ApiState>,
) -> utoipa::openapi::OpenApi {
    let mut document = openapi::Document::openapi();
    for part in [
        open.get_openapi(),
        closed.get_openapi(),
        identity_routes().get_openapi(),
        badges::routes().get_openapi(),
        published_routes().get_openapi(),
        governance::routes().get_openapi(),
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

fn identity_routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(listener::prove))
}

/// Nobody needs a key for what goes on chain.
fn published_routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(admin::closes::published))
}

fn document_routes() -> OpenApiRouter<Described> {
    OpenApiRouter::new()
        .routes(routes!(openapi::json))
        .routes(routes!(openapi::page))
}

/// Everybody needs a key for these.
fn closed_routes() -> OpenApiRouter<ApiState> {
    keyed_routes().merge(accounts::routes())
}

/// Those of them that no page of another origin asks.
fn keyed_routes() -> OpenApiRouter<ApiState> {
    ingest::routes()
        .routes(routes!(internal::overview))
        .routes(routes!(internal::records))
        .merge(admin::routes())
}

/// Routes that answer in any case, and in time, and each address as often as it may ask.
fn bounded(routes: Router, limits: Arc<limits::Limits>, within: Duration) -> Router {
    routes
        .layer(middleware::from_fn_with_state(limits, limit_address))
        .layer(middleware::from_fn_with_state(within, answered))
}

/// Outermost: every answer is counted and named, also those that the layers within give.
fn measured(routes: Router, operator: &Operator) -> Router {
    let measured = Measured {
        metrics: operator.metrics.clone(),
        failures: Arc::default(),
    };
    routes.layer(middleware::from_fn_with_state(measured, measure))
}

/// Refuses an address that asks too often, whatever it asks for: also what nobody needs a key for.
async fn limit_address(
    State(limits): State<Arc<limits::Limits>>,
    request: Request,
    next: Next,
) -> Response {
    match limits.of_address(access::address_of(request.extensions())) {
        Ok(()) => next.run(request).await,
        Err(problem) if pages::is_for_people(&request) => pages::of_problem(&problem),
        Err(problem) => problem.into_response(),
    }
}

async fn nothing_here() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "no such route; /docs lists the routes",
    )
}

/// The same, as a page for people.
async fn no_page_here(made_with: pages::Pages, request: Request) -> Response {
    if pages::is_for_people(&request) {
        return pages::no_page(&made_with, request, StatusCode::NOT_FOUND).await;
    }
    nothing_here().await.into_response()
}

/// That a route does not take a method, as a page for people.
async fn no_form_here(made_with: pages::Pages, request: Request) -> Response {
    if pages::is_for_people(&request) {
        return pages::no_page(&made_with, request, StatusCode::METHOD_NOT_ALLOWED).await;
    }
    no_such_method().await.into_response()
}

async fn no_such_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this route does not accept the method; /docs lists the methods of each route",
    )
}

/// Metrics, as Prometheus reads them.
#[utoipa::path(get, path = "/metrics", tag = "operators",
    responses((status = 200, description = "Prometheus text format.", content_type = "text/plain")))]
async fn render_metrics(State(operator): State<Operator>) -> Response {
    let content_type = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (content_type, operator.metrics.render()).into_response()
}
