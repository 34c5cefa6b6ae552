//! `/api/admin/reversals`: taking requests back.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::At;
use crate::app::commands::NewReversal as Reversing;
use crate::http::ApiState;
use crate::http::caller::{AdminWrite, May};
use crate::http::extract::{IdempotencyKey, JsonBody, NoQuery};
use crate::http::problem::Problem;

/// Which request to take back, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewReversal {
    /// The user who made the request.
    user_id: String,
    /// The event's `source`.
    source: String,
    /// The event's `id`.
    id: String,
    /// The event's `time`.
    #[schema(value_type = String)]
    time: At,
    /// Why.
    reason: String,
}

/// A reversal that was sent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reversed {
    /// The user.
    user_id: String,
    /// The partition of `usage.events` to which it was sent.
    partition: u32,
    /// Its offset there.
    offset: Option<u64>,
}

/// Takes back what a request earned and cost: the provider's and the user's points, every
/// referrer's share, and the charge.
///
/// The statement shows it within seconds.
#[utoipa::path(post, path = "/api/admin/reversals", tag = "admin", security(("key" = ["admin:write"])),
    params(("Idempotency-Key" = String, Header, description = "Names this reversal: sent again under the same key, it counts once per user.",
        example = "ticket-78")),
    request_body(content = NewReversal, example = json!({"userId": "alice", "source": "gateway-eu-1", "id": "r-1",
        "time": "2026-11-22T07:01:02.123Z", "reason": "the model answered nonsense"})),
    responses(
        (status = 202, description = "Sent to the log, durably, now or before under this key.", body = Reversed),
        (status = 404, description = "`unknown_original`: there is no such request.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`already_reversed`: another reversal has taken it back. `too_old`: the request is more than 35 days old. \
            `nothing_to_reverse`: it earned and cost nothing.", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "`idempotency_key_reused`: for another request. `invalid_reason`: it cannot be kept.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn reverse(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    key: IdempotencyKey,
    _: NoQuery,
    JsonBody(body): JsonBody<NewReversal>,
) -> Result<(StatusCode, Json<Reversed>), Problem> {
    let sent = service
        .commands
        .reverse(Reversing {
            user: body.user_id.clone(),
            source: body.source,
            id: body.id,
            time: body.time.0,
            reason: body.reason,
            idempotency_key: key.needed()?,
            by: caller.0.by,
        })
        .await?;
    let reversed = Reversed {
        user_id: body.user_id,
        partition: sent.partition,
        offset: sent.offset,
    };
    Ok((StatusCode::ACCEPTED, Json(reversed)))
}
