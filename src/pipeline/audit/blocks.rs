//! What `ledger.postings` holds, for the audits of one process. One cursor per posting partition
//! reads forward and notes each block for the source partition that sent it; whoever waits for a
//! block moves the cursor. So each posting partition is read once, however many source partitions
//! are audited.
//!
//! Memory is bounded: a note is some 50 bytes, not the block, and a cursor keeps [`NOTES_MAX`] of
//! them. Beyond that the later half of the longest list is dropped, and the cursor goes back for it
//! when its audit asks. Blocks are compared by hashes of 128 bits; one that differs is read again.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::domain::position::{Chunk, Epoch, Offset, Partition, Sequence};
use crate::log::varint::FormatError;
use crate::log::{LogError, ReadLimit, Record, Topic, posting};
use crate::pipeline::failure::Failure;
use crate::pipeline::{WorkerContext, recorded_cut};

/// Notes of one posting partition.
const NOTES_MAX: usize = 65_536;
/// How much is read at a time.
const READ: ReadLimit = ReadLimit {
    records: 1_024,
    bytes: 4 << 20,
};
/// How long a read waits for a first block while others may want the cursor.
const READ_WAIT: Duration = Duration::from_millis(20);

/// A hash of a block's bytes, by which it is compared.
pub(super) fn hash(block: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(block)
}

/// A block in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockNote {
    /// Where it stands.
    pub(super) offset: Offset,
    pub(super) chunk: Chunk,
    pub(super) sequence: Sequence,
    /// Of its recorded cut; `None`: an older tidemark wrote it.
    pub(super) cut: Option<NonZeroU64>,
    pub(super) hash: u128,
}

const _: () = assert!(size_of::<BlockNote>() == 48);

/// The blocks of one source partition in a posting partition that nobody has taken yet.
#[derive(Debug, Default)]
struct SourceNotes {
    notes: VecDeque<BlockNote>,
    /// The last sequence that was noted. Lower ones are copies.
    last: Sequence,
    /// The first block that was dropped for lack of room.
    dropped_from: Option<Offset>,
}

impl SourceNotes {
    /// Takes the next block. The first of a sequence counts, as in posting.
    fn note(&mut self, note: BlockNote) -> bool {
        if self.dropped_from.is_some() || note.sequence <= self.last {
            return false;
        }
        self.last = note.sequence;
        self.notes.push_back(note);
        true
    }

    /// Drops the later half; how many that are.
    fn drop_half(&mut self) -> usize {
        let kept = self.notes.len() / 2;
        let dropped = self.notes.split_off(kept);
        if let Some(first) = dropped.front() {
            self.dropped_from = Some(first.offset);
            self.last = Sequence(first.sequence.0 - 1);
        }
        dropped.len()
    }
}

/// One posting partition.
#[derive(Debug, Default)]
struct Cursor {
    next: Offset,
    sources: BTreeMap<Partition, SourceNotes>,
    held: usize,
    /// The last block in a format that this program does not read.
    other_version: Option<Offset>,
}

impl Cursor {
    fn begin(&mut self, source: Partition, from: Offset, after: Sequence) {
        self.end(source);
        self.next = match self.sources.is_empty() {
            true => from,
            false => self.next.min(from),
        };
        let notes = SourceNotes {
            last: after,
            ..SourceNotes::default()
        };
        self.sources.insert(source, notes);
    }

    fn end(&mut self, source: Partition) {
        let before = self.sources.remove(&source);
        self.held -= before.map_or(0, |before| before.notes.len());
    }

    /// Notes blocks that were read.
    fn take(&mut self, epoch: Epoch, records: &[Record], notes_max: usize) {
        for record in records {
            self.next = record.offset.next();
            let (header, sequence) = match posting::peek(&record.value) {
                Ok(peeked) => peeked,
                Err(error) => {
                    // One that cannot be read is missing, as it is to posting.
                    if matches!(error, FormatError::Version { .. }) {
                        self.other_version = Some(record.offset);
                    }
                    continue;
                }
            };
            let Some(source) = self.sources.get_mut(&header.source) else {
                continue;
            };
            let note = BlockNote {
                offset: record.offset,
                chunk: header.chunk,
                sequence,
                cut: recorded_cut::hash_of_record(record).and_then(NonZeroU64::new),
                hash: hash(&record.value),
            };
            if header.epoch == epoch && source.note(note) {
                self.held += 1;
            }
        }
        while self.held > notes_max
            && let Some(longest) = self.sources.values_mut().max_by_key(|of| of.notes.len())
        {
            self.held -= longest.drop_half();
        }
    }

    /// The next block of a source partition, if it was noted. Goes back for it if it was dropped.
    fn first(&mut self, source: Partition) -> Option<BlockNote> {
        let of = self.sources.get_mut(&source)?;
        if of.notes.is_empty()
            && let Some(dropped) = of.dropped_from.take()
        {
            self.next = self.next.min(dropped);
        }
        of.notes.front().copied()
    }

