//! The embedded log: durable, partitioned, on local disk, in one process. fjall stores it; this
//! module adds what fjall does not promise.
//!
//! ```text
//! append ─▶ bounded queue ─▶ writer thread: one fjall batch for all that waits, fsync ─▶ acknowledged, readable
//!                                     └──▶ keeper thread: notes each partition's end in `acknowledged`, at least every 100 ms
//! ```
//! - Every record carries a checksum that is seeded with its offset; a wrong one, or a missing
//!   offset, is [`LogError::Damaged`], never skipped.
//! - That is an error to the reader of that record only: all other records can be read, and new
//!   ones appended.
//! - A partition that opens shorter than its noted end is damaged and halts; the others go on.
//! - Nothing is written while the disk is nearly full or the clock has jumped ahead: appends are
//!   refused ([`LogError::Refused`]), and go on by themselves when that has passed.
//! - Once a write has failed, nothing more is written until the log is opened again, because what
//!   the disk then holds is not known. The keeper opens it again in this process (`current`).

mod clockwork;
mod current;
mod ends;
mod guard;
mod journal;
mod meta;
mod open;
mod partition;
mod record;
mod report;
mod shared;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::current::{Current, Opener};
use self::writer::{Append, RETENTION_EVERY};
use super::topics::TopicSpec;
use super::{Bounds, Log, LogError, NewRecord, ReadLimit, Record, Topic, TopicInfo};
use crate::domain::position::{Epoch, Offset, Partition};
use crate::domain::time::Millis;
use crate::ops::clock::Clock;

pub use self::guard::{Disk, DiskOf, Space, faults};
pub use self::report::{CutJournal, OpenError, OpenReport, PartitionReport};
pub use self::shared::Removed;

/// Bytes that may wait to be written; who appends more waits.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long an append waits for the disk before it is given up.
const APPEND_WAIT_MAX: Duration = Duration::from_secs(30);

/// What can be chosen when a log is opened.
#[derive(Clone, Default)]
pub struct Options {
    /// The epoch that the log is of, or is created with.
    pub epoch: Epoch,
    /// An operator confirms that the machine's clock is right as long as it says no more than this.
    pub clock_confirmed_until: Option<Millis>,
    /// How often old records are looked for; `None`: every five minutes.
    pub retention_interval: Option<Duration>,
    /// The disk; `None`: the one that holds the log's directory.
    pub disk: Option<Arc<dyn Disk>>,
}

