//! A chunk is rated piece by piece, in room that an earlier chunk has left: neither may be seen in its posting blocks.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::position::{Chunk, Control, Epoch, Offset, Partition, Sequence};
use tidemark::domain::rules::{RuleBook, RuleChange, RulesDocument, Timeline};
use tidemark::domain::semantics::Semantics;
use tidemark::domain::service::Services;
use tidemark::domain::time::Millis;
use tidemark::log::Record;
use tidemark::log::posting::{BlockHeader, encode_blocks};
use tidemark::log::usage::SENDER_HEADER;
use tidemark::pipeline::Protections;
use tidemark::pipeline::follower::{Chain, Chains};
use tidemark::pipeline::rate::PIECE_RECORDS;
use tidemark::pipeline::rate::decode::{Intake, RecordRules};
use tidemark::pipeline::rate::fold::{Fold, Room};
use tidemark::pipeline::rate::tiers::Tiers;
use tidemark::pipeline::rate::window::Window;
use tidemark::store::checkpoints::{UsageRows, WindowCut};

/// 2026-11-22T12:00:00Z.
const START: i64 = 1_795_348_800_000;
const USERS: u32 = 12;

/// What differs from event to event.
#[derive(Clone, Copy, Debug)]
struct Draw {
    user: u32,
    provider: u32,
    id: u32,
    hours_ago: u32,
    tokens: u32,
    status: u16,
}

fn any_draw() -> impl Strategy<Value = Draw> {
    let status = prop::sample::select(vec![200u16, 200, 200, 404, 503]);
    (0..USERS, 0..4u32, 0..400u32, 0..30u32, 0..5_000u32, status).prop_map(
        |(user, provider, id, hours_ago, tokens, status)| Draw {
            user,
            provider,
            id,
            hours_ago,
            tokens,
            status,
        },
    )
}

fn record(offset: usize, draw: &Draw) -> Record {
    let log_time = START + offset as i64;
    let time = START - i64::from(draw.hours_ago) * 3_600_000;
    let event = json!({
        "requestId": format!("r-{}", draw.id), "userId": format!("user-{}", draw.user),
        "providerId": format!("prov-{}", draw.provider), "endpoint": "/v1/chat/completions", "model": "llama-3-70b",
        "timestamp": jiff::Timestamp::from_millisecond(time).unwrap().to_string(), "statusCode": draw.status,
        "latencyMs": 250, "inputTokens": draw.tokens, "outputTokens": 7,
    });
    Record {
        offset: Offset(offset as u64),
        append_time: Millis(log_time),
        key: None,
        value: Bytes::from(event.to_string()),
        headers: Vec::new(),
    }
}

fn timeline() -> Arc<Timeline> {
    let text = include_str!("../../../config/rules/mainnet.toml");
    let document = RulesDocument::parse_toml("mainnet.toml", text).unwrap();
    let change = |(key, value)| RuleChange {
        key,
        value,
        effective_from: None,
    };
    let changes: Vec<RuleChange> = document.changes().into_iter().map(change).collect();
    let mut book = RuleBook::default();
    book.apply(Control(1), &changes).unwrap();
    book.as_of(Control(1)).unwrap()
}

/// Every third user has referrers among the others.
fn chains() -> Chains {
    let account = |kind, id: String| Account::new(kind, &id).unwrap();
    let user = |number: u32| account(AccountKind::User, format!("user-{}", number % USERS));
    let mut chains = Chains::default();
    for number in 0..USERS {
        let chain = number.is_multiple_of(3).then(|| Chain {
            number: Control(1),
            accounts: vec![user(number + 1), user(number + 2)].into(),
        });
        chains.learn(&user(number), chain);
    }
    for number in 0..4 {
        let provider = account(AccountKind::Provider, format!("prov-{number}"));
        chains.learn(&provider, None);
    }
    chains
}

