//! The log that is open now. After a write has failed it is opened again in this process, as a
//! restart would do it.
//!
//! What a failed write left on disk is not known: nothing, a part, or all of it. Opening the log
//! answers that, since it reads the journals, cuts what is torn, and compares every partition with
//! its acknowledged end. So the old engine is closed and everything is read anew; nothing that was
//! in memory is trusted, but the acknowledged ends, which may be newer than those on disk. Whoever
//! had an append refused sends it again or reloads, as after a restart.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::Options;
use super::open;
use super::report::{OpenError, OpenReport};
use super::shared::Shared;
use crate::domain::position::{Epoch, Offset, Partition};
use crate::log::topics::TopicSpec;
use crate::log::{LogError, Topic, TopicInfo};
use crate::ops::clock::Clock;
use crate::ops::log_throttle::LogThrottle;

/// Between a failure and the first attempt to open the log again; doubles with every further one.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A failure so long after the log was opened again is a new one.
const STEADY_AFTER: Duration = Duration::from_secs(60);
/// How long reads that are under way may hold the engine that is to be closed.
const RELEASE_WITHIN: Duration = Duration::from_secs(10);
const RELEASE_POLL: Duration = Duration::from_millis(5);

static NOT_REOPENED: LogThrottle<()> = LogThrottle::new();

/// How a log is opened.
pub(super) struct Opener {
    pub(super) dir: PathBuf,
    pub(super) specs: Vec<TopicSpec>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: Options,
}

impl Opener {
    pub(super) fn open(&self) -> Result<(Shared, OpenReport), OpenError> {
        let clock = Arc::clone(&self.clock);
        open::open(&self.dir, &self.specs, clock, self.options.clone())
    }
}

/// The end of every partition.
type Ends = Vec<(Topic, Partition, Offset)>;

enum State {
    Open(Arc<Shared>),
    /// Closed after a failed write.
    Closed {
        why: String,
        /// What was acknowledged before.
        acknowledged: Ends,
    },
}

/// The log that is open now, if one is.
pub(super) struct Current {
    state: RwLock<State>,
    opener: Opener,
    epoch: Epoch,
    topics: Vec<(Topic, TopicInfo)>,
}

impl Current {
    pub(super) fn new(opener: Opener, shared: Shared) -> Current {
        let topics = shared.topics.iter();
        Current {
            opener,
            epoch: shared.epoch,
            topics: topics
                .map(|(topic, log)| (*topic, log.info.clone()))
                .collect(),
            state: RwLock::new(State::Open(Arc::new(shared))),
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn topic(&self, topic: Topic) -> Result<TopicInfo, LogError> {
        let known = self.topics.iter().find(|(known, _)| *known == topic);
        known
            .map(|(_, info)| info.clone())
            .ok_or_else(|| LogError::Unavailable(format!("{topic} is not set up in this log")))
    }

    /// The open log. Give it back soon: it cannot be opened again while anybody holds it.
    pub(super) fn get(&self) -> Result<Arc<Shared>, LogError> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(shared) => Ok(Arc::clone(shared)),
            State::Closed { why, .. } => Err(LogError::Unavailable(format!(
                "it is being reopened after a failed write ({why})"
            ))),
        }
    }

    fn set(&self, state: State) -> State {
        let mut now = self.state.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *now, state)
    }

    /// Whether it must be opened again.
    fn has_failed(&self) -> bool {
        self.get()
            .map_or(true, |shared| shared.failure.get().is_some())
    }

    /// Closes the log and opens it again.
    fn reopen(&self) -> Result<OpenReport, String> {
        let acknowledged = self.close()?;
        match self.opener.open() {
            Ok((shared, report)) => {
                for (topic, partition, end) in acknowledged {
                    if let Ok(log) = shared.partition(topic, partition) {
                        log.must_reach(end);
                    }
                }
                self.set(State::Open(Arc::new(shared)));
                Ok(report)
            }
            Err(error) => {
                let why = error.to_string();
                self.set(State::Closed {
                    why: why.clone(),
                    acknowledged,
                });
                Err(why)
            }
        }
    }

    /// Closes the engine, once nobody uses it any more; what was acknowledged.
    fn close(&self) -> Result<Ends, String> {
        let shared = match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(shared) => Arc::clone(shared),
            State::Closed { acknowledged, .. } => return Ok(acknowledged.clone()),
        };
        if shared.guard.room(Topic::UsageEvents) == 0 {
            // What is there can be read meanwhile.
            return Err("its disk is full".to_owned());
        }
        let why = shared.failure.get().cloned().unwrap_or_default();
        let acknowledged = acknowledged(&shared);
        drop(self.set(State::Closed {
            why,
            acknowledged: acknowledged.clone(),
        }));
        match released(shared) {
            Ok(()) => Ok(acknowledged),
            Err(shared) => {
                self.set(State::Open(shared));
                Err("reads of it have not ended".to_owned())
            }
        }
    }
}

fn acknowledged(shared: &Shared) -> Ends {
    let mut ends = Ends::new();
    for (topic, log) in &shared.topics {
        for (number, partition) in (0..).zip(&log.partitions) {
            ends.push((*topic, Partition(number), partition.extent().end));
        }
    }
    ends
}

/// Drops the engine as soon as nobody else holds it; gives it back if that takes too long.
fn released(mut shared: Arc<Shared>) -> Result<(), Arc<Shared>> {
    let started = Instant::now();
    loop {
        match Arc::try_unwrap(shared) {
            Ok(last) => {
                drop(last);
                return Ok(());
            }
            Err(held) if started.elapsed() > RELEASE_WITHIN => return Err(held),
            Err(held) => shared = held,
        }
        std::thread::sleep(RELEASE_POLL);
    }
}

/// Opens the log again after a failure, with growing pauses.
pub(super) struct Mender {
    due: Option<Instant>,
    pause: Duration,
    reopened: Option<Instant>,
}

impl Default for Mender {
    fn default() -> Mender {
        Mender {
            due: None,
            pause: PAUSE_MIN,
            reopened: None,
        }
    }
}

impl Mender {
    /// When [`Mender::look_after`] has something to do, unless a failure comes before.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Opens the log again if that is due.
    pub(super) fn look_after(&mut self, current: &Current) {
        if !current.has_failed() {
            self.due = None;
            return;
        }
        match self.due {
            Some(due) if Instant::now() >= due => self.try_now(current),
            Some(_) => {}
            None => {
                if self.reopened.is_some_and(|at| at.elapsed() > STEADY_AFTER) {
                    self.pause = PAUSE_MIN;
                }
                self.wait();
            }
        }
    }

    fn wait(&mut self) {
        self.due = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    fn try_now(&mut self, current: &Current) {
        match current.reopen() {
            Ok(report) => {
                self.due = None;
                self.reopened = Some(Instant::now());
                let report = report.to_string().lines().collect::<Vec<_>>().join("; ");
                tracing::info!(event = "log.reopened", "{report}");
            }
            Err(why) => {
                if let Some(kept_back) = NOT_REOPENED.say(()) {
                    tracing::error!(
                        event = "log.not_reopened",
                        why,
                        kept_back,
                        "the log cannot be reopened yet after a failed write; retrying"
                    );
                }
                self.wait();
            }
        }
    }
}
