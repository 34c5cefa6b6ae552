//! What became of rejects: sent again, as they were or edited, or discarded.
//!
//! Table Checkpoints, partition `reject#<the reject's own key>`, item `fate`: one row per refused
//! original, however often rating has written its reject (a restart may write one again). No row:
//! the reject is open.
//!
//! The first redrive stores the event that it sends before it sends it, under the condition that
//! there is no row, with the entry of the audit trail in the same transaction. Every repeat sends
//! what is stored. So a crash between storing and sending is cured by asking again; and asking
//! again, however late, cannot count twice:
//!
//! - what is sent is the same to the byte, so it has the same user, source, id and time, and goes
//!   to the same partition;
//! - while the first copy stands in the duplicate window of its partition, rating drops the second
//!   as a duplicate;
//! - later, an event takes the slow lane if a copy of it may have been forgotten, and its usage row
//!   says that the first copy won. Rows outlive the 35 days after which every event is too old;
//! - with usage rows switched off, what the window cannot tell is rejected as too old.
//!
//! All of that holds within one epoch of the log. An edited event whose user, source or id is new
//! is another event: then its new identity is what counts once. A redriven event that is refused
//! again becomes a reject of its own, open again under its own place.

mod found;

use bytes::Bytes;
use serde_json::json;

use super::audit;
use super::conditional::{Attempts, WriteOutcome};
use super::db::{Condition, Db, Item, Key, StoreError, Table, Write};
use super::row::{Fields, Row};
use crate::domain::event::{Reason, Rejection};
use crate::domain::position::{Offset, Partition};
use crate::domain::text::{TextError, check_reason};
use crate::domain::time::Millis;
use crate::log::usage::{
    SENDER_HEADER, SOURCE_HEADER, UsageRecord, decode, decode_record_or_faults,
};
use crate::log::{Headers, Log, LogError, NewRecord, Topic, usage_partition};

pub use found::{FindError, Found, Listed, find, list, list_only};

const FATE: &str = "fate";
const REDRIVEN: &str = "redriven";
const DISCARDED: &str = "discarded";

/// Who decides over a reject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decider {
    /// Who.
    pub by: String,
    /// When.
    pub now: Millis,
}

/// What became of a reject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was sent again, or is to be.
    Redriven(Redriven),
    /// It is done with.
    Discarded(Discarded),
}

impl Fate {
    /// `open`, `redriven` or `discarded`.
    pub const fn state(fate: Option<&Fate>) -> &'static str {
        match fate {
            None => "open",
            Some(Fate::Redriven(_)) => REDRIVEN,
            Some(Fate::Discarded(_)) => DISCARDED,
        }
    }
}

/// What is sent for a reject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redriven {
    /// Who redrove it first.
    pub by: String,
    /// When.
    pub at: Millis,
    /// Whether it is another event than the original.
    pub edited: bool,
    /// Its user.
    pub user: String,
    /// The event, as it is sent.
    pub value: String,
    /// The header `source` of the original, which means something to the plain form.
    pub source: Option<String>,
    /// The id of the key that sent the original; it may read what becomes of this event.
    pub sender: Option<String>,
    /// Where it went first; `None`: nobody knows whether it was sent. Redrive it again.
    pub sent: Option<Sent>,
}

/// Where a redriven event stands in `usage.events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The partition.
    pub partition: Partition,
    /// Where in it.
    pub offset: Offset,
}

/// That a reject is done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// Who says so.
    pub by: String,
    /// When.
    pub at: Millis,
    /// Why.
    pub reason: String,
}

