//! Lag means "not yet in rows", from the first second on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use tidemark::domain::position::Partition;
use tidemark::domain::time::Millis;
use tidemark::log::embedded::EmbeddedLog;
use tidemark::log::{Log, NewRecord, Topic, topics};
use tidemark::ops::clock::{Clock, SystemClock};
use tidemark::ops::health::{Health, Role, TaskId};
use tidemark::ops::metrics::Metrics;
use tidemark::pipeline::{self, Settings, WorkerContext};
use tidemark::store::tables::create_tables;
use tokio::sync::watch;

use super::on_call::{doctor_says, sums_equal_the_oracle};
use crate::process::site::Site;
use crate::store::{client, embedded_endpoint, settings};

/// A clock that is behind.
struct Behind(i64);

#[async_trait]
impl Clock for Behind {
    fn now(&self) -> Millis {
        SystemClock.now().plus(-self.0)
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

const RATE_0: TaskId = TaskId::new(Role::Rate, Partition(0));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_behind_a_backlog_lag_begins_with_the_truth() {
    let mut site = Site::new();
    site.run(&["init"]);
    let dir = site.data().join("log");
    let specs = topics::load(None).unwrap();
    // Ten records that came 66 s ago, while nobody worked.
    let (log, _) = EmbeddedLog::open(&dir, &specs, Arc::new(Behind(66_000))).unwrap();
    let record = NewRecord {
        value: Bytes::from_static(b"not yet rated"),
        ..NewRecord::default()
    };
    let records = vec![record; 10];
    log.append(Topic::UsageEvents, Partition(0), records)
        .await
        .unwrap();
    log.close().await;
    drop(log);
    let (log, _) = EmbeddedLog::open(&dir, &specs, Arc::new(SystemClock)).unwrap();
    let store = settings(embedded_endpoint());
    let db = client(&store);
    create_tables(&db).await.unwrap();
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::new(metrics.clone()));
    // There are no rules, so nothing can be rated: the backlog stays.
    let ctx = Arc::new(WorkerContext::new(
        Arc::new(log),
        Arc::new(db),
        Arc::new(SystemClock),
        Settings::default(),
        metrics.clone(),
        health,
        1,
    ));
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(pipeline::run(ctx.clone(), RATE_0, stopped.clone()));
    let watching = tokio::spawn(pipeline::watch_lag(ctx, stopped));
    let (records, seconds) = (
        metrics.lag_records.with_label_values(&["rate", "0"]),
        metrics.lag_seconds.with_label_values(&["rate", "0"]),
    );
    let started = Instant::now();
    while seconds.get() == 0.0 {
        assert!(started.elapsed() < Duration::from_secs(10), "never told");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let since = started.elapsed().as_secs_f64();
    let first = seconds.get();
    assert!((65.0..70.0 + since).contains(&first), "{first} s at first");
    assert_eq!(records.get(), 10);
    stop.send_replace(true);
    task.await.unwrap();
    watching.await.unwrap();
    // The same, as on-call sees it after the process has ended.
    site.set(&[
        ("TIDEMARK_STORE_ENGINE", "dynamodb"),
        ("TIDEMARK_STORE_ENDPOINT", embedded_endpoint()),
        ("TIDEMARK_STORE_TABLE_PREFIX", store.prefix.as_str()),
    ]);
    let texts = [
        "`tidemark up` is not running on this data",
        "10 records wait to be rated",
        "No rules are published",
    ];
    tokio::task::spawn_blocking(move || {
        doctor_says(&site, &texts);
        // Once they can be rated, each of them is a reject, and that is said as well.
        site.run(&["pricing", "init", "testnet"]);
        let mut up = site.up();
        up.wait_ready();
        site.run(&["emit", "--clean", "--events", "20"]);
        let waited = site.try_run(&["wait", "--timeout", "60s"]);
        assert_eq!(waited.code, Some(0), "{}", waited.stderr);
        assert!(
            waited.stderr.contains("10 of the newest 30"),
            "{}",
            waited.stderr
        );
        sums_equal_the_oracle(&site);
        up.stop();
    })
    .await
    .unwrap();
}
