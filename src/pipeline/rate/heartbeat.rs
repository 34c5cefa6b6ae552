//! Heartbeats: every posting partition hears from every source partition at least once in a while, so that months become final.
//!
//! A block carries the log time of its source. A posting partition that no account of this source belongs to would wait for
//! one for ever, however busy the source is. So it counts when each posting partition was last sent a block, not when the last
//! record came. A heartbeat is a record in `usage.events` (a *tick*), because blocks must follow from the log alone.

use super::Rater;
use super::examine::TICK_HEADER;
use crate::domain::position::Partition;
use crate::domain::time::Millis;
use crate::log::{LogError, NewRecord, Topic};
use crate::pipeline::failure::Failure;

/// When heartbeats are due, by the worker's own clock.
#[derive(Debug)]
pub(super) struct Heartbeat {
    /// When each posting partition was last sent a block.
    reached: Vec<Millis>,
    /// When the last tick was appended. It may still be on its way through a backlog.
    sent: Millis,
}

impl Heartbeat {
    /// None is due yet.
    pub(super) fn start(partitions: u32, now: Millis) -> Heartbeat {
        Heartbeat {
            reached: vec![now; partitions as usize],
            sent: now,
        }
    }

    /// A posting partition was sent a block.
    pub(super) fn reach(&mut self, partition: Partition, now: Millis) {
        if let Some(reached) = self.reached.get_mut(partition.0 as usize) {
            *reached = now;
        }
    }

    /// Whether a posting partition has heard nothing for `interval_ms`, and no tick was sent in that time either.
    fn is_due(&self, now: Millis, interval_ms: i64) -> bool {
        let longest_ago = self.reached.iter().copied().min().unwrap_or(now);
        // What lies ahead was noted before the clock was set back, and says nothing.
        let noted = [longest_ago, self.sent].into_iter().filter(|at| *at <= now);
        noted.max().is_none_or(|at| now.0 - at.0 >= interval_ms)
    }
}

impl Rater<'_> {
    /// Appends a tick if one is due.
    pub(super) async fn send_heartbeat(&mut self) -> Result<(), Failure> {
        let now = self.ctx.clock.now();
        let interval_ms = self.ctx.settings.tick_after.as_millis() as i64;
        if !self.heartbeat.is_due(now, interval_ms) {
            return Ok(());
        }
        let tick = NewRecord {
            headers: vec![(TICK_HEADER.to_owned(), "1".into())],
            ..NewRecord::default()
        };
        let appended = self
            .ctx
            .log
            .append(Topic::UsageEvents, self.partition, vec![tick])
            .await;
        self.heartbeat.sent = now;
        match appended {
            // A full disk, say. Loading anew would not help, and there may be records to work off.
            Err(LogError::Refused { .. }) => return Ok(()),
            other => other?,
        };
        self.ctx.metrics.ticks_total.inc();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_posting_partition_that_hears_nothing_is_enough() {
        let mut heartbeat = Heartbeat::start(2, Millis(0));
        for now in 1..=100 {
            heartbeat.reach(Partition(0), Millis(now));
        }
        assert!(!heartbeat.is_due(Millis(59), 60));
        assert!(heartbeat.is_due(Millis(60), 60));
        heartbeat.reach(Partition(1), Millis(60));
        assert!(!heartbeat.is_due(Millis(119), 60));
    }

    #[test]
    fn a_clock_that_was_set_back_delays_nothing() {
        let mut heartbeat = Heartbeat::start(2, Millis(10_000));
        assert!(heartbeat.is_due(Millis(1_000), 60));
        heartbeat.sent = Millis(1_000);
        assert!(!heartbeat.is_due(Millis(1_059), 60));
        heartbeat.reach(Partition(0), Millis(1_030));
        assert!(heartbeat.is_due(Millis(1_090), 60));
    }

    #[test]
    fn a_tick_that_is_on_its_way_is_not_sent_again() {
        let mut heartbeat = Heartbeat::start(1, Millis(0));
        heartbeat.sent = Millis(60);
        assert!(!heartbeat.is_due(Millis(119), 60));
        assert!(heartbeat.is_due(Millis(120), 60));
    }
}
