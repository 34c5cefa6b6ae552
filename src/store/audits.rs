//! What the auditor keeps in table Checkpoints: how far it has come, and what it found.

pub mod coverage;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::audit;
use super::conditional::write_once;
use super::db::{Condition, Db, Key, StoreError, TRANSACTION_ITEMS_MAX, Table, Write};
use super::pages;
use super::row::{Fields, Row};
use crate::domain::ids::Account;
use crate::domain::position::{Chunk, Epoch, Offset, Partition, Sequence};
use crate::domain::time::Millis;

/// Hash key of the findings.
const FINDINGS: &str = "audit_findings";

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
    /// The first chunk of this epoch that is in the audit log: what was rated before is not audited.
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
}

impl FindingKind {
    /// All of them.
    pub const ALL: [FindingKind; 7] = [
        FindingKind::BlockDiffers,
        FindingKind::BlockMissing,
        FindingKind::BlockExtra,
        FindingKind::SequenceMissing,
        FindingKind::RecordsGone,
        FindingKind::NotRepeatable,
        FindingKind::CutUnreadable,
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
            "{:010}#{:04}#{:020}#{}#{posting:04}#{:020}#{}",
            self.epoch.0,
            self.source.0,
            self.chunk.0,
            self.kind.as_str(),
            sequence.0,
            account.unwrap_or_default()
        );
        Key::new(Table::Checkpoints, FINDINGS, range)
    }
}

/// Keeps a finding. The first one of its key stays.
pub async fn keep(db: &dyn Db, finding: &Finding) -> Result<(), StoreError> {
    let write = Write::Put {
        table: Table::Checkpoints,
        item: Fields::of(&finding.key()).json("body", finding).item(),
        condition: Condition::Absent,
    };
    write_once(db, vec![write]).await.map(drop)
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

/// Every finding that is kept, by epoch, source partition and chunk.
pub async fn findings(db: &dyn Db) -> Result<Vec<Finding>, StoreError> {
    let items = pages::all(db, pages::whole(Table::Checkpoints, FINDINGS)).await?;
    items
        .iter()
        .map(|item| Row::new(Key::new(Table::Checkpoints, FINDINGS, "?"), item).json("body"))
        .collect()
}
