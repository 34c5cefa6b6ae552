//! Rejected events: why, their bytes, and what became of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{BytesText, Queries, text};
use crate::app::{CommandError, Refusal};
use crate::domain::position::{Offset, Partition};
use crate::domain::time::Millis;
use crate::log::rejected::{Reject, RejectedRecord};
use crate::log::{Bounds, ReadLimit, Topic};
use crate::store::redrive::{self, Discarded, Fate, Redriven};

pub use crate::store::redrive::Found as FoundReject;

/// A place in `usage.rejected`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectPlace {
    /// The partition.
    pub partition: u32,
    /// The offset in it.
    pub offset: u64,
}

/// Some rejects of a partition.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectPage {
    /// How many partitions there are to ask for, from 0.
    pub partitions: u32,
    /// In log order.
    pub rejects: Vec<RejectLine>,
    /// Ask with `from=` this for those that follow; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// What became of a reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RejectState {
    /// Nothing yet.
    Open,
    /// An event was sent for it.
    Redriven,
    /// It is not sent again.
    Discarded,
}

impl RejectState {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            RejectState::Open => "open",
            RejectState::Redriven => "redriven",
            RejectState::Discarded => "discarded",
        }
    }

    const fn of(fate: Option<&Fate>) -> RejectState {
        match fate {
            None => RejectState::Open,
            Some(Fate::Redriven(_)) => RejectState::Redriven,
            Some(Fate::Discarded(_)) => RejectState::Discarded,
        }
    }
}

/// A reject.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectLine {
    /// Its position in `usage.rejected`: the partition.
    pub partition: u32,
    /// Its position in `usage.rejected`: the offset.
    pub offset: u64,
    /// The stable code of why it was refused.
    pub reason: &'static str,
    /// The field that it is about, as the sender wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Why, in words.
    pub detail: String,
    /// The position of the original.
    pub origin: Origin,
    /// The log time at which it was refused.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub log_time: Millis,
    /// The id of the API key that sent it; absent if it came another way than over HTTP, or before
    /// that was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// `open`, `redriven` or `discarded`.
    #[schema(value_type = String)]
    pub state: RejectState,
}

/// The position of the original of a reject.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The topic: `usage.events`, or a gateway's; of what was posted, the form: then partition and
    /// offset are the reject's own.
    pub topic: String,
    /// The epoch of the log; of `usage.events` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
    /// The place of the log entry in the gateway's record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
}

/// A reject with its bytes, and what became of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectDetail {
    /// What it is.
    #[serde(flatten)]
    pub line: RejectLine,
    /// The original's bytes: text, or `{"base64":"…"}`; of what was posted in a gateway's form, the
    /// event as far as it could be read. Absent where an adapter refused them: they stay in the
    /// gateway's topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub value: Option<BytesText>,
    /// The original's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub key: Option<BytesText>,
    /// The original's headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Vec<serde_json::Value>>)]
    pub headers: Vec<(String, BytesText)>,
    /// Set if only the beginning of the value is kept here: how many bytes the whole original has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole_bytes: Option<u64>,
    /// The event that was sent for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redriven: Option<RedriveInfo>,
    /// That it is done with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discarded: Option<DiscardInfo>,
}

/// The event that is sent for a reject.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedriveInfo {
    /// Who redrove it first.
    pub by: String,
    /// When.
    #[serde(with = "super::as_text")]
    #[schema(value_type = String)]
    pub at: Millis,
    /// Whether it is another event than the original.
    pub edited: bool,
    /// The event, to the byte: every repeat sends it again, and it counts once.
    pub value: String,
    /// The position of its first copy in `usage.events`; absent: it is not known whether one was
    /// sent. Redrive it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<SentTo>,
}

/// A place in `usage.events`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SentTo {
    /// The partition.
    pub partition: u32,
    /// The offset in it.
    pub offset: u64,
}

/// That a reject is done with.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiscardInfo {
    /// Who says so.
    pub by: String,
    /// When.
    #[serde(with = "super::as_text")]
    #[schema(value_type = String)]
    pub at: Millis,
    /// Why.
    pub reason: String,
}

impl RejectLine {
    pub(super) fn new(found: &FoundReject, fate: Option<&Fate>) -> RejectLine {
        let (field, detail, log_time) = match &found.reject {
            Reject::Usage(reject) => (&reject.field, &reject.detail, reject.log_time),
            Reject::Foreign(reject) => (&reject.field, &reject.detail, reject.log_time),
            Reject::Gateway(reject) => (&reject.field, &reject.detail, reject.received),
        };
        RejectLine {
            partition: found.partition.0,
            offset: found.offset.0,
            reason: found.reject.reason().as_str(),
            field: field.clone(),
            detail: detail.clone(),
            origin: Origin::of(found),
            log_time,
            sender: found.reject.sender().map(str::to_owned),
            state: RejectState::of(fate),
        }
    }
}

impl Origin {
    fn of(found: &FoundReject) -> Origin {
        match &found.reject {
            Reject::Usage(reject) => Origin {
                topic: Topic::UsageEvents.name().to_owned(),
                epoch: Some(reject.position.epoch.0),
                partition: reject.partition.0,
                offset: reject.position.offset.0,
                index: None,
            },
            Reject::Foreign(reject) => Origin {
                topic: reject.topic.clone(),
                epoch: None,
                partition: reject.partition.0,
                offset: reject.offset.0,
                index: Some(reject.index),
            },
            // It was posted in a gateway's form, and is kept nowhere but here.
            Reject::Gateway(reject) => Origin {
                topic: reject.format.clone(),
                epoch: None,
                partition: found.partition.0,
                offset: found.offset.0,
                index: None,
            },
        }
    }
}

