//! How fast the archive is rated again: local files, two threads, the mainnet's rules with other prices.
//!
//! `cargo bench --bench replay` prints records per second of wall clock; the goal is 1,000,000 on two
//! cores. `REPLAY_BENCH_ROWS` (4,000,000) and `REPLAY_BENCH_MEMORY` (MiB, 1,024) change what is done.

#[expect(dead_code, reason = "what is archived has been rated")]
mod load;

use std::collections::BTreeMap;
use std::time::Instant;

use rand::Rng;
use tidemark::app::queries::verify::{ArchivedAccounts, Share};
use tidemark::app::queries::{Forget, MonthCoverage, ReplayRequest, StoredArchive, replay};
use tidemark::archive::{
    ArchiveFile, ArchiveStore, ArchiveWriter, ArchivedRequest, Column, Columns, FileName, Folder,
    RequestKind, Rows,
};
use tidemark::domain::amount::{Money, Points};
use tidemark::domain::event::Service;
use tidemark::domain::ids::AccountKind;
use tidemark::domain::position::{Chunk, Control, Epoch, Offset, Partition};
use tidemark::domain::rating::{Used, rate_used};
use tidemark::domain::rules::{Network, RuleBook, RuleChange, RulesDocument, TokenCounts};
use tidemark::domain::semantics::Semantics;
use tidemark::domain::time::Month;
use tidemark::store::audits::coverage::Coverage;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: usize = 4_000_000;
const ROWS_PER_FILE: usize = 500_000;
/// As many as a chunk, more or less.
const PORTION: usize = 5_000;

fn setting(name: &str, usual: usize) -> usize {
    let given = std::env::var(name).ok();
    given.map_or(usual, |text| text.parse().expect("a number"))
}

fn rules() -> (RuleBook, RulesDocument) {
    let (name, text) = Network::Mainnet.document();
    let document = RulesDocument::parse_toml(name, text).expect("the shipped rules are valid");
    let changes = document.changes().into_iter();
    let changes: Vec<RuleChange> = changes
        .map(|(key, value)| RuleChange {
            key,
            value,
            effective_from: None,
        })
        .collect();
    let mut book = RuleBook::default();
    book.apply(Control(1), &changes)
        .expect("the shipped rules are valid");
    let other = text.replace("\"0.0005\"", "\"0.0006\"");
    let other = RulesDocument::parse_toml(name, &other).expect("another price");
    (book, other)
}

fn month() -> Month {
    "2026-11".parse().expect("a month")
}

/// Writes the archive; its bytes.
fn write(directory: &std::path::Path, rows: usize, book: &mut RuleBook) -> u64 {
    let (draws, mut rng) = load::draws(rows);
    let timeline = book.as_of(Control(1)).expect("rules");
    let start = month().start();
    let models = ["llama-3-8b", "gpt-4o-mini", "qwen2.5-32b", "gemma-2b"];
    let mut written = 0;
    for (number, of_file) in draws.chunks(ROWS_PER_FILE).enumerate() {
        let mut writer = ArchiveWriter::new().expect("memory");
        let from = (number * ROWS_PER_FILE) as u64;
        let mut offset = from;
        for portion in of_file.chunks(PORTION) {
            let mut rows = Rows::default();
            for draw in portion {
                let time = start.plus(offset as i64);
                let rules = timeline.at(time);
                let (user, provider) = (load::user(draw.user), load::provider(draw.provider));
                let model = models[rng.random_range(0..models.len())];
                let (input, output) = (rng.random_range(1..3_000), rng.random_range(1..900));
                let service = Service::CHAT_COMPLETIONS;
                let detection = rules.detect_for(service, Some(model), Semantics::NOW);
                let used = Used {
                    tokens: TokenCounts {
                        input,
                        output,
                        ..TokenCounts::default()
                    },
                    ..Used::default()
                };
                let amounts = rate_used(used, service, &detection, rules);
                // Every fourth user has somebody who referred it.
                let referrer = (draw.user % 4 == 0).then(|| load::user(draw.user / 4 + 1));
                let share = amounts.user.times(rules.cascade()[0]);
                let id = format!("018f3c1e-7a2b-{offset:012x}");
                rows.push(&ArchivedRequest {
                    kind: RequestKind::Event,
                    source: "gateway-eu-1",
                    id: &id,
                    user: &user,
                    provider: Some(&provider),
                    endpoint: "/v1/chat/completions",
                    service_name: "chat_completions",
                    service,
                    model: Some(model),
                    tier: Some(detection.tier),
                    status: 200,
                    latency_ms: Some(rng.random_range(50..4_000)),
                    input_tokens: Some(input),
                    output_tokens: Some(output),
                    cached_input_tokens: None,
                    cache_write_tokens: None,
                    reasoning_tokens: None,
                    audio_ms: None,
                    image_count: None,
                    request_bytes: Some(812),
                    response_bytes: Some(1_490),
                    stream: false,
                    time,
                    log_time: time.plus(40),
                    epoch: Epoch(0),
                    partition: Partition(0),
                    offset: Offset(offset),
                    chunk: Chunk(offset / PORTION as u64),
                    chunk_log_time: time.plus(40),
                    control: Control(1),
                    semantics: Semantics::NOW.number(),
                    month: month(),
                    booked_on: Some(time.day()),
                    user_points: amounts.user,
                    provider_points: amounts.provider,
                    cost: amounts.charge.cost,
                    shadow_cost: Money::ZERO,
                    target_ms: amounts.target_ms,
                    trial_points: None,
                    user_referrer_1: referrer.as_deref(),
                    user_referrer_1_kind: referrer.as_ref().map(|_| AccountKind::User),
                    user_referrer_2: None,
                    user_referrer_2_kind: None,
                    user_referrer_3: None,
                    user_referrer_3_kind: None,
                    user_referral_1: referrer.as_ref().map_or(Points::ZERO, |_| share),
                    user_referral_2: Points::ZERO,
                    user_referral_3: Points::ZERO,
                    provider_referrer_1: None,
                    provider_referrer_1_kind: None,
                    provider_referrer_2: None,
                    provider_referrer_2_kind: None,
                    provider_referrer_3: None,
                    provider_referrer_3_kind: None,
                    provider_referral_1: Points::ZERO,
                    provider_referral_2: Points::ZERO,
                    provider_referral_3: Points::ZERO,
                    original_offset: None,
                    original_epoch: None,
                    original_source: None,
                    original_id: None,
                    provider_is_new: false,
                    earlier_model: None,
                    earlier_latency_ms: None,
                    earlier_target_ms: None,
                    earlier_input_tokens: None,
                    earlier_output_tokens: None,
                    earlier_cached_input_tokens: None,
                    earlier_cache_write_tokens: None,
                    earlier_reasoning_tokens: None,
                    earlier_audio_ms: None,
                    earlier_image_count: None,
                });
                offset += 1;
            }
            writer.append(&rows).expect("rows");
        }
        let folder = Folder {
            month: month(),
            day: start.plus(from as i64).day(),
        };
        let name = FileName {
            epoch: Epoch(0),
            source: Partition(0),
            from: Offset(from),
            to: Offset(offset),
        };
        let bytes = writer.finish().expect("a file");
        written += bytes.len() as u64;
        let path = directory.join(name.path_in(folder));
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }
    written
}

