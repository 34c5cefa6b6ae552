//! PUBLISH: appends blocks, rejects and forwarded records, and writes usage rows.

use bytes::Bytes;
use futures::future::{FutureExt, try_join, try_join_all};

use super::Rater;
use super::output::Output;
use crate::domain::position::Partition;
use crate::domain::time::Millis;
use crate::log::{Headers, NewRecord, Topic};
use crate::pipeline::failure::Failure;
use crate::pipeline::freshness;
use crate::pipeline::recorded_cut::{self, ChunkEnd};
use crate::store::db::Table;

impl Rater<'_> {
    /// What every block of the chunk carries beside its bytes.
    fn headers(&self, after: &super::After, newest: Option<Millis>) -> Headers {
        let end = ChunkEnd {
            log_time: after.log_time,
            latest_event: after.latest_event,
            sequences: after.sequences.clone(),
        };
        let cut = recorded_cut::header(&self.checkpoint, &end);
        let newest = newest.map(freshness::header);
        [cut].into_iter().chain(newest).collect()
    }

    /// Publishes everything at once and waits for every acknowledgement; returns what holds after it.
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

    /// Appends and writes all of it at once, and waits for every acknowledgement.
    pub(in crate::pipeline) async fn append_all(&self, output: Output) -> Result<(), Failure> {
        let Output {
            newest,
            blocks,
            others,
            rows,
            after,
        } = output;
        let headers = self.headers(&after, newest);
        let record = |value| NewRecord {
            value,
            headers: headers.clone(),
            ..NewRecord::default()
        };
        let records = |(q, blocks): (Partition, Vec<Bytes>)| {
            let records = blocks.into_iter().map(record).collect();
            (Topic::LedgerPostings, q, records)
        };
        // Boxed and collected, so that no closure over references lives across an await: the task would not be Send.
        let appends: Vec<_> = (blocks.into_iter().map(records))
            .chain(others)
            .map(|(topic, partition, records)| {
                let append = self.ctx.log.append(topic, partition, records);
                append.map(|done| done.map_err(Failure::from)).boxed()
            })
            .collect();
        let rows = async {
            self.ctx
                .db
                .put_all(Table::UsageTracking, rows)
                .await
                .map_err(Failure::from)
        };
        try_join(try_join_all(appends), rows).await?;
        Ok(())
    }
}
