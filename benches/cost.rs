//! What the tables cost: write units per event, at a rate of events and a flush every 10 seconds, without usage rows.
//!
//! `cargo bench --bench cost`; `COST_BENCH_RATE` is the rate (10,000 events a second). For other rates it prints what follows from
//! the accounts that a flush of 10 seconds then writes, each at the measured units. The pipeline runs whole, on the embedded log and the embedded DynamoDB, against a clock that the
//! benchmark moves: a tenth of a second's events, then 100 ms. Every account has its row and the day's streak already (the same people came
//! earlier that day); every fourth user has a referrer. Units are those that the store reports.

mod load;
#[path = "load/rules.rs"]
mod rules;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use load::Draw;
use rand::rngs::StdRng;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::position::{Offset, Partition};
use tidemark::domain::time::Millis;
use tidemark::log::embedded::EmbeddedLog;
use tidemark::log::{Bounds, Log, NewRecord, Topic, topics, usage_partition};
use tidemark::ops::clock::{Clock, Moment};
use tidemark::ops::health::Health;
use tidemark::ops::metrics::Metrics;
use tidemark::pipeline::{self, Settings, WorkerContext, progress};
use tidemark::store::db::Table;
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};
use tidemark::store::embedded::EmbeddedStore;
use tidemark::store::meter::StoreMeter;
use tidemark::store::referrals::{AwardPolicy, Referrer, SignupRequest, signup};
use tidemark::store::tables::create_tables;
use tokio::sync::watch;

const START: i64 = 1_795_348_800_000;
const RATE: usize = 10_000;
const STEP_MS: i64 = 100;
/// Of a flush.
const STEPS: usize = (FLUSH_MS / STEP_MS) as usize;
/// Rates for which the units are calculated.
const RATES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const FLUSH_MS: i64 = 10_000;
const PARTITIONS: u32 = 4;

/// A clock that the benchmark moves. Sleeps are short and real.
#[derive(Default)]
struct Moved(AtomicI64);

#[async_trait]
impl Clock for Moved {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::SeqCst))
    }

    fn moment(&self) -> Moment {
        Moment::from_millis(self.0.load(Ordering::SeqCst))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration.min(Duration::from_millis(20))).await;
    }
}

struct Bench {
    log: Arc<EmbeddedLog>,
    db: DynamoDb,
    meter: Arc<StoreMeter>,
    clock: Arc<Moved>,
    rng: StdRng,
    sent: u64,
    ends: Vec<u64>,
}

impl Bench {
    /// Sends the events and moves the clock, in step with the raters; at the end everything is flushed.
    async fn send(&mut self, draws: &[Draw]) {
        for step in draws.chunks(draws.len() / STEPS) {
            let mut by_partition: Vec<Vec<NewRecord>> =
                (0..PARTITIONS).map(|_| Vec::new()).collect();
            for draw in step {
                self.sent += 1;
                let value = load::event(*draw, self.sent, self.clock.now(), &mut self.rng);
                let p = usage_partition(&load::user(draw.user), PARTITIONS);
                by_partition[p.0 as usize].push(NewRecord {
                    value,
                    ..NewRecord::default()
                });
            }
            for (p, records) in (0..).zip(by_partition) {
                self.ends[p as usize] += records.len() as u64;
                self.log
                    .append(Topic::UsageEvents, Partition(p), records)
                    .await
                    .expect("the log takes records");
            }
            self.await_rated().await;
            self.clock.0.fetch_add(STEP_MS, Ordering::SeqCst);
        }
        self.await_visible().await;
    }

