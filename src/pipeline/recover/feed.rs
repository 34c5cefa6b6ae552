//! Prices and links that do not agree with the control feed: their tables are of another moment.

use super::{Failure, Refusal, Survey, WorkerContext, persist};
use crate::store::conditional::{self, WriteOutcome};
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
        // Whether it is not written or not known to be: the next survey finds what is left.
        let look = async { Ok::<_, Failure>(WriteOutcome::NotYet) };
        let sent = conditional::send(&*ctx.db, writes).await;
        if conditional::outcome(sent, look).await? != WriteOutcome::Written {
            let what = "prices or links could not be written, or were changed meanwhile";
            return Err(Refusal::TryAgain(what.to_owned()));
        }
    }
    Ok(())
}
