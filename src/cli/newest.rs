//! A partition's records from where they are wanted: from an offset, since a time, or the newest
//! ones, on whatever log there is.

use std::collections::VecDeque;

use futures::future::try_join_all;

use super::args::NewestArgs;
use super::output::Done;
use super::session::Session;
use crate::domain::position::{Offset, Partition};
use crate::domain::time::{MINUTE_MS, Millis};
use crate::log::{Bounds, MUST_BE_THERE, ReadLimit, Record, Topic};

/// How much is read at a time.
const LIMIT: ReadLimit = ReadLimit {
    records: 1_000,
    bytes: 4 * 1024 * 1024,
};
/// Log time may step back from record to record, if the clock of a broker does. So much earlier is
/// begun to read; what is too old is passed over.
const CLOCK_STEP_MS_MAX: i64 = 10 * MINUTE_MS;
/// Most offsets by which reading steps back for the newest records at a time.
const STEP_BACK_MAX: u64 = 10_000;
/// The least: fewer are read as quickly.
const STEP_BACK_MIN: u64 = 100;

/// Reads one partition up to where it ended when the reader was opened.
pub struct Reader<'a> {
    session: &'a Session,
    topic: Topic,
    /// Which one.
    pub partition: Partition,
    next: Offset,
    end: Offset,
    since: Option<Millis>,
}

impl<'a> Reader<'a> {
    /// One for each of these partitions, in order. A log elsewhere takes its time for each look; so
    /// they are opened at once.
    pub async fn open_all(
        session: &'a Session,
        topic: Topic,
        partitions: &[Partition],
        from: Offset,
        since: Option<Millis>,
    ) -> Done<Vec<Reader<'a>>> {
        let open = |partition: &Partition| Reader::open(session, (topic, *partition), from, since);
        try_join_all(partitions.iter().map(open)).await
    }

    /// Opens it at an offset, or later where the first record stands that was taken since then.
    async fn open(
        session: &'a Session,
        (topic, partition): (Topic, Partition),
        from: Offset,
        since: Option<Millis>,
    ) -> Done<Reader<'a>> {
        let Bounds { start, end } = session.log.bounds(topic, partition).await?;
        let mut reader = Reader {
            session,
            topic,
            partition,
            next: start.max(from),
            end,
            since,
        };
        if let Some(since) = since {
            reader.next = reader.search(since.plus(-CLOCK_STEP_MS_MAX)).await?;
        }
        Ok(reader)
    }

    /// The first offset of a record that was taken at `at` or later, if log time never stepped
    /// back.
    async fn search(&self, at: Millis) -> Done<Offset> {
        let (mut low, mut high) = (self.next, self.end);
        while low < high {
            let middle = Offset(low.0 + (high.0 - low.0) / 2);
            let read = self.read(middle, ReadLimit::ONE).await?;
            match read.first() {
                Some(record) if record.append_time < at => low = record.offset.next(),
                // Nothing from the middle on, or something newer: whatever is wanted first stands
                // before it.
                _ => high = middle,
            }
        }
        Ok(low)
    }

    async fn read(&self, from: Offset, limit: ReadLimit) -> Done<Vec<Record>> {
        let log = &self.session.log;
        let read = log.read(self.topic, self.partition, from, limit, MUST_BE_THERE);
        let mut records = read.await?;
        records.retain(|record| record.offset < self.end);
        Ok(records)
    }

    /// The next records that are wanted; `None` at the end.
    pub async fn next(&mut self) -> Done<Option<Vec<Record>>> {
        while self.next < self.end {
            let mut records = self.read(self.next, LIMIT).await?;
            let Some(last) = records.last() else {
                return Ok(None);
            };
            self.next = last.offset.next();
            let since = self.since.unwrap_or(Millis(i64::MIN));
            records.retain(|record| record.append_time >= since);
            if !records.is_empty() {
                return Ok(Some(records));
            }
        }
        Ok(None)
    }

    /// The newest `count` of the records that are left and that `pick` makes something of; oldest
    /// first.
    async fn newest<T>(
        mut self,
        count: usize,
        pick: &impl Fn(Partition, Record) -> Done<Option<T>>,
    ) -> Done<VecDeque<(Millis, T)>> {
        let (floor, mut until) = (self.next, self.end);
        let mut found = VecDeque::new();
        let mut step = (count as u64).clamp(STEP_BACK_MIN, STEP_BACK_MAX);
        while until > floor && found.len() < count {
            self.next = floor.max(Offset(until.0.saturating_sub(step)));
            self.end = until;
            until = self.next;
            let mut earlier = VecDeque::new();
            while let Some(records) = self.next().await? {
                for record in records {
                    let at = record.append_time;
                    earlier.extend(pick(self.partition, record)?.map(|picked| (at, picked)));
                }
            }
            earlier.append(&mut found);
            found = earlier;
            step = (step * 2).min(STEP_BACK_MAX);
        }
        found.drain(..found.len().saturating_sub(count));
        Ok(found)
    }
}

/// The newest `count` of what `pick` makes of the records of these partitions, in log order: by log
/// time, and within a partition as they stand.
pub async fn newest<T>(
    session: &Session,
    topic: Topic,
    partitions: &[Partition],
    (from, count, since): (Offset, u64, Option<Millis>),
    pick: impl Fn(Partition, Record) -> Done<Option<T>>,
) -> Done<Vec<T>> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut all = Vec::new();
    for reader in Reader::open_all(session, topic, partitions, from, since).await? {
        let mut reached = Millis(i64::MIN);
        for (at, picked) in reader.newest(count, &pick).await? {
            // Log time that steps back must not put a record before its predecessor.
            reached = reached.max(at);
            all.push((reached, picked));
        }
        // Stable: what has the same time stays in the order of partitions.
        all.sort_by_key(|(at, _)| *at);
        all.drain(..all.len().saturating_sub(count));
    }
    Ok(all.into_iter().map(|(_, picked)| picked).collect())
}

impl NewestArgs {
    /// From where, how many and since when, if the newest are wanted.
    pub fn wanted(&self, from: Offset) -> Option<(Offset, u64, Option<Millis>)> {
        self.last.map(|count| (from, count, self.since))
    }
}
