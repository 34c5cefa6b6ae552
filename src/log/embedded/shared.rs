//! What readers, the writer and retention share.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use fjall::Database;
use tokio::sync::watch;

use super::ends::{Ends, EndsFile};
use super::guard::Guard;
use super::partition::PartitionLog;
use crate::domain::position::{Epoch, Offset, Partition};
use crate::domain::time::Millis;
use crate::log::{Bounds, LogError, Topic, TopicInfo};
use crate::ops::log_throttle::LogThrottle;

static APPEND_FAILED: LogThrottle<()> = LogThrottle::new();

/// An open log.
pub(super) struct Shared {
    pub(super) epoch: Epoch,
    pub(super) guard: Guard,
    pub(super) dir: PathBuf,
    pub(super) topics: BTreeMap<Topic, TopicLog>,
    pub(super) ends: Mutex<EndsFile>,
    /// Why nothing can be written any more, once that is so. Only opening the log again clears it.
    pub(super) failure: OnceLock<String>,
    // Dropped in this order: the engine is closed before the directory is free for another process.
    pub(super) db: Database,
    pub(super) _lock: File,
}

/// One topic.
pub(super) struct TopicLog {
    pub(super) info: TopicInfo,
    pub(super) retention: Duration,
    pub(super) largest_record_bytes: usize,
    pub(super) partitions: Vec<PartitionLog>,
}

/// What retention took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many records.
    pub records: u64,
}

impl Shared {
    pub(super) fn topic(&self, topic: Topic) -> Result<&TopicLog, LogError> {
        let known = self.topics.get(&topic);
        known.ok_or_else(|| LogError::Unavailable(format!("{topic} is not set up in this log")))
    }

    pub(super) fn partition(
        &self,
        topic: Topic,
        partition: Partition,
    ) -> Result<&PartitionLog, LogError> {
        let log = self.topic(topic)?;
        let found = log.partitions.get(partition.0 as usize);
        // A partition that does not exist holds nothing.
        found.ok_or(LogError::OutOfRange {
            topic,
            partition,
            wanted: Offset(0),
            start: Offset(0),
            end: Offset(0),
        })
    }

    /// Fails once writing has failed.
    pub(super) fn check_alive(&self) -> Result<(), LogError> {
        match self.failure.get() {
            None => Ok(()),
            Some(what) => Err(LogError::Unavailable(reopens(what))),
        }
    }

    /// From now on nothing is written.
    pub(super) fn fail(&self, what: String) -> LogError {
        let error = LogError::Unavailable(reopens(&what));
        if self.failure.set(what.clone()).is_ok()
            && let Some(kept_back) = APPEND_FAILED.say(())
        {
            tracing::error!(
                event = "log.append_failed",
                failure = what,
                kept_back,
                "a write failed; the log refuses appends until it has been opened again, which \
                 happens by itself"
            );
        }
        error
    }

    /// Fails if nothing can be appended to a partition.
    pub(super) fn check_append(&self, topic: Topic, partition: Partition) -> Result<(), LogError> {
        self.partition(topic, partition)?.bounds()?;
        self.check_alive()
    }

    /// The end of a partition as it moves on, and as it is now; fails unless `from` is within its
    /// bounds or right behind them.
    pub(super) fn ends(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
    ) -> Result<(watch::Receiver<u64>, Offset), LogError> {
        let log = self.partition(topic, partition)?;
        let ends = log.ends();
        Ok((ends, log.check_range(from)?.end))
    }

    /// Writes down how far each partition came.
    pub(super) fn note_ends(&self) -> io::Result<()> {
        let mut file = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ends = file.ends().clone();
        for (topic, log) in &self.topics {
            let pairs = ends.entry(topic.name().to_owned()).or_default();
            pairs.resize(log.partitions.len(), (0, 0));
            for (pair, partition) in pairs.iter_mut().zip(&log.partitions) {
                *pair = noted(*pair, partition.extent());
            }
        }
        if ends == *file.ends() {
            return Ok(());
        }
        file.write(ends)
    }

    /// Removes what is older than its topic's retention, on every partition that is not damaged. A
    /// partition that fails does not keep the others from it; the first failure is returned.
    pub(super) fn enforce_retention(&self, now: Millis) -> Result<Removed, LogError> {
        let mut removed = Removed::default();
        let mut failure = None;
        for log in self.topics.values() {
            let age = i64::try_from(log.retention.as_millis()).unwrap_or(i64::MAX);
            let cutoff = now.plus(age.saturating_neg());
            for partition in log.partitions.iter().filter(|p| p.bounds().is_ok()) {
                match partition.shorten(cutoff) {
                    Ok(records) => removed.records += records,
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
        }
        // The new starts are durable before anything is gone: else the log would open with a hole
        // at its start.
        self.note_ends()
            .map_err(|error| self.fail(format!("cannot write the new starts: {error}")))?;
        for partition in self.topics.values().flat_map(|log| &log.partitions) {
            failure = failure.or(partition.free_space().err());
        }
        failure.map_or(Ok(removed), Err)
    }
}

/// What to note of a partition. A damaged one is shorter than what was acknowledged: the note
/// stays, so that it is found damaged again.
fn noted(before: (u64, u64), extent: Bounds) -> (u64, u64) {
    (before.0.max(extent.start.0), before.1.max(extent.end.0))
}

fn reopens(what: &str) -> String {
    format!("{what}; check the disk; tidemark reopens the log by itself once it can be written")
}

/// `usage.events-0`: the name of a partition's keyspace, for ever.
pub(super) fn keyspace_name(topic: Topic, partition: u32) -> String {
    format!("{topic}-{partition}")
}

/// The ends of topics in which nothing was ever written.
pub(super) fn empty_ends(topics: impl Iterator<Item = (Topic, u32)>) -> Ends {
    topics
        .map(|(topic, partitions)| (topic.name().to_owned(), vec![(0, 0); partitions as usize]))
        .collect()
}
