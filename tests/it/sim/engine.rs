//! The simulated world's own tests: it is deterministic, and its faults bite.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidemark::domain::position::{Epoch, Offset, Partition};
use tidemark::log::{Log, NewRecord, ReadLimit, Topic};
use tidemark::ops::clock::Clock;
use tidemark::store::db::{Attr, Condition, Db, Key, StoreError, Table, Write};

use super::clock::SimClock;
use super::db::SimDb;
use super::faults::Faults;
use super::log::{LogState, SimLog};
use super::world::{Executor, Stopped, World};

const START: i64 = 1_795_000_000_000;
const HOUR: i64 = 3_600_000;

fn key() -> Key {
    Key::new(Table::Checkpoints, "counter", "it")
}

async fn value(db: &dyn Db) -> Option<i128> {
    loop {
        match db.get(&key()).await {
            Ok(Some(item)) => match item.get("n") {
                Some(Attr::N(n)) => return Some(*n),
                other => panic!("the counter holds {other:?}"),
            },
            Ok(None) => return None,
            Err(_) => {}
        }
    }
}

/// Adds one, `times` times. A careless counter writes what it read plus one, without a condition, and repeats what was not answered.
async fn count(db: Arc<dyn Db>, clock: Arc<dyn Clock>, times: u32, careful: bool) {
    for _ in 0..times {
        loop {
            let was = value(db.as_ref()).await;
            let next = was.unwrap_or(0) + 1;
            let mut item = key().item();
            item.insert("n".to_owned(), Attr::N(next));
            let condition = match was {
                _ if !careful => Condition::Always,
                None => Condition::Absent,
                Some(was) => Condition::Equals("n", Attr::N(was)),
            };
            let put = Write::Put {
                table: Table::Checkpoints,
                item,
                condition,
            };
            match db.write(put).await {
                Ok(()) => break,
                Err(StoreError::ConditionFailed) if careful => {}
                Err(_) => clock.sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

fn faulty() -> Faults {
    Faults {
        throttled: 50,
        lost_after: 100,
        lost_before: 50,
        late: 100,
        late_ms_max: 500,
        ..Faults::none()
    }
}

/// Runs two counters; returns what they counted to, and the digest of the trace.
fn counters(seed: u64, faults: Faults, workers: u64, careful: bool) -> (i128, u64) {
    let world = World::new(seed, START, faults, true);
    let mut executor = Executor::new(world.clone());
    for owner in 1..=workers {
        let db = Arc::new(SimDb {
            world: world.clone(),
        });
        let clock = Arc::new(SimClock {
            world: world.clone(),
            skew_ms: 0,
        });
        executor.spawn(owner, count(db, clock, 10, careful));
    }
    let ended = executor.run_until(START + HOUR, 1_000_000, |e| {
        (1..=workers).all(|owner| !e.lives(owner))
    });
    assert_eq!(ended, Stopped::Done);
    let n = world.with(|inner| match inner.db.items[&key()].get("n") {
        Some(Attr::N(n)) => *n,
        other => panic!("the counter holds {other:?}"),
    });
    (n, world.digest())
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    for seed in 0..20 {
        let once = counters(seed, faulty(), 2, true);
        assert_eq!(once, counters(seed, faulty(), 2, true));
        assert_ne!(once.1, counters(seed + 1_000, faulty(), 2, true).1);
    }
}

#[test]
fn without_faults_and_rivals_a_careless_counter_is_right() {
    for seed in 0..20 {
        assert_eq!(counters(seed, Faults::none(), 1, false).0, 10);
    }
}

#[test]
fn rivals_make_a_careless_counter_lose_and_a_conditional_one_not() {
    assert!((0..50).any(|seed| counters(seed, Faults::none(), 2, false).0 < 20));
    assert!((0..50).all(|seed| counters(seed, Faults::none(), 2, true).0 == 20));
}

#[test]
fn lost_answers_make_even_a_conditional_counter_count_twice() {
    assert!((0..50).any(|seed| counters(seed, faulty(), 1, true).0 > 10));
}

#[test]
fn a_killed_process_may_still_write_and_a_frozen_one_does_nothing_until_it_thaws() {
    let mut landed = 0;
    for seed in 0..50 {
        let world = World::new(seed, START, Faults::none(), false);
        let mut executor = Executor::new(world.clone());
        let (db, clock) = (
            Arc::new(SimDb {
                world: world.clone(),
            }),
            Arc::new(SimClock {
                world: world.clone(),
                skew_ms: 0,
            }),
        );
        executor.spawn(1, count(db.clone(), clock.clone(), 1, true));
        executor.spawn(2, count(db, clock, 1, true));
        executor.freeze(2, START + HOUR);
        for _ in 0..6 {
            executor.step();
        }
        executor.kill(1);
        let ended = executor.run_until(START + HOUR - 1, 10_000, |e| !e.lives(2));
        assert_ne!(ended, Stopped::Done, "a frozen process went on");
        landed += u32::from(world.with(|inner| inner.db.items.contains_key(&key())));
        assert_eq!(
            executor.run_until(START + 2 * HOUR, 10_000, |e| !e.lives(2)),
            Stopped::Done
        );
    }
    assert!((1..50).contains(&landed), "landed {landed} times of 50");
}

/// Repeats each append until it is acknowledged; returns what the partition then holds.
fn appended(seed: u64, faults: Faults) -> Vec<u8> {
    let world = World::new(seed, START, faults, true);
    world.with(|inner| inner.logs.insert(1, LogState::new(1, 1, 1)));
    let mut executor = Executor::new(world.clone());
    let log = SimLog {
        world: world.clone(),
        epoch: Epoch(1),
    };
    executor.spawn(1, async move {
        for n in 0..10_u8 {
            let record = NewRecord {
                value: Bytes::copy_from_slice(&[n]),
                ..NewRecord::default()
            };
            let batch = vec![record];
            while log
                .append(Topic::LedgerPostings, Partition(0), batch.clone())
                .await
                .is_err()
            {}
        }
    });
    assert_eq!(
        executor.run_until(START + HOUR, 100_000, |e| !e.lives(1)),
        Stopped::Done
    );
    while executor.step() {}
    world.with(|inner| {
        inner.logs[&1]
            .of(Topic::LedgerPostings, Partition(0))
            .iter()
            .map(|r| r.value[0])
            .collect()
    })
}

#[test]
fn an_acknowledged_append_is_there_and_repeats_leave_duplicates() {
    let mut duplicates = 0;
    let mut out_of_order = 0;
    for seed in 0..50 {
        let values = appended(seed, faulty());
        assert!((0..10).all(|n| values.contains(&n)));
        duplicates += u32::from(values.len() > 10);
        out_of_order += u32::from(!values.is_sorted());
    }
    assert!(duplicates > 0 && out_of_order > 0);
    assert_eq!(
        appended(7, Faults::none()),
        (0..10).collect::<Vec<u8>>(),
        "without faults nothing is repeated"
    );
}

#[test]
fn a_read_waits_for_the_first_record_and_no_longer_than_it_says() {
    let world = World::new(3, START, Faults::none(), true);
    world.with(|inner| inner.logs.insert(1, LogState::new(1, 1, 1)));
    let mut executor = Executor::new(world.clone());
    let log = SimLog {
        world: world.clone(),
        epoch: Epoch(1),
    };
    let reader = log.clone();
    let limit = ReadLimit {
        records: 10,
        bytes: 1_000,
    };
    let of = (Topic::UsageEvents, Partition(0));
    executor.spawn(1, async move {
        let second = Duration::from_secs(1);
        let none = reader.read(of.0, of.1, Offset(0), limit, second).await;
        assert_eq!(none.expect("no faults"), vec![]);
        let some = reader
            .read(of.0, of.1, Offset(0), limit, second * 600)
            .await;
        assert_eq!(some.expect("no faults").len(), 1);
    });
    executor.spawn(2, async move {
        log.world.sleep(20_000).await;
        let record = NewRecord::default();
        log.append(of.0, of.1, vec![record])
            .await
            .expect("no faults");
    });
    assert_eq!(
        executor.run_until(START + 30_000, 10_000, |e| !e.lives(1)),
        Stopped::Done
    );
}
