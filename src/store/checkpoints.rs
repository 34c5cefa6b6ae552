//! Checkpoints: recorded cuts, sequences and positions, top-K lists, and halts. All stand in table
//! `Checkpoints`.
//!
//! Every item here that two workers might both want to write carries the id of its last write, and
//! is written only if that is still the one that the writer has read.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::audit;
use super::conditional::{WriteOutcome, write_once};
use super::db::{Attr, Condition, Db, ITEM_BYTES_MAX, Item, Key, StoreError, Table, Write};
use super::pages;
use super::rated_services::RatedServices;
use super::row::{Fields, Row};
use crate::domain::amount::Points;
use crate::domain::event::AHEAD_MS_MAX;
use crate::domain::ids::{Account, AccountKind, ID_BYTES_MAX};
use crate::domain::position::{
    Chunk, Control, Epoch, Offset, Partition, Position, Sequence, WriteId,
};
use crate::domain::time::{Millis, Month};
use crate::log::{Fingerprint, Record};
use crate::ops::health::{Role, TaskId};

/// Whether usage rows are written, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UsageRows {
    /// They are not: what the window has forgotten cannot be told from a duplicate.
    Off,
    /// Every event accepted after this log time has one; `None`: every event ever.
    Since(Option<Millis>),
}

impl UsageRows {
    /// What holds for events of both.
    pub fn and(self, other: UsageRows) -> UsageRows {
        match (self, other) {
            (UsageRows::Off, _) | (_, UsageRows::Off) => UsageRows::Off,
            (UsageRows::Since(a), UsageRows::Since(b)) => UsageRows::Since(a.max(b)),
        }
    }
}

/// What the duplicate window of a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowCut {
    /// How much log time it reaches back, ms.
    pub age_ms: i64,
    /// How many records it reaches back at most.
    pub records_max: u64,
    /// Usage rows.
    pub usage_rows: UsageRows,
    /// Its first record.
    pub first: Offset,
    /// Log time at that record.
    pub first_log_time: Millis,
    /// Log time of the newest valid record that the window has forgotten; `None` while it reaches
    /// back to the very beginning.
    pub forgotten: Option<Millis>,
}

impl WindowCut {
    /// What a window must count as forgotten if it may have forgotten every event up to this time.
    /// A copy of an event has the same time, and is appended at most `AHEAD_MS_MAX` before it.
    pub fn forgets_up_to(latest_event: Millis) -> Millis {
        latest_event.plus(-AHEAD_MS_MAX)
    }
}

/// An operator's word that append times of a source partition were wrong: a clock was ahead. It is
/// recorded with every cut from then on, so that a chunk is always rated by the same log time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClockCorrection {
    /// The epoch of the log.
    pub epoch: Epoch,
    /// It concerns the records before this offset.
    pub until: Offset,
    /// Their append times count as this moment if they are later. So does log time.
    pub at: Millis,
}

impl ClockCorrection {
    /// What a record's append time counts as.
    pub fn append_time(&self, record: &Record) -> Millis {
        if record.offset < self.until {
            record.append_time.min(self.at)
        } else {
            record.append_time
        }
    }
}

/// The recorded cut of one source partition: the chunk that is being rated, and all that its rating
/// depends on. It also says that every chunk before it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateCheckpoint {
    /// The id of `usage.events`.
    pub topic_id: String,
    /// The epoch of the logs.
    pub epoch: Epoch,
    /// Partitions of `usage.events`.
    pub partitions: u32,
    /// Partitions of `ledger.postings`.
    pub posting_partitions: u32,
    /// The chunk.
    pub chunk: Chunk,
    /// Its first record.
    pub from: Offset,
    /// The offset after its last record; equal to `from`: nothing is cut, everything before is
    /// done.
    pub to: Offset,
    /// The control position with which it is rated.
    pub control: Control,
    /// The number of the rating semantics that must rate it.
    pub semantics: u32,
    /// Log time just before it.
    pub log_time: Millis,
    /// The duplicate window.
    pub window: WindowCut,
    /// Record `to − 1`.
    pub fingerprint: Option<Fingerprint>,
    /// The last sequence sent to each posting partition before this chunk.
    pub sequences: Vec<Sequence>,
    /// The correction of append times that is in force in this epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockCorrection>,
    /// The latest time of all valid events before this chunk, or later; `None`: not known. An event
    /// whose time is after it has no copy among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_event: Option<Millis>,
    /// With which services the records of the duplicate window and of the chunk were rated, by
    /// record. An event of a service that was unknown was rejected, so it is in no window, also
    /// after the service was added.
    #[serde(default, skip_serializing_if = "RatedServices::is_empty")]
    pub services: RatedServices,
}

