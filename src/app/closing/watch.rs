//! Keeps the metrics of closed months, in every process with a service: months are also closed
//! elsewhere.

use std::sync::Arc;
use std::time::Duration;

use super::view::last_closed_and_unfinished;
use crate::ops::clock::Clock;
use crate::ops::metrics::Metrics;
use crate::ops::shutdown::Shutdown;
use crate::store::db::Db;

/// How often it is looked. Months are closed seldom.
const LOOK: Duration = Duration::from_secs(60);

/// Tells the metrics how far closing is, until shutdown.
pub async fn watch(
    db: Arc<dyn Db>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
) {
    loop {
        // A store that does not answer is reported by others; the numbers stay as they are.
        if let Ok((closed, unfinished)) = last_closed_and_unfinished(&*db).await {
            let begins = closed.map_or(0, |month| month.start().0 / 1_000);
            metrics.closing_last_closed_timestamp_seconds.set(begins);
            metrics
                .closing_unfinished
                .set(i64::from(unfinished.is_some()));
        }
        let pause = shutdown.bounded(Duration::ZERO, clock.sleep(LOOK));
        if pause.await.is_none() {
            return;
        }
    }
}
