//! `/api/admin/pricing`: prices and the switch between testnet and mainnet.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::At;
use super::rules::Depth;
use crate::app::commands::rules::{PriceAnswer, PriceUpdate};
use crate::app::queries::Pricing;
use crate::domain::amount::Money;
use crate::http::ApiState;
use crate::http::caller::{AdminRead, AdminWrite, May};
use crate::http::extract::{Exact, JsonBody, NoQuery, QueryParams};
use crate::http::problem::Problem;

/// A new price.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewPrice {
    /// Which: `tide_pool_input`, …, `embeddings`, `tts`, `scrape`.
    config_key: String,
    /// US dollars, as a number or a string, to the nano-dollar.
    #[schema(value_type = String)]
    price_per_unit: Exact<Money>,
    /// What it pays for: `1000_tokens`, `minute` or `request`, as the key has it.
    unit: String,
    /// Kept as a note in the audit trail; the key identifies who made the change.
    updated_by: Option<String>,
    /// From when on, in event time; now, if it is left out. Not in the past.
    #[schema(value_type = Option<String>, format = DateTime)]
    effective_from: Option<At>,
    /// Why.
    reason: Option<String>,
}

/// Which network's prices are charged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NetworkSwitch {
    /// Whether usage is charged.
    is_mainnet: bool,
    /// Kept as a note in the audit trail; the key identifies who made the change.
    updated_by: Option<String>,
    /// From when on, in event time; now, if it is left out. Not in the past.
    #[schema(value_type = Option<String>, format = DateTime)]
    effective_from: Option<At>,
    /// Why.
    reason: Option<String>,
}

/// The prices that are in force now, and whether they are charged.
#[utoipa::path(get, path = "/api/admin/pricing", tag = "admin", security(("key" = ["admin:read"])), params(Depth),
    responses((status = 200, description = "Prices and the switch.", body = Pricing)))]
pub(super) async fn show(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    QueryParams(depth): QueryParams<Depth>,
) -> Result<Json<Pricing>, Problem> {
    let now = service.clock.now();
    let pricing = service.queries.pricing(now, depth.history).await?;
    Ok(Json(pricing))
}

/// Sets a price. Events appended after the answer are rated with it, from `effectiveFrom` on;
/// nothing that was already rated changes. If the price is in force at that time already, nothing
/// is written and the answer is the version that set it, so repeating the request is safe.
#[utoipa::path(post, path = "/api/admin/pricing", tag = "admin", security(("key" = ["admin:write"])),
    request_body(content = NewPrice, example = json!({"configKey": "tide_pool_input", "pricePerUnit": "0.0003", "unit": "1000_tokens",
        "updatedBy": "alice", "reason": "a test of the example"})),
    responses(
        (status = 200, description = "The version that is in force from then on, and what is to come for its key.", body = PriceAnswer),
        (status = 422, description = "The price cannot be used: `faults` says why.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn set_price(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    _: NoQuery,
    JsonBody(body): JsonBody<NewPrice>,
) -> Result<Json<PriceAnswer>, Problem> {
    let update = PriceUpdate {
        effective_from: body.effective_from.map(|At(at)| at),
        reason: body.reason,
        note: body.updated_by,
        by: caller.0.by,
    };
    let (key, price, unit) = (&body.config_key, body.price_per_unit.0, &body.unit);
    let answer = service.commands.set_price(key, price, unit, update).await?;
    Ok(Json(answer))
}

/// Switches between testnet (nothing is charged) and mainnet. Repeating the request is safe.
#[utoipa::path(put, path = "/api/admin/pricing", tag = "admin", security(("key" = ["admin:write"])),
    request_body(content = NetworkSwitch, example = json!({"isMainnet": true, "updatedBy": "alice"})),
    responses(
        (status = 200, description = "The version of the switch that is in force from then on, and what is to come for it.", body = PriceAnswer),
        (status = 422, description = "The reason, the note or the time cannot be used.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn switch(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    _: NoQuery,
    JsonBody(body): JsonBody<NetworkSwitch>,
) -> Result<Json<PriceAnswer>, Problem> {
    let update = PriceUpdate {
        effective_from: body.effective_from.map(|At(at)| at),
        reason: body.reason,
        note: body.updated_by,
        by: caller.0.by,
    };
    let commands = &service.commands;
    let answer = commands.switch_network(body.is_mainnet, update).await?;
    Ok(Json(answer))
}