    fn drop_first(&mut self, source: Partition) {
        let of = self.sources.get_mut(&source);
        if of.is_some_and(|of| of.notes.pop_front().is_some()) {
            self.held -= 1;
        }
    }
}

type SharedCursor = Arc<tokio::sync::Mutex<Cursor>>;

/// The cursors of one process.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct BlockReaders(Mutex<BTreeMap<Partition, SharedCursor>>);

impl BlockReaders {
    fn cursor(&self, posting: Partition) -> SharedCursor {
        // A panic elsewhere does not make the map wrong.
        let mut cursors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cursors.entry(posting).or_default().clone()
    }

    /// Blocks of a source partition are wanted that come after `after`; none of them stands before
    /// `from`.
    pub(super) async fn begin(
        &self,
        (posting, source): (Partition, Partition),
        from: Offset,
        after: Sequence,
    ) {
        let cursor = self.cursor(posting);
        cursor.lock().await.begin(source, from, after);
    }

    /// No more blocks of a source partition are wanted. Without this they are noted, within the
    /// bound, until the process ends.
    pub(super) async fn end(&self, (posting, source): (Partition, Partition)) {
        self.cursor(posting).lock().await.end(source);
    }

    /// The next block of a source partition, which stays the next one. `None`: there is none before
    /// the returned offset.
    pub(super) async fn next(
        &self,
        ctx: &WorkerContext,
        (posting, source): (Partition, Partition),
    ) -> Result<(Option<BlockNote>, Offset), Failure> {
        let cursor = self.cursor(posting);
        let mut cursor = cursor.lock().await;
        if let Some(found) = cursor.first(source) {
            return Ok((Some(found), cursor.next));
        }
        let (topic, from) = (Topic::LedgerPostings, cursor.next);
        match ctx.log.read(topic, posting, from, READ, READ_WAIT).await {
            Ok(records) => cursor.take(ctx.log.epoch(), &records, NOTES_MAX),
            // Retention has overtaken the audit: what is gone will be missed by who wants it.
            Err(LogError::OutOfRange { start, .. }) if start > from => cursor.next = start,
            Err(error) => return Err(error.into()),
        }
        Ok((cursor.first(source), cursor.next))
    }

    /// The last block of a posting partition, as far as it was read, that is in a format that this
    /// program does not read. It may be of any source partition.
    pub(super) async fn other_version(&self, posting: Partition) -> Option<Offset> {
        self.cursor(posting).lock().await.other_version
    }

    /// The next block of a source partition was dealt with.
    pub(super) async fn drop_first(&self, (posting, source): (Partition, Partition)) {
        self.cursor(posting).lock().await.drop_first(source);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::position::Control;
    use crate::domain::posting::Block;
    use crate::domain::time::Millis;

    const EPOCH: Epoch = Epoch(1);

    fn record(offset: u64, source: u32, sequence: u64) -> Record {
        let block = Block {
            epoch: EPOCH,
            source: Partition(source),
            chunk: Chunk(sequence),
            sequence: Sequence(sequence),
            control: Control(1),
            source_log_time: Millis(0),
            entries: Vec::new(),
        };
        Record {
            offset: Offset(offset),
            append_time: Millis(0),
            key: None,
            value: posting::encode(&block),
            headers: Vec::new(),
        }
    }

    proptest! {
        /// However little room there is, each source gets each of its blocks once and in order.
        #[test]
        fn no_block_is_lost_for_lack_of_room(
            senders in proptest::collection::vec(0..3_u32, 1..60),
            asked in proptest::collection::vec(0..3_u32, 1..200),
            notes_max in 1..8_usize,
            batch in 1..10_usize,
        ) {
            let mut sent = [0_u64; 3];
            let records: Vec<Record> = (0..).zip(&senders).map(|(offset, source)| {
                sent[*source as usize] += 1;
                record(offset, *source, sent[*source as usize])
            }).collect();
            let mut cursor = Cursor::default();
            for source in 0..3 {
                cursor.begin(Partition(source), Offset(0), Sequence(0));
            }
            let mut taken = [0_u64; 3];
            let everybody = (0..3_000).map(|n| n % 3);
            for source in asked.into_iter().chain(everybody) {
                let of = Partition(source);
                if cursor.first(of).is_none() {
                    let from = cursor.next.0 as usize;
                    let to = (from + batch).min(records.len());
                    cursor.take(EPOCH, &records[from..to], notes_max);
                    prop_assert!(cursor.held <= notes_max);
                }
                if let Some(found) = cursor.first(of) {
                    taken[source as usize] += 1;
                    prop_assert_eq!(found.sequence, Sequence(taken[source as usize]));
                    cursor.drop_first(of);
                }
            }
            prop_assert_eq!(taken, sent);
        }
    }
}
