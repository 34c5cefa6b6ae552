//! `/api/admin/adjustments`: corrections of points.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::commands::NewAdjustment as Correction;
use crate::app::queries::AwardInfo;
use crate::domain::amount::Points;
use crate::domain::ids::AccountKind;
use crate::http::ApiState;
use crate::http::caller::{AdminRead, AdminWrite, May};
use crate::http::extract::{
    Exact, IdempotencyKey, JsonBody, NoQuery, QueryParams, account, bad_query, page_entries,
};
use crate::http::problem::Problem;

const AWARDS_DEFAULT: u32 = 100;
const AWARDS_MAX: u32 = 1_000;

/// A correction.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewAdjustment {
    /// `user` or `provider`.
    #[schema(value_type = String)]
    kind: AccountKind,
    /// Whose points.
    id: String,
    /// How many, plus or minus, as a number or a string, to the micropoint.
    #[schema(value_type = String)]
    points: Exact<Points>,
    /// Why.
    reason: String,
}

/// Whose awards.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AwardsQuery {
    /// `user` or `provider`.
    #[param(value_type = String, example = "user")]
    kind: AccountKind,
    /// The account.
    #[param(example = "alice")]
    id: String,
    /// Maximum number, newest first: 100 by default, up to 1,000.
    limit: Option<u32>,
    /// The `next` of the page before; without it, the newest.
    after: Option<String>,
}

/// A correction that was made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Adjusted {
    /// The account's kind.
    kind: &'static str,
    /// The account.
    id: String,
    /// What was granted under this key, now or before.
    award: AwardInfo,
}

/// Awards of an account.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AwardList {
    /// The account's kind.
    kind: &'static str,
    /// The account.
    id: String,
    /// How many it ever got, if `whole`; else how many were read.
    total: usize,
    /// Whether all of its awards were read: at most 10,000 are, adjustments first.
    whole: bool,
    /// The newest first; also those that are on their way to the statement.
    awards: Vec<AwardInfo>,
    /// Give it as `after` for older ones; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Corrects an account's points. The correction is in the bonus of this month's statement within
/// seconds.
#[utoipa::path(post, path = "/api/admin/adjustments", tag = "admin", security(("key" = ["admin:write"])),
    params(("Idempotency-Key" = String, Header, description = "Names this correction: sent again under the same key, it counts once per account.",
        example = "ticket-77")),
    request_body(content = NewAdjustment, example = json!({"kind": "user", "id": "alice", "points": "-12.5", "reason": "double bonus of May"})),
    responses(
        (status = 200, description = "Granted, now or before under this key.", body = Adjusted),
        (status = 422, description = "`idempotency_key_reused`: for other points. `amount_out_of_range`: 0, or more than 100,000,000 points, up or down. \
            `adjustments_exceeded`: all adjustments of the account together would be more than 100,000,000,000 points, up and down. \
            `invalid_reason`: it cannot be kept.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn grant(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    key: IdempotencyKey,
    _: NoQuery,
    JsonBody(body): JsonBody<NewAdjustment>,
) -> Result<Json<Adjusted>, Problem> {
    let new = Correction {
        account: account(body.kind, &body.id)?,
        points: body.points.0,
        reason: body.reason,
        idempotency_key: key.needed()?,
        by: caller.0.by,
    };
    let adjusted = service.commands.adjust(new).await?;
    Ok(Json(Adjusted {
        kind: body.kind.as_str(),
        id: body.id,
        award: adjusted.award,
    }))
}

/// Which correction is to be undone.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AdjustmentToUndo {
    /// `user` or `provider`.
    #[schema(value_type = String)]
    kind: AccountKind,
    /// Whose points.
    id: String,
    /// The correction's key.
    key: String,
}

/// Undoes a correction of points by a counter-entry in the bonus of this month. Sent again, it
/// counts once; so does the same from a page or a command.
#[utoipa::path(post, path = "/api/admin/adjustments/undo", tag = "admin", security(("key" = ["admin:write"])),
    request_body(content = AdjustmentToUndo, example = json!({"kind": "user", "id": "alice", "key": "ticket-77"})),
    responses(
        (status = 200, description = "The counter-entry, granted now or before.", body = Adjusted),
        (status = 404, description = "`unknown_entry`: the account has no adjustment with this key.", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "`invalid_idempotency_key`: the key is empty or too long. `idempotency_key_reused`: another entry has the key \
            of the counter-entry. `amount_out_of_range`: an amount that cannot be taken back in one entry. `adjustments_exceeded`: all adjustments of \
            the account together would be more than 100,000,000,000 points, up and down.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn undo(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    _: NoQuery,
    JsonBody(body): JsonBody<AdjustmentToUndo>,
) -> Result<Json<Adjusted>, Problem> {
    let of = account(body.kind, &body.id)?;
    let by = &caller.0.by;
    let undone = service.commands.undo_adjustment(&of, &body.key, by).await?;
    Ok(Json(Adjusted {
        kind: body.kind.as_str(),
        id: body.id,
        award: undone.1.award,
    }))
}

/// Awards of an account, page by page: corrections, signups and milestones.
#[utoipa::path(get, path = "/api/admin/adjustments", tag = "admin", security(("key" = ["admin:read"])), params(AwardsQuery),
    responses((status = 200, description = "The awards.", body = AwardList)))]
pub(super) async fn list(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    QueryParams(whose): QueryParams<AwardsQuery>,
) -> Result<Json<AwardList>, Problem> {
    let account = account(whose.kind, &whose.id)?;
    let limit = page_entries(whose.limit, AWARDS_DEFAULT, AWARDS_MAX)?;
    let found = service.queries.awards(&account).await?;
    let (is_whole, mut awards) = (found.is_whole, found.awards);
    let total = awards.len();
    if let Some(after) = &whose.after {
        let place = awards.iter().position(|award| award.award_id == *after);
        let unknown = || bad_query("after: unknown award; use the `next` of the previous page");
        awards.drain(..=place.ok_or_else(unknown)?);
    }
    let has_more = awards.len() > limit;
    awards.truncate(limit);
    let last = awards.last().filter(|_| has_more);
    let next = last.map(|award| award.award_id.clone());
    Ok(Json(AwardList {
        kind: whose.kind.as_str(),
        id: whose.id,
        total,
        whole: is_whole,
        awards,
        next,
    }))
}
