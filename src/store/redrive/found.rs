//! Rejects as they stand in the log, and what is kept of their originals.

use crate::domain::position::{Offset, Partition};
use crate::log::rejected::{self, Reject, RejectError, RejectedRecord};
use crate::log::usage::SOURCE_HEADER;
use crate::log::{Bounds, Log, LogError, MUST_BE_THERE, ReadLimit, Record, Topic};

/// A reject, and where it stands in `usage.rejected`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The partition.
    pub partition: Partition,
    /// Where in it.
    pub offset: Offset,
    /// What it says.
    pub reject: Reject,
}

/// What is kept of an original.
pub(super) struct Kept<'f> {
    /// The event's bytes.
    pub value: &'f [u8],
    /// The header `source`, which means something to the plain form.
    pub source: Option<String>,
    /// The id of the key that sent it: what becomes of it is that key's to read as well.
    pub sender: Option<String>,
    /// Why `value` is only a part of it, if it is.
    pub cut_off: Option<String>,
}

impl Found {
    /// The name of the original, wherever its reject stands: its place in its own topic. What was
    /// posted has none, and is named by the place of its reject.
    pub fn name(&self) -> String {
        match &self.reject {
            Reject::Usage(reject) => {
                let (partition, position) = (reject.partition, reject.position);
                format!("{}:{partition}:{}", position.epoch, position.offset)
            }
            Reject::Foreign(reject) => {
                let (topic, partition, offset) = (&reject.topic, reject.partition, reject.offset);
                format!("{topic}:{partition}:{offset}:{}", reject.index)
            }
            Reject::Gateway(_) => format!("posted:{}:{}", self.partition, self.offset),
        }
    }

    /// What is kept of the original; or why nothing is.
    pub(super) fn kept(&self) -> Result<Kept<'_>, String> {
        match &self.reject {
            Reject::Usage(reject) => Ok(Kept {
                value: &reject.original.value,
                source: source_of(reject),
                sender: self.reject.sender().map(str::to_owned),
                cut_off: reject.whole_bytes.map(|bytes| cut_off(reject, bytes)),
            }),
            // As far as it could be read: without an edit it is refused again, with the field that
            // is missing.
            Reject::Gateway(reject) => Ok(Kept {
                value: &reject.draft,
                source: None,
                sender: reject.sender.clone(),
                cut_off: None,
            }),
            Reject::Foreign(reject) => Err(RejectError::Foreign {
                topic: reject.topic.clone(),
                partition: reject.partition,
                offset: reject.offset,
                index: reject.index,
            }
            .to_string()),
        }
    }
}

fn cut_off(reject: &RejectedRecord, bytes: u64) -> String {
    format!(
        "only the beginning of its {bytes} bytes is kept here; the whole record is in \
         usage.events/{} at offset {} until it expires. Redrive it with an edited event",
        reject.partition, reject.position.offset
    )
}

/// The one header of a record that decoding looks at. One that is no text was refused, and is left
/// to be refused again.
fn source_of(reject: &RejectedRecord) -> Option<String> {
    let mut headers = reject.original.headers.iter();
    let (_, value) = headers.find(|(name, _)| name == SOURCE_HEADER)?;
    std::str::from_utf8(value).ok().map(str::to_owned)
}

/// Why a reject cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The record is no reject.
    #[error(transparent)]
    Reject(#[from] RejectError),
}

/// The reject at a place of `usage.rejected`, a partition that there is; `None` if nothing stands
/// there, any more or yet.
pub async fn find(
    log: &dyn Log,
    partition: Partition,
    offset: Offset,
) -> Result<Option<Found>, FindError> {
    let found = list(log, partition, offset, ReadLimit::ONE).await?.found;
    Ok(found.into_iter().find(|found| found.offset == offset))
}

/// Some rejects of a partition.
#[derive(Clone, Debug)]
pub struct Listed {
    /// In log order.
    pub found: Vec<Found>,
    /// Where to go on; `None` if nothing follows yet.
    pub next: Option<Offset>,
}

/// Rejects of a partition from an offset on.
pub async fn list(
    log: &dyn Log,
    partition: Partition,
    from: Offset,
    limit: ReadLimit,
) -> Result<Listed, FindError> {
    let (records, next) = records(log, partition, from, limit).await?;
    let found = records.iter().map(|record| found(partition, record));
    Ok(Listed {
        found: found.collect::<Result<Vec<Found>, RejectError>>()?,
        next,
    })
}

/// Those of a partition's rejects that `is_wanted`, from an offset on; `limit` is about what is
/// read. What is not a reject is passed over.
pub async fn list_only(
    log: &dyn Log,
    partition: Partition,
    from: Offset,
    limit: ReadLimit,
    is_wanted: impl Fn(&Reject) -> bool,
) -> Result<Listed, LogError> {
    let (records, next) = records(log, partition, from, limit).await?;
    let found = records
        .iter()
        .filter_map(|record| found(partition, record).ok());
    Ok(Listed {
        found: found.filter(|found| is_wanted(&found.reject)).collect(),
        next,
    })
}

fn found(partition: Partition, record: &Record) -> Result<Found, RejectError> {
    Ok(Found {
        partition,
        offset: record.offset,
        reject: rejected::decode_reject(record)?,
    })
}

/// Records of a partition from an offset on, and where to go on; nowhere if nothing follows yet.
async fn records(
    log: &dyn Log,
    partition: Partition,
    from: Offset,
    limit: ReadLimit,
) -> Result<(Vec<Record>, Option<Offset>), LogError> {
    let topic = Topic::UsageRejected;
    let Bounds { start, end } = log.bounds(topic, partition).await?;
    let from = from.max(start);
    if from >= end {
        return Ok((Vec::new(), None));
    }
    let records = log
        .read(topic, partition, from, limit, MUST_BE_THERE)
        .await?;
    let next = records.last().map(|last| last.offset.next());
    Ok((records, next.filter(|next| *next < end)))
}