/// A durable log on local disk. One process at a time may have a directory open.
pub struct EmbeddedLog {
    current: Arc<Current>,
    queue_room: Arc<Semaphore>,
    /// Gone once the log is closed.
    queue: Mutex<Option<mpsc::UnboundedSender<Append>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl EmbeddedLog {
    /// Opens the log in `dir`, or creates it there, as of epoch 0, with the topics of `specs`.
    /// Blocks on the disk. Damaged partitions do not keep the others from opening: the report names
    /// them.
    pub fn open(
        dir: &Path,
        specs: &[TopicSpec],
        clock: Arc<dyn Clock>,
    ) -> Result<(EmbeddedLog, OpenReport), OpenError> {
        EmbeddedLog::open_epoch(dir, specs, clock, Epoch(0))
    }

    /// As [`EmbeddedLog::open`], for a log that is of `epoch`, or is created so.
    pub fn open_epoch(
        dir: &Path,
        specs: &[TopicSpec],
        clock: Arc<dyn Clock>,
        epoch: Epoch,
    ) -> Result<(EmbeddedLog, OpenReport), OpenError> {
        let options = Options {
            epoch,
            ..Options::default()
        };
        EmbeddedLog::open_with(dir, specs, clock, options)
    }

    /// As [`EmbeddedLog::open`], with options.
    pub fn open_with(
        dir: &Path,
        specs: &[TopicSpec],
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<(EmbeddedLog, OpenReport), OpenError> {
        let every = options.retention_interval.unwrap_or(RETENTION_EVERY);
        let opener = Opener {
            dir: dir.to_owned(),
            specs: specs.to_vec(),
            clock,
            options,
        };
        let (shared, report) = opener.open()?;
        let current = Arc::new(Current::new(opener, shared));
        let log = EmbeddedLog::start(current, every).map_err(|error| OpenError::Io {
            dir: dir.to_owned(),
            what: "starting the writer",
            error,
        })?;
        Ok((log, report))
    }

    fn start(current: Arc<Current>, every: Duration) -> std::io::Result<EmbeddedLog> {
        let (queue, appends) = mpsc::unbounded_channel();
        let (noted, groups) = std::sync::mpsc::sync_channel(1);
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let for_writer = Arc::clone(&current);
        let for_keeper = Arc::clone(&current);
        let threads = vec![
            named("log-writer").spawn(move || writer::run(&for_writer, appends, &noted))?,
            named("log-keeper").spawn(move || writer::keep(&for_keeper, &groups, every))?,
        ];
        Ok(EmbeddedLog {
            current,
            queue_room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            queue: Mutex::new(Some(queue)),
            threads: Mutex::new(threads),
        })
    }

    /// Writes what waits, notes the ends, and takes nothing more. Reading goes on until the log is
    /// dropped.
    pub async fn close(&self) {
        let threads = self.stop();
        let joined = tokio::task::spawn_blocking(move || join(threads)).await;
        if let Err(error) = joined {
            tracing::error!(event = "log.close_failed", %error, "a thread of the log panicked during shutdown");
        }
    }

    /// Lets the threads end, once they have done what waits.
    fn stop(&self) -> Vec<JoinHandle<()>> {
        drop(lock(&self.queue).take());
        std::mem::take(&mut *lock(&self.threads))
    }

    /// Removes what is older than its topic's retention at `now`; the newest record of a partition
    /// always stays. Done every five minutes by the log itself, by a time that follows the clock
    /// only slowly.
    pub async fn enforce_retention(&self, now: Millis) -> Result<Removed, LogError> {
        let shared = self.current.get()?;
        blocking(move || shared.enforce_retention(now)).await
    }

    /// Refuses what is too large, before anything is appended.
    fn check_sizes(&self, topic: Topic, records: &[NewRecord]) -> Result<usize, LogError> {
        let max = self.current.get()?.topic(topic)?.largest_record_bytes;
        let mut sum = 0;
        for (index, record) in records.iter().enumerate() {
            let bytes = record.size();
            if bytes > max {
                return Err(LogError::TooLarge {
                    index,
                    bytes,
                    max,
                    topic,
                });
            }
            sum += bytes;
        }
        Ok(sum)
    }

    async fn enqueue(
        &self,
        topic: Topic,
        partition: Partition,
        records: Vec<NewRecord>,
        bytes: usize,
    ) -> Result<Vec<Offset>, LogError> {
        let closed = || LogError::Unavailable("it is closed".to_owned());
        let share = bytes.clamp(1, QUEUE_BYTES_MAX) as u32;
        let permit = Arc::clone(&self.queue_room).acquire_many_owned(share).await;
        let (reply, answer) = oneshot::channel();
        let append = Append {
            topic,
            partition,
            records,
            bytes,
            reply,
            _permit: permit.map_err(|_| closed())?,
        };
        let queue = lock(&self.queue).clone().ok_or_else(closed)?;
        queue.send(append).map_err(|_| closed())?;
        drop(queue);
        // No answer: the writer is gone, and whether it wrote is not known.
        answer.await.map_err(|_| closed())?
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        join(self.stop());
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!(event = "log.panic", "a thread of the log panicked");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what blocks on the disk where it blocks nobody else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(LogError::Unavailable(format!(
            "its storage engine gave up: {error}"
        )))
    })
}

#[async_trait]
impl Log for EmbeddedLog {
    fn epoch(&self) -> Epoch {
        self.current.epoch()
    }

    async fn topic(&self, topic: Topic) -> Result<TopicInfo, LogError> {
        self.current.topic(topic)
    }

    async fn append(
        &self,
        topic: Topic,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Result<Vec<Offset>, LogError> {
        self.current.get()?.check_append(topic, partition)?;
        let bytes = self.check_sizes(topic, &records)?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let done = tokio::time::timeout(
            APPEND_WAIT_MAX,
            self.enqueue(topic, partition, records, bytes),
        );
        done.await.unwrap_or_else(|_| {
            let seconds = APPEND_WAIT_MAX.as_secs();
            Err(LogError::Unavailable(format!(
                "its disk has not answered for {seconds} s"
            )))
        })
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
        wait: Duration,
    ) -> Result<Vec<Record>, LogError> {
        // Whoever waits does not hold the log: it may have to be opened again meanwhile, which ends
        // the wait.
        let (mut ends, end) = self.current.get()?.ends(topic, partition, from)?;
        if end == from {
            let more = ends.wait_for(|end| *end > from.0);
            let has_more = matches!(tokio::time::timeout(wait, more).await, Ok(Ok(_)));
            if !has_more {
                return self.bounds(topic, partition).await.map(|_| Vec::new());
            }
        }
        drop(ends);
        let shared = self.current.get()?;
        blocking(move || shared.partition(topic, partition)?.scan(from, limit)).await
    }

    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, LogError> {
        self.current.get()?.partition(topic, partition)?.bounds()
    }

    async fn check_appends(&self) -> Result<(), LogError> {
        let shared = self.current.get()?;
        shared.check_alive()?;
        shared.guard.append_time()?;
        match shared.guard.room(Topic::UsageEvents) {
            0 => Err(shared.guard.full()),
            _ => Ok(()),
        }
    }
}
