//! Logs: the trait that the pipeline reads and writes, the embedded log, and the formats of
//! records.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::domain::position::{Epoch, Offset, Partition};
use crate::domain::time::Millis;

mod counting;
pub mod cuts;
pub mod embedded;
pub mod foreign;
pub mod json_array;
pub mod kafka;
pub mod posting;
pub mod rejected;
pub mod topics;
pub mod usage;
pub(crate) mod varint;

pub use counting::CountingLog;

/// The topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// `usage.events`: usage events, by user.
    UsageEvents,
    /// `usage.rejected`: what could not be rated.
    UsageRejected,
    /// `ledger.postings`: posting blocks, by account.
    LedgerPostings,
    /// `ledger.cuts`: how each chunk was cut, by partition of `usage.events`.
    LedgerCuts,
}

impl Topic {
    /// All of them.
    pub const ALL: [Topic; 4] = [
        Topic::UsageEvents,
        Topic::UsageRejected,
        Topic::LedgerPostings,
        Topic::LedgerCuts,
    ];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Topic::UsageEvents => "usage.events",
            Topic::UsageRejected => "usage.rejected",
            Topic::LedgerPostings => "ledger.postings",
            Topic::LedgerCuts => "ledger.cuts",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Topic> {
        Topic::ALL.into_iter().find(|one| one.name() == name)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Header names and values, in order.
pub type Headers = Vec<(String, Bytes)>;

/// A record to append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Bytes,
    /// Headers.
    pub headers: Headers,
}

/// A record as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its offset.
    pub offset: Offset,
    /// When the log took it (`LogAppendTime`); may step back from record to record.
    pub append_time: Millis,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Bytes,
    /// Headers.
    pub headers: Headers,
}

impl Record {
    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_ref())
    }

    /// Roughly what it takes in memory.
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
        self.value.len() + self.key.as_ref().map_or(0, Bytes::len) + headers + 64
    }
}

impl NewRecord {
    /// What counts against the topic's largest record: key, value, header names and values, and 8
    /// bytes per header.
    pub fn size(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(n, v)| n.len() + v.len() + 8)
            .sum();
        self.value.len() + self.key.as_ref().map_or(0, Bytes::len) + headers
    }
}

/// Names one record, so that a checkpoint can tell on resume whether the log still holds the record
/// that it covered. As text: `offset@append time in ms#checksum in hex`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// The record's offset.
    pub offset: Offset,
    /// When the log took it.
    pub append_time: Millis,
    /// XXH3-64 of key, value and headers, each with its length before it.
    pub checksum: u64,
}

impl Fingerprint {
    /// The fingerprint of a record.
    pub fn of(record: &Record) -> Fingerprint {
        let mut hash = xxhash_rust::xxh3::Xxh3Default::new();
        let mut part = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        // No key and an empty key are different records.
        part(if record.key.is_some() { &[1] } else { &[] });
        part(record.key.as_deref().unwrap_or_default());
        part(&record.value);
        for (name, value) in &record.headers {
            part(name.as_bytes());
            part(value);
        }
        Fingerprint {
            offset: record.offset,
            append_time: record.append_time,
            checksum: hash.digest(),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}@{}#{:016x}",
            self.offset, self.append_time.0, self.checksum
        )
    }
}

/// The text is not a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a record's fingerprint")]
pub struct NotAFingerprint(pub String);

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;
    fn from_str(text: &str) -> Result<Fingerprint, NotAFingerprint> {
        let parts = || {
            let (offset, rest) = text.split_once('@')?;
            let (append_time, checksum) = rest.split_once('#')?;
            Some(Fingerprint {
                offset: Offset(offset.parse().ok()?),
                append_time: Millis(append_time.parse().ok()?),
                checksum: u64::from_str_radix(checksum, 16).ok()?,
            })
        };
        parts().ok_or_else(|| NotAFingerprint(text.to_owned()))
    }
}

impl serde::Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Fingerprint, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What is known of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its id: another one means that the topic was deleted and created again.
    pub id: String,
    /// How many partitions it has.
    pub partitions: u32,
}

/// The offsets that a partition holds: `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that is still there.
    pub start: Offset,
    /// The offset that the next record gets.
    pub end: Offset,
}

impl Bounds {
    /// How many records somebody has yet to work on who goes on at `next`: what `tidemark top`,
    /// `tidemark doctor` and the metrics call waiting. What has expired waits no more.
    pub fn waiting(self, next: Offset) -> u64 {
        self.end.0.saturating_sub(next.max(self.start).0)
    }
}

/// How long to wait for a record that is there by all that is known: a log elsewhere may take a
/// moment to answer.
pub const MUST_BE_THERE: Duration = Duration::from_secs(10);

/// How much to read at most. At least one record is returned if there is one.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    /// Records.
    pub records: usize,
    /// Bytes of [`Record::size`].
    pub bytes: usize,
}

impl ReadLimit {
    /// One record, whatever its size.
    pub const ONE: ReadLimit = ReadLimit {
        records: 1,
        bytes: 1,
    };
}

