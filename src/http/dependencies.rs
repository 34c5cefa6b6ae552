//! Looks after what a process depends on: whether events can be appended, whether the store
//! answers.
//!
//! Requests notice an outage only while there are some, and a request that hangs says nothing for
//! seconds. So both are asked from time to time, whatever comes in. `/readyz`, `tidemark top` and
//! the metric `tidemark_dependency_down` tell what was found.

use std::sync::Arc;
use std::time::Duration;

use crate::log::Log;
use crate::ops::health::{Dependency, Health, Outage};
use crate::ops::log_throttle::LogThrottle;
use crate::ops::shutdown::Shutdown;
use crate::store::db::{Db, StoreError};
use crate::store::layout;

/// How often each is asked.
const INTERVAL: Duration = Duration::from_secs(2);
/// When it is asked again after a first failure.
const AGAIN_SOON: Duration = Duration::from_millis(500);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How many failures in a row are an outage: one alone may be a lost packet.
const FAILURES_MIN: u32 = 2;

/// Asks log and store until shutdown.
pub async fn watch_dependencies(
    log: Arc<dyn Log>,
    db: Arc<dyn Db>,
    health: Arc<Health>,
    shutdown: Shutdown,
) {
    let dependencies = Dependencies { log, db };
    tokio::join!(
        watch(Dependency::Log, &dependencies, &health, &shutdown),
        watch(Dependency::Store, &dependencies, &health, &shutdown),
    );
}

struct Dependencies {
    log: Arc<dyn Log>,
    db: Arc<dyn Db>,
}

impl Dependencies {
    async fn check(&self, dependency: Dependency) -> Option<Outage> {
        match dependency {
            Dependency::Log => check_log(&*self.log).await,
            Dependency::Store => check_store(&*self.db, &*self.log).await,
        }
    }
}

async fn watch(
    dependency: Dependency,
    dependencies: &Dependencies,
    health: &Health,
    shutdown: &Shutdown,
) {
    let (mut failures, mut told) = (Failures::default(), LastNotice::new(LogThrottle::new()));
    loop {
        let asked = tokio::time::timeout(ANSWER_WITHIN, dependencies.check(dependency));
        let Some(answer) = shutdown.bounded(Duration::ZERO, asked).await else {
            return;
        };
        let outage = answer.unwrap_or_else(|_| Some(silent(dependency)));
        let pause = match failures.count(outage) {
            Verdict::Unsure => AGAIN_SOON,
            Verdict::Works => told.report(dependency, None, health),
            Verdict::Down(outage) => told.report(dependency, Some(outage), health),
        };
        let pause = tokio::time::sleep(pause);
        if shutdown.bounded(Duration::ZERO, pause).await.is_none() {
            return;
        }
    }
}

async fn check_log(log: &dyn Log) -> Option<Outage> {
    let error = log.check_appends().await.err()?;
    Some(Outage {
        code: error.code(),
        detail: error.to_string(),
    })
}

/// Reads an item that every installation has, or may have.
async fn check_store(db: &dyn Db, log: &dyn Log) -> Option<Outage> {
    let error = layout::get(db, log.epoch()).await.err()?;
    let code = match &error {
        StoreError::Unavailable(_) | StoreError::Unanswered(_) => "store_unavailable",
        StoreError::Denied(_) => "store_denied",
        StoreError::Refused(_) => "store_refused",
        // It answers. What is wrong with a row is for those who work with it.
        StoreError::ConditionFailed
        | StoreError::Apart(_)
        | StoreError::Newer { .. }
        | StoreError::Corrupt { .. } => return None,
    };
    Some(Outage {
        code,
        detail: error.to_string(),
    })
}

fn silent(dependency: Dependency) -> Outage {
    let (code, what) = match dependency {
        Dependency::Log => ("log_unavailable", "log"),
        Dependency::Store => ("store_unavailable", "store"),
    };
    Outage {
        code,
        detail: format!(
            "the {what} has not answered for {} s; check it and the network to it. Nothing is lost, \
             and work goes on by itself when it answers",
            ANSWER_WITHIN.as_secs()
        ),
    }
}