impl RateCheckpoint {
    /// Whether a chunk is cut that may not be done yet.
    pub fn is_cut(&self) -> bool {
        self.from < self.to
    }
}

/// What a posting partition has taken from one source partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceState {
    /// The last sequence accepted.
    pub sequence: Sequence,
    /// Its source log time.
    pub log_time: Millis,
    /// Its chunk; `None`: an older tidemark wrote this, which did not store it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<Chunk>,
}

/// A row that a posting partition has written: it must be found again, at this position or a later
/// one. If it is not, the account table is older than the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Witness {
    /// The account whose head was written last, of its kind.
    pub account: Account,
    /// The position in its fence.
    pub position: Position,
}

/// How far a posting partition is done: rows written, effects durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostCheckpoint {
    /// The id of `ledger.postings`.
    pub topic_id: String,
    /// The epoch of the logs.
    pub epoch: Epoch,
    /// Partitions of `ledger.postings`.
    pub partitions: u32,
    /// The next offset to read.
    pub next: Offset,
    /// Record `next − 1`.
    pub fingerprint: Option<Fingerprint>,
    /// By source partition.
    pub sources: BTreeMap<u32, SourceState>,
    /// One of each kind of account.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<Witness>,
}

/// How far a partition of a gateway's topic is done: its events and rejects are in our log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdaptCheckpoint {
    /// The id of the topic.
    pub topic_id: String,
    /// The next offset to read.
    pub next: Offset,
}

/// One account in a top-K list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ranked(pub Points, pub String);

/// The best accounts of one kind in one month among those of one posting partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopList {
    /// How many of them are exact.
    pub exact: usize,
    /// Best first.
    pub ranked: Vec<Ranked>,
    /// The best that was ever left out; `None` if none was.
    pub left_out: Option<Ranked>,
}

impl TopList {
    /// What one account takes of a list's item at most: its id (bytes that JSON escapes are ASCII,
    /// of which an id has a quarter), its points, and what stands around them.
    const RANKED_BYTES_MAX: usize = ID_BYTES_MAX + 20 + r#"[,""],"#.len();
    /// What the rest of the item takes at most: key, write id, names.
    const FRAME_BYTES_MAX: usize = 512;
    /// So many accounts fit into one item, whatever their ids, the best that was left out included.
    pub const RANKED_MAX: usize =
        (ITEM_BYTES_MAX - TopList::FRAME_BYTES_MAX) / TopList::RANKED_BYTES_MAX - 1;
}

/// Why a partition stands still, as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HaltRecord {
    /// Which task (`rate/2`).
    pub task: String,
    /// A stable code.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
    /// When it was noticed.
    pub at: Millis,
}

/// An item and the id of the write that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// What it holds.
    pub value: T,
    /// Its last write.
    pub write: WriteId,
}

fn name(task: TaskId) -> String {
    format!("{}#{}", task.role, task.partition)
}

/// The key of a partition's checkpoint.
pub fn checkpoint_key(task: TaskId) -> Key {
    Key::new(Table::Checkpoints, name(task), "checkpoint")
}

