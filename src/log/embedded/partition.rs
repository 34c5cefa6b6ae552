//! One partition: what it holds, and reading it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use fjall::{AbstractTree, Keyspace, Slice};
use tokio::sync::watch;

use super::record;
use crate::domain::position::{Offset, Partition};
use crate::domain::time::Millis;
use crate::log::{Bounds, LogError, ReadLimit, Record, Topic};

/// How many records in a row retention looks past that cannot be read.
const LOOKED_PAST_MAX: u64 = 10_000;
/// How many damaged records of a partition are remembered, so that each is reported once.
const REPORTED_MAX: usize = 1_000;

/// Passes of retention until the space of what it removed is free: what was in memory is made a
/// table, that is dropped, and it is deleted.
const FREE_PASSES: u8 = 3;

/// One partition.
pub(super) struct PartitionLog {
    topic: Topic,
    partition: Partition,
    keyspace: Keyspace,
    start: AtomicU64,
    /// The offset after the last durable record; readers wait on it.
    end: watch::Sender<u64>,
    /// Why all of it halts, once it does. Only opening the log anew clears it.
    damage: OnceLock<String>,
    /// Single records that cannot be read and have been reported.
    reported: Mutex<BTreeSet<Offset>>,
    /// How many more passes of retention free space, since the start moved.
    passes_owed: AtomicU8,
}

impl PartitionLog {
    pub(super) fn new(
        topic: Topic,
        partition: Partition,
        keyspace: Keyspace,
        bounds: Bounds,
    ) -> PartitionLog {
        PartitionLog {
            topic,
            partition,
            keyspace,
            start: AtomicU64::new(bounds.start.0),
            end: watch::Sender::new(bounds.end.0),
            damage: OnceLock::new(),
            reported: Mutex::new(BTreeSet::new()),
            passes_owed: AtomicU8::new(0),
        }
    }

    pub(super) const fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// What it holds, damaged or not.
    pub(super) fn extent(&self) -> Bounds {
        let end = *self.end.borrow();
        Bounds {
            start: Offset(self.start.load(Ordering::Acquire)),
            end: Offset(end),
        }
    }

    /// What it holds, unless it is damaged.
    pub(super) fn bounds(&self) -> Result<Bounds, LogError> {
        match self.damage.get() {
            None => Ok(self.extent()),
            Some(what) => Err(self.damaged(what.clone())),
        }
    }

    /// Halts the partition if it holds less than was acknowledged.
    pub(super) fn must_reach(&self, acknowledged: Offset) {
        let end = self.extent().end;
        if end < acknowledged && self.damage().is_none() {
            let lost = acknowledged.0 - end.0;
            self.halt(format!("it ends at {end}, but everything before {acknowledged} was acknowledged; {lost} records are lost"));
        }
    }

    /// Fails unless `from` is within the bounds or right behind them.
    pub(super) fn check_range(&self, from: Offset) -> Result<Bounds, LogError> {
        let bounds = self.bounds()?;
        if from < bounds.start || from > bounds.end {
            return Err(self.out_of_range(from, bounds));
        }
        Ok(bounds)
    }

    pub(super) fn ends(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// Makes everything before `end` readable: it is durable.
    pub(super) fn publish(&self, end: u64) {
        self.end.send_replace(end);
    }

    /// Why it halts, if it does.
    pub(super) fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }

    /// One record cannot be read. That is an error to whoever needs it; all other records can still
    /// be read, and new ones appended.
    fn record_damaged(&self, offset: Offset, what: String) -> LogError {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() < REPORTED_MAX && reported.insert(offset) {
            tracing::error!(event = "log.record_damaged", topic = %self.topic, partition = self.partition.0, %offset, damage = what, "a record of the log cannot be read; what needs it halts, all other records can be read");
        }
        self.damaged(what)
    }

    /// Halts the partition.
    pub(super) fn halt(&self, what: String) -> LogError {
        if self.damage.set(what.clone()).is_ok() {
            tracing::error!(event = "log.damaged", topic = %self.topic, partition = self.partition.0, damage = what, "a partition of the log is damaged and halts");
        }
        self.damaged(what)
    }

