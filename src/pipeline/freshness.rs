//! How old the numbers are that people see: each posting block says in a header what the time of
//! the newest event in its chunk is, and posting tells it when the block's entries stand in rows.
//! Nothing else reads that header, and a block without one is as good.

use bytes::Bytes;

use super::WorkerContext;
use crate::domain::position::Partition;
use crate::domain::time::Millis;
use crate::log::Record;

/// Name of the header: milliseconds since 1970, in decimal.
const NEWEST_HEADER: &str = "tidemark-newest";

/// The header for a chunk whose newest event is of `time`.
pub(super) fn header(time: Millis) -> (String, Bytes) {
    (NEWEST_HEADER.to_owned(), time.0.to_string().into())
}

/// The newest event that one posting partition has taken, and the newest that it has made visible.
#[derive(Default)]
pub(super) struct Freshness {
    taken: Option<Millis>,
    told: Option<Millis>,
}

impl Freshness {
    /// Blocks were taken into memory.
    pub(super) fn take(&mut self, records: &[Record]) {
        let newest = records.iter().filter_map(read).max();
        self.taken = self.taken.max(newest);
    }

    /// Everything that was taken is visible.
    pub(super) fn tell(&mut self, ctx: &WorkerContext, partition: Partition) {
        let (Some(newest), true) = (self.taken, self.taken > self.told) else {
            return;
        };
        self.told = self.taken;
        let visible = &ctx.metrics.visible_event_timestamp_seconds;
        let age_ms = ctx.clock.now().0.saturating_sub(newest.0).max(0);
        ctx.metrics
            .freshness_seconds
            .observe(age_ms as f64 / 1_000.0);
        visible
            .with_label_values(&[&partition.to_string()])
            .set(newest.0 as f64 / 1_000.0);
    }
}

fn read(record: &Record) -> Option<Millis> {
    let text = std::str::from_utf8(record.header(NEWEST_HEADER)?).ok()?;
    text.parse().ok().map(Millis)
}
