//! Usage in: `POST /api/v1/events` and the forms of gateways. What was taken is answered only when
//! the log has acknowledged it.
//!
//! Events in tidemark's own forms are taken whole or not at all: their senders can correct them.
//! Those of gateways come from callbacks and exporters that correct nothing, and throw away what is
//! not taken: of these, what can be read is taken, and the rest goes to `usage.rejected`.

use axum::routing::post;
use utoipa::openapi::Paths;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;

mod append;
mod binary;
mod body;
mod events;
mod gateways;
mod provider_names;
mod rejects;

#[doc(hidden)]
pub use binary::fuzzed_binary_event;
pub use body::EVENTS_PER_REQUEST_MAX;

/// Where OTLP exporters send that append a path of their own to the address that they are given: to
/// that of the OTLP route, or, as `OTEL_EXPORTER_OTLP_ENDPOINT` makes them, to that of the service.
/// With the name of each operation.
const OTLP_TRACES: [(&str, &str); 2] = [
    ("/api/v1/events/otlp/v1/traces", "otlp_traces"),
    ("/v1/traces", "otlp_traces_at_root"),
];

/// Every route by which usage comes in.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    let mut routes = OpenApiRouter::new()
        .routes(routes!(events::events))
        .routes(routes!(events::validate))
        .routes(routes!(gateways::litellm))
        .routes(routes!(gateways::litellm_openmeter))
        .routes(routes!(gateways::litellm_lago))
        .routes(routes!(gateways::new_api))
        .routes(routes!(gateways::sub2api))
        .routes(routes!(gateways::otlp))
        .routes(routes!(rejects::list))
        .routes(routes!(rejects::show));
    for (path, operation) in OTLP_TRACES {
        routes = routes.route(path, post(gateways::otlp));
        document_traces(&mut routes.get_openapi_mut().paths, path, operation);
    }
    routes
}

/// Whether usage comes in by this route.
pub(super) fn is_ingest(route: &str) -> bool {
    ["/api/v1/events", "/litellm/", "/v1/traces"]
        .iter()
        .any(|start| route.starts_with(start))
}

/// The same operation under another path.
fn document_traces(paths: &mut Paths, path: &str, operation_id: &str) {
    let otlp = paths.paths.get("/api/v1/events/otlp").cloned();
    let mut otlp = otlp.expect("it was just added under this path; tests ask for both");
    if let Some(operation) = &mut otlp.post {
        operation.operation_id = Some(operation_id.to_owned());
    }
    paths.paths.insert(path.to_owned(), otlp);
}
