//! The format of `usage.rejected`: the record as it came, and why it was refused.
//!
//! The value is the original's, byte for byte. Headers say the rest: `reason`, `detail`, `field`
//! (if it is about one), `epoch`, `partition` and `offset` of the original, `logTime` (milliseconds
//! since 1970), `key` (if the original had one), and each header of the original, in order, with
//! `original.` before its name, so that it can never be taken for one of ours. The key is
//! `epoch:partition:offset`.
//!
//! What an adapter refused stands here too, but without the original: a gateway's log record may
//! hold prompts, keys and addresses, which never enter our log. Such a reject has an empty value;
//! its headers are `reason`, `detail`, `field`, `source`, `logTime` (the record's own timestamp),
//! and `foreignTopic`, `foreignPartition`, `foreignOffset` and `foreignIndex`, which say where the
//! original stands. Its key is those four, joined by colons.
//!
//! What a gateway posted over HTTP in a form of its own, and what cannot be read, stands here as a
//! draft: the canonical event without the fields that are missing or wrong. The original is nowhere
//! else, but what it holds beside those fields may be prompts and keys. The value is that draft
//! (empty if nothing could be read); headers are `reason`, `detail`, `field`, `gateway` (the form),
//! `logTime` (when it came in) and `sender` (the id of the API key that sent it, absent in rejects
//! of older versions). The key is the form and a hash of draft and detail, so that an item that is
//! sent twice is one reject twice, and can be known for it.

use std::borrow::Cow;

use bytes::Bytes;

use crate::domain::event::{Reason, Rejection};
use crate::domain::position::{Epoch, Offset, Partition, Position};
use crate::domain::time::Millis;

use super::usage::{SENDER_HEADER, source_of};
use super::{NewRecord, Record};

/// Before the name of each of the original's headers.
const ORIGINAL: &str = "original.";
/// The header that tells the reject of an adapter from that of a record of `usage.events`.
const FOREIGN_TOPIC: &str = "foreignTopic";
/// The header that tells the reject of an item that a gateway posted.
const GATEWAY: &str = "gateway";
/// The header that names the key by which a gateway posted.
const SENDER: &str = "sender";
/// Longest `detail` that is kept: it may quote what it is about.
const DETAIL_BYTES_MAX: usize = 1_024;
/// More than our own headers, the key and a detail ever take.
const OWN_BYTES_MAX: usize = 2_048;

/// The largest original, by [`Record::size`], that a reject holds whole. Nothing that tidemark's
/// own topics are meant to take is larger; but a broker looks at the size of compressed batches, so
/// a single record may be. Then the reject holds its beginning, and the whole stays where it was
/// found.
pub const ORIGINAL_BYTES_MAX: usize = 1 << 20;
/// How much of a larger one is held.
const BEGINNING_BYTES: usize = 64 * 1024;
/// The name of the header that says how large it is.
const WHOLE_BYTES: &str = "wholeBytes";

/// The largest reject that a record of `bytes` can become. A header takes at least two bytes on any
/// wire, and becomes as much longer as the prefix is.
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
    /// The original, as it could be appended again, unless it is not whole.
    pub original: NewRecord,
    /// Set if only the beginning of the value is here: how many bytes the whole original has.
    pub whole_bytes: Option<u64>,
}

/// What an adapter refused, and why. The original stays in the gateway's topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignReject {
    /// The stable code.
    pub reason: Reason,
    /// The field it is about, as the gateway names it.
    pub field: Option<String>,
    /// A sentence for people, which quotes nothing.
    pub detail: String,
    /// The CloudEvents source of the adapter.
    pub source: String,
    /// The gateway's topic.
    pub topic: String,
    /// The partition of that topic.
    pub partition: Partition,
    /// Where in it.
    pub offset: Offset,
    /// The place of the log entry in the record.
    pub index: u32,
    /// The timestamp of the gateway's record.
    pub log_time: Millis,
}

/// An item that a gateway posted, that cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayReject {
    /// The stable code.
    pub reason: Reason,
    /// The field it is about, as the gateway names it.
    pub field: Option<String>,
    /// A sentence for people, which quotes nothing.
    pub detail: String,
    /// The form that it was posted in.
    pub format: String,
    /// When it came in.
    pub received: Millis,
    /// The id of the API key that sent it, if that is known.
    pub sender: Option<String>,
    /// The event as far as it could be read: canonical JSON that lacks what is missing or wrong;
    /// empty if there is nothing.
    pub draft: Bytes,
}

