//! The embedded log, on a real disk.

mod contract;
mod crash;
mod damage;
mod guard;
mod model;
mod opening;
mod retention;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tidemark::domain::position::{Offset, Partition};
use tidemark::domain::time::Millis;
use tidemark::log::embedded::{EmbeddedLog, OpenError, OpenReport};
use tidemark::log::topics::{TopicSpec, shipped};
use tidemark::log::{Log, LogError, NewRecord, ReadLimit, Record, Topic};
use tidemark::ops::clock::Clock;

const EVENTS: Topic = Topic::UsageEvents;
const ALL: ReadLimit = ReadLimit {
    records: usize::MAX,
    bytes: usize::MAX,
};

/// A clock that a test moves.
struct HandClock(AtomicI64);

impl HandClock {
    fn at(ms: i64) -> Arc<HandClock> {
        Arc::new(HandClock(AtomicI64::new(ms)))
    }

    fn set(&self, ms: i64) {
        self.0.store(ms, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::SeqCst))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

fn try_open(dir: &Path, specs: &[TopicSpec]) -> Result<(EmbeddedLog, OpenReport), OpenError> {
    EmbeddedLog::open(dir, specs, HandClock::at(1_000))
}

fn open(dir: &Path) -> (EmbeddedLog, OpenReport) {
    try_open(dir, &shipped()).unwrap()
}

fn record(text: impl AsRef<str>) -> NewRecord {
    NewRecord {
        value: Bytes::copy_from_slice(text.as_ref().as_bytes()),
        ..NewRecord::default()
    }
}

async fn append(log: &EmbeddedLog, partition: u32, texts: &[&str]) -> Vec<u64> {
    let records = texts.iter().map(record).collect();
    let offsets = log
        .append(EVENTS, Partition(partition), records)
        .await
        .unwrap();
    offsets.into_iter().map(|offset| offset.0).collect()
}

async fn read(log: &EmbeddedLog, partition: u32, from: u64) -> Result<Vec<Record>, LogError> {
    log.read(
        EVENTS,
        Partition(partition),
        Offset(from),
        ALL,
        Duration::ZERO,
    )
    .await
}

async fn texts(log: &EmbeddedLog, partition: u32, from: u64) -> Vec<String> {
    let records = read(log, partition, from).await.unwrap();
    for (n, record) in (from..).zip(&records) {
        assert_eq!(record.offset, Offset(n));
    }
    records
        .iter()
        .map(|record| String::from_utf8(record.value.to_vec()).unwrap())
        .collect()
}

fn is_damaged<T>(result: &Result<T, LogError>) -> bool {
    matches!(result, Err(LogError::Damaged { .. }))
}