/// Failures in a row.
#[derive(Default)]
struct Failures(u32);

impl Failures {
    fn count(&mut self, outage: Option<Outage>) -> Verdict {
        self.0 = outage.as_ref().map_or(0, |_| self.0.saturating_add(1));
        match outage {
            None => Verdict::Works,
            Some(_) if self.0 < FAILURES_MIN => Verdict::Unsure,
            Some(outage) => Verdict::Down(outage),
        }
    }
}

/// What an answer says of a dependency.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Works,
    /// It takes another answer to tell.
    Unsure,
    Down(Outage),
}

/// Why a dependency is not usable; `None`: it works.
type State = Option<&'static str>;

/// What the log was told of a dependency.
struct LastNotice {
    now: State,
    told: State,
    /// How often it changed since it was told.
    changes: u64,
    lately: LogThrottle<State>,
}

impl LastNotice {
    fn new(lately: LogThrottle<State>) -> LastNotice {
        LastNotice {
            now: None,
            told: None,
            changes: 0,
            lately,
        }
    }

    /// How often the state has changed since it was told, if it is to be told now. What flaps is
    /// told now and then, and in the end as it is.
    fn news(&mut self, now: State) -> Option<u64> {
        self.changes += u64::from(self.now != now);
        self.now = now;
        if self.told == now || self.lately.say(now).is_none() {
            return None;
        }
        self.told = now;
        Some(std::mem::take(&mut self.changes))
    }

    /// Tells health, and the log if it is news; when to ask again.
    fn report(
        &mut self,
        dependency: Dependency,
        outage: Option<Outage>,
        health: &Health,
    ) -> Duration {
        health.set_outage(dependency, outage.clone());
        self.tell(dependency, outage);
        INTERVAL
    }

    fn tell(&mut self, dependency: Dependency, outage: Option<Outage>) {
        let Some(changes) = self.news(outage.as_ref().map(|outage| outage.code)) else {
            return;
        };
        let what = dependency.as_str();
        match outage {
            Some(Outage { code, detail }) => {
                tracing::error!(
                    event = "dependency.down",
                    dependency = what,
                    code,
                    detail,
                    changes,
                    "a dependency is not usable"
                );
            }
            None => tracing::info!(
                event = "dependency.up",
                dependency = what,
                changes,
                "a dependency works again"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: State = Some("log_unavailable");

    #[test]
    fn one_failure_is_no_outage_and_two_in_a_row_are() {
        let mut failures = Failures::default();
        let bad = || silent(Dependency::Log);
        for _ in 0..2 {
            assert_eq!(failures.count(Some(bad())), Verdict::Unsure);
            assert_eq!(failures.count(None), Verdict::Works);
            assert_eq!(failures.count(Some(bad())), Verdict::Unsure);
            for _ in 0..2 {
                assert_eq!(failures.count(Some(bad())), Verdict::Down(bad()));
            }
            assert_eq!(failures.count(None), Verdict::Works);
        }
    }

    #[test]
    fn what_flaps_is_told_once_in_a_while() {
        let mut told = LastNotice::new(LogThrottle::new());
        assert_eq!(told.news(None), None, "it has worked all the time");
        assert_eq!(told.news(DOWN), Some(1));
        assert_eq!(told.news(None), Some(1));
        for _ in 0..10 {
            assert_eq!((told.news(DOWN), told.news(None)), (None, None));
        }
        // Another cause is told beside it.
        assert_eq!(told.news(Some("log_disk_full")), Some(21));
    }

    #[test]
    fn how_it_is_in_the_end_is_told() {
        let mut told = LastNotice::new(LogThrottle::every(Duration::ZERO));
        assert_eq!(told.news(DOWN), Some(1));
        told.lately = LogThrottle::new();
        assert_eq!(told.news(None), Some(1));
        assert_eq!(told.news(DOWN), Some(1));
        assert_eq!(told.news(None), None, "told a moment ago");
        told.lately = LogThrottle::new();
        assert_eq!(told.news(None), Some(1));
        assert_eq!(told.news(None), None);
    }
}
