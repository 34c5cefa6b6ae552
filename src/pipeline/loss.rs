//! A log that is gone for good while work was in flight.
//!
//! An epoch begins only when every chunk of the one before is done and every block of it posted. If
//! the log of the old epoch is lost, that can never come to pass. An operator may then accept the
//! loss: what could not be finished is given up, and the checkpoints say so. Nothing is guessed and
//! nothing counts twice:
//!
//! - A chunk that was cut but not declared done is passed. If posting has counted none of its blocks,
//!   the usage rows that it may have written are void, and its events count when they are sent again
//!   ([`losses::LostChunk::is_uncounted`]). If posting has counted some, they stay counted, and its
//!   events are taken as seen.
//! - Blocks that were sent and not posted are passed. Their events have usage rows, so resends are
//!   dropped as duplicates; adjustments make up for them.
//! - What came after the last cut was never rated. Whatever is sent again of it counts.

use std::collections::BTreeMap;

use serde_json::json;

use crate::domain::event::AHEAD_MS_MAX;
use crate::domain::position::{Epoch, Offset, Partition, Sequence, WriteId};
use crate::domain::time::{HOUR_MS, Millis};
use crate::ops::health::{Role, TaskId};
use crate::store::audit;
use crate::store::checkpoints::{
    self, PostCheckpoint, RateCheckpoint, SourceState, UsageRows, Versioned,
};
use crate::store::db::{Db, StoreError, Write};
use crate::store::layout::{self, Layout};
use crate::store::losses::{self, LostChunk};

/// Blocks that a source partition sent and a posting partition has not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostBlocks {
    /// Who sent them.
    pub source: Partition,
    /// Who should have counted them.
    pub posting: Partition,
    /// The first one.
    pub first: Sequence,
    /// The last one.
    pub last: Sequence,
}

/// What is in flight in the newest epoch, and would be given up.
#[derive(Debug)]
pub struct Losses {
    /// The epoch.
    pub epoch: Epoch,
    /// Chunks that were cut and not declared done.
    pub chunks: Vec<LostChunk>,
    /// Blocks that were not posted.
    pub blocks: Vec<LostBlocks>,
    /// Up to where each source partition was cut: nothing behind it was ever rated.
    pub ends: BTreeMap<Partition, Offset>,
    rates: BTreeMap<Partition, Versioned<RateCheckpoint>>,
    posts: BTreeMap<Partition, Option<Versioned<PostCheckpoint>>>,
    layout: Layout,
}

