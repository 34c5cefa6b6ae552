//! From where posting takes blocks again.
//!
//! Tables that were restored "to one moment" may be some seconds apart. Account rows that are older
//! than the posting checkpoint lack postings that it covers. So posting goes back to a checkpoint
//! of its own from a while before: rows that have counted a block skip it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::json;

use super::check::check_post;
use super::{Failure, Offset, Partition, Refusal, Role, TaskId, WorkerContext, persist};
use crate::domain::time::Millis;
use crate::log::{Topic, TopicInfo};
use crate::pipeline::versioned;
use crate::store::audit;
use crate::store::checkpoints::{self, EarlierCheckpoint, PostCheckpoint, Versioned};
use crate::store::set_aside::{self, Base, Released};

/// How far apart restored tables may be.
pub const APART_MAX_MS: i64 = 300_000;

/// From where posting takes blocks again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewind {
    /// From its stored checkpoint on: that has gone back already.
    Stay,
    /// From this one.
    To(PostCheckpoint),
    /// From the beginning of the log: no copy of a checkpoint is old enough.
    Beginning,
}

/// Chooses the newest of these copies of the posting checkpoint that is older than any of the
/// tables can be.
pub fn choose(stored: &PostCheckpoint, copies: &[EarlierCheckpoint]) -> Rewind {
    let same_log = |copy: &&EarlierCheckpoint| {
        copy.checkpoint.epoch == stored.epoch && copy.checkpoint.topic_id == stored.topic_id
    };
    // The tables are of this moment, or of a later one.
    let newest = copies.iter().filter(same_log).map(|copy| copy.at).max();
    let latest = newest.map(|newest| Millis(newest.0 - APART_MAX_MS));
    let old_enough = copies
        .iter()
        .filter(same_log)
        .filter(|copy| Some(copy.at) <= latest);
    match old_enough.max_by_key(|copy| copy.at) {
        Some(copy) if copy.checkpoint.next < stored.next => Rewind::To(copy.checkpoint.clone()),
        None if stored.next > Offset(0) => Rewind::Beginning,
        _ => Rewind::Stay,
    }
}

/// What stands before the first block of this log.
pub(super) fn beginning(ctx: &WorkerContext, info: &TopicInfo) -> PostCheckpoint {
    PostCheckpoint {
        topic_id: info.id.clone(),
        epoch: ctx.log.epoch(),
        partitions: info.partitions,
        next: Offset(0),
        fingerprint: None,
        sources: BTreeMap::new(),
        witnesses: Vec::new(),
    }
}

/// The checkpoint that takes the place of one that is missing; `None`: there has never been one.
/// Any copy from before will do: rows that have counted a block skip it.
pub(super) async fn replacement(
    ctx: &WorkerContext,
    q: Partition,
    info: &TopicInfo,
    sequences_restart: bool,
) -> Result<Option<PostCheckpoint>, Refusal> {
    let task = TaskId::new(Role::Post, q);
    let has_started = persist(ctx, || checkpoints::has_started(&*ctx.db, task)).await;
    let copies = persist(ctx, || checkpoints::earlier(&*ctx.db, q)).await;
    let mut copies = copies.map_err(Failure::from)?;
    if !has_started.map_err(Failure::from)? && copies.is_empty() {
        return Ok(None);
    }
    copies.sort_by_key(|copy| Reverse(copy.at));
    for copy in copies {
        match check_post(ctx, q, &copy.checkpoint, info).await {
            Ok(()) => return Ok(Some(copy.checkpoint)),
            Err(Refusal::TryAgain(why)) => return Err(Refusal::TryAgain(why)),
            // It is of another log, or the log does not reach back so far.
            Err(_) => {}
        }
    }
    let bounds = ctx.log.bounds(Topic::LedgerPostings, q).await;
    let start = bounds.map_err(Failure::from)?.start;
    match start == Offset(0) && sequences_restart {
        true => Ok(Some(beginning(ctx, info))),
        false => Err(Refusal::PostingCheckpointLost { posting: q, start }),
    }
}

/// A posting checkpoint that is put back.
#[derive(Clone, Debug)]
pub(super) struct PutBack {
    /// Of which posting partition.
    pub(super) posting: Partition,
    /// The one that is stored; `None`: it is missing.
    pub(super) stored: Option<Versioned<PostCheckpoint>>,
    /// The one that takes its place.
    pub(super) to: PostCheckpoint,
}

impl PutBack {
    /// Accounts that were released after the checkpoint to which posting goes back may have their
    /// rows of before. They are set aside once more, and released by the poster: from the place at
    /// which they were set aside they take what they lack.
    async fn set_aside_again(&self, ctx: &WorkerContext) -> Result<(), Refusal> {
        let (q, partitions) = (self.posting, self.to.partitions);
        let kept = persist(ctx, || set_aside::released_of(&*ctx.db, q, partitions)).await;
        for Released { record, next, .. } in kept.map_err(Failure::from)? {
            if next <= Base::of(&self.to).position() {
                continue;
            }
            let account = record.account.clone();
            let known = persist(ctx, || set_aside::get(&*ctx.db, &account)).await;
            // Set aside again since, it has a newer record.
            if known.map_err(Failure::from)?.is_some() {
                continue;
            }
            let key = set_aside::key(&account);
            let write = ctx.next_write();
            let writes = [
                set_aside::put(&record, None, write),
                set_aside::forget_released(&account),
            ];
            let written = versioned::save(ctx, &key, &writes, None, write).await;
            written.map_err(|failure: Failure| Refusal::from(failure))?;
        }
        Ok(())
    }

    /// Stores it, and leaves an audit entry.
    pub(super) async fn write(&self, ctx: &WorkerContext, by: &str) -> Result<(), Refusal> {
        self.set_aside_again(ctx).await?;
        let task = TaskId::new(Role::Post, self.posting);
        let key = checkpoints::checkpoint_key(task);
        let previous = self.stored.as_ref().map(|stored| stored.write);
        let entry = audit::Entry {
            at: ctx.clock.now(),
            action: "recover.posting".to_owned(),
            subject: task.to_string(),
            by: by.to_owned(),
            detail: json!({
                "fromOffset": self.stored.as_ref().map(|stored| stored.value.next),
                "toOffset": self.to.next,
            }),
        };
        let write = ctx.next_write();
        let put = checkpoints::put(&key, &self.to, previous, write);
        let writes = [put, audit::write(&entry)];
        let written = versioned::save(ctx, &key, &writes, previous, write).await;
        written.map_err(|failure: Failure| failure.into())
    }
}
