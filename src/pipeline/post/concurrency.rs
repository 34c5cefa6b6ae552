//! Many requests to the store at once: a bounded number of lanes, each of which takes the next
//! piece of work when it is done with one.
//!
//! A future of its own for every request would cost as much as building the request.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{BoxFuture, FutureExt, try_join_all};

use crate::pipeline::WorkerContext;
use crate::pipeline::failure::Failure;

/// Whose turn it is: 0, 1, 2, … up to a number of pieces.
pub(super) struct Turns {
    next: AtomicUsize,
    end: usize,
}

impl Turns {
    /// So many turns.
    pub(super) fn of(end: usize) -> Turns {
        Turns {
            next: AtomicUsize::new(0),
            end,
        }
    }

    /// The next turn, if there is one.
    pub(super) fn next(&self) -> Option<usize> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        (turn < self.end).then_some(turn)
    }
}

/// Runs lanes until no turns are left; what all of them gave. The first failure ends all: what they
/// have under way is dropped.
pub(super) fn all<'t, T, F>(
    ctx: &WorkerContext,
    turns: &'t Turns,
    lane: impl Fn(&'t Turns) -> F,
) -> impl Future<Output = Result<Vec<T>, Failure>> + Send + 't
where
    F: Future<Output = Result<Vec<T>, Failure>> + Send + 't,
    T: Send + 't,
{
    let count = turns.end.min(ctx.settings.flush_concurrency.max(1));
    // Boxed and made before anything is awaited, so that no closure over references lives across an
    // await: the task would not be Send.
    let lanes: Vec<BoxFuture<'t, Result<Vec<T>, Failure>>> =
        (0..count).map(|_| lane(turns).boxed()).collect();
    async move {
        let mut given = try_join_all(lanes).await?;
        Ok(match given.len() {
            1 => given.swap_remove(0),
            _ => given.into_iter().flatten().collect(),
        })
    }
}
