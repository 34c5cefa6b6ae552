//! A log of which a reader sees the beginning only, until it is shown more.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tidemark::domain::position::{Epoch, Offset, Partition};
use tidemark::log::kafka::KafkaLog;
use tidemark::log::{Bounds, Log, LogError, NewRecord, ReadLimit, Record, Topic, TopicInfo};

/// The log as far as it is shown.
pub struct Gate {
    log: KafkaLog,
    /// Where each partition of `usage.events` seems to end.
    ends: Mutex<Vec<Offset>>,
}

impl Gate {
    /// Shows each partition up to an offset.
    pub fn new(log: KafkaLog, ends: Vec<Offset>) -> Gate {
        Gate {
            log,
            ends: Mutex::new(ends),
        }
    }

    /// Shows more.
    pub fn open(&self, ends: Vec<Offset>) {
        *self.lock() = ends;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Offset>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, topic: Topic, partition: Partition) -> Offset {
        match topic {
            Topic::UsageEvents => self.lock()[partition.0 as usize],
            _ => Offset(u64::MAX),
        }
    }
}

#[async_trait]
impl Log for Gate {
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
        self.log.append(topic, partition, records).await
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
        wait: Duration,
    ) -> Result<Vec<Record>, LogError> {
        let shown = self.end(topic, partition).0.saturating_sub(from.0);
        if shown == 0 {
            // The worker waits for what does not come; a look now and then keeps it from sleeping on when there is more.
            tokio::time::sleep(wait.min(Duration::from_millis(50))).await;
            return Ok(Vec::new());
        }
        let limit = ReadLimit {
            records: limit.records.min(shown as usize),
            ..limit
        };
        self.log.read(topic, partition, from, limit, wait).await
    }

    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, LogError> {
        let bounds = self.log.bounds(topic, partition).await?;
        let end = bounds.end.min(self.end(topic, partition));
        Ok(Bounds { end, ..bounds })
    }

    async fn end_seen(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError> {
        let end = self.log.end_seen(topic, partition).await?;
        Ok(end.min(self.end(topic, partition)))
    }
}
