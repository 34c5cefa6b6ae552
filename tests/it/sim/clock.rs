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

    async fn sleep(&self, duration: Duration) {
        self.world.sleep(duration.as_millis() as i64).await;
    }
}
