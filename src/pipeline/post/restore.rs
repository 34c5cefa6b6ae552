//! Taking up a posting partition.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::Poster;
use super::account_cache::AccountCache;
use super::aside::AsideBook;
use super::awards::FormerQueues;
use super::badges::MilestoneAwards;
use super::sweep::Sweeps;
use crate::domain::position::{Epoch, Partition, Sequence};
use crate::log::{Bounds, Topic, TopicInfo};
use crate::ops::health::{Role, TaskId};
use crate::pipeline::failure::{Failure, HaltCode};
use crate::pipeline::follower::{Follower, Needs};
use crate::pipeline::freshness::Freshness;
use crate::pipeline::installation::{self, NextCheck};
use crate::pipeline::layout::{self, Layout};
use crate::pipeline::retry::persist;
use crate::pipeline::table_age::missing_posting;
use crate::pipeline::{WorkerContext, lag, log_identity, versioned};
use crate::store;
use crate::store::checkpoints::{self, PostCheckpoint, SourceState, Versioned};
use crate::store::db::Key;

impl<'c> Poster<'c> {
    /// Takes up a posting partition.
    pub async fn restore(
        ctx: &'c WorkerContext,
        partition: Partition,
    ) -> Result<Poster<'c>, Failure> {
        let info = ctx.log.topic(Topic::LedgerPostings).await?;
        let layout = layout::agree_to_post(ctx, &info).await?;
        let key = checkpoints::checkpoint_key(TaskId::new(Role::Post, partition));
        let stored: Option<Versioned<PostCheckpoint>> =
            persist(ctx, || checkpoints::get(&*ctx.db, &key)).await?;
        let (checkpoint, written) = match stored {
            Some(stored) => (stored.value, Some(stored.write)),
            None => {
                must_be_new(ctx, partition, &key).await?;
                (first_checkpoint(ctx, partition, &info).await?, None)
            }
        };
        let mut checkpoint = match check(ctx, partition, checkpoint, &info, &layout).await {
            Ok(checkpoint) => checkpoint,
            Err(failure) => return Err(versioned::confirm(ctx, &key, written, failure).await),
        };
        let task = TaskId::new(Role::Post, partition);
        lag::tell_backlog(ctx, task, Topic::LedgerPostings, checkpoint.next).await;
        let most = match layout.posting_since > Epoch(0) {
            true => persist(ctx, || store::layout::most_posting_partitions(&*ctx.db)).await?,
            false => layout.posting,
        };
        let written_to = checkpoint.next;
        installation::check(ctx).await?;
        let aside = AsideBook::load(ctx, partition, info.partitions).await?;
        // A checkpoint that was put back may have been written before an account was set aside.
        checkpoint
            .witnesses
            .retain(|witness| !aside.is_waiting(&witness.account));
        let mut poster = Poster {
            ctx,
            partition,
            partitions: info.partitions,
            lists_since: layout.posting_since,
            written,
            is_noted: false,
            kept_in: None,
            next: checkpoint.next,
            fingerprint: checkpoint.fingerprint,
            sources: checkpoint.sources.clone(),
            witnesses: checkpoint.witnesses.clone(),
            next_check: NextCheck::default(),
            checkpoint,
            follower: Follower::start(ctx, Needs::Rules).await?,
            activity: None,
            accounts: AccountCache::default(),
            forgotten: HashMap::new(),
            dirty: Vec::new(),
            aside,
            touched: Vec::new(),
            tops: BTreeMap::new(),
            ranked_under: None,
            badges_under: None,
            milestone_awards: MilestoneAwards::default(),
            sweeps: Sweeps::from(ctx.clock.moment()),
            spent_pointers: Vec::new(),
            uses: 0,
            dirty_since: None,
            flush_took: Duration::ZERO,
            is_behind: false,
            next_awards: ctx.clock.moment(),
            awards_after: None,
            former_queues: FormerQueues::of(partition, layout.posting, most),
            next_tops: ctx.clock.moment(),
            written_to,
            first_unwritten: None,
            progressed: false,
            newest: Freshness::default(),
        };
        let witnesses = poster.witnesses.clone();
        poster.check_witnesses(&witnesses).await?;
        Ok(poster)
    }
}

/// Halts if there is no checkpoint although there was one: it would begin again at the start of the
/// log, without the sequences that it has accepted and the witnesses of the rows that it has
/// written.
async fn must_be_new(ctx: &WorkerContext, partition: Partition, key: &Key) -> Result<(), Failure> {
    let task = TaskId::new(Role::Post, partition);
    if !persist(ctx, || checkpoints::has_started(&*ctx.db, task)).await? {
        return Ok(());
    }
    let halt = Failure::halt(HaltCode::TablesBehindLog, missing_posting(task));
    Err(versioned::confirm(ctx, key, None, halt).await)
}

/// What stands before the first block. Blocks that the log has dropped already would show as a gap
/// in the sequences.
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
        witnesses: Vec::new(),
    })
}

/// Checks that the log is the one that the checkpoint speaks of. In a new epoch sequences begin
/// again, and offsets too unless the topic is the same; the layout of the epoch was stored only
/// when every block of the old one had been taken.
async fn check(
    ctx: &WorkerContext,
    partition: Partition,
    checkpoint: PostCheckpoint,
    info: &TopicInfo,
    layout: &Layout,
) -> Result<PostCheckpoint, Failure> {
    let epoch = ctx.log.epoch();
    let topic = Topic::LedgerPostings;
    let place = log_identity::RecordedTopic {
        topic,
        partition,
        id: &checkpoint.topic_id,
        epoch: checkpoint.epoch,
    };
    if checkpoint.epoch < epoch {
        let done = (checkpoint.next, checkpoint.fingerprint.as_ref());
        let next = log_identity::begins_at(ctx, &place, info, checkpoint.partitions, done).await?;
        return Ok(PostCheckpoint {
            next,
            sources: begin_epoch(checkpoint.sources, layout),
            witnesses: checkpoint.witnesses,
            ..first_checkpoint(ctx, partition, info).await?
        });
    }
    log_identity::same_log(epoch, &place, info)?;
    let (known, found) = (checkpoint.partitions, info.partitions);
    log_identity::same_count(topic, known, found)?;
    log_identity::still_there(
        ctx,
        &place,
        checkpoint.next,
        checkpoint.next,
        checkpoint.fingerprint.as_ref(),
    )
    .await?;
    Ok(checkpoint)
}

/// What is known of the sources when an epoch begins. Their log time goes on.
fn begin_epoch(
    mut sources: BTreeMap<u32, SourceState>,
    layout: &Layout,
) -> BTreeMap<u32, SourceState> {
    if layout.sequences_restart {
        sources.retain(|source, _| *source < layout.source);
        for state in sources.values_mut() {
            state.sequence = Sequence(0);
            state.chunk = None;
        }
    }
    sources
}
