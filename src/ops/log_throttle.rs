//! Log lines that would say the same again and again: once in a while is enough.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same is said once in so long, unless it is chosen otherwise.
const AGAIN: Duration = Duration::from_secs(30);

/// Remembers what was said lately. Keys must be few: none is ever forgotten.
pub struct LogThrottle<K> {
    again: Duration,
    lately: Mutex<BTreeMap<K, (Instant, u64)>>,
}

impl<K: Ord> LogThrottle<K> {
    /// Nothing was said yet.
    pub const fn new() -> LogThrottle<K> {
        LogThrottle::every(AGAIN)
    }

    /// Nothing was said yet; the same is said once in so long.
    pub const fn every(again: Duration) -> LogThrottle<K> {
        LogThrottle {
            again,
            lately: Mutex::new(BTreeMap::new()),
        }
    }

    /// `None`: it was said a moment ago, keep it back. Else say it, and how often it was kept back
    /// since the last time.
    pub fn say(&self, key: K) -> Option<u64> {
        self.say_of(key, 1)
    }

    /// As [`LogThrottle::say`], of `count` things at once: how many were kept back since the last
    /// time.
    pub fn say_of(&self, key: K, count: u64) -> Option<u64> {
        // A panic elsewhere does not make the map wrong.
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        match lately.get_mut(&key) {
            Some((said, kept_back)) if said.elapsed() < self.again => {
                *kept_back = kept_back.saturating_add(count);
                None
            }
            before => {
                let kept_back = before.map_or(0, |(_, kept_back)| *kept_back);
                lately.insert(key, (Instant::now(), 0));
                Some(kept_back)
            }
        }
    }
}

impl<K: Ord> Default for LogThrottle<K> {
    fn default() -> LogThrottle<K> {
        LogThrottle::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::LogThrottle;

    #[test]
    fn the_same_is_said_once_and_something_else_beside_it() {
        let throttle = LogThrottle::new();
        let said = ["a", "a", "b", "a"].map(|key| throttle.say(key));
        assert_eq!(said, [Some(0), None, Some(0), None]);
    }

    #[test]
    fn what_was_kept_back_is_told_the_next_time() {
        let throttle = LogThrottle::every(Duration::from_millis(50));
        assert_eq!(throttle.say_of("a", 3), Some(0));
        assert_eq!((throttle.say_of("a", 4), throttle.say("a")), (None, None));
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(throttle.say_of("a", 1), Some(5));
    }
}
