//! What becomes of one source partition: decided from its stored checkpoint and from the posting
//! blocks in the log. Pure.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

use super::Refusal;
use crate::domain::position::{Chunk, Control, Offset, Partition, Sequence};
use crate::domain::semantics::Semantics;
use crate::log::posting::BlockHeader;
use crate::pipeline::recorded_cut::LoggedChunk;
use crate::store::checkpoints::{PostCheckpoint, RateCheckpoint, UsageRows};

/// A posting block in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedBlock {
    /// Where it stands.
    pub offset: Offset,
    /// Its header.
    pub header: BlockHeader,
    /// Its place in the sequence.
    pub sequence: Sequence,
    /// A hash of its bytes.
    pub hash: u64,
    /// Its chunk; `None` if an older tidemark wrote it.
    pub chunk: Option<LoggedChunk>,
}

/// What the log holds of one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkBlocks {
    /// The control position with which it was rated.
    pub control: Control,
    /// Its cut, as its blocks have it.
    pub logged: Option<LoggedChunk>,
    /// Where its blocks stand and what they are, by posting partition and sequence.
    pub blocks: BTreeMap<(Partition, Sequence), (Offset, u64)>,
}

/// What the log holds of one source partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceBlocks {
    /// Its chunks, as far as blocks of them were found.
    pub chunks: BTreeMap<Chunk, ChunkBlocks>,
    /// The last sequence that was sent to each posting partition, or accepted by it.
    pub last: BTreeMap<Partition, Sequence>,
    /// What each posting partition has accepted where it takes blocks again.
    accepted: BTreeMap<Partition, Sequence>,
    /// What it has accepted by its stored checkpoint, which may be newer.
    posted: BTreeMap<Partition, Sequence>,
}

/// What the log holds, by source partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoggedBlocks(pub BTreeMap<Partition, SourceBlocks>);

impl LoggedBlocks {
    /// What a posting partition has accepted: by its stored checkpoint, and by the one from which
    /// it takes blocks again.
    pub fn accepted(&mut self, q: Partition, stored: &PostCheckpoint, from: &PostCheckpoint) {
        for (source, state) in &stored.sources {
            let blocks = self.0.entry(Partition(*source)).or_default();
            blocks.posted.insert(q, state.sequence);
        }
        for (source, state) in &from.sources {
            let blocks = self.0.entry(Partition(*source)).or_default();
            blocks.last.insert(q, state.sequence);
            blocks.accepted.insert(q, state.sequence);
        }
    }

    /// Takes the next block of a posting partition.
    pub fn take(&mut self, q: Partition, block: LoggedBlock) -> Result<(), Refusal> {
        let LoggedBlock {
            header, sequence, ..
        } = block;
        let source = self.0.entry(header.source).or_default();
        let last = source.last.entry(q).or_default();
        if sequence.0 > last.0 + 1 {
            return Err(Refusal::SequenceGap {
                posting: q,
                from: header.source,
                expected: Sequence(last.0 + 1),
                found: sequence,
                offset: block.offset,
            });
        }
        *last = (*last).max(sequence);
        let new = || ChunkBlocks {
            control: header.control,
            logged: None,
            blocks: BTreeMap::new(),
        };
        let chunk = source.chunks.entry(header.chunk).or_insert_with(new);
        if let Some(logged) = block.chunk {
            chunk.logged.get_or_insert(logged);
        }
        // A block that was sent again is the same one.
        let place = (block.offset, block.hash);
        chunk.blocks.entry((q, sequence)).or_insert(place);
        Ok(())
    }

    /// What the log holds of a source partition.
    pub fn of(&self, source: Partition) -> SourceBlocks {
        self.0.get(&source).cloned().unwrap_or_default()
    }
}

impl SourceBlocks {
    /// Leaves the chunks that have to be rated again. `known` is the chunk of the stored
    /// checkpoint, `start` where the usage topic begins.
    ///
    /// A checkpoint that is missing was lost by itself: usage rows are as new as ever. The newest
    /// chunk of which posting has every block tells where rating stood, and if its usage events
    /// have expired, the one after it does.
    pub fn narrow(
        &mut self,
        source: Partition,
        known: Option<Chunk>,
        start: Offset,
    ) -> Result<(), Refusal> {
        match known {
            Some(known) => {
                let accepted = &self.accepted;
                self.chunks.retain(|chunk, found| {
                    *chunk >= known || !(found.begins_before(start) || found.is_in(accepted))
                });
            }
            None => self.forget_accepted(start),
        }
        let mut needed = self.chunks.range(known.unwrap_or_default()..);
        match needed.next() {
            Some((chunk, found)) if found.begins_before(start) => Err(Refusal::EventsExpired {
                from: source,
                chunk: *chunk,
                start,
            }),
            _ => Ok(()),
        }
    }

