//! What `recover` decides, from checkpoints and blocks.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemark::domain::position::{Chunk, Control, Epoch, Offset, Partition, Sequence};
use tidemark::domain::time::Millis;
use tidemark::log::posting::BlockHeader;
use tidemark::pipeline::recover::{
    APART_MAX_MS, LoggedBlock, LoggedBlocks, Refusal, Rewind, Step, choose, compare, decide,
    lost_correction,
};
use tidemark::pipeline::{ChunkEnd, LoggedChunk};
use tidemark::store::checkpoints::{
    ClockCorrection, EarlierCheckpoint, PostCheckpoint, RateCheckpoint, SourceState, UsageRows,
    WindowCut,
};
use tidemark::store::rated_services::RatedServices;

const SOURCE: Partition = Partition(1);
const SEMANTICS: u32 = 4;

/// A chunk that sends so many blocks to each posting partition.
#[derive(Clone, Debug)]
struct Sent {
    chunk: u64,
    from: u64,
    to: u64,
    before: Vec<u64>,
    blocks: Vec<u64>,
}

impl Sent {
    fn cut(&self) -> RateCheckpoint {
        RateCheckpoint {
            topic_id: "topic".to_owned(),
            epoch: Epoch(0),
            partitions: 2,
            posting_partitions: self.before.len() as u32,
            chunk: Chunk(self.chunk),
            from: Offset(self.from),
            to: Offset(self.to),
            control: Control(1),
            semantics: SEMANTICS,
            log_time: Millis(1_000),
            window: WindowCut {
                age_ms: 1,
                records_max: 1,
                usage_rows: UsageRows::Since(None),
                first: Offset(0),
                first_log_time: Millis(0),
                forgotten: None,
            },
            fingerprint: None,
            sequences: self.before.iter().copied().map(Sequence).collect(),
            clock: None,
            latest_event: None,
            services: RatedServices::default(),
        }
    }

    fn after(&self) -> Vec<u64> {
        let both = self.before.iter().zip(&self.blocks);
        both.map(|(before, blocks)| before + blocks).collect()
    }

    fn logged(&self) -> LoggedChunk {
        LoggedChunk {
            cut: self.cut(),
            end: ChunkEnd {
                log_time: Millis(1_001),
                latest_event: None,
                sequences: self.after().into_iter().map(Sequence).collect(),
            },
        }
    }

    fn block(&self, q: usize, nth: u64, has_cut: bool) -> LoggedBlock {
        LoggedBlock {
            offset: Offset(100 * self.chunk + nth),
            header: BlockHeader {
                epoch: Epoch(0),
                source: SOURCE,
                chunk: Chunk(self.chunk),
                control: Control(1),
                source_log_time: Millis(1_000),
            },
            sequence: Sequence(self.before[q] + nth),
            hash: self.chunk * 1_000 + nth,
            chunk: has_cut.then(|| self.logged()),
        }
    }
}

/// Chunks that follow each other, each with what it sends to two posting partitions.
fn history(sizes: &[(u64, [u64; 2])]) -> Vec<Sent> {
    let (mut from, mut before) = (0, vec![0, 0]);
    let mut sent = Vec::new();
    for (chunk, (records, blocks)) in (1..).zip(sizes) {
        let one = Sent {
            chunk,
            from,
            to: from + records,
            before: before.clone(),
            blocks: blocks.to_vec(),
        };
        from = one.to;
        before = one.after();
        sent.push(one);
    }
    sent
}

/// The log holds the blocks of these chunks.
fn logged(chunks: &[Sent], has_cut: bool) -> LoggedBlocks {
    let mut blocks = LoggedBlocks::default();
    for chunk in chunks {
        for (q, count) in chunk.blocks.iter().enumerate() {
            for nth in 1..=*count {
                let block = chunk.block(q, nth, has_cut);
                blocks
                    .take(Partition(q as u32), block)
                    .expect("in sequence");
            }
        }
    }
    blocks
}

fn chunks_of(step: &Step) -> Vec<u64> {
    match step {
        Step::Keep { .. } => Vec::new(),
        Step::RollForward { chunks } => chunks.iter().map(|chunk| chunk.cut.chunk.0).collect(),
    }
}

