//! Votes: freezing the weights of proposals, and asking for scores.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Method, Request, header};
use bytes::Bytes;
use futures::future::join_all;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tidemark::domain::amount::Points;
use tidemark::domain::ethereum::Address;
use tidemark::domain::ids::Account;
use tidemark::domain::position::{Control, WriteId};
use tidemark::domain::rules::Network;
use tidemark::store::db::{Attr, Condition, Db, Key, Query, RangeFilter, Table, Write};
use tidemark::store::votes::put_piece;
use tidemark::store::wallets::{LinkRequest, link};
use tidemark::store::{control, pages, set_aside};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::hooked::{Hook, Hooked};
use super::rows::{book, posted_up_to, rules, served};
use super::slow_db::service_on;
use super::stand::{Answer, NOON, Stand};
use crate::store::wallets::issued;
use crate::store::{provider, user};

const ADMIN: &str = "/api/admin/governance";
const OPEN: &str = "/api/governance";

pub fn address(number: u8) -> Address {
    Address([number; 20])
}

pub async fn linked(stand: &Stand, account: &Account, number: u8) {
    let nonce = format!("nonce{:08x}", rand::random::<u32>());
    issued(&stand.db, account, &nonce, NOON).await;
    let request = LinkRequest {
        account: account.clone(),
        address: address(number),
        token: nonce.clone(),
        nonce,
        now: NOON,
        by: "a test".to_owned(),
        reason: None,
        by_admin: false,
    };
    link(&stand.db, &request).await.unwrap();
}

/// Points of a day, of which nothing else comes.
async fn earned(stand: &Stand, account: &Account, day: &str, points: i64) {
    book(stand, account, |entry| {
        served(entry, day, 1, Points::whole(points))
    })
    .await;
}

/// October is final; alice and a provider share an address.
pub async fn stand() -> Stand {
    let stand = Stand::new().await;
    rules(&stand, Network::Testnet).await;
    let (alice, bob, eve, prov) = (user("alice"), user("bob"), user("eve"), provider("p"));
    for (account, september, october) in
        [(&alice, 1, 9), (&bob, 0, 25), (&eve, 0, 4), (&prov, 7, 90)]
    {
        if september > 0 {
            earned(&stand, account, "2026-09-05", september).await;
        }
        earned(&stand, account, "2026-10-05", october).await;
    }
    linked(&stand, &alice, 1).await;
    linked(&stand, &prov, 1).await;
    linked(&stand, &bob, 2).await;
    posted_up_to(&stand, NOON).await;
    stand
}

fn terms(formula: &str) -> Value {
    json!({"from": "2026-10", "to": "2026-10", "formula": formula, "reason": "a vote"})
}

async fn put(stand: &Stand, proposal: &str, body: &Value) -> Answer {
    let path = format!("{ADMIN}/{proposal}");
    stand
        .ask(Some(&stand.admin), Method::PUT, &path, Some(body))
        .await
}

