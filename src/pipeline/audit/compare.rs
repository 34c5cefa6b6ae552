//! How the blocks of a chunk compare with those in the log. Pure.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::blocks::{BlockNote, hash};
use crate::domain::ids::{Account, AccountRef};
use crate::domain::position::{Partition, Sequence};
use crate::domain::posting::{Block, Entry};
use crate::pipeline::recorded_cut::LoggedChunk;
use crate::store::audits::FindingKind;

/// The blocks of one chunk for one posting partition.
#[derive(Clone, Debug)]
pub(super) struct ComparedBlocks<'a> {
    pub(super) posting: Partition,
    /// The last sequence before the chunk.
    pub(super) before: Sequence,
    /// What rating the chunk again gives.
    pub(super) given: &'a [Bytes],
    /// What the log holds of the sequences that were sent; `None`: nothing.
    pub(super) logged: &'a [Option<BlockNote>],
}

/// A block that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrongBlock {
    pub(super) posting: Partition,
    pub(super) sequence: Sequence,
    pub(super) kind: FindingKind,
    /// Its place among the given ones; it may be none of them.
    pub(super) place: usize,
    pub(super) logged: Option<BlockNote>,
}

/// Compares them.
pub(super) fn compare(chunk: &LoggedChunk, blocks: &ComparedBlocks<'_>) -> Vec<WrongBlock> {
    let (given, logged) = (blocks.given, blocks.logged);
    let judge = |place: usize| {
        let (given, logged) = (given.get(place), logged.get(place).copied());
        let kind = match (given, logged) {
            (Some(given), Some(Some(found))) if hash(given) == found.hash => return None,
            (Some(_), Some(Some(found))) if found.chunk == chunk.cut.chunk => {
                FindingKind::BlockDiffers
            }
            (_, Some(Some(_))) => FindingKind::BlockExtra,
            (Some(_), _) => FindingKind::BlockMissing,
            (None, _) => FindingKind::SequenceMissing,
        };
        Some(WrongBlock {
            posting: blocks.posting,
            sequence: Sequence(blocks.before.0 + 1 + place as u64),
            kind,
            place,
            logged: logged.flatten(),
        })
    };
    (0..given.len().max(logged.len()))
        .filter_map(judge)
        .collect()
}

/// The accounts whose entries differ between two blocks.
pub(super) fn differing_accounts(given: &Block, logged: &Block) -> Vec<Account> {
    let entry = |block: &'_ Block, account: AccountRef<'_>| -> Option<Entry> {
        let of = |entry: &Entry| AccountRef::from(&entry.account).cmp(&account);
        let place = block.entries.binary_search_by(of).ok()?;
        block.entries.get(place).cloned()
    };
    let all = given.entries.iter().chain(&logged.entries);
    let all: BTreeSet<&Account> = all.map(|entry| &entry.account).collect();
    let differs =
        |account: &&Account| entry(given, (*account).into()) != entry(logged, (*account).into());
    all.into_iter().filter(differs).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::position::{Chunk, Control, Epoch, Offset};
    use crate::domain::time::Millis;
    use crate::pipeline::recorded_cut::ChunkEnd;
    use crate::store::checkpoints::{RateCheckpoint, UsageRows, WindowCut};
    use crate::store::rated_services::RatedServices;

    fn chunk(number: u64, (from, to): (u64, u64), before: u64, after: u64) -> LoggedChunk {
        LoggedChunk {
            cut: RateCheckpoint {
                topic_id: "topic".to_owned(),
                epoch: Epoch(1),
                partitions: 1,
                posting_partitions: 1,
                chunk: Chunk(number),
                from: Offset(from),
                to: Offset(to),
                control: Control(1),
                semantics: 1,
                log_time: Millis(0),
                window: WindowCut {
                    age_ms: 0,
                    records_max: 0,
                    usage_rows: UsageRows::Off,
                    first: Offset(0),
                    first_log_time: Millis(0),
                    forgotten: None,
                },
                fingerprint: None,
                sequences: vec![Sequence(before)],
                clock: None,
                latest_event: None,
                services: RatedServices::default(),
            },
            end: ChunkEnd {
                log_time: Millis(0),
                latest_event: None,
                sequences: vec![Sequence(after)],
            },
        }
    }

    #[test]
    fn each_way_in_which_a_block_can_be_wrong_has_its_kind() {
        let record = chunk(8, (20, 30), 5, 7);
        let note = |sequence, chunk, block: &[u8]| BlockNote {
            offset: Offset(0),
            chunk: Chunk(chunk),
            sequence: Sequence(sequence),
            cut: None,
            hash: hash(block),
        };
        let given = [Bytes::from_static(b"a"), Bytes::from_static(b"b")];
        let found = |given: &[Bytes], logged: &[Option<BlockNote>]| -> Vec<(u64, FindingKind)> {
            let blocks = ComparedBlocks {
                posting: Partition(0),
                before: Sequence(5),
                given,
                logged,
            };
            let wrong = compare(&record, &blocks).into_iter();
            wrong.map(|wrong| (wrong.sequence.0, wrong.kind)).collect()
        };
        let (a, b) = (Some(note(6, 8, b"a")), Some(note(7, 8, b"b")));
        assert_eq!(found(&given, &[a, b]), []);
        let other = Some(note(7, 8, b"c"));
        assert_eq!(found(&given, &[a, other]), [(7, FindingKind::BlockDiffers)]);
        assert_eq!(found(&given, &[None, b]), [(6, FindingKind::BlockMissing)]);
        assert_eq!(found(&given, &[a]), [(7, FindingKind::BlockMissing)]);
        assert_eq!(found(&given[..1], &[a, b]), [(7, FindingKind::BlockExtra)]);
        let stray = Some(note(7, 9, b"c"));
        assert_eq!(found(&given, &[a, stray]), [(7, FindingKind::BlockExtra)]);
        let neither = found(&given[..1], &[a, None]);
        assert_eq!(neither, [(7, FindingKind::SequenceMissing)]);
    }
}