#[test]
fn a_checkpoint_that_knows_all_stays_where_it_is() {
    let sent = history(&[(5, [1, 0]), (3, [1, 1])]);
    let blocks = logged(&sent, true).of(SOURCE);
    let newest = sent[1].cut();
    let step = decide(SOURCE, Some(&newest), &blocks, SEMANTICS);
    assert!(
        matches!(&step, Ok(Step::Keep { chunks }) if chunks.len() == 1),
        "{step:?}"
    );
    let nothing = LoggedBlocks::default().of(SOURCE);
    assert_eq!(
        decide(SOURCE, None, &nothing, SEMANTICS),
        Ok(Step::Keep { chunks: Vec::new() })
    );
}

#[test]
fn the_recorded_chunk_and_all_newer_ones_are_rated_again() {
    let sent = history(&[(5, [1, 0]), (3, [1, 1]), (2, [0, 2])]);
    let blocks = logged(&sent, true).of(SOURCE);
    for (stored, expected) in [
        (None, vec![1, 2, 3]),
        (Some(sent[0].cut()), vec![1, 2, 3]),
        // Usage rows of the chunk before may be older than the checkpoint.
        (Some(sent[1].cut()), vec![1, 2, 3]),
        (Some(sent[2].cut()), vec![]),
    ] {
        let step = decide(SOURCE, stored.as_ref(), &blocks, SEMANTICS).expect("a step");
        assert_eq!(chunks_of(&step), expected);
    }
    // A checkpoint with nothing cut says that everything before it is done.
    let mut done = sent[0].cut();
    (done.chunk, done.from) = (Chunk(1), done.to);
    done.sequences = sent[1].cut().sequences;
    let newer = logged(&sent, true);
    let mut newer = newer.of(SOURCE);
    newer.chunks.remove(&Chunk(1));
    let step = decide(SOURCE, Some(&done), &newer, SEMANTICS).expect("a step");
    assert_eq!(chunks_of(&step), [2, 3]);
    // Written by a worker that ran on the restored tables and had nothing to cut. The chunk of that
    // number was cut before they went back.
    done.chunk = Chunk(2);
    let step = decide(SOURCE, Some(&done), &blocks, SEMANTICS).expect("a step");
    assert_eq!(chunks_of(&step), [1, 2, 3]);
}

#[test]
fn what_cannot_be_rolled_forward_is_refused() {
    let sent = history(&[(5, [1, 0]), (3, [1, 1])]);
    let stored = sent[0].cut();
    let refused = |stored: &RateCheckpoint, blocks: &LoggedBlocks, semantics| {
        decide(SOURCE, Some(stored), &blocks.of(SOURCE), semantics).expect_err("a refusal")
    };
    let mut after_first = LoggedBlocks::default();
    after_first
        .take(Partition(0), sent[0].block(0, 1, true))
        .expect("in sequence");
    let gap = after_first.take(Partition(0), {
        let mut block = sent[1].block(0, 1, true);
        block.sequence = Sequence(3);
        block
    });
    assert!(matches!(gap, Err(Refusal::SequenceGap { .. })), "{gap:?}");
    // From before the cut was stored with the blocks.
    let mut blocks = logged(&sent[..1], true);
    blocks
        .take(Partition(0), sent[1].block(0, 1, false))
        .expect("in sequence");
    let no_cut = refused(&stored, &blocks, SEMANTICS);
    assert!(matches!(no_cut, Refusal::NoCut { .. }), "{no_cut:?}");
    let blocks = logged(&sent, true);
    let other = refused(&stored, &blocks, SEMANTICS - 1);
    assert!(matches!(other, Refusal::OtherSemantics { .. }), "{other:?}");
    let mut elsewhere = stored.clone();
    elsewhere.to = Offset(4);
    // It covers what the log has of its chunk, which was cut otherwise.
    elsewhere.sequences = sent[1].cut().sequences;
    let wrong = refused(&elsewhere, &blocks, SEMANTICS);
    assert!(matches!(wrong, Refusal::Contradiction { .. }), "{wrong:?}");
    // Posting has accepted what neither the checkpoint nor the log knows.
    let mut lost = LoggedBlocks::default();
    lost.0.entry(SOURCE).or_default().last = BTreeMap::from([(Partition(0), Sequence(9))]);
    let mut idle = stored.clone();
    idle.from = idle.to;
    let expired = refused(&idle, &lost, SEMANTICS);
    assert!(
        matches!(expired, Refusal::BlocksExpired { .. }),
        "{expired:?}"
    );
}

