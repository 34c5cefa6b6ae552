//! How many requests may be on their way to the store at once.
//!
//! A store that is slower than its clients wait works for nobody: requests that are given up and
//! sent again queue behind those that the store still serves, and when there are enough of them no
//! answer ever comes in time. So whenever an answer does not come, only half as many requests may
//! be on their way from then on, and one more for every round of answers that do come.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{Either, select};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::ops::clock::Clock;

/// So many may always be on their way: they find out whether the store answers again.
const LEAST: usize = 4;
/// More than a process ever sends at once.
pub(super) const MOST: usize = 1_024;

/// The bound, shared by all requests of a client.
#[derive(Debug)]
pub(super) struct InFlight {
    permits: Semaphore,
    state: Mutex<State>,
    /// How long a request waits to be let in.
    within: Duration,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// Permits that exist: more than `limit` only until those that are out come back.
    existing: usize,
    on_the_way: usize,
    /// Answers since the bound last grew.
    answers: usize,
    /// Requests that were let in.
    admitted: u64,
    /// Requests up to this one were let in under an earlier bound: that they are lost says nothing
    /// about this one.
    earlier: u64,
}

impl InFlight {
    pub(super) fn new(within: Duration) -> InFlight {
        InFlight {
            permits: Semaphore::new(MOST),
            state: Mutex::new(State {
                limit: MOST,
                existing: MOST,
                on_the_way: 0,
                answers: 0,
                admitted: 0,
                earlier: 0,
            }),
            within,
        }
    }

    /// Waits until one more may be on its way. `None`: that took too long.
    pub(super) async fn admit(&self, clock: &dyn Clock) -> Option<Pass<'_>> {
        let permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let acquired = std::pin::pin!(self.permits.acquire());
                match select(acquired, clock.sleep(self.within)).await {
                    Either::Left((permit, _)) => permit.ok()?,
                    Either::Right(_) => return None,
                }
            }
        };
        let mut state = self.lock();
        state.on_the_way += 1;
        state.admitted += 1;
        Some(Pass {
            bound: self,
            permit: Some(permit),
            number: state.admitted,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that may be on its way, until this is dropped.
pub(super) struct Pass<'b> {
    bound: &'b InFlight,
    permit: Option<SemaphorePermit<'b>>,
    number: u64,
}

impl Pass<'_> {
    /// The store answered in time. The new bound, if it rose.
    pub(super) fn answered(&self) -> Option<usize> {
        let mut state = self.bound.lock();
        state.answers += 1;
        if state.answers < state.limit || state.limit >= MOST {
            return None;
        }
        state.answers = 0;
        state.limit += 1;
        if state.existing < state.limit {
            state.existing += 1;
            self.bound.permits.add_permits(1);
        }
        Some(state.limit)
    }

    /// No answer came. The new bound, if it fell.
    pub(super) fn lost(&self) -> Option<usize> {
        let mut state = self.bound.lock();
        let halved = (state.limit.min(state.on_the_way) / 2).max(LEAST);
        if self.number <= state.earlier || halved >= state.limit {
            return None;
        }
        state.limit = halved;
        state.answers = 0;
        state.earlier = state.admitted;
        let excess = state.existing - state.limit;
        state.existing -= self.bound.permits.forget_permits(excess);
        Some(state.limit)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let mut state = self.bound.lock();
        state.on_the_way -= 1;
        if state.existing > state.limit {
            state.existing -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::clock::SystemClock;

    async fn admit(bound: &InFlight, count: usize) -> Vec<Pass<'_>> {
        let mut passes = Vec::new();
        for _ in 0..count {
            passes.push(bound.admit(&SystemClock).await.expect("there is room"));
        }
        passes
    }

    /// Lets as many in as the bound allows.
    async fn fill(bound: &InFlight) -> usize {
        let mut passes = Vec::new();
        while let Some(pass) = bound.admit(&SystemClock).await {
            passes.push(pass);
        }
        passes.len()
    }

    #[tokio::test]
    async fn requests_lost_together_halve_the_bound_once_and_answers_raise_it_again() {
        let bound = InFlight::new(Duration::from_millis(1));
        let passes = admit(&bound, 100).await;
        let fell = passes.iter().filter_map(Pass::lost).collect::<Vec<_>>();
        assert_eq!(fell, [50]);
        drop(passes);
        assert_eq!(fill(&bound).await, 50);
        for pass in admit(&bound, 50).await {
            pass.answered();
        }
        assert_eq!(fill(&bound).await, 51);
    }

    #[tokio::test]
    async fn the_bound_never_falls_below_the_least_nor_grows_past_the_most() {
        let bound = InFlight::new(Duration::from_millis(1));
        for _ in 0..20 {
            for pass in admit(&bound, LEAST).await {
                pass.lost();
            }
        }
        assert_eq!(fill(&bound).await, LEAST);
        for _ in 0..MOST * MOST {
            admit(&bound, 1).await[0].answered();
        }
        assert_eq!(fill(&bound).await, MOST);
    }
}
