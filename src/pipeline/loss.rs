//! A log that is gone for good while work was in flight.
//!
//! An epoch begins only when every chunk of the one before is done and every block of it posted. If
//! the log of the old epoch is lost, that can never come to pass. An operator may then accept the
//! loss: what could not be finished is given up, and the checkpoints say so. Nothing is guessed and
//! nothing counts twice:
//!
//! - A chunk that was cut but not declared done is passed. If posting has counted none of its
//!   blocks, and no account was written after its posting checkpoint, the usage rows that it may
//!   have written are void, and its events count when they are sent again
//!   ([`losses::LostChunk::is_uncounted`]). Otherwise what was counted stays counted, and its
//!   events are taken as seen.
//! - Blocks that were sent and not posted are passed. Their events have usage rows, so resends are
//!   dropped as duplicates; adjustments make up for them.
//! - Blocks that were counted after all, by a worker that went on, are taken as counted.
//! - What came after the last cut was never rated. Whatever is sent again of it counts.

mod accept;

use std::collections::BTreeMap;
use std::fmt;

use crate::domain::position::{Chunk, Epoch, Offset, Partition, Sequence};
use crate::domain::time::Millis;
use crate::ops::health::{Role, TaskId};
use crate::pipeline::rows_ahead::{RowsAhead, rows_ahead};
use crate::store::checkpoints::{self, PostCheckpoint, RateCheckpoint, SourceState, Versioned};
use crate::store::db::{Db, StoreError};
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

/// Blocks that a posting partition has counted and that no chunk is known to have sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LateBlocks {
    /// Who sent them.
    pub source: Partition,
    /// Who counted them.
    pub posting: Partition,
    /// The first one.
    pub first: Sequence,
    /// The last one.
    pub last: Sequence,
    /// The chunk that they are of, which was given up; `None`: the checkpoint of the source
    /// partition is older than the accounts.
    pub given_up: Option<Chunk>,
}

/// When events were appended to the log that is lost, as far as the checkpoints tell. Gateways know
/// times, not offsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendTimes {
    /// None of them before this.
    pub from: Option<Millis>,
    /// None of them after this.
    pub to: Option<Millis>,
}

impl AppendTimes {
    /// In JSON, for audit entries.
    fn detail(self) -> serde_json::Value {
        let text = |time: Option<Millis>| time.map(|time| time.to_string());
        serde_json::json!({"from": text(self.from), "to": text(self.to)})
    }
}

impl fmt::Display for AppendTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (Some(from), Some(to)) => write!(f, "appended from {from} to {to}"),
            (Some(from), None) => write!(f, "appended from {from} on"),
            (None, Some(to)) => write!(f, "appended up to {to}"),
            (None, None) => f.write_str("appended at an unknown time"),
        }
    }
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
    /// Blocks that were counted although nothing is known of them.
    pub late: Vec<LateBlocks>,
    /// Accounts that may hold some of the blocks and chunks all the same.
    pub ahead: BTreeMap<Partition, RowsAhead>,
    /// Up to where each source partition was cut: nothing behind it was ever rated.
    pub ends: BTreeMap<Partition, Offset>,
    rates: BTreeMap<Partition, Versioned<RateCheckpoint>>,
    posts: BTreeMap<Partition, Option<Versioned<PostCheckpoint>>>,
    given_up: BTreeMap<Partition, Versioned<LostChunk>>,
    layout: Layout,
    next: Epoch,
}

