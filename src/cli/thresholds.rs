//! From when on something is a trouble, for `doctor`, `top` and `wait` alike: they must not
//! contradict each other.

use std::time::Duration;

/// Fewer recent events than this say nothing about the rest.
const EVENTS_MIN: u64 = 10;
/// Clocks that differ by more disagree: records would look as if they came from the future.
pub const CLOCKS_DIFFER: Duration = Duration::from_secs(10);

/// Whether a part of recent events is most of them, and they are enough to say so.
pub const fn is_most(part: u64, events: u64) -> bool {
    events >= EVENTS_MIN && part > events / 2
}

/// Whether clocks that differ by so many milliseconds disagree.
pub fn do_clocks_differ(ahead_ms: i64) -> bool {
    u128::from(ahead_ms.unsigned_abs()) > CLOCKS_DIFFER.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_half_of_enough_events_is_most_of_them() {
        for (part, events, most) in [
            (5, 9, false),
            (9, 9, false),
            (5, 10, false),
            (6, 10, true),
            (u64::MAX, u64::MAX, true),
        ] {
            assert_eq!(is_most(part, events), most, "{part} of {events}");
        }
    }

    #[test]
    fn clocks_may_differ_by_ten_seconds() {
        for (ahead_ms, differ) in [
            (0, false),
            (10_000, false),
            (-10_000, false),
            (10_001, true),
            (i64::MIN, true),
        ] {
            assert_eq!(do_clocks_differ(ahead_ms), differ, "{ahead_ms}");
        }
    }
}
