//! What keeps a record from being written: a disk that is nearly full, a clock that jumped. Both
//! are found out before the storage engine is asked, so that a refusal leaves nothing half done and
//! passes by itself.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clockwork::{AppendClock, Jump};
use crate::domain::time::Millis;
use crate::log::{LogError, Refusal, Topic};
use crate::ops::clock::Clock;
use crate::ops::log_throttle::LogThrottle;

/// This share of a disk is kept free, a twentieth, within the bounds below: for the engine's
/// background work (what is in memory becomes a table, and tables that are rewritten exist twice
/// for a while), and for the tables beside the log.
const RESERVE_SHARE: u64 = 20;
const RESERVE_BYTES_MIN: u64 = 128 << 20;
const RESERVE_BYTES_MAX: u64 = 512 << 20;

static DISK_FULL: LogThrottle<()> = LogThrottle::new();
static CLOCK_JUMPED: LogThrottle<()> = LogThrottle::new();

/// Room on the file system of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this process may still use.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

impl Space {
    /// What new events leave free.
    pub fn reserve(self) -> u64 {
        let share = self.total / RESERVE_SHARE;
        let reserve = share.clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX);
        // Of a very small disk, half.
        reserve.min(self.total / 2)
    }
}

/// A file system.
pub trait Disk: Send + Sync {
    /// How much room there is.
    fn space(&self) -> io::Result<Space>;
}

/// The file system that holds a path.
#[derive(Clone, Debug)]
pub struct DiskOf(pub PathBuf);

impl Disk for DiskOf {
    fn space(&self) -> io::Result<Space> {
        let found = rustix::fs::statvfs(&self.0)?;
        Ok(Space {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }
}

/// Says whether records may be written.
pub(super) struct Guard {
    pub(super) clock: AppendClock,
    disk: Arc<dyn Disk>,
}

impl Guard {
    pub(super) fn new(clock: AppendClock, disk: Arc<dyn Disk>) -> Guard {
        Guard { clock, disk }
    }

    /// The time to write into records.
    pub(super) fn append_time(&self) -> Result<Millis, LogError> {
        self.clock.now().map_err(|jump| {
            let what = jump.to_string();
            if let Some(kept_back) = CLOCK_JUMPED.say(()) {
                tracing::error!(
                    event = "log.clock_jumped",
                    what,
                    kept_back,
                    "appends are refused"
                );
            }
            LogError::Refused {
                why: Refusal::ClockAhead,
                what,
            }
        })
    }

    /// How many bytes of a topic may be written. A disk that cannot be asked is left to the write
    /// itself.
    ///
    /// What rating emits may use half of the reserve: events that were acknowledged are still rated
    /// and posted when new ones are refused.
    pub(super) fn room(&self, topic: Topic) -> u64 {
        let Ok(space) = self.disk.space() else {
            return u64::MAX;
        };
        let reserve = match topic {
            Topic::UsageEvents => space.reserve(),
            Topic::UsageRejected | Topic::LedgerPostings | Topic::LedgerCuts => space.reserve() / 2,
        };
        space.free.saturating_sub(reserve)
    }

    /// The refusal of an append for lack of space.
    pub(super) fn full(&self) -> LogError {
        let what = match self.disk.space() {
            Ok(space) => full_text(space),
            Err(_) => {
                "the log's disk is full; free some space; appends resume by themselves".to_owned()
            }
        };
        if let Some(kept_back) = DISK_FULL.say(()) {
            tracing::error!(
                event = "log.disk_full",
                what,
                kept_back,
                "appends are refused"
            );
        }
        LogError::Refused {
            why: Refusal::DiskFull,
            what,
        }
    }
}

fn full_text(space: Space) -> String {
    format!(
        "the log's disk is full: {} MiB are free, and {} MiB of it are kept in reserve; free some \
         space; appends resume by themselves",
        space.free >> 20,
        space.reserve() >> 20
    )
}

/// What is wrong with the disk or the clock of the log in `dir`, as a process beside its owner can
/// see it; with what to do. A clock that the operator has confirmed is none.
pub fn faults(dir: &Path, clock: &dyn Clock, confirmed_until: Option<Millis>) -> Vec<String> {
    let mut faults = Vec::new();
    if let Ok(space) = DiskOf(dir.to_owned()).space()
        && space.free < space.reserve()
    {
        faults.push(format!(
            "New events are refused (507 log_disk_full): {}.",
            full_text(space)
        ));
    }
    let is_confirmed = confirmed_until.is_some_and(|until| clock.now() <= until);
    if let Some(jump) = jumped(dir, clock).filter(|_| !is_confirmed) {
        faults.push(format!(
            "New events are refused (503 log_clock_ahead): {jump}."
        ));
    }
    faults
}

fn jumped(dir: &Path, clock: &dyn Clock) -> Option<Jump> {
    super::clockwork::Kept::load(dir)?.jump(clock)
}
