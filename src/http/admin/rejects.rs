//! `/api/admin/rejects`: what was refused, why, and what becomes of it.

use axum::Json;
use axum::extract::State;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use utoipa::{IntoParams, ToSchema};

use crate::app::queries::{RejectDetail, RejectPage, RejectPlace};
use crate::http::ApiState;
use crate::http::caller::{AdminRead, AdminWrite, May};
use crate::http::extract::{JsonBody, NoQuery, PathParams, QueryParams, Verbatim, page_entries};
use crate::http::problem::Problem;
use crate::log::ReadLimit;

const REJECTS_DEFAULT: u32 = 100;
const REJECTS_MAX: u32 = 500;
/// Most bytes of records that are read for one page (one record may be larger).
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Which rejects.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RejectsQuery {
    /// The partition of `usage.rejected`, from 0; `partitions` of the answer says how many there
    /// are.
    #[param(example = 0)]
    partition: u32,
    /// From this offset on: `next` of the page before.
    #[serde(default)]
    from: u64,
    /// Maximum number: 100 by default, up to 500.
    limit: Option<u32>,
}

/// How to send it again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Redrive {
    /// The edited event, as JSON; without it, the original as it was.
    #[schema(value_type = Option<serde_json::Value>)]
    #[serde(default, deserialize_with = "an_event")]
    value: Option<Verbatim>,
}

/// What is given is an event: `null` would be one that asks for the original.
fn an_event<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Verbatim>, D::Error> {
    let value = Verbatim::deserialize(deserializer)?;
    if value.get() == "null" {
        return Err(D::Error::custom(
            "value is null; give the edited event, or leave it out to send the original",
        ));
    }
    Ok(Some(value))
}

/// Why it is done with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Discard {
    /// Why.
    reason: String,
}

/// Rejected events of a partition, oldest first.
#[utoipa::path(get, path = "/api/admin/rejects", tag = "admin", security(("key" = ["admin:read"])), params(RejectsQuery),
    responses(
        (status = 200, description = "A page of rejects.", body = RejectPage),
        (status = 404, description = "Unknown partition.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn list(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    QueryParams(wanted): QueryParams<RejectsQuery>,
) -> Result<Json<RejectPage>, Problem> {
    let limit = ReadLimit {
        records: page_entries(wanted.limit, REJECTS_DEFAULT, REJECTS_MAX)?,
        bytes: PAGE_BYTES_MAX,
    };
    let queries = &service.queries;
    let page = queries.reject_page(wanted.partition, wanted.from, limit);
    Ok(Json(page.await?))
}

/// One rejected event: why, its bytes, and what became of it.
#[utoipa::path(get, path = "/api/admin/rejects/{partition}/{offset}", tag = "admin", security(("key" = ["admin:read"])),
    params(
        ("partition" = u32, Path, description = "The partition of usage.rejected.", example = 0),
        ("offset" = u64, Path, description = "The offset in it.", example = 0),
    ),
    responses(
        (status = 200, description = "The reject.", body = RejectDetail),
        (status = 404, description = "Unknown reject.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    PathParams((partition, offset)): PathParams<(u32, u64)>,
) -> Result<Json<RejectDetail>, Problem> {
    let place = RejectPlace { partition, offset };
    Ok(Json(service.queries.reject(place).await?))
}

/// Resends a rejected event, edited or unchanged. Repeating the request is safe at any time: every
/// repeat sends what the first one stored, which counts once.
///
/// An edited event is checked as at ingest. It keeps the identity that it names: leave `source` and
/// `id` as they are, unless another event with the same identity has counted (`conflict`). If it is
/// rejected again, it becomes a reject of its own.
#[utoipa::path(post, path = "/api/admin/rejects/{partition}/{offset}/redrive", tag = "admin", security(("key" = ["admin:write"])),
    params(
        ("partition" = u32, Path, description = "The partition of usage.rejected.", example = 0),
        ("offset" = u64, Path, description = "The offset in it.", example = 0),
    ),
    request_body(content = Redrive, example = json!({"value": {"requestId": "r-1", "userId": "alice", "providerId": "prov-1",
        "endpoint": "/v1/chat/completions", "model": "llama-3-70b", "timestamp": "2026-11-22T07:01:02.123Z", "statusCode": 200}})),
    responses(
        (status = 200, description = "The reject.", body = RejectDetail),
        (status = 404, description = "Unknown reject.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It was discarded, or redriven with another event.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The event can never be read (`events` names the field), or its original is not kept.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn redrive_one(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    PathParams((partition, offset)): PathParams<(u32, u64)>,
    _: NoQuery,
    JsonBody(body): JsonBody<Redrive>,
) -> Result<Json<RejectDetail>, Problem> {
    let place = RejectPlace { partition, offset };
    let edited = body.value.as_ref().map(Verbatim::get);
    let commands = &service.commands;
    let sent = commands.redrive_reject(place, edited, caller.0.by).await?;
    Ok(Json(sent))
}

/// Discards a rejected event: it cannot be resent afterwards.
#[utoipa::path(post, path = "/api/admin/rejects/{partition}/{offset}/discard", tag = "admin", security(("key" = ["admin:write"])),
    params(
        ("partition" = u32, Path, description = "The partition of usage.rejected.", example = 0),
        ("offset" = u64, Path, description = "The offset in it.", example = 0),
    ),
    request_body(content = Discard, example = json!({"reason": "a test event of the gateway"})),
    responses(
        (status = 200, description = "It is discarded, now or before.", body = RejectDetail),
        (status = 404, description = "Unknown reject.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It was redriven.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason cannot be kept.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn discard(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    PathParams((partition, offset)): PathParams<(u32, u64)>,
    _: NoQuery,
    JsonBody(body): JsonBody<Discard>,
) -> Result<Json<RejectDetail>, Problem> {
    let place = RejectPlace { partition, offset };
    let (commands, by) = (&service.commands, caller.0.by);
    let discarded = commands.discard_reject(place, &body.reason, by).await?;
    Ok(Json(discarded))
}
