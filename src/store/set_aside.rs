//! Accounts that are set aside: something is wrong with one account alone, so its postings wait in
//! the log while its posting partition goes on with all others. One item per account.
//!
//! Two sides write it. The poster of the account's partition creates, replaces and deletes it, each
//! time in one transaction with its checkpoint: a poster that has lost the checkpoint changes
//! nothing, and one that still has it knows every item. An operator adds the request to release
//! the account, in one transaction with an audit entry.

mod stood;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::audit;
use super::checkpoints::{self, PostCheckpoint, SourceState, Versioned};
use super::conditional::{Attempts, WriteOutcome};
use super::db::{Condition, Db, Item, Key, StoreError, Table, Write};
use super::pages;
use super::row::{Fields, Row};
use crate::domain::ids::Account;
use crate::domain::position::{Epoch, Offset, Partition, Position, WriteId};
use crate::domain::time::Millis;

pub use stood::{Stood, stood};

const HASH: &str = "aside";
/// The hash key of what is remembered of accounts that take part again.
const RELEASED: &str = "released";

/// The hash key of the newest request in each posting partition, so that a poster sees by one small
/// read that there is none it does not know.
const REQUESTS: &str = "aside_requests";

/// What is wrong with an account. The names are stable: a label of a metric, and what `tidemark
/// doctor`, the API and the runbook call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultCode {
    /// A month row cannot be decoded.
    RowUnreadable,
    /// The account's month rows do not belong together.
    RowsContradict,
    /// The store refuses the write of this account's rows.
    WriteRefused,
    /// A pending award of the account cannot be decoded.
    AwardUnreadable,
    /// The account's referral link cannot be decoded.
    LinkUnreadable,
}

impl FaultCode {
    /// All of them.
    pub const ALL: [FaultCode; 5] = [
        FaultCode::RowUnreadable,
        FaultCode::RowsContradict,
        FaultCode::WriteRefused,
        FaultCode::AwardUnreadable,
        FaultCode::LinkUnreadable,
    ];

    /// The code.
    pub const fn as_str(self) -> &'static str {
        match self {
            FaultCode::RowUnreadable => "row_unreadable",
            FaultCode::RowsContradict => "rows_contradict",
            FaultCode::WriteRefused => "write_refused",
            FaultCode::AwardUnreadable => "award_unreadable",
            FaultCode::LinkUnreadable => "link_unreadable",
        }
    }

    /// What an operator does about it.
    pub const fn advice(self) -> &'static str {
        match self {
            FaultCode::RowUnreadable => {
                "Restore the row as it was before it was damaged (point-in-time recovery into another table, then copy this item); if a newer tidemark wrote it, run that version."
            }
            FaultCode::RowsContradict => {
                "Restore all rows of this account as they were at one moment."
            }
            FaultCode::WriteRefused => {
                "The message says why the store refuses it; an item has at most 400 KB, a transaction 100 items."
            }
            FaultCode::AwardUnreadable => {
                "Restore the item in table Checkpoints that the message names."
            }
            FaultCode::LinkUnreadable => "Restore the item in table ReferralRelationships.",
        }
    }
}

/// A place in `ledger.postings` from which blocks can be taken again: what was accepted from each
/// source partition before it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Base {
    /// The epoch of the log.
    pub epoch: Epoch,
    /// The first offset to take.
    pub next: Offset,
    /// By source partition.
    pub sources: BTreeMap<u32, SourceState>,
}

impl Base {
    /// Where a checkpoint stands.
    pub fn of(checkpoint: &PostCheckpoint) -> Base {
        Base {
            epoch: checkpoint.epoch,
            next: checkpoint.next,
            sources: checkpoint.sources.clone(),
        }
    }

    /// The first position to take.
    pub fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            offset: self.next,
        }
    }
}

/// What an operator asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRequest {
    /// When.
    pub at: Millis,
    /// Who, and why.
    pub by: String,
    /// Go on although some of what the account misses cannot be had any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_missing: bool,
}

/// Why an account was not released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRefusal {
    /// When.
    pub at: Millis,
    /// A stable code.
    pub code: String,
    /// What is wrong, and what to do.
    pub what: String,
}

