//! Heartbeats: every posting partition hears from every source partition at least once in a while,
//! so that months become final.
//!
//! A block carries the log time of its source. A posting partition that no account of this source
//! belongs to would wait for one for ever, however busy the source is. So it counts when each
//! posting partition was last sent a block, not when the last record came. A heartbeat is a record
//! in `usage.events` (a *tick*), because blocks must follow from the log alone.

use std::time::Duration;

use super::Rater;
use super::decode::TICK_HEADER;
use crate::domain::position::Partition;
use crate::log::{LogError, NewRecord, Topic};
use crate::ops::clock::Moment;
use crate::pipeline::failure::Failure;

/// When heartbeats are due.
#[derive(Debug)]
pub(super) struct Heartbeat {
    /// When each posting partition was last sent a block.
    reached: Vec<Moment>,
    /// When the last tick was appended. It may still be on its way through a backlog.
    sent: Moment,
}

impl Heartbeat {
    /// None is due yet.
    pub(super) fn start(partitions: u32, now: Moment) -> Heartbeat {
        Heartbeat {
            reached: vec![now; partitions as usize],
            sent: now,
        }
    }

    /// A posting partition was sent a block.
    pub(super) fn reach(&mut self, partition: Partition, now: Moment) {
        if let Some(reached) = self.reached.get_mut(partition.0 as usize) {
            *reached = now;
        }
    }

    /// Whether a posting partition has heard nothing for `interval`, and no tick was sent in that
    /// time either.
    fn is_due(&self, now: Moment, interval: Duration) -> bool {
        let longest_ago = self.reached.iter().copied().min().unwrap_or(now);
        now.since(longest_ago.max(self.sent)) >= interval
    }
}

impl Rater<'_> {
    /// Appends a tick if one is due.
    pub(super) async fn send_heartbeat(&mut self) -> Result<(), Failure> {
        let now = self.ctx.clock.moment();
        if !self.heartbeat.is_due(now, self.ctx.settings.tick_after) {
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

    const INTERVAL: Duration = Duration::from_millis(60);

    fn at(millis: i64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn one_posting_partition_that_hears_nothing_is_enough() {
        let mut heartbeat = Heartbeat::start(2, at(0));
        for now in 1..=100 {
            heartbeat.reach(Partition(0), at(now));
        }
        assert!(!heartbeat.is_due(at(59), INTERVAL));
        assert!(heartbeat.is_due(at(60), INTERVAL));
        heartbeat.reach(Partition(1), at(60));
        assert!(!heartbeat.is_due(at(119), INTERVAL));
    }

    #[test]
    fn a_tick_that_is_on_its_way_is_not_sent_again() {
        let mut heartbeat = Heartbeat::start(1, at(0));
        heartbeat.sent = at(60);
        assert!(!heartbeat.is_due(at(119), INTERVAL));
        assert!(heartbeat.is_due(at(120), INTERVAL));
    }
}
