//! A checkpoint that was deleted by itself, and `tidemark recover`.

use tidemark::domain::ids::{Account, AccountKind};
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

fn requests(quiet: &Quiet, user: &str) -> u64 {
    let account = Account::new(AccountKind::User, user).unwrap();
    quiet.world.with(|inner| {
        let rows = adapter::month_rows(&inner.db, &account).unwrap();
        let days = rows.values().flat_map(|stored| stored.row.days.iter());
        days.map(|(_, day)| day.requests).sum()
    })
}

#[track_caller]
fn assert_each_has(quiet: &Quiet, expected: u64) {
    for user in USERS {
        assert_eq!(requests(quiet, user), expected, "{user}");
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

#[test]
fn a_posting_checkpoint_that_was_deleted_is_put_back_and_nothing_counts_twice() {
    for copies_too in [false, true] {
        let mut quiet = Quiet::new(2, 2);
        rate_some(&mut quiet, "first", 25 * MINUTE);
        assert_each_has(&quiet, 5);
        forget(&quiet, post(1), copies_too);
        assert_eq!(quiet.recover(), Ok(true));
        assert_eq!(quiet.recover(), Ok(false), "once is enough");
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
    assert_eq!(quiet.recover(), Ok(true));
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
