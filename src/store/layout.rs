//! How many partitions the topics have in each epoch: one item per epoch, shared by all tasks and
//! written once.
//!
//! Users and accounts are assigned to partitions by hash, so a change moves them. Within an epoch
//! that is a fault; a new epoch may have other counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::checkpoints::{self, RateCheckpoint, UsageRows, Versioned, WindowCut};
use super::db::{Db, Item, Key, Query, StoreError, Table, Write};
use super::pages;
use super::row::Row;
use crate::domain::position::{Epoch, WriteId};
use crate::domain::time::Millis;
use crate::log::Partitions;

const HASH: &str = "epochs";

/// The partition counts of an epoch, and what the change from the epoch before means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layout {
    /// The epoch.
    pub epoch: Epoch,
    /// Partitions of `usage.events`.
    pub source: u32,
    /// Partitions of `ledger.postings`.
    pub posting: u32,
    /// Whether the sequences of posting blocks begin again at 1 in this epoch. They do, except in
    /// an epoch that an older tidemark began, which let them go on.
    pub sequences_restart: bool,
    /// The epoch in which accounts were last assigned anew to posting partitions.
    pub posting_since: Epoch,
    /// Seals of an older tidemark, which hashed sequences alone. Only read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sealed: BTreeMap<u32, u64>,
    /// How far each source partition had come when this epoch began, as a hash. None of them may go
    /// on in an earlier epoch afterwards.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seals: BTreeMap<u32, u64>,
    /// Set if users moved to other source partitions, in this epoch or an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
}

impl Layout {
    /// The partition counts of this epoch, as the topics must have them. That of `usage.rejected` is
    /// not recorded, because any will do; its first partition is always there.
    pub const fn partitions(&self) -> Partitions {
        Partitions {
            source: self.source,
            posting: self.posting,
            rejected: 1,
        }
    }
}

/// What a source partition must assume of users who came from any other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// The highest log time of all source partitions before the move. Whatever was appended up to
    /// then is outside of the new duplicate windows, and log time goes on from here.
    pub log_time: Millis,
    /// Usage rows of the source partition that has them least.
    pub usage_rows: UsageRows,
    /// The log time of the newest record that the new windows have forgotten and that an event may
    /// still have a copy in.
    pub forgotten: Millis,
}

impl Moved {
    /// What the next epoch must assume of the users of one source partition.
    pub fn of(rate: &RateCheckpoint) -> Moved {
        // Log time is no bound for it: a correction of the clock sets that back.
        let by_event = rate.latest_event.map(WindowCut::forgets_up_to);
        let by_log = rate.window.forgotten.max(Some(rate.log_time));
        Moved {
            log_time: rate.log_time,
            usage_rows: rate.window.usage_rows,
            forgotten: by_event.or(by_log).unwrap_or(rate.log_time),
        }
    }

    /// What covers both.
    pub fn and(self, other: Moved) -> Moved {
        Moved {
            log_time: self.log_time.max(other.log_time),
            usage_rows: self.usage_rows.and(other.usage_rows),
            forgotten: self.forgotten.max(other.forgotten),
        }
    }
}

fn key(epoch: Epoch) -> Key {
    Key::new(
        Table::Checkpoints,
        HASH,
        format!("{epoch:010}", epoch = epoch.0),
    )
}

/// The layout of an epoch; `None` before its first task has begun.
pub async fn get(db: &dyn Db, epoch: Epoch) -> Result<Option<Layout>, StoreError> {
    let stored: Option<Versioned<Layout>> = checkpoints::get(db, &key(epoch)).await?;
    Ok(stored.map(|stored| stored.value))
}

/// The layout of the newest epoch that has begun.
pub async fn newest(db: &dyn Db) -> Result<Option<Layout>, StoreError> {
    let query = Query {
        descending: true,
        limit: Some(1),
        ..pages::whole(Table::Checkpoints, HASH)
    };
    let page = db.query(&query).await?;
    page.items.first().map(decode_layout).transpose()
}

fn decode_layout(item: &Item) -> Result<Layout, StoreError> {
    Row::new(Key::new(Table::Checkpoints, HASH, "?"), item).json("body")
}

/// Every layout there ever was, oldest first.
pub async fn all(db: &dyn Db) -> Result<Vec<Layout>, StoreError> {
    let items = pages::all(db, pages::whole(Table::Checkpoints, HASH)).await?;
    items.iter().map(decode_layout).collect()
}

/// The largest number of posting partitions there ever was; pointers may have been left for any of
/// them.
pub async fn most_posting_partitions(db: &dyn Db) -> Result<u32, StoreError> {
    let every = all(db).await?;
    Ok(every.iter().map(|layout| layout.posting).max().unwrap_or(0))
}

/// The write that stores a layout, unless its epoch has one.
pub fn begin(layout: &Layout, write: WriteId) -> Write {
    checkpoints::put(&key(layout.epoch), layout, None, write)
}
