//! The pipeline of `tidemark up` on its embedded engines: how many events a second become rows, with and without a row for each
//! request, and what the store alone takes.
//!
//! `cargo bench --bench embedded -- [EVENTS [USERS]]`. All events stand in the log at the start, so what is measured is how fast
//! a backlog is worked off: from the first record that is read to the last row that is written, synced as `up` does it. Then how
//! fast one partition is rated if every answer of the store takes 7 ms, as DynamoDB's do, by the largest size of a chunk.

#[allow(dead_code, reason = "this benchmark needs a part of it")]
mod load;
#[path = "load/rules.rs"]
mod rules;
#[allow(dead_code, reason = "this benchmark needs a part of it")]
#[path = "kafka/sink.rs"]
mod sink;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use load::Draw;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sink::Sink;
use tidemark::domain::position::{Offset, Partition};
use tidemark::log::embedded::EmbeddedLog;
use tidemark::log::{Bounds, Log, NewRecord, Topic, topics, usage_partition};
use tidemark::ops::clock::{Clock, SystemClock};
use tidemark::ops::health::{Health, Role, TaskId};
use tidemark::ops::metrics::Metrics;
use tidemark::pipeline::{self, Settings, WorkerContext, progress};
use tidemark::store::db::{Attr, Condition, Db, Item, Key, Table, Write};
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};
use tidemark::store::embedded::EmbeddedStore;
use tidemark::store::meter::StoreMeter;
use tidemark::store::tables::create_tables;
use tokio::sync::watch;

/// As in the program: the store's and the log's allocations are its too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVENTS: usize = 300_000;
const USERS: usize = 100_000;
const PARTITIONS: u32 = 4;
/// How long DynamoDB takes for an answer.
const LATENCY: Duration = Duration::from_millis(7);
/// What is appended at a time.
const APPENDED: usize = 2_000;

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok());
    let events = numbers.next().unwrap_or(EVENTS);
    let users = numbers.next().unwrap_or(USERS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads");
    runtime.block_on(async {
        store_alone().await;
        for usage_rows in [true, false] {
            pipeline(events, users, usage_rows).await;
        }
        for usage_rows in [true, false] {
            for chunk_records_max in [1_000, 5_000, 20_000] {
                over_a_network(events.min(100_000), chunk_records_max, usage_rows).await;
            }
        }
    });
}

/// An embedded store with its tables, as `up` opens it.
async fn open(dir: &std::path::Path) -> (EmbeddedStore, DynamoDb, Arc<StoreMeter>) {
    let store = EmbeddedStore::open(&dir.join("store")).expect("an empty directory");
    let settings = DynamoSettings {
        durability: Some(store.durability()),
        ..DynamoSettings::embedded(store.client())
    };
    let meter = Arc::new(StoreMeter::default());
    let db = DynamoDb::new(&settings, meter.clone(), Arc::new(SystemClock));
    create_tables(&db).await.expect("an empty store");
    (store, db, meter)
}

/// An item of about the size and number of attributes of a request's row.
fn wide(table: Table, hash: String, range: String, version: i128) -> Item {
    let mut item = Key::new(table, hash, range).into_item();
    item.insert("version", Attr::N(version));
    for name in [
        "customer", "source", "id", "time", "endpoint", "service", "model", "tier", "provider",
        "control",
    ] {
        item.insert(name, Attr::S(format!("{name} of a row in the benchmark")));
    }
    for name in [
        "statusCode",
        "latencyMs",
        "inputTokens",
        "outputTokens",
        "points",
        "cost",
        "expiresAt",
        "requestBytes",
    ] {
        item.insert(name, Attr::N(i128::from(u32::MAX)));
    }
    item
}

/// Rows a second of each kind of write, with what a worker has under way at once.
async fn store_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (store, db, _) = open(dir.path()).await;
    let rows = 40_000_usize;
    let started = Instant::now();
    let lanes = (0..PARTITIONS as usize).map(|lane| {
        let db = db.clone();
        async move {
            for chunk in 0..rows / 4 / 1_000 {
                let row = |n: usize| {
                    wide(
                        Table::UsageTracking,
                        format!("user-{n}#{lane}#{chunk}"),
                        "r".to_owned(),
                        1,
                    )
                };
                let items = (0..1_000).map(row).collect();
                db.put_all(Table::UsageTracking, items)
                    .await
                    .expect("the store takes rows");
            }
        }
    });
    join_all(lanes).await;
    tell("requests' rows, 1,000 at a time, 4 at once", rows, started);
    let rows = 20_000;
    let started = Instant::now();
    for version in 0..2_i128 {
        let lanes = (0..32).map(|lane| {
            let db = db.clone();
            async move {
                for n in (lane..rows / 2).step_by(32) {
                    let condition = match version {
                        0 => Condition::Absent,
                        _ => Condition::Equals("version", Attr::N(version - 1)),
                    };
                    let write = Write::Put {
                        table: Table::UserPoints,
                        item: wide(
                            Table::UserPoints,
                            format!("user-{n}"),
                            "2026-11".to_owned(),
                            version,
                        ),
                        condition,
                    };
                    db.write(write).await.expect("the condition holds");
                }
            }
        });
        join_all(lanes).await;
    }
    tell(
        "accounts' rows under a condition, 32 at once",
        rows,
        started,
    );
    let reads = 20_000;
    let started = Instant::now();
    for first in (0..reads).step_by(100) {
        let key = |n: usize| {
            Key::new(
                Table::UserPoints,
                format!("user-{}", n % (rows / 2)),
                "2026-11",
            )
        };
        let keys: Vec<Key> = (first..first + 100).map(key).collect();
        db.batch_get(&keys).await.expect("the store answers");
    }
    tell("rows read, 100 at a time", reads, started);
    store.shutdown(Duration::from_secs(5)).await;
}