/// The tables were restored to a moment that an earlier restore had given up: they have come to chunk 3
/// by chunks without blocks. Since then the log has other chunks of these numbers.
#[test]
fn tables_of_a_course_that_was_given_up_are_rolled_forward_by_the_log() {
    let sent = history(&[(5, [1, 0]), (3, [1, 1]), (4, [0, 1])]);
    let given_up = |chunk: u64, from: u64, to: u64| {
        let mut stored = sent[1].cut();
        (stored.chunk, stored.from, stored.to) = (Chunk(chunk), Offset(from), Offset(to));
        stored
    };
    for (held, stored) in [
        // Nothing is cut, and a chunk is cut that sent nothing.
        (&sent[..], given_up(3, 9, 9)),
        (&sent[..], given_up(3, 8, 9)),
        (&sent[..2], given_up(3, 9, 9)),
        (&sent[..2], given_up(3, 8, 9)),
        (&sent[..2], given_up(2, 5, 6)),
        (&sent[..], given_up(7, 11, 13)),
    ] {
        let blocks = logged(held, true).of(SOURCE);
        let step = decide(SOURCE, Some(&stored), &blocks, SEMANTICS).expect("a step");
        let all: Vec<u64> = held.iter().map(|of| of.chunk).collect();
        assert_eq!(chunks_of(&step), all, "{stored:?}");
        let Step::RollForward { chunks } = step else {
            panic!("it stays")
        };
        assert_eq!(chunks[1].cut, sent[1].cut());
    }
    // The records of what was cut were cut anew under a later number.
    let mut anew = history(&[(5, [1, 0]), (3, [1, 1])]);
    anew[1].chunk = 3;
    let blocks = logged(&anew, true).of(SOURCE);
    for stored in [given_up(2, 5, 8), given_up(2, 5, 6)] {
        let step = decide(SOURCE, Some(&stored), &blocks, SEMANTICS).expect("a step");
        assert_eq!(chunks_of(&step), [1, 3], "{stored:?}");
    }
}

/// Posting partitions have accepted so much from the source partition.
fn post_checkpoint(sequence: u64) -> PostCheckpoint {
    let state = SourceState {
        sequence: Sequence(sequence),
        log_time: Millis(0),
        chunk: None,
    };
    PostCheckpoint {
        topic_id: "postings".to_owned(),
        epoch: Epoch(0),
        partitions: 2,
        next: Offset(0),
        fingerprint: None,
        sources: BTreeMap::from([(SOURCE.0, state)]),
        witnesses: Vec::new(),
    }
}

/// What is left of these chunks; `posted` by posting partition, by its stored checkpoint and by the
/// one from which it takes blocks again.
fn narrowed(
    sent: &[Sent],
    known: Option<u64>,
    start: u64,
    posted: [(u64, u64); 2],
) -> Result<Vec<u64>, Refusal> {
    let mut blocks = LoggedBlocks::default();
    for (q, (stored, from)) in (0..).map(Partition).zip(posted) {
        blocks.accepted(q, &post_checkpoint(stored), &post_checkpoint(from));
    }
    for (source, found) in logged(sent, true).0 {
        blocks.0.entry(source).or_default().chunks = found.chunks;
    }
    let mut blocks = blocks.of(SOURCE);
    blocks.narrow(SOURCE, known.map(Chunk), Offset(start))?;
    Ok(blocks.chunks.keys().map(|chunk| chunk.0).collect())
}