/// What [`write`] writes.
fn coverage(rows: u64) -> MonthCoverage {
    let beginning = Coverage::beginning("bench", Epoch(0), Partition(0), Offset(0));
    let coverage = Coverage {
        to: Offset(rows),
        rows_of_month: BTreeMap::from([(month(), rows)]),
        ..beginning
    };
    MonthCoverage {
        month: month(),
        coverages: vec![coverage],
        missing: None,
        up_to: None,
    }
}

fn main() {
    let rows = setting("REPLAY_BENCH_ROWS", ROWS);
    let directory = tempfile::tempdir().expect("a directory");
    let (mut book, other) = rules();
    let bytes = write(directory.path(), rows, &mut book);
    println!(
        "{rows} records in {bytes} bytes, {:.1} each",
        bytes as f64 / rows as f64
    );
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let store = ArchiveStore::in_directory(directory.path()).expect("a directory");
    let archive = StoredArchive::new(store, runtime.handle().clone());
    for (what, rules) in [
        ("under the rules that there were", None),
        ("under other prices", Some(other)),
    ] {
        let request = ReplayRequest {
            coverage: coverage(rows as u64),
            partial: false,
            rules,
            memory_bytes: setting("REPLAY_BENCH_MEMORY", 1_024) << 20,
            top: 10,
            threads: 2,
            records_max: None,
        };
        let begun = Instant::now();
        let report = replay(&archive, &book, &request, &mut Forget).expect("an archive");
        let took = begun.elapsed().as_secs_f64();
        println!(
            "{what}: {:.0} records/s ({took:.2} s, {} accounts, {} passes, {} records changed)",
            rows as f64 * report.passes as f64 / took,
            report.accounts,
            report.passes,
            report.rows.changed
        );
    }
    fold(&archive, rows);
}

/// What `tidemark verify` does with the archive before it looks at rows: reading the columns, and folding
/// them per account, each alone and on one core.
fn fold(archive: &StoredArchive, rows: usize) {
    let columns = Columns::POSTED.and(Columns::of(&[
        Column::epoch,
        Column::partition,
        Column::offset,
        Column::chunk,
        Column::chunk_log_time,
    ]));
    let mut accounts = ArchivedAccounts::new(Share::ALL, usize::MAX);
    let (mut decoding, mut folding) = (0.0, 0.0);
    for path in archive.files(month()).expect("an archive") {
        let file = ArchiveFile::open(archive.read(&path).expect("a file")).expect("a file");
        for group in 0..file.groups() {
            let begun = Instant::now();
            let batch = file.read_group(group, columns).expect("a group");
            decoding += begun.elapsed().as_secs_f64();
            let begun = Instant::now();
            for place in 0..batch.len() {
                let row = batch.row(place).expect("a row");
                accounts.add(&row).expect("room");
            }
            folding += begun.elapsed().as_secs_f64();
        }
    }
    let rate = |seconds: f64| rows as f64 / seconds;
    println!(
        "verify, one core: decoding {:.0} records/s, folding {:.0} records/s ({} accounts)",
        rate(decoding),
        rate(folding),
        accounts.iter().len()
    );
}
