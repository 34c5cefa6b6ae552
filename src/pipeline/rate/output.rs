//! What a rated chunk gives: posting blocks, rejects, forwarded records and usage rows. Pure, and
//! the last step before [`publish`](super::publish).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Rater;
use super::archived::ArchivedChunk;
use super::candidate::Reject;
use super::chunk::ChunkState;
use super::fold::Postings;
use crate::domain::event::AHEAD_MS_MAX;
use crate::domain::position::{Chunk, Partition, Sequence};
use crate::domain::time::Millis;
use crate::log::posting::{BlockHeader, encode_blocks};
use crate::log::{Fingerprint, NewRecord, Record, Topic, rejected};
use crate::store::db::Item;

/// What a chunk gives, ready to be published.
pub(in crate::pipeline) struct Output {
    /// Posting blocks, by posting partition.
    pub(in crate::pipeline) blocks: Vec<(Partition, Vec<Bytes>)>,
    /// The time of the newest event.
    pub(super) newest: Option<Millis>,
    /// Rejects and forwarded records.
    pub(in crate::pipeline) others: Vec<(Topic, Partition, Vec<NewRecord>)>,
    /// Usage rows.
    pub(in crate::pipeline) rows: Vec<Item>,
    /// The time of the oldest event whose usage row was looked up; `None`: none was.
    pub(in crate::pipeline) oldest_lookup: Option<Millis>,
    /// Rows for the archive, if the rater gathers them.
    pub(in crate::pipeline) archived: Option<ArchivedChunk>,
    /// What holds once all of it is published.
    pub(in crate::pipeline) after: super::After,
}

impl Rater<'_> {
    /// What the chunk, whose records these are, gives.
    pub(super) fn output(&mut self, chunk: ChunkState<'_>, records: &[Record]) -> Output {
        let intake = chunk.intake;
        let postings = chunk.fold.postings(self.checkpoint.posting_partitions);
        // A completion may change no amount, and still writes a row: a chunk with rows sends a
        // block, since `recover` knows chunks by their blocks.
        let is_silent = !chunk.items.is_empty() && postings.is_empty();
        let everywhere = intake.ticks > 0 || is_silent;
        let (blocks, sequences) = self.blocks(&postings, everywhere);
        self.room = postings.into_room();
        let others = self.rejects(&intake.rejects).into_iter();
        Output {
            newest: chunk.tally.newest,
            blocks,
            others: others.chain(forwards(&intake.forwards)).collect(),
            rows: chunk.items,
            oldest_lookup: chunk.oldest_lookup,
            archived: chunk.archived,
            after: super::After {
                log_time: intake.log_time,
                latest_event: self.latest_event(intake.latest_event),
                sequences,
                fingerprint: records.last().map(Fingerprint::of),
            },
        }
    }

    /// The latest event up to and with the chunk, of which `in_chunk` is the latest. What is not
    /// known of before is as late as bounds allow.
    fn latest_event(&self, in_chunk: Option<Millis>) -> Option<Millis> {
        let is_first = self.checkpoint.chunk == Chunk(1);
        let before = match self.checkpoint.latest_event {
            None if !is_first => Some(self.checkpoint.log_time.plus(AHEAD_MS_MAX)),
            known => known,
        };
        before.max(in_chunk)
    }

    /// The posting blocks of the chunk, by posting partition, and the sequences after them. With a
    /// tick every posting partition gets one, empty if need be: it carries the source log time, by
    /// which months become final.
    fn blocks(
        &self,
        postings: &Postings,
        everywhere: bool,
    ) -> (Vec<(Partition, Vec<Bytes>)>, Vec<Sequence>) {
        let header = BlockHeader {
            epoch: self.checkpoint.epoch,
            source: self.partition,
            chunk: self.checkpoint.chunk,
            control: self.checkpoint.control,
            source_log_time: self.checkpoint.log_time,
        };
        let mut sequences = self.checkpoint.sequences.clone();
        let mut blocks = Vec::new();
        for (q, sequence) in (0..).map(Partition).zip(&mut sequences) {
            let entries = postings.entries(q);
            if entries.len() == 0 && !everywhere {
                continue;
            }
            let encoded = encode_blocks(&header, entries, Sequence(sequence.0 + 1));
            sequence.0 += encoded.len() as u64;
            blocks.push((q, encoded));
        }
        (blocks, sequences)
    }

    fn rejects(&self, rejects: &[Reject<'_>]) -> Option<(Topic, Partition, Vec<NewRecord>)> {
        let encode = |reject: &Reject<'_>| {
            rejected::encode(
                reject.record,
                self.checkpoint.epoch,
                self.partition,
                reject.log_time,
                &reject.rejection,
            )
        };
        let records: Vec<NewRecord> = rejects.iter().map(encode).collect();
        let partition = Partition(self.partition.0 % self.rejected_partitions);
        (!records.is_empty()).then_some((Topic::UsageRejected, partition, records))
    }
}

fn forwards(forwards: &[(Partition, &Record)]) -> Vec<(Topic, Partition, Vec<NewRecord>)> {
    let mut by_partition: BTreeMap<Partition, Vec<NewRecord>> = BTreeMap::new();
    for (partition, record) in forwards {
        let unchanged = NewRecord {
            key: record.key.clone(),
            value: record.value.clone(),
            headers: record.headers.clone(),
        };
        by_partition.entry(*partition).or_default().push(unchanged);
    }
    by_partition
        .into_iter()
        .map(|(partition, records)| (Topic::UsageEvents, partition, records))
        .collect()
}
