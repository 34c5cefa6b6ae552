//! Usage in: `POST /api/v1/events` and the forms of gateways. What was taken is answered only when the log has acknowledged it.
//!
//! Events in tidemark's own forms are taken whole or not at all: their senders can correct them. Those of gateways come from callbacks and exporters that
//! correct nothing, and throw away what is not taken: of these, what can be read is taken, and the rest goes to `usage.rejected`.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Service;

mod append;
mod body;
mod events;
mod gateways;

pub(super) use append::of_log;
pub use body::EVENTS_PER_REQUEST_MAX;

/// Every route by which usage comes in. Whoever nests them sets the largest body.
pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(events::events))
        .routes(routes!(gateways::litellm))
        .routes(routes!(gateways::litellm_openmeter))
        .routes(routes!(gateways::litellm_lago))
        .routes(routes!(gateways::otlp))
        .routes(routes!(gateways::otlp_traces))
}
