//! The auditor: it finds what is wrong, and nothing where nothing is.

use tidemark::domain::amount::Points;
use tidemark::domain::position::{Partition, Sequence};
use tidemark::domain::posting::Block;
use tidemark::log::{Topic, posting};
use tidemark::pipeline::{Breakage, Settings, decode_cut};
use tidemark::store::audits::{AuditCheckpoint, Finding, FindingKind};

use super::adapter;
use super::quiet::Quiet;
use super::services::images;
use super::workload::{MINUTE, user};

/// Source partition 0 is that of some of these users.
const USERS: u32 = 4;

fn rate_some(quiet: &mut Quiet, round: &str) {
    for n in 0..USERS {
        quiet.chat(&format!("{round}-{n}"), user(n).id());
        quiet.pass(1_000);
    }
    quiet.pass(MINUTE / 2);
}

/// Blocks of three rounds, rated and posted under this breakage, and then audited by a healthy worker.
fn audited(breakage: Option<Breakage>, spoil: impl FnOnce(&mut Quiet)) -> Quiet {
    let mut quiet = Quiet::new(1, 2);
    quiet.break_workers(breakage);
    quiet.start_worker(Settings::default());
    for round in ["first", "second", "third"] {
        rate_some(&mut quiet, round);
    }
    quiet.break_workers(None);
    spoil(&mut quiet);
    quiet.start_auditors(Settings::default());
    quiet.pass(2 * MINUTE);
    quiet
}

fn findings(quiet: &Quiet) -> Vec<Finding> {
    quiet.world.with(|inner| adapter::findings(&inner.db))
}

fn kinds(quiet: &Quiet) -> Vec<FindingKind> {
    let mut kinds: Vec<_> = findings(quiet).iter().map(|of| of.kind).collect();
    kinds.dedup();
    kinds
}

fn checkpoint(quiet: &Quiet) -> AuditCheckpoint {
    let of = |db: &_| adapter::audit_checkpoint(db, 0);
    quiet.world.with(|inner| of(&inner.db)).expect("it audits")
}

/// Changes the posting block at an offset.
fn change_block(quiet: &Quiet, q: u32, offset: usize, change: impl FnOnce(&mut Block)) {
    quiet.world.with(|inner| {
        let log = inner.logs.get_mut(&1).unwrap();
        let records = log.records.get_mut(&(Topic::LedgerPostings, q)).unwrap();
        let mut block = posting::decode(&records[offset].value).unwrap();
        change(&mut block);
        records[offset].value = posting::encode(&block);
    });
}

/// The first block with entries: posting partition and offset.
fn first_block(quiet: &Quiet) -> (u32, usize) {
    let of = |q: u32| {
        let blocks = quiet.world.with(|inner| {
            let records = inner.logs[&1].of(Topic::LedgerPostings, Partition(q));
            records
                .iter()
                .map(|record| record.value.clone())
                .collect::<Vec<_>>()
        });
        let has_entries = |block| !posting::decode(block).unwrap().entries.is_empty();
        Some((q, blocks.iter().position(|block| has_entries(block))?))
    };
    (0..2).find_map(of).expect("a block")
}

#[test]
fn what_was_rated_as_it_should_be_gives_no_finding() {
    let mut quiet = audited(None, |_| {});
    let first = checkpoint(&quiet);
    assert!(first.audited >= 3, "{first:?}");
    assert_eq!((first.skipped, first.findings), (0, 0));
    // It goes on with what comes, also after a restart.
    quiet.kill_worker();
    quiet.start_auditors(Settings::default());
    rate_some(&mut quiet, "fourth");
    quiet.pass(MINUTE);
    let second = checkpoint(&quiet);
    assert!(second.audited > first.audited, "{second:?}");
    assert_eq!((second.skipped, second.findings), (0, 0));
    assert_eq!(findings(&quiet), []);
    assert_eq!(quiet.halts(), []);
}

#[test]
fn a_block_in_which_one_bit_changed_is_found_with_its_account() {
    let mut wrong = None;
    let quiet = audited(None, |quiet| {
        let (q, offset) = first_block(quiet);
        change_block(quiet, q, offset, |block| {
            let entry = &mut block.entries[0];
            let points = &mut entry.cells[0].2.points;
            *points = Points(points.0 ^ 1);
            wrong = Some((q, block.chunk, block.sequence, entry.account.clone()));
        });
    });
    let (q, chunk, sequence, account) = wrong.unwrap();
    let found = findings(&quiet);
    let [found] = &found[..] else {
        panic!("one finding: {found:?}");
    };
    assert_eq!(found.kind, FindingKind::BlockDiffers);
    assert_eq!((found.posting, found.chunk), (Some(Partition(q)), chunk));
    assert_eq!(
        (found.sequence, &found.account),
        (Some(sequence), &Some(account))
    );
    assert_eq!(quiet.halts(), [], "it changes nothing and goes on");
    assert!(checkpoint(&quiet).audited >= 3);
}

