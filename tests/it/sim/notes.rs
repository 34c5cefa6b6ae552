//! What a task must know of before it goes on, or halts: that it has had a checkpoint, that another
//! worker has gone on.

use tidemark::domain::position::{Epoch, Offset, Partition};
use tidemark::domain::time::Millis;
use tidemark::log::{NewRecord, Topic};
use tidemark::ops::health::{Role, TaskId};
use tidemark::pipeline::Settings;
use tidemark::store::checkpoints::{self, ClockCorrection};

use super::log;
use super::quiet::Quiet;
use super::workload::{DAY, MINUTE};

const POST: TaskId = TaskId {
    role: Role::Post,
    partition: Partition(0),
};

fn forget(quiet: &Quiet, what: &str) {
    let (key, what) = (checkpoints::checkpoint_key(POST), what.to_owned());
    quiet.world.with(|inner| {
        let before = inner.db.items.len();
        match what.as_str() {
            "checkpoint" => inner.db.items.retain(|of, _| *of != key),
            _ => inner.db.items.retain(|of, _| of.hash != what),
        }
        assert!(inner.db.items.len() < before, "no {what}");
    });
}

/// Posts an event and stops.
fn post_one(quiet: &mut Quiet, id: &str) {
    quiet.start_worker(Settings::default());
    quiet.chat(id, "ann");
    quiet.pass(MINUTE);
    quiet.kill_worker();
}

fn assert_halted(quiet: &Quiet) {
    let halt = ("post/0".to_owned(), "tables_behind_log".to_owned());
    assert_eq!(quiet.halts(), [halt]);
}

#[test]
fn a_poster_whose_checkpoint_was_deleted_halts() {
    let mut quiet = Quiet::new(1, 1);
    post_one(&mut quiet, "r-1");
    forget(&quiet, "checkpoint");
    post_one(&mut quiet, "r-2");
    assert_halted(&quiet);
}

#[test]
fn a_poster_of_an_older_tidemark_is_noted_with_its_next_checkpoint() {
    let mut quiet = Quiet::new(1, 1);
    post_one(&mut quiet, "r-1");
    // Older versions left no such notes.
    forget(&quiet, "started");
    post_one(&mut quiet, "r-2");
    assert_eq!(quiet.halts(), []);
    forget(&quiet, "checkpoint");
    post_one(&mut quiet, "r-3");
    assert_halted(&quiet);
}

#[test]
fn a_worker_that_slept_does_not_halt_on_a_clock_that_was_corrected_meanwhile() {
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(Settings::default());
    quiet.chat("r-1", "ann");
    quiet.pass(MINUTE);
    quiet.freeze_worker(10 * MINUTE);
    let now = quiet.world.now();
    quiet.chat("r-2", "ann");
    let record = NewRecord {
        key: Some("ann".into()),
        value: quiet.last_sent().unwrap().into(),
        headers: Vec::new(),
    };
    let topic = Topic::UsageEvents;
    quiet.world.with(|inner| {
        log::land_at(
            inner,
            Epoch(1),
            topic,
            Partition(0),
            vec![record],
            now + DAY,
        );
    });
    quiet.start_worker(Settings::default());
    quiet.pass(MINUTE);
    let halt = ("rate/0".to_owned(), "clock_ahead".to_owned());
    assert_eq!(quiet.halts(), [halt]);
    let end = quiet
        .world
        .with(|inner| inner.logs[&1].of(topic, Partition(0)).len());
    let correction = ClockCorrection {
        epoch: Epoch(1),
        until: Offset(end as u64),
        at: Millis(quiet.world.now()),
    };
    let (db, task) = (quiet.db(), TaskId::new(Role::Rate, Partition(0)));
    quiet.finish(async move {
        let partition = task.partition;
        let corrected = checkpoints::correct_clock(&db, partition, &correction, "t", correction.at);
        corrected.await.unwrap();
        assert!(
            checkpoints::resume(&db, task, "t", correction.at)
                .await
                .unwrap()
        );
    });
    quiet.pass(5 * MINUTE);
    assert_eq!(quiet.halts(), [], "before the sleeper wakes");
    quiet.pass(10 * MINUTE);
    assert_eq!(quiet.halts(), [], "after it has");
}
