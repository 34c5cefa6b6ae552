//! A worker's clock: virtual time, and off by as much as the worker's machine is.

use std::time::Duration;

use async_trait::async_trait;
use tidemark::domain::time::Millis;
use tidemark::ops::clock::{Clock, Moment};

use super::world::World;

/// One worker's clock.
#[derive(Clone)]
pub struct SimClock {
    /// The world.
    pub world: World,
    /// How far it is off, ms.
    pub skew_ms: i64,
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Millis {
        Millis(self.world.now() + self.skew_ms)
    }

    fn moment(&self) -> Moment {
        Moment::from_millis(self.world.now())
    }

    fn jitter(&self) -> u64 {
        self.world.jitter()
    }

    async fn sleep(&self, duration: Duration) {
        self.world.sleep(duration.as_millis() as i64).await;
    }
}

/// The clock of a store's client, by which nothing is dated.
#[async_trait]
impl Clock for World {
    fn now(&self) -> Millis {
        Millis(World::now(self))
    }

    fn moment(&self) -> Moment {
        Moment::from_millis(World::now(self))
    }

    fn jitter(&self) -> u64 {
        World::jitter(self)
    }

    async fn sleep(&self, duration: Duration) {
        World::sleep(self, duration.as_millis() as i64).await;
    }
}

/// No time passes: for stores that are only read, and have everything.
pub struct StillClock;

#[async_trait]
impl Clock for StillClock {
    fn now(&self) -> Millis {
        Millis(0)
    }

    fn moment(&self) -> Moment {
        Moment::default()
    }

    fn jitter(&self) -> u64 {
        0
    }

    async fn sleep(&self, _: Duration) {}
}
