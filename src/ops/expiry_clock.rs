//! The time by which things are deleted.
//!
//! One look by a clock that is weeks ahead would delete everything that expires within those weeks,
//! so the wall clock alone never decides it. What decides is a clock that follows the wall clock at
//! most `SPEED_MAX` times as fast as time passes, and that is kept across restarts: neither a jump
//! nor a start with a wrong clock, however long it stays wrong, deletes anything before somebody
//! can look.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::clock::Uptime;
use crate::domain::time::Millis;

/// It follows the wall clock at most so many times as fast as time passes.
const SPEED_MAX: i64 = 2;

/// How far the time by which things are deleted has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiryClock {
    #[serde(rename = "retention", default)]
    reached: Option<Millis>,
    #[serde(default)]
    followed: Option<Uptime>,
}

impl ExpiryClock {
    /// Follows the wall clock and returns the time that it has come to. The first time it begins at
    /// `begin`, which should be a time at which the things to be deleted were still in use.
    pub fn follow(
        &mut self,
        wall: Millis,
        uptime: &Uptime,
        begin: impl FnOnce() -> Millis,
    ) -> Millis {
        let may_reach = match (self.reached, &self.followed) {
            (Some(reached), Some(since)) => {
                let passed = uptime.since(since).unwrap_or_default().as_millis();
                let passed = i64::try_from(passed).unwrap_or(i64::MAX);
                reached.plus(passed.saturating_mul(SPEED_MAX))
            }
            _ => begin(),
        };
        // A wall clock that is behind for a while stops it; it must not set it back, from where it
        // would take as long again.
        let followed = may_reach.min(wall);
        self.reached = self.reached.max(Some(followed));
        self.followed = Some(uptime.clone());
        followed
    }

    /// What the file says, if it can be read. Without it the clock begins anew.
    pub fn load(file: &Path) -> Option<ExpiryClock> {
        serde_json::from_slice(&std::fs::read(file).ok()?).ok()
    }

    /// Keeps it for the next process.
    pub fn store(&self, file: &Path) -> io::Result<()> {
        let temporary = file.with_extension("json.new");
        std::fs::write(&temporary, serde_json::to_vec(self)?)?;
        std::fs::rename(temporary, file)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;
    const LAST_USE: Millis = Millis(1_795_964_400_000);

    fn uptime(boot: &str, hours: u64) -> Uptime {
        Uptime {
            boot: boot.to_owned(),
            passed: Duration::from_secs(hours * 3_600),
        }
    }

    /// Boot, hours since it, days by which the wall clock is ahead of the last use, hours that the
    /// clock may have come from there.
    fn check(rows: &[(&str, u64, i64, i64)]) {
        let mut clock = ExpiryClock::default();
        for (boot, hours, ahead, reached) in rows {
            let wall = LAST_USE.plus(ahead * DAY);
            let found = clock.follow(wall, &uptime(boot, *hours), || LAST_USE);
            assert_eq!(found, LAST_USE.plus(reached * HOUR), "{boot} {hours}");
            // As a restart would find it.
            let text = serde_json::to_vec(&clock).unwrap();
            clock = serde_json::from_slice(&text).unwrap();
        }
    }

    #[test]
    fn a_clock_that_is_ahead_from_the_start_is_followed_at_twice_the_pace_of_time() {
        check(&[("a", 1, 60, 0), ("a", 2, 60, 2), ("a", 12, 60, 22)]);
        // Across boots nobody knows how much time passed, so none did.
        check(&[
            ("a", 1, 60, 0),
            ("a", 5, 60, 8),
            ("b", 90, 60, 8),
            ("b", 91, 60, 10),
        ]);
    }

    #[test]
    fn it_catches_up_with_a_clock_that_is_right_and_does_not_overtake_it() {
        check(&[
            ("a", 1, 2, 0),
            ("a", 25, 3, 48),
            ("a", 49, 4, 96),
            ("a", 73, 5, 120),
        ]);
    }

    #[test]
    fn a_clock_that_falls_behind_does_not_set_it_back() {
        check(&[
            ("a", 1, 10, 0),
            ("a", 13, 10, 24),
            ("a", 14, 0, 0),
            ("a", 15, 10, 26),
        ]);
    }
}
