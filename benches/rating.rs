//! How fast one core rates: decode, duplicates, rules, cascade, fold, posting blocks; everything but I/O.
//!
//! `cargo bench --bench rating` prints a ratio to a bare loop in the same run: a typed JSON parse, one hash probe, one fold into
//! a map. Every fourth user has a referrer.
//!
//! *Cold* begins with an empty duplicate window, whose tables grow while they are measured. *Steady* is a worker that runs for long: its
//! window holds an hour, two million records, and forgets a record for each that it takes; what fills it is not measured.

mod load;

use std::hint::black_box;
use std::sync::Arc;

use hashbrown::HashMap;
use serde::Deserialize;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::position::{Chunk, Control, Epoch, Offset, Partition, Sequence};
use tidemark::domain::rules::{RuleBook, RuleChange, RulesDocument, Timeline};
use tidemark::domain::semantics::Semantics;
use tidemark::domain::service::Services;
use tidemark::domain::time::Millis;
use tidemark::log::Record;
use tidemark::log::posting::{BlockHeader, encode_blocks};
use tidemark::pipeline::Protections;
use tidemark::pipeline::follower::{Chain, Chains};
use tidemark::pipeline::rate::PIECE_RECORDS;
use tidemark::pipeline::rate::candidate::Candidate;
use tidemark::pipeline::rate::decode::{Intake, RecordRules};
use tidemark::pipeline::rate::fold::{Fold, Postings, Room};
use tidemark::pipeline::rate::tiers::Tiers;
use tidemark::pipeline::rate::window::Window;
use tidemark::store::checkpoints::{UsageRows, WindowCut};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// So many are measured.
const EVENTS: usize = 1_000_000;
/// So many come within an hour: the duplicate window holds them.
const WINDOW: usize = 2_000_000;
const HOUR_MS: usize = 3_600_000;
const CHUNK: usize = 50_000;
const RUNS: usize = 5;
const START: i64 = 1_795_348_800_000;
const POSTING_PARTITIONS: u32 = 4;
fn records() -> Vec<Record> {
    let (draws, mut rng) = load::draws(WINDOW + EVENTS);
    let record = |(n, draw): (usize, &load::Draw)| {
        let time = Millis(START + (n * HOUR_MS / WINDOW) as i64);
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
        chains.learn(&account(AccountKind::User, load::user(user)), chain);
    }
    for provider in 0..=load::PROVIDERS {
        chains.learn(
            &account(AccountKind::Provider, load::provider(provider)),
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

/// How far examining has come.
enum Step<'s, 'a> {
    /// A piece was intake.
    Piece(&'s [Candidate<'a>]),
    /// That was a chunk; log time after it.
    Chunk(Millis),
}

/// Examines all records as the worker does, piece by piece. The first `warm` are not measured.
fn examine<'a>(
    records: &'a [Record],
    warm: usize,
    watch: &mut Watch,
    mut then: impl FnMut(Step<'_, 'a>),
) {
    let mut window = Window::default();
    let mut log_time = Millis(START);
    let mut cut = first_cut(log_time);
    let services = Services::default();
    for (n, chunk) in records.chunks(CHUNK).enumerate() {
        if n * CHUNK == warm {
            watch.start();
        }
        cut = window.advance(&cut, chunk[0].offset, log_time);
        let rules = RecordRules {
            semantics: Semantics::NOW,
            partition: Partition(0),
            partitions: 1,
            services: &services,
            clock: None,
        };
        let mut intake = Intake::starting_at(log_time);
        for piece in chunk.chunks(PIECE_RECORDS) {
            intake.decode(piece, &rules);
            intake.dedupe(&cut, &mut window, Protections::default());
            assert_eq!(intake.candidates.len(), piece.len());
            then(Step::Piece(&intake.candidates));
            intake.candidates.clear();
        }
        log_time = intake.log_time;
        then(Step::Chunk(log_time));
    }
}

/// The first half alone.
fn count(records: &[Record], warm: usize, watch: &mut Watch) -> usize {
    let mut found = 0;
    examine(records, warm, watch, |step| {
        if let Step::Piece(candidates) = step {
            found += candidates.len();
        }
    });
    black_box(found)
}

/// Rating as the worker does it, without log and store.
fn rate(
    records: &[Record],
    warm: usize,
    watch: &mut Watch,
    timeline: &Arc<Timeline>,
    chains: &Chains,
) -> usize {
    let mut tiers = Tiers::default();
    let mut bytes = 0;
    let new_fold = |room| Some(Fold::new(Arc::clone(timeline), Control(1), room));
    let mut current = new_fold(Room::default());
    examine(records, warm, watch, |step| match step {
        Step::Piece(candidates) => {
            let fold = current.as_mut().expect("one is there between chunks");
            let parties = fold.meet(candidates);
            fold.link(chains);
            for (candidate, party) in candidates.iter().zip(parties) {
                fold.add(candidate, party, &mut tiers);
            }
        }
        Step::Chunk(log_time) => {
            let fold = current.take().expect("one is there between chunks");
            let postings = fold.postings(POSTING_PARTITIONS);
            bytes += encode(&postings, log_time);
            current = new_fold(postings.into_room());
        }
    });
    black_box(bytes)
}

/// The size of a chunk's posting blocks.
fn encode(postings: &Postings, log_time: Millis) -> usize {
    let header = BlockHeader {
        epoch: Epoch(0),
        source: Partition(0),
        chunk: Chunk(1),
        control: Control(1),
        source_log_time: log_time,
    };
    let partitions = (0..POSTING_PARTITIONS).map(Partition);
    let blocks = partitions.map(|q| encode_blocks(&header, postings.entries(q), Sequence(1)));
    blocks.flatten().map(|block| block.len()).sum()
}

/// CPU time of this thread so far, ns: others build and run on the machine as well.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = stat.split_whitespace().next().map(str::parse);
    ns.and_then(Result::ok)
        .expect("the benchmark needs Linux: it reads its CPU time from /proc")
}

