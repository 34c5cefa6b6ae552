//! Taking up a posting partition.

use std::collections::BTreeMap;

use super::Poster;
use super::book::Book;
use crate::domain::position::Partition;
use crate::domain::time::Millis;
use crate::log::{Bounds, Topic, TopicInfo};
use crate::ops::health::{Role, TaskId};
use crate::pipeline::failure::Failure;
use crate::pipeline::follower::Follower;
use crate::pipeline::freshness::Freshness;
use crate::pipeline::supervise::persist;
use crate::pipeline::{WorkerContext, anchor};
use crate::store::checkpoints::{self, PostCheckpoint, Versioned};

impl<'c> Poster<'c> {
    /// Takes up a posting partition.
    pub async fn load(ctx: &'c WorkerContext, partition: Partition) -> Result<Poster<'c>, Failure> {
        let info = ctx.log.topic(Topic::LedgerPostings).await?;
        let key = checkpoints::checkpoint_key(TaskId::new(Role::Post, partition));
        let stored: Option<Versioned<PostCheckpoint>> =
            persist(ctx, || checkpoints::get(&*ctx.db, &key)).await?;
        let (checkpoint, written) = match stored {
            Some(stored) => (stored.value, Some(stored.write)),
            None => (first_checkpoint(ctx, partition, &info).await?, None),
        };
        let checkpoint = check(ctx, partition, checkpoint, &info).await?;
        let log_times = checkpoint.sources.values().map(|source| source.log_time);
        let reached = log_times.max().filter(|reached| reached.0 > 0);
        Ok(Poster {
            ctx,
            partition,
            partitions: info.partitions,
            written,
            next: checkpoint.next,
            fingerprint: checkpoint.fingerprint,
            sources: checkpoint.sources.clone(),
            checkpoint,
            follower: Follower::start(ctx).await?,
            activity: None,
            accounts: Book::default(),
            dirty: Vec::new(),
            touched: Vec::new(),
            tops: BTreeMap::new(),
            ranked_under: None,
            spent_pointers: Vec::new(),
            uses: 0,
            dirty_since: None,
            next_awards: Millis(0),
            next_tops: ctx.clock.now(),
            progressed: false,
            newest: Freshness::default(),
            reached,
        })
    }
}

/// What stands before the first block. Blocks that the log has dropped already would show as a gap in the sequences.
async fn first_checkpoint(
    ctx: &WorkerContext,
    partition: Partition,
    info: &TopicInfo,
) -> Result<PostCheckpoint, Failure> {
    let Bounds { start, .. } = ctx.log.bounds(Topic::LedgerPostings, partition).await?;
    Ok(PostCheckpoint {
        topic_id: info.id.clone(),
        epoch: ctx.log.epoch(),
        partitions: info.partitions,
        next: start,
        fingerprint: None,
        sources: BTreeMap::new(),
    })
}

/// Checks that the log is the one that the checkpoint speaks of. In a new epoch offsets begin again; the sequences of the
/// sources go on, so that a block of the old epoch that was never taken shows as a gap.
async fn check(
    ctx: &WorkerContext,
    partition: Partition,
    checkpoint: PostCheckpoint,
    info: &TopicInfo,
) -> Result<PostCheckpoint, Failure> {
    anchor::same_count(
        Topic::LedgerPostings,
        checkpoint.partitions,
        info.partitions,
    )?;
    let epoch = ctx.log.epoch();
    if checkpoint.epoch < epoch {
        return Ok(PostCheckpoint {
            sources: checkpoint.sources,
            ..first_checkpoint(ctx, partition, info).await?
        });
    }
    let topic = Topic::LedgerPostings;
    let place = anchor::Place {
        topic,
        partition,
        id: &checkpoint.topic_id,
        epoch: checkpoint.epoch,
    };
    anchor::same_log(epoch, &place, info)?;
    anchor::still_there(
        ctx,
        &place,
        checkpoint.next,
        checkpoint.next,
        checkpoint.fingerprint.as_ref(),
    )
    .await?;
    Ok(checkpoint)
}
