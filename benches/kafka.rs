//! How fast a worker is on a real Apache Kafka: reading, rating, rating and posting, as events per CPU-second of this process and per second.
//!
//! `cargo bench --bench kafka` uses the broker that `KAFKA_BOOTSTRAP` names, else starts one (`tests/servers/kafka`: Java 17 and Maven). Ratios are to
//! a bare librdkafka consumer in the same run. The store is a sink that takes the built items: what DynamoDB or its client cost is not in it. Usage
//! rows are off, a flush comes every 10 s. `KAFKA_BENCH_EVENTS` sets how many events (default: 2,000,000).

mod load;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::{join_all, try_join_all};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset as RdOffset, TopicPartitionList};
use tidemark::domain::position::{Epoch, Offset, Partition};
use tidemark::domain::rules::{Network, RulesDocument};
use tidemark::domain::time::Millis;
use tidemark::log::kafka::{Admin, KafkaLog, KafkaSettings};
use tidemark::log::{
    Bounds, Log, MUST_BE_THERE, NewRecord, ReadLimit, Topic, topics, usage_partition,
};
use tidemark::ops::clock::{Clock, SystemClock};
use tidemark::ops::config::{Config, Sources};
use tidemark::ops::health::{Health, Role};
use tidemark::ops::metrics::Metrics;
use tidemark::pipeline::{self, Settings, WorkerContext, progress};
use tidemark::store::db::{
    Attr, Condition, Db, Item, Key, Page, Query, RangeFilter, StoreError, Table, Write,
};
use tidemark::store::pricing::{self, NewValue, Publish};
use tokio::sync::watch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITIONS: u32 = 4;
const BATCH: usize = 2_000;
const PORT: &str = "19792";

/// Keeps what the pipeline reads again (rules, checkpoints), takes account rows and forgets them. Every account is in memory, so none is
/// ever read twice.
#[derive(Default)]
struct Sink {
    items: Mutex<BTreeMap<Key, Item>>,
    rows: AtomicU64,
}

impl Sink {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_forgotten(&self, table: Table) -> bool {
        let rows = [
            Table::UserPoints,
            Table::ProviderRewards,
            Table::StreakTracking,
        ];
        rows.contains(&table)
    }

    fn take(&self, write: Write) -> Result<(), StoreError> {
        let (table, key, condition) = match &write {
            Write::Put {
                table,
                item,
                condition,
            } => (*table, key_of(*table, item), condition),
            Write::Delete { key, condition } | Write::Check { key, condition } => {
                (key.table, key.clone(), condition)
            }
        };
        if self.is_forgotten(table) {
            self.rows.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let mut items = self.lock();
        let found = items.get(&key);
        let holds = match condition {
            Condition::Always => true,
            Condition::Absent => found.is_none(),
            Condition::Present => found.is_some(),
            Condition::Equals(name, value) => {
                found.is_some_and(|item| item.get(*name) == Some(value))
            }
            Condition::AbsentOrAtMost(name, value) => {
                found.is_none_or(|item| is_at_most(item.get(*name), value))
            }
        };
        if !holds {
            return Err(StoreError::ConditionFailed);
        }
        match write {
            Write::Put { item, .. } => drop(items.insert(key, item)),
            Write::Delete { .. } => drop(items.remove(&key)),
            Write::Check { .. } => {}
        }
        Ok(())
    }
}

fn is_at_most(is: Option<&Attr>, value: &Attr) -> bool {
    match (is, value) {
        (Some(Attr::S(is)), Attr::S(value)) => is <= value,
        (Some(Attr::N(is)), Attr::N(value)) => is <= value,
        _ => true,
    }
}

fn key_of(table: Table, item: &Item) -> Key {
    let text = |name: &str| match item.get(name) {
        Some(Attr::S(text)) => text.clone(),
        other => panic!("{} has {other:?} as {name}", table.name()),
    };
    let (hash, range) = table.keys();
    Key::new(table, text(hash), range.map(text).unwrap_or_default())
}

#[async_trait]
impl Db for Sink {
    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        Ok(self.lock().get(key).cloned())
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let items = self.lock();
        Ok(keys.iter().map(|key| items.get(key).cloned()).collect())
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        let items = self.lock();
        let first = Key::new(query.table, query.hash.clone(), "");
        let of_hash = items
            .range(first..)
            .take_while(|(key, _)| key.table == query.table && key.hash == query.hash);
        let within = of_hash.filter(|(key, _)| match &query.range {
            RangeFilter::All => true,
            RangeFilter::Prefix(prefix) => key.range.starts_with(prefix.as_str()),
            RangeFilter::Between(from, to) => (from..=to).contains(&&key.range),
        });
        let mut items: Vec<Item> = within.map(|(_, item)| item.clone()).collect();
        if query.descending {
            items.reverse();
        }
        items.truncate(query.limit.map_or(usize::MAX, |limit| limit as usize));
        Ok(Page { items, next: None })
    }

