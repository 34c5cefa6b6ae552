//! Time as a dependency. Nothing that decides a number reads it; back-off, flush timers and award dates do.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::time::Millis;

/// A clock.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Millis;

    /// Returns after `duration`.
    async fn sleep(&self, duration: Duration);
}

/// The system's clock, and tokio's timers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Millis {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Millis(since.map_or(0, |d| d.as_millis() as i64))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
