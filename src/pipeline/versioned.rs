//! Writing an item that another worker might write too: only over what this worker has last seen.

use super::WorkerContext;
use super::failure::Failure;
use super::retry::{persist, persist_within};
use crate::domain::position::WriteId;
use crate::store::checkpoints::last_write;
use crate::store::conditional::{self, WriteOutcome};
use crate::store::db::{Key, StoreError, Write};

/// Does all of `writes`, or none. The one of `key` is among them, on the condition that the item's
/// last write is still `previous`. After a lost answer that item is read: it carries this write's
/// id, or still the previous one (try again), or somebody else's: then this task has lost the
/// partition and reloads.
pub(super) async fn save(
    ctx: &WorkerContext,
    key: &Key,
    writes: &[Write],
    previous: Option<WriteId>,
    write: WriteId,
) -> Result<(), Failure> {
    let mut retry = ctx.retry();
    loop {
        let sent = conditional::send(&*ctx.db, writes.to_vec()).await;
        // Refused while this item is as it was: then another one of them is not.
        let is_other = writes.len() > 1 && sent == Err(StoreError::ConditionFailed);
        let look = async {
            let found = persist_within(&mut retry, || last_write(&*ctx.db, key)).await?;
            Ok::<_, Failure>(match found {
                found if found == Some(write) => WriteOutcome::Written,
                found if found == previous && !is_other => WriteOutcome::NotYet,
                _ => WriteOutcome::ByAnother,
            })
        };
        match conditional::outcome(sent, look).await? {
            WriteOutcome::Written => return Ok(()),
            WriteOutcome::ByAnother => {
                let what = format!("another worker wrote {}", key.hash);
                return Err(Failure::reload(what));
            }
            WriteOutcome::NotYet => {}
        }
        if !retry.again().await {
            let what = format!("{} could not be written", key.hash);
            return Err(Failure::reload(what));
        }
    }
}

/// How often an item is read again before a contradiction with it counts.
const CONFIRMING_READINGS: u32 = 6;

/// A contradiction between the log and an item counts only if the item is still the one that was
/// read, also a few moments later. Otherwise another worker has gone on since, and this one begins
/// again.
///
/// One reading is not enough: the items of a transaction may become visible one after another, so
/// that the note that a partition has had a checkpoint is there while its first checkpoint is not.
pub(super) async fn confirm(
    ctx: &WorkerContext,
    key: &Key,
    written: Option<WriteId>,
    failure: Failure,
) -> Failure {
    if !matches!(failure, Failure::Halt(..)) {
        return failure;
    }
    let readings = ctx.protections.confirming_readings(CONFIRMING_READINGS);
    for reading in 1..=readings {
        match persist(ctx, || last_write(&*ctx.db, key)).await {
            Ok(found) if found == written => ctx.clock.sleep(ctx.pause_after(reading)).await,
            Ok(_) => return Failure::reload(format!("another worker wrote {}", key.hash)),
            Err(error) => return error.into(),
        }
    }
    failure
}
