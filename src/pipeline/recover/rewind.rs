//! From where posting takes blocks again.
//!
//! Tables that were restored "to one moment" may be some seconds apart. Account rows that are older
//! than the posting checkpoint lack postings that it covers. So posting goes back to a checkpoint of
//! its own from a while before: rows that have counted a block skip it.

use super::{Failure, Offset, Partition, Refusal, Role, TaskId, WorkerContext};
use crate::domain::time::Millis;
use crate::pipeline::versioned;
use crate::store::checkpoints::{self, EarlierCheckpoint, PostCheckpoint, Versioned};

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

/// Chooses the newest of these copies of the posting checkpoint that is older than any of the tables
/// can be.
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

/// Puts the posting checkpoint back.
pub(super) async fn rewind(
    ctx: &WorkerContext,
    q: Partition,
    stored: &Versioned<PostCheckpoint>,
    to: &PostCheckpoint,
) -> Result<(), Refusal> {
    let key = checkpoints::checkpoint_key(TaskId::new(Role::Post, q));
    let write = ctx.next_write();
    let put = checkpoints::put(&key, to, Some(stored.write), write);
    let written = versioned::save(ctx, &key, &[put], Some(stored.write), write).await;
    written.map_err(|failure: Failure| failure.into())
}