impl RejectDetail {
    fn new(found: &FoundReject, fate: Option<Fate>) -> RejectDetail {
        let line = RejectLine::new(found, fate.as_ref());
        let (redriven, discarded) = match fate {
            None => (None, None),
            Some(Fate::Redriven(redriven)) => (Some(redriven.into()), None),
            Some(Fate::Discarded(discarded)) => (None, Some(discarded.into())),
        };
        let bare = RejectDetail {
            line,
            value: None,
            key: None,
            headers: Vec::new(),
            whole_bytes: None,
            redriven,
            discarded,
        };
        match &found.reject {
            Reject::Usage(reject) => bare.with_original(reject),
            Reject::Foreign(_) => bare,
            Reject::Gateway(reject) => RejectDetail {
                value: Some(BytesText::from(&reject.draft)),
                ..bare
            },
        }
    }

    fn with_original(self, reject: &RejectedRecord) -> RejectDetail {
        let original = &reject.original;
        let headers = original.headers.iter();
        RejectDetail {
            value: Some(BytesText::from(&original.value)),
            key: original.key.as_ref().map(BytesText::from),
            headers: headers
                .map(|(name, value)| (name.clone(), value.into()))
                .collect(),
            whole_bytes: reject.whole_bytes,
            ..self
        }
    }

    /// The original, if it is kept here and is text.
    pub fn original(&self) -> Option<&str> {
        self.value.as_ref()?.text()
    }
}

impl From<Redriven> for RedriveInfo {
    fn from(redriven: Redriven) -> RedriveInfo {
        RedriveInfo {
            by: redriven.by,
            at: redriven.at,
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
            at: discarded.at,
            reason: discarded.reason,
        }
    }
}

impl Queries {
    /// How many partitions `usage.rejected` has.
    pub async fn reject_partitions(&self) -> Result<u32, CommandError> {
        Ok(self.log().topic(Topic::UsageRejected).await?.partitions)
    }

    /// The same, if `wanted` is one of them.
    pub(super) async fn partitions_with(&self, wanted: u32) -> Result<u32, CommandError> {
        let count = self.reject_partitions().await?;
        if wanted < count {
            return Ok(count);
        }
        let last = count.saturating_sub(1);
        let detail = format!("usage.rejected has the partitions 0 to {last}");
        Err(Refusal::not_found("no_such_partition", detail).into())
    }

    /// Which offsets a partition of `usage.rejected` holds.
    pub async fn reject_bounds(&self, partition: u32) -> Result<Bounds, CommandError> {
        self.partitions_with(partition).await?;
        let (topic, partition) = (Topic::UsageRejected, Partition(partition));
        Ok(self.log().bounds(topic, partition).await?)
    }

    /// Rejects of a partition from an offset on, oldest first.
    pub async fn reject_page(
        &self,
        partition: u32,
        from: u64,
        limit: ReadLimit,
    ) -> Result<RejectPage, CommandError> {
        let partitions = self.partitions_with(partition).await?;
        let (partition, from) = (Partition(partition), Offset(from));
        let listed = redrive::list(self.log(), partition, from, limit).await?;
        let fates = redrive::fates(self.db(), &listed.found).await?;
        let lines = listed.found.iter().zip(&fates);
        Ok(RejectPage {
            partitions,
            rejects: lines
                .map(|(found, fate)| RejectLine::new(found, fate.as_ref()))
                .collect(),
            next: listed.next.map(|next| next.0),
        })
    }

    /// One reject: why, its bytes, and what became of it.
    pub async fn reject(&self, place: RejectPlace) -> Result<RejectDetail, CommandError> {
        let found = self.found_reject(place).await?;
        self.reject_detail(&found).await
    }

    pub(in crate::app) async fn found_reject(
        &self,
        place: RejectPlace,
    ) -> Result<FoundReject, CommandError> {
        let RejectPlace { partition, offset } = place;
        self.partitions_with(partition).await?;
        let found = redrive::find(self.log(), Partition(partition), Offset(offset)).await?;
        let missing = || {
            let detail = format!(
                "there is no reject at partition {partition}, offset {offset}, or it has expired; GET /api/admin/rejects and \
                 `tidemark rejects list` list those that are kept"
            );
            Refusal::not_found("no_such_reject", detail)
        };
        Ok(found.ok_or_else(missing)?)
    }

    pub(in crate::app) async fn reject_detail(
        &self,
        found: &FoundReject,
    ) -> Result<RejectDetail, CommandError> {
        let fates = redrive::fates(self.db(), std::slice::from_ref(found)).await?;
        let fate = fates.into_iter().next().flatten();
        Ok(RejectDetail::new(found, fate))
    }

    /// What became of rejects, in their order.
    pub async fn reject_states(
        &self,
        found: &[FoundReject],
    ) -> Result<Vec<RejectState>, CommandError> {
        let fates = redrive::fates(self.db(), found).await?;
        Ok(fates
            .iter()
            .map(|fate| RejectState::of(fate.as_ref()))
            .collect())
    }
}
