//! Log lines that would say the same again and again: once in a while is enough.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same is said once in so long.
const AGAIN: Duration = Duration::from_secs(30);

/// Remembers what was said lately. Keys must be few: none is ever forgotten.
pub struct Seldom<K>(Mutex<BTreeMap<K, (Instant, u64)>>);

impl<K: Ord> Seldom<K> {
    /// Nothing was said yet.
    pub const fn new() -> Seldom<K> {
        Seldom(Mutex::new(BTreeMap::new()))
    }

    /// `None`: it was said a moment ago, keep it back. Else say it, and how often it was kept back since the last time.
    pub fn say(&self, key: K) -> Option<u64> {
        // A panic elsewhere does not make the map wrong.
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match lately.get_mut(&key) {
            Some((said, kept_back)) if said.elapsed() < AGAIN => {
                *kept_back += 1;
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

impl<K: Ord> Default for Seldom<K> {
    fn default() -> Seldom<K> {
        Seldom::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Seldom;

    #[test]
    fn the_same_is_said_once_and_something_else_beside_it() {
        let seldom = Seldom::new();
        let said = ["a", "a", "b", "a"].map(|key| seldom.say(key));
        assert_eq!(said, [Some(0), None, Some(0), None]);
    }
}
