//! Prices and links that do not agree with the control feed: their tables are of another moment.

use super::{Failure, Refusal, Survey, WorkerContext, persist};
use crate::store::db::StoreError;
use crate::store::feed_rows::{self, FeedRows};
use crate::store::{audit, feed_rows::Repair};

/// How the rows differ from the feed.
pub(super) async fn compare(ctx: &WorkerContext) -> Result<FeedRows, Refusal> {
    let found = persist(ctx, || feed_rows::compare(&*ctx.db)).await;
    let found = ctx.protections.feed_rows(found.map_err(Failure::from)?);
    match found.holes.first() {
        Some(number) => Err(Refusal::FeedEntryMissing { number: *number }),
        None => Ok(found),
    }
}

/// Removes the rows that the feed does not know, and writes those that it lacks.
pub(super) async fn repair(ctx: &WorkerContext, survey: &Survey, by: &str) -> Result<(), Refusal> {
    for Repair { mut writes, detail } in survey.feed.repairs() {
        let entry = audit::Entry {
            at: ctx.clock.now(),
            action: "recover.feed_rows".to_owned(),
            subject: "control".to_owned(),
            by: by.to_owned(),
            detail,
        };
        writes.push(audit::write(&entry));
        match ctx.db.transact(writes).await {
            Ok(()) => {}
            // Also after a lost answer: the next survey finds what is left.
            Err(error) if error == StoreError::ConditionFailed || error.is_transient() => {
                return Err(Refusal::TryAgain(error.to_string()));
            }
            Err(error) => return Err(Failure::from(error).into()),
        }
    }
    Ok(())
}
