//! How fast the scores of a frozen proposal are: `cargo bench --bench votes` freezes the weights of 100,000
//! addresses and asks for all of them in one request, as Snapshot's strategy `api-v2` does, through the whole
//! service but its socket. The goal is 1 s. `VOTES_BENCH_ADDRESSES` changes how many there are.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tidemark::claims::sha256_of;
use tidemark::domain::ethereum::Address;
use tidemark::domain::ids::AccountKind;
use tidemark::domain::position::Control;
use tidemark::domain::time::Millis;
use tidemark::domain::votes::{Formula, ProposalId, VoteTerms, Weights, document_lines};
use tidemark::http::{self, ApiState, Hosts, Partitions, Parts};
use tidemark::log::Log;
use tidemark::log::embedded::EmbeddedLog;
use tidemark::log::topics::shipped;
use tidemark::ops::clock::SystemClock;
use tidemark::ops::config::Config;
use tidemark::ops::health::Health;
use tidemark::ops::metrics::Metrics;
use tidemark::store::db::Db;
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};
use tidemark::store::embedded::EmbeddedStore;
use tidemark::store::meter::StoreMeter;
use tidemark::store::tables::create_tables;
use tidemark::store::votes::{FrozenVotes, PIECE_BYTES_MAX, freeze, put_piece};
use tower::ServiceExt as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ADDRESSES: u32 = 100_000;
const ROUNDS: usize = 10;

fn main() {
    let given = std::env::var("VOTES_BENCH_ADDRESSES").ok();
    let count = given.map_or(ADDRESSES, |text| text.parse().expect("a number"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(count));
}

fn address(number: u32) -> Address {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
    Address(bytes)
}

/// Freezes a proposal as its document says it.
async fn frozen(db: &dyn Db, count: u32) {
    let points = (0..count).map(|n| (address(n), u128::from(n) + 1));
    let weights = Weights::new(Formula::Total, points.collect());
    let month = "2026-10".parse().expect("a month");
    let terms = VoteTerms::new(month, month, &[AccountKind::User], Formula::Total);
    let terms = terms.expect("valid terms");
    let proposal: ProposalId = "bench".parse().expect("an id");
    let mut pieces: Vec<Vec<u8>> = vec![Vec::new()];
    for line in document_lines(&proposal, &terms, Control(1), &weights) {
        let last = pieces.last_mut().expect("one at least");
        match last.len() + line.len() > PIECE_BYTES_MAX {
            true => pieces.push(line.into_bytes()),
            false => last.extend(line.into_bytes()),
        }
    }
    let document = pieces.concat();
    let frozen = FrozenVotes {
        control: Control(1),
        bytes: document.len() as u64,
        pieces: u32::try_from(pieces.len()).expect("few pieces"),
        addresses: count.into(),
        total: weights.total,
        frozen_at: Millis(0),
        by: "a benchmark".to_owned(),
        proposal: proposal.clone(),
        hash: sha256_of(&document),
        terms,
    };
    for (number, piece) in (0..).zip(pieces) {
        let put = put_piece(db, &proposal, &frozen.hash, number, piece);
        put.await.expect("it is written");
    }
    let other = freeze(db, &frozen, "a benchmark").await;
    assert_eq!(other.expect("it is written"), None);
}

async fn ask(router: &Router, body: &str) -> Vec<u8> {
    let request = Request::post("/api/governance/bench/scores")
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_owned()))
        .expect("a request");
    let answer = router.clone().oneshot(request).await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
    body.expect("a body").to_vec()
}

async fn run(count: u32) {
    let dir = tempfile::tempdir().expect("a directory");
    let log = EmbeddedLog::open(&dir.path().join("log"), &shipped(), Arc::new(SystemClock));
    let log: Arc<dyn Log> = Arc::new(log.expect("a log").0);
    let store = EmbeddedStore::open(&dir.path().join("store")).expect("a store");
    let settings = DynamoSettings::embedded(store.client());
    let meter = Arc::new(StoreMeter::default());
    let db = DynamoDb::new(&settings, meter, Arc::new(SystemClock));
    create_tables(&db).await.expect("tables");
    frozen(&db, count).await;
    let partitions = Partitions::of(&*log).await.expect("partitions");
    let metrics = Arc::new(Metrics::new());
    let service = ApiState::new(Parts {
        closing: None,
        log,
        partitions,
        db: Arc::new(db),
        clock: Arc::new(SystemClock),
        health: Arc::new(Health::new(metrics.clone())),
        metrics,
        config: Config::default().http,
        archive: None,
    });
    let router = http::router(service, Hosts::Loopback);
    let addresses: Vec<Address> = (0..count).map(address).collect();
    let body = json!({"options": {"url": "x", "type": "api-post"}, "network": "1", "snapshot": 1,
        "addresses": addresses});
    let body = body.to_string();
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let start = Instant::now();
        let answer = ask(&router, &body).await;
        let elapsed = start.elapsed();
        match round {
            // The first one reads the document.
            0 => println!("{count} scores, the first time: {elapsed:.1?}"),
            _ => took.push(elapsed),
        }
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        let scores = answer["score"].as_array().expect("scores");
        let is_right =
            |(n, score): (u32, &Value)| score["score"] == (u128::from(n) + 1).to_string();
        assert!((0..count).zip(scores).all(is_right), "other scores");
        assert_eq!(scores.len(), count as usize);
    }
    took.sort();
    println!(
        "{count} scores, then: median {:.1?}, worst {:.1?}",
        took[took.len() / 2],
        took[took.len() - 1]
    );
}