#[test]
fn of_a_checkpoint_that_was_lost_the_newest_accepted_chunk_tells_where_to_go_on() {
    // Chunks of records 0..5, 5..8, 8..10, 10..14; sequences (1, 0), (2, 1), (2, 3), (3, 4).
    let sent = history(&[(5, [1, 0]), (3, [1, 1]), (2, [0, 2]), (4, [1, 1])]);
    let all = [(3, 3), (4, 4)];
    for (known, start, posted, expected) in [
        (None, 0, all, vec![4]),
        (None, 10, all, vec![4]),
        // The fourth is accepted by one of two.
        (None, 8, [(3, 3), (3, 3)], vec![3, 4]),
        // The third has expired; the fourth says what came before it.
        (None, 9, [(3, 3), (3, 3)], vec![4]),
        (None, 0, [(2, 2), (1, 1)], vec![2, 3, 4]),
        // Posting is put back, but has had it all.
        (None, 10, [(3, 0), (4, 0)], vec![4]),
        (None, 0, [(0, 0), (0, 0)], vec![1, 2, 3, 4]),
        // Older ones are for usage rows, which may be as old as where posting begins again.
        (Some(3), 0, [(2, 0), (3, 0)], vec![1, 2, 3, 4]),
        (Some(3), 5, [(2, 0), (3, 0)], vec![2, 3, 4]),
        (Some(3), 0, [(3, 1), (4, 0)], vec![2, 3, 4]),
        (Some(3), 8, all, vec![3, 4]),
    ] {
        let found = narrowed(&sent, known, start, posted);
        assert_eq!(found, Ok(expected), "{known:?} {start} {posted:?}");
    }
    for (known, start, posted, lacking) in [
        // Nobody has the first one's blocks for sure.
        (None, 1, [(0, 0), (0, 0)], 1),
        // Nothing follows that would say where it ended.
        (None, 11, all, 4),
        (None, 11, [(3, 3), (3, 3)], 4),
        (Some(3), 9, all, 3),
    ] {
        let refused = narrowed(&sent, known, start, posted);
        let expected = Refusal::EventsExpired {
            from: SOURCE,
            chunk: Chunk(lacking),
            start: Offset(start),
        };
        assert_eq!(refused, Err(expected), "{known:?} {start} {posted:?}");
    }
}

#[test]
fn older_chunks_without_usage_rows_are_not_rated_again() {
    let sent = history(&[(5, [1, 0]), (3, [1, 1])]);
    let mut blocks = logged(&sent, true).of(SOURCE);
    for found in blocks.chunks.values_mut() {
        let logged = found.logged.as_mut().expect("a cut");
        logged.cut.window.usage_rows = UsageRows::Off;
    }
    let step = decide(SOURCE, Some(&sent[1].cut()), &blocks, SEMANTICS);
    assert_eq!(step, Ok(Step::Keep { chunks: Vec::new() }));
}

#[test]
fn a_correction_of_append_times_is_written_unless_the_tables_hold_it_or_a_later_one() {
    let at = |at: i64| ClockCorrection {
        epoch: Epoch(0),
        until: Offset(5),
        at: Millis(at),
    };
    for (stored, rated_by, expected) in [
        (None, None, None),
        (None, Some(at(7)), Some(at(7))),
        (Some(at(6)), Some(at(7)), Some(at(7))),
        (Some(at(7)), Some(at(7)), None),
        (Some(at(8)), Some(at(7)), None),
        (Some(at(8)), None, None),
    ] {
        let found = lost_correction(stored.as_ref(), rated_by.as_ref());
        assert_eq!(found, expected.as_ref(), "{stored:?} {rated_by:?}");
    }
}

#[test]
fn blocks_are_equal_different_or_missing() {
    let at = |sequence, hash| ((Partition(0), Sequence(sequence)), (Offset(0), hash));
    let known = BTreeMap::from([at(3, 30), at(4, 40)]);
    let given = |hashes: &[u64]| vec![(Partition(0), hashes.to_vec())];
    let accepted = |_| Sequence(2);
    let compared = |hashes: &[u64]| compare(&given(hashes), &[Sequence(1)], &known, accepted);
    // Block 2 was accepted before the tables went back, and is not looked at.
    let all = compared(&[20, 30, 40]);
    assert_eq!(
        (all.equal, all.different.len(), all.missing.len()),
        (2, 0, 0)
    );
    let more = compared(&[20, 30, 40, 50]);
    assert_eq!(more.missing, [(Partition(0), Sequence(5))]);
    let other = compared(&[20, 31, 40]);
    assert_eq!(other.different, [(Partition(0), Sequence(3))]);
    let fewer = compared(&[20, 30]);
    assert_eq!(fewer.different, [(Partition(0), Sequence(4))]);
}

