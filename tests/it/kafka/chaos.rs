//! Many workers on a real broker, while workers die, sleep, come and go, the broker stops and the store fails. Then every number is
//! compared with the oracle's.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tidemark::store::embedded::EmbeddedStore;

use super::broker::{self, Broker};
use crate::process::books::{self, Books};
use crate::process::load::Load;
use crate::process::site::{Cluster, Site, Up};
use crate::store::bridge::bridge;
use crate::store::dynamodb_local;
use crate::store::proxy::{Fault, dice, proxy};

/// How long a condition may take.
const WAIT: Duration = Duration::from_secs(60);

/// With more events behind than that, no more are sent.
const BACKLOG_MAX: f64 = 8_000.0;

/// What the store does to workers.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Weather {
    Fine,
    /// A third of the requests is throttled, fails, or is done without an answer.
    Rough,
    /// Nothing works.
    Down,
}

fn plan(weather: u8, number: u64, seed: u64) -> Fault {
    match (weather, dice(seed, number) % 100) {
        (1, 0..20) => {
            Fault::Code("com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException")
        }
        (1, 20..26) => Fault::Fails,
        (1, 26..32) => Fault::FailsAfter,
        (1, 32..33) => Fault::LostAfter,
        (2, _) => Fault::Fails,
        _ => Fault::Pass,
    }
}

/// The embedded engine, served to other processes.
struct Embedded {
    store: Option<EmbeddedStore>,
    runtime: tokio::runtime::Runtime,
    endpoint: String,
    _dir: tempfile::TempDir,
}

impl Embedded {
    fn start() -> Embedded {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = EmbeddedStore::open(dir.path()).expect("a store");
        store.listen().expect("a socket");
        Embedded {
            store: Some(store),
            runtime: tokio::runtime::Runtime::new().expect("a runtime"),
            endpoint: bridge(dir.path()),
            _dir: dir,
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(store) = self.store.take() {
            self.runtime
                .block_on(store.shutdown(Duration::from_secs(10)));
        }
    }
}

/// Everything around the workers.
struct Stage {
    site: Site,
    weather: Arc<AtomicU8>,
    /// Where the proxy runs.
    _runtime: tokio::runtime::Runtime,
}

impl Stage {
    /// On the store at `endpoint`, which workers reach through a proxy that breaks things.
    fn new(bootstrap: &str, endpoint: String, seed: u64) -> Stage {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let weather = Arc::new(AtomicU8::new(Weather::Fine as u8));
        let now = weather.clone();
        let (between, _) = runtime.block_on(proxy(&endpoint, move |number, _| {
            plan(now.load(Ordering::Relaxed), number, seed)
        }));
        let site = Site::on(Cluster {
            bootstrap: bootstrap.to_owned(),
            prefix: broker::prefix(),
            store: endpoint,
            store_of_workers: between,
        });
        Stage {
            site,
            weather,
            _runtime: runtime,
        }
    }

    fn weather(&self, weather: Weather) {
        self.weather.store(weather as u8, Ordering::Relaxed);
    }

    fn worker(&self, name: &str) -> Up {
        let mut worker = self.site.worker(name, &[]);
        worker.wait_ready();
        worker
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.site.show_logs();
        }
    }
}

fn until(what: &str, holds: impl FnMut() -> bool) {
    super::until(WAIT, what, holds);
}

fn rated(worker: &Up) -> f64 {
    worker.metric("tidemark_events_rated_total").unwrap_or(0.0)
}

/// All of these together rate `more` events. There is always something to rate, and on a slow machine no more than that.
fn progress(workers: &[&Up], more: f64, load: &mut Load, site: &Site) {
    let before: f64 = workers.iter().map(|worker| rated(worker)).sum();
    until("events are rated", || {
        let lag = |worker: &&Up| worker.metric("tidemark_lag_records").unwrap_or(0.0);
        if workers.iter().map(lag).sum::<f64>() < BACKLOG_MAX {
            load.keep_up(site);
        }
        workers.iter().map(|worker| rated(worker)).sum::<f64>() >= before + more
    });
}

fn seed() -> u64 {
    let given = std::env::var("TIDEMARK_KAFKA_SEED").ok();
    given.map_or(20_261_122, |seed| seed.parse().expect("a number"))
}

/// One of these tests at a time: each has a broker, four workers, and session time-outs that a busy machine would miss.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn whatever_dies_sleeps_comes_or_goes_the_workers_count_like_the_oracle() {
    let _alone = alone();
    let Some(broker) = Broker::own() else {
        return;
    };
    let store = Embedded::start();
    everything_happens(broker, store.endpoint.clone());
}

