//! Keeps the metrics of closed months, in every process with a service: months are also closed
//! elsewhere.

use std::sync::Arc;
use std::time::Duration;

use super::missing::missing_files;
use super::view::last_closed_and_unfinished;
use crate::objects::Objects;
use crate::ops::clock::Clock;
use crate::ops::metrics::Metrics;
use crate::ops::shutdown::Shutdown;
use crate::store::db::Db;

/// How often it is looked. Months are closed seldom.
const LOOK: Duration = Duration::from_secs(60);
/// Once in so many looks the files are looked for, too: a request to their place for each close.
const LOOKS_PER_FILES: u32 = 10;

/// Tells the metrics how far closing is, and whether its files are there, until shutdown.
pub async fn watch(
    db: Arc<dyn Db>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    files: Option<Objects>,
    shutdown: Shutdown,
) {
    for look in 0_u32.. {
        // A store that does not answer is reported by others; the numbers stay as they are.
        if let Ok((closed, unfinished)) = last_closed_and_unfinished(&*db).await {
            let begins = closed.map_or(0, |month| month.start().0 / 1_000);
            metrics.closing_last_closed_timestamp_seconds.set(begins);
            metrics
                .closing_unfinished
                .set(i64::from(unfinished.is_some()));
        }
        if let Some(files) = files.as_ref().filter(|_| look % LOOKS_PER_FILES == 0) {
            let looked = look_for_files(&*db, files, &metrics);
            if shutdown.bounded(Duration::ZERO, looked).await.is_none() {
                return;
            }
        }
        let pause = shutdown.bounded(Duration::ZERO, clock.sleep(LOOK));
        if pause.await.is_none() {
            return;
        }
    }
}

async fn look_for_files(db: &dyn Db, files: &Objects, metrics: &Metrics) {
    match missing_files(db, files).await {
        Ok(missing) => {
            let count = i64::try_from(missing.len()).unwrap_or(i64::MAX);
            metrics.closing_files_missing.set(count);
            metrics.closing_files_unchecked.set(0);
            if let Some(first) = missing.first() {
                tracing::error!(
                    event = "closing.files_missing", missing = count, %first, place = files.place(),
                    "files of closed months are gone or cut short; `tidemark close MONTH` writes them again"
                );
            }
        }
        Err(error) => {
            metrics.closing_files_unchecked.set(1);
            tracing::warn!(
                event = "closing.files_check_failed", %error, place = files.place(),
                "cannot check whether the files of closed months are there"
            );
        }
    }
}