    /// Waits until every record is in a chunk that is cut.
    async fn await_rated(&self) {
        loop {
            let mut behind = false;
            for (p, end) in (0..).zip(&self.ends) {
                let checkpoint = progress::rate_checkpoint(&self.db, Partition(p))
                    .await
                    .expect("the store answers");
                behind |= checkpoint.is_none_or(|checkpoint| checkpoint.to < Offset(*end));
            }
            if !behind {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Moves the clock on until everything is written.
    async fn await_visible(&self) {
        let bounds = |end: &u64| Bounds {
            start: Offset(0),
            end: Offset(*end),
        };
        let bounds: Vec<Bounds> = self.ends.iter().map(bounds).collect();
        loop {
            if let Some(wanted) = progress::rated(&self.db, self.log.epoch(), &bounds)
                .await
                .expect("the store answers")
                && progress::posted(&self.db, &wanted)
                    .await
                    .expect("the store answers")
            {
                return;
            }
            self.clock.0.fetch_add(STEP_MS, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Every fourth user that comes has a referrer, who is popular as users are.
async fn link_users(db: &DynamoDb, draws: &[Draw], now: Millis) -> usize {
    let users: BTreeSet<usize> = draws.iter().map(|draw| draw.user).collect();
    let account =
        |number: usize| Account::new(AccountKind::User, &load::user(number)).expect("a valid id");
    let mut linked = 0;
    for (number, referrer) in users
        .iter()
        .zip(draws)
        .filter(|(number, _)| *number % 4 == 0)
    {
        let request = SignupRequest {
            referrer: Referrer::Account(account(referrer.user)),
            referee: account(*number),
            now,
            token: format!("link-{number}"),
            awards: AwardPolicy::Elsewhere,
            by: None,
        };
        // A circle or one's own code is refused; a few fewer links change nothing.
        linked += usize::from(signup(db, &request, PARTITIONS).await.is_ok());
    }
    linked
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads");
    runtime.block_on(run());
}

async fn run() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = Arc::new(Moved(AtomicI64::new(START)));
    let (log, _) = EmbeddedLog::open(&dir.path().join("log"), &topics::shipped(), clock.clone())
        .expect("an empty directory");
    let store = EmbeddedStore::open(&dir.path().join("store")).expect("an empty directory");
    let meter = Arc::new(StoreMeter::default());
    let db = DynamoDb::new(
        &DynamoSettings::embedded(store.client()),
        meter.clone(),
        clock.clone(),
    );
    create_tables(&db).await.expect("an empty store");
    rules::publish(&db, clock.now()).await;
    let rate =
        std::env::var("COST_BENCH_RATE").map_or(RATE, |text| text.parse().expect("a number"));
    let (draws, rng) = load::draws(per_flush(rate));
    let linked = link_users(&db, &draws, clock.now()).await;
    let settings = Settings {
        usage_rows: false,
        // This clock stands still while a chunk is collected: a chunk takes what is there.
        chunk_age: Duration::ZERO,
        idle_after: Duration::from_millis(200),
        flush_interval: Duration::from_millis(FLUSH_MS as u64),
        flush_accounts_max: usize::MAX,
        leaderboard_interval: Duration::from_millis(FLUSH_MS as u64),
        award_interval: Duration::from_millis(FLUSH_MS as u64),
        ..Settings::default()
    };
    let metrics = Arc::new(Metrics::new());
    let log = Arc::new(log);
    let health = Arc::new(Health::new(metrics.clone()));
    let ctx = WorkerContext::new(
        log.clone(),
        Arc::new(db.clone()),
        clock.clone(),
        settings,
        metrics,
        health,
        1,
    );
    let ctx = Arc::new(ctx);
    let (stop, stopped) = watch::channel(false);
    let tasks = pipeline::all_tasks(PARTITIONS, PARTITIONS);
    let running = join_all(
        tasks
            .into_iter()
            .map(|task| pipeline::run(ctx.clone(), task, stopped.clone())),
    );
    let mut bench = Bench {
        log,
        db,
        meter,
        clock,
        rng,
        sent: 0,
        ends: vec![0; PARTITIONS as usize],
    };
    let measured = async {
        bench.send(&draws).await;
        let before: Vec<f64> = Table::ALL
            .iter()
            .map(|table| bench.meter.of_table(*table).write)
            .collect();
        bench.send(&draws).await;
        report(&bench, &before, &draws, linked);
        stop.send(true).expect("the tasks listen");
    };
    futures::future::join(running, measured).await;
    store.shutdown(Duration::from_secs(5)).await;
}

/// How many events come between two flushes.
const fn per_flush(rate: usize) -> usize {
    rate * FLUSH_MS as usize / 1_000
}

/// How many accounts a flush of these events writes.
fn distinct(flush: &[Draw]) -> usize {
    let users: HashSet<usize> = flush.iter().map(|draw| draw.user).collect();
    let providers: HashSet<usize> = flush.iter().map(|draw| draw.provider).collect();
    users.len() + providers.len()
}

fn report(bench: &Bench, before: &[f64], draws: &[Draw], linked: usize) {
    let distinct_here = distinct(draws);
    let events = draws.len() as f64;
    println!(
        "{} events, a flush every {} s, {linked} users with a referrer",
        draws.len(),
        FLUSH_MS / 1_000
    );
    println!(
        "distinct users and providers per flush   {:.3} per event",
        distinct_here as f64 / events
    );
    let mut total = 0.0;
    for (table, before) in Table::ALL.iter().zip(before) {
        let units = bench.meter.of_table(*table).write - before;
        total += units;
        if units > 0.0 {
            println!(
                "{:<40} {:.4} write units per event",
                table.name(),
                units / events
            );
        }
    }
    println!(
        "{:<40} {:.4} write units per event",
        "all tables",
        total / events
    );
    let per_account = total / distinct_here as f64;
    println!("\nat {per_account:.2} write units per account and flush:");
    for rate in RATES {
        let (draws, _) = load::draws(per_flush(rate));
        let units = distinct(&draws) as f64 * per_account;
        println!(
            "{rate:>9} events/s: {:>8.0} units/s, {:.4} per event",
            units / (FLUSH_MS / 1_000) as f64,
            units / draws.len() as f64
        );
    }
}
