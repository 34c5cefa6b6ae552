//! How fast one core rates: decode, duplicates, rules, cascade, fold, posting blocks; everything but I/O.
//!
//! `cargo bench --bench rating` prints a ratio to a bare loop in the same run: a typed JSON parse, one hash probe, one fold into
//! a map. Every fourth user has a referrer.

mod load;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hashbrown::HashMap;
use serde::Deserialize;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::position::{Chunk, Control, Epoch, Offset, Partition, Sequence};
use tidemark::domain::rules::{RuleBook, RuleChange, RulesDocument, Timeline};
use tidemark::domain::time::Millis;
use tidemark::log::Record;
use tidemark::log::posting::{BlockHeader, encode_blocks};
use tidemark::pipeline::follower::{Chain, Chains};
use tidemark::pipeline::rate::examine::{Place, examine};
use tidemark::pipeline::rate::fold::{Fold, Tiers};
use tidemark::pipeline::rate::window::Window;
use tidemark::store::checkpoints::{UsageRows, WindowCut};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVENTS: usize = 1_000_000;
const CHUNK: usize = 50_000;
const RUNS: usize = 3;
const START: i64 = 1_795_348_800_000;
const POSTING_PARTITIONS: u32 = 4;
fn records() -> Vec<Record> {
    let (draws, mut rng) = load::draws(EVENTS);
    let record = |(n, draw): (usize, &load::Draw)| {
        let time = Millis(START + n as i64 / 10);
        let value = load::event(*draw, n as u64, time, &mut rng);
        Record {
            offset: Offset(n as u64),
            append_time: time.plus(20),
            key: None,
            value,
            headers: Vec::new(),
        }
    };
    draws.iter().enumerate().map(record).collect()
}

#[derive(Deserialize)]
struct BareData<'a> {
    #[serde(rename = "providerId")]
    provider: &'a str,
    #[serde(rename = "statusCode")]
    status: u16,
    #[serde(rename = "inputTokens")]
    input: u64,
}

#[derive(Deserialize)]
struct Bare<'a> {
    id: &'a str,
    subject: &'a str,
    #[serde(borrow)]
    data: BareData<'a>,
}

/// The yardstick.
fn bare(records: &[Record]) -> usize {
    let mut seen: HashMap<u64, u64> = HashMap::new();
    let mut sums: HashMap<(&str, u8), u64> = HashMap::new();
    for record in records {
        let event: Bare<'_> =
            sonic_rs::from_slice(&record.value).expect("the benchmark makes its own events");
        seen.insert(
            xxhash_rust::xxh3::xxh3_64(event.id.as_bytes()),
            record.offset.0,
        );
        *sums.entry((event.subject, 0)).or_default() +=
            u64::from(event.data.status) + event.data.input;
        *sums.entry((event.data.provider, 1)).or_default() += 1;
    }
    black_box(seen.len() + sums.len())
}

fn timeline() -> Arc<Timeline> {
    let text = include_str!("../config/rules/mainnet.toml");
    let document =
        RulesDocument::parse_toml("mainnet.toml", text).expect("the shipped rules are valid");
    let changes: Vec<RuleChange> = document
        .changes()
        .into_iter()
        .map(|(key, value)| RuleChange {
            key,
            value,
            effective_from: None,
        })
        .collect();
    let mut book = RuleBook::default();
    book.apply(Control(1), &changes)
        .expect("the shipped rules are valid");
    book.as_of(Control(1))
        .expect("the shipped rules are complete")
}

/// Every fourth user has a referrer; everybody else is known to have none.
fn chains() -> Chains {
    let mut chains = Chains::default();
    let account = |kind, id: String| Account::new(kind, &id).expect("a valid id");
    for user in 0..=load::USERS {
        let referrer = |step: usize| account(AccountKind::User, load::user((user + step) % 1_000));
        let chain = (user % 4 == 0).then(|| Chain {
            number: Control(1),
            accounts: vec![referrer(1), referrer(2), referrer(3)].into(),
        });
        chains.learn(account(AccountKind::User, load::user(user)), chain);
    }
    for provider in 0..=load::PROVIDERS {
        chains.learn(
            account(AccountKind::Provider, load::provider(provider)),
            None,
        );
    }
    chains
}

fn first_cut(log_time: Millis) -> WindowCut {
    WindowCut {
        age_ms: 3_600_000,
        records_max: 2_000_000,
        usage_rows: UsageRows::Off,
        first: Offset(0),
        first_log_time: log_time,
        forgotten: None,
    }
}

/// The first half alone.
fn examine_all(records: &[Record]) -> usize {
    let mut window = Window::default();
    let mut log_time = Millis(START);
    let mut cut = first_cut(log_time);
    let mut found = 0;
    for chunk in records.chunks(CHUNK) {
        cut = window.advance(&cut, chunk[0].offset, log_time);
        let place = Place {
            partition: Partition(0),
            partitions: 1,
            window: &cut,
            breakage: None,
        };
        found += examine(chunk, place, &mut window, &mut log_time)
            .candidates
            .len();
    }
    black_box(found)
}

/// Rating as the worker does it, without log and store.
fn rate(records: &[Record], timeline: &Timeline, chains: &Chains) -> usize {
    let mut window = Window::default();
    let mut tiers = Tiers::default();
    let mut log_time = Millis(START);
    let mut cut = first_cut(log_time);
    let mut bytes = 0;
    for chunk in records.chunks(CHUNK) {
        cut = window.advance(&cut, chunk[0].offset, log_time);
        let place = Place {
            partition: Partition(0),
            partitions: 1,
            window: &cut,
            breakage: None,
        };
        let examined = examine(chunk, place, &mut window, &mut log_time);
        assert_eq!(examined.candidates.len(), chunk.len());
        let mut fold = Fold::new(timeline, chains, Control(1));
        for candidate in &examined.candidates {
            fold.add(candidate, &mut tiers).expect("no overflow");
        }
        let mut by_partition: Vec<Vec<_>> = (0..POSTING_PARTITIONS).map(|_| Vec::new()).collect();
        for entry in fold.entries() {
            by_partition[entry.account.partition(POSTING_PARTITIONS).0 as usize].push(entry);
        }
        let header = BlockHeader {
            epoch: Epoch(0),
            source: Partition(0),
            chunk: Chunk(1),
            control: Control(1),
            source_log_time: log_time,
        };
        for entries in by_partition {
            bytes += encode_blocks(&header, &entries, Sequence(1))
                .iter()
                .map(Bytes::len)
                .sum::<usize>();
        }
    }
    black_box(bytes)
}

fn best(events: usize, mut run: impl FnMut() -> usize) -> f64 {
    (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            black_box(run());
            events as f64 / start.elapsed().as_secs_f64()
        })
        .fold(0.0, f64::max)
}

fn main() {
    let records = records();
    let size = records
        .iter()
        .map(|record| record.value.len())
        .sum::<usize>()
        / records.len();
    let (timeline, chains) = (timeline(), chains());
    let bare_rate = best(EVENTS, || bare(&records));
    let examined = best(EVENTS, || examine_all(&records));
    let rated = best(EVENTS, || rate(&records, &timeline, &chains));
    println!("events of {size} bytes, one core, best of {RUNS}");
    println!("bare loop (parse, probe, fold)   {bare_rate:>12.0} events/s   1.00");
    println!(
        "of which decode and duplicates   {examined:>12.0} events/s   {:.2}",
        examined / bare_rate
    );
    println!(
        "rating                           {rated:>12.0} events/s   {:.2}",
        rated / bare_rate
    );
}
