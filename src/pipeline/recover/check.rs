//! Is the log still the one that a stored checkpoint was written for?

use super::{Offset, Partition, RateCheckpoint, Refusal, WorkerContext};
use crate::log::{Fingerprint, Topic, TopicInfo};
use crate::pipeline::log_identity;
use crate::store::checkpoints::PostCheckpoint;

pub(super) async fn check_rate(
    ctx: &WorkerContext,
    p: Partition,
    stored: &RateCheckpoint,
    info: &TopicInfo,
) -> Result<(), Refusal> {
    let place = log_identity::RecordedTopic {
        topic: Topic::UsageEvents,
        partition: p,
        id: &stored.topic_id,
        epoch: stored.epoch,
    };
    let fingerprint = stored.fingerprint.as_ref();
    check_place(ctx, &place, info, (stored.from, stored.to), fingerprint).await
}

pub(super) async fn check_post(
    ctx: &WorkerContext,
    q: Partition,
    stored: &PostCheckpoint,
    info: &TopicInfo,
) -> Result<(), Refusal> {
    let place = log_identity::RecordedTopic {
        topic: Topic::LedgerPostings,
        partition: q,
        id: &stored.topic_id,
        epoch: stored.epoch,
    };
    let fingerprint = stored.fingerprint.as_ref();
    check_place(ctx, &place, info, (stored.next, stored.next), fingerprint).await
}

/// The log is the one that the checkpoint was written for, and holds what the checkpoint goes on
/// from.
async fn check_place(
    ctx: &WorkerContext,
    place: &log_identity::RecordedTopic<'_>,
    info: &TopicInfo,
    (from, to): (Offset, Offset),
    fingerprint: Option<&Fingerprint>,
) -> Result<(), Refusal> {
    same_epoch(ctx, place)?;
    log_identity::same_log(ctx.log.epoch(), place, info)?;
    log_identity::still_there(ctx, place, from, to, fingerprint).await?;
    Ok(())
}

fn same_epoch(ctx: &WorkerContext, place: &log_identity::RecordedTopic<'_>) -> Result<(), Refusal> {
    let (log, tables) = (ctx.log.epoch(), place.epoch);
    match log == tables {
        true => Ok(()),
        false => Err(Refusal::OtherLog(format!(
            "the log has epoch {log}, the tables are at epoch {tables}: they were restored to a moment before the move; restore a later moment"
        ))),
    }
}
