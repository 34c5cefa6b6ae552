//! Memory for request bodies, shared out as they arrive.
//!
//! A body takes room for the bytes that have come, not for those that it announces: who sends
//! slowly holds little. All bodies together have a bound, each caller a share of it, so that one
//! caller cannot take the room of the others. Who finds no room waits a moment, and is then asked
//! to come again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;
use crate::ops::metrics::Metrics;

/// Room is taken in pieces of this size.
const STEP_BYTES: usize = 64 * 1024;
/// How long a body waits for room.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// What part of all room one caller may hold.
const SHARES: usize = 2;

/// The room for the bodies of this process.
pub(super) struct Budget {
    all: Arc<Semaphore>,
    share_bytes: usize,
    patience: Duration,
    callers: Mutex<HashMap<Arc<str>, Caller>>,
    metrics: Arc<Metrics>,
}

/// What a caller may still take, and how many of its bodies are being read.
struct Caller {
    room: Arc<Semaphore>,
    bodies: usize,
}

impl Budget {
    /// Room for so many bytes; for one body of the largest size per caller at least.
    pub fn new(
        bytes: usize,
        body_bytes_max: usize,
        patience: Duration,
        metrics: Arc<Metrics>,
    ) -> Arc<Budget> {
        let share_bytes = (bytes / SHARES).max(rounded(body_bytes_max));
        Arc::new(Budget {
            all: Arc::new(Semaphore::new(bytes.max(share_bytes))),
            share_bytes,
            patience,
            callers: Mutex::default(),
            metrics,
        })
    }

    /// A body of this caller, of which nothing has come yet.
    pub fn begin(self: &Arc<Budget>, caller: &str) -> Room {
        let caller: Arc<str> = caller.into();
        let mut callers = self.lock();
        let entry = callers.entry(caller.clone()).or_insert_with(|| Caller {
            room: Arc::new(Semaphore::new(self.share_bytes)),
            bodies: 0,
        });
        entry.bodies += 1;
        Room {
            share: entry.room.clone(),
            budget: self.clone(),
            caller,
            held: 0,
            permits: Vec::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Caller>> {
        // A panic elsewhere leaves the map whole: each change of it is one statement.
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The room that a body holds, until this is dropped.
pub(super) struct Room {
    budget: Arc<Budget>,
    share: Arc<Semaphore>,
    caller: Arc<str>,
    held: usize,
    permits: Vec<OwnedSemaphorePermit>,
}

impl Room {
    /// Makes it enough for so many bytes.
    pub async fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        let wanted = rounded(bytes);
        if wanted <= self.held {
            return Ok(());
        }
        let more = u32::try_from(wanted - self.held).unwrap_or(u32::MAX);
        let (share, all) = (self.share.clone(), self.budget.all.clone());
        let taken = tokio::time::timeout(self.budget.patience, async {
            // Semaphores are never closed.
            let of_share = share.acquire_many_owned(more).await.ok()?;
            Some((of_share, all.acquire_many_owned(more).await.ok()?))
        });
        let Ok(Some((of_share, of_all))) = taken.await else {
            return Err(self.no_room());
        };
        self.add(of_share, of_all);
        self.held = wanted;
        Ok(())
    }

    fn add(&mut self, of_share: OwnedSemaphorePermit, of_all: OwnedSemaphorePermit) {
        if let [share, all] = &mut self.permits[..] {
            share.merge(of_share);
            all.merge(of_all);
        } else {
            self.permits = vec![of_share, of_all];
        }
    }

    /// Gives back what is not needed for so many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        let wanted = rounded(bytes);
        let less = self.held.saturating_sub(wanted);
        for permit in &mut self.permits {
            drop(permit.split(less));
        }
        self.held -= less;
    }

    fn no_room(&self) -> Problem {
        let refused = &self.budget.metrics.http_bodies_refused_total;
        refused.with_label_values(&["no_room"]).inc();
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "too much request data is being read at the moment; nothing was done, retry shortly",
        )
        .retry_after(1)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.permits.clear();
        let mut callers = self.budget.lock();
        if let Some(caller) = callers.get_mut(&self.caller) {
            caller.bodies -= 1;
            if caller.bodies == 0 {
                callers.remove(&self.caller);
            }
        }
    }
}

const fn rounded(bytes: usize) -> usize {
    bytes.div_ceil(STEP_BYTES) * STEP_BYTES
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Budget, STEP_BYTES};
    use crate::ops::metrics::Metrics;

    fn budget(steps: usize) -> Arc<Budget> {
        let patience = Duration::from_millis(20);
        let metrics = Arc::new(Metrics::new());
        Budget::new(steps * STEP_BYTES, STEP_BYTES, patience, metrics)
    }

    #[tokio::test]
    async fn a_caller_cannot_take_the_room_of_others() {
        let budget = budget(4);
        let mut greedy = budget.begin("greedy");
        greedy.grow_to(2 * STEP_BYTES).await.unwrap();
        let mut more = budget.begin("greedy");
        let refused = more.grow_to(1).await.unwrap_err();
        assert!(refused.is("busy"));
        let mut other = budget.begin("other");
        other.grow_to(2 * STEP_BYTES - 1).await.unwrap();
        assert!(budget.begin("third").grow_to(1).await.is_err());
        drop(greedy);
        more.grow_to(1).await.unwrap();
        drop((more, other));
        assert_eq!(budget.all.available_permits(), 4 * STEP_BYTES);
        assert!(budget.lock().is_empty(), "nobody is remembered for nothing");
    }

    #[tokio::test]
    async fn room_that_is_not_needed_is_given_back() {
        let budget = budget(4);
        let mut room = budget.begin("anna");
        room.grow_to(2 * STEP_BYTES).await.unwrap();
        room.shrink_to(1);
        assert_eq!(budget.all.available_permits(), 3 * STEP_BYTES);
        // Growing within what is held takes nothing.
        room.grow_to(STEP_BYTES).await.unwrap();
        assert_eq!(budget.all.available_permits(), 3 * STEP_BYTES);
        room.grow_to(STEP_BYTES + 1).await.unwrap();
        assert_eq!(budget.all.available_permits(), 2 * STEP_BYTES);
    }
}