    fn forget_accepted(&mut self, start: Offset) {
        let mut newest_first = self.chunks.iter().rev();
        let newest = newest_first.find(|(_, found)| found.is_in(&self.posted));
        let Some(newest) = newest.map(|(chunk, _)| *chunk) else {
            return;
        };
        self.chunks = self.chunks.split_off(&newest);
        let is_expired = self.chunks[&newest].begins_before(start);
        if is_expired && self.chunks.len() > 1 {
            self.chunks.remove(&newest);
        }
    }
}

impl ChunkBlocks {
    /// Whether usage events of it have expired.
    fn begins_before(&self, start: Offset) -> bool {
        let logged = self.logged.as_ref();
        logged.is_some_and(|logged| logged.cut.from < start)
    }

    /// Whether every block of it is among what was accepted.
    fn is_in(&self, accepted: &BTreeMap<Partition, Sequence>) -> bool {
        let of = |q| accepted.get(&q).copied().unwrap_or_default();
        let all = |logged: &LoggedChunk| {
            let mut sent = (0..).map(Partition).zip(&logged.end.sequences);
            sent.all(|(q, sent)| *sent <= of(q))
        };
        self.logged.as_ref().is_some_and(all)
    }
}

/// A chunk that was rated before the tables went back, and is rated again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Its recorded cut.
    pub cut: RateCheckpoint,
    /// The last sequences that were sent once it was done; `None`: no block says so.
    pub sent: Option<Vec<Sequence>>,
    /// Where its blocks stand and what they are, by posting partition and sequence.
    pub blocks: BTreeMap<(Partition, Sequence), (Offset, u64)>,
}

/// What becomes of a source partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The log knows no chunk beyond the stored checkpoint, which stays. Usage rows may be older:
    /// those of these chunks are written again.
    Keep {
        /// The chunks, oldest first.
        chunks: Vec<Repeat>,
    },
    /// These chunks are rated again, oldest first; the last of them is finished, and the checkpoint
    /// put behind it.
    RollForward {
        /// The chunks.
        chunks: Vec<Repeat>,
    },
}

/// Decides what becomes of a source partition. `stored` is its checkpoint; `semantics` the rating
/// semantics of this program.
pub fn decide(
    source: Partition,
    stored: Option<&RateCheckpoint>,
    blocks: &SourceBlocks,
    semantics: u32,
) -> Result<Step, Refusal> {
    let given_up = stored.and_then(|stored| given_up_at(source, stored, blocks));
    let known = given_up.or(stored.map(|stored| stored.chunk));
    let known = known.unwrap_or(Chunk(0));
    let cut = stored.filter(|stored| stored.is_cut() && given_up.is_none());
    // A worker that ran on the restored tables may have come to a chunk without cutting it anew.
    // What the log holds of a chunk of that number was cut before the tables went back.
    let newer_from = match (stored, cut) {
        (Some(_), None) => Included(known),
        _ => Excluded(known),
    };
    let newer = blocks.chunks.range((newer_from, Unbounded));
    let newer: Vec<_> = newer.collect();
    let recorded = cut.and_then(|_| blocks.chunks.get(&known));
    if let Some(cut) = cut {
        same_cut(source, cut, recorded)?;
    }
    // Usage rows may be older than the checkpoint: those of the chunks before it are written again.
    let has_rows =
        |of: &Repeat| can_rate(semantics, &of.cut) && of.cut.window.usage_rows != UsageRows::Off;
    let older = blocks.chunks.range(..known);
    let older = older.filter_map(|(_, found)| repeat(found).filter(has_rows));
    let mut chunks: Vec<Repeat> = older.collect();
    if newer.is_empty() {
        covered(source, stored, blocks)?;
        return Ok(Step::Keep { chunks });
    }
    if let Some(stored) = cut {
        // It was not done when the tables were as they are.
        chunks.push(Repeat {
            cut: stored.clone(),
            sent: None,
            blocks: recorded.map(|of| of.blocks.clone()).unwrap_or_default(),
        });
    }
    for (chunk, found) in newer {
        chunks.push(repeat(found).ok_or(Refusal::NoCut {
            from: source,
            chunk: *chunk,
        })?);
    }
    if let Some(other) = chunks
        .iter()
        .map(|chunk| &chunk.cut)
        .find(|cut| !can_rate(semantics, cut))
    {
        return Err(Refusal::OtherSemantics {
            from: source,
            chunk: other.chunk,
            found: other.semantics,
            known: semantics,
        });
    }
    in_order(source, &chunks)?;
    Ok(Step::RollForward { chunks })
}