/// Measures CPU time from its last start.
struct Watch(u64);

impl Watch {
    fn start(&mut self) {
        self.0 = cpu_ns();
    }
}

/// Events per CPU-second.
fn measure(run: &dyn Fn(&mut Watch) -> usize) -> f64 {
    let mut watch = Watch(cpu_ns());
    black_box(run(&mut watch));
    EVENTS as f64 / ((cpu_ns() - watch.0) as f64 / 1e9)
}

fn main() {
    // For a profiler: only the part of this name.
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let records = records();
    let size = records
        .iter()
        .map(|record| record.value.len())
        .sum::<usize>()
        / records.len();
    let (timeline, chains) = (timeline(), chains());
    let (first, all) = (&records[..EVENTS], &records[..]);
    type Run<'r> = &'r dyn Fn(&mut Watch) -> usize;
    let parts: [(&str, &str, Run<'_>); 5] = [
        ("bare", "bare loop (parse, probe, fold)", &|_| bare(first)),
        ("examine", "decode and duplicates, cold", &|watch| {
            count(first, 0, watch)
        }),
        (
            "examine-steady",
            "decode and duplicates, steady",
            &|watch| count(all, WINDOW, watch),
        ),
        ("rate", "rating, cold", &|watch| {
            rate(first, 0, watch, &timeline, &chains)
        }),
        ("rate-steady", "rating, steady", &|watch| {
            rate(all, WINDOW, watch, &timeline, &chains)
        }),
    ];
    println!("events of {size} bytes, per CPU-second, best of {RUNS}");
    // In turns, so that a slow minute of the machine slows all of them.
    let mut best = [0f64; 5];
    for _ in 0..RUNS {
        for ((name, _, run), best) in parts.iter().zip(&mut best) {
            if only.as_deref().is_none_or(|only| only == *name) {
                *best = best.max(measure(*run));
            }
        }
    }
    for ((_, what, _), rate) in parts.iter().zip(best) {
        println!("{what:<33}{rate:>12.0} events/s   {:.2}", rate / best[0]);
    }
}
