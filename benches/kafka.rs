//! How fast a worker is on a real Apache Kafka: reading, rating, rating and posting, as events per CPU-second of this process and per second;
//! and how long it takes an event to become visible.
//!
//! `cargo bench --bench kafka` uses the broker that `KAFKA_BOOTSTRAP` names, else starts one (`tests/servers/kafka`: Java 17 and Maven). Ratios are to
//! a bare librdkafka consumer in the same run. The store is a sink that takes the built items: what DynamoDB or its client cost is not in it. Usage
//! rows are off, a flush comes every 10 s.
//!
//! A worker meets every account for the first time once: it asks the store for it, and opens its row and the day's streak. The first pass over
//! `KAFKA_BENCH_EVENTS` events (default: 2,000,000) does that and is shown as *cold*; the passes after it (`KAFKA_BENCH_PASSES`, default: 3) bring new
//! events of the same accounts on the same day to the same worker, and are shown together as *steady*. All passes stand in the topic before any is
//! read; the worker is shown one after the other. The reader's read-ahead (at most 50,000 records a partition) may lie before the measured time.

mod load;
#[path = "load/rules.rs"]
mod rules;

#[path = "kafka/gate.rs"]
mod gate;
#[path = "kafka/latency.rs"]
mod latency;
#[path = "kafka/sink.rs"]
#[allow(dead_code, reason = "its latency is for another benchmark")]
mod sink;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};
use gate::Gate;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset as RdOffset, TopicPartitionList};
use sink::Sink;
use tidemark::domain::position::{Epoch, Offset, Partition};
use tidemark::log::kafka::{Admin, KafkaLog, KafkaSettings};
use tidemark::log::{
    Bounds, Log, MUST_BE_THERE, NewRecord, ReadLimit, Topic, topics, usage_partition,
};
use tidemark::ops::clock::{Clock, SystemClock};
use tidemark::ops::config::{Config, Sources};
use tidemark::ops::health::{Health, Role};
use tidemark::ops::metrics::Metrics;
use tidemark::pipeline::{self, Settings, WorkerContext, progress};
use tidemark::store::db::Db;
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITIONS: u32 = 4;
const BATCH: usize = 2_000;
const PORT: &str = "19792";

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

