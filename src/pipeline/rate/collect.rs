//! COLLECT: the records of the next chunk.

use std::time::Duration;

use tokio::sync::watch;

use super::Rater;
use crate::domain::position::Offset;
use crate::log::{ReadLimit, Record, Topic};
use crate::pipeline::failure::Failure;

impl Rater<'_> {
    /// Collects a chunk: full by count, bytes or age. Empty if nothing came for a while.
    pub(super) async fn collect(
        &self,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<Vec<Record>, Failure> {
        let settings = &self.ctx.settings;
        let mut records = self
            .read(
                self.ctx.protections.next_record(&self.checkpoint),
                settings.chunk_records_max,
                settings.chunk_bytes_max,
                settings.idle_after,
            )
            .await?;
        let Some(first) = records.first() else {
            return Ok(records);
        };
        let (task, health) = (self.task(), &self.ctx.health);
        health.first_waiting(task, first.offset.0, first.append_time);
        if let Some(newest) = records.last() {
            let ahead_ms = newest.append_time.0.saturating_sub(self.ctx.clock.now().0);
            let ahead = Duration::from_millis(u64::try_from(ahead_ms).unwrap_or(0));
            health.log_clock_ahead(task, ahead);
        }
        let until = self.ctx.clock.moment().plus(settings.chunk_age);
        let mut bytes: usize = records.iter().map(Record::size).sum();
        while let Some(last) = records.last().map(|record| record.offset) {
            let left = until.since(self.ctx.clock.moment());
            let room = settings.chunk_records_max.saturating_sub(records.len());
            let room_bytes = settings.chunk_bytes_max.saturating_sub(bytes);
            if left.is_zero() || room == 0 || room_bytes == 0 || *shutdown.borrow() {
                break;
            }
            let more = self.read(last.next(), room, room_bytes, left).await?;
            bytes += more.iter().map(Record::size).sum::<usize>();
            records.extend(more);
        }
        let recorded = self.checkpoint.chunk;
        Ok(self.ctx.protections.taken(recorded, records))
    }

    async fn read(
        &self,
        from: Offset,
        records: usize,
        bytes: usize,
        wait: Duration,
    ) -> Result<Vec<Record>, Failure> {
        let limit = ReadLimit { records, bytes };
        Ok(self
            .ctx
            .log
            .read(Topic::UsageEvents, self.partition, from, limit, wait)
            .await?)
    }
}
