//! Trying again: how long to wait between attempts, and when to give up.

use std::time::Duration;

use super::clock::{Clock, Moment};

/// How pauses between attempts grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest first pause; each further one may be twice as long.
    pub base: Duration,
    /// The longest pause of all.
    pub cap: Duration,
}

impl Backoff {
    /// The longest pause after `failed` attempts (1, 2, …).
    pub fn longest(&self, failed: u32) -> Duration {
        let doubled = 1u32.checked_shl(failed.saturating_sub(1));
        let doubled = doubled.unwrap_or(u32::MAX);
        self.base.saturating_mul(doubled).min(self.cap)
    }

    /// The pause after `failed` attempts. Half of the longest is fixed, half is drawn evenly by
    /// `random`: those that failed together do not come back together, and nobody comes back at
    /// once.
    pub fn pause(&self, failed: u32, random: u64) -> Duration {
        let longest = self.longest(failed);
        let share = random as f64 / u64::MAX as f64;
        longest / 2 + (longest / 2).mul_f64(share)
    }
}

/// How pauses grow, and when to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The pauses.
    pub backoff: Backoff,
    /// At most so many attempts, the first included.
    pub attempts_max: u32,
    /// No attempt begins later than this after the first. A process that slept (a suspended
    /// machine) has no attempt left when it wakes, so what counts as a contradiction after the last
    /// one must have [`RetryPolicy::NO_DEADLINE`].
    pub within: Duration,
}

impl RetryPolicy {
    /// Only the number of attempts counts.
    pub const NO_DEADLINE: Duration = Duration::MAX;
}

/// The attempts at one thing. What is tried again as a part of it takes its attempts from here as
/// well: retries within retries would multiply, and nobody would know for how long they go on.
pub struct Retry<'c> {
    clock: &'c dyn Clock,
    policy: RetryPolicy,
    failed: u32,
    until: Moment,
}

impl<'c> Retry<'c> {
    /// The first attempt begins now.
    pub fn new(clock: &'c dyn Clock, policy: RetryPolicy) -> Retry<'c> {
        Retry {
            clock,
            policy,
            failed: 0,
            until: clock.moment().plus(policy.within),
        }
    }

    /// How many attempts have failed.
    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// Something was achieved: what is left of it is another thing.
    pub fn begin_anew(&mut self) {
        self.failed = 0;
        self.until = self.clock.moment().plus(self.policy.within);
    }

    /// An attempt has failed: waits before the next one. False: it was the last.
    #[must_use]
    pub async fn again(&mut self) -> bool {
        self.failed += 1;
        if self.is_over() {
            return false;
        }
        let pause = self.policy.backoff.pause(self.failed, self.clock.jitter());
        self.clock.sleep(pause).await;
        true
    }

    fn is_over(&self) -> bool {
        self.failed >= self.policy.attempts_max || self.clock.moment() >= self.until
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use async_trait::async_trait;
    use futures::FutureExt as _;

    use super::*;
    use crate::domain::time::Millis;

    const BACKOFF: Backoff = Backoff {
        base: Duration::from_millis(25),
        cap: Duration::from_secs(5),
    };

    /// Time passes only while somebody sleeps.
    #[derive(Default)]
    struct Sleeper(AtomicI64);

    #[async_trait]
    impl Clock for Sleeper {
        fn now(&self) -> Millis {
            Millis(self.0.load(Ordering::Relaxed))
        }

        fn moment(&self) -> Moment {
            Moment::from_millis(self.0.load(Ordering::Relaxed))
        }

        fn jitter(&self) -> u64 {
            u64::MAX
        }

        async fn sleep(&self, duration: Duration) {
            let passed = i64::try_from(duration.as_millis()).unwrap();
            self.0.fetch_add(passed, Ordering::Relaxed);
        }
    }

    #[test]
    fn pauses_double_up_to_the_cap_and_never_overflow() {
        for (failed, longest) in [(1, 25), (2, 50), (3, 100), (9, 5_000), (4_000, 5_000)] {
            let longest = Duration::from_millis(longest);
            assert_eq!(BACKOFF.longest(failed), longest, "{failed}");
            assert_eq!(BACKOFF.pause(failed, 0), longest / 2);
            assert_eq!(BACKOFF.pause(failed, u64::MAX), longest);
        }
    }

    /// How many pauses there were, and how long they took.
    fn tried(attempts_max: u32, within_ms: u64) -> (u32, i64) {
        let clock = Sleeper::default();
        let policy = RetryPolicy {
            backoff: BACKOFF,
            attempts_max,
            within: Duration::from_millis(within_ms),
        };
        let mut retry = Retry::new(&clock, policy);
        let mut pauses = 0;
        while retry.again().now_or_never().expect("it sleeps at once") {
            pauses += 1;
        }
        (pauses, clock.now().0)
    }

    #[test]
    fn the_last_attempt_is_that_of_the_policy_or_the_one_that_begins_in_time() {
        for (attempts_max, within_ms, expected) in [
            (1, 1_000, (0, 0)),
            (4, 1_000, (3, 25 + 50 + 100)),
            (1_000, 100, (3, 25 + 50 + 100)),
            (1_000, 0, (0, 0)),
        ] {
            assert_eq!(tried(attempts_max, within_ms), expected);
        }
    }

    /// A process that was suspended has waited long enough, and knows nothing new.
    #[test]
    fn without_a_deadline_no_attempt_is_lost_to_a_sleep() {
        for (within, goes_on) in [
            (RetryPolicy::NO_DEADLINE, true),
            (Duration::from_secs(60), false),
        ] {
            let clock = Sleeper::default();
            let policy = RetryPolicy {
                backoff: BACKOFF,
                attempts_max: 3,
                within,
            };
            let mut retry = Retry::new(&clock, policy);
            clock.0.fetch_add(3_600_000, Ordering::Relaxed);
            assert_eq!(retry.again().now_or_never(), Some(goes_on));
        }
    }

    #[test]
    fn parts_of_a_thing_take_their_attempts_from_it() {
        let clock = Sleeper::default();
        let policy = RetryPolicy {
            backoff: BACKOFF,
            attempts_max: 10,
            within: Duration::from_secs(3_600),
        };
        let mut retry = Retry::new(&clock, policy);
        let mut attempts = 1;
        // Whatever a write and the reads that belong to it do, all of it together is bounded.
        while retry.again().now_or_never().unwrap() {
            attempts += 1;
            for _ in 0..3 {
                attempts += u32::from(retry.again().now_or_never().unwrap());
            }
        }
        assert_eq!(attempts, 10);
    }
}
