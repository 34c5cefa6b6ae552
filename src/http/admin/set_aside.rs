//! `/api/admin/set-aside`: accounts that wait while their posting partition goes on.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::queries::{AccountsAside, ReleaseRefusal, SetAside, UnreadableRecord};
use crate::domain::ids::{Account, AccountKind};
use crate::domain::position::Partition;
use crate::http::ApiState;
use crate::http::caller::{AdminRead, AdminWrite, May};
use crate::http::extract::{JsonBody, NoQuery, account};
use crate::http::problem::Problem;

/// The accounts that are set aside.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AsideList {
    /// By account.
    accounts: Vec<AsideAccount>,
    /// Records that cannot be decoded. Their accounts are set aside too.
    unreadable: Vec<AsideUnreadable>,
}

/// An account that is set aside.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AsideAccount {
    /// `user` or `provider`.
    kind: &'static str,
    /// The account.
    id: String,
    /// Why: `row_unreadable`, `rows_contradict`, `write_refused`, `award_unreadable` or
    /// `link_unreadable`.
    code: &'static str,
    /// What is wrong.
    what: String,
    /// What to do about it.
    advice: &'static str,
    /// Since when.
    since: String,
    /// The partition of `ledger.postings` that holds what it misses.
    posting_partition: u32,
    /// The position (epoch and offset) from which on postings may be missing in its rows.
    from: String,
    /// The append time of the first posting that may be missing, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    from_time: Option<String>,
    /// Whether its release was requested, and its poster has not decided yet.
    release_requested: bool,
    /// Why the last request was not fulfilled.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<AsideRefusal>,
}

/// Why an account was not released.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AsideRefusal {
    /// When.
    at: String,
    /// A stable code.
    code: String,
    /// What is wrong, and what to do.
    what: String,
}

/// A record of an account that is set aside, but cannot be decoded.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AsideUnreadable {
    /// `user` or `provider`, if the item's key says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    /// The account, if the item's key says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// `record_unreadable`.
    code: &'static str,
    /// Which item, and what is wrong with it.
    what: String,
    /// What to do about it.
    advice: &'static str,
}

/// Which account to release.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Release {
    /// `user` or `provider`.
    #[schema(value_type = String)]
    kind: AccountKind,
    /// The account.
    id: String,
    /// How it was repaired.
    reason: String,
    /// Release it although some of what it misses is permanently lost.
    #[serde(default)]
    accept_missing: bool,
}

/// A release that was requested.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReleaseRequested {
    /// `user` or `provider`.
    kind: &'static str,
    /// The account.
    id: String,
    /// Its poster releases it, or the list says why not.
    release_requested: bool,
}

impl From<SetAside> for AsideAccount {
    fn from(record: SetAside) -> AsideAccount {
        let Partition(posting_partition) = record.partition;
        AsideAccount {
            kind: record.account.kind.as_str(),
            id: record.account.id().to_owned(),
            code: record.code.as_str(),
            what: record.what,
            advice: record.code.advice(),
            since: record.at.to_string(),
            posting_partition,
            from: record.since.position().to_string(),
            from_time: record.since_time.map(|time| time.to_string()),
            release_requested: record.release.is_some(),
            refused: record.refused.map(AsideRefusal::from),
        }
    }
}

impl From<ReleaseRefusal> for AsideRefusal {
    fn from(refusal: ReleaseRefusal) -> AsideRefusal {
        AsideRefusal {
            at: refusal.at.to_string(),
            code: refusal.code,
            what: refusal.what,
        }
    }
}

impl From<UnreadableRecord> for AsideUnreadable {
    fn from(record: UnreadableRecord) -> AsideUnreadable {
        let account = record.account.as_ref();
        AsideUnreadable {
            kind: account.map(|account| account.kind.as_str()),
            id: account.map(Account::id).map(str::to_owned),
            code: UnreadableRecord::CODE,
            what: record.what,
            advice: UnreadableRecord::ADVICE,
        }
    }
}

/// Accounts that are set aside because their data is damaged. What they earn waits in the log.
#[utoipa::path(get, path = "/api/admin/set-aside", tag = "admin", security(("key" = ["admin:read"])),
    responses((status = 200, description = "All of them.", body = AsideList)))]
pub(super) async fn list(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    _: NoQuery,
) -> Result<Json<AsideList>, Problem> {
    let AccountsAside {
        records,
        unreadable,
    } = service.queries.set_aside().await?;
    Ok(Json(AsideList {
        accounts: records.into_iter().map(AsideAccount::from).collect(),
        unreadable: unreadable.into_iter().map(AsideUnreadable::from).collect(),
    }))
}

/// Requests the release of an account that was repaired. Its poster adds what it missed, from the
/// log; then it disappears from the list. If it cannot be released, it stays there, and `refused`
/// says why. Sending the request again is safe.
#[utoipa::path(post, path = "/api/admin/set-aside/release", tag = "admin", security(("key" = ["admin:write"])),
    request_body(content = Release, example = json!({"kind": "user", "id": "alice", "reason": "row restored from point-in-time recovery"})),
    responses(
        (status = 202, description = "The release is requested.", body = ReleaseRequested),
        (status = 404, description = "`not_set_aside`: the account is not set aside.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason cannot be kept.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn release(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    _: NoQuery,
    JsonBody(body): JsonBody<Release>,
) -> Result<(StatusCode, Json<ReleaseRequested>), Problem> {
    let account = account(body.kind, &body.id)?;
    let commands = &service.commands;
    commands
        .release(&account, body.accept_missing, &body.reason, &caller.0.by)
        .await?;
    let requested = ReleaseRequested {
        kind: body.kind.as_str(),
        id: body.id,
        release_requested: true,
    };
    Ok((StatusCode::ACCEPTED, Json(requested)))
}