    /// Halts the partition if the error is damage.
    fn halt_for(&self, error: LogError) -> LogError {
        match error {
            LogError::Damaged { what, .. } => self.halt(what),
            error => error,
        }
    }

    fn damaged(&self, what: String) -> LogError {
        LogError::Damaged {
            topic: self.topic,
            partition: self.partition,
            what,
        }
    }

    fn out_of_range(&self, wanted: Offset, bounds: Bounds) -> LogError {
        LogError::OutOfRange {
            topic: self.topic,
            partition: self.partition,
            wanted,
            start: bounds.start,
            end: bounds.end,
        }
    }

    /// Reads records from `from` on, as many as `limit` allows. Blocks on the disk.
    pub(super) fn scan(&self, from: Offset, limit: ReadLimit) -> Result<Vec<Record>, LogError> {
        let end = self.check_range(from)?.end;
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut next = from;
        for item in self
            .keyspace
            .range(from.0.to_be_bytes()..end.0.to_be_bytes())
        {
            let record = match self.verified(next, item.into_inner()) {
                Ok(record) => record,
                // What came before is good; the next read begins at the bad one, and says so.
                Err(_) if !records.is_empty() => return Ok(records),
                Err(error) => return Err(error),
            };
            bytes += record.size();
            if bytes > limit.bytes && !records.is_empty() {
                return Ok(records);
            }
            records.push(record);
            next = next.next();
            if records.len() >= limit.records {
                return Ok(records);
            }
        }
        if next < end && records.is_empty() {
            return Err(self.missing(next));
        }
        Ok(records)
    }

    /// The record at `expected`, if that is what was found.
    fn verified(
        &self,
        expected: Offset,
        found: fjall::Result<(Slice, Slice)>,
    ) -> Result<Record, LogError> {
        let (key, stored) = found.map_err(|error| self.storage_error(expected, &error))?;
        if *key != expected.0.to_be_bytes() {
            return Err(self.missing(expected));
        }
        let stored = Bytes::from(stored);
        record::decode(expected, &stored).map_err(|error| {
            self.record_damaged(
                expected,
                format!("record {expected} is unreadable: {error}"),
            )
        })
    }

    /// A record that should be there is not: retention took it meanwhile, or it was lost.
    fn missing(&self, offset: Offset) -> LogError {
        let bounds = self.extent();
        if offset < bounds.start {
            return self.out_of_range(offset, bounds);
        }
        let what = format!(
            "record {offset} is missing, although [{}, {}) is acknowledged",
            bounds.start, bounds.end
        );
        self.record_damaged(offset, what)
    }

    fn storage_error(&self, offset: Offset, error: &fjall::Error) -> LogError {
        if is_damage(error) {
            let what = format!("record {offset} cannot be read: {error}");
            return self.record_damaged(offset, what);
        }
        LogError::Unavailable(format!(
            "reading {}/{} at {offset}: {error}",
            self.topic, self.partition
        ))
    }

    /// When the log took the record at `offset`.
    fn append_time(&self, offset: u64) -> Result<Millis, LogError> {
        let stored = self.keyspace.get(offset.to_be_bytes());
        let stored = stored.map_err(|error| self.storage_error(Offset(offset), &error))?;
        let stored = stored.ok_or_else(|| self.missing(Offset(offset)))?;
        let key = Slice::from(offset.to_be_bytes());
        self.verified(Offset(offset), Ok((key, stored)))
            .map(|record| record.append_time)
    }

    /// The time of the newest record, if there is one and it can be read.
    pub(super) fn newest(&self) -> Option<Millis> {
        let bounds = self.bounds().ok()?;
        let last = bounds.end.0.checked_sub(1)?;
        (last >= bounds.start.0).then(|| self.append_time(last).ok())?
    }

