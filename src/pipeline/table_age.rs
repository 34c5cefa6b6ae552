//! Are the tables as new as the log? Checked when a source partition is taken up, before anything
//! is written.
//!
//! Tables that were restored from an older backup, or a checkpoint that was deleted, would make a
//! rater cut chunks anew. Their blocks would carry sequences that posting has accepted already, and
//! would be dropped as repeats. Two places show it, and both are read in one go, so that no block
//! can pass between them:
//!
//! - the posting checkpoints: the last sequence that was accepted from this source partition;
//! - the tail of `ledger.postings` behind them: a cut is written before its blocks are, so no block
//!   can be of a chunk above the recorded one.

use std::collections::BTreeMap;

use super::failure::{Failure, HaltCode};
use super::layout::Layout;
use super::retry::persist;
use super::{WorkerContext, versioned};
use crate::domain::position::{Chunk, Epoch, Offset, Partition, Sequence, WriteId};
use crate::log::{Bounds, MUST_BE_THERE, ReadLimit, Topic, posting};
use crate::ops::health::{Role, TaskId};
use crate::store::checkpoints::{self, PostCheckpoint, RateCheckpoint, SourceState, Versioned};
use crate::store::layout;

/// How many posting blocks are read at a time.
const SCAN_RECORDS: usize = 1_024;
/// How many bytes of them.
const SCAN_BYTES: usize = 8 << 20;

/// Looks whether the tables are as new as the log: what would halt the tasks that are taken up.
/// Changes nothing, and may run beside workers.
///
/// What posting knows is read before the checkpoints of rating are: a cut is written before its
/// blocks, so what a running worker does meanwhile looks like no contradiction.
pub async fn tables_behind_log(ctx: &WorkerContext) -> Result<Vec<(TaskId, String)>, Failure> {
    let epoch = ctx.log.epoch();
    let Some(layout) = persist(ctx, || layout::get(&*ctx.db, epoch)).await? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for q in (0..layout.posting).map(Partition) {
        let stored = post_checkpoint(ctx, q).await?;
        let mut tail = Tail::default();
        tail.read_on(ctx, q, taken(stored.as_ref(), epoch)).await?;
        let task = TaskId::new(Role::Post, q);
        if stored.is_none() && has_started(ctx, task).await? {
            found.push((task, missing_posting(task)));
        }
        seen.push((q, stored, tail));
    }
    for source in (0..layout.source).map(Partition) {
        let task = TaskId::new(Role::Rate, source);
        let key = checkpoints::checkpoint_key(task);
        let stored: Option<Versioned<RateCheckpoint>> =
            persist(ctx, || checkpoints::get(&*ctx.db, &key)).await?;
        let Some(stored) = stored else {
            if has_started(ctx, task).await? {
                found.push((task, missing(task)));
            }
            continue;
        };
        // Whether the one before is drained is another question.
        if stored.value.epoch != epoch {
            continue;
        }
        let loaded = Loaded {
            source,
            checkpoint: &stored.value,
            written: Some(stored.write),
        };
        let what = seen.iter().find_map(|(q, stored, tail)| {
            let posted = Posted::of(stored.as_ref(), tail, source, (epoch, &layout));
            loaded.contradiction(ctx, *q, posted)
        });
        found.extend(what.map(|what| (task, what)));
    }
    Ok(found)
}

fn missing(task: TaskId) -> String {
    format!("the checkpoint of {task} is missing, although it had one")
}

/// The same of a posting partition.
pub(super) fn missing_posting(task: TaskId) -> String {
    format!(
        "{}; restore any older copy from a backup of table Checkpoints: account rows record what \
         they have counted",
        missing(task)
    )
}

async fn has_started(ctx: &WorkerContext, task: TaskId) -> Result<bool, Failure> {
    Ok(persist(ctx, || checkpoints::has_started(&*ctx.db, task)).await?)
}

/// A checkpoint of a source partition, as it was read.
#[derive(Clone, Copy)]
pub(super) struct Loaded<'a> {
    pub(super) source: Partition,
    pub(super) checkpoint: &'a RateCheckpoint,
    /// The id of its last write; `None` if nothing is stored.
    pub(super) written: Option<WriteId>,
}

