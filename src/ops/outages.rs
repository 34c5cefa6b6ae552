//! What a process depends on, and why it cannot be used at present.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::metrics::Metrics;

/// What a process depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependency {
    /// The log that takes usage events.
    Log,
    /// The tables.
    Store,
}

impl Dependency {
    /// Both.
    pub const ALL: [Dependency; 2] = [Dependency::Log, Dependency::Store];

    /// The name, as in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Dependency::Log => "log",
            Dependency::Store => "store",
        }
    }
}

/// Why a dependency cannot be used at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Stable, from a fixed set; it becomes a label.
    pub code: &'static str,
    /// What happened and what to do.
    pub detail: String,
}

/// How long a failed append counts, unless one succeeds before.
const FAILED_APPEND_COUNTS: Duration = Duration::from_secs(5);
/// How long one counts at most, after further failures.
const FAILED_APPEND_COUNTS_MAX: Duration = Duration::from_secs(60);

/// An outage that is shorter than this leaves tasks no further behind than any other pause. If a
/// dependency that flaps counted, no task would ever be found to be stalled.
const SHORT_OUTAGE: Duration = Duration::from_secs(30);

/// What cannot be used at present.
#[derive(Default)]
pub(super) struct Outages {
    down: Mutex<BTreeMap<Dependency, Outage>>,
    /// Since when something cannot be used.
    down_since: Mutex<Option<Instant>>,
    /// When the last outage ended, and the last that was not short.
    ended: Mutex<Ended>,
    /// The last append, if it failed.
    failed_append: Mutex<Option<FailedAppend>>,
}

#[derive(Clone, Copy, Default)]
struct Ended {
    any: Option<Instant>,
    long: Option<Instant>,
}

/// Failed appends since one succeeded. Whoever is not ready gets no traffic that would show whether
/// appends still fail, so each further failure counts for longer.
struct FailedAppend {
    outage: Outage,
    /// When the last one failed.
    at: Instant,
    /// For how long that counts.
    counts: Duration,
    /// Since when it is so long.
    counts_since: Instant,
}

impl FailedAppend {
    fn first(outage: Outage, now: Instant) -> FailedAppend {
        FailedAppend {
            outage,
            at: now,
            counts: FAILED_APPEND_COUNTS,
            counts_since: now,
        }
    }

    /// Another failure. Requests that fail together are one.
    fn again(&mut self, outage: Outage, now: Instant) {
        if now.duration_since(self.counts_since) >= FAILED_APPEND_COUNTS {
            self.counts = (self.counts * 2).min(FAILED_APPEND_COUNTS_MAX);
            self.counts_since = now;
        }
        self.outage = outage;
        self.at = now;
    }

    fn counts(&self, now: Instant) -> bool {
        now.duration_since(self.at) < self.counts
    }
}

impl Outages {
    /// Says that a dependency fails, or works (again); whether that is news.
    pub(super) fn set(
        &self,
        dependency: Dependency,
        outage: Option<Outage>,
        metrics: &Metrics,
    ) -> bool {
        self.set_at(dependency, outage, metrics, Instant::now())
    }

    fn set_at(
        &self,
        dependency: Dependency,
        outage: Option<Outage>,
        metrics: &Metrics,
        at: Instant,
    ) -> bool {
        let code = |outage: &Option<Outage>| outage.as_ref().map(|outage| outage.code);
        let now = code(&outage);
        let mut down = lock(&self.down);
        let before = match outage {
            Some(outage) => down.insert(dependency, outage),
            None => down.remove(&dependency),
        };
        let before = code(&before);
        self.note_times(!down.is_empty(), at);
        for (code, value) in [(before, 0), (now, 1)] {
            let labels = code.map(|code| [dependency.as_str(), code]);
            if let Some(labels) = labels {
                let gauge = metrics.dependency_down.with_label_values(&labels);
                gauge.set(value);
            }
        }
        before != now
    }

