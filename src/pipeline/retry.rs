//! Trying again, as a worker's settings have it.

use std::future::Future;
use std::time::Duration;

use futures::future::{Either, select};
use tokio::sync::watch;

use super::WorkerContext;
use crate::ops::log_throttle::LogThrottle;
use crate::ops::retry::{Backoff, Retry, RetryPolicy};
use crate::store::db::StoreError;

/// While the store is away every write asks again, thousands a minute.
static RETRIES: LogThrottle<()> = LogThrottle::new();

/// For how long a request is tried again before its task reloads.
const WITHIN: Duration = Duration::from_secs(120);

impl WorkerContext {
    fn backoff(&self) -> Backoff {
        Backoff {
            base: self.settings.backoff,
            cap: self.settings.backoff_max,
        }
    }

    /// The attempts at one request of a task, and at everything that belongs to it.
    pub(super) fn retry(&self) -> Retry<'_> {
        self.attempts(self.settings.tries_max, WITHIN)
    }

    /// The readings of something that is not as it must be: a plain read may show a part of a
    /// transaction. It is read again so often.
    pub(super) fn readings(&self, again: u32) -> Retry<'_> {
        self.attempts(again, RetryPolicy::NO_DEADLINE)
    }

    fn attempts(&self, again: u32, within: Duration) -> Retry<'_> {
        let policy = RetryPolicy {
            backoff: self.backoff(),
            attempts_max: again.saturating_add(1),
            within,
        };
        Retry::new(&*self.clock, policy)
    }

    /// The pause after so many failures in a row, or readings.
    pub(super) fn pause_after(&self, failed: u32) -> Duration {
        self.backoff().pause(failed, self.clock.jitter())
    }
}

/// Sleeps, but not beyond shutdown.
pub(super) async fn pause(
    ctx: &WorkerContext,
    shutdown: &mut watch::Receiver<bool>,
    duration: Duration,
) {
    let sleep = ctx.clock.sleep(duration);
    let stop = std::pin::pin!(shutdown.wait_for(|stop| *stop));
    match select(sleep, stop).await {
        Either::Left(_) | Either::Right(_) => {}
    }
}

/// Repeats what is idempotent while the store is away, a bounded number of times.
pub(super) async fn persist<T, F>(
    ctx: &WorkerContext,
    attempt: impl FnMut() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    persist_within(&mut ctx.retry(), attempt).await
}

/// [`persist`] as a part of something that is tried again itself: it takes its attempts from that.
pub(super) async fn persist_within<T, F>(
    retry: &mut Retry<'_>,
    mut attempt: impl FnMut() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    loop {
        let error = match attempt().await {
            Err(error) if error.is_transient() => error,
            result => return result,
        };
        if let Some(kept_back) = RETRIES.say(()) {
            let attempt = retry.failed() + 1;
            tracing::warn!(event = "store.retry", %error, attempt, kept_back, "retrying the request to the store");
        }
        if !retry.again().await {
            return Err(error);
        }
    }
}
