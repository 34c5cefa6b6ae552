//! What the auditor keeps in table Checkpoints: how far it has come, and what it found.

pub mod coverage;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::audit;
use super::checkpoints::{ClockCorrection, WindowCut};
use super::conditional::{Attempts, WriteOutcome};
use super::db::{
    Attr, Condition, Db, Item, Key, Query, RangeFilter, StoreError, TRANSACTION_ITEMS_MAX, Table,
    Write,
};
use super::pages;
use super::row::{Fields, Row};
use crate::domain::ids::Account;
use crate::domain::position::{Chunk, Control, Epoch, Offset, Partition, Sequence};
use crate::domain::time::Millis;

/// Hash key of the findings.
const FINDINGS: &str = "audit_findings";
/// The item that says how many findings were ever kept: the number of the newest.
const NUMBERS: (&str, &str) = ("audit_findings_kept", "last");

/// The last chunk that the auditor has passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PassedChunk {
    /// The chunk.
    pub chunk: Chunk,
    /// The offset after its last record.
    pub to: Offset,
    /// The last sequences that were sent once it was done.
    pub sequences: Vec<Sequence>,
    /// What else the next chunk goes on from; `None`: an older tidemark wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PassedState>,
}

/// What the chunk after a passed one goes on from, by the passed one's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PassedState {
    /// The control position with which it was rated.
    pub control: Control,
    /// Log time at its last record.
    pub log_time: Millis,
    /// The latest time of all valid events up to there, or later.
    pub latest_event: Option<Millis>,
    /// The correction of append times that was in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockCorrection>,
    /// Its duplicate window.
    pub window: WindowCut,
    /// The last chunk, up to and with this one, that has sent blocks; `None`: none of those that
    /// were passed has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<LastSent>,
}

/// The last chunk that has sent blocks. `tidemark recover` knows chunks by their blocks: what came
/// after this one may be cut anew, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastSent {
    /// The offset after its last record.
    pub to: Offset,
    /// The control position with which it was rated.
    pub control: Control,
    /// Log time at its last record.
    pub log_time: Millis,
}

/// How far the audit of one source partition has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditCheckpoint {
    /// The id of `ledger.cuts`.
    pub topic_id: String,
    /// The epoch of the logs.
    pub epoch: Epoch,
    /// Partitions of `ledger.cuts`.
    pub partitions: u32,
    /// The next record of `ledger.cuts`.
    pub next: Offset,
    /// The first chunk of this epoch that is in the audit log: what was rated before is not
    /// audited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_chunk: Option<Chunk>,
    /// The last chunk that was audited, or skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<PassedChunk>,
    /// By posting partition: no block of a later chunk stands before it.
    pub postings: Vec<Offset>,
    /// How many chunks were audited in this epoch.
    pub audited: u64,
    /// How many could not be: what it takes to rate them again is gone.
    pub skipped: u64,
    /// How many findings there were.
    pub findings: u64,
    /// How far the archive has come, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<coverage::ArchiveProgress>,
}

/// What is wrong with a chunk. The names are labels of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A posting block is another one than rating the chunk again gives.
    BlockDiffers,
    /// Rating the chunk again gives a posting block that `ledger.postings` does not hold.
    BlockMissing,
    /// `ledger.postings` holds a block that rating the chunk again does not give.
    BlockExtra,
    /// Blocks between two chunks are missing in `ledger.postings`.
    SequenceMissing,
    /// `usage.events` does not hold the records that were rated.
    RecordsGone,
    /// The chunk cannot be rated again: the store contradicts what was rated.
    NotRepeatable,
    /// A record of `ledger.cuts` cannot be decoded.
    CutUnreadable,
    /// A chunk begins before the end of one that has sent blocks: the records between count twice.
    RecordsRatedTwice,
    /// No chunk has rated the records between two chunks that follow each other.
    RecordsNotRated,
    /// The record of a chunk contradicts the chunk before it.
    CutContradicts,
    /// Rating the chunk again ends elsewhere than its record says: log time, latest event,
    /// sequences.
    EndDiffers,
}

impl FindingKind {
    /// All of them.
    pub const ALL: [FindingKind; 11] = [
        FindingKind::BlockDiffers,
        FindingKind::BlockMissing,
        FindingKind::BlockExtra,
        FindingKind::SequenceMissing,
        FindingKind::RecordsGone,
        FindingKind::NotRepeatable,
        FindingKind::CutUnreadable,
        FindingKind::RecordsRatedTwice,
        FindingKind::RecordsNotRated,
        FindingKind::CutContradicts,
        FindingKind::EndDiffers,
    ];

    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            FindingKind::BlockDiffers => "block_differs",
            FindingKind::BlockMissing => "block_missing",
            FindingKind::BlockExtra => "block_extra",
            FindingKind::SequenceMissing => "sequence_missing",
            FindingKind::RecordsGone => "records_gone",
            FindingKind::NotRepeatable => "not_repeatable",
            FindingKind::CutUnreadable => "cut_unreadable",
            FindingKind::RecordsRatedTwice => "records_rated_twice",
            FindingKind::RecordsNotRated => "records_not_rated",
            FindingKind::CutContradicts => "cut_contradicts",
            FindingKind::EndDiffers => "end_differs",
        }
    }
}

/// Something that the auditor found. It changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The epoch of the logs.
    pub epoch: Epoch,
    /// The source partition.
    pub source: Partition,
    /// The chunk; of an unreadable cut, the one before it.
    pub chunk: Chunk,
    /// What is wrong.
    pub kind: FindingKind,
    /// The partition of `ledger.postings`, if it is about a block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posting: Option<Partition>,
    /// The block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Sequence>,
    /// The account whose amounts differ, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// What is wrong, for people.
    pub what: String,
    /// When it was found.
    pub at: Millis,
}