/// The posting blocks of one chunk, and the room that is left.
fn blocks(records: &[Record], piece: usize, room: Room) -> (Vec<Bytes>, usize, Room) {
    let window_cut = WindowCut {
        age_ms: 3_600_000,
        records_max: 2_000_000,
        usage_rows: UsageRows::Since(None),
        first: Offset(0),
        first_log_time: Millis(START),
        forgotten: None,
    };
    let rules = RecordRules {
        semantics: Semantics::NOW,
        partition: Partition(0),
        partitions: 1,
        services: &Services::default(),
        clock: None,
    };
    let mut intake = Intake::starting_at(Millis(START));
    let (mut window, mut tiers) = (Window::default(), Tiers::default());
    let chains = chains();
    let mut fold = Fold::new(timeline(), Control(1), room);
    for piece in records.chunks(piece) {
        intake.decode(piece, &rules);
        intake.dedupe(&window_cut, &mut window, Protections::default());
        let parties = fold.meet(&intake.candidates);
        fold.link(&chains);
        for (candidate, party) in intake.candidates.iter().zip(parties) {
            fold.add(candidate, party, &mut tiers);
        }
        intake.candidates.clear();
    }
    let postings = fold.postings(2);
    let header = BlockHeader {
        epoch: Epoch(0),
        source: Partition(0),
        chunk: Chunk(1),
        control: Control(1),
        source_log_time: Millis(START),
    };
    let encoded =
        (0..2).flat_map(|q| encode_blocks(&header, postings.entries(Partition(q)), Sequence(1)));
    let encoded: Vec<Bytes> = encoded.collect();
    (encoded, intake.duplicates as usize, postings.into_room())
}

fn records(draws: &[Draw]) -> Vec<Record> {
    let pairs = draws.iter().enumerate();
    pairs.map(|(offset, draw)| record(offset, draw)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn pieces_and_used_room_never_change_a_chunks_blocks(
        draws in prop::collection::vec(any_draw(), 1..120), before in prop::collection::vec(any_draw(), 1..60), piece in 1..40usize,
    ) {
        let records = records(&draws);
        let (whole, duplicates, _) = blocks(&records, records.len(), Room::default());
        let used = blocks(&self::records(&before), 7, Room::default()).2;
        let (pieced, again, _) = blocks(&records, piece, used);
        prop_assert_eq!(whole, pieced);
        prop_assert_eq!(duplicates, again);
    }

    #[test]
    fn who_sent_an_event_never_changes_a_chunks_blocks(
        draws in prop::collection::vec(any_draw(), 1..120), senders in prop::collection::vec(prop::option::of("[0-9a-f]{12}"), 120),
    ) {
        let mut records = records(&draws);
        let (unnamed, duplicates, _) = blocks(&records, records.len(), Room::default());
        // A resend may come with another key: it is the same event.
        for (record, sender) in records.iter_mut().zip(senders) {
            let header = sender.map(|sender| (SENDER_HEADER.to_owned(), Bytes::from(sender)));
            record.headers.extend(header);
        }
        let (named, again, _) = blocks(&records, records.len(), Room::default());
        prop_assert_eq!(unnamed, named);
        prop_assert_eq!(duplicates, again);
    }
}

#[test]
fn a_chunk_of_many_full_pieces_is_rated_as_one() {
    let draw = |n: u32| Draw {
        user: n * 7 % USERS,
        provider: n % 4,
        id: n % 1_500,
        hours_ago: n % 30,
        tokens: n,
        status: 200,
    };
    let draws: Vec<Draw> = (0..3 * PIECE_RECORDS as u32 + 100).map(draw).collect();
    let records = records(&draws);
    let (whole, duplicates, _) = blocks(&records, records.len(), Room::default());
    let (pieced, again, _) = blocks(&records, PIECE_RECORDS, Room::default());
    assert_eq!(whole, pieced);
    assert_eq!(duplicates, again);
}
