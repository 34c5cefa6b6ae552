//! Badges that are taken back or given back, and the key that signs credentials.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::queries::BadgeLine;
use crate::domain::ids::AccountKind;
use crate::http::ApiState;
use crate::http::caller::{AdminWrite, May};
use crate::http::extract::{JsonBody, NoQuery, PathParams, account};
use crate::http::problem::Problem;

/// Whether an account keeps a badge.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BadgeDecision {
    /// Whether it is taken back.
    revoked: bool,
    /// Why.
    reason: String,
}

/// Takes a badge back, or gives it back. It stays taken back although its criterion is still met.
#[utoipa::path(put, path = "/api/admin/badges/{userType}/{id}/{badge}", tag = "admin", security(("key" = ["admin:write"])),
    params(
        ("userType" = String, Path, description = "`user` or `provider`.", example = "user"),
        ("id" = String, Path, description = "The account.", example = "alice"),
        ("badge" = String, Path, description = "The badge.", example = "week-streak"),
    ),
    request_body(content = BadgeDecision, example = json!({"revoked": true, "reason": "earned by a script"})),
    responses(
        (status = 200, description = "The badge as it is now.", body = BadgeLine),
        (status = 404, description = "`badge_not_granted`: the account was never granted it.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_reason`: the reason cannot be kept.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn decide(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    PathParams((kind, id, badge)): PathParams<(AccountKind, String, String)>,
    _: NoQuery,
    JsonBody(body): JsonBody<BadgeDecision>,
) -> Result<Json<BadgeLine>, Problem> {
    let account = account(kind, &id)?;
    let commands = &service.commands;
    let decided = commands.decide_badge(&account, &badge, body.revoked, body.reason, caller.0.by);
    Ok(Json(decided.await?))
}

/// Why the key is replaced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KeyRotation {
    /// Why.
    reason: String,
}

/// The key that signs from now on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RotatedKey {
    /// Its thumbprint.
    key: String,
}

/// Replaces the key that signs credentials of badges. Credentials that were signed before stay
/// valid: the public part of every earlier key stays published.
#[utoipa::path(post, path = "/api/admin/badge-keys", tag = "admin", security(("key" = ["admin:write"])),
    request_body(content = KeyRotation, example = json!({"reason": "once a year"})),
    responses(
        (status = 200, description = "The new key.", body = RotatedKey),
        (status = 422, description = "`invalid_reason`: the reason cannot be kept.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn rotate_key(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    _: NoQuery,
    JsonBody(body): JsonBody<KeyRotation>,
) -> Result<Json<RotatedKey>, Problem> {
    let commands = &service.commands;
    let key = commands
        .rotate_badge_key(&body.reason, &caller.0.by)
        .await?;
    Ok(Json(RotatedKey { key }))
}

/// Why a key is withdrawn.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KeyWithdrawal {
    /// Why.
    reason: String,
}

/// Takes a key that was replaced out of the published ones, because others may have it. Credentials
/// that it signed can no longer be verified; their earners download them again.
#[utoipa::path(post, path = "/api/admin/badge-keys/{key}/withdraw", tag = "admin", security(("key" = ["admin:write"])),
    params(("key" = String, Path, description = "The key's thumbprint.", example = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")),
    request_body(content = KeyWithdrawal, example = json!({"reason": "a backup was stolen"})),
    responses(
        (status = 204, description = "It is withdrawn; also if it was before."),
        (status = 404, description = "`unknown_key`: there is no such key.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`key_signs`: it signs credentials; replace it first.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_reason`: the reason cannot be kept.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn withdraw_key(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    PathParams(key): PathParams<String>,
    _: NoQuery,
    JsonBody(body): JsonBody<KeyWithdrawal>,
) -> Result<StatusCode, Problem> {
    let commands = &service.commands;
    commands
        .withdraw_badge_key(&key, &body.reason, &caller.0.by)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