/// A reject of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reject {
    /// Of a record of `usage.events`.
    Usage(RejectedRecord),
    /// Of an entry in a gateway's topic.
    Foreign(ForeignReject),
    /// Of an item that a gateway posted.
    Gateway(GatewayReject),
}

impl Reject {
    /// The stable code.
    pub const fn reason(&self) -> Reason {
        match self {
            Reject::Usage(reject) => reject.reason,
            Reject::Foreign(reject) => reject.reason,
            Reject::Gateway(reject) => reject.reason,
        }
    }

    /// The id of the API key that sent the original; `None` if it came another way, or before that
    /// was recorded.
    pub fn sender(&self) -> Option<&str> {
        match self {
            Reject::Usage(reject) => {
                let mut headers = reject.original.headers.iter();
                let (_, sender) = headers.find(|(name, _)| name == SENDER_HEADER)?;
                std::str::from_utf8(sender).ok()
            }
            Reject::Foreign(_) => None,
            Reject::Gateway(reject) => reject.sender.as_deref(),
        }
    }

    /// The source of the original, as scopes (`ingest:SOURCE`) name it; of what a gateway posted,
    /// the form. `None` if it cannot be read.
    pub fn source(&self) -> Option<Cow<'_, str>> {
        match self {
            Reject::Usage(RejectedRecord { original, .. }) => {
                source_of(&original.value, &original.headers).map(Cow::Owned)
            }
            Reject::Foreign(reject) => Some(Cow::Borrowed(&reject.source)),
            Reject::Gateway(reject) => Some(Cow::Borrowed(&reject.format)),
        }
    }
}

/// The record is no reject of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectError {
    /// A header is missing.
    #[error("header '{0}' is missing; only tidemark writes to usage.rejected")]
    Missing(&'static str),
    /// A header says something that it never says.
    #[error(
        "header '{header}' says '{value}', which is not a {wanted}; only tidemark writes to \
         usage.rejected"
    )]
    Unreadable {
        /// Which.
        header: &'static str,
        /// What it says.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// There is no record of `usage.events` that it is about.
    #[error(
        "this was posted as {format}, and could not be made an event ({detail}); what could be read of it is kept as a draft: mend it, and send it as \
         an event"
    )]
    Gateway {
        /// The form that it was posted in.
        format: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The original is not here.
    #[error(
        "entry {index} of {topic}/{partition} offset {offset} was refused by its adapter, and its original is not kept, since it may hold \
         prompts and keys; it cannot be shown or resent from here: read it in its own topic, fix the gateway or the adapter, and send the usage with `tidemark emit`"
    )]
    Foreign {
        /// The gateway's topic.
        topic: String,
        /// The partition of that topic.
        partition: Partition,
        /// Where in it.
        offset: Offset,
        /// The place of the log entry in the record.
        index: u32,
    },
}

/// The reject of what an adapter refused. A detail of more than 1,024 bytes is cut.
pub fn encode_foreign(reject: &ForeignReject) -> NewRecord {
    let ForeignReject {
        topic,
        partition,
        offset,
        index,
        ..
    } = reject;
    let mut headers = vec![
        ("reason".to_owned(), reject.reason.as_str().into()),
        ("detail".to_owned(), cut(&reject.detail).to_owned().into()),
        ("source".to_owned(), reject.source.clone().into()),
        ("logTime".to_owned(), reject.log_time.0.to_string().into()),
        (FOREIGN_TOPIC.to_owned(), topic.clone().into()),
        ("foreignPartition".to_owned(), partition.to_string().into()),
        ("foreignOffset".to_owned(), offset.to_string().into()),
        ("foreignIndex".to_owned(), index.to_string().into()),
    ];
    if let Some(field) = &reject.field {
        headers.push(("field".to_owned(), field.clone().into()));
    }
    NewRecord {
        key: Some(format!("{topic}:{partition}:{offset}:{index}").into()),
        value: Bytes::new(),
        headers,
    }
}

/// The reject of an item that a gateway posted. A detail of more than 1,024 bytes is cut.
pub fn encode_gateway(reject: &GatewayReject) -> NewRecord {
    let detail = cut(&reject.detail);
    let mut headers = vec![
        ("reason".to_owned(), reject.reason.as_str().into()),
        ("detail".to_owned(), detail.to_owned().into()),
        ("logTime".to_owned(), reject.received.0.to_string().into()),
        (GATEWAY.to_owned(), reject.format.clone().into()),
    ];
    if let Some(field) = &reject.field {
        headers.push(("field".to_owned(), field.clone().into()));
    }
    if let Some(sender) = &reject.sender {
        headers.push((SENDER.to_owned(), sender.clone().into()));
    }
    let mut hash = xxhash_rust::xxh3::Xxh3Default::new();
    hash.update(&reject.draft);
    hash.update(detail.as_bytes());
    NewRecord {
        key: Some(format!("{}:{:032x}", reject.format, hash.digest128()).into()),
        value: reject.draft.clone(),
        headers,
    }
}

