//! What an operator has given up of a log that is gone for good: one item per chunk that was in
//! flight. Kept for ever; raters of later epochs read them.

use serde::{Deserialize, Serialize};

use super::checkpoints::{self, Versioned};
use super::db::{Db, Key, StoreError, Table, Write};
use super::pages;
use super::row::Row;
use crate::domain::position::{Chunk, Epoch, Offset, Partition, Position, WriteId};

const HASH: &str = "losses";

/// A chunk that was cut and cannot be rated again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LostChunk {
    /// The epoch of its log.
    pub epoch: Epoch,
    /// Its source partition.
    pub source: Partition,
    /// The chunk.
    pub chunk: Chunk,
    /// Its first record.
    pub from: Offset,
    /// The offset after its last record.
    pub to: Offset,
    /// How many of its blocks each posting partition has counted, where there are any.
    pub counted: Vec<(Partition, u64)>,
    /// Posting partitions with accounts that were written after their checkpoint: some of the chunk
    /// may be in those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsure: Vec<Partition>,
}

impl LostChunk {
    /// Whether certainly nothing of it is in any account. Then its usage rows say nothing either:
    /// its events count when they are sent again.
    pub fn is_uncounted(&self) -> bool {
        self.counted.is_empty() && self.unsure.is_empty()
    }

    /// Whether this is a position in it.
    pub fn holds(&self, source: Partition, position: Position) -> bool {
        self.source == source
            && self.epoch == position.epoch
            && (self.from..self.to).contains(&position.offset)
    }
}

fn key(epoch: Epoch, source: Partition, chunk: Chunk) -> Key {
    let item = format!("{:010}#{:010}#{:020}", epoch.0, source.0, chunk.0);
    Key::new(Table::Checkpoints, HASH, item)
}

fn put(lost: &LostChunk, previous: Option<WriteId>, write: WriteId) -> Write {
    let key = key(lost.epoch, lost.source, lost.chunk);
    checkpoints::put(&key, lost, previous, write)
}

/// The write that keeps a loss; it belongs into one transaction with the checkpoint that passes it.
pub fn keep(lost: &LostChunk, write: WriteId) -> Write {
    put(lost, None, write)
}

/// The write that corrects a loss that was kept under `previous`.
pub fn amend(lost: &LostChunk, previous: WriteId, write: WriteId) -> Write {
    put(lost, Some(previous), write)
}

/// The loss of one chunk, if it was accepted.
pub async fn get(
    db: &dyn Db,
    epoch: Epoch,
    source: Partition,
    chunk: Chunk,
) -> Result<Option<Versioned<LostChunk>>, StoreError> {
    checkpoints::get(db, &key(epoch, source, chunk)).await
}

/// Every loss there ever was.
pub async fn all(db: &dyn Db) -> Result<Vec<LostChunk>, StoreError> {
    let items = pages::all(db, pages::whole(Table::Checkpoints, HASH)).await?;
    let read = |item| Row::new(Key::new(Table::Checkpoints, HASH, "?"), item).json("body");
    items.iter().map(read).collect()
}
