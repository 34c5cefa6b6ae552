//! Rows that go back to an earlier moment under a running poster: by themselves, which nothing would make good, or together with
//! the checkpoint from which what they lack is posted again.

use std::collections::BTreeMap;

use tidemark::domain::position::Partition;
use tidemark::ops::health::{Role, TaskId};
use tidemark::pipeline::{Breakage, Settings};
use tidemark::store::checkpoints::checkpoint_key;
use tidemark::store::db::{Item, Key, Table};

use super::quiet::Quiet;
use super::workload::MINUTE;

type Items = BTreeMap<Key, Item>;

/// What goes back, and to which of two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restored {
    /// Ann's rows, to before her second request.
    Rows,
    /// The same; and the checkpoint of posting, to when it had passed that request.
    RowsAndLaterCheckpoint,
    /// All rows of users and the checkpoint, to the same moment.
    Together,
}

fn copy(quiet: &Quiet) -> Items {
    quiet.world.with(|inner| inner.db.items.clone())
}

fn put_back(quiet: &Quiet, from: &Items, is_it: impl Fn(&Key) -> bool) {
    quiet.world.with(|inner| {
        inner.db.items.retain(|key, _| !is_it(key));
        let restored = from.iter().filter(|(key, _)| is_it(key));
        let restored = restored.map(|(key, item)| (key.clone(), item.clone()));
        inner.db.items.extend(restored);
    });
}

/// The halts, and how many of Ann's three requests are counted.
fn course(restored: Restored, breakage: Option<Breakage>) -> (Vec<String>, u64) {
    let mut quiet = Quiet::new(1, 1);
    quiet.break_workers(breakage);
    quiet.start_worker(Settings::default());
    let mut chat = |id: &str, user: &str| {
        quiet.chat(id, user);
        quiet.pass(10_000);
        copy(&quiet)
    };
    let first = chat("1", "ann");
    chat("2", "ann");
    // The row that was written last is looked at in any case.
    let second = chat("1", "ben");
    chat("2", "ben");

    let checkpoint = checkpoint_key(TaskId::new(Role::Post, Partition(0)));
    let is_checkpoint = |key: &Key| *key == checkpoint;
    let is_row = |key: &Key| key.table == Table::UserPoints;
    let is_of_ann = |key: &Key| is_row(key) && key.hash == "ann";
    match restored {
        Restored::Rows => put_back(&quiet, &first, is_of_ann),
        Restored::RowsAndLaterCheckpoint => {
            put_back(&quiet, &first, is_of_ann);
            put_back(&quiet, &second, is_checkpoint);
        }
        Restored::Together => put_back(&quiet, &first, |key| is_row(key) || is_checkpoint(key)),
    }
    quiet.chat("3", "ann");
    quiet.pass(2 * MINUTE);
    let halts = quiet.halts().into_iter();
    let halts = halts.map(|(task, code)| format!("{task} {code}"));
    (halts.collect(), quiet.requests("ann"))
}

#[test]
fn rows_that_go_back_by_themselves_halt_and_what_goes_back_together_is_posted_again() {
    let halted = || vec!["post/0 row_regressed".to_owned()];
    assert_eq!(course(Restored::Rows, None), (halted(), 1));
    let later = course(Restored::RowsAndLaterCheckpoint, None);
    assert_eq!(later, (halted(), 1));
    assert_eq!(course(Restored::Together, None), (Vec::new(), 3));
}

#[test]
fn the_simulator_finds_rows_that_went_back_and_are_taken() {
    for restored in [Restored::Rows, Restored::RowsAndLaterCheckpoint] {
        let taken = course(restored, Some(Breakage::RegressedRowsTaken));
        assert_eq!(taken, (Vec::new(), 2), "{restored:?}: the second is lost");
    }
}
