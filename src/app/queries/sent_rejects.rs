//! The rejects of one sender, which may read no others.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

use super::{BytesText, FoundReject, Queries, RejectLine, RejectPlace};
use crate::app::{CommandError, Refusal};
use crate::domain::access::Source;
use crate::domain::position::{Offset, Partition};
use crate::log::rejected::Reject;
use crate::log::{Bounds, ReadLimit, Topic};
use crate::store::redrive;

/// Most rejects, of all senders, that are read for one page.
const READ_RECORDS_MAX: usize = 2_000;
/// Most bytes that are read for one page; one record may be larger.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Whose rejects.
#[derive(Clone, Debug)]
pub struct SentBy {
    /// The id of the API key; a token has none.
    pub key: Option<String>,
    /// The sources to which the key is bound, whoever sent their events; empty for a key that may
    /// send events of any.
    pub sources: Vec<Source>,
}

impl SentBy {
    fn sent(&self, reject: &Reject) -> bool {
        if self.key.is_some() && reject.sender() == self.key.as_deref() {
            return true;
        }
        // The event is read only for a key that is bound to sources.
        let is_bound_to = |source: Cow<'_, str>| {
            let mut sources = self.sources.iter();
            sources.any(|one| one.as_str() == source)
        };
        !self.sources.is_empty() && reject.source().is_some_and(is_bound_to)
    }
}

/// Where a page of rejects begins.
#[derive(Clone, Copy, Debug)]
pub enum PageStart {
    /// At this offset.
    From(Offset),
    /// So many rejects, of all senders, before the end.
    Newest(u64),
}

/// Some of a sender's rejects in a partition.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SentRejectPage {
    /// How many partitions there are to ask for, from 0.
    pub partitions: u32,
    /// In log order. May be empty although more follow: other senders' rejects are left out.
    pub rejects: Vec<SentReject>,
    /// Ask with `from=` this for those that follow; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// A reject of the sender's.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SentReject {
    /// What it is.
    #[serde(flatten)]
    pub line: RejectLine,
    /// The source of the event; of what was posted in a gateway's form, that form. Absent if it
    /// cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// A reject of the sender's, with its bytes.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SentRejectDetail {
    /// What it is.
    #[serde(flatten)]
    pub reject: SentReject,
    /// The event as it was sent: text, or `{"base64":"…"}`; of what was posted in a gateway's form,
    /// the event as far as it could be read. Absent where an adapter refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub value: Option<BytesText>,
    /// Set if only the beginning of the event is kept: how many bytes the whole has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole_bytes: Option<u64>,
}

impl SentReject {
    fn new(found: &FoundReject, fate: Option<&redrive::Fate>) -> SentReject {
        SentReject {
            line: RejectLine::new(found, fate),
            source: found.reject.source().map(Cow::into_owned),
        }
    }
}

impl Queries {
    /// The rejects of a sender in a partition, oldest first. What is read for a page is bounded, so
    /// a page may hold fewer than `limit` although more follow.
    pub async fn sent_rejects(
        &self,
        by: &SentBy,
        partition: u32,
        start: PageStart,
        limit: usize,
    ) -> Result<SentRejectPage, CommandError> {
        let partitions = self.partitions_with(partition).await?;
        let (topic, partition) = (Topic::UsageRejected, Partition(partition));
        let from = match start {
            PageStart::From(offset) => offset,
            PageStart::Newest(count) => {
                let Bounds { end, .. } = self.log().bounds(topic, partition).await?;
                Offset(end.0.saturating_sub(count))
            }
        };
        let read = ReadLimit {
            records: READ_RECORDS_MAX,
            bytes: READ_BYTES_MAX,
        };
        let is_sent = |reject: &Reject| by.sent(reject);
        let mut listed = redrive::list_only(self.log(), partition, from, read, is_sent).await?;
        if let Some(first_left_out) = listed.found.get(limit) {
            listed.next = Some(first_left_out.offset);
            listed.found.truncate(limit);
        }
        let fates = redrive::fates(self.db(), &listed.found).await?;
        let lines = listed.found.iter().zip(&fates);
        Ok(SentRejectPage {
            partitions,
            rejects: lines
                .map(|(found, fate)| SentReject::new(found, fate.as_ref()))
                .collect(),
            next: listed.next.map(|next| next.0),
        })
    }

    /// One reject of a sender's. Whether there is one of another's is not told.
    pub async fn sent_reject(
        &self,
        by: &SentBy,
        place: RejectPlace,
    ) -> Result<SentRejectDetail, CommandError> {
        let RejectPlace { partition, offset } = place;
        self.partitions_with(partition).await?;
        let (partition, offset) = (Partition(partition), Offset(offset));
        let is_sent = |reject: &Reject| by.sent(reject);
        let listed =
            redrive::list_only(self.log(), partition, offset, ReadLimit::ONE, is_sent).await?;
        let found = listed
            .found
            .into_iter()
            .find(|found| found.offset == offset);
        let found = found.ok_or_else(|| {
            let detail = format!(
                "this key has no reject at partition {partition}, offset {offset}, or it has \
                 expired; GET /api/v1/rejects lists those that are kept"
            );
            Refusal::not_found("no_such_reject", detail)
        })?;
        let fates = redrive::fates(self.db(), std::slice::from_ref(&found)).await?;
        let fate = fates.into_iter().next().flatten();
        let (value, whole_bytes) = match &found.reject {
            Reject::Usage(reject) => (Some(&reject.original.value), reject.whole_bytes),
            Reject::Gateway(reject) => (Some(&reject.draft), None),
            Reject::Foreign(_) => (None, None),
        };
        Ok(SentRejectDetail {
            reject: SentReject::new(&found, fate.as_ref()),
            value: value.map(BytesText::from),
            whole_bytes,
        })
    }
}
