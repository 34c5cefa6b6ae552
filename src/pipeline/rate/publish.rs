//! PUBLISH: appends blocks, rejects and forwarded records, and writes usage rows.

use bytes::Bytes;
use futures::future::{FutureExt, try_join, try_join_all};

use super::Rater;
use super::output::Output;
use crate::domain::position::Partition;
use crate::domain::time::Millis;
use crate::log::{Headers, NewRecord, Topic};
use crate::pipeline::failure::Failure;
use crate::pipeline::recorded_cut::{self, ChunkEnd};
use crate::pipeline::{cut_record, freshness};
use crate::store::db::{Item, Table};

impl Rater<'_> {
    /// The header by which the chunk's blocks carry its recorded cut.
    fn cut_header(&self, after: &super::After) -> (String, Bytes) {
        let end = ChunkEnd {
            log_time: after.log_time,
            latest_event: after.latest_event,
            sequences: after.sequences.clone(),
        };
        let end = self.ctx.protections.recorded_end(end);
        recorded_cut::header(&self.checkpoint, &end)
    }

    /// What every block of the chunk carries beside its bytes.
    fn headers(cut: (String, Bytes), newest: Option<Millis>) -> Headers {
        let newest = newest.map(freshness::header);
        [cut].into_iter().chain(newest).collect()
    }

    /// Publishes everything at once and waits for every acknowledgement; returns what holds after
    /// it.
    pub(super) async fn publish(&mut self, output: Output) -> Result<super::After, Failure> {
        let after = output.after.clone();
        let count: usize = output.blocks.iter().map(|(_, blocks)| blocks.len()).sum();
        self.ctx.metrics.postings_blocks_total.inc_by(count as u64);
        let reached: Vec<Partition> = output.blocks.iter().map(|(q, _)| *q).collect();
        self.append_all(output).await?;
        let now = self.ctx.clock.moment();
        for partition in reached {
            self.heartbeat.reach(partition, now);
        }
        Ok(after)
    }

    /// Appends and writes all of it at once, with the chunk's record in `ledger.cuts`, and waits
    /// for every acknowledgement.
    pub(in crate::pipeline) async fn append_all(&self, output: Output) -> Result<(), Failure> {
        let Output {
            newest,
            blocks,
            others,
            rows,
            after,
            oldest_lookup: _,
            archived: _,
        } = output;
        let cut = self.cut_header(&after);
        let cut_record = cut_record::encode(self.partition, &self.checkpoint, cut.1.clone());
        let cuts = (Topic::LedgerCuts, self.partition, vec![cut_record]);
        let headers = Self::headers(cut, newest);
        let record = |value| NewRecord {
            value,
            headers: headers.clone(),
            ..NewRecord::default()
        };
        let records = |(q, blocks): (Partition, Vec<Bytes>)| {
            let records = blocks.into_iter().map(record).collect();
            (Topic::LedgerPostings, q, records)
        };
        // Boxed and collected, so that no closure over references lives across an await: the task
        // would not be Send.
        let blocks = self.ctx.protections.sent_blocks(blocks);
        let appends: Vec<_> = (blocks.into_iter().map(records))
            .chain(others)
            .chain([cuts])
            .map(|(topic, partition, records)| {
                let append = self.ctx.log.append(topic, partition, records);
                append.map(|done| done.map_err(Failure::from)).boxed()
            })
            .collect();
        try_join(try_join_all(appends), self.put_rows(rows)).await?;
        Ok(())
    }

    /// Writes usage rows, and nothing else.
    pub(in crate::pipeline) async fn put_rows(&self, rows: Vec<Item>) -> Result<(), Failure> {
        let put = self.ctx.db.put_all(Table::UsageTracking, rows);
        put.await.map_err(Failure::from)
    }
}