#[test]
fn posting_goes_back_to_before_any_table_can_be() {
    let checkpoint = |next| PostCheckpoint {
        topic_id: "postings".to_owned(),
        epoch: Epoch(0),
        partitions: 1,
        next: Offset(next),
        fingerprint: None,
        sources: BTreeMap::new(),
        witnesses: Vec::new(),
    };
    let copy = |at: i64, next| EarlierCheckpoint {
        at: Millis(at),
        checkpoint: checkpoint(next),
    };
    let chosen = |stored, copies: &[EarlierCheckpoint]| match choose(&checkpoint(stored), copies) {
        Rewind::To(to) => to.next.0,
        Rewind::Beginning => 0,
        Rewind::Stay => stored,
    };
    let (newest, apart) = (10 * APART_MAX_MS, APART_MAX_MS);
    assert_eq!(chosen(9, &[]), 0);
    // Of the newest copy nobody knows whether the rows are as new.
    assert_eq!(chosen(9, &[copy(newest, 8)]), 0);
    assert_eq!(
        chosen(9, &[copy(newest, 8), copy(newest - apart + 1, 7)]),
        0
    );
    let copies = [
        copy(newest, 8),
        copy(newest - 3 * apart, 2),
        copy(newest - apart, 5),
    ];
    assert_eq!(chosen(9, &copies), 5);
    // It has gone back already.
    assert_eq!(chosen(5, &copies), 5);
    let mut elsewhere = copies.clone();
    elsewhere[2].checkpoint.epoch = Epoch(1);
    assert_eq!(chosen(9, &elsewhere), 2);
}

proptest! {
    /// Wherever the tables went back to, and however much of the newest chunk the log holds: all
    /// chunks with blocks and the recorded one are rated again, each once and in order.
    #[test]
    fn every_chunk_that_the_tables_lack_is_rated_again_once(
        sizes in prop::collection::vec((1..9u64, [0..3u64, 0..3u64]), 1..9),
        stored in any::<prop::sample::Index>(),
        lacking in 0..4u64,
    ) {
        let sent = history(&sizes);
        let mut held = sent.clone();
        let last = held.last_mut().expect("a chunk");
        let mut lacking = lacking;
        for count in last.blocks.iter_mut().rev() {
            let gone = lacking.min(*count);
            (*count, lacking) = (*count - gone, lacking - gone);
        }
        let mut blocks = LoggedBlocks::default();
        for (chunk, whole) in held.iter().zip(&sent) {
            for (q, count) in chunk.blocks.iter().enumerate() {
                for nth in 1..=*count {
                    let taken = blocks.take(Partition(q as u32), whole.block(q, nth, true));
                    prop_assert_eq!(taken, Ok(()));
                    // A block that was sent again changes nothing.
                    let taken = blocks.take(Partition(q as u32), whole.block(q, nth, true));
                    prop_assert_eq!(taken, Ok(()));
                }
            }
        }
        let at = stored.index(sent.len());
        let stored = sent[at].cut();
        let with_blocks = |of: &&Sent| of.blocks.iter().any(|count| *count > 0);
        let newer: Vec<u64> = held[at + 1..].iter().filter(with_blocks).map(|of| of.chunk).collect();
        let step = decide(SOURCE, Some(&stored), &blocks.of(SOURCE), SEMANTICS);
        let step = step.expect("a step");
        let expected: Vec<u64> = match newer.is_empty() {
            true => Vec::new(),
            false => {
                let older = held[..at].iter().filter(with_blocks).map(|of| of.chunk);
                older.chain([sent[at].chunk]).chain(newer).collect()
            }
        };
        prop_assert_eq!(chunks_of(&step), expected);
        if let Step::RollForward { chunks } = &step {
            let newest = chunks.last().expect("a chunk");
            let whole = sent.iter().find(|of| of.chunk == newest.cut.chunk.0).expect("sent");
            prop_assert_eq!(&newest.cut, &whole.cut());
            let given: Vec<(Partition, Vec<u64>)> = whole.blocks.iter().enumerate().map(|(q, count)| {
                let hashes = (1..=*count).map(|nth| whole.block(q, nth, true).hash).collect();
                (Partition(q as u32), hashes)
            }).collect();
            let compared = compare(&given, &newest.cut.sequences, &newest.blocks, |_| Sequence(0));
            prop_assert_eq!(compared.different, Vec::new());
            let all: u64 = whole.blocks.iter().sum();
            prop_assert_eq!(compared.equal + compared.missing.len() as u64, all);
        }
    }
}
