//! `/api/admin/rejects`: what was refused, why, and what becomes of it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{missing, reason, refused};
use crate::domain::position::{Offset, Partition};
use crate::http::Service;
use crate::http::access::{AdminRead, AdminWrite, May};
use crate::http::ingest::of_log;
use crate::http::internal::BytesText;
use crate::http::problem::{BadEvent, Problem};
use crate::http::strict::{Asked, Named, NoQuery, Strict, Verbatim, page_entries};
use crate::log::rejected::Reject;
use crate::log::{ReadLimit, Topic};
use crate::store::redrive::{
    self, Decider, Discarded, Fate, FindError, Found, RedriveError, Redriven,
};

const REJECTS_USUAL: u32 = 100;
const REJECTS_MAX: u32 = 500;
/// Most bytes of records that are read for one page (one record may be larger).
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Which rejects.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The partition of `usage.rejected`, from 0; `partitions` of the answer says how many there are.
    #[param(example = 0)]
    partition: u32,
    /// From this offset on: `next` of the page before.
    #[serde(default)]
    from: u64,
    /// At most so many: 100 by default, up to 500.
    limit: Option<u32>,
}

/// Some rejects of a partition.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RejectPage {
    /// How many partitions there are to ask for, from 0.
    partitions: u32,
    /// In log order.
    rejects: Vec<RejectLine>,
    /// Ask with `from=` this for those that follow; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// A reject.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectLine {
    /// Where it stands in `usage.rejected`: the partition.
    partition: u32,
    /// Where it stands in `usage.rejected`: the offset.
    offset: u64,
    /// The stable code of why it was refused.
    reason: &'static str,
    /// The field that it is about, as the sender wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Why, in words.
    detail: String,
    /// Where the original stands.
    origin: Origin,
    /// The log time at which it was refused.
    log_time: String,
    /// `open`, `redriven` or `discarded`.
    state: &'static str,
}

/// Where the original of a reject stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Origin {
    /// The topic: `usage.events`, or a gateway's; of what was posted, the form: then partition and offset are the reject's own.
    topic: String,
    /// The epoch of the log; of `usage.events` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u32>,
    /// The partition.
    partition: u32,
    /// The offset.
    offset: u64,
    /// The place of the log entry in the gateway's record.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
}

/// A reject with its bytes, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectDetail {
    /// What it is.
    #[serde(flatten)]
    line: RejectLine,
    /// The original's bytes: text, or `{"base64":"…"}`; of what was posted in a gateway's form, the event as far as it could be read. Absent where an
    /// adapter refused them: they stay in the gateway's topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    value: Option<BytesText>,
    /// The original's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    key: Option<BytesText>,
    /// The original's headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Vec<serde_json::Value>>)]
    headers: Vec<(String, BytesText)>,
    /// Set if only the beginning of the value is kept here: how many bytes the whole original has.
    #[serde(skip_serializing_if = "Option::is_none")]
    whole_bytes: Option<u64>,
    /// The event that was sent for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    redriven: Option<RedriveInfo>,
    /// That it is done with.
    #[serde(skip_serializing_if = "Option::is_none")]
    discarded: Option<DiscardInfo>,
}

/// The event that is sent for a reject.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedriveInfo {
    /// Who redrove it first.
    by: String,
    /// When.
    at: String,
    /// Whether it is another event than the original.
    edited: bool,
    /// The event, to the byte: every repeat sends it again, and it counts once.
    value: String,
    /// Where its first copy stands in `usage.events`; absent: nobody knows whether it was sent. Redrive it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<SentTo>,
}

/// A place in `usage.events`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SentTo {
    partition: u32,
    offset: u64,
}

/// That a reject is done with.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiscardInfo {
    /// Who says so.
    by: String,
    /// When.
    at: String,
    /// Why.
    reason: String,
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

impl RejectLine {
    fn new(found: &Found, fate: Option<&Fate>) -> RejectLine {
        let (field, detail, log_time, origin) = match &found.reject {
            Reject::Usage(reject) => {
                let origin = Origin {
                    topic: Topic::UsageEvents.name().to_owned(),
                    epoch: Some(reject.position.epoch.0),
                    partition: reject.partition.0,
                    offset: reject.position.offset.0,
                    index: None,
                };
                (&reject.field, &reject.detail, reject.log_time, origin)
            }
            Reject::Foreign(reject) => {
                let origin = Origin {
                    topic: reject.topic.clone(),
                    epoch: None,
                    partition: reject.partition.0,
                    offset: reject.offset.0,
                    index: Some(reject.index),
                };
                (&reject.field, &reject.detail, reject.log_time, origin)
            }
            // It was posted in a gateway's form, and stands nowhere but here.
            Reject::Gateway(reject) => {
                let origin = Origin {
                    topic: reject.format.clone(),
                    epoch: None,
                    partition: found.partition.0,
                    offset: found.offset.0,
                    index: None,
                };
                (&reject.field, &reject.detail, reject.received, origin)
            }
        };
        RejectLine {
            partition: found.partition.0,
            offset: found.offset.0,
            reason: found.reject.reason().as_str(),
            field: field.clone(),
            detail: detail.clone(),
            origin,
            log_time: log_time.to_string(),
            state: Fate::state(fate),
        }
    }
}