/// Amazon's own engine has the last word about what DynamoDB does.
#[test]
#[ignore = "needs Kafka and DynamoDB Local: .ci/run kafka"]
fn whatever_happens_on_dynamodb_local_the_workers_count_like_the_oracle() {
    let Some(endpoint) = dynamodb_local() else {
        crate::needs::missing(
            "DynamoDB Local",
            "tests/servers/dynamodb up; set DYNAMODB_ENDPOINT",
        )
    };
    let _alone = alone();
    let Some(broker) = Broker::own() else {
        return;
    };
    everything_happens(broker, endpoint);
}

fn everything_happens(mut broker: Broker, store: String) {
    let seed = seed();
    eprintln!("again: TIDEMARK_KAFKA_SEED={seed} cargo test --test it kafka::chaos -- --nocapture");
    let mut rng = StdRng::seed_from_u64(seed);
    let stage = Stage::new(&broker.bootstrap(), store, seed);
    let site = &stage.site;
    let founded = books::found(site);
    let (one, two, three) = (
        stage.worker("one"),
        stage.worker("two"),
        stage.worker("three"),
    );
    let mut auditor = site.worker_with("auditor", &["--roles", "audit"], &[]);
    auditor.wait_ready();
    let mut load = Load::start(site, seed);
    progress(&[&one, &two, &three], 300.0, &mut load, site);

    eprintln!("kill -9 one; four comes");
    one.kill();
    let four = stage.worker("four");
    load.careless_producer(site, &mut rng);
    load.second_thoughts(site, &mut rng);
    progress(&[&two, &three, &four], 300.0, &mut load, site);

    eprintln!("two sleeps past its session and wakes");
    two.signal("STOP");
    // It is out when the others have its partitions: between them they go on with everything.
    progress(&[&three, &four], 300.0, &mut load, site);
    let slept = Instant::now();
    until("the session of the sleeper is over", || {
        load.keep_up(site);
        slept.elapsed() > Duration::from_secs(9)
    });
    two.signal("CONT");
    progress(&[&two, &three, &four], 300.0, &mut load, site);

    eprintln!("the store is rough; five comes, three goes");
    stage.weather(Weather::Rough);
    let five = stage.worker("five");
    let (status, took) = three.stop();
    assert_eq!(status.code(), Some(0), "a polite stop");
    assert!(took < WAIT / 2, "a polite stop took {took:?}");
    load.second_thoughts(site, &mut rng);
    progress(&[&two, &four, &five], 300.0, &mut load, site);

    eprintln!("the store is down for a while");
    stage.weather(Weather::Down);
    std::thread::sleep(Duration::from_secs(3));
    stage.weather(Weather::Fine);
    progress(&[&two, &four, &five], 300.0, &mut load, site);

    eprintln!("the broker stops and starts");
    broker.stop();
    std::thread::sleep(Duration::from_secs(2));
    broker.start();
    progress(&[&two, &four, &five], 300.0, &mut load, site);
    load.second_thoughts(site, &mut rng);

    eprintln!("two workers under one static id");
    let same = [("TIDEMARK_KAFKA_INSTANCE", "the-same")];
    let mut first = site.worker("first", &same);
    first.wait_ready();
    until("the first has joined", || {
        load.keep_up(site);
        first.metric("tidemark_group_events_total").unwrap_or(0.0) > 0.0
    });
    let mut second = site.worker("second", &same);
    second.wait_ready();
    let status = first.ended(WAIT);
    assert_eq!(status.code(), Some(1), "who is fenced ends");
    progress(&[&two, &four, &five, &second], 300.0, &mut load, site);
    load.finish();

    site.run(&["wait", "--timeout", "8m"]);
    let books = Books::read(site);
    load.everything_is_in(&books.records);
    let must = books.equal_the_oracle(&founded);
    books::second_thoughts_count(site, &must);
    site.run(&["doctor"]);
    for worker in [&two, &four, &five, &second, &auditor] {
        let said = worker.said();
        for bad in ["task.halt", "panicked", "task.panic"] {
            assert!(!said.contains(bad), "{bad}: {said}");
        }
        until("its lag is zero", || {
            worker.metric("tidemark_lag_records") == Some(0.0)
        });
    }
    until("everything is audited", || {
        auditor.metric("tidemark_lag_records") == Some(0.0)
    });
    let audited = auditor.metric("tidemark_audit_chunks_total");
    assert!(audited.is_some_and(|chunks| chunks > 0.0), "{audited:?}");
    for none in [
        "tidemark_audit_findings_total",
        "tidemark_audit_skipped_total",
    ] {
        assert_eq!(auditor.metric(none), Some(0.0), "{none}");
    }
    for worker in [two, four, five, second, auditor] {
        let (status, _) = worker.stop();
        assert_eq!(status.code(), Some(0), "the last stop");
    }
    books.are_the_same(site);
    eprintln!("{}", books.summary());
}
