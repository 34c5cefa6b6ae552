//! Trying again: one back-off with jitter, and what is repeated with it.

use std::future::Future;
use std::time::Duration;

use futures::future::{Either, select};
use tokio::sync::watch;

use super::WorkerContext;
use crate::ops::log_throttle::LogThrottle;
use crate::store::db::StoreError;

/// While the store is away every write asks again, thousands a minute.
static RETRIES: LogThrottle<()> = LogThrottle::new();

/// The pause before try `attempt` (1, 2, …): doubling, with a jitter that spreads workers.
pub(super) fn backoff(ctx: &WorkerContext, attempt: u32) -> Duration {
    let longest = ctx
        .settings
        .backoff
        .saturating_mul(1 << attempt.clamp(1, 16))
        .min(ctx.settings.backoff_max);
    // Half of it is fixed, half is spread by a hash of this worker's own counter: no generator of random numbers is needed.
    let seed = ctx.next_write();
    let spread =
        xxhash_rust::xxh3::xxh3_64_with_seed(&seed.count.to_le_bytes(), seed.worker) % 1_000;
    longest / 2 + longest.mul_f64(spread as f64 / 2_000.0)
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
    mut attempt: impl FnMut() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut tries = 0;
    loop {
        match attempt().await {
            Err(error) if error.is_transient() && tries < ctx.settings.tries_max => {
                tries += 1;
                if let Some(kept_back) = RETRIES.say(()) {
                    tracing::warn!(event = "store.retry", %error, attempt = tries, kept_back, "retrying the request to the store");
                }
                ctx.clock.sleep(backoff(ctx, tries)).await;
            }
            result => return result,
        }
    }
}
