//! How fast the auditor is beside the rater: one source partition, the embedded log and the embedded
//! DynamoDB, usage rows off. The rater also writes: cuts, blocks and records of `ledger.cuts`; the auditor
//! reads them.
//!
//! `cargo bench --bench audit` prints both rates and their ratio, which must be at least 0.5.

mod load;
#[path = "load/rules.rs"]
mod rules;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemark::domain::position::{Offset, Partition};
use tidemark::log::embedded::EmbeddedLog;
use tidemark::log::{Log, NewRecord, Topic, topics};
use tidemark::ops::clock::{Clock, SystemClock};
use tidemark::ops::health::{Health, Role, TaskId};
use tidemark::ops::metrics::Metrics;
use tidemark::pipeline::{self, Settings, WorkerContext, progress};
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};
use tidemark::store::embedded::EmbeddedStore;
use tidemark::store::meter::StoreMeter;
use tidemark::store::tables::create_tables;
use tokio::sync::watch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVENTS: usize = 500_000;
const BATCH: usize = 10_000;
const P: Partition = Partition(0);

async fn append(log: &EmbeddedLog) {
    let (draws, mut rng) = load::draws(EVENTS);
    let mut sent = 0;
    for batch in draws.chunks(BATCH) {
        let now = SystemClock.now();
        let record = |draw: &load::Draw| {
            sent += 1;
            NewRecord {
                value: load::event(*draw, sent, now, &mut rng),
                ..NewRecord::default()
            }
        };
        let records = batch.iter().map(record).collect();
        log.append(Topic::UsageEvents, P, records)
            .await
            .expect("the log takes records");
    }
}

/// Runs a task until `done`; seconds.
async fn run(ctx: &Arc<WorkerContext>, role: Role, done: impl AsyncFn() -> bool) -> f64 {
    let (stop, stopped) = watch::channel(false);
    let started = Instant::now();
    let task = tokio::spawn(pipeline::run(ctx.clone(), TaskId::new(role, P), stopped));
    while !done().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = started.elapsed().as_secs_f64();
    stop.send_replace(true);
    task.await.expect("the task ends");
    took
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut specs = topics::shipped();
    specs.iter_mut().for_each(|spec| spec.partitions = 1);
    let (log, _) = EmbeddedLog::open(&dir.path().join("log"), &specs, Arc::new(SystemClock))
        .expect("a new log opens");
    let (log, metrics) = (Arc::new(log), Arc::new(Metrics::new()));
    let store = EmbeddedStore::open(&dir.path().join("store")).expect("a new store opens");
    let db = DynamoDb::new(
        &DynamoSettings::embedded(store.client()),
        Arc::new(StoreMeter::default()),
        Arc::new(SystemClock),
    );
    create_tables(&db).await.expect("tables");
    rules::publish(&db, SystemClock.now()).await;
    append(&log).await;
    let ctx = Arc::new(WorkerContext::new(
        log.clone(),
        Arc::new(db.clone()),
        Arc::new(SystemClock),
        Settings {
            usage_rows: false,
            ..Settings::default()
        },
        metrics.clone(),
        Arc::new(Health::new(metrics)),
        1,
    ));
    let end = Offset(EVENTS as u64);
    let rated = async || {
        let stored = progress::rate_checkpoint(&db, P)
            .await
            .expect("the store answers");
        stored.is_some_and(|stored| stored.to >= end)
    };
    let rating = run(&ctx, Role::Rate, rated).await;
    let audited = async || {
        let stored = progress::audit_checkpoint(&db, P)
            .await
            .expect("the store answers");
        let passed = stored.and_then(|stored| stored.passed);
        passed.is_some_and(|passed| passed.to >= end)
    };
    let auditing = run(&ctx, Role::Audit, audited).await;
    let stored = progress::audit_checkpoint(&db, P).await;
    let stored = stored.expect("the store answers").expect("it has one");
    assert_eq!((stored.skipped, stored.findings), (0, 0));
    let rate = |seconds: f64| EVENTS as f64 / seconds;
    println!("rating    {:>9.0} events/s", rate(rating));
    println!("audit     {:>9.0} events/s", rate(auditing));
    println!("ratio     {:>9.2}", rating / auditing);
    store.shutdown(Duration::from_secs(5)).await;
}
