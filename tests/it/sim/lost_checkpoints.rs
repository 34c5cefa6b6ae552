//! A checkpoint that was deleted by itself, and `tidemark recover`.

use std::collections::BTreeMap;

use tidemark::domain::position::Partition;
use tidemark::log::Topic;
use tidemark::ops::health::{Role, TaskId};
use tidemark::pipeline::Settings;
use tidemark::pipeline::recover::Refusal;
use tidemark::store::checkpoints::checkpoint_key;
use tidemark::store::db::Key;

use super::adapter;
use super::quiet::Quiet;
use super::workload::MINUTE;

const USERS: [&str; 6] = ["ann", "ben", "cem", "dee", "eve", "fay"];

/// One after the other, so that there are many chunks.
fn rate_some(quiet: &mut Quiet, round: &str, until: i64) {
    quiet.start_worker(Settings::default());
    for turn in 0..5 {
        for user in USERS {
            quiet.chat(&format!("{round}-{turn}-{user}"), user);
        }
        quiet.pass(until / 5);
    }
    quiet.kill_worker();
}

#[track_caller]
fn assert_each_has(quiet: &Quiet, expected: u64) {
    for user in USERS {
        assert_eq!(quiet.requests(user), expected, "{user}");
    }
}

fn forget(quiet: &Quiet, task: TaskId, copies_too: bool) {
    let key = checkpoint_key(task);
    quiet.world.with(|inner| {
        assert!(inner.db.items.remove(&key).is_some(), "no {key:?}");
        let is_copy = |of: &Key| of.hash == key.hash && of.range.starts_with("earlier#");
        inner.db.items.retain(|of, _| !(copies_too && is_copy(of)));
    });
}

const fn post(q: u32) -> TaskId {
    TaskId {
        role: Role::Post,
        partition: Partition(q),
    }
}

const RATE: TaskId = TaskId {
    role: Role::Rate,
    partition: Partition(0),
};

/// The log has dropped what stands before an offset.
fn drop_before(quiet: &Quiet, topic: Topic, partition: u32, start: u64) {
    quiet.world.with(|inner| {
        let log = inner.logs.get_mut(&1).unwrap();
        log.starts.insert((topic, partition), start);
    });
}

fn end(quiet: &Quiet, topic: Topic, partition: u32) -> u64 {
    let count = |log: &super::log::LogState| log.of(topic, Partition(partition)).len();
    quiet.world.with(|inner| count(&inner.logs[&1])) as u64
}

fn recover(quiet: &mut Quiet) -> BTreeMap<u32, u64> {
    let chunks = quiet.recover().unwrap();
    assert!(!chunks.is_empty(), "nothing was recovered");
    chunks
}

#[test]
fn a_posting_checkpoint_that_was_deleted_is_put_back_and_nothing_counts_twice() {
    for copies_too in [false, true] {
        let mut quiet = Quiet::new(2, 2);
        rate_some(&mut quiet, "first", 25 * MINUTE);
        assert_each_has(&quiet, 5);
        forget(&quiet, post(1), copies_too);
        recover(&mut quiet);
        assert_eq!(quiet.recover(), Ok(BTreeMap::new()), "once is enough");
        rate_some(&mut quiet, "second", 5 * MINUTE);
        assert_eq!(quiet.halts(), []);
        assert_each_has(&quiet, 10);
    }
}

#[test]
fn a_posting_checkpoint_that_was_deleted_is_put_back_to_a_copy_that_the_log_still_reaches() {
    let mut quiet = Quiet::new(2, 2);
    rate_some(&mut quiet, "first", 25 * MINUTE);
    drop_before(&quiet, Topic::LedgerPostings, 1, 2);
    forget(&quiet, post(1), false);
    recover(&mut quiet);
    rate_some(&mut quiet, "second", 5 * MINUTE);
    assert_eq!(quiet.halts(), []);
    assert_each_has(&quiet, 10);

    forget(&quiet, post(1), true);
    let refused = quiet.recover();
    let Err(refusal @ Refusal::PostingCheckpointLost { .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(refusal.to_string().contains("post#1"), "{refusal}");
    let end = end(&quiet, Topic::LedgerPostings, 1);
    assert!(end > 2, "{end}");
}

#[test]
fn a_rate_checkpoint_that_was_deleted_is_mended_also_where_the_log_has_dropped_its_beginning() {
    let mut quiet = Quiet::new(2, 2);
    rate_some(&mut quiet, "first", 25 * MINUTE);
    for p in [0, 1] {
        drop_before(&quiet, Topic::UsageEvents, p, 2);
        drop_before(&quiet, Topic::LedgerPostings, p, 1);
    }
    forget(&quiet, RATE, false);
    let other = |db: &_| adapter::rate_checkpoint(db, 1).unwrap().chunk.0;
    let known = quiet.world.with(|inner| other(&inner.db));
    let chunks = recover(&mut quiet);
    assert_eq!(quiet.recover(), Ok(BTreeMap::new()), "once is enough");
    // The newest chunk says where to go on.
    assert_eq!(chunks[&0], 1, "{chunks:?}");
    // Of the other partition only what posting takes again: its usage rows may be older.
    assert!(chunks[&1] + 5 < known, "{chunks:?} of {known}");
    rate_some(&mut quiet, "second", 5 * MINUTE);
    assert_eq!(quiet.halts(), []);
    assert_each_has(&quiet, 10);
}