    async fn scan(&self, table: Table, _after: Option<Item>) -> Result<Page, StoreError> {
        let items = self.lock();
        let of_table = items.iter().filter(|(key, _)| key.table == table);
        let items = of_table.map(|(_, item)| item.clone()).collect();
        Ok(Page { items, next: None })
    }

    async fn write(&self, write: Write) -> Result<(), StoreError> {
        self.take(write)
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        writes.into_iter().try_for_each(|write| self.take(write))
    }

    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        let put = |item| Write::Put {
            table,
            item,
            condition: Condition::Always,
        };
        items.into_iter().try_for_each(|item| self.take(put(item)))
    }
}

/// CPU time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("the benchmark needs Linux");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|text| text.parse::<u64>().ok());
    // Linux counts in hundredths of a second here, whatever the kernel's own tick is.
    let sum = ticks().unwrap_or(0) + ticks().unwrap_or(0);
    Duration::from_millis(sum * 10)
}

struct Rate {
    per_cpu_second: f64,
    per_second: f64,
}

/// Measures `work`, which takes `events` events.
async fn measure(events: usize, work: impl Future<Output = ()>) -> Rate {
    let (start, before) = (Instant::now(), cpu());
    work.await;
    let used = cpu().saturating_sub(before);
    Rate {
        per_cpu_second: events as f64 / used.as_secs_f64(),
        per_second: events as f64 / start.elapsed().as_secs_f64(),
    }
}

fn settings(bootstrap: &str, prefix: &str) -> KafkaSettings {
    let text = format!(
        "[log]\nengine = 'kafka'\n[kafka]\nbootstrap = '{bootstrap}'\ntopic_prefix = '{prefix}'"
    );
    let sources = Sources {
        file: Some(("bench".to_owned(), text)),
        ..Sources::default()
    };
    let config = Config::read(&sources).expect("a valid configuration");
    KafkaSettings::resolve(&config.kafka, &|_| None).expect("settings without secrets")
}

async fn connect(bootstrap: &str, prefix: &str) -> KafkaLog {
    let mut specs = topics::shipped();
    for spec in &mut specs {
        (spec.replication_factor, spec.min_insync_replicas) = (1, 1);
    }
    let settings = settings(bootstrap, prefix);
    let admin = Admin::connect(&settings).expect("settings that can be used");
    let applied = admin.apply(&specs).await.expect("a broker that answers");
    assert!(applied.left.is_empty(), "new topics are as they should be");
    KafkaLog::connect(settings, specs, Epoch(0)).expect("settings that can be used")
}

