//! Writes that hold only over what was last seen, and what became of them.
//!
//! A condition that fails, or an answer that is lost, does not say whether the write happened: an
//! earlier attempt may have, or a late one still will. The row tells. Everything that is written
//! under a condition goes through here and ends in one [`WriteOutcome`]:
//!
//! - a worker that knows what it last saw writes with [`send`] and asks [`outcome`], which looks at
//!   the row when it must;
//! - a change that is decided from what was read (credits, codes, prices, redrives …) is made by
//!   [`Attempts`]: unless it is written, the rows are read and it is decided again;
//! - what is right whoever wrote it first uses [`write_once`].

use std::future::Future;
use std::time::Duration;

use super::db::{Db, StoreError, Write};
use crate::ops::retry::{Backoff, Retry, RetryPolicy};

/// What became of a write under a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It happened.
    Written,
    /// The row is as it was: the write did not happen, or will fail its own condition when it comes
    /// late. It may be tried again.
    NotYet,
    /// Another writer was first, or a late attempt of one's own past.
    ByAnother,
}

/// Sends writes that happen together or not at all.
pub async fn send(db: &dyn Db, mut writes: Vec<Write>) -> Result<(), StoreError> {
    match (writes.len(), writes.pop()) {
        (1, Some(only)) if !matches!(only, Write::Check { .. }) => db.write(only).await,
        (_, last) => {
            writes.extend(last);
            db.transact(writes).await
        }
    }
}

/// What became of writes that were sent. `look` reads the row; it is asked only if a condition
/// failed or the answer was lost.
///
/// Errors: those of `look`, and what no further attempt can change.
pub async fn outcome<E: From<StoreError>>(
    sent: Result<(), StoreError>,
    look: impl Future<Output = Result<WriteOutcome, E>>,
) -> Result<WriteOutcome, E> {
    match sent {
        Ok(()) => Ok(WriteOutcome::Written),
        Err(StoreError::ConditionFailed | StoreError::Unanswered(_)) => look.await,
        Err(StoreError::Unavailable(_) | StoreError::Denied(_)) => Ok(WriteOutcome::NotYet),
        Err(error) => Err(error.into()),
    }
}

/// Writes what is right whoever writes it first: a failed condition means that it is there, or was
/// superseded. A lost answer is an error, after which the same may be written again.
pub async fn write_once(db: &dyn Db, writes: Vec<Write>) -> Result<WriteOutcome, StoreError> {
    match send(db, writes).await {
        Ok(()) => Ok(WriteOutcome::Written),
        Err(StoreError::ConditionFailed) => Ok(WriteOutcome::ByAnother),
        Err(error) => Err(error),
    }
}

/// How a change is decided again that others got ahead of. Rounds are short at first: usually one
/// other writer was ahead, and is done.
const DECIDED_AGAIN: RetryPolicy = RetryPolicy {
    backoff: Backoff {
        base: Duration::from_millis(4),
        cap: Duration::from_millis(250),
    },
    attempts_max: 500,
    within: Duration::from_secs(20),
};
/// How many lost answers a change bears before it reports one.
pub const UNANSWERED_MAX: u32 = 5;

/// The attempts at a change that is decided from what was read.
pub struct Attempts<'d> {
    db: &'d dyn Db,
    retry: Retry<'d>,
    unanswered: u32,
}

impl<'d> Attempts<'d> {
    /// None yet.
    pub fn new(db: &'d dyn Db) -> Attempts<'d> {
        Attempts {
            db,
            retry: Retry::new(db.clock(), DECIDED_AGAIN),
            unanswered: 0,
        }
    }

    /// Makes an attempt. Unless it is written, read and decide again, which also tells whether a
    /// write without an answer has happened; a pause has passed by then.
    ///
    /// Errors: what no further attempt can change, and [`StoreError::Unanswered`] or
    /// [`StoreError::Unavailable`] when there were enough.
    pub async fn write(&mut self, writes: Vec<Write>) -> Result<WriteOutcome, StoreError> {
        let (outcome, error) = match send(self.db, writes).await {
            Ok(()) => return Ok(WriteOutcome::Written),
            Err(StoreError::ConditionFailed) => {
                let what = "too many others write the same rows".to_owned();
                (WriteOutcome::ByAnother, StoreError::Unavailable(what))
            }
            Err(error @ StoreError::Unanswered(_)) => {
                self.unanswered += 1;
                (WriteOutcome::NotYet, error)
            }
            Err(error) => return Err(error),
        };
        match self.unanswered < UNANSWERED_MAX && self.retry.again().await {
            true => Ok(outcome),
            false => Err(error),
        }
    }
}

/// How often a row is read again that must be there: the parts of a transaction become visible
/// within moments of each other.
const READ_AGAIN: RetryPolicy = RetryPolicy {
    backoff: Backoff {
        base: Duration::from_millis(2),
        cap: Duration::from_millis(200),
    },
    attempts_max: 20,
    within: RetryPolicy::NO_DEADLINE,
};

/// The readings of what must be there.
pub(in crate::store) fn read_again(db: &dyn Db) -> Retry<'_> {
    Retry::new(db.clock(), READ_AGAIN)
}

/// Reads until there is something, for a while. `None`: there is not.
pub async fn until_visible<T, F>(
    db: &dyn Db,
    mut read: impl FnMut() -> F,
) -> Result<Option<T>, StoreError>
where
    F: Future<Output = Result<Option<T>, StoreError>>,
{
    let mut retry = read_again(db);
    loop {
        let found = read().await?;
        if found.is_some() || !retry.again().await {
            return Ok(found);
        }
    }
}
