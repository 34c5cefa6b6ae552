use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tidemark::domain::position::{Epoch, Offset, Partition};
use tidemark::domain::time::Millis;
use tidemark::log::{Bounds, Log, LogError, NewRecord, ReadLimit, Record, Topic, TopicInfo};

/// A log in memory, with switches that make appends fail or hang.
#[derive(Default)]
pub struct MemoryLog {
    records: Mutex<HashMap<(Topic, Partition), Vec<Record>>>,
    pub append_fails: Mutex<Option<LogError>>,
    /// Whether appends are never answered.
    pub append_hangs: AtomicBool,
}

pub const PARTITIONS: u32 = 4;

impl MemoryLog {
    /// Everything that a topic holds, by partition, then offset.
    pub fn all(&self, topic: Topic) -> Vec<(Partition, Record)> {
        let records = self.records.lock().unwrap();
        (0..PARTITIONS)
            .map(Partition)
            .flat_map(|p| {
                records
                    .get(&(topic, p))
                    .into_iter()
                    .flatten()
                    .map(move |r| (p, r.clone()))
            })
            .collect()
    }
}

#[async_trait]
impl Log for MemoryLog {
    fn epoch(&self) -> Epoch {
        Epoch(1)
    }

    async fn topic(&self, topic: Topic) -> Result<TopicInfo, LogError> {
        Ok(TopicInfo {
            id: format!("id-of-{topic}"),
            partitions: PARTITIONS,
        })
    }

    async fn append(
        &self,
        topic: Topic,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Result<Vec<Offset>, LogError> {
        if self.append_hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if let Some(error) = self.append_fails.lock().unwrap().clone() {
            return Err(error);
        }
        let mut all = self.records.lock().unwrap();
        let held = all.entry((topic, partition)).or_default();
        let mut offsets = Vec::new();
        for NewRecord {
            key,
            value,
            headers,
        } in records
        {
            let offset = Offset(held.len() as u64);
            offsets.push(offset);
            held.push(Record {
                offset,
                append_time: Millis(1_000),
                key,
                value,
                headers,
            });
        }
        Ok(offsets)
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
        _wait: Duration,
    ) -> Result<Vec<Record>, LogError> {
        let all = self.records.lock().unwrap();
        let held = all.get(&(topic, partition)).map_or(&[][..], Vec::as_slice);
        Ok(held
            .iter()
            .skip(from.0 as usize)
            .take(limit.records)
            .cloned()
            .collect())
    }

    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, LogError> {
        let all = self.records.lock().unwrap();
        let end = all.get(&(topic, partition)).map_or(0, Vec::len) as u64;
        Ok(Bounds {
            start: Offset(0),
            end: Offset(end),
        })
    }
}