/// Why a log takes no records. The names are labels of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its disk is nearly full.
    DiskFull,
    /// The clock by which it stamps records has jumped ahead.
    ClockAhead,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 2] = [Refusal::DiskFull, Refusal::ClockAhead];

    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::DiskFull => "disk_full",
            Refusal::ClockAhead => "clock_ahead",
        }
    }
}

/// What went wrong with a log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// Nothing is wrong with the data; try again. An append may or may not have happened.
    #[error("the log did not answer ({0}); it is safe to retry")]
    Unavailable(String),
    /// The log takes no records at present, and says why; nothing was appended. Passes when the
    /// cause is gone.
    #[error("{what}; nothing was appended")]
    Refused {
        /// Why.
        why: Refusal,
        /// Why, and what to do.
        what: String,
    },
    /// The topic does not exist, or does not any more. Passes when it is brought back.
    #[error("{what}")]
    NoTopic {
        /// The topic.
        topic: Topic,
        /// Its name there, and what to do.
        what: String,
    },
    /// A record is larger than its topic takes.
    #[error(
        "record {index} has {bytes} bytes, but topic {topic} accepts at most {max}; send smaller records"
    )]
    TooLarge {
        /// Its place among the records of the append.
        index: usize,
        /// Its size.
        bytes: usize,
        /// The topic's limit.
        max: usize,
        /// The topic.
        topic: Topic,
    },
    /// The position does not exist (any more, or yet).
    #[error("{topic}/{partition} holds offsets [{start}, {end}), not {wanted}")]
    OutOfRange {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
        /// What was asked for.
        wanted: Offset,
        /// First offset there.
        start: Offset,
        /// Offset after the last one there.
        end: Offset,
    },
    /// The log contradicts itself: data that was acknowledged is gone or unreadable. Never retried.
    #[error(
        "{topic}/{partition} is damaged: {what}; restore the data directory from a backup, or start a new epoch"
    )]
    Damaged {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
        /// What was found.
        what: String,
    },
}

impl LogError {
    /// A stable code, as in problem documents and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            LogError::Unavailable(_) => "log_unavailable",
            LogError::Refused { why, .. } => match why {
                Refusal::DiskFull => "log_disk_full",
                Refusal::ClockAhead => "log_clock_ahead",
            },
            LogError::NoTopic { .. } => "topic_missing",
            LogError::TooLarge { .. } => "too_large",
            LogError::OutOfRange { .. } => "out_of_range",
            LogError::Damaged { .. } => "log_damaged",
        }
    }
}

/// A durable, partitioned log.
#[async_trait]
pub trait Log: Send + Sync {
    /// The epoch of this log: configured once when it is created.
    fn epoch(&self) -> Epoch;

    /// Id and partition count of a topic.
    async fn topic(&self, topic: Topic) -> Result<TopicInfo, LogError>;

    /// Appends records, in order, all to one partition; returns the offset of each once all are
    /// durable. After [`LogError::Unavailable`] any prefix may have been appended, now or later.
    async fn append(
        &self,
        topic: Topic,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Result<Vec<Offset>, LogError>;

    /// Reads from `from` on. If nothing is there yet, waits up to `wait` for the first record; an
    /// empty answer means none came.
    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
        wait: Duration,
    ) -> Result<Vec<Record>, LogError>;

    /// What a partition holds.
    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, LogError>;

    /// Whether usage events can be appended now, without appending any; the error is the one that
    /// an append would meet.
    async fn check_appends(&self) -> Result<(), LogError> {
        Ok(())
    }

    /// The end of a partition as it was last heard of, which may be old: for telling lag and for
    /// choosing how long to go on folding, not for deciding what is counted.
    async fn end_seen(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError> {
        Ok(self.bounds(topic, partition).await?.end)
    }
}

/// How many partitions the topics have. A change of them is a new epoch, before which every process
/// is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitions {
    /// Of `usage.events` and `ledger.cuts`.
    pub source: u32,
    /// Of `ledger.postings`.
    pub posting: u32,
    /// Of `usage.rejected`.
    pub rejected: u32,
}

impl Partitions {
    /// Asks the log.
    pub async fn of(log: &dyn Log) -> Result<Partitions, LogError> {
        Ok(Partitions {
            source: log.topic(Topic::UsageEvents).await?.partitions,
            posting: log.topic(Topic::LedgerPostings).await?.partitions,
            rejected: log.topic(Topic::UsageRejected).await?.partitions,
        })
    }
}

/// Java Kafka's default partitioner for keyed records (librdkafka: `murmur2_random`): where a
/// user's events go.
pub fn usage_partition(user: &str, count: u32) -> Partition {
    Partition((murmur2(user.as_bytes()) & 0x7fff_ffff) % count)
}

/// Murmur2 as Java's Kafka client has it.
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mix = |k: u32| {
        let k = k.wrapping_mul(M);
        (k ^ (k >> 24)).wrapping_mul(M)
    };
    let mut chunks = data.chunks_exact(4);
    let mut h = SEED ^ data.len() as u32;
    for chunk in &mut chunks {
        let k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        h = h.wrapping_mul(M) ^ mix(k);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let tail = rest
            .iter()
            .rev()
            .fold(0, |tail, byte| (tail << 8) | u32::from(*byte));
        h = (h ^ tail).wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}
