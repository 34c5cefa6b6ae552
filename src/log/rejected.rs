//! The format of `usage.rejected`: the record as it came, and why it was refused.
//!
//! The value is the original's, byte for byte. Headers say the rest: `reason`, `detail`, `field` (if it is about one), `epoch`, `partition`
//! and `offset` of the original, `logTime` (milliseconds since 1970), `key` (if the original had one), and each header of the original,
//! in order, with `original.` before its name, so that it can never be taken for one of ours. The key is `epoch:partition:offset`.

use bytes::Bytes;

use crate::domain::event::{Reason, Rejection};
use crate::domain::position::{Epoch, Offset, Partition, Position};
use crate::domain::time::Millis;

use super::{NewRecord, Record};

/// Before the name of each of the original's headers.
const ORIGINAL: &str = "original.";
/// Longest `detail` that is kept: it may quote what it is about.
const DETAIL_BYTES_MAX: usize = 1_024;
/// More than our own headers, the key and a detail ever take.
const OWN_BYTES_MAX: usize = 2_048;

/// The largest reject that a record of `bytes` can become. A header takes at least two bytes on any wire,
/// and becomes as much longer as the prefix is.
pub const fn largest_reject(bytes: usize) -> usize {
    bytes + bytes / 2 * ORIGINAL.len() + OWN_BYTES_MAX
}

/// A refused record and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRecord {
    /// The stable code.
    pub reason: Reason,
    /// The field it is about.
    pub field: Option<String>,
    /// A sentence for people.
    pub detail: String,
    /// The partition of `usage.events` in which the original stands.
    pub partition: Partition,
    /// Where in it.
    pub position: Position,
    /// The log time at which it was judged.
    pub log_time: Millis,
    /// The original, as it could be appended again.
    pub original: NewRecord,
}

/// The record is no reject of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectError {
    /// A header is missing.
    #[error("header '{0}' is missing; only tidemark writes to usage.rejected")]
    Missing(&'static str),
    /// A header says something that it never says.
    #[error(
        "header '{header}' says '{value}', which is no {wanted}; only tidemark writes to usage.rejected"
    )]
    Unreadable {
        /// Which.
        header: &'static str,
        /// What it says.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
}

/// The reject of a record of partition `source`, judged at `log_time`. A detail of more than 1,024 bytes is cut.
pub fn encode(
    original: &Record,
    epoch: Epoch,
    source: Partition,
    log_time: Millis,
    rejection: &Rejection,
) -> NewRecord {
    let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let mut headers = vec![
        (
            "reason".to_owned(),
            Bytes::from_static(rejection.reason.as_str().as_bytes()),
        ),
        ("detail".to_owned(), text(cut(&rejection.detail))),
        ("epoch".to_owned(), epoch.to_string().into()),
        ("partition".to_owned(), source.to_string().into()),
        ("offset".to_owned(), original.offset.to_string().into()),
        ("logTime".to_owned(), log_time.0.to_string().into()),
    ];
    if let Some(field) = rejection.field {
        headers.push(("field".to_owned(), Bytes::from_static(field.as_bytes())));
    }
    if let Some(key) = &original.key {
        headers.push(("key".to_owned(), key.clone()));
    }
    let kept = original.headers.iter();
    headers.extend(kept.map(|(name, value)| (format!("{ORIGINAL}{name}"), value.clone())));
    NewRecord {
        key: Some(format!("{epoch}:{source}:{}", original.offset).into()),
        value: original.value.clone(),
        headers,
    }
}

/// The text, cut between characters to what is kept.
fn cut(detail: &str) -> &str {
    &detail[..detail.floor_char_boundary(DETAIL_BYTES_MAX)]
}

/// Reads a reject.
pub fn decode(record: &Record) -> Result<RejectedRecord, RejectError> {
    let reason = text(record, "reason")?;
    let unknown = || unreadable("reason", reason.as_bytes(), "reason that this build knows");
    let originals = record.headers.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix(ORIGINAL)?;
        Some((name.to_owned(), value.clone()))
    });
    Ok(RejectedRecord {
        reason: Reason::ALL
            .into_iter()
            .find(|known| known.as_str() == reason)
            .ok_or_else(unknown)?,
        field: match record.header("field") {
            Some(_) => Some(text(record, "field")?.to_owned()),
            None => None,
        },
        detail: text(record, "detail")?.to_owned(),
        partition: Partition(number(record, "partition")?),
        position: Position {
            epoch: Epoch(number(record, "epoch")?),
            offset: Offset(number(record, "offset")?),
        },
        log_time: Millis(number(record, "logTime")?),
        original: NewRecord {
            key: bytes(record, "key"),
            value: record.value.clone(),
            headers: originals.collect(),
        },
    })
}

fn bytes(record: &Record, name: &str) -> Option<Bytes> {
    let header = record.headers.iter().find(|(n, _)| n == name);
    header.map(|(_, value)| value.clone())
}

fn unreadable(header: &'static str, value: &[u8], wanted: &'static str) -> RejectError {
    RejectError::Unreadable {
        header,
        value: String::from_utf8_lossy(value).into_owned(),
        wanted,
    }
}

fn text<'a>(record: &'a Record, name: &'static str) -> Result<&'a str, RejectError> {
    let value = record.header(name).ok_or(RejectError::Missing(name))?;
    std::str::from_utf8(value).map_err(|_| unreadable(name, value, "UTF-8 text"))
}

fn number<T: std::str::FromStr>(record: &Record, name: &'static str) -> Result<T, RejectError> {
    let value = text(record, name)?;
    value
        .parse()
        .map_err(|_| unreadable(name, value.as_bytes(), "number in range"))
}
