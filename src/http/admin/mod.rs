//! What admins do: prices and rules, credits, corrections, rejects, codes and keys; and the trail
//! of who did it.
//!
//! Every change leaves an entry of the audit trail in its own transaction, and says as whom: the
//! key, never the body.

use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use crate::domain::time::Millis;

mod adjustments;
mod analytics;
mod audit;
mod audits;
mod badges;
pub(super) mod closes;
mod codes;
mod credits;
mod exports;
mod governance;
mod keys;
mod pricing;
mod rejects;
mod requests;
mod reversals;
mod rewards;
mod rules;
mod search;
mod seasons;
mod set_aside;

pub(super) use search::TEXT_CHARS_MAX;

/// Every route under `/api/admin`.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(pricing::show, pricing::set_price, pricing::switch))
        .routes(routes!(rules::list, rules::publish_all))
        .routes(routes!(rules::show, rules::publish_one))
        .routes(routes!(credits::show, credits::add))
        .routes(routes!(credits::undo))
        .routes(routes!(adjustments::list, adjustments::grant))
        .routes(routes!(adjustments::undo))
        .routes(routes!(reversals::reverse))
        .routes(routes!(requests::explain))
        .routes(routes!(rewards::show))
        .routes(routes!(codes::switch))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(audit::file))
        .routes(routes!(search::search))
        .routes(routes!(audits::show))
        .routes(routes!(analytics::show))
        .routes(routes!(exports::file))
        .routes(routes!(closes::list, closes::close))
        .routes(routes!(closes::preview))
        .routes(routes!(closes::show))
        .routes(routes!(closes::file))
        .routes(routes!(governance::list))
        .routes(routes!(governance::freeze))
        .routes(routes!(governance::preview))
        .routes(routes!(rejects::list))
        .routes(routes!(rejects::show))
        .routes(routes!(rejects::redrive_one))
        .routes(routes!(rejects::discard))
        .routes(routes!(set_aside::list))
        .routes(routes!(set_aside::release))
        .routes(routes!(badges::decide))
        .routes(routes!(seasons::show))
        .routes(routes!(badges::rotate_key))
        .routes(routes!(badges::withdraw_key))
}

/// An instant in a body: `2026-12-01T00:00:00Z`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct At(Millis);

impl TryFrom<String> for At {
    type Error = String;
    fn try_from(text: String) -> Result<At, String> {
        let parsed: Result<Millis, _> = text.parse();
        parsed.map(At).map_err(|error| {
            format!("'{text}' is {error}; write an instant such as 2026-12-01T00:00:00Z")
        })
    }
}
