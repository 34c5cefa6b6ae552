//! The clock by which records are stamped, held against time that cannot be set.
//!
//! The time in a record is for ever: it decides in which month usage counts and how old a duplicate
//! may be. One record from a clock that was ahead makes every later one look too old. So the wall
//! clock is compared with the machine's uptime; when it runs ahead of that by more than an hour,
//! nothing is appended until it is set back, or an operator confirms it
//! (`log.clock_confirmed_until`). A clock that falls behind does no such harm, because log time
//! never goes back.
//!
//! Both are kept in a file, so that a restart is no confirmation. Across a reboot there is nothing
//! to compare with.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::domain::time::{HOUR_MS, Millis};
use crate::ops::clock::{Clock, Uptime};
use crate::ops::expiry_clock::ExpiryClock;
use crate::ops::log_throttle::LogThrottle;

/// How far the wall clock may run ahead of uptime, or behind.
pub(super) const JUMP_MS_MAX: i64 = HOUR_MS;

const FILE: &str = "clock.json";

static BEHIND: LogThrottle<()> = LogThrottle::new();

/// A wall clock that ran ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    wall: Millis,
    expected: Millis,
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this machine's clock says {}, but by its uptime it is about {}; set the clock, and appends go on by themselves; or, if \
             the clock is right, confirm it with log.clock_confirmed_until and restart",
            self.wall, self.expected
        )
    }
}

/// A wall clock and the uptime at the same moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Reference {
    wall: Millis,
    uptime: Uptime,
}

impl Reference {
    /// What the wall clock should say at `uptime`; `None` after a reboot.
    fn expected(&self, uptime: &Uptime) -> Option<Millis> {
        let passed = uptime.since(&self.uptime)?;
        Some(
            self.wall
                .plus(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

/// What is kept from one process to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    reference: Option<Reference>,
    /// How far retention has followed the clock, and when that was.
    #[serde(flatten)]
    retention: ExpiryClock,
}

impl Kept {
    /// What the file in `dir` says, if it can be read. It is a safeguard only: without it nothing
    /// is wrong.
    pub(super) fn load(dir: &Path) -> Option<Kept> {
        let bytes = std::fs::read(dir.join(FILE)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn store(&self, dir: &Path) -> io::Result<()> {
        let temporary = dir.join("clock.json.new");
        std::fs::write(&temporary, serde_json::to_vec(self)?)?;
        std::fs::rename(temporary, dir.join(FILE))
    }

    /// Whether the clock has run ahead since this was kept.
    pub(super) fn jump(&self, clock: &dyn Clock) -> Option<Jump> {
        let (wall, uptime) = (clock.now(), clock.uptime()?);
        let expected = self.reference.as_ref()?.expected(&uptime)?;
        (wall > expected.plus(JUMP_MS_MAX)).then_some(Jump { wall, expected })
    }
}

/// The clock by which records are stamped.
pub(super) struct AppendClock {
    wall: Arc<dyn Clock>,
    /// The wall clock was confirmed by an operator as long as it says no more than this.
    confirmed_until: Option<Millis>,
    kept: Mutex<Kept>,
    /// The time of the newest record of all.
    newest: AtomicI64,
}

impl AppendClock {
    /// `newest` is the time of the newest record, if there is any.
    pub(super) fn new(
        wall: Arc<dyn Clock>,
        dir: &Path,
        confirmed_until: Option<Millis>,
        newest: Option<Millis>,
    ) -> AppendClock {
        AppendClock {
            wall,
            confirmed_until,
            kept: Mutex::new(Kept::load(dir).unwrap_or_default()),
            newest: AtomicI64::new(newest.map_or(i64::MIN, |newest| newest.0)),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time to write into records now.
    pub(super) fn now(&self) -> Result<Millis, Jump> {
        let wall = self.wall.now();
        if let Some(uptime) = self.wall.uptime() {
            self.compare(wall, uptime)?;
        }
        let newest = self.newest.fetch_max(wall.0, Ordering::Relaxed);
        if newest > wall.0.saturating_add(JUMP_MS_MAX)
            && let Some(kept_back) = BEHIND.say(())
        {
            let newest = Millis(newest);
            tracing::warn!(event = "log.clock_behind", clock = %wall, %newest, kept_back, "the clock is behind the newest record; log time does not advance until the clock catches up");
        }
        Ok(wall)
    }

    fn compare(&self, wall: Millis, uptime: Uptime) -> Result<(), Jump> {
        let mut kept = self.kept();
        let expected = kept.reference.as_ref().and_then(|r| r.expected(&uptime));
        let wall = match expected {
            // It fell behind. The line goes on: when it is set right again, that is no jump.
            Some(expected) if wall < expected.plus(-JUMP_MS_MAX) => expected,
            Some(expected) if wall > expected.plus(JUMP_MS_MAX) && !self.is_confirmed(wall) => {
                return Err(Jump { wall, expected });
            }
            _ => wall,
        };
        kept.reference = Some(Reference { wall, uptime });
        Ok(())
    }

    fn is_confirmed(&self, wall: Millis) -> bool {
        self.confirmed_until.is_some_and(|until| wall <= until)
    }

    /// By which time retention goes. It begins with the newest record.
    pub(super) fn retention_time(&self) -> Millis {
        let wall = self.wall.now();
        let Some(uptime) = self.wall.uptime() else {
            return wall;
        };
        let begin = || match self.newest.load(Ordering::Relaxed) {
            i64::MIN => wall,
            newest => Millis(newest),
        };
        self.kept().retention.follow(wall, &uptime, begin)
    }

    /// Keeps what is known for the next process.
    pub(super) fn keep(&self, dir: &Path) {
        let kept = self.kept().clone();
        if let Err(error) = kept.store(dir) {
            tracing::warn!(event = "log.clock_not_kept", %error, "could not write clock.json; a clock jump across a restart will go unnoticed");
        }
    }
}