/// Why no loss can be accepted.
#[derive(Debug, thiserror::Error)]
pub enum LossError {
    /// No epoch is stored.
    #[error(
        "the tables do not record their epoch: nothing was rated yet, or only by an older version; \
         start this version once with the old configuration"
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
        "{0}, or what its loss depends on, was written while the loss was being accepted, so a worker still runs: stop all workers, then run this again; what was accepted so far stays accepted"
    )]
    WorkerRuns(TaskId),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Losses {
    /// Whether there is nothing to give up.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.blocks.is_empty() && self.late.is_empty()
    }

    /// What is in flight before `next` can begin, and which accounts may hold some of it. If
    /// anything is, this looks at every account.
    pub async fn find(db: &dyn Db, next: Epoch) -> Result<Losses, LossError> {
        let mut losses = Losses::by_checkpoints(db, next).await?;
        if losses.is_empty() {
            return Ok(losses);
        }
        let postings = (0..losses.layout.posting).map(Partition);
        let next: Vec<Offset> = postings.map(|q| losses.next_offset(q)).collect();
        losses.ahead = rows_ahead(db, losses.epoch, &next).await?;
        for lost in &mut losses.chunks {
            lost.unsure = losses.ahead.keys().copied().collect();
        }
        Ok(losses)
    }

    /// What is in flight before `next` can begin, as the checkpoints alone have it.
    pub async fn by_checkpoints(db: &dyn Db, next: Epoch) -> Result<Losses, LossError> {
        let layout = layout::newest(db).await?.ok_or(LossError::NoEpoch)?;
        if layout.epoch >= next {
            let (stored, configured) = (layout.epoch, next);
            return Err(LossError::HasBegun { stored, configured });
        }
        let mut losses = Losses {
            epoch: layout.epoch,
            chunks: Vec::new(),
            blocks: Vec::new(),
            late: Vec::new(),
            ahead: BTreeMap::new(),
            ends: BTreeMap::new(),
            rates: BTreeMap::new(),
            posts: BTreeMap::new(),
            given_up: BTreeMap::new(),
            layout,
            next,
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
        losses.look_at_late(db).await?;
        Ok(losses)
    }

    /// Looks whether the late blocks are of chunks that were given up.
    async fn look_at_late(&mut self, db: &dyn Db) -> Result<(), LossError> {
        for late in &mut self.late {
            let Some(Versioned { value: rate, .. }) = self.rates.get(&late.source) else {
                continue;
            };
            let chunk = Chunk(rate.chunk.0.saturating_sub(1));
            if let Some(kept) = losses::get(db, self.epoch, late.source, chunk).await? {
                late.given_up = Some(chunk);
                self.given_up.insert(late.source, kept);
            }
        }
        Ok(())
    }

    /// Where a posting partition goes on in the log of this epoch.
    fn next_offset(&self, posting: Partition) -> Offset {
        let post = self.posts.get(&posting).and_then(Option::as_ref);
        let post = post.filter(|post| post.value.epoch == self.epoch);
        post.map_or(Offset(0), |post| post.value.next)
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
            if taken > *sent && rate.is_cut() {
                counted.push((posting, taken.0 - sent.0));
            } else if taken > *sent {
                self.late.push(LateBlocks {
                    source,
                    posting,
                    first: Sequence(sent.0 + 1),
                    last: taken,
                    given_up: None,
                });
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
                unsure: Vec::new(),
            });
        }
        self.ends.insert(source, rate.to);
        self.rates.insert(source, stored);
    }

    /// When the events of a chunk were appended.
    pub fn times_of_chunk(&self, lost: &LostChunk) -> AppendTimes {
        let rate = self.rates.get(&lost.source).map(|stored| &stored.value);
        // What was given up before is not in the checkpoint any more.
        let rate = rate.filter(|rate| rate.is_cut() && rate.chunk == lost.chunk);
        AppendTimes {
            // The append times of a new leader may lie behind those of the one before.
            from: rate.and_then(|rate| known(rate.log_time.min(last_append(rate)?))),
            to: rate.and_then(|rate| Some(last_append(rate)?.max(rate.log_time))),
        }
    }

    /// When the events of blocks that were not posted were appended.
    pub fn times_of_blocks(&self, lost: &LostBlocks) -> AppendTimes {
        let rate = self.rates.get(&lost.source);
        let counted = self.state_of(lost.posting, lost.source);
        AppendTimes {
            from: counted.and_then(|state| known(state.log_time)),
            to: rate.and_then(|rate| known(rate.value.log_time)),
        }
    }

    /// When what was never rated was appended.
    pub fn times_behind(&self, source: Partition) -> AppendTimes {
        let rate = self.rates.get(&source).map(|stored| &stored.value);
        AppendTimes {
            from: rate.and_then(last_append),
            to: None,
        }
    }

    /// The last block that a posting partition has counted.
    fn taken(&self, posting: Partition, source: Partition) -> Sequence {
        let state = self.state_of(posting, source);
        state.map_or(Sequence(0), |state| state.sequence)
    }

    /// What a posting partition has counted of a source partition in this epoch.
    fn state_of(&self, posting: Partition, source: Partition) -> Option<&SourceState> {
        let post = self.posts.get(&posting).and_then(Option::as_ref);
        let is_comparable = |post: &&Versioned<PostCheckpoint>| {
            post.value.epoch == self.epoch || !self.layout.sequences_restart
        };
        let post = post.filter(is_comparable)?;
        post.value.sources.get(&source.0)
    }
}

/// Before the first chunk of all there is no log time.
fn known(log_time: Millis) -> Option<Millis> {
    Some(log_time).filter(|time| *time > Millis(0))
}

/// When the last record was appended that is cut.
fn last_append(rate: &RateCheckpoint) -> Option<Millis> {
    let last = rate.fingerprint?;
    let correction = rate.clock.filter(|clock| last.offset < clock.until);
    Some(correction.map_or(last.append_time, |clock| last.append_time.min(clock.at)))
}