/// Why a reject was not redriven or discarded.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// It was discarded.
    #[error("it was discarded by {by} at {at}; what is discarded is not sent any more")]
    IsDiscarded {
        /// Who.
        by: String,
        /// When.
        at: Millis,
    },
    /// It was sent.
    #[error("it was redriven by {by} at {at}; what was sent cannot be discarded")]
    IsRedriven {
        /// Who.
        by: String,
        /// When.
        at: Millis,
    },
    /// It was sent with other bytes.
    #[error(
        "it was redriven by {by} at {at} with another event, which counts; redrive it without a value to send that one again"
    )]
    IsOtherwise {
        /// Who.
        by: String,
        /// When.
        at: Millis,
    },
    /// There is no original, or not all of it.
    #[error("{0}")]
    NoOriginal(String),
    /// The event can never be read.
    #[error("the event cannot be read: {}", .0.detail)]
    Unreadable(Rejection),
    /// The reason cannot be kept.
    #[error(transparent)]
    Reason(#[from] TextError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What became of rejects, in their order.
pub async fn fates(db: &dyn Db, found: &[Found]) -> Result<Vec<Option<Fate>>, StoreError> {
    let names: Vec<String> = found.iter().map(Found::name).collect();
    fates_of(db, &names).await
}

/// The same of rejects with these names ([`Found::name`]).
pub async fn fates_of(db: &dyn Db, names: &[String]) -> Result<Vec<Option<Fate>>, StoreError> {
    let mut keys: Vec<Key> = names.iter().map(|name| key(name)).collect();
    // The same original may stand there twice.
    keys.sort_unstable();
    keys.dedup();
    let items = db.batch_get(&keys).await?;
    let fate = |name: &String| {
        let at = keys.binary_search(&key(name)).ok();
        let item = at.and_then(|at| items[at].as_ref());
        item.map(|item| decode_fate(name, item)).transpose()
    };
    names.iter().map(fate).collect()
}

/// Sends a reject again: what was stored by the first redrive if there was one, else `edited`, else
/// the original. See the module's text for why a repeat is safe.
pub async fn redrive(
    db: &dyn Db,
    log: &dyn Log,
    found: &Found,
    edited: Option<&str>,
    decider: &Decider,
) -> Result<Redriven, RedriveError> {
    let name = found.name();
    let mut redriven = stored(db, found, &name, edited, decider).await?;
    let record = NewRecord {
        key: Some(Bytes::from(redriven.user.clone())),
        value: Bytes::from(redriven.value.clone()),
        headers: headers(redriven.source.as_deref(), redriven.sender.as_deref()),
    };
    let topic = Topic::UsageEvents;
    let partition = usage_partition(&redriven.user, log.topic(topic).await?.partitions);
    let offsets = log.append(topic, partition, vec![record]).await?;
    if redriven.sent.is_none() {
        redriven.sent = offsets.first().map(|offset| Sent {
            partition,
            offset: *offset,
        });
        // Absolute: whoever repeats it meanwhile writes a place that is as true.
        db.write(put_redriven(&name, &redriven, Condition::Present))
            .await?;
    }
    Ok(redriven)
}

/// Stores what is to be sent, or finds what was stored.
async fn stored(
    db: &dyn Db,
    found: &Found,
    name: &str,
    edited: Option<&str>,
    decider: &Decider,
) -> Result<Redriven, RedriveError> {
    let mut attempts = Attempts::new(db);
    loop {
        if let Some(item) = db.get(&key(name)).await? {
            return match decode_fate(name, &item)? {
                Fate::Discarded(Discarded { by, at, .. }) => {
                    Err(RedriveError::IsDiscarded { by, at })
                }
                Fate::Redriven(before) if edited.is_some_and(|text| text != before.value) => {
                    let Redriven { by, at, .. } = before;
                    Err(RedriveError::IsOtherwise { by, at })
                }
                Fate::Redriven(before) => Ok(before),
            };
        }
        let first = first_redrive(found, edited, decider)?;
        let writes = vec![
            put_redriven(name, &first, Condition::Absent),
            audit_write(
                "rejects.redrive",
                found,
                decider,
                json!({"edited": first.edited, "userId": first.user}),
            ),
        ];
        if attempts.write(writes).await? == WriteOutcome::Written {
            return Ok(first);
        }
    }
}

/// The event that a first redrive sends, checked as at the edge.
fn first_redrive(
    found: &Found,
    edited: Option<&str>,
    decider: &Decider,
) -> Result<Redriven, RedriveError> {
    let kept = found.kept().map_err(RedriveError::NoOriginal)?;
    let value = match (edited, kept.cut_off) {
        (Some(text), _) => text.as_bytes(),
        (None, None) => kept.value,
        (None, Some(why)) => return Err(RedriveError::NoOriginal(why)),
    };
    let headers = headers(kept.source.as_deref(), None);
    let record = match decode_record_or_faults(value, &headers) {
        // It came past the edge, where such fields are passed over; as it was, it says the same
        // again.
        Err(faults) if edited.is_none() && faults.iter().all(is_misnamed) => {
            decode(value, &headers).map(UsageRecord::Event)
        }
        checked => checked.map_err(|mut faults| faults.swap_remove(0)),
    };
    let record = record.map_err(RedriveError::Unreadable)?;
    // What was decoded is JSON, so it is UTF-8.
    let text = String::from_utf8_lossy(value).into_owned();
    Ok(Redriven {
        by: decider.by.clone(),
        at: decider.now,
        edited: value != kept.value,
        user: record.into_user().into_owned(),
        value: text,
        source: kept.source,
        sender: kept.sender,
        sent: None,
    })
}

fn is_misnamed(fault: &Rejection) -> bool {
    fault.reason == Reason::MisnamedField
}

fn headers(source: Option<&str>, sender: Option<&str>) -> Headers {
    let header = |(name, value): (&str, Option<&str>)| {
        let value = Bytes::copy_from_slice(value?.as_bytes());
        Some((name.to_owned(), value))
    };
    let headers = [(SOURCE_HEADER, source), (SENDER_HEADER, sender)];
    headers.into_iter().filter_map(header).collect()
}

/// Marks a reject as done with. Idempotent: the first reason stays.
pub async fn discard(
    db: &dyn Db,
    found: &Found,
    reason: &str,
    decider: &Decider,
) -> Result<Discarded, RedriveError> {
    check_reason(reason)?;
    let name = found.name();
    let mut attempts = Attempts::new(db);
    loop {
        if let Some(item) = db.get(&key(&name)).await? {
            return match decode_fate(&name, &item)? {
                Fate::Discarded(before) => Ok(before),
                Fate::Redriven(Redriven { by, at, .. }) => Err(RedriveError::IsRedriven { by, at }),
            };
        }
        let discarded = Discarded {
            by: decider.by.clone(),
            at: decider.now,
            reason: reason.to_owned(),
        };
        let writes = vec![
            put_discarded(&name, &discarded),
            audit_write("rejects.discard", found, decider, json!({"reason": reason})),
        ];
        if attempts.write(writes).await? == WriteOutcome::Written {
            return Ok(discarded);
        }
    }
}

fn audit_write(
    action: &str,
    found: &Found,
    decider: &Decider,
    mut detail: serde_json::Value,
) -> Write {
    detail["partition"] = json!(found.partition);
    detail["offset"] = json!(found.offset);
    audit::write(&audit::Entry {
        at: decider.now,
        action: action.to_owned(),
        subject: found.name(),
        by: decider.by.clone(),
        detail,
    })
}

fn key(name: &str) -> Key {
    Key::new(Table::Checkpoints, format!("reject#{name}"), FATE)
}

fn put_redriven(name: &str, redriven: &Redriven, condition: Condition) -> Write {
    let mut fields = Fields::of(&key(name))
        .text("state", REDRIVEN)
        .text("by", &redriven.by)
        .number("at", redriven.at.0)
        .number("edited", u8::from(redriven.edited))
        .text("userId", &redriven.user)
        .text("value", &redriven.value);
    if let Some(source) = &redriven.source {
        fields = fields.text("source", source);
    }
    if let Some(sender) = &redriven.sender {
        fields = fields.text("sender", sender);
    }
    if let Some(sent) = redriven.sent {
        fields = fields
            .number("sentPartition", sent.partition.0)
            .number("sentOffset", sent.offset.0);
    }
    put(fields.item(), condition)
}

fn put_discarded(name: &str, discarded: &Discarded) -> Write {
    let fields = Fields::of(&key(name))
        .text("state", DISCARDED)
        .text("by", &discarded.by)
        .number("at", discarded.at.0)
        .text("reason", &discarded.reason);
    put(fields.item(), Condition::Absent)
}

fn put(item: Item, condition: Condition) -> Write {
    Write::Put {
        table: Table::Checkpoints,
        item,
        condition,
    }
}

fn decode_fate(name: &str, item: &Item) -> Result<Fate, StoreError> {
    let row = Row::new(key(name), item);
    let (by, at) = (row.text("by")?.to_owned(), Millis(row.number("at")?));
    match row.text("state")? {
        DISCARDED => Ok(Fate::Discarded(Discarded {
            by,
            at,
            reason: row.text("reason")?.to_owned(),
        })),
        REDRIVEN => {
            let partition = row.number_opt("sentPartition")?.map(Partition);
            let offset = row.number_opt("sentOffset")?.map(Offset);
            let sent = partition.zip(offset);
            Ok(Fate::Redriven(Redriven {
                by,
                at,
                edited: row.number::<u8>("edited")? == 1,
                user: row.text("userId")?.to_owned(),
                value: row.text("value")?.to_owned(),
                source: row.text_opt("source")?.map(str::to_owned),
                sender: row.text_opt("sender")?.map(str::to_owned),
                sent: sent.map(|(partition, offset)| Sent { partition, offset }),
            }))
        }
        other => Err(row.corrupt(format!("attribute state is {other}"))),
    }
}
