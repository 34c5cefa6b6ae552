//! Many workers on a real broker, while workers die, sleep, come and go, the broker stops and the store fails. Then every number is
//! compared with the oracle's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tidemark::store::embedded::EmbeddedStore;

use super::broker::{self, Broker};
use crate::process::books::{self, Books};
use crate::process::load::Load;
use crate::process::site::{Cluster, Site, Up};
use crate::store::proxy::{Fault, dice, proxy};

/// How long a condition may take.
const WAIT: Duration = Duration::from_secs(60);

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

/// Everything around the workers.
struct Stage {
    site: Site,
    weather: Arc<AtomicU8>,
    runtime: tokio::runtime::Runtime,
    store: Option<EmbeddedStore>,
    _dir: tempfile::TempDir,
}

impl Stage {
    fn new(bootstrap: &str, seed: u64) -> Stage {
        let dir = tempfile::tempdir().expect("a directory");
        let store = EmbeddedStore::open(dir.path(), 0).expect("a store");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let weather = Arc::new(AtomicU8::new(Weather::Fine as u8));
        let now = weather.clone();
        let endpoint = store.endpoint();
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
            runtime,
            store: Some(store),
            _dir: dir,
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
        if let Some(store) = self.store.take() {
            self.runtime
                .block_on(store.shutdown(Duration::from_secs(10)));
        }
    }
}

fn until(what: &str, holds: impl FnMut() -> bool) {
    super::until(WAIT, what, holds);
}

fn rated(worker: &Up) -> f64 {
    worker.metric("tidemark_events_rated_total").unwrap_or(0.0)
}

/// All of these together rate `more` events.
fn progress(workers: &[&Up], more: f64, mut meanwhile: impl FnMut()) {
    let before: f64 = workers.iter().map(|worker| rated(worker)).sum();
    until("events are rated", || {
        meanwhile();
        workers.iter().map(|worker| rated(worker)).sum::<f64>() >= before + more
    });
}

fn seed() -> u64 {
    let given = std::env::var("TIDEMARK_KAFKA_SEED").ok();
    given.map_or(20_261_122, |seed| seed.parse().expect("a number"))
}

#[test]
fn whatever_dies_sleeps_comes_or_goes_the_workers_count_like_the_oracle() {
    let Some(mut broker) = Broker::own() else {
        return;
    };
    let seed = seed();
    eprintln!("again: TIDEMARK_KAFKA_SEED={seed} cargo test --test it kafka::chaos -- --nocapture");
    let mut rng = StdRng::seed_from_u64(seed);
    let stage = Stage::new(&broker.bootstrap(), seed);
    let site = &stage.site;
    let founded = books::found(site);
    let (one, two, three) = (
        stage.worker("one"),
        stage.worker("two"),
        stage.worker("three"),
    );
    let mut load = Load::start(site, seed);
    progress(&[&one, &two, &three], 300.0, || load.keep_up(site));

    eprintln!("kill -9 one; four comes");
    one.kill();
    let four = stage.worker("four");
    load.careless_producer(site, &mut rng);
    progress(&[&two, &three, &four], 300.0, || load.keep_up(site));

    eprintln!("two sleeps past its session and wakes");
    two.signal("STOP");
    // It is out when the others have its partitions: between them they go on with everything.
    progress(&[&three, &four], 300.0, || load.keep_up(site));
    let slept = Instant::now();
    until("the session of the sleeper is over", || {
        load.keep_up(site);
        slept.elapsed() > Duration::from_secs(9)
    });
    two.signal("CONT");
    progress(&[&two, &three, &four], 300.0, || load.keep_up(site));

    eprintln!("the store is rough; five comes, three goes");
    stage.weather(Weather::Rough);
    let five = stage.worker("five");
    let (status, took) = three.stop();
    assert_eq!(status.code(), Some(0), "a polite stop");
    assert!(took < WAIT / 2, "a polite stop took {took:?}");
    progress(&[&two, &four, &five], 300.0, || load.keep_up(site));

    eprintln!("the store is down for a while");
    stage.weather(Weather::Down);
    std::thread::sleep(Duration::from_secs(3));
    stage.weather(Weather::Fine);
    progress(&[&two, &four, &five], 300.0, || load.keep_up(site));

    eprintln!("the broker stops and starts");
    broker.stop();
    std::thread::sleep(Duration::from_secs(2));
    broker.start();
    progress(&[&two, &four, &five], 300.0, || load.keep_up(site));

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
    progress(&[&two, &four, &five, &second], 300.0, || load.keep_up(site));
    load.finish();

    site.run(&["wait", "--timeout", "3m"]);
    let books = Books::read(site);
    load.everything_is_in(&books.records);
    books.equal_the_oracle(&founded);
    site.run(&["doctor"]);
    for worker in [&two, &four, &five, &second] {
        let said = worker.said();
        for bad in ["task.halt", "panicked", "task.panic"] {
            assert!(!said.contains(bad), "{bad}: {said}");
        }
        until("its lag is zero", || {
            worker.metric("tidemark_lag_records") == Some(0.0)
        });
    }
    for worker in [two, four, five, second] {
        let (status, _) = worker.stop();
        assert_eq!(status.code(), Some(0), "the last stop");
    }
    books.are_the_same(site);
    eprintln!("{}", books.summary());
}
