//! The writer: one thread that makes appends durable in groups, and one that notes how far they
//! came.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use fjall::PersistMode;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::current::{Current, Mender};
use super::record;
use super::shared::Shared;
use crate::domain::position::{Offset, Partition};
use crate::log::{LogError, NewRecord, Topic};

/// A group is committed when it has this many bytes, or when nothing waits.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Between two notes of the acknowledged ends. With the write itself it stays within 100 ms.
const NOTE_EVERY: Duration = Duration::from_millis(50);
/// Between two looks for records that are too old.
pub(super) const RETENTION_EVERY: Duration = Duration::from_secs(300);

/// An append that waits.
pub(super) struct Append {
    pub(super) topic: Topic,
    pub(super) partition: Partition,
    pub(super) records: Vec<NewRecord>,
    pub(super) bytes: usize,
    pub(super) reply: oneshot::Sender<Result<Vec<Offset>, LogError>>,
    /// Its share of the queue.
    pub(super) _permit: OwnedSemaphorePermit,
}

/// Commits what comes until every sender is gone. `noted` is told after each group.
pub(super) fn run(
    current: &Current,
    mut queue: mpsc::UnboundedReceiver<Append>,
    noted: &SyncSender<()>,
) {
    while let Some(first) = queue.blocking_recv() {
        let group = gather(first, &mut queue);
        let shared = match current.get() {
            Ok(shared) => shared,
            Err(error) => {
                refuse(group, &error);
                continue;
            }
        };
        let group = admit(&shared, group);
        if group.is_empty() {
            continue;
        }
        match commit(&shared, &group) {
            Ok(offsets) => {
                for (append, offsets) in group.into_iter().zip(offsets) {
                    // The one who asked may have stopped waiting.
                    let _ = append.reply.send(Ok(offsets));
                }
            }
            Err(error) => refuse(group, &error),
        }
        // A note that is due already covers this group too.
        let _ = noted.try_send(());
    }
}

/// What waits together with `first`.
fn gather(first: Append, queue: &mut mpsc::UnboundedReceiver<Append>) -> Vec<Append> {
    let mut bytes = first.bytes;
    let mut group = vec![first];
    while bytes < GROUP_BYTES_MAX {
        let Ok(append) = queue.try_recv() else {
            break;
        };
        bytes += append.bytes;
        group.push(append);
    }
    group
}

/// Refuses what the disk has no room for; the others go on.
fn admit(shared: &Shared, group: Vec<Append>) -> Vec<Append> {
    let mut bytes = 0;
    let (admitted, refused): (Vec<Append>, Vec<Append>) = group.into_iter().partition(|append| {
        let fits = bytes + append.bytes as u64 <= shared.guard.room(append.topic);
        bytes += if fits { append.bytes as u64 } else { 0 };
        fits
    });
    if !refused.is_empty() {
        refuse(refused, &shared.guard.full());
    }
    admitted
}

fn refuse(group: Vec<Append>, error: &LogError) {
    for append in group {
        let _ = append.reply.send(Err(error.clone()));
    }
}

/// Makes a group durable and readable, all of it or nothing; returns the offsets of each append.
fn commit(shared: &Shared, group: &[Append]) -> Result<Vec<Vec<Offset>>, LogError> {
    shared.check_alive()?;
    let now = shared.guard.append_time()?;
    let mut batch = shared.db.batch().durability(Some(PersistMode::SyncAll));
    let mut ends = BTreeMap::new();
    let mut offsets = Vec::with_capacity(group.len());
    for append in group {
        let log = shared.partition(append.topic, append.partition)?;
        let end: &mut u64 = ends
            .entry((append.topic, append.partition))
            .or_insert_with(|| log.extent().end.0);
        offsets.push((*end..).map(Offset).take(append.records.len()).collect());
        for record in &append.records {
            let stored = record::encode(record, Offset(*end), now);
            batch.insert(log.keyspace(), end.to_be_bytes(), stored);
            *end += 1;
        }
    }
    batch
        .commit()
        .map_err(|error| shared.fail(write_failure(&error)))?;
    for ((topic, partition), end) in ends {
        shared.partition(topic, partition)?.publish(end);
    }
    Ok(offsets)
}

fn write_failure(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Poisoned => {
            "a write failed: the storage engine stopped after an error in the background, such as a full disk or a damaged table".to_owned()
        }
        other => format!("a write failed: {other}"),
    }
}

/// Notes the acknowledged ends after each group, enforces retention from time to time, and opens
/// the log again after a write has failed, until the writer is gone.
pub(super) fn keep(current: &Current, groups: &Receiver<()>, every: Duration) {
    let mut retention_at = Instant::now() + every;
    let mut mender = Mender::default();
    loop {
        let next = mender
            .due()
            .map_or(retention_at, |due| due.min(retention_at));
        match groups.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(()) => {
                on_open(current, note);
                std::thread::sleep(NOTE_EVERY);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        // Under constant load there is always a group to note, so the time is looked at after each.
        if Instant::now() >= retention_at {
            retention_at = Instant::now() + every;
            on_open(current, look_after);
        }
        // Last: whatever came before may have failed.
        mender.look_after(current);
    }
    on_open(current, |shared| {
        note(shared);
        shared.guard.clock.keep(&shared.dir);
    });
}

/// Nothing is to be done to a log that is being opened again.
fn on_open(current: &Current, work: impl FnOnce(&Shared)) {
    if let Ok(shared) = current.get() {
        work(&shared);
    }
}

fn look_after(shared: &Shared) {
    let reached = shared.guard.clock.retention_time();
    if let Err(error) = shared.enforce_retention(reached) {
        tracing::warn!(event = "log.retention_failed", %error, "could not remove old records of the log; retrying in five minutes");
    }
    shared.guard.clock.keep(&shared.dir);
}

/// A log that cannot say how far it came takes nothing more.
fn note(shared: &Shared) {
    if let Err(error) = shared.note_ends() {
        shared.fail(format!("cannot write the acknowledged ends: {error}"));
    }
}
