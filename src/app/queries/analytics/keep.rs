//! Keeps the sums over everybody young enough, in the store and in the metrics.

use std::sync::Arc;
use std::time::Duration;

use super::{Analytics, compute, key};
use crate::domain::position::WriteId;
use crate::ops::clock::Clock;
use crate::ops::metrics::Metrics;
use crate::ops::shutdown::Shutdown;
use crate::store::checkpoints::{self, Versioned};
use crate::store::conditional::write_once;
use crate::store::db::{Db, StoreError};

/// How often it is looked whether the kept result is too old.
const LOOK: Duration = Duration::from_secs(20);
/// The tables are read again when so many milliseconds have passed for every thousand accounts in
/// them, and at least as many: what there is little of is cheap to read, and a new installation, or
/// a demo, must not tell of nothing for an hour.
const LIFE_MS_PER_THOUSAND: u64 = 60_000;
/// With several processes the first to begin should be alone: each waits for another part of this.
const SPREAD_MS: u64 = 10_000;

/// Keeps the result no older than `every`, and the metrics as it is, until shutdown.
pub async fn keep(
    db: Arc<dyn Db>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    every: Duration,
    shutdown: Shutdown,
) {
    let mut is_told = false;
    loop {
        match refresh(&*db, &*clock, every).await {
            Ok(kept) => {
                is_told = false;
                kept.tell(&metrics);
            }
            Err(error) if !is_told => {
                is_told = true;
                tracing::warn!(event = "analytics.failed", %error, "the tables could not be read whole; trying again");
            }
            Err(_) => {}
        }
        let pause = shutdown.bounded(Duration::ZERO, clock.sleep(LOOK));
        if pause.await.is_none() {
            return;
        }
    }
}

/// What is kept, if it is young enough; else what the tables say now, which is kept from then on.
async fn refresh(db: &dyn Db, clock: &dyn Clock, every: Duration) -> Result<Analytics, StoreError> {
    let is_young = |kept: &Versioned<Analytics>| {
        // What was computed in the future was computed before a clock was set back.
        let age_ms = (clock.now().0 - kept.value.computed_at_ms).abs();
        age_ms < life_ms(&kept.value, every)
    };
    let kept: Option<Versioned<Analytics>> = checkpoints::get(db, &key()).await?;
    if let Some(kept) = kept.as_ref().filter(|kept| is_young(kept)) {
        return Ok(kept.value.clone());
    }
    let me: u64 = rand::random();
    if kept.is_some() {
        clock.sleep(Duration::from_millis(me % SPREAD_MS)).await;
        let again: Option<Versioned<Analytics>> = checkpoints::get(db, &key()).await?;
        if let Some(again) = again.filter(|again| is_young(again)) {
            return Ok(again.value);
        }
    }
    let computed = compute(db, clock.now()).await?;
    let write = WriteId {
        worker: me,
        count: 1,
    };
    let previous = kept.map(|kept| kept.write);
    // If another process has computed it at the same time, that is as good.
    let put = checkpoints::put(&key(), &computed, previous, write);
    write_once(db, vec![put]).await?;
    Ok(computed)
}

/// How long a result is kept: as long as reading that much again is worth, and never longer than
/// `every`.
fn life_ms(kept: &Analytics, every: Duration) -> i64 {
    let seen = [
        kept.accounts.users,
        kept.accounts.providers,
        kept.referrals.codes,
        kept.referrals.signups,
    ];
    let seen = seen.into_iter().fold(0, u64::saturating_add);
    let life = (seen / 1_000).max(1).saturating_mul(LIFE_MS_PER_THOUSAND);
    let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
    i64::try_from(life).unwrap_or(i64::MAX).min(every)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Analytics, life_ms};

    #[test]
    fn what_there_is_little_of_is_read_again_soon_and_nothing_later_than_the_interval() {
        let minutes = |users: u64| {
            let mut kept = Analytics::default();
            kept.accounts.users = users;
            life_ms(&kept, Duration::from_secs(3600)) / 60_000
        };
        let rows = [
            (0, 1),
            (1_999, 1),
            (10_000, 10),
            (60_000, 60),
            (u64::MAX, 60),
        ];
        for (users, expected) in rows {
            assert_eq!(minutes(users), expected, "{users}");
        }
    }
}