/// An account that is set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetAside {
    /// The account.
    pub account: Account,
    /// Its posting partition.
    pub partition: Partition,
    /// What is wrong.
    pub code: FaultCode,
    /// In words.
    pub what: String,
    /// Since when.
    pub at: Millis,
    /// Every posting before it is in the account's rows, if those are as new as `stood`. From there
    /// on some may be missing.
    pub since: Base,
    /// The append time of the first record that may be missing, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_time: Option<Millis>,
    /// Which rows there were.
    pub stood: Stood,
    /// Places before `since`, for rows that are restored as they were some time earlier.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Base>,
    /// An operator has asked to release it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseRequest>,
    /// Why the last such request was not fulfilled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<ReleaseRefusal>,
}

/// The key of an account's item.
pub fn key(account: &Account) -> Key {
    Key::new(Table::Checkpoints, HASH, account.to_string())
}

/// The write that creates the item, or replaces the one that was written by `previous`. It belongs
/// into one transaction with the checkpoint of the account's posting partition.
pub fn put(record: &SetAside, previous: Option<WriteId>, write: WriteId) -> Write {
    checkpoints::put(&key(&record.account), record, previous, write)
}

/// The write that ends it; likewise. An operator may just have asked for the release once more.
pub fn delete(account: &Account) -> Write {
    Write::Delete {
        key: key(account),
        condition: Condition::Always,
    }
}

/// What is remembered of an account that takes part again. If its rows and the checkpoints come out
/// of a restore at different moments, its rows may be those of before the release, and the record
/// is what tells which postings they lack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// Its record, as it was.
    pub record: SetAside,
    /// When it was released.
    pub at: Millis,
    /// Its rows had every posting before this one.
    pub next: Position,
}

fn released_key(account: &Account) -> Key {
    Key::new(Table::Checkpoints, RELEASED, account.to_string())
}

/// The write that remembers it. It belongs into one transaction with [`delete`].
pub fn keep_released(released: &Released) -> Write {
    Write::Put {
        table: Table::Checkpoints,
        item: Fields::of(&released_key(&released.record.account))
            .json("body", released)
            .item(),
        condition: Condition::Always,
    }
}

/// The write that forgets it.
pub fn forget_released(account: &Account) -> Write {
    Write::Delete {
        key: released_key(account),
        condition: Condition::Always,
    }
}

/// What is remembered of a posting partition's accounts. What cannot be read is left out.
pub async fn released_of(
    db: &dyn Db,
    partition: Partition,
    partitions: u32,
) -> Result<Vec<Released>, StoreError> {
    let items = pages::all(db, pages::whole(Table::Checkpoints, RELEASED)).await?;
    let own = |item: &Item| {
        let account = whose(item)?;
        let is_own = account.partition(partitions) == partition;
        is_own.then(|| Row::new(released_key(&account), item).json("body").ok())?
    };
    Ok(items.iter().filter_map(own).collect())
}

/// The item of an account.
pub async fn get(
    db: &dyn Db,
    account: &Account,
) -> Result<Option<Versioned<SetAside>>, StoreError> {
    checkpoints::get(db, &key(account)).await
}

/// Every account that is set aside.
pub async fn all(db: &dyn Db) -> Result<Vec<Versioned<SetAside>>, StoreError> {
    let items = pages::all(db, pages::whole(Table::Checkpoints, HASH)).await?;
    items.iter().map(decode_set_aside).collect()
}

/// A record that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableRecord {
    /// Whose it is, as far as its key says.
    pub account: Option<Account>,
    /// Which item, and what is wrong with it.
    pub what: String,
}

impl UnreadableRecord {
    /// The code of what is wrong, beside those of [`FaultCode`].
    pub const CODE: &'static str = "record_unreadable";
    /// What an operator does about it.
    pub const ADVICE: &'static str = "Restore this item of table Checkpoints as it was before it was damaged; if a newer tidemark wrote it, run that version. Then resume the partition if it has halted.";