async fn frozen(stand: &Stand, proposal: &str, body: &Value) -> Value {
    let answer = put(stand, proposal, body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.json()
}

async fn document(stand: &Stand, proposal: &str) -> Answer {
    let path = format!("{OPEN}/{proposal}");
    stand.ask(None, Method::GET, &path, None).await
}

async fn scores(stand: &Stand, proposal: &str, addresses: &Value) -> Answer {
    let path = format!("{OPEN}/{proposal}/scores");
    let body = json!({"options": {"url": "x", "type": "api-post"}, "network": "1", "snapshot": 1, "addresses": addresses});
    stand.ask(None, Method::POST, &path, Some(&body)).await
}

fn sha256(bytes: &[u8]) -> String {
    let hash = digest(&SHA256, bytes);
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[tokio::test]
async fn frozen_weights_are_a_document_with_a_hash_and_answer_scores() {
    let stand = stand().await;
    let preview = stand
        .post(&format!("{ADMIN}/q1/preview"), &terms("total"))
        .await
        .json();
    assert_eq!(preview["votes"]["addresses"], 2);
    assert_eq!(
        (&preview["accounts"], &preview["unlinkedPoints"]),
        (&json!(3), &json!("4"))
    );
    assert_eq!(preview["largest"][0]["address"], json!(address(1)));
    assert_eq!(
        document(&stand, "q1").await.code(),
        (404, "unknown_proposal".to_owned())
    );

    let votes = frozen(&stand, "q1", &terms("total")).await;
    assert_eq!(votes, preview["votes"]);
    let answer = document(&stand, "q1").await;
    assert_eq!(answer.status, 200);
    assert_eq!(sha256(&answer.body), votes["hash"]);
    assert_eq!(answer.body.len() as u64, votes["bytes"]);
    assert_eq!(
        answer.headers[header::CONTENT_LENGTH],
        answer.body.len().to_string()
    );
    let tag = answer.headers[header::ETAG].clone();
    assert_eq!(tag, format!("\"{}\"", votes["hash"].as_str().unwrap()));
    let frozen_json = answer.json();
    // 9 of alice and 90 of the provider; 25 of bob.
    assert_eq!(
        frozen_json["score"],
        json!([{"address": address(1), "score": "99000000"}, {"address": address(2), "score": "25000000"}])
    );
    assert_eq!(
        (&frozen_json["control"], &frozen_json["decimals"]),
        (&votes["control"], &json!(6))
    );

    for (known, status) in [
        (tag.to_str().unwrap(), 304),
        ("\"x\", *", 304),
        ("\"x\"", 200),
    ] {
        let request = Request::get(format!("{OPEN}/q1"))
            .header(header::HOST, "localhost")
            .header(header::IF_NONE_MATCH, known);
        let answer = stand
            .send(request.body(axum::body::Body::empty()).unwrap())
            .await;
        assert_eq!(answer.status, status, "{known}");
        assert_eq!(answer.body.is_empty(), status == 304);
    }

    let (one, two) = (
        address(1).to_string(),
        address(2)
            .to_string()
            .to_ascii_uppercase()
            .replace("0X", "0x"),
    );
    let asked = json!([two, one, address(9), one, "vitalik.eth", ""]);
    let answer = scores(&stand, "q1", &asked).await.json();
    let expected = json!([
        {"address": two, "score": "25000000"}, {"address": one, "score": "99000000"}, {"address": address(9), "score": "0"},
        {"address": one, "score": "99000000"}, {"address": "vitalik.eth", "score": "0"}, {"address": "", "score": "0"},
    ]);
    assert_eq!(answer["score"], expected);
    let listed = stand.get(ADMIN).await.json();
    assert_eq!(listed, json!({"proposals": [votes], "next": null}));
    let trail = stand.get("/api/admin/audit?limit=5").await.json();
    let mut entries = trail["entries"].as_array().unwrap().iter();
    let told = entries.find(|entry| entry["action"] == "votes.freeze");
    let told = told.unwrap();
    assert_eq!(told["subject"], "q1");
    assert_eq!(told["detail"]["hash"], votes["hash"]);
}

#[tokio::test]
async fn formulas_kinds_periods_and_positions_decide_the_weights() {
    let stand = stand().await;
    let head = control::head(&stand.db).await.unwrap().0;
    let rows = [
        (
            json!({"formula": "square_root"}),
            vec![("1", 9_949_874), ("2", 5_000_000)],
        ),
        (
            json!({"formula": "cap", "cap": "30"}),
            vec![("1", 30_000_000), ("2", 25_000_000)],
        ),
        (
            json!({"formula": "total", "kinds": ["user"]}),
            vec![("1", 9_000_000), ("2", 25_000_000)],
        ),
        (
            json!({"formula": "total", "kinds": ["provider"]}),
            vec![("1", 90_000_000)],
        ),
        (
            json!({"formula": "total", "from": "2026-09"}),
            vec![("1", 107_000_000), ("2", 25_000_000)],
        ),
        // Before bob linked his wallet.
        (
            json!({"formula": "total", "control": head - 1}),
            vec![("1", 99_000_000)],
        ),
    ];
    for (n, (given, expected)) in rows.into_iter().enumerate() {
        let mut body = terms("total");
        for (name, value) in given.as_object().unwrap() {
            body[name] = value.clone();
        }
        let votes = frozen(&stand, &format!("q{n}"), &body).await;
        let document = document(&stand, &format!("q{n}")).await.json();
        let found: Vec<(String, String)> = document["score"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                (
                    one["address"].as_str().unwrap().to_owned(),
                    one["score"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        let expected: Vec<(String, String)> = expected
            .into_iter()
            .map(|(number, weight)| {
                (
                    address(number.parse().unwrap()).to_string(),
                    weight.to_string(),
                )
            })
            .collect();
        assert_eq!(found, expected, "{given}");
        let total: u64 = expected
            .iter()
            .map(|(_, weight)| weight.parse::<u64>().unwrap())
            .sum();
        assert_eq!(votes["total"], total.to_string());
    }
    // Before anybody did.
    let mut nobody = terms("total");
    nobody["control"] = (head - 3).into();
    let refused = put(&stand, "empty", &nobody).await;
    assert_eq!(refused.code(), (409, "nothing_to_freeze".to_owned()));
    assert_eq!(document(&stand, "empty").await.status, 404);
}

#[tokio::test]
async fn each_refusal_has_its_own_code_and_freezes_nothing() {
    let stand = stand().await;
    let with = |name: &str, value: Value| {
        let mut body = terms("total");
        body[name] = value;
        body
    };
    let rows = [
        ("q1", with("to", json!("2026-11")), 409, "month_not_final"),
        ("q1", with("from", json!("2026-11")), 422, "invalid_terms"),
        ("q1", with("from", json!("2020-01")), 422, "invalid_terms"),
        ("q1", with("kinds", json!([])), 422, "invalid_terms"),
        ("q1", with("kinds", json!(["robot"])), 400, "invalid_body"),
        ("q1", with("formula", json!("cap")), 422, "invalid_terms"),
        ("q1", with("formula", json!("cube")), 400, "invalid_body"),
        ("q1", with("cap", json!("5")), 422, "invalid_terms"),
        (
            "q1",
            with("control", json!(1_000_000)),
            409,
            "control_ahead",
        ),
        (
            "q1",
            with("expectedHash", json!("00")),
            409,
            "changed_meanwhile",
        ),
        ("q1", with("reason", json!("")), 422, "invalid_reason"),
        ("q1", with("bonus", json!(1)), 400, "invalid_body"),
        ("q%201", terms("total"), 422, "invalid_proposal"),
        ("-", terms("total"), 422, "invalid_proposal"),
    ];
    for (proposal, body, status, code) in rows {
        let answer = put(&stand, proposal, &body).await;
        assert_eq!(
            answer.code(),
            (status, code.to_owned()),
            "{proposal} {body}"
        );
    }
    assert_eq!(stand.get(ADMIN).await.json()["proposals"], json!([]));
    for (body, code) in [
        (json!({}), "invalid_body"),
        (json!({"addresses": [1]}), "invalid_body"),
    ] {
        let path = format!("{OPEN}/q1/scores");
        let answer = stand.ask(None, Method::POST, &path, Some(&body)).await;
        assert_eq!(
            answer.code(),
            (404, "unknown_proposal".to_owned()),
            "{body}"
        );
        frozen(&stand, "q2", &terms("total")).await;
        let path = format!("{OPEN}/q2/scores");
        let answer = stand.ask(None, Method::POST, &path, Some(&body)).await;
        assert_eq!(answer.code(), (400, code.to_owned()), "{body}");
    }
    let many = |count: usize| Value::from(vec!["x"; count]);
    assert_eq!(scores(&stand, "q2", &many(100_000)).await.status, 200);
    let refused = scores(&stand, "q2", &many(100_001)).await;
    assert_eq!(refused.code(), (400, "invalid_body".to_owned()));
    let said = refused.json()["detail"].to_string();
    for part in ["100000 addresses", "in several requests"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let long = Value::from("x".repeat(8 << 20));
    let refused = scores(&stand, "q2", &json!([long])).await;
    assert_eq!(refused.code(), (413, "body_too_large".to_owned()));
}

#[tokio::test]
async fn what_is_frozen_never_changes_whoever_freezes_and_whatever_happens_after() {
    let stand = stand().await;
    // What a killed attempt left under another hash.
    let proposal = "q1".parse().unwrap();
    put_piece(&stand.db, &proposal, "0123", 0, b"half".to_vec())
        .await
        .unwrap();
    let control = control::head(&stand.db).await.unwrap();
    let mut body = terms("total");
    body["control"] = json!(control.0);
    let all = join_all((0..6).map(|_| frozen(&stand, "q1", &body))).await;
    assert!(all.iter().all(|votes| votes == &all[0]), "{all:?}");
    let before = document(&stand, "q1").await.body;

    // Wallets and later months change; the document does not.
    linked(&stand, &user("bob"), 7).await;
    earned(&stand, &user("bob"), "2026-11-05", 500).await;
    assert_eq!(document(&stand, "q1").await.body, before);
    assert_eq!(frozen(&stand, "q1", &body).await, all[0]);
    // Without a position the same terms are the same vote.
    assert_eq!(frozen(&stand, "q1", &terms("total")).await, all[0]);
    for other in [
        terms("square_root"),
        json!({"from": "2026-09", "to": "2026-10", "formula": "total", "reason": "x"}),
    ] {
        let refused = put(&stand, "q1", &other).await;
        assert_eq!(refused.code(), (409, "proposal_frozen".to_owned()));
    }
    // The same terms as of the same position give the same weights under another name.
    let again = frozen(&stand, "q2", &body).await;
    assert_eq!(
        (&again["total"], &again["control"]),
        (&all[0]["total"], &all[0]["control"])
    );
    let kept = Query {
        table: Table::Checkpoints,
        index: false,
        hash: "votes#q1".to_owned(),
        range: RangeFilter::All,
        descending: false,
        limit: None,
        after: None,
    };
    let kept = stand.db.query(&kept).await.unwrap();
    assert_eq!(kept.items.len(), 1, "the killed attempt's piece is gone");
}

#[tokio::test]
async fn a_document_of_many_pieces_is_streamed_whole_and_looked_up() {
    let stand = stand().await;
    // 100,000 by hand, to see how long that takes (docs/performance.md).
    let voters = std::env::var("TIDEMARK_VOTERS").ok();
    let voters: u32 = voters.map_or(20_000, |voters| voters.parse().unwrap());
    let votes = large(&stand.db, voters).await;
    assert!(votes.pieces > 4, "{}", votes.pieces);
    let answer = document(&stand, "large").await;
    assert_eq!(sha256(&answer.body), votes.hash);
    let lines = answer.json();
    let lines = lines["score"].as_array().unwrap();
    assert_eq!(lines.len(), voters as usize);
    let asked: Vec<&str> = lines
        .iter()
        .map(|one| one["address"].as_str().unwrap())
        .collect();
    // The first one loads the weights.
    for _ in 0..2 {
        let begun = Instant::now();
        let answer = scores(&stand, "large", &json!(asked)).await;
        eprintln!("{voters} scores in {:?}", begun.elapsed());
        assert_eq!(answer.json()["score"].as_array().unwrap(), lines);
    }
}

#[tokio::test]
async fn nothing_is_frozen_while_an_account_is_set_aside_that_has_no_row_of_the_month() {
    let stand = stand().await;
    let record = super::set_aside::record_of(user("zoe"));
    let aside = set_aside::put(&record, None, WriteId::default());
    stand.db.write(aside).await.unwrap();
    let refused = put(&stand, "q1", &terms("total")).await;
    assert_eq!(refused.code(), (409, "account_not_final".to_owned()));
    // Providers alone do not wait for a user.
    let mut providers = terms("total");
    providers["kinds"] = json!(["provider"]);
    frozen(&stand, "q2", &providers).await;
}

#[tokio::test]
async fn of_freezes_by_different_terms_at_once_one_wins_and_no_other_leaves_anything() {
    let stand = stand().await;
    let rows = ["total", "square_root", "total", "square_root"].map(terms);
    let answers = join_all(rows.iter().map(|body| put(&stand, "q1", body))).await;
    let won = answers.iter().filter(|answer| answer.status == 200);
    let won: Vec<Value> = won.map(Answer::json).collect();
    assert_eq!(won.len(), 2, "both of one formula");
    assert_eq!(won[0], won[1]);
    let document = document(&stand, "q1").await.body;
    assert_eq!(sha256(&document), won[0]["hash"]);
    let kept = pages::whole(Table::Checkpoints, "votes#q1");
    let kept = pages::all(&stand.db, kept).await.unwrap();
    assert_eq!(kept.len(), 1, "{kept:?}");
}

#[tokio::test]
async fn weights_are_loaded_only_for_who_names_an_address() {
    let stand = stand().await;
    frozen(&stand, "q1", &terms("total")).await;
    let kept = pages::whole(Table::Checkpoints, "votes#q1");
    for item in pages::all(&stand.db, kept).await.unwrap() {
        let Some(Attr::S(name)) = item.get("item") else {
            panic!("{item:?}");
        };
        let key = Key::new(Table::Checkpoints, "votes#q1", name.clone());
        let condition = Condition::Always;
        let gone = Write::Delete { key, condition };
        stand.db.write(gone).await.unwrap();
    }
    for asked in [json!([]), json!(["x", "0x12"])] {
        let answer = scores(&stand, "q1", &asked).await;
        assert_eq!(answer.status, 200, "{asked}");
        let scores = answer.json()["score"].as_array().unwrap().len();
        assert_eq!(scores, asked.as_array().unwrap().len());
    }
    let answer = scores(&stand, "q1", &json!([address(1)])).await;
    assert_eq!(answer.status, 500);
}

/// Bodies as large as may be are read; what is longer is refused, however it says its length.
#[tokio::test]
async fn a_body_of_scores_has_a_largest_length() {
    const BYTES_MAX: usize = 8 << 20;
    let stand = stand().await;
    frozen(&stand, "q1", &terms("total")).await;
    let head = format!("{{\"addresses\":[\"{}\"],\"padding\":\"", address(1));
    let body = |bytes: usize| [&head, &"x".repeat(bytes - head.len() - 2), "\"}"].concat();
    for (bytes, has_length, status) in [
        (BYTES_MAX, true, 200),
        (BYTES_MAX, false, 200),
        (BYTES_MAX + 1, true, 413),
        (BYTES_MAX + 1, false, 413),
    ] {
        let body = Bytes::from(body(bytes));
        assert_eq!(body.len(), bytes);
        let mut request = Request::post(format!("{OPEN}/q1/scores"))
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json");
        if has_length {
            request = request.header(header::CONTENT_LENGTH, bytes);
        }
        let pieces = [body.slice(..bytes / 2), body.slice(bytes / 2..)];
        let pieces = futures::stream::iter(pieces.map(Ok::<Bytes, std::io::Error>));
        let request = request.body(Body::from_stream(pieces)).unwrap();
        let answer = stand.send(request).await;
        assert_eq!(answer.status, status, "{bytes} {has_length}");
        match status {
            200 => assert_eq!(answer.json()["score"][0]["score"], "99000000"),
            _ => assert_eq!(answer.code().1, "body_too_large"),
        }
    }
}

#[tokio::test]
async fn proposals_are_listed_in_pages_of_bounded_length() {
    let stand = stand().await;
    for name in ["q2", "q1", "q3"] {
        frozen(&stand, name, &terms("total")).await;
    }
    let page = async |query: &str| {
        let answer = stand.get(&format!("{ADMIN}{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {:?}", answer.body);
        let page = answer.json();
        let proposals = page["proposals"].as_array().expect("proposals").iter();
        let names: Vec<Value> = proposals.map(|one| one["proposal"].clone()).collect();
        (json!(names), page["next"].clone())
    };
    for (query, names, next) in [
        ("", json!(["q1", "q2", "q3"]), json!(null)),
        ("?limit=500", json!(["q1", "q2", "q3"]), json!(null)),
        ("?limit=2", json!(["q1", "q2"]), json!("q2")),
        ("?limit=2&after=q2", json!(["q3"]), json!(null)),
        ("?limit=3", json!(["q1", "q2", "q3"]), json!(null)),
        ("?limit=1&after=q2", json!(["q3"]), json!(null)),
        ("?after=q9", json!([]), json!(null)),
    ] {
        assert_eq!(page(query).await, (names, next), "{query}");
    }
    for (query, status, code) in [
        ("?limit=0", 400, "invalid_query"),
        ("?limit=501", 400, "invalid_query"),
        ("?limit=many", 400, "invalid_query"),
        ("?before=q1", 400, "invalid_query"),
        ("?after=-", 422, "invalid_proposal"),
    ] {
        let refused = stand.get(&format!("{ADMIN}{query}")).await;
        assert_eq!(refused.code(), (status, code.to_owned()), "{query}");
    }
}

/// While the gate is closed, no piece of a frozen document is read.
struct Gate {
    open: Semaphore,
    pieces: AtomicUsize,
}

#[async_trait]
impl Hook for Arc<Gate> {
    async fn before_get(&self, key: &Key) {
        if key.hash.starts_with("votes#") {
            self.pieces.fetch_add(1, Ordering::Relaxed);
            drop(
                self.open
                    .acquire()
                    .await
                    .expect("it is never closed for good"),
            );
        }
    }
}

/// One request loads the weights, eight wait for it, and the others are told to come back.
#[tokio::test]
async fn few_requests_wait_for_weights_that_are_loaded_once() {
    const WAIT: usize = 9;
    const MORE: usize = 3;
    let stand = stand().await;
    frozen(&stand, "q1", &terms("total")).await;
    let gate = Arc::new(Gate {
        open: Semaphore::new(0),
        pieces: AtomicUsize::new(0),
    });
    let db = Hooked {
        db: stand.db.clone(),
        hook: gate.clone(),
    };
    let service = service_on(&stand, Arc::new(db));
    let stand = Arc::new(Stand { service, ..stand });
    let mut asking = JoinSet::new();
    for _ in 0..WAIT + MORE {
        let stand = stand.clone();
        asking.spawn(async move { scores(&stand, "q1", &json!([address(1)])).await });
    }
    let mut next = async || {
        let patience = Duration::from_secs(60);
        let next = tokio::time::timeout(patience, asking.join_next()).await;
        next.expect("an answer in time")
            .expect("a request")
            .unwrap()
    };
    for _ in 0..MORE {
        let refused = next().await;
        assert_eq!(refused.code(), (503, "votes_loading".to_owned()));
        assert_eq!(refused.headers[header::RETRY_AFTER], "2");
    }
    gate.open.add_permits(1);
    for _ in 0..WAIT {
        let answer = next().await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        assert_eq!(answer.json()["score"][0]["score"], "99000000");
    }
    // From now on they are in memory.
    let answer = scores(&stand, "q1", &json!([address(1)])).await;
    assert_eq!(answer.status, 200);
    assert_eq!(gate.pieces.load(Ordering::Relaxed), 1, "loaded once");
}

/// A proposal in which so many addresses have a weight, frozen without any account behind them.
pub async fn large(db: &dyn Db, voters: u32) -> tidemark::store::votes::FrozenVotes {
    use tidemark::domain::votes::{Formula, VoteTerms, Weights, document_lines};
    use tidemark::store::votes::{FrozenVotes, PIECE_BYTES_MAX, freeze};
    let points = (0..voters).map(|n| {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
        (Address(bytes), u128::from(n) + 1)
    });
    let weights = Weights::new(Formula::Total, points.collect());
    let october = "2026-10".parse().unwrap();
    let kinds = [tidemark::domain::ids::AccountKind::User];
    let terms = VoteTerms::new(october, october, &kinds, Formula::Total).unwrap();
    let proposal: tidemark::domain::votes::ProposalId = "large".parse().unwrap();
    let mut pieces: Vec<Vec<u8>> = vec![Vec::new()];
    for line in document_lines(&proposal, &terms, Control(1), &weights) {
        if pieces.last().unwrap().len() + line.len() > PIECE_BYTES_MAX {
            pieces.push(Vec::new());
        }
        pieces.last_mut().unwrap().extend(line.into_bytes());
    }
    let hash = sha256(&pieces.concat());
    let frozen = FrozenVotes {
        control: Control(1),
        bytes: pieces.iter().map(|piece| piece.len() as u64).sum(),
        pieces: u32::try_from(pieces.len()).unwrap(),
        addresses: voters.into(),
        total: weights.total,
        frozen_at: NOON,
        by: "a test".to_owned(),
        proposal: proposal.clone(),
        hash: hash.clone(),
        terms,
    };
    for (number, piece) in (0..).zip(pieces) {
        put_piece(db, &proposal, &hash, number, piece)
            .await
            .unwrap();
    }
    assert_eq!(freeze(db, &frozen, "a test").await.unwrap(), None);
    frozen
}
