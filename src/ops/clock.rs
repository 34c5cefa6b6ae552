//! Time as a dependency. Nothing that decides a number reads it; back-off, flush timers and award
//! dates do.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::domain::time::Millis;

/// A clock.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Millis;

    /// This moment on a clock that is never set. Whatever measures how long something takes, or
    /// when it is due, goes by this: the wall clock may be set back at any time.
    fn moment(&self) -> Moment {
        static START: OnceLock<Instant> = OnceLock::new();
        let passed = START.get_or_init(Instant::now).elapsed();
        Moment::from_millis(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX))
    }

    /// Time that nobody can set; `None` where there is none to compare with.
    fn uptime(&self) -> Option<Uptime> {
        None
    }

    /// A number that spreads pauses, another one each time.
    fn jitter(&self) -> u64 {
        rand::random()
    }

    /// Returns after `duration`.
    async fn sleep(&self, duration: Duration);
}

/// A moment of a clock that is never set. Comparable only with moments of the same process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(i64);

impl Moment {
    /// So many milliseconds after the clock's beginning, which means nothing.
    pub const fn from_millis(millis: i64) -> Moment {
        Moment(millis)
    }

    /// So much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(millis(duration)))
    }

    /// So much earlier.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_sub(millis(duration)))
    }

    /// How much time has passed since `earlier`; nothing if that is later.
    pub fn since(self, earlier: Moment) -> Duration {
        let passed = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(passed).unwrap_or(0))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// How long the machine has been up, time in which it slept included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uptime {
    /// Tells one boot from another.
    pub boot: String,
    /// Since that boot.
    pub passed: Duration,
}

impl Uptime {
    /// How much time has passed since `earlier`; `None` if the machine was started anew in between.
    pub fn since(&self, earlier: &Uptime) -> Option<Duration> {
        (self.boot == earlier.boot).then(|| self.passed.saturating_sub(earlier.passed))
    }
}

/// The boot that is running; unknown where the system does not tell, and then nothing can be
/// compared.
#[cfg(target_os = "linux")]
fn boot() -> Option<&'static str> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let read = || std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let boot = BOOT.get_or_init(|| read().ok().map(|id| id.trim().to_owned()));
    boot.as_deref()
}

/// The system's clock, and tokio's timers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Millis {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Millis(since.map_or(0, |d| d.as_millis() as i64))
    }

    #[cfg(target_os = "linux")]
    fn uptime(&self) -> Option<Uptime> {
        let passed = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Some(Uptime {
            boot: boot()?.to_owned(),
            passed: Duration::try_from(passed).ok()?,
        })
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
