//! `PUT /api/admin/referral-codes/{code}`.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::ApiState;
use crate::http::caller::{AdminWrite, May};
use crate::http::extract::{JsonBody, NoQuery, PathParams};
use crate::http::problem::Problem;

/// Whether a code is accepted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CodeSwitch {
    /// Whether signups are accepted from now on.
    active: bool,
    /// Why.
    reason: String,
}

/// A referral code.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CodeState {
    /// The code.
    code: String,
    /// The owner's kind.
    user_type: &'static str,
    /// The owner's id.
    user_id: String,
    /// Whether signups are accepted.
    active: bool,
    /// How many signed up with it.
    signups: u64,
    /// When it was made.
    created_at: String,
}

/// Switches a referral code on or off. Accounts that already signed up with it stay referred.
#[utoipa::path(put, path = "/api/admin/referral-codes/{code}", tag = "admin", security(("key" = ["admin:write"])),
    params(("code" = String, Path, description = "The code; case does not matter.", example = "ALIC-7KQ2M")),
    request_body(content = CodeSwitch, example = json!({"active": false, "reason": "sold on a forum"})),
    responses(
        (status = 200, description = "The code as it is now.", body = CodeState),
        (status = 404, description = "Unknown code.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason cannot be kept.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn switch(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    PathParams(code): PathParams<String>,
    _: NoQuery,
    JsonBody(body): JsonBody<CodeSwitch>,
) -> Result<Json<CodeState>, Problem> {
    let (active, by) = (body.active, caller.0.by);
    let commands = &service.commands;
    let code = commands.switch_code(&code, active, body.reason, by).await?;
    Ok(Json(CodeState {
        user_type: code.owner.kind.as_str(),
        user_id: code.owner.id().to_owned(),
        active: code.active,
        signups: code.signups,
        created_at: code.created_at.to_string(),
        code: code.code,
    }))
}
