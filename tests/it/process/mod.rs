//! The real process: `tidemark up` under load, killed with -9 again and again, then every number compared with the oracle's.

mod archive;
mod badges;
pub mod books;
mod clients;
pub mod earned;
mod hostile;
mod litellm;
pub mod load;
pub mod more_partitions;
pub mod moto;
mod older_tables;
mod otel;
mod payout;
pub mod site;
mod upgrade;
mod votes;
pub mod wallets;

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use load::Load;
use site::{Site, Up};

/// How often the process is killed.
const KILLS: u32 = 12;
/// After so many kills comes a polite stop.
const POLITE_AFTER: u32 = 6;
/// Longest polite stop: the default `drain_timeout`, closing, and a slow machine.
const POLITE_MAX: Duration = Duration::from_secs(30);
/// How long a kill waits for its condition.
const CONDITION_WAIT: Duration = Duration::from_secs(8);

/// When a process is killed. Counters begin at zero with each start.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after it was started, ready or not.
    AfterStart(Duration),
    /// So many chunks were cut, and a while more.
    Chunks(u32, Duration),
    /// So many account rows were written, and a while more.
    Rows(u32, Duration),
    /// So many records were appended to the log, and a while more.
    Appended(u32, Duration),
}

impl Moment {
    fn draw(rng: &mut StdRng) -> Moment {
        let more = Duration::from_millis(rng.random_range(0..400));
        match rng.random_range(0..8) {
            0 => Moment::AfterStart(Duration::from_millis(rng.random_range(50..1_500))),
            1 | 2 => Moment::Chunks(rng.random_range(1..24), more),
            3 | 4 => Moment::Appended(rng.random_range(1..1_000), more),
            _ => Moment::Rows(rng.random_range(1..600), more),
        }
    }

    fn wait(self, up: &mut Up, mut meanwhile: impl FnMut()) {
        let (counter, count, more) = match self {
            Moment::AfterStart(time) => return std::thread::sleep(time),
            Moment::Chunks(count, more) => ("tidemark_chunks_total", count, more),
            Moment::Rows(count, more) => ("tidemark_flush_rows_total", count, more),
            Moment::Appended(count, more) => ("tidemark_ingest_events_total", count, more),
        };
        let start = Instant::now();
        while up.metric(counter).unwrap_or(0.0) < f64::from(count) {
            up.must_run();
            meanwhile();
            if start.elapsed() > CONDITION_WAIT {
                // Nothing is left to do, or the machine is very slow: as good a moment as any.
                eprintln!("  {counter} did not reach {count}");
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(more);
    }
}

fn seed() -> u64 {
    let given = std::env::var("TIDEMARK_PROCESS_SEED").ok();
    given.map_or(20_261_122, |seed| seed.parse().expect("a number"))
}

#[test]
fn killed_a_dozen_times_under_load_the_process_still_counts_like_the_oracle() {
    let seed = seed();
    eprintln!("again: TIDEMARK_PROCESS_SEED={seed} cargo test --test it process:: -- --nocapture");
    let mut rng = StdRng::seed_from_u64(seed);
    let site = Site::new();
    let links = books::found(&site);
    let mut up = site.up();
    up.wait_ready();
    let mut load = Load::start(&site, seed);
    let mut polite = None;
    for kill in 1..=KILLS {
        let moment = Moment::draw(&mut rng);
        eprintln!("kill {kill}: {moment:?}");
        if !matches!(moment, Moment::AfterStart(_)) {
            up.wait_ready();
        }
        moment.wait(&mut up, || load.keep_up(&site));
        up.kill();
        if kill % 3 == 0 {
            load.careless_producer(&site, &mut rng);
            load.second_thoughts(&site, &mut rng);
        }
        up = site.up();
        if kill == POLITE_AFTER {
            up.wait_ready();
            Moment::Rows(50, Duration::ZERO).wait(&mut up, || load.keep_up(&site));
            polite = Some(up.stop());
            up = site.up();
        }
    }
    up.wait_ready();
    load.finish();
    let (status, took) = polite.expect("there was a polite stop");
    eprintln!("the polite stop took {took:?}");
    assert_eq!(status.code(), Some(0), "a polite stop");
    assert!(took < POLITE_MAX, "a polite stop took {took:?}");

    site.run(&["wait", "--timeout", "3m"]);
    eprintln!(
        "since the last start: {:?} chunks, {:?} rows written",
        up.metric("tidemark_chunks_total"),
        up.metric("tidemark_flush_rows_total")
    );
    let books = books::Books::read(&site);
    load.everything_is_in(&books.records);
    let must = books.equal_the_oracle(&links);
    books::second_thoughts_count(&site, &must);
    site.run(&["doctor"]);

    // Nothing changes when the same is read once more by a process that was killed in its sleep.
    up.kill();
    let mut up = site.up();
    up.wait_ready();
    site.run(&["wait", "--timeout", "1m"]);
    books.are_the_same(&site);
    let (status, _) = up.stop();
    assert_eq!(status.code(), Some(0), "the last stop");
    site.log_is_clean();
    eprintln!("{}", books.summary());
}