    fn note_times(&self, is_down: bool, at: Instant) {
        let mut down_since = lock(&self.down_since);
        if is_down {
            down_since.get_or_insert(at);
        } else if let Some(since) = down_since.take() {
            let mut ended = lock(&self.ended);
            ended.any = Some(at);
            if at.duration_since(since) >= SHORT_OUTAGE {
                ended.long = Some(at);
            }
        }
    }

    /// Whether anything cannot be used.
    pub(super) fn any(&self) -> bool {
        !lock(&self.down).is_empty()
    }

    /// When the last outage ended that excuses a task that made no progress for longer than
    /// `bound`: one that was not short, unless the bound is not much longer than that.
    pub(super) fn well_since(&self, bound: Duration) -> Option<Instant> {
        let Ended { any, long } = *lock(&self.ended);
        if bound < SHORT_OUTAGE * 2 { any } else { long }
    }

    /// An append of usage events succeeded, or failed for a reason that is not its sender's.
    pub(super) fn appended(&self, outcome: Result<(), Outage>) {
        self.appended_at(outcome, Instant::now());
    }

    fn appended_at(&self, outcome: Result<(), Outage>, now: Instant) {
        let mut failed = lock(&self.failed_append);
        match (outcome, failed.as_mut()) {
            (Ok(()), _) => *failed = None,
            (Err(outage), None) => *failed = Some(FailedAppend::first(outage, now)),
            (Err(outage), Some(failed)) => failed.again(outage, now),
        }
    }

    /// Why usage events cannot be appended now, as far as is known.
    pub(super) fn appends_fail(&self) -> Option<Outage> {
        self.appends_fail_at(Instant::now())
    }

    fn appends_fail_at(&self, now: Instant) -> Option<Outage> {
        let known = lock(&self.down).get(&Dependency::Log).cloned();
        known.or_else(|| {
            let failed = lock(&self.failed_append);
            let failed = failed.as_ref().filter(|failed| failed.counts(now))?;
            Some(failed.outage.clone())
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves each of them whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage() -> Outage {
        Outage {
            code: "log_unavailable",
            detail: "no answer".to_owned(),
        }
    }

    #[test]
    fn failed_appends_count_for_longer_until_one_succeeds() {
        let (outages, mut now) = (Outages::default(), Instant::now());
        let at_least = |now, secs| {
            let within = now + Duration::from_secs(secs);
            let just = within - Duration::from_millis(1);
            let counts = |at| outages.appends_fail_at(at).is_some();
            (counts(just), counts(within))
        };
        for secs in [5, 10, 20, 40, 60, 60] {
            // Requests that fail together are one failure.
            for _ in 0..3 {
                outages.appended_at(Err(outage()), now);
            }
            assert_eq!(at_least(now, secs), (true, false), "{secs} s");
            now += Duration::from_secs(secs);
        }
        outages.appended_at(Ok(()), now);
        assert_eq!(outages.appends_fail_at(now), None);
        outages.appended_at(Err(outage()), now);
        assert_eq!(at_least(now, 5), (true, false));
    }

    #[test]
    fn only_an_outage_that_is_not_short_moves_the_time_since_which_all_is_well() {
        let (outages, metrics, start) = (Outages::default(), Metrics::new(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        let set = |dependency, outage, secs| {
            outages.set_at(dependency, outage, &metrics, at(secs));
        };
        let well_since = || outages.well_since(Duration::from_secs(300));
        set(Dependency::Store, Some(outage()), 0);
        set(Dependency::Store, None, 29);
        assert_eq!(well_since(), None);
        assert_eq!(outages.well_since(Duration::from_secs(5)), Some(at(29)));
        // One after the other is one outage.
        set(Dependency::Store, Some(outage()), 100);
        set(Dependency::Log, Some(outage()), 120);
        set(Dependency::Store, None, 125);
        set(Dependency::Log, None, 140);
        assert_eq!(well_since(), Some(at(140)));
        set(Dependency::Log, Some(outage()), 200);
        set(Dependency::Log, None, 204);
        assert_eq!(well_since(), Some(at(140)));
    }
}