    /// Its account, or that it is unknown.
    pub fn name(&self) -> String {
        self.account
            .as_ref()
            .map_or_else(|| "an unknown account".to_owned(), Account::to_string)
    }
}

/// As [`all`], and those that cannot be decoded.
pub async fn readable(
    db: &dyn Db,
) -> Result<(Vec<Versioned<SetAside>>, Vec<UnreadableRecord>), StoreError> {
    let items = pages::all(db, pages::whole(Table::Checkpoints, HASH)).await?;
    let (mut records, mut unreadable) = (Vec::new(), Vec::new());
    for item in &items {
        match decode_set_aside(item) {
            Ok(record) => records.push(record),
            Err(error @ StoreError::Corrupt { .. }) => unreadable.push(UnreadableRecord {
                account: whose(item),
                what: error.to_string(),
            }),
            Err(error) => return Err(error),
        }
    }
    Ok((records, unreadable))
}

/// Those of one posting partition. Records of others are not looked into.
pub async fn of_partition(
    db: &dyn Db,
    partition: Partition,
    partitions: u32,
) -> Result<Vec<Versioned<SetAside>>, StoreError> {
    let items = pages::all(db, pages::whole(Table::Checkpoints, HASH)).await?;
    let is_own = |item: &&Item| {
        whose(item).is_some_and(|account| account.partition(partitions) == partition)
    };
    items.iter().filter(is_own).map(decode_set_aside).collect()
}

fn range(item: &Item) -> Result<&str, StoreError> {
    Row::new(Key::new(Table::Checkpoints, HASH, "?"), item).text("item")
}

/// Whose record it is, as its key says.
fn whose(item: &Item) -> Option<Account> {
    let (kind, id) = range(item).ok()?.split_once(':')?;
    Account::new(kind.parse().ok()?, id).ok()
}

fn decode_set_aside(item: &Item) -> Result<Versioned<SetAside>, StoreError> {
    let row = Row::new(Key::new(Table::Checkpoints, HASH, range(item)?), item);
    Ok(Versioned {
        value: row.json("body")?,
        write: row.parsed("write")?,
    })
}

fn requests_key(partition: Partition) -> Key {
    Key::new(Table::Checkpoints, REQUESTS, partition.to_string())
}

/// Which request for a release is the newest of a posting partition. It only says when to look at
/// the records, so one that cannot be read counts as none.
pub async fn newest_request(
    db: &dyn Db,
    partition: Partition,
) -> Result<Option<WriteId>, StoreError> {
    let key = requests_key(partition);
    let item = db.get(&key).await?;
    Ok(item.and_then(|item| Row::new(key, &item).parsed("write").ok()))
}

/// Asks for an account's release, and leaves an audit entry, in one transaction. False: the account
/// is not set aside.
pub async fn request_release(
    db: &dyn Db,
    account: &Account,
    request: &ReleaseRequest,
    write: WriteId,
) -> Result<bool, StoreError> {
    let mut attempts = Attempts::new(db);
    // Its poster may change the item meanwhile.
    while let Some(stored) = get(db, account).await? {
        // A write without an answer may have happened.
        if stored.write == write
            || attempts
                .write(release_writes(account, stored, request, write))
                .await?
                == WriteOutcome::Written
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn release_writes(
    account: &Account,
    stored: Versioned<SetAside>,
    request: &ReleaseRequest,
    write: WriteId,
) -> Vec<Write> {
    let entry = audit::Entry {
        at: request.at,
        action: "account.release".to_owned(),
        subject: account.to_string(),
        by: request.by.clone(),
        detail: json!({
            "code": stored.value.code,
            "what": stored.value.what,
            "acceptMissing": request.accept_missing,
        }),
    };
    let requests = Fields::of(&requests_key(stored.value.partition));
    let record = SetAside {
        release: Some(request.clone()),
        refused: None,
        ..stored.value
    };
    vec![
        put(&record, Some(stored.write), write),
        Write::Put {
            table: Table::Checkpoints,
            item: requests.text("write", write).item(),
            condition: Condition::Always,
        },
        audit::write(&entry),
    ]
}