#[test]
fn a_block_that_is_missing_is_found() {
    let quiet = audited(None, |quiet| {
        let (q, offset) = first_block(quiet);
        // Another epoch's: nobody counts it.
        change_block(quiet, q, offset, |block| block.epoch.0 += 7);
    });
    assert_eq!(kinds(&quiet), [FindingKind::BlockMissing]);
}

#[test]
fn a_block_that_is_missing_at_the_end_is_found_once_the_chunk_is_done() {
    let quiet = audited(None, |quiet| {
        quiet.kill_worker();
        for q in 0..2 {
            let blocks = quiet
                .world
                .with(|inner| inner.logs[&1].of(Topic::LedgerPostings, Partition(q)).len());
            if blocks > 0 {
                change_block(quiet, q, blocks - 1, |block| block.epoch.0 += 7);
            }
        }
    });
    assert_eq!(kinds(&quiet), [FindingKind::BlockMissing]);
}

#[test]
fn a_block_that_was_never_sent_is_found() {
    let quiet = audited(Some(Breakage::BlockNotSent), |_| {});
    let found = kinds(&quiet);
    assert!(found.contains(&FindingKind::BlockMissing), "{found:?}");
}

#[test]
fn a_block_too_many_is_found() {
    let quiet = audited(None, |quiet| {
        // The second block of a partition becomes one of the first chunk; its sequence stays.
        let (q, offset) = first_block(quiet);
        let mut first = None;
        change_block(quiet, q, offset, |block| first = Some(block.chunk));
        change_block(quiet, q, offset + 1, |block| block.chunk = first.unwrap());
    });
    assert_eq!(kinds(&quiet), [FindingKind::BlockExtra]);
}

#[test]
fn a_rater_that_rounds_otherwise_is_found() {
    let quiet = audited(Some(Breakage::AmountsRoundedUp), |_| {});
    assert_eq!(kinds(&quiet), [FindingKind::BlockDiffers]);
    assert!(findings(&quiet).iter().all(|found| found.account.is_some()));
}

#[test]
fn events_that_changed_since_are_found() {
    let quiet = audited(None, |quiet| {
        quiet.world.with(|inner| {
            let log = inner.logs.get_mut(&1).unwrap();
            let records = log.records.get_mut(&(Topic::UsageEvents, 0)).unwrap();
            for record in records.iter_mut() {
                record.headers.push(("other".to_owned(), "1".into()));
            }
        });
    });
    assert_eq!(kinds(&quiet), [FindingKind::RecordsGone]);
}

#[test]
fn what_has_expired_is_skipped_and_no_finding() {
    let mut quiet = audited(None, |quiet| {
        quiet.world.with(|inner| {
            let log = inner.logs.get_mut(&1).unwrap();
            let half = log.of(Topic::UsageEvents, Partition(0)).len() as u64 / 2;
            log.starts.insert((Topic::UsageEvents, 0), half);
        });
    });
    rate_some(&mut quiet, "later");
    quiet.pass(MINUTE);
    let at = checkpoint(&quiet);
    assert!(at.skipped > 0 && at.audited > 0, "{at:?}");
    assert_eq!(findings(&quiet), []);
}

#[test]
fn chunks_of_a_version_without_an_audit_log_are_skipped() {
    let quiet = audited(None, |quiet| {
        quiet.world.with(|inner| {
            // The first records are not there: the audit log begins later.
            let log = inner.logs.get_mut(&1).unwrap();
            log.starts.insert((Topic::LedgerCuts, 0), 3);
        });
    });
    let at = checkpoint(&quiet);
    assert!(at.first_chunk.is_some_and(|first| first.0 > 1), "{at:?}");
    assert!(at.audited > 0, "{at:?}");
    assert_eq!(findings(&quiet), []);
}

#[test]
fn two_auditors_keep_a_finding_once() {
    let mut quiet = audited(Some(Breakage::AmountsRoundedUp), |quiet| {
        quiet.start_auditors(Settings::default());
    });
    let found = findings(&quiet);
    quiet.start_auditors(Settings::default());
    quiet.pass(2 * MINUTE);
    assert_eq!(findings(&quiet), found);
    assert!(
        found
            .iter()
            .any(|found| found.sequence == Some(Sequence(1)))
    );
}

/// What the auditor finds of chunks that were cut, one right after the other, under a breakage.
fn found_in_a_row(breakage: Option<Breakage>) -> Vec<FindingKind> {
    let mut quiet = Quiet::new(1, 2);
    quiet.publish_rule("rules.services", images(false));
    quiet.break_workers(breakage);
    let settings = Settings {
        chunk_records_max: 2,
        ..Settings::default()
    };
    quiet.start_worker(settings);
    for round in 0..3 {
        for n in 0..12 {
            quiet.chat(&format!("{round}-{n}"), user(n % USERS).id());
        }
        quiet.pass(MINUTE / 2);
    }
    quiet.break_workers(None);
    quiet.start_auditors(Settings::default());
    quiet.pass(2 * MINUTE);
    let at = checkpoint(&quiet);
    assert!(at.audited >= 18, "{breakage:?}: {at:?}");
    kinds(&quiet)
}