/// The key of a top-K list. `since` is the epoch since which the partition has the accounts that it
/// has: a change of the number of posting partitions begins new lists.
pub fn top_key(partition: Partition, kind: AccountKind, month: Month, since: Epoch) -> Key {
    let item = match since {
        Epoch(0) => format!("top#{kind}#{month}"),
        Epoch(since) => format!("top#{kind}#{month}#{since}"),
    };
    let hash = name(TaskId::new(Role::Post, partition));
    Key::new(Table::Checkpoints, hash, item)
}

fn started_key(task: TaskId) -> Key {
    Key::new(Table::Checkpoints, "started", task.to_string())
}

/// The write that goes with a task's first checkpoint: from then on it must have one.
pub fn start(task: TaskId) -> Write {
    Write::Put {
        table: Table::Checkpoints,
        item: started_key(task).item(),
        condition: Condition::Always,
    }
}

/// Whether a task has ever had a checkpoint. False as well if its first one was written by an older
/// tidemark.
pub async fn has_started(db: &dyn Db, task: TaskId) -> Result<bool, StoreError> {
    Ok(db.get(&started_key(task)).await?.is_some())
}

/// A posting checkpoint as it was some time ago.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EarlierCheckpoint {
    /// When it was stored, or later.
    pub at: Millis,
    /// The checkpoint.
    pub checkpoint: PostCheckpoint,
}

/// How long one of them stays the newest, by the clock of the worker that keeps it.
pub const EARLIER_INTERVAL_MS: i64 = 600_000;
/// How many of them there are.
const EARLIER_KEPT: i64 = 3;
/// How far back they reach at the most, ms, with as much again for clocks that differ.
pub const EARLIER_REACH_MS: i64 = 2 * (EARLIER_KEPT + 1) * EARLIER_INTERVAL_MS;

fn earlier_key(partition: Partition, slot: i64) -> Key {
    let hash = name(TaskId::new(Role::Post, partition));
    Key::new(Table::Checkpoints, hash, format!("earlier#{slot}"))
}

/// The write that keeps a posting checkpoint which is stored, in the place of the oldest that is
/// kept.
pub fn keep_earlier(partition: Partition, earlier: &EarlierCheckpoint) -> Write {
    let slot = (earlier.at.0.div_euclid(EARLIER_INTERVAL_MS)).rem_euclid(EARLIER_KEPT);
    Write::Put {
        table: Table::Checkpoints,
        item: Fields::of(&earlier_key(partition, slot))
            .json("body", earlier)
            .item(),
        condition: Condition::Always,
    }
}

/// The posting checkpoints of a while ago that are kept, in no order.
pub async fn earlier(
    db: &dyn Db,
    partition: Partition,
) -> Result<Vec<EarlierCheckpoint>, StoreError> {
    let keys: Vec<Key> = (0..EARLIER_KEPT)
        .map(|slot| earlier_key(partition, slot))
        .collect();
    let items = db.batch_get(&keys).await?;
    let read = |(key, item): (&Key, Option<Item>)| {
        let item = item?;
        Some(Row::new(key.clone(), &item).json("body"))
    };
    keys.iter().zip(items).filter_map(read).collect()
}

fn clock_key(source: Partition) -> Key {
    Key::new(
        Table::Checkpoints,
        name(TaskId::new(Role::Rate, source)),
        "clock",
    )
}

/// The newest correction of a source partition's append times; its rater applies it when it is
/// taken up.
pub async fn clock_correction(
    db: &dyn Db,
    source: Partition,
) -> Result<Option<ClockCorrection>, StoreError> {
    let key = clock_key(source);
    let item = db.get(&key).await?;
    item.map(|item| Row::new(key, &item).json("body"))
        .transpose()
}

/// Declares append times of a source partition wrong, and leaves an audit entry, in one
/// transaction. Fails if a later correction is stored.
pub async fn correct_clock(
    db: &dyn Db,
    source: Partition,
    correction: &ClockCorrection,
    by: &str,
    now: Millis,
) -> Result<(), StoreError> {
    let entry = audit::Entry {
        at: now,
        action: "clock.correct".to_owned(),
        subject: TaskId::new(Role::Rate, source).to_string(),
        by: by.to_owned(),
        detail: json!({"correction": correction}),
    };
    let put = clock_correction_write(source, correction);
    db.transact(vec![put, audit::write(&entry)]).await
}