/// Fills the topic; where each partition ends.
async fn fill(log: &KafkaLog, events: usize) -> Vec<Offset> {
    let (draws, mut rng) = load::draws(events);
    let mut batches: Vec<Vec<NewRecord>> = (0..PARTITIONS).map(|_| Vec::new()).collect();
    let mut ends = vec![0; PARTITIONS as usize];
    for (piece, draws) in draws.chunks(BATCH * PARTITIONS as usize).enumerate() {
        for (n, draw) in draws.iter().enumerate() {
            let id = (piece * BATCH * PARTITIONS as usize + n) as u64;
            let user = load::user(draw.user);
            let partition = usage_partition(&user, PARTITIONS).0 as usize;
            ends[partition] += 1;
            batches[partition].push(NewRecord {
                key: Some(user.into()),
                value: load::event(*draw, id, SystemClock.now(), &mut rng),
                headers: Vec::new(),
            });
        }
        let appends = (0..)
            .map(Partition)
            .zip(&mut batches)
            .map(|(p, batch)| log.append(Topic::UsageEvents, p, std::mem::take(batch)));
        try_join_all(appends)
            .await
            .expect("the broker takes records");
    }
    ends.into_iter().map(Offset).collect()
}

/// The yardstick: a consumer that looks at nothing.
fn bare(bootstrap: &str, topic: &str, events: usize) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "20")
        .create()
        .expect("settings that can be used");
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition as i32, RdOffset::Beginning)
            .expect("an offset");
    }
    consumer.assign(&list).expect("partitions to read");
    let (mut seen, mut bytes) = (0, 0);
    while seen < events {
        if let Some(message) = consumer.poll(Duration::from_secs(10)) {
            bytes += message.expect("a record").payload_len();
            seen += 1;
        }
    }
    std::hint::black_box(bytes);
}

/// Reading as tidemark reads, all partitions at once.
async fn read_all(log: &KafkaLog, ends: &[Offset]) {
    let limit = ReadLimit {
        records: 20_000,
        bytes: 64 << 20,
    };
    let one = async |(partition, end): (Partition, &Offset)| {
        let mut next = Offset(0);
        while next < *end {
            let read = log.read(Topic::UsageEvents, partition, next, limit, MUST_BE_THERE);
            let read = read.await.expect("the broker answers");
            next = read.last().expect("it is there").offset.next();
        }
    };
    join_all((0..).map(Partition).zip(ends).map(one)).await;
}

async fn publish_rules(db: &Sink, now: Millis) {
    let (file, text) = Network::Mainnet.document();
    let document = RulesDocument::parse_toml(file, text).expect("the shipped rules are valid");
    let changes = document.changes().into_iter();
    let publication = Publish {
        values: changes
            .map(|(key, value)| NewValue { key, value })
            .collect(),
        effective_from: now,
        by: "bench".to_owned(),
        reason: "bench".to_owned(),
        now,
        token: "rules".to_owned(),
    };
    let published = pricing::publish(db, &publication).await;
    published.expect("the shipped rules are valid");
}

/// Runs these roles from the beginning of the topic until everything is done.
async fn work(log: Arc<KafkaLog>, ends: &[Offset], roles: &[Role]) -> u64 {
    let sink = Arc::new(Sink::default());
    publish_rules(&sink, SystemClock.now()).await;
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::new(metrics.clone()));
    let settings = Settings {
        usage_rows: false,
        chunk_records_max: 50_000,
        chunk_bytes_max: 64 << 20,
        flush_interval: Duration::from_secs(10),
        flush_accounts_max: 10_000_000,
        accounts_cached_max: 10_000_000,
        chains_cached_max: 10_000_000,
        leaderboard_interval: Duration::from_secs(10),
        ..Settings::default()
    };
    let clock = Arc::new(SystemClock);
    let ctx = WorkerContext::new(log, sink.clone(), clock, settings, metrics, health, 1);
    let ctx = Arc::new(ctx);
    let (stop, stopped) = watch::channel(false);
    let tasks: Vec<_> = pipeline::all_tasks(PARTITIONS, PARTITIONS)
        .into_iter()
        .filter(|task| roles.contains(&task.role))
        .map(|task| tokio::spawn(pipeline::run(ctx.clone(), task, stopped.clone())))
        .collect();
    let bounds = |end: &Offset| Bounds {
        start: Offset(0),
        end: *end,
    };
    let bounds: Vec<Bounds> = ends.iter().map(bounds).collect();
    let is_done = async || {
        let rated = progress::rated(&*sink, Epoch(0), &bounds).await;
        match rated.expect("the sink answers") {
            Some(_) if !roles.contains(&Role::Post) => true,
            Some(wanted) => {
                let posted = progress::posted(&*sink, &wanted).await;
                posted.expect("the sink answers")
            }
            None => false,
        }
    };
    while !is_done().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.send(true).expect("the tasks listen");
    join_all(tasks).await;
    sink.rows.load(Ordering::Relaxed)
}

