//! After a restart the duplicate window is built again from the log: it must be what the first pass had.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;
use tidemark::domain::position::{Offset, Partition};
use tidemark::domain::semantics::Semantics;
use tidemark::domain::service::Services;
use tidemark::domain::time::Millis;
use tidemark::log::rejected::ORIGINAL_BYTES_MAX;
use tidemark::log::{Record, usage_partition};
use tidemark::pipeline::Protections;
use tidemark::pipeline::rate::decode::{Intake, RecordRules, TICK_HEADER};
use tidemark::pipeline::rate::dedupe::rebuild;
use tidemark::pipeline::rate::window::{Standing, Window};
use tidemark::store::checkpoints::{UsageRows, WindowCut};

/// 2026-11-22T12:00:00Z.
const START: i64 = 1_795_348_800_000;
const PARTITIONS: u32 = 2;

/// What a record is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Event,
    /// The same event, with so much around it that it is refused.
    Oversized,
    Tick,
    Malformed,
    UnknownService,
    InTheFuture,
    TooOld,
}

fn any_record() -> impl Strategy<Value = (Kind, u32, u32, i64, bool)> {
    use Kind::{Event, InTheFuture, Malformed, Oversized, Tick, TooOld, UnknownService};
    let kinds = vec![
        Event,
        Event,
        Event,
        Event,
        Oversized,
        Oversized,
        Tick,
        Malformed,
        UnknownService,
        InTheFuture,
        TooOld,
    ];
    // Append times step back now and then.
    let step = -2_000..60_000i64;
    (
        prop::sample::select(kinds),
        0..4u32,
        0..6u32,
        step,
        any::<bool>(),
    )
}

fn record(
    offset: u64,
    append_time: i64,
    (kind, user, id, _, other): (Kind, u32, u32, i64, bool),
) -> Record {
    let time = match kind {
        Kind::InTheFuture => append_time + 3_600_000,
        Kind::TooOld => append_time - 40 * 86_400_000,
        _ => START,
    };
    let endpoint = match kind {
        Kind::UnknownService => "/v1/nothing",
        _ => "/v1/chat/completions",
    };
    let mut event = json!({
        "requestId": format!("r-{id}"), "userId": format!("user-{user}"), "endpoint": endpoint, "model": "llama-3-70b",
        "timestamp": jiff::Timestamp::from_millisecond(time).unwrap().to_string(), "statusCode": 200,
        "inputTokens": if other { 7 } else { 8 },
    });
    if matches!(kind, Kind::Oversized) {
        event["extra"] = json!("x".repeat(ORIGINAL_BYTES_MAX));
    }
    let value = match kind {
        Kind::Malformed => Bytes::from_static(b"{"),
        _ => Bytes::from(event.to_string()),
    };
    let headers = match kind {
        Kind::Tick => vec![(TICK_HEADER.to_owned(), "1".into())],
        _ => Vec::new(),
    };
    Record {
        offset: Offset(offset),
        append_time: Millis(append_time),
        key: None,
        value,
        headers,
    }
}

/// What each event is to a window: every identity that there may be, with both contents.
fn standings(window: &mut Window) -> Vec<Standing> {
    let mut standings = Vec::new();
    for user in 0..4 {
        for id in 0..6 {
            let record = record(1_000, START, (Kind::Event, user, id, 0, true));
            let event = tidemark::log::usage::decode(&record.value, &record.headers).unwrap();
            let offset = Offset(1_000 + standings.len() as u64);
            standings.push(window.classify(
                event.identity(),
                event.content(),
                offset,
                Millis(START),
            ));
        }
    }
    standings
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_window_that_is_built_again_is_what_the_first_pass_had(
        draws in prop::collection::vec(any_record(), 1..40),
        first_split in 1..12usize,
        second_split in 1..12usize,
    ) {
        let mut append_time = START;
        let records: Vec<Record> = (0u64..).zip(&draws).map(|(offset, draw)| {
            append_time += draw.3;
            record(offset, append_time, *draw)
        }).collect();
        let cut = WindowCut {
            age_ms: i64::MAX / 2,
            records_max: u64::MAX,
            usage_rows: UsageRows::Since(None),
            first: Offset(0),
            first_log_time: Millis(0),
            forgotten: None,
        };
        let partition = usage_partition("user-0", PARTITIONS);
        let services = Services::default();
        let rules = RecordRules { semantics: Semantics::NOW, partition, partitions: PARTITIONS, services: &services, clock: None };
        let mut passed = Window::default();
        let mut intake = Intake::starting_at(Millis(0));
        for piece in records.chunks(first_split) {
            intake.decode(piece, &rules);
            intake.dedupe(&cut, &mut passed, Protections::default());
            intake.candidates.clear();
        }
        let (mut rebuilt, mut rebuilt_time) = (Window::default(), Millis(0));
        for piece in records.chunks(second_split) {
            rebuild(piece, &rules, &mut rebuilt, &mut rebuilt_time);
        }
        let passed_time = intake.log_time;
        prop_assert_eq!(passed_time, rebuilt_time);
        prop_assert_eq!(passed.len(), rebuilt.len());
        prop_assert_eq!(standings(&mut passed), standings(&mut rebuilt));
        // And forgets the same.
        let oldest = WindowCut { age_ms: 30_000, ..cut };
        prop_assert_eq!(passed.advance(&oldest, Offset(2_000), passed_time), rebuilt.advance(&oldest, Offset(2_000), rebuilt_time));
    }
}

#[test]
fn there_is_more_than_one_partition() {
    let partitions: Vec<Partition> = (0..4)
        .map(|user| usage_partition(&format!("user-{user}"), PARTITIONS))
        .collect();
    assert!(
        partitions
            .iter()
            .any(|partition| *partition != partitions[0]),
        "{partitions:?}"
    );
}