/// What posting partitions have accepted from one source partition, by posting partition.
#[derive(Debug)]
pub(super) struct Accepted(Vec<Sequence>);

/// What one posting partition knows of a source partition.
#[derive(Clone, Copy, Debug, Default)]
struct Posted {
    /// As of the stored checkpoint.
    accepted: SourceState,
    /// It has accepted blocks of this source partition, in this epoch or an earlier one.
    knows_source: bool,
    /// The newest chunk among the blocks behind it.
    newest: Option<Chunk>,
}

impl Loaded<'_> {
    /// Halts unless the checkpoint covers everything that posting has accepted, and every block
    /// that waits to be.
    pub(super) async fn check(
        self,
        ctx: &WorkerContext,
        layout: &Layout,
    ) -> Result<Accepted, Failure> {
        if self.is_missing(ctx).await? {
            let task = TaskId::new(Role::Rate, self.source);
            return Err(self.behind(ctx, missing(task)).await);
        }
        let mut accepted = Vec::new();
        for q in (0..layout.posting).map(Partition) {
            let posted = posted(ctx, q, self.source, layout).await?;
            if let Some(what) = self.contradiction(ctx, q, posted) {
                return Err(self.behind(ctx, what).await);
            }
            accepted.push(posted.accepted.sequence);
        }
        Ok(Accepted(accepted))
    }

    /// Halts if posting has accepted more than was `sent` once the recorded chunk is rated again. A
    /// posting checkpoint of an older tidemark does not say of which chunk its last block is.
    pub(super) async fn check_sent(
        self,
        ctx: &WorkerContext,
        accepted: &Accepted,
        sent: &[Sequence],
    ) -> Result<(), Failure> {
        for ((q, accepted), sent) in (0..).map(Partition).zip(&accepted.0).zip(sent) {
            if ctx.protections.sees_accepted_blocks(accepted > sent) {
                let what = self.accepted_more(q, *accepted, *sent);
                return Err(self.behind(ctx, what).await);
            }
        }
        Ok(())
    }

    async fn is_missing(self, ctx: &WorkerContext) -> Result<bool, Failure> {
        if self.written.is_some() {
            return Ok(false);
        }
        let task = TaskId::new(Role::Rate, self.source);
        let has_started = has_started(ctx, task).await?;
        Ok(ctx.protections.sees_accepted_blocks(has_started))
    }

    fn contradiction(self, ctx: &WorkerContext, q: Partition, posted: Posted) -> Option<String> {
        let Loaded { checkpoint, .. } = self;
        let is_recorded = |chunk| checkpoint.is_cut() && chunk == checkpoint.chunk;
        if let Some(newest) = posted.newest
            && newest >= checkpoint.chunk
            && !is_recorded(newest)
        {
            let (source, topic, known) = (self.source, Topic::LedgerPostings, checkpoint.chunk);
            return Some(format!(
                "{topic}/{q} holds a block of chunk {newest} of source partition {source}, but the \
                 tables hold chunks only up to {known}"
            ));
        }
        let SourceState {
            sequence, chunk, ..
        } = posted.accepted;
        let known = checkpoint.sequences.get(q.0 as usize).copied();
        let known = known.unwrap_or_default();
        let is_new_to_rating = self.written.is_none() && posted.knows_source;
        if ctx.protections.sees_accepted_blocks(is_new_to_rating) {
            let source = self.source;
            return Some(format!(
                "posting partition {q} has accepted blocks of source partition {source}, but the checkpoint of {} is missing",
                TaskId::new(Role::Rate, source)
            ));
        }
        // Blocks of the recorded chunk may have been accepted: they come after `sequences`.
        let is_covered = sequence <= known || chunk.map_or(checkpoint.is_cut(), is_recorded);
        let has_more = ctx.protections.sees_accepted_blocks(!is_covered);
        has_more.then(|| self.accepted_more(q, sequence, known))
    }

    fn accepted_more(self, q: Partition, accepted: Sequence, known: Sequence) -> String {
        let Loaded { source, .. } = self;
        format!(
            "posting partition {q} has accepted block {accepted} of source partition {source}, but \
             the tables hold blocks only up to {known}"
        )
    }

    /// The tables are behind, unless another worker has cut chunks since the checkpoint was read.
    async fn behind(self, ctx: &WorkerContext, what: String) -> Failure {
        let key = checkpoints::checkpoint_key(TaskId::new(Role::Rate, self.source));
        let halt = Failure::halt(HaltCode::TablesBehindLog, what);
        versioned::confirm(ctx, &key, self.written, halt).await
    }
}

