//! What time it is at the store, from the `Date` of its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;

use crate::ops::clock::Clock;
use crate::store::meter::StoreMeter;

/// No answer had a date yet.
const UNKNOWN: i64 = i64::MIN;

/// By how much the store's clock is ahead of ours, as of its newest answer. An embedded store has
/// the clock of its machine and sends no date.
#[derive(Debug)]
pub struct ServerClock(AtomicI64);

impl Default for ServerClock {
    fn default() -> ServerClock {
        ServerClock(AtomicI64::new(UNKNOWN))
    }
}

impl ServerClock {
    /// Milliseconds by which the store's clock is ahead, give or take a second: dates have no
    /// fractions.
    pub fn ahead_ms(&self) -> Option<i64> {
        let ahead = self.0.load(Ordering::Relaxed);
        (ahead != UNKNOWN).then_some(ahead)
    }

    /// Takes the date of an answer; returns by how much it is ahead, if it can be read.
    fn see(&self, date: &str, now_ms: i64) -> Option<i64> {
        let date = DateTime::from_str(date, Format::HttpDate).ok()?;
        let ahead = date.secs().saturating_mul(1_000).saturating_sub(now_ms);
        self.0.store(ahead, Ordering::Relaxed);
        Some(ahead)
    }
}

/// Reads the date of every answer.
pub(super) struct DateReader {
    pub(super) seen: Arc<ServerClock>,
    pub(super) meter: Arc<StoreMeter>,
    pub(super) clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for DateReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DateReader").field(&self.seen).finish()
    }
}

impl Intercept for DateReader {
    fn name(&self) -> &'static str {
        "DateReader"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        if let Some(ahead_ms) = date.and_then(|date| self.seen.see(date, self.clock.now().0)) {
            self.meter.clock_ahead(ahead_ms);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::ServerClock;

    #[test]
    fn the_difference_is_that_of_the_newest_date_that_can_be_read() {
        let clock = ServerClock::default();
        assert_eq!(clock.ahead_ms(), None);
        clock.see("Sun, 29 Nov 2026 15:00:00 GMT", 1_795_964_430_000);
        assert_eq!(clock.ahead_ms(), Some(-30_000));
        clock.see("tomorrow", 0);
        assert_eq!(clock.ahead_ms(), Some(-30_000));
    }
}
