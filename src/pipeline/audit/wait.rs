//! Taking the blocks of a chunk out of `ledger.postings`.
//!
//! A chunk's record is appended together with its blocks, so it may be there before them. A block
//! that is not there is late as long as the chunk may not be done. It is missing once the same
//! source has sent a later one to the same posting partition, or once the rater has gone on to
//! another chunk (every block was acknowledged before) and the partition was read to the end that
//! it had then.

use tokio::sync::watch;

use super::Auditor;
use super::blocks::BlockNote;
use crate::domain::position::{Offset, Partition, Sequence};
use crate::log::Topic;
use crate::pipeline::failure::Failure;
use crate::pipeline::progress;
use crate::pipeline::recorded_cut::{self, LoggedChunk};
use crate::pipeline::retry::{pause, persist};

/// The block of a sequence.
enum Awaited {
    Found(BlockNote),
    Missing,
    /// The audit is to stop before that is decided.
    Stopped,
}

/// The blocks of a chunk, by posting partition and sequence; `None` for one that is missing.
pub(super) struct LoggedBlocks {
    pub(super) by_partition: Vec<Vec<Option<BlockNote>>>,
    /// Sequences between the passed chunk and this one that the log does not hold.
    pub(super) gaps: Vec<(Partition, Sequence)>,
    /// By posting partition: no block of a later chunk stands before it.
    pub(super) read_to: Vec<Offset>,
}

/// Whose the blocks are that stand under a chunk's sequences.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Owners {
    /// There is one of the chunk itself.
    pub(super) has_own: bool,
    /// There is one of another chunk, or of one of the same number that was cut otherwise.
    pub(super) has_others: bool,
}

impl LoggedBlocks {
    /// Whose they are.
    pub(super) fn owners(&self, chunk: &LoggedChunk) -> Owners {
        let cut = recorded_cut::hash(&chunk.cut, &chunk.end);
        let is_own = |note: &BlockNote| {
            note.chunk == chunk.cut.chunk && note.cut.is_none_or(|of| of.get() == cut)
        };
        let mut owners = Owners::default();
        for note in self.by_partition.iter().flatten().flatten() {
            match is_own(note) {
                true => owners.has_own = true,
                false => owners.has_others = true,
            }
        }
        owners
    }
}

impl Auditor<'_> {
    /// Takes the blocks of the next chunk; `None`: the audit is to stop before all of them are
    /// there.
    pub(super) async fn take_blocks(
        &mut self,
        chunk: &LoggedChunk,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<Option<LoggedBlocks>, Failure> {
        self.begin_blocks(chunk).await;
        let mut blocks = LoggedBlocks {
            by_partition: Vec::new(),
            gaps: Vec::new(),
            read_to: self.checkpoint.postings.clone(),
        };
        let sent = chunk.cut.sequences.iter().zip(&chunk.end.sequences);
        for (q, (before, after)) in (0..).map(Partition).zip(sent) {
            let passed = self.checkpoint.passed.as_ref();
            let passed = passed.and_then(|passed| passed.sequences.get(q.0 as usize).copied());
            let first = passed.unwrap_or(*before).min(*before).0 + 1;
            let mut logged = Vec::new();
            for sequence in (first..=after.0).map(Sequence) {
                let found = match self.await_block(q, sequence, chunk, shutdown).await? {
                    Awaited::Stopped => return Ok(None),
                    Awaited::Found(found) => {
                        if let Some(read_to) = blocks.read_to.get_mut(q.0 as usize) {
                            *read_to = found.offset.next();
                        }
                        Some(found)
                    }
                    Awaited::Missing => None,
                };
                match (sequence > *before, found) {
                    (true, found) => logged.push(found),
                    (false, None) => blocks.gaps.push((q, sequence)),
                    (false, Some(_)) => {}
                }
            }
            blocks.by_partition.push(logged);
        }
        Ok(Some(blocks))
    }

    /// Tells the cursors from where on blocks are wanted, after a load.
    async fn begin_blocks(&mut self, chunk: &LoggedChunk) {
        if self.is_begun {
            return;
        }
        let passed = self.checkpoint.passed.as_ref();
        let after = passed.map_or(&chunk.cut.sequences, |passed| &passed.sequences);
        for (q, after) in (0..).map(Partition).zip(after) {
            let from = self.checkpoint.postings.get(q.0 as usize).copied();
            let place = (q, self.source);
            self.ctx
                .audits
                .begin(place, from.unwrap_or_default(), *after)
                .await;
        }
        self.is_begun = true;
    }

    async fn await_block(
        &mut self,
        q: Partition,
        sequence: Sequence,
        chunk: &LoggedChunk,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<Awaited, Failure> {
        let (ctx, place) = (self.ctx, (q, self.source));
        let (mut read_to, mut done_at, mut waits) = (None, None::<Offset>, 0);
        loop {
            let (found, next) = ctx.audits.next(ctx, place).await?;
            match found {
                Some(found) if found.sequence > sequence => return Ok(Awaited::Missing),
                Some(found) => {
                    ctx.audits.drop_first(place).await;
                    if found.sequence == sequence {
                        return Ok(Awaited::Found(found));
                    }
                }
                None if done_at.is_some_and(|end| next >= end) => return Ok(Awaited::Missing),
                None if read_to == Some(next) => {
                    if done_at.is_none() && self.is_done(chunk).await? {
                        let bounds = ctx.log.bounds(Topic::LedgerPostings, q).await?;
                        done_at = Some(bounds.end);
                        continue;
                    }
                    waits += 1;
                    self.report().await?;
                    pause(ctx, &mut shutdown.clone(), ctx.pause_after(waits)).await;
                }
                None => read_to = Some(next),
            }
            if *shutdown.borrow() {
                return Ok(Awaited::Stopped);
            }
        }
    }

    /// Whether the rater has gone on to another chunk: all blocks of this one were acknowledged.
    async fn is_done(&self, chunk: &LoggedChunk) -> Result<bool, Failure> {
        let (ctx, cut) = (self.ctx, &chunk.cut);
        let stored = persist(ctx, || progress::rate_checkpoint(&*ctx.db, self.source)).await?;
        Ok(stored.is_some_and(|stored| (stored.epoch, stored.chunk) > (cut.epoch, cut.chunk)))
    }
}