/// Why no loss can be accepted.
#[derive(Debug, thiserror::Error)]
pub enum LossError {
    /// No epoch is stored.
    #[error(
        "the tables do not say which epoch they are in: nothing was rated yet, or by an older version only; start this version once with the old configuration"
    )]
    NoEpoch,
    /// The configured epoch has begun, or is an earlier one.
    #[error(
        "the tables are at epoch {stored} and this configuration has log.epoch = {configured}: a loss is accepted before the next epoch begins, with its configuration; set log.epoch = {} and the new topics, then run this again", stored.0 + 1
    )]
    HasBegun {
        /// The newest epoch in the tables.
        stored: Epoch,
        /// The configured one.
        configured: Epoch,
    },
    /// A worker has written meanwhile.
    #[error(
        "{0} was written while its loss was being accepted, so a worker still runs: stop all workers, then run this again; what was accepted so far stays accepted"
    )]
    WorkerRuns(TaskId),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Losses {
    /// Whether there is nothing to give up.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.blocks.is_empty()
    }

    /// What is in flight before `next` can begin.
    pub async fn find(db: &dyn Db, next: Epoch) -> Result<Losses, LossError> {
        let layout = layout::newest(db).await?.ok_or(LossError::NoEpoch)?;
        if layout.epoch >= next {
            let (stored, configured) = (layout.epoch, next);
            return Err(LossError::HasBegun { stored, configured });
        }
        let mut losses = Losses {
            epoch: layout.epoch,
            chunks: Vec::new(),
            blocks: Vec::new(),
            ends: BTreeMap::new(),
            rates: BTreeMap::new(),
            posts: BTreeMap::new(),
            layout,
        };
        for q in (0..losses.layout.posting).map(Partition) {
            let key = checkpoints::checkpoint_key(TaskId::new(Role::Post, q));
            losses.posts.insert(q, checkpoints::get(db, &key).await?);
        }
        for p in (0..losses.layout.source).map(Partition) {
            let key = checkpoints::checkpoint_key(TaskId::new(Role::Rate, p));
            let stored: Option<Versioned<RateCheckpoint>> = checkpoints::get(db, &key).await?;
            if let Some(stored) = stored.filter(|stored| stored.value.epoch == losses.epoch) {
                losses.look_at(p, stored);
            }
        }
        Ok(losses)
    }

    fn look_at(&mut self, source: Partition, stored: Versioned<RateCheckpoint>) {
        let rate = &stored.value;
        let mut counted = Vec::new();
        for (posting, sent) in (0..).map(Partition).zip(&rate.sequences) {
            let taken = self.taken(posting, source);
            if taken < *sent {
                self.blocks.push(LostBlocks {
                    source,
                    posting,
                    first: Sequence(taken.0 + 1),
                    last: *sent,
                });
            }
            if taken > *sent {
                counted.push((posting, taken.0 - sent.0));
            }
        }
        if rate.is_cut() {
            self.chunks.push(LostChunk {
                epoch: rate.epoch,
                source,
                chunk: rate.chunk,
                from: rate.from,
                to: rate.to,
                counted,
            });
        }
        self.ends.insert(source, rate.to);
        self.rates.insert(source, stored);
    }

    /// The last block that a posting partition has counted.
    fn taken(&self, posting: Partition, source: Partition) -> Sequence {
        let post = self.posts.get(&posting).and_then(Option::as_ref);
        let is_comparable = |post: &&Versioned<PostCheckpoint>| {
            post.value.epoch == self.epoch || !self.layout.sequences_restart
        };
        let state = post
            .filter(is_comparable)
            .and_then(|post| post.value.sources.get(&source.0));
        state.map_or(Sequence(0), |state| state.sequence)
    }

    /// Gives all of it up, each partition in a transaction of its own with an audit entry. If it is
    /// interrupted, what is left is found and given up the next time.
    pub async fn accept(
        &self,
        db: &dyn Db,
        by: &str,
        now: Millis,
        mut next_write: impl FnMut() -> WriteId,
    ) -> Result<(), LossError> {
        for posting in self.posts.keys().copied() {
            let lost: Vec<&LostBlocks> = self.of_posting(posting).collect();
            if lost.is_empty() {
                continue;
            }
            let task = TaskId::new(Role::Post, posting);
            let detail: Vec<_> = lost
                .iter()
                .map(|lost| json!({"source": lost.source, "first": lost.first, "last": lost.last}))
                .collect();
            let mut writes = self.pass_blocks(posting, &lost, next_write());
            writes.push(entry(
                task,
                by,
                now,
                &json!({"epoch": self.epoch, "blocks": detail}),
            ));
            transact(db, task, writes).await?;
        }
        for lost in &self.chunks {
            let task = TaskId::new(Role::Rate, lost.source);
            let write = next_write();
            let mut writes = self.pass_chunk(lost, now, write);
            writes.push(losses::keep(lost, write));
            writes.push(entry(task, by, now, &json!({"lost": lost})));
            transact(db, task, writes).await?;
        }
        Ok(())
    }

    fn of_posting(&self, posting: Partition) -> impl Iterator<Item = &LostBlocks> {
        let blocks = self.blocks.iter();
        blocks.filter(move |lost| lost.posting == posting)
    }

    /// The checkpoint of a posting partition says that it has taken the lost blocks.
    fn pass_blocks(&self, posting: Partition, lost: &[&LostBlocks], write: WriteId) -> Vec<Write> {
        let task = TaskId::new(Role::Post, posting);
        let stored = self.posts.get(&posting).and_then(Option::as_ref);
        let mut next = match stored {
            Some(stored) => stored.value.clone(),
            None => PostCheckpoint {
                topic_id: String::new(),
                epoch: self.epoch,
                partitions: self.layout.posting,
                next: Offset(0),
                fingerprint: None,
                sources: BTreeMap::new(),
                witnesses: Vec::new(),
            },
        };
        if next.epoch < self.epoch {
            next.epoch = self.epoch;
            for state in next.sources.values_mut() {
                state.sequence = Sequence(0);
                state.chunk = None;
            }
        }
        for lost in lost {
            let state: &mut SourceState = next.sources.entry(lost.source.0).or_default();
            state.sequence = lost.last;
        }
        let key = checkpoints::checkpoint_key(task);
        let previous = stored.map(|stored| stored.write);
        vec![
            checkpoints::put(&key, &next, previous, write),
            checkpoints::start(task),
        ]
    }

    /// The checkpoint of a source partition says that nothing is cut.
    fn pass_chunk(&self, lost: &LostChunk, now: Millis, write: WriteId) -> Vec<Write> {
        let Some(stored) = self.rates.get(&lost.source) else {
            return Vec::new();
        };
        let rate = &stored.value;
        let mut sequences = rate.sequences.clone();
        for (posting, blocks) in &lost.counted {
            if let Some(sent) = sequences.get_mut(posting.0 as usize) {
                sent.0 += blocks;
            }
        }
        let next = RateCheckpoint {
            chunk: crate::domain::position::Chunk(rate.chunk.0 + 1),
            from: rate.to,
            fingerprint: None,
            sequences,
            latest_event: self.latest_event(rate, lost, now),
            ..rate.clone()
        };
        let key = checkpoints::checkpoint_key(TaskId::new(Role::Rate, lost.source));
        vec![checkpoints::put(&key, &next, Some(stored.write), write)]
    }

    /// Nobody knows any more how late the events of the chunk were. With usage rows it costs little
    /// to look them all up. Without, and with some of them counted, everything up to now must be
    /// taken as a copy; with none of them counted, nothing of the chunk has to be told apart.
    fn latest_event(&self, rate: &RateCheckpoint, lost: &LostChunk, now: Millis) -> Option<Millis> {
        let bound = match rate.window.usage_rows {
            UsageRows::Since(_) => now.plus(HOUR_MS + AHEAD_MS_MAX),
            UsageRows::Off if lost.is_uncounted() => return rate.latest_event,
            UsageRows::Off => now.plus(AHEAD_MS_MAX),
        };
        // Not known before: as late as log time allowed.
        let before = rate
            .latest_event
            .unwrap_or(rate.log_time.plus(AHEAD_MS_MAX));
        Some(before.max(bound))
    }
}

fn entry(task: TaskId, by: &str, now: Millis, detail: &serde_json::Value) -> Write {
    audit::write(&audit::Entry {
        at: now,
        action: "loss.accept".to_owned(),
        subject: task.to_string(),
        by: by.to_owned(),
        detail: detail.clone(),
    })
}

async fn transact(db: &dyn Db, task: TaskId, writes: Vec<Write>) -> Result<(), LossError> {
    match db.transact(writes).await {
        Ok(()) => Ok(()),
        Err(StoreError::ConditionFailed) => Err(LossError::WorkerRuns(task)),
        Err(error) => Err(error.into()),
    }
}