/// Tables that were restored, recovered and then restored to a moment that the first restore had
/// given up may have come to a chunk whose number the log has for another one: chunks without
/// blocks leave no trace, so they were cut anew. The first chunk of the log that such a checkpoint
/// does not cover although its number is not above. What the checkpoint itself had cut sent
/// nothing, or the log would have it.
fn given_up_at(source: Partition, stored: &RateCheckpoint, blocks: &SourceBlocks) -> Option<Chunk> {
    let sent = |q: &Partition| stored.sequences.get(q.0 as usize).copied();
    let is_beyond = |found: &ChunkBlocks| {
        let mut blocks = found.blocks.keys();
        blocks.any(|(q, sequence)| *sequence > sent(q).unwrap_or_default())
    };
    let mut older = blocks.chunks.range(..stored.chunk);
    if let Some((chunk, _)) = older.find(|(_, found)| is_beyond(found)) {
        return Some(*chunk);
    }
    let Some(recorded) = blocks.chunks.get(&stored.chunk) else {
        // Its records were cut anew under a later number.
        let (next, found) = blocks.chunks.range(stored.chunk..).next()?;
        let cut = &found.logged.as_ref()?.cut;
        return (stored.is_cut() && cut.from < stored.to).then_some(*next);
    };
    let is_other = stored.is_cut() && same_cut(source, stored, Some(recorded)).is_err();
    (is_other && is_beyond(recorded)).then_some(stored.chunk)
}

/// Whether a program of these semantics can rate a chunk that was cut by its own.
fn can_rate(semantics: u32, cut: &RateCheckpoint) -> bool {
    cut.semantics <= semantics && Semantics::known(cut.semantics).is_some()
}

fn repeat(found: &ChunkBlocks) -> Option<Repeat> {
    let logged = found.logged.clone()?;
    Some(Repeat {
        cut: logged.cut,
        sent: Some(logged.end.sequences),
        blocks: found.blocks.clone(),
    })
}

/// The blocks of the recorded chunk must be of the same cut.
fn same_cut(
    source: Partition,
    stored: &RateCheckpoint,
    recorded: Option<&ChunkBlocks>,
) -> Result<(), Refusal> {
    let Some(recorded) = recorded else {
        return Ok(());
    };
    let is_same = match &recorded.logged {
        Some(LoggedChunk { cut, .. }) => {
            (cut.from, cut.to, cut.control) == (stored.from, stored.to, stored.control)
        }
        None => recorded.control == stored.control,
    };
    match is_same {
        true => Ok(()),
        false => Err(Refusal::Contradiction {
            from: source,
            chunk: stored.chunk,
            what: "its blocks were rated by another cut than the recorded one",
        }),
    }
}

/// Without newer blocks in the log, nothing newer may have been accepted either.
fn covered(
    source: Partition,
    stored: Option<&RateCheckpoint>,
    blocks: &SourceBlocks,
) -> Result<(), Refusal> {
    for (q, last) in &blocks.last {
        let known = stored.and_then(|stored| stored.sequences.get(q.0 as usize));
        let is_recorded = stored.is_some_and(RateCheckpoint::is_cut);
        if *last > known.copied().unwrap_or_default() && !is_recorded {
            return Err(Refusal::BlocksExpired {
                posting: *q,
                from: source,
                accepted: *last,
            });
        }
    }
    Ok(())
}

/// Chunks follow each other, and each one's sequences go on from what was sent before.
fn in_order(source: Partition, chunks: &[Repeat]) -> Result<(), Refusal> {
    let cuts = chunks.iter().map(|chunk| &chunk.cut);
    for (before, cut) in cuts.clone().zip(cuts.skip(1)) {
        let mut sequences = cut.sequences.iter().zip(&before.sequences);
        if cut.from < before.to || sequences.any(|(own, before)| own < before) {
            return Err(Refusal::Contradiction {
                from: source,
                chunk: cut.chunk,
                what: "it does not follow the chunk before it",
            });
        }
    }
    Ok(())
}

/// How the blocks that a chunk gives now compare with those in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Equal blocks.
    pub equal: u64,
    /// Blocks that are others than those in the log, or that the log does not hold although a later
    /// chunk followed.
    pub different: Vec<(Partition, Sequence)>,
    /// Blocks that the log does not hold.
    pub missing: Vec<(Partition, Sequence)>,
}

/// Compares blocks with those in the log. `given` are hashes by posting partition, of blocks that
/// follow `before`; `accepted` is what posting had accepted when the tables were as they are.
pub fn compare(
    given: &[(Partition, Vec<u64>)],
    before: &[Sequence],
    known: &BTreeMap<(Partition, Sequence), (Offset, u64)>,
    accepted: impl Fn(Partition) -> Sequence,
) -> Comparison {
    let mut comparison = Comparison::default();
    let mut surplus = known.clone();
    for (q, hashes) in given {
        let first = before.get(q.0 as usize).copied().unwrap_or_default().0 + 1;
        for (sequence, hash) in (first..).map(Sequence).zip(hashes) {
            match surplus.remove(&(*q, sequence)) {
                Some((_, found)) if found == *hash => comparison.equal += 1,
                Some(_) => comparison.different.push((*q, sequence)),
                None if sequence <= accepted(*q) => {}
                None => comparison.missing.push((*q, sequence)),
            }
        }
    }
    comparison.different.extend(surplus.into_keys());
    comparison
}