impl Finding {
    /// The same finding has the same key, however often and by whomever it is made.
    fn key(&self) -> Key {
        let posting = self.posting.map_or(0, |q| q.0);
        let sequence = self.sequence.unwrap_or_default();
        let account = self.account.as_ref().map(Account::to_string);
        let range = format!(
            "{}#{:020}#{}#{posting:04}#{:020}#{}",
            of_source(self.epoch, self.source),
            self.chunk.0,
            self.kind.as_str(),
            sequence.0,
            account.unwrap_or_default()
        );
        Key::new(Table::Checkpoints, FINDINGS, range)
    }
}

/// How the keys of a source partition's findings begin.
fn of_source(epoch: Epoch, source: Partition) -> String {
    format!("{:010}#{:04}", epoch.0, source.0)
}

/// A finding as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFinding {
    /// Findings are numbered in the order in which they were kept. 0: an older tidemark kept it.
    pub number: u64,
    /// What was found.
    pub finding: Finding,
}

/// A page of findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FindingsPage {
    /// By epoch, source partition and chunk.
    pub findings: Vec<KeptFinding>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

fn numbers() -> Key {
    Key::new(Table::Checkpoints, NUMBERS.0, NUMBERS.1)
}

/// The number of the newest finding that was ever kept; 0: none was. Every finding up to there is
/// visible to whoever reads this first.
pub async fn last_number(db: &dyn Db) -> Result<u64, StoreError> {
    match db.get(&numbers()).await? {
        None => Ok(0),
        Some(item) => Row::new(numbers(), &item).number("number"),
    }
}

/// Keeps a finding. The first one of its key stays. It gets its number in the same transaction, so
/// that whoever has seen the findings up to a number has seen all of them.
pub async fn keep(db: &dyn Db, finding: &Finding) -> Result<(), StoreError> {
    let key = finding.key();
    let mut attempts = Attempts::new(db);
    loop {
        if db.get(&key).await?.is_some() {
            return Ok(());
        }
        let last = last_number(db).await?;
        let number = i128::from(last) + 1;
        let kept = Fields::of(&key)
            .number("number", number)
            .json("body", finding);
        let counted = Fields::of(&numbers()).number("number", number);
        let put = |item, condition| Write::Put {
            table: Table::Checkpoints,
            item,
            condition,
        };
        let is_next = match last {
            0 => Condition::Absent,
            last => Condition::Equals("number", Attr::N(last.into())),
        };
        let writes = vec![
            put(kept.item(), Condition::Absent),
            put(counted.item(), is_next),
        ];
        if attempts.write(writes).await? == WriteOutcome::Written {
            return Ok(());
        }
    }
}

/// So many findings are dismissed in one transaction, with an entry of the audit trail.
pub const DISMISSED_TOGETHER: usize = 50;
const _: () = assert!(DISMISSED_TOGETHER < TRANSACTION_ITEMS_MAX);

/// Removes findings and leaves an audit entry that holds them, in one transaction.
pub async fn dismiss(
    db: &dyn Db,
    findings: &[Finding],
    reason: &str,
    by: &str,
    now: Millis,
) -> Result<(), StoreError> {
    let entry = audit::Entry {
        at: now,
        action: "audit.dismiss".to_owned(),
        subject: "audit".to_owned(),
        by: by.to_owned(),
        detail: json!({"reason": reason, "findings": findings}),
    };
    let delete = |finding: &Finding| Write::Delete {
        key: finding.key(),
        condition: Condition::Always,
    };
    let deletes = findings.iter().map(delete);
    db.transact(deletes.chain([audit::write(&entry)]).collect())
        .await
}

/// Findings after `after` (a page's `next`; `None`: from the first), at most `limit`.
pub async fn page(
    db: &dyn Db,
    after: Option<&str>,
    limit: usize,
) -> Result<FindingsPage, StoreError> {
    let query = Query {
        after: after.map(|range| Key::new(Table::Checkpoints, FINDINGS, range).item()),
        ..pages::whole(Table::Checkpoints, FINDINGS)
    };
    let found = pages::first(db, query, limit).await?;
    let last = found.items.last().filter(|_| !found.is_whole);
    let next = last.and_then(|last| match last.get("item") {
        Some(Attr::S(range)) => Some(range.clone()),
        _ => None,
    });
    let findings = found.items.iter().map(decode_finding);
    Ok(FindingsPage {
        findings: findings.collect::<Result<Vec<_>, StoreError>>()?,
        next,
    })
}

fn decode_finding(item: &Item) -> Result<KeptFinding, StoreError> {
    let row = Row::new(Key::new(Table::Checkpoints, FINDINGS, "?"), item);
    Ok(KeptFinding {
        number: row.number_opt("number")?.unwrap_or_default(),
        finding: row.json("body")?,
    })
}

/// How many findings of a source partition and epoch are kept now; counts to `most` at most.
pub async fn count_kept(
    db: &dyn Db,
    epoch: Epoch,
    source: Partition,
    most: usize,
) -> Result<usize, StoreError> {
    let mut query = Query {
        range: RangeFilter::Prefix(format!("{}#", of_source(epoch, source))),
        limit: Some(u32::try_from(most).unwrap_or(u32::MAX)),
        ..pages::whole(Table::Checkpoints, FINDINGS)
    };
    let mut count = 0;
    loop {
        let page = db.query(&query).await?;
        count += page.items.len();
        match page.next {
            Some(next) if count < most => query.after = Some(next),
            _ => return Ok(count.min(most)),
        }
    }
}