impl RejectDetail {
    /// A reject, and what became of it.
    pub fn new(found: &Found, fate: Option<Fate>) -> RejectDetail {
        let line = RejectLine::new(found, fate.as_ref());
        let (redriven, discarded) = match fate {
            None => (None, None),
            Some(Fate::Redriven(redriven)) => (Some(redriven.into()), None),
            Some(Fate::Discarded(discarded)) => (None, Some(discarded.into())),
        };
        let original = match &found.reject {
            Reject::Usage(reject) => Some(&reject.original),
            Reject::Foreign(_) | Reject::Gateway(_) => None,
        };
        let value = match &found.reject {
            Reject::Gateway(reject) => Some(&reject.draft),
            _ => original.map(|original| &original.value),
        };
        let headers = original.iter().flat_map(|original| &original.headers);
        RejectDetail {
            line,
            value: value.map(BytesText::from),
            key: original.and_then(|original| original.key.as_ref().map(BytesText::from)),
            headers: headers
                .map(|(name, value)| (name.clone(), value.into()))
                .collect(),
            whole_bytes: match &found.reject {
                Reject::Usage(reject) => reject.whole_bytes,
                Reject::Foreign(_) | Reject::Gateway(_) => None,
            },
            redriven,
            discarded,
        }
    }
}

impl From<Redriven> for RedriveInfo {
    fn from(redriven: Redriven) -> RedriveInfo {
        RedriveInfo {
            by: redriven.by,
            at: redriven.at.to_string(),
            edited: redriven.edited,
            value: redriven.value,
            sent: redriven.sent.map(|sent| SentTo {
                partition: sent.partition.0,
                offset: sent.offset.0,
            }),
        }
    }
}

impl From<Discarded> for DiscardInfo {
    fn from(discarded: Discarded) -> DiscardInfo {
        DiscardInfo {
            by: discarded.by,
            at: discarded.at.to_string(),
            reason: discarded.reason,
        }
    }
}