fn tell(what: &str, count: usize, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("{what:<60} {:>9.0}/s", count as f64 / seconds);
}

/// Appends all events; where each partition of the log ends.
async fn fill(log: &EmbeddedLog, events: usize, users: usize) -> Vec<Bounds> {
    let mut rng = StdRng::seed_from_u64(7);
    let mut waiting: Vec<Vec<NewRecord>> = (0..PARTITIONS).map(|_| Vec::new()).collect();
    let mut ends = vec![0; PARTITIONS as usize];
    for id in 0..events {
        let draw = Draw {
            user: rng.random_range(0..users),
            provider: rng.random_range(0..load::PROVIDERS / 20),
        };
        let value = load::event(draw, id as u64, SystemClock.now(), &mut rng);
        let p = usage_partition(&load::user(draw.user), PARTITIONS).0 as usize;
        waiting[p].push(NewRecord {
            value,
            ..NewRecord::default()
        });
        let is_last = id + 1 == events;
        for (p, records) in waiting.iter_mut().enumerate() {
            if records.len() >= APPENDED || is_last && !records.is_empty() {
                ends[p] += records.len() as u64;
                let records = std::mem::take(records);
                let partition = Partition(u32::try_from(p).expect("few partitions"));
                let append = log.append(Topic::UsageEvents, partition, records);
                append.await.expect("the log takes records");
            }
        }
    }
    let bounds = |end| Bounds {
        start: Offset(0),
        end: Offset(end),
    };
    ends.into_iter().map(bounds).collect()
}

async fn pipeline(events: usize, users: usize, usage_rows: bool) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = Arc::new(SystemClock);
    let (log, _) = EmbeddedLog::open(&dir.path().join("log"), &topics::shipped(), clock.clone())
        .expect("an empty directory");
    let (store, db, meter) = open(dir.path()).await;
    rules::publish(&db, clock.now()).await;
    let bounds = fill(&log, events, users).await;
    let log = Arc::new(log);
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::new(metrics.clone()));
    let settings = Settings {
        usage_rows,
        ..Settings::default()
    };
    let ctx = Arc::new(WorkerContext::new(
        log.clone(),
        Arc::new(db.clone()),
        clock,
        settings,
        metrics,
        health,
        1,
    ));
    let (stop, stopped) = watch::channel(false);
    let before = written(&meter);
    let started = Instant::now();
    let tasks = pipeline::all_tasks(PARTITIONS, PARTITIONS);
    let running = join_all(
        tasks
            .into_iter()
            .map(|task| tokio::spawn(pipeline::run(ctx.clone(), task, stopped.clone()))),
    );
    let measured = async {
        let rated = until_rated(&db, &log, &bounds).await;
        let rated_after = started.elapsed().as_secs_f64();
        while !progress::posted(&db, &rated)
            .await
            .expect("the store answers")
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let seconds = started.elapsed().as_secs_f64();
        let units = (written(&meter) - before) / events as f64;
        let rows = if usage_rows { "with" } else { "without" };
        println!(
            "{events} events of {users} users, {rows} a row for each request: rated after {rated_after:.1} s, all in rows after \
             {seconds:.1} s, {:.0} events/s, {units:.2} write units per event",
            events as f64 / seconds
        );
        stop.send(true).expect("the tasks listen");
    };
    join(running, measured).await;
    store.shutdown(Duration::from_secs(30)).await;
}

/// Rating of one partition, all of whose events wait in the log.
async fn over_a_network(events: usize, chunk_records_max: usize, usage_rows: bool) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = Arc::new(SystemClock);
    let (log, _) = EmbeddedLog::open(&dir.path().join("log"), &topics::shipped(), clock.clone())
        .expect("an empty directory");
    let db = Arc::new(Sink::answering_after(LATENCY));
    rules::publish(&*db, clock.now()).await;
    let bounds = fill(&log, events * PARTITIONS as usize, USERS).await;
    let records = bounds[0].end.0;
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::new(metrics.clone()));
    let settings = Settings {
        usage_rows,
        chunk_records_max,
        ..Settings::default()
    };
    let log = Arc::new(log);
    let ctx = Arc::new(WorkerContext::new(
        log,
        db.clone(),
        clock,
        settings,
        metrics,
        health,
        1,
    ));
    let (stop, stopped) = watch::channel(false);
    let task = TaskId::new(Role::Rate, Partition(0));
    let started = Instant::now();
    let running = tokio::spawn(pipeline::run(ctx, task, stopped));
    let is_done = || async {
        let cut = progress::rate_checkpoint(&*db, Partition(0)).await;
        cut.expect("the store answers")
            .is_some_and(|cut| cut.to >= Offset(records))
    };
    while !is_done().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    let rows = if usage_rows { "with" } else { "without" };
    println!(
        "one partition, answers after 7 ms, chunks of up to {chunk_records_max}, {rows} usage rows: {:.0} events/s",
        records as f64 / seconds
    );
    stop.send(true).expect("the task listens");
    running.await.expect("the task ends");
}

async fn until_rated(
    db: &DynamoDb,
    log: &EmbeddedLog,
    bounds: &[Bounds],
) -> progress::RatedSequences {
    loop {
        let rated = progress::rated(db, log.epoch(), bounds).await;
        if let Some(rated) = rated.expect("the store answers") {
            return rated;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn written(meter: &StoreMeter) -> f64 {
    Table::ALL
        .iter()
        .map(|table| meter.of_table(*table).write)
        .sum()
}
