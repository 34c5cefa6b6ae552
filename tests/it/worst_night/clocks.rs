//! A wall clock that is set back under a worker: intervals, checkpoints and the stop go on.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use tidemark::domain::position::Partition;
use tidemark::domain::rules::{Network, RulesDocument};
use tidemark::domain::time::Millis;
use tidemark::log::embedded::EmbeddedLog;
use tidemark::log::{Log, NewRecord, Partitions, Topic, topics, usage_partition};
use tidemark::ops::clock::{Clock, SystemClock};
use tidemark::ops::health::Health;
use tidemark::ops::metrics::Metrics;
use tidemark::pipeline::{self, Settings, WorkerContext, progress};
use tidemark::store::pricing::{self, NewValue, Publish};
use tidemark::store::tables::create_tables;
use tokio::sync::watch;

use super::on_call::{doctor_says, sums_equal_the_oracle};
use super::store_proxy::{Mode, StoreProxy};
use crate::process::books::statements_equal_the_oracle;
use crate::process::site::{Site, Up};
use crate::store::{client, embedded_endpoint, settings};

/// A worker's wall clock, which may be set.
#[derive(Default)]
struct Wall(AtomicI64);

#[async_trait]
impl Clock for Wall {
    fn now(&self) -> Millis {
        SystemClock.now().plus(self.0.load(Ordering::SeqCst))
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

fn event(number: u32) -> NewRecord {
    let event = json!({
        "requestId": format!("r-{number}"), "userId": "ada", "endpoint": "/v1/scrape",
        "timestamp": jiff::Timestamp::now().to_string(), "statusCode": 200,
    });
    NewRecord {
        key: Some(Bytes::from_static(b"ada")),
        value: Bytes::from(event.to_string()),
        ..NewRecord::default()
    }
}

pub(super) async fn publish_rules(db: &tidemark::store::dynamo::DynamoDb) {
    let (file, text) = Network::Testnet.document();
    let document = RulesDocument::parse_toml(file, text).unwrap();
    let value = |(key, value)| NewValue { key, value };
    let now = SystemClock.now();
    let publication = Publish {
        values: document.changes().into_iter().map(value).collect(),
        effective_from: now,
        by: "a test".to_owned(),
        reason: "a test".to_owned(),
        now,
        token: "rules".to_owned(),
    };
    pricing::publish(db, &publication).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_clock_is_set_back_goes_on_and_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let specs = topics::load(None).unwrap();
    let (log, _) = EmbeddedLog::open(dir.path(), &specs, Arc::new(SystemClock)).unwrap();
    let log: Arc<dyn Log> = Arc::new(log);
    let db = client(&settings(embedded_endpoint()));
    create_tables(&db).await.unwrap();
    publish_rules(&db).await;
    let partitions = Partitions::of(&*log).await.unwrap();
    let metrics = Arc::new(Metrics::new());
    let wall = Arc::new(Wall::default());
    let ctx = Arc::new(WorkerContext::new(
        log.clone(),
        Arc::new(db.clone()),
        wall.clone(),
        Settings {
            // The clock is set while a chunk waits to become full.
            chunk_age: Duration::from_secs(1),
            ..Settings::default()
        },
        metrics.clone(),
        Arc::new(Health::new(metrics)),
        1,
    ));
    let (stop, stopped) = watch::channel(false);
    let tasks: Vec<_> = pipeline::all_tasks(partitions.source, partitions.posting)
        .into_iter()
        .map(|task| tokio::spawn(pipeline::run(ctx.clone(), task, stopped.clone())))
        .collect();
    let home = usage_partition("ada", partitions.source);
    for round in 0..3 {
        let records = vec![event(round)];
        log.append(Topic::UsageEvents, home, records).await.unwrap();
        // Within the chunk's second; the next round begins with the clock set back already.
        tokio::time::sleep(Duration::from_millis(300)).await;
        wall.0.fetch_sub(15 * 60_000, Ordering::SeqCst);
        all_is_posted(&*log, &db, partitions).await;
    }
    stop.send_replace(true);
    let asked = Instant::now();
    for task in tasks {
        let ended = tokio::time::timeout(Duration::from_secs(10), task).await;
        ended.expect("a stop ends the tasks").unwrap();
    }
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert_eq!(statements_equal_the_oracle(log, &db).await, 1);
}

/// Waits until the stored checkpoints cover everything that is in the log.
async fn all_is_posted(log: &dyn Log, db: &tidemark::store::dynamo::DynamoDb, count: Partitions) {
    let started = Instant::now();
    loop {
        let mut bounds = Vec::new();
        for partition in (0..count.source).map(Partition) {
            bounds.push(log.bounds(Topic::UsageEvents, partition).await.unwrap());
        }
        let rated = progress::rated(db, log.epoch(), &bounds).await.unwrap();
        if let Some(wanted) = rated
            && progress::posted(db, &wanted).await.unwrap()
        {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "checkpoints stand still"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until a metric, the largest of its series, is in a range.
fn metric_is(up: &Up, name: &str, range: RangeInclusive<f64>) {
    let started = Instant::now();
    loop {
        let told = up.series(name).unwrap_or_default();
        let most = told.into_iter().reduce(f64::max);
        if most.is_some_and(|most| range.contains(&most)) {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{name} is {most:?}, not in {range:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// `top` is no less worried than `doctor`.
#[track_caller]
fn top_says(site: &Site, first: &str, second: &str) {
    let said = site.try_run(&["top", "--once"]);
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    let found = said
        .stdout
        .lines()
        .any(|line| line.contains(first) && line.contains(second));
    assert!(found, "{first} … {second}: {}", said.stdout);
    assert!(said.stdout.starts_with("ATTENTION: "), "{}", said.stdout);
}

#[test]
fn clocks_that_disagree_are_a_finding() {
    let site = Site::new();
    site.run(&["init"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let specs = topics::load(None).unwrap();
        let ahead = Arc::new(Wall(AtomicI64::new(10 * 60_000)));
        let (log, _) = EmbeddedLog::open(&site.data().join("log"), &specs, ahead).unwrap();
        let records = vec![event(1)];
        log.append(Topic::UsageEvents, Partition(1), records)
            .await
            .unwrap();
        log.close().await;
    });
    let mut up = site.up();
    up.wait_ready();
    metric_is(&up, "tidemark_log_clock_ahead_seconds", 300.0..=600.0);
    top_says(
        &site,
        "records were appended",
        "later than the clock of the process",
    );
    let said = site.try_run(&["wait"]);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stderr.contains("Clocks disagree"), "{}", said.stderr);
    let said = site.try_run(&["doctor"]);
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    assert!(said.stdout.contains("! Clocks disagree"), "{}", said.stdout);
    assert!(
        said.stdout.contains("Correct the one that is wrong"),
        "{}",
        said.stdout
    );
    sums_equal_the_oracle(&site);
    up.stop();
}

#[test]
fn a_machine_whose_clock_disagrees_with_the_stores_is_a_finding() {
    let store = StoreProxy::start();
    let site = store.site();
    let mut up = site.up();
    up.wait_ready();
    site.run(&["emit", "--clean", "--events", "100"]);
    site.run(&["wait"]);
    assert!(site.run(&["doctor"]).contains("All is well."));
    for (ahead, which) in [(600, "ahead of"), (-600, "behind")] {
        store.set(Mode::HasClockAhead(ahead));
        doctor_says(
            &site,
            &[
                "! Clocks disagree: the store's clock is",
                which,
                "Correct the one",
            ],
        );
        let said = site.try_run(&["wait"]);
        assert_eq!(said.code, Some(1), "{}", said.stderr);
        let clocks = "everything is done, but: Clocks disagree: the store's clock is";
        assert!(said.stderr.contains(clocks), "{}", said.stderr);
        let way = if ahead > 0 { "ahead of" } else { "behind" };
        let ahead = ahead as f64;
        let told = ahead - 5.0..=ahead + 5.0;
        metric_is(&up, "tidemark_store_clock_ahead_seconds", told);
        top_says(&site, "the store's clock is", way);
    }
    store.set(Mode::HasClockAhead(3));
    metric_is(&up, "tidemark_store_clock_ahead_seconds", -1.0..=5.0);
    assert!(site.run(&["doctor"]).contains("All is well."));
    sums_equal_the_oracle(&site);
    up.stop();
}
