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

/// What cannot be used at present.
#[derive(Default)]
pub(super) struct Outages {
    down: Mutex<BTreeMap<Dependency, Outage>>,
    /// When the last outage ended.
    well_since: Mutex<Option<Instant>>,
    /// The last append, if it failed.
    failed_append: Mutex<Option<(Instant, Outage)>>,
}

impl Outages {
    /// Says that a dependency fails, or works (again); whether that is news.
    pub(super) fn set(
        &self,
        dependency: Dependency,
        outage: Option<Outage>,
        metrics: &Metrics,
    ) -> bool {
        let code = |outage: &Option<Outage>| outage.as_ref().map(|outage| outage.code);
        let now = code(&outage);
        let mut down = lock(&self.down);
        let before = match outage {
            Some(outage) => down.insert(dependency, outage),
            None => down.remove(&dependency),
        };
        let before = code(&before);
        if before.is_some() && down.is_empty() {
            *lock(&self.well_since) = Some(Instant::now());
        }
        for (code, value) in [(before, 0), (now, 1)] {
            let labels = code.map(|code| [dependency.as_str(), code]);
            if let Some(labels) = labels {
                let gauge = metrics.dependency_down.with_label_values(&labels);
                gauge.set(value);
            }
        }
        before != now
    }

    /// Whether anything cannot be used.
    pub(super) fn any(&self) -> bool {
        !lock(&self.down).is_empty()
    }

    /// Since when everything can be used; `None`: there was no outage.
    pub(super) fn well_since(&self) -> Option<Instant> {
        *lock(&self.well_since)
    }

    /// An append of usage events succeeded, or failed for a reason that is not its sender's.
    pub(super) fn appended(&self, outcome: Result<(), Outage>) {
        *lock(&self.failed_append) = outcome.err().map(|outage| (Instant::now(), outage));
    }

    /// Why usage events cannot be appended now, as far as is known.
    pub(super) fn appends_fail(&self) -> Option<Outage> {
        let known = lock(&self.down).get(&Dependency::Log).cloned();
        known.or_else(|| {
            let failed = lock(&self.failed_append);
            let (at, outage) = failed.as_ref()?;
            (at.elapsed() < FAILED_APPEND_COUNTS).then(|| outage.clone())
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves each of them whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