/// The write that stores a correction, unless a later one is stored.
pub fn clock_correction_write(source: Partition, correction: &ClockCorrection) -> Write {
    let item = Fields::of(&clock_key(source))
        .json("body", correction)
        .number("at", correction.at.0);
    Write::Put {
        table: Table::Checkpoints,
        item: item.item(),
        condition: Condition::AbsentOrAtMost("at", Attr::N(correction.at.0.into())),
    }
}

fn halt_key(task: TaskId) -> Key {
    Key::new(Table::Checkpoints, "halts", task.to_string())
}

/// Reads an item that is kept under [`put`].
pub async fn get<T: DeserializeOwned>(
    db: &dyn Db,
    key: &Key,
) -> Result<Option<Versioned<T>>, StoreError> {
    let Some(item) = db.get(key).await? else {
        return Ok(None);
    };
    let row = Row::new(key.clone(), &item);
    Ok(Some(Versioned {
        value: row.json("body")?,
        write: row.parsed("write")?,
    }))
}

/// The write that puts an item, if its last write is still `previous` (`None`: there is no item).
pub fn put<T: Serialize>(key: &Key, value: &T, previous: Option<WriteId>, write: WriteId) -> Write {
    let item = Fields::of(key)
        .json("body", value)
        .text("write", write)
        .item();
    let condition = match previous {
        Some(previous) => Condition::Equals("write", Attr::S(previous.to_string())),
        None => Condition::Absent,
    };
    Write::Put {
        table: key.table,
        item,
        condition,
    }
}

/// The id of the last write to an item.
pub async fn last_write(db: &dyn Db, key: &Key) -> Result<Option<WriteId>, StoreError> {
    let Some(item) = db.get(key).await? else {
        return Ok(None);
    };
    Row::new(key.clone(), &item).parsed("write").map(Some)
}

/// The recorded halt of a task.
pub async fn halt_of(db: &dyn Db, task: TaskId) -> Result<Option<HaltRecord>, StoreError> {
    let key = halt_key(task);
    let item = db.get(&key).await?;
    item.map(|item| Row::new(key, &item).json("body"))
        .transpose()
}

/// Every recorded halt.
pub async fn halts(db: &dyn Db) -> Result<Vec<HaltRecord>, StoreError> {
    let items = pages::all(db, pages::whole(Table::Checkpoints, "halts")).await?;
    items
        .iter()
        .map(|item| Row::new(Key::new(Table::Checkpoints, "halts", "?"), item).json("body"))
        .collect()
}

/// Records a halt. Idempotent: the first record of a halt stays.
pub async fn record_halt(db: &dyn Db, task: TaskId, record: &HaltRecord) -> Result<(), StoreError> {
    let item = Fields::of(&halt_key(task)).json("body", record).item();
    let write = Write::Put {
        table: Table::Checkpoints,
        item,
        condition: Condition::Absent,
    };
    write_once(db, vec![write]).await.map(drop)
}

/// Clears a halt and leaves an audit entry, in one transaction. False: the task is not halted.
pub async fn resume(db: &dyn Db, task: TaskId, by: &str, now: Millis) -> Result<bool, StoreError> {
    let Some(halt) = halt_of(db, task).await? else {
        return Ok(false);
    };
    let entry = audit::Entry {
        at: now,
        action: "resume".to_owned(),
        subject: task.to_string(),
        by: by.to_owned(),
        detail: json!({"halt": halt}),
    };
    let writes = vec![
        Write::Delete {
            key: halt_key(task),
            condition: Condition::Present,
        },
        audit::write(&entry),
    ];
    Ok(write_once(db, writes).await? == WriteOutcome::Written)
}