fn print(what: &str, rate: &Rate, bare: &Rate) {
    println!(
        "{what:<44} {:>9.0} events/CPU-s {:>6.2}   {:>9.0} events/s {:>6.2}",
        rate.per_cpu_second,
        rate.per_cpu_second / bare.per_cpu_second,
        rate.per_second,
        rate.per_second / bare.per_second
    );
}

async fn run(bootstrap: &str) {
    let given = std::env::var("KAFKA_BENCH_EVENTS").ok();
    let events = given.map_or(2_000_000, |text| text.parse().expect("a number"));
    let prefix = format!("bench{:x}.", std::process::id());
    let log = Arc::new(connect(bootstrap, &prefix).await);
    let ends = fill(&log, events).await;
    println!("{events} events in {PARTITIONS} partitions");
    let topic = format!("{prefix}{}", Topic::UsageEvents);
    let yardstick = {
        let bootstrap = bootstrap.to_owned();
        let read = tokio::task::spawn_blocking(move || bare(&bootstrap, &topic, events));
        measure(events, async { read.await.expect("it reads") }).await
    };
    print(
        "bare librdkafka consumer, one by one",
        &yardstick,
        &yardstick,
    );
    let reading = measure(events, read_all(&log, &ends)).await;
    print("KafkaLog, batches", &reading, &yardstick);
    let rating = measure(events, async {
        work(log.clone(), &ends, &[Role::Rate]).await;
    })
    .await;
    print("rating, blocks to Kafka", &rating, &yardstick);
    // The next worker begins with empty tables: blocks of another life must be gone.
    forget_postings(bootstrap, &prefix).await;
    let log = Arc::new(connect(bootstrap, &prefix).await);
    let mut rows = 0;
    let both = measure(events, async {
        rows = work(log.clone(), &ends, &[Role::Rate, Role::Post]).await;
    })
    .await;
    print("rating and posting", &both, &yardstick);
    println!("{rows} account rows and snapshots were taken by the sink");
}

async fn forget_postings(bootstrap: &str, prefix: &str) {
    let mut config = ClientConfig::new();
    let config = config.set("bootstrap.servers", bootstrap);
    let admin: AdminClient<DefaultClientContext> = config.create().expect("settings");
    let mut all = TopicPartitionList::new();
    let topic = format!("{prefix}{}", Topic::LedgerPostings);
    for partition in 0..PARTITIONS {
        all.add_partition_offset(&topic, partition as i32, RdOffset::End)
            .expect("an offset");
    }
    let deleted = admin.delete_records(&all, &AdminOptions::new()).await;
    deleted.expect("the broker deletes records");
}

fn main() {
    let starter = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/kafka");
    let (bootstrap, is_ours) = match std::env::var("KAFKA_BOOTSTRAP") {
        Ok(named) => (named, false),
        Err(_) => {
            let started = Command::new(starter).args(["up", PORT]).status();
            assert!(started.expect("the starter runs").success());
            (format!("127.0.0.1:{PORT}"), true)
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads");
    runtime.block_on(run(&bootstrap));
    if is_ours {
        let wiped = Command::new(starter).args(["wipe", PORT]).status();
        assert!(wiped.expect("the starter runs").success());
    }
}