/// Fills the topic with this pass's events; where each partition then ends. Every pass has the same users and providers.
async fn fill(log: &KafkaLog, events: usize, pass: usize, ends: &mut [Offset]) {
    let (draws, mut rng) = load::draws(events);
    let mut batches: Vec<Vec<NewRecord>> = (0..PARTITIONS).map(|_| Vec::new()).collect();
    for (piece, draws) in draws.chunks(BATCH * PARTITIONS as usize).enumerate() {
        for (n, draw) in draws.iter().enumerate() {
            let id = (pass * events + piece * BATCH * PARTITIONS as usize + n) as u64;
            let user = load::user(draw.user);
            let partition = usage_partition(&user, PARTITIONS).0 as usize;
            ends[partition] = ends[partition].next();
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

/// The settings of a worker at full speed.
fn full_speed() -> Settings {
    Settings {
        usage_rows: false,
        // Usage rows are off, so what the window has forgotten could not be told from a duplicate; at this speed two million records
        // are seconds, not the hour that the window is for.
        window_records_max: 100_000_000,
        chunk_records_max: given("KAFKA_BENCH_CHUNK", 50_000),
        chunk_bytes_max: 64 << 20,
        flush_interval: Duration::from_secs(10),
        flush_accounts_max: 10_000_000,
        accounts_cached_max: 10_000_000,
        chains_cached_max: 10_000_000,
        leaderboard_interval: Duration::from_secs(10),
        ..Settings::default()
    }
}

/// A running worker.
struct Worker {
    db: Arc<dyn Db>,
    roles: Vec<Role>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Worker {
    /// Starts these roles from the beginning of the topics.
    fn start(log: Arc<dyn Log>, db: Arc<dyn Db>, settings: Settings, roles: &[Role]) -> Worker {
        let metrics = Arc::new(Metrics::new());
        let health = Arc::new(Health::new(metrics.clone()));
        let clock = Arc::new(SystemClock);
        let ctx = WorkerContext::new(log, db.clone(), clock, settings, metrics, health, 1);
        let ctx = Arc::new(ctx);
        let (stop, stopped) = watch::channel(false);
        let tasks = pipeline::all_tasks(PARTITIONS, PARTITIONS)
            .into_iter()
            .filter(|task| roles.contains(&task.role))
            .map(|task| tokio::spawn(pipeline::run(ctx.clone(), task, stopped.clone())))
            .collect();
        Worker {
            db,
            roles: roles.to_vec(),
            stop,
            tasks,
        }
    }

    /// Waits until everything before these offsets is done.
    async fn reach(&self, ends: &[Offset]) {
        let bounds = |end: &Offset| Bounds {
            start: Offset(0),
            end: *end,
        };
        let bounds: Vec<Bounds> = ends.iter().map(bounds).collect();
        let is_done = async || {
            let rated = progress::rated(&*self.db, Epoch(0), &bounds).await;
            match rated.expect("the store answers") {
                Some(_) if !self.roles.contains(&Role::Post) => true,
                Some(wanted) => {
                    let posted = progress::posted(&*self.db, &wanted).await;
                    posted.expect("the store answers")
                }
                None => false,
            }
        };
        while !is_done().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(self) {
        self.stop.send(true).expect("the tasks listen");
        join_all(self.tasks).await;
    }
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

/// A number from the environment.
fn given(name: &str, default: usize) -> usize {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().expect("a number"))
}

async fn run(bootstrap: &str) {
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let is_wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if is_wanted("speed") {
        speed(bootstrap).await;
    }
    if is_wanted("latency") {
        latency::run(bootstrap).await;
    }
}

async fn speed(bootstrap: &str) {
    let events = given("KAFKA_BENCH_EVENTS", 2_000_000);
    let passes = given("KAFKA_BENCH_PASSES", 3);
    let prefix = format!("bench{:x}.", std::process::id());
    let log = Arc::new(connect(bootstrap, &prefix).await);
    let mut ends = vec![vec![Offset(0); PARTITIONS as usize]];
    for pass in 0..=passes {
        let mut end = ends[pass].clone();
        fill(&log, events, pass, &mut end).await;
        ends.push(end);
    }
    let (first, last) = (&ends[1], &ends[passes + 1]);
    let topic = format!("{prefix}{}", Topic::UsageEvents);
    // benches/compare reads the topic's name here.
    println!("passes of {events} events in {PARTITIONS} partitions of {topic}");
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
    let reading = measure(events, read_all(&log, first)).await;
    print("KafkaLog, batches", &reading, &yardstick);
    for (what, roles) in [
        ("rating, blocks to Kafka", &[Role::Rate][..]),
        ("rating and posting", &[Role::Rate, Role::Post]),
    ] {
        // Each worker begins with empty tables: blocks of another life must be gone.
        forget_postings(bootstrap, &prefix).await;
        let log = Arc::new(Gate::new(connect(bootstrap, &prefix).await, first.clone()));
        let sink = Arc::new(Sink::default());
        rules::publish(&*sink, SystemClock.now()).await;
        let worker = Worker::start(log.clone(), sink.clone(), full_speed(), roles);
        let cold = measure(events, worker.reach(first)).await;
        print(&format!("{what}, cold"), &cold, &yardstick);
        let rows = sink.rows();
        log.open(last.clone());
        let steady = measure(events * passes, worker.reach(last)).await;
        print(&format!("{what}, steady"), &steady, &yardstick);
        let steady_rows = sink.rows() - rows;
        println!(
            "    account rows and snapshots taken by the sink: cold {rows}, steady {steady_rows} ({:.3} per event); {} MiB in memory",
            steady_rows as f64 / (events * passes) as f64,
            resident_mib(),
        );
        worker.stop().await;
    }
}

/// Memory of this process, MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
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
