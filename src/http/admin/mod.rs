//! What admins do: prices and rules, credits, corrections, rejects, codes and keys; and the trail of who did it.
//!
//! Every change leaves an entry of the audit trail in its own transaction, and says as whom: the key, never the body.

use axum::http::StatusCode;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Service;
use super::problem::Problem;
use crate::domain::ids::check_id;
use crate::domain::time::Millis;
use crate::store::credits::check_reason;

mod adjustments;
mod analytics;
mod audit;
mod codes;
mod credits;
mod difference;
mod keys;
mod pricing;
mod publishing;
mod rejects;
mod rewards;
mod rules;

pub(super) use keys::may_grant;
pub use keys::{KeyInfo, MadeKey};
pub(super) use publishing::{
    CHANGED_MEANWHILE, Mode, Onto, Published, Wanted, in_force, json_of, publish, to_come,
};
pub use rejects::RejectDetail;
pub(super) use rejects::{decider, find, of_find, of_redrive, partitions};

/// Every route under `/api/admin`.
pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(pricing::show, pricing::set_price, pricing::switch))
        .routes(routes!(rules::list, rules::publish_all))
        .routes(routes!(rules::show, rules::publish_one))
        .routes(routes!(credits::show, credits::add))
        .routes(routes!(adjustments::list, adjustments::grant))
        .routes(routes!(rewards::show))
        .routes(routes!(codes::switch))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(analytics::show))
        .routes(routes!(rejects::list))
        .routes(routes!(rejects::show))
        .routes(routes!(rejects::redrive_one))
        .routes(routes!(rejects::discard))
}

/// What cannot be done as asked, though it was understood.
fn refused(code: &'static str, why: impl ToString) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, why.to_string())
}

/// A thing that the path names and that is not there.
fn missing(code: &'static str, what: impl Into<String>) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, code, what)
}

/// A reason that can be kept.
pub(super) fn reason(reason: String) -> Result<String, Problem> {
    check_reason(&reason).map_err(|error| refused("invalid_reason", error))?;
    Ok(reason)
}

/// What a body says of who made it. The audit trail knows better, but keeps it.
fn note(updated_by: Option<String>) -> Result<Option<String>, Problem> {
    if let Some(text) = &updated_by {
        check_id(text).map_err(|error| refused("invalid_updated_by", error))?;
    }
    Ok(updated_by)
}

/// An instant in a body: `2026-12-01T00:00:00Z`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct At(pub(super) Millis);

impl TryFrom<String> for At {
    type Error = String;
    fn try_from(text: String) -> Result<At, String> {
        let parsed: Result<Millis, _> = text.parse();
        parsed.map(At).map_err(|error| {
            format!("'{text}' is {error}; write an instant such as 2026-12-01T00:00:00Z")
        })
    }
}