/// Rejected events of a partition, oldest first.
#[utoipa::path(get, path = "/api/admin/rejects", tag = "admin", security(("key" = ["admin:read"])), params(Wanted),
    responses(
        (status = 200, description = "A page of rejects.", body = RejectPage),
        (status = 404, description = "There is no such partition.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn list(
    _: May<AdminRead>,
    State(service): State<Service>,
    Asked(wanted): Asked<Wanted>,
) -> Result<Json<RejectPage>, Problem> {
    let partitions = partitions(&service, wanted.partition).await?;
    let limit = ReadLimit {
        records: page_entries(wanted.limit, REJECTS_USUAL, REJECTS_MAX)?,
        bytes: PAGE_BYTES_MAX,
    };
    let (partition, from) = (Partition(wanted.partition), Offset(wanted.from));
    let listed = redrive::list(&*service.log, partition, from, limit).await;
    let listed = listed.map_err(of_find)?;
    let fates = redrive::fates(&*service.db, &listed.found).await?;
    let lines = listed.found.iter().zip(&fates);
    Ok(Json(RejectPage {
        partitions,
        rejects: lines
            .map(|(found, fate)| RejectLine::new(found, fate.as_ref()))
            .collect(),
        next: listed.next.map(|next| next.0),
    }))
}

/// One rejected event: why, its bytes, and what became of it.
#[utoipa::path(get, path = "/api/admin/rejects/{partition}/{offset}", tag = "admin", security(("key" = ["admin:read"])),
    params(
        ("partition" = u32, Path, description = "The partition of usage.rejected.", example = 0),
        ("offset" = u64, Path, description = "The offset in it.", example = 0),
    ),
    responses(
        (status = 200, description = "The reject.", body = RejectDetail),
        (status = 404, description = "There is no such reject.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(
    _: May<AdminRead>,
    State(service): State<Service>,
    Named(place): Named<(u32, u64)>,
) -> Result<Json<RejectDetail>, Problem> {
    let found = find(&service, place).await?;
    detail(&service, found).await
}

/// Sends a rejected event again, edited or as it was. Asking again is safe, however late: every repeat sends what the first one stored, and
/// that counts once.
///
/// An edited event is checked as at the edge. It keeps the identity that it names: leave `source` and `id` as they are, unless another event
/// with the same identity counted (`conflict`). If it is refused again it becomes a reject of its own.
#[utoipa::path(post, path = "/api/admin/rejects/{partition}/{offset}/redrive", tag = "admin", security(("key" = ["admin:write"])),
    params(
        ("partition" = u32, Path, description = "The partition of usage.rejected.", example = 0),
        ("offset" = u64, Path, description = "The offset in it.", example = 0),
    ),
    request_body(content = Redrive, example = json!({"value": {"requestId": "r-1", "userId": "alice", "providerId": "prov-1",
        "endpoint": "/v1/chat/completions", "model": "llama-3-70b", "timestamp": "2026-11-22T07:01:02.123Z", "statusCode": 200}})),
    responses(
        (status = 200, description = "It stands in the log.", body = RejectDetail),
        (status = 404, description = "There is no such reject.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It was discarded, or redriven with another event.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The event can never be read (`events` names the field), or its original is not kept.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn redrive_one(
    caller: May<AdminWrite>,
    State(service): State<Service>,
    Named(place): Named<(u32, u64)>,
    _: NoQuery,
    Strict(body): Strict<Redrive>,
) -> Result<Json<RejectDetail>, Problem> {
    let found = find(&service, place).await?;
    let decider = decider(&service, caller.0.by);
    let edited = body.value.as_ref().map(Verbatim::get);
    redrive::redrive(&*service.db, &*service.log, &found, edited, &decider)
        .await
        .map_err(of_redrive)?;
    detail(&service, found).await
}

/// Marks a rejected event as done with: it is not sent again.
#[utoipa::path(post, path = "/api/admin/rejects/{partition}/{offset}/discard", tag = "admin", security(("key" = ["admin:write"])),
    params(
        ("partition" = u32, Path, description = "The partition of usage.rejected.", example = 0),
        ("offset" = u64, Path, description = "The offset in it.", example = 0),
    ),
    request_body(content = Discard, example = json!({"reason": "a test event of the gateway"})),
    responses(
        (status = 200, description = "It is done with, now or before.", body = RejectDetail),
        (status = 404, description = "There is no such reject.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It was redriven.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason cannot be kept.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn discard(
    caller: May<AdminWrite>,
    State(service): State<Service>,
    Named(place): Named<(u32, u64)>,
    _: NoQuery,
    Strict(body): Strict<Discard>,
) -> Result<Json<RejectDetail>, Problem> {
    let found = find(&service, place).await?;
    let decider = decider(&service, caller.0.by);
    let reason = reason(body.reason)?;
    redrive::discard(&*service.db, &found, &reason, &decider)
        .await
        .map_err(of_redrive)?;
    detail(&service, found).await
}

pub(in crate::http) fn decider(service: &Service, by: String) -> Decider {
    let now = service.clock.now();
    Decider { by, now }
}

/// How many partitions there are, if `wanted` is one of them.
pub(in crate::http) async fn partitions(service: &Service, wanted: u32) -> Result<u32, Problem> {
    let info = service.log.topic(Topic::UsageRejected).await;
    let count = info.map_err(of_log)?.partitions;
    if wanted < count {
        return Ok(count);
    }
    let last = count.saturating_sub(1);
    let detail = format!("usage.rejected has the partitions 0 to {last}");
    Err(missing("no_such_partition", detail))
}

pub(in crate::http) async fn find(
    service: &Service,
    (partition, offset): (u32, u64),
) -> Result<Found, Problem> {
    partitions(service, partition).await?;
    let found = redrive::find(&*service.log, Partition(partition), Offset(offset)).await;
    found.map_err(of_find)?.ok_or_else(|| {
        missing(
            "no_such_reject",
            "no reject stands there, any more or yet; GET /api/admin/rejects lists what there is",
        )
    })
}

async fn detail(service: &Service, found: Found) -> Result<Json<RejectDetail>, Problem> {
    let fates = redrive::fates(&*service.db, std::slice::from_ref(&found)).await?;
    let fate = fates.into_iter().next().flatten();
    Ok(Json(RejectDetail::new(&found, fate)))
}

pub(in crate::http) fn of_find(error: FindError) -> Problem {
    match error {
        FindError::Log(error) => of_log(error),
        FindError::Reject(error) => {
            tracing::error!(event = "http.no_reject", %error, "usage.rejected holds what is no reject");
            Problem::internal()
        }
    }
}

pub(in crate::http) fn of_redrive(error: RedriveError) -> Problem {
    let conflict = |code, text: String| Problem::new(StatusCode::CONFLICT, code, text);
    let text = error.to_string();
    match error {
        RedriveError::IsDiscarded { .. } => conflict("already_discarded", text),
        RedriveError::IsRedriven { .. } => conflict("already_redriven", text),
        RedriveError::IsOtherwise { .. } => conflict("redriven_otherwise", text),
        RedriveError::NoOriginal(_) => refused("original_not_kept", text),
        RedriveError::Unreadable(rejection) => {
            refused("invalid_events", text).of_events(vec![BadEvent::new(0, rejection)])
        }
        RedriveError::Reason(_) => refused("invalid_reason", text),
        RedriveError::Store(error) => error.into(),
        RedriveError::Log(error) => of_log(error),
    }
}
