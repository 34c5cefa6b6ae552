//! Counts what a log takes, whoever appends it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Bounds, Log, LogError, NewRecord, ReadLimit, Record, Refusal, Topic, TopicInfo};
use crate::domain::position::{Epoch, Offset, Partition};
use crate::ops::metrics::Metrics;

/// A log whose acknowledged records are counted by topic.
pub struct CountingLog {
    log: Arc<dyn Log>,
    metrics: Arc<Metrics>,
}

impl CountingLog {
    /// Counts the appends to this log.
    pub fn new(log: Arc<dyn Log>, metrics: Arc<Metrics>) -> CountingLog {
        for why in Refusal::ALL {
            let refused = &metrics.log_refused_appends_total;
            drop(refused.with_label_values(&[why.as_str()]));
        }
        CountingLog { log, metrics }
    }
}

#[async_trait]
impl Log for CountingLog {
    fn epoch(&self) -> Epoch {
        self.log.epoch()
    }

    async fn topic(&self, topic: Topic) -> Result<TopicInfo, LogError> {
        self.log.topic(topic).await
    }

    async fn append(
        &self,
        topic: Topic,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Result<Vec<Offset>, LogError> {
        let appended = self.log.append(topic, partition, records).await;
        if let Err(LogError::Refused { why, .. }) = &appended {
            let refused = &self.metrics.log_refused_appends_total;
            refused.with_label_values(&[why.as_str()]).inc();
        }
        let offsets = appended?;
        self.metrics
            .log_appended_records_total
            .with_label_values(&[topic.name()])
            .inc_by(offsets.len() as u64);
        Ok(offsets)
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
        wait: Duration,
    ) -> Result<Vec<Record>, LogError> {
        self.log.read(topic, partition, from, limit, wait).await
    }

    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, LogError> {
        self.log.bounds(topic, partition).await
    }

    async fn check_appends(&self) -> Result<(), LogError> {
        self.log.check_appends().await
    }

    async fn end_seen(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError> {
        self.log.end_seen(topic, partition).await
    }
}