fn decode_gateway(record: &Record) -> Result<GatewayReject, RejectError> {
    Ok(GatewayReject {
        reason: reason(record)?,
        field: field(record)?,
        detail: text(record, "detail")?.to_owned(),
        format: text(record, GATEWAY)?.to_owned(),
        received: Millis(number(record, "logTime")?),
        sender: match record.header(SENDER) {
            Some(_) => Some(text(record, SENDER)?.to_owned()),
            None => None,
        },
        draft: record.value.clone(),
    })
}

/// Reads a reject of any kind.
pub fn decode_reject(record: &Record) -> Result<Reject, RejectError> {
    if record.header(GATEWAY).is_some() {
        return decode_gateway(record).map(Reject::Gateway);
    }
    if record.header(FOREIGN_TOPIC).is_some() {
        decode_foreign(record).map(Reject::Foreign)
    } else {
        decode(record).map(Reject::Usage)
    }
}

fn decode_foreign(record: &Record) -> Result<ForeignReject, RejectError> {
    Ok(ForeignReject {
        reason: reason(record)?,
        field: field(record)?,
        detail: text(record, "detail")?.to_owned(),
        source: text(record, "source")?.to_owned(),
        topic: text(record, FOREIGN_TOPIC)?.to_owned(),
        partition: Partition(number(record, "foreignPartition")?),
        offset: Offset(number(record, "foreignOffset")?),
        index: number(record, "foreignIndex")?,
        log_time: Millis(number(record, "logTime")?),
    })
}

/// The reject of a record of partition `source`, judged at `log_time`. A detail of more than 1,024
/// bytes is cut.
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
    let key = Some(format!("{epoch}:{source}:{}", original.offset).into());
    if original.size() > ORIGINAL_BYTES_MAX {
        headers.push((WHOLE_BYTES.to_owned(), original.size().to_string().into()));
        let beginning = original.value.len().min(BEGINNING_BYTES);
        let value = original.value.slice(..beginning);
        return NewRecord {
            key,
            value,
            headers,
        };
    }
    if let Some(key) = &original.key {
        headers.push(("key".to_owned(), key.clone()));
    }
    let kept = original.headers.iter();
    headers.extend(kept.map(|(name, value)| (format!("{ORIGINAL}{name}"), value.clone())));
    NewRecord {
        key,
        value: original.value.clone(),
        headers,
    }
}

/// The text, cut between characters to what is kept.
fn cut(detail: &str) -> &str {
    &detail[..detail.floor_char_boundary(DETAIL_BYTES_MAX)]
}

/// Reads a reject of a record of `usage.events`.
///
/// # Errors
/// The record is no such reject; [`RejectError::Foreign`] if it is one of an adapter, whose
/// original is not kept, [`RejectError::Gateway`] if it is one of an item that was posted.
pub fn decode(record: &Record) -> Result<RejectedRecord, RejectError> {
    if record.header(GATEWAY).is_some() {
        let GatewayReject { format, detail, .. } = decode_gateway(record)?;
        return Err(RejectError::Gateway { format, detail });
    }
    if record.header(FOREIGN_TOPIC).is_some() {
        let reject = decode_foreign(record)?;
        return Err(RejectError::Foreign {
            topic: reject.topic,
            partition: reject.partition,
            offset: reject.offset,
            index: reject.index,
        });
    }
    let originals = record.headers.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix(ORIGINAL)?;
        Some((name.to_owned(), value.clone()))
    });
    Ok(RejectedRecord {
        reason: reason(record)?,
        field: field(record)?,
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
        whole_bytes: match record.header(WHOLE_BYTES) {
            Some(_) => Some(number(record, WHOLE_BYTES)?),
            None => None,
        },
    })
}

fn reason(record: &Record) -> Result<Reason, RejectError> {
    let code = text(record, "reason")?;
    let unknown = || unreadable("reason", code.as_bytes(), "reason that this build knows");
    Reason::named(code).ok_or_else(unknown)
}

fn field(record: &Record) -> Result<Option<String>, RejectError> {
    match record.header("field") {
        Some(_) => Ok(Some(text(record, "field")?.to_owned())),
        None => Ok(None),
    }
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