/// What has been read of the posting partitions: how far, and the newest chunk of each source
/// partition among it. Every source partition of a worker asks the same, so each goes on where the
/// one before stopped.
#[derive(Debug, Default)]
pub(super) struct Tails(BTreeMap<Partition, Tail>);

#[derive(Debug, Default)]
struct Tail {
    next: Offset,
    newest: BTreeMap<Partition, Chunk>,
}

async fn posted(
    ctx: &WorkerContext,
    q: Partition,
    source: Partition,
    layout: &Layout,
) -> Result<Posted, Failure> {
    let mut tails = ctx.tails.lock().await;
    let tail = tails.0.entry(q).or_default();
    let stored = post_checkpoint(ctx, q).await?;
    let epoch = ctx.log.epoch();
    tail.read_on(ctx, q, taken(stored.as_ref(), epoch)).await?;
    Ok(Posted::of(stored.as_ref(), tail, source, (epoch, layout)))
}

async fn post_checkpoint(
    ctx: &WorkerContext,
    q: Partition,
) -> Result<Option<PostCheckpoint>, Failure> {
    let key = checkpoints::checkpoint_key(TaskId::new(Role::Post, q));
    let stored: Option<Versioned<PostCheckpoint>> =
        persist(ctx, || checkpoints::get(&*ctx.db, &key)).await?;
    Ok(stored.map(|stored| stored.value))
}

/// Up to where a posting partition has read the log of this epoch.
fn taken(stored: Option<&PostCheckpoint>, epoch: Epoch) -> Offset {
    let stored = stored.filter(|stored| stored.epoch == epoch);
    stored.map_or(Offset(0), |stored| stored.next)
}

impl Posted {
    fn of(
        stored: Option<&PostCheckpoint>,
        tail: &Tail,
        source: Partition,
        (epoch, layout): (Epoch, &Layout),
    ) -> Posted {
        let is_comparable =
            |stored: &&PostCheckpoint| stored.epoch == epoch || !layout.sequences_restart;
        let of_source = |stored: &PostCheckpoint| stored.sources.get(&source.0).copied();
        Posted {
            accepted: stored
                .filter(is_comparable)
                .and_then(of_source)
                .unwrap_or_default(),
            knows_source: stored.and_then(of_source).is_some(),
            newest: tail.newest.get(&source).copied(),
        }
    }
}

impl Tail {
    /// Reads what was appended since, from `taken` on: everything before it was compared when the
    /// posting checkpoint was read.
    async fn read_on(
        &mut self,
        ctx: &WorkerContext,
        q: Partition,
        taken: Offset,
    ) -> Result<(), Failure> {
        let topic = Topic::LedgerPostings;
        let Bounds { start, end } = ctx.log.bounds(topic, q).await?;
        self.next = self.next.max(taken).max(start);
        while self.next < end {
            let limit = ReadLimit {
                records: SCAN_RECORDS,
                bytes: SCAN_BYTES,
            };
            let read = ctx.log.read(topic, q, self.next, limit, MUST_BE_THERE);
            let records = read.await?;
            let Some(last) = records.last() else {
                let what = format!(
                    "records of {topic}/{q} from {} on could not be read yet",
                    self.next
                );
                return Err(Failure::reload(what));
            };
            // A block that cannot be read halts the posting partition that must take it, with a
            // better message than there is here.
            let blocks = records
                .iter()
                .filter_map(|record| posting::peek(&record.value).ok());
            for (block, _) in blocks {
                let newest = self.newest.entry(block.source).or_default();
                *newest = (*newest).max(block.chunk);
            }
            self.next = last.offset.next();
        }
        Ok(())
    }
}
