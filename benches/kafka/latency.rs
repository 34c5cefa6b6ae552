//! How long it takes an event to become visible at default settings, on Kafka.
//!
//! An event is appended every millisecond, each by itself. It is visible when the store has acknowledged its user's row that includes it:
//! the n-th event of a user, when the row's count of requests is n or more. The time is taken in the write itself, between the store and the
//! poster: nothing is polled, and the clock is one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tidemark::domain::ids::AccountKind;
use tidemark::log::{Log, NewRecord, Topic, usage_partition};
use tidemark::ops::clock::{Clock, SystemClock};
use tidemark::ops::health::Role;
use tidemark::pipeline::Settings;
use tidemark::store::accounts;
use tidemark::store::db::{Db, Item, Key, Page, Query, StoreError, Table, Write};
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};
use tidemark::store::embedded::EmbeddedStore;
use tidemark::store::meter::StoreMeter;
use tidemark::store::tables::create_tables;

use super::sink::Sink;
use super::{PARTITIONS, Worker, connect, given, load, rules};

/// Events that come before the measured ones: the first meeting of clients, tables and rules is not what is asked.
const BEFORE: usize = 5_000;

/// A user's events: when each was sent, and how many are visible.
#[derive(Default)]
struct Sent {
    at: Vec<(Instant, bool)>,
    visible: usize,
}

/// What was sent, and how long it took to become visible.
#[derive(Default)]
struct Times {
    users: HashMap<String, Sent>,
    took: Vec<Duration>,
    left: usize,
}

impl Times {
    fn sent(&mut self, user: String, measured: bool) {
        let sent = self.users.entry(user).or_default();
        sent.at.push((Instant::now(), measured));
        self.left += 1;
    }

    fn counted(&mut self, user: &str, requests: u64) {
        let now = Instant::now();
        let Some(sent) = self.users.get_mut(user) else {
            return;
        };
        let visible = (requests as usize).min(sent.at.len());
        for (at, measured) in &sent.at[sent.visible.min(visible)..visible] {
            self.left -= 1;
            if *measured {
                self.took.push(now - *at);
            }
        }
        sent.visible = sent.visible.max(visible);
    }

    fn percentile(&self, percent: usize) -> Duration {
        self.took[(self.took.len() * percent / 100).min(self.took.len() - 1)]
    }
}

/// A store that looks at what it was given once it is acknowledged.
struct Watched {
    db: Arc<dyn Db>,
    times: Mutex<Times>,
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The users' rows among the writes: who, and how many requests.
    fn rows(writes: &[Write]) -> Vec<(String, u64)> {
        let rows = writes.iter().filter_map(|write| match write {
            Write::Put {
                table: Table::UserPoints,
                item,
                ..
            } => accounts::account_of(AccountKind::User, item).expect("a row that can be read"),
            _ => None,
        });
        let count = |(account, stored): (tidemark::domain::ids::Account, accounts::StoredRow)| {
            let requests = stored.row.days.iter().map(|(_, day)| day.requests);
            (account.id().to_owned(), requests.sum())
        };
        rows.map(count).collect()
    }

    fn acknowledged(&self, rows: &[(String, u64)]) {
        let mut times = self.lock();
        for (user, requests) in rows {
            times.counted(user, *requests);
        }
    }
}

#[async_trait]
impl Db for Watched {
    fn clock(&self) -> &dyn Clock {
        self.db.clock()
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        self.db.get(key).await
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.db.batch_get(keys).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        self.db.query(query).await
    }

    async fn scan(&self, table: Table, after: Option<Item>) -> Result<Page, StoreError> {
        self.db.scan(table, after).await
    }

    async fn write(&self, write: Write) -> Result<(), StoreError> {
        let rows = Watched::rows(std::slice::from_ref(&write));
        self.db.write(write).await?;
        self.acknowledged(&rows);
        Ok(())
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let rows = Watched::rows(&writes);
        self.db.transact(writes).await?;
        self.acknowledged(&rows);
        Ok(())
    }

    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        self.db.put_all(table, items).await
    }
}

/// Measures with the sink, then with the embedded DynamoDB behind the real client.
pub async fn run(bootstrap: &str) {
    measure(bootstrap, "a sink as store", Arc::new(Sink::default())).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = EmbeddedStore::open(dir.path()).expect("an empty directory");
    let meter = Arc::new(StoreMeter::default());
    let settings = DynamoSettings::embedded(store.client());
    let db = DynamoDb::new(&settings, meter, Arc::new(SystemClock));
    create_tables(&db).await.expect("an empty store");
    measure(
        bootstrap,
        "embedded DynamoDB on disk, in this process",
        Arc::new(db),
    )
    .await;
    store.shutdown(Duration::from_secs(5)).await;
}

async fn measure(bootstrap: &str, store: &str, db: Arc<dyn Db>) {
    let events = given("KAFKA_BENCH_LATENCY_EVENTS", 30_000);
    let per_second = given("KAFKA_BENCH_LATENCY_RATE", 1_000);
    rules::publish(&*db, SystemClock.now()).await;
    let prefix = format!("latency{:x}{}.", std::process::id(), store.len());
    let log = Arc::new(connect(bootstrap, &prefix).await);
    let watched = Arc::new(Watched {
        db,
        times: Mutex::default(),
    });
    let roles = [Role::Rate, Role::Post];
    let worker = Worker::start(log.clone(), watched.clone(), Settings::default(), &roles);
    let (draws, mut rng) = load::draws(BEFORE + events);
    let begun = Instant::now();
    let mut appends = Vec::with_capacity(draws.len());
    for (n, draw) in draws.iter().enumerate() {
        let due = Duration::from_secs_f64(n as f64 / per_second as f64);
        tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
        let user = load::user(draw.user);
        let record = NewRecord {
            key: Some(user.clone().into()),
            value: load::event(*draw, n as u64, SystemClock.now(), &mut rng),
            headers: Vec::new(),
        };
        let partition = usage_partition(&user, PARTITIONS);
        watched.lock().sent(user, n >= BEFORE);
        let log = log.clone();
        appends.push(tokio::spawn(async move {
            let appended = log
                .append(Topic::UsageEvents, partition, vec![record])
                .await;
            appended.expect("the broker takes records");
        }));
    }
    for append in appends {
        append.await.expect("it does not panic");
    }
    let until = Instant::now() + Duration::from_secs(60);
    while watched.lock().left > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    worker.stop().await;
    let mut times = watched.lock();
    times.took.sort_unstable();
    assert_eq!(times.left, 0, "every event becomes visible");
    println!(
        "event to visible, default settings, {per_second} events/s, {store}: p50 {:?}, p99 {:?}, worst {:?}",
        times.percentile(50),
        times.percentile(99),
        times.percentile(100)
    );
}
