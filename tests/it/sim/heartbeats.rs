//! Months become final everywhere, however little or much comes in, and to however few partitions.

use tidemark::domain::ids::{Account, AccountKind};
use tidemark::pipeline::{Breakage, Settings};

use super::adapter;
use super::quiet::{self, Quiet};
use super::workload::{DAY, HOUR, MINUTE};

const POSTING: u32 = 4;
/// November closes 72 h after its end.
const CLOSE: i64 = quiet::START + 4 * HOUR + 3 * DAY;
const START: i64 = CLOSE - 6 * MINUTE;

fn settings() -> Settings {
    Settings {
        tick_after: std::time::Duration::from_secs(60),
        ..Settings::default()
    }
}

/// The oldest log time of the only source that a posting partition's stored checkpoint covers.
fn covered(quiet: &Quiet) -> i64 {
    quiet.world.with(|inner| {
        let of = |q| {
            let stored = adapter::post_checkpoint(&inner.db, q)?;
            Some(stored.sources.get(&0)?.log_time.0)
        };
        (0..POSTING).map(|q| of(q).unwrap_or(0)).min().unwrap_or(0)
    })
}

/// How far behind the close of a month every posting partition has heard of, five minutes after it,
/// while a user sends an event every `every` ms.
fn heard_of_after_the_close(every: i64, breakage: Option<Breakage>) -> i64 {
    let mut quiet = Quiet::at(START, 1, POSTING);
    quiet.break_workers(breakage);
    quiet.start_worker(settings());
    quiet.pass(3 * MINUTE);
    let user = Account::new(AccountKind::User, "ann").unwrap();
    let mut sent = 0;
    while quiet.world.now() < CLOSE + 5 * MINUTE {
        quiet.chat(&format!("r-{sent}"), user.id());
        sent += 1;
        quiet.pass(every);
    }
    covered(&quiet) - CLOSE
}

/// Every posting partition must hear of the close within minutes.
#[track_caller]
fn a_stream_lets_the_month_close(every: i64) {
    let heard_of = heard_of_after_the_close(every, None);
    assert!(
        heard_of > 0,
        "five minutes after the close, {} s before it are covered",
        -heard_of / 1_000
    );
}

#[test]
fn the_simulator_finds_heartbeats_that_go_by_the_source() {
    let heard_of = heard_of_after_the_close(20_000, Some(Breakage::HeartbeatsBySource));
    assert!(heard_of <= 0, "{heard_of}");
}

#[test]
fn a_trickle_to_one_account_lets_every_posting_partition_close_the_month() {
    a_stream_lets_the_month_close(20_000);
}

#[test]
fn constant_load_to_one_account_lets_every_posting_partition_close_the_month() {
    // Never idle: idle_after is 300 ms.
    a_stream_lets_the_month_close(150);
}

#[test]
fn an_idle_source_lets_every_posting_partition_close_the_month_and_sends_one_tick_a_minute() {
    let mut quiet = Quiet::at(START, 1, POSTING);
    quiet.start_worker(settings());
    quiet.pass(CLOSE - START + 5 * MINUTE);
    let covered = covered(&quiet);
    assert!(
        covered > CLOSE,
        "{} s after the close: {} s",
        (quiet.world.now() - CLOSE) / 1_000,
        (covered - CLOSE) / 1_000
    );
    let records = quiet.world.with(|inner| inner.logs[&1].appended);
    let minutes = ((CLOSE - START) / MINUTE + 5) as u64;
    // One tick, one cut, and one block for each posting partition.
    let most = minutes * u64::from(2 + POSTING);
    assert!(
        records <= most && records >= most / 2,
        "{records} records in {minutes} minutes"
    );
}