    /// The first record in `[from, to)` that can be read, and when the log took it.
    fn next_append_time(&self, from: u64, to: u64) -> Result<Option<(u64, Millis)>, LogError> {
        for offset in from..to.min(from.saturating_add(LOOKED_PAST_MAX)) {
            match self.append_time(offset) {
                Ok(time) => return Ok(Some((offset, time))),
                Err(LogError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The first offset to keep if everything taken before `cutoff` may go: the newest record
    /// always stays, so that a checkpoint's fingerprint can be checked. Found by halving, as append
    /// times ascend but for small steps back. A record that cannot be read is as old as the next
    /// one that can.
    fn first_kept(&self, cutoff: Millis) -> Result<Offset, LogError> {
        let bounds = self.bounds()?;
        let (mut low, mut high) = (bounds.start.0, bounds.end.0.saturating_sub(1));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.next_append_time(middle, high)? {
                Some((offset, time)) if time < cutoff => low = offset + 1,
                _ => high = middle,
            }
        }
        Ok(Offset(low))
    }

    /// Begins the partition at the first record to keep; returns how many are gone. Their space is
    /// freed later.
    pub(super) fn shorten(&self, cutoff: Millis) -> Result<u64, LogError> {
        let before = self.extent().start;
        let start = self.first_kept(cutoff)?;
        if start > before {
            self.start.store(start.0, Ordering::Release);
            self.passes_owed.store(FREE_PASSES, Ordering::Release);
        }
        Ok(start.0.saturating_sub(before.0))
    }

    /// Gives back the disk space of what lies before the start: whole tables, at once. What shares
    /// a table with younger records stays until they are old too, unseen.
    ///
    /// The engine deletes dropped tables only when it has written others since, and what was still
    /// in memory becomes a table only now, to be dropped in turn. So this is done in several
    /// passes.
    pub(super) fn free_space(&self) -> Result<(), LogError> {
        let owed = self.passes_owed.load(Ordering::Acquire);
        if owed == 0 || self.damage().is_some() {
            return Ok(());
        }
        let start = self.extent().start;
        let dropped = self.keyspace.tree.drop_range(..start.0.to_be_bytes());
        let rotated = dropped
            .map_err(fjall::Error::from)
            .and_then(|()| self.keyspace.rotate_memtable());
        rotated.map_err(|error| self.storage_error(start, &error))?;
        self.passes_owed.store(owed - 1, Ordering::Release);
        Ok(())
    }

    /// Looks at every key for holes, and halts the partition if there is one, without reading
    /// values where that can be avoided.
    pub(super) fn check_complete(&self) -> Result<(), LogError> {
        let bounds = self.extent();
        let mut next = bounds.start;
        for item in self.keyspace.range(bounds.start.0.to_be_bytes()..) {
            let key = item.key().map_err(|error| {
                let error = self.storage_error(next, &error);
                self.halt_for(error)
            })?;
            if *key != next.0.to_be_bytes() {
                return Err(self.halt_for(self.missing(next)));
            }
            next = next.next();
        }
        Ok(())
    }
}

/// What the storage engine holds of a partition: the offset after the last record, if there is any.
pub(super) fn stored_end(keyspace: &Keyspace) -> fjall::Result<Option<u64>> {
    let Some(last) = keyspace.last_key_value() else {
        return Ok(None);
    };
    let key = last.key()?;
    let offset: Option<[u8; 8]> = key.as_ref().try_into().ok();
    Ok(offset.map(|bytes| u64::from_be_bytes(bytes) + 1))
}

/// True when the bytes on disk are wrong; false when the disk did not answer.
pub(super) fn is_damage(error: &fjall::Error) -> bool {
    use std::io::ErrorKind;
    match error {
        fjall::Error::Io(e) | fjall::Error::Storage(fjall::LsmError::Io(e)) => matches!(
            e.kind(),
            ErrorKind::UnexpectedEof
                | ErrorKind::InvalidData
                | ErrorKind::NotFound
                | ErrorKind::InvalidInput
                | ErrorKind::AlreadyExists
        ),
        fjall::Error::Poisoned | fjall::Error::Locked => false,
        _ => true,
    }
}
