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
use crate::pipeline::protections::Protections;

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
    fn is_due(&self, now: Moment, interval: Duration, protections: Protections) -> bool {
        let reached = self.reached.iter().copied();
        let longest_ago = protections.waits_since(reached).unwrap_or(now);
        now.since(longest_ago.max(self.sent)) >= interval
    }
}

impl Rater<'_> {
    /// Appends a tick if one is due.
    pub(super) async fn send_heartbeat(&mut self) -> Result<(), Failure> {
        let now = self.ctx.clock.moment();
        let (interval, protections) = (self.ctx.settings.tick_after, self.ctx.protections);
        if !self.heartbeat.is_due(now, interval, protections) {
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

    fn is_due(heartbeat: &Heartbeat, now: Moment) -> bool {
        heartbeat.is_due(now, INTERVAL, Protections::default())
    }

    #[test]
    fn one_posting_partition_that_hears_nothing_is_enough() {
        let mut heartbeat = Heartbeat::start(2, at(0));
        for now in 1..=100 {
            heartbeat.reach(Partition(0), at(now));
        }
        assert!(!is_due(&heartbeat, at(59)));
        assert!(is_due(&heartbeat, at(60)));
        heartbeat.reach(Partition(1), at(60));
        assert!(!is_due(&heartbeat, at(119)));
    }

    #[test]
    fn a_tick_that_is_on_its_way_is_not_sent_again() {
        let mut heartbeat = Heartbeat::start(1, at(0));
        heartbeat.sent = at(60);
        assert!(!is_due(&heartbeat, at(119)));
        assert!(is_due(&heartbeat, at(120)));
    }
}