#[test]
fn what_contradicts_the_chunk_before_is_found() {
    assert_eq!(found_in_a_row(None), []);
    for (breakage, kind) in [
        (Breakage::RecordsCutAnew, FindingKind::RecordsRatedTwice),
        (Breakage::RecordsPassedOver, FindingKind::RecordsNotRated),
        (Breakage::ChunkNumberUsedAgain, FindingKind::CutContradicts),
        (Breakage::LogTimeMisstated, FindingKind::CutContradicts),
        (Breakage::ControlGoesBack, FindingKind::CutContradicts),
        (Breakage::WindowForgetsEarly, FindingKind::CutContradicts),
        (Breakage::ServicesNotNoted, FindingKind::CutContradicts),
        (Breakage::SequencesPassedOver, FindingKind::CutContradicts),
        (Breakage::LatestEventMisstated, FindingKind::CutContradicts),
        (Breakage::EndLogTimeMisstated, FindingKind::EndDiffers),
        (Breakage::EndLatestEventMisstated, FindingKind::EndDiffers),
        (Breakage::EndSequencesMisstated, FindingKind::EndDiffers),
    ] {
        let found = found_in_a_row(Some(breakage));
        assert!(found.contains(&kind), "{breakage:?}: {found:?}");
    }
}

/// Gives a record another version of its format.
fn of_another_version(quiet: &Quiet, topic: Topic, partition: u32, offset: usize) {
    quiet.world.with(|inner| {
        let log = inner.logs.get_mut(&1).unwrap();
        let records = log.records.get_mut(&(topic, partition)).unwrap();
        let mut bytes = records[offset].value.to_vec();
        bytes[0] = 99;
        records[offset].value = bytes.into();
    });
}

#[test]
fn a_cut_of_another_version_is_skipped() {
    let quiet = audited(None, |quiet| {
        of_another_version(quiet, Topic::LedgerCuts, 0, 1);
    });
    let at = checkpoint(&quiet);
    // The chunk, and the gap that it leaves.
    assert!(at.skipped > 0 && at.audited > 0, "{at:?}");
    assert_eq!(findings(&quiet), []);
}

#[test]
fn a_block_of_another_version_is_skipped() {
    let quiet = audited(None, |quiet| {
        let (q, offset) = first_block(quiet);
        of_another_version(quiet, Topic::LedgerPostings, q, offset);
    });
    let at = checkpoint(&quiet);
    assert!(at.skipped == 1 && at.audited > 0, "{at:?}");
    assert_eq!(findings(&quiet), []);
}

/// An epoch on topics that the one before has filled.
fn on_kept_topics(audits_first_epoch: bool) -> Quiet {
    let mut quiet = Quiet::new(1, 2);
    quiet.start_worker(Settings::default());
    rate_some(&mut quiet, "first");
    if audits_first_epoch {
        quiet.start_auditors(Settings::default());
        quiet.pass(2 * MINUTE);
        assert!(checkpoint(&quiet).audited > 0);
    }
    quiet.pass(MINUTE);
    quiet.next_epoch_on(&[Topic::UsageEvents, Topic::LedgerPostings, Topic::LedgerCuts]);
    quiet.pass(MINUTE);
    quiet.start_worker(Settings::default());
    rate_some(&mut quiet, "second");
    quiet
}

#[test]
fn an_audit_that_is_new_begins_where_its_epoch_does() {
    let mut quiet = on_kept_topics(false);
    let cuts_before = quiet.world.with(|inner| {
        let cuts = inner.logs[&1].of(Topic::LedgerCuts, Partition(0)).iter();
        let epoch = |value: &bytes::Bytes| decode_cut(value).unwrap().chunk.cut.epoch;
        cuts.filter(|record| epoch(&record.value).0 == 1).count() as u64
    });
    quiet.start_auditors(Settings::default());
    quiet.pass(2 * MINUTE);
    let at = checkpoint(&quiet);
    assert_eq!((at.epoch.0, at.skipped), (2, 0), "{at:?}");
    assert!(cuts_before > 2 && at.audited > 2, "{cuts_before}: {at:?}");
    assert!(at.next.0 <= cuts_before + at.audited, "{at:?}");
    assert_eq!(findings(&quiet), []);
}

#[test]
fn an_audit_that_was_done_with_the_epoch_before_skips_nothing() {
    let mut quiet = on_kept_topics(true);
    quiet.start_auditors(Settings::default());
    quiet.pass(2 * MINUTE);
    let at = checkpoint(&quiet);
    assert_eq!((at.epoch.0, at.skipped), (2, 0), "{at:?}");
    assert!(at.audited > 2, "{at:?}");
    assert_eq!(findings(&quiet), []);
}
