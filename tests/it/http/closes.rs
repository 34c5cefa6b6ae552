//! Closing months, end to end: rows, control feed, files, record, API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::http::Method;
use serde_json::{Value, json};
use tidemark::app::CommandError;
use tidemark::app::closing::Closing;
use tidemark::app::queries::Queries;
use tidemark::claims::FileKind;
use tidemark::claims::check::{Beside, check};
use tidemark::domain::amount::Points;
use tidemark::domain::closing::{TermsText, proof_root, standard_leaf, uniswap_leaf};
use tidemark::domain::ethereum::{Address, Hash, U256};
use tidemark::domain::event::Service;
use tidemark::domain::ids::Account;
use tidemark::domain::posting::{Deduction, Slot};
use tidemark::domain::rules::Network;
use tidemark::domain::time::{Millis, Month};
use tidemark::http::Partitions;
use tidemark::objects::Objects;
use tidemark::ops::clock::Clock;
use tidemark::store::control::{self, Change};
use tidemark::store::db::{Db, Item, Key, Page, Query, StoreError, Table, Write};
use tidemark::store::dynamo::DynamoDb;

use super::rows::{book, posted_up_to, rules, served, start_of};
use super::stand::{NOON, Stand};
use crate::domain::closing::{address, pool};
use crate::edge::memory_log::PARTITIONS;
use crate::store::{provider, user};

pub(super) const ROUTE: &str = "/api/admin/closes";
const TWO_TO_256: &str =
    "115792089237316195423570985008687907853269984665640564039457584007913129639936";

pub(super) fn month(text: &str) -> Month {
    text.parse().unwrap()
}

/// Links a wallet, or takes the link away.
pub async fn link(db: &dyn Db, account: &Account, address: Option<Address>) {
    let head = control::full_head(db).await.unwrap();
    let change = Change::Wallet {
        account: account.clone(),
        address,
    };
    let token = format!("{:x}", rand::random::<u64>());
    let writes = control::append_writes(head, NOON, &token, &change);
    db.transact(writes.to_vec()).await.unwrap();
}

pub(super) async fn earns(stand: &Stand, account: &Account, day: &str, points: i64) {
    book(stand, account, |entry| {
        served(entry, day, 1, Points(points))
    })
    .await;
}

/// Three months of five accounts; two share an address, one has none, one owes points.
pub async fn marketplace() -> Stand {
    filled(Stand::new().await).await
}

/// The same in a store that is empty.
pub(super) async fn filled(stand: Stand) -> Stand {
    rules(&stand, Network::Testnet).await;
    for (account, day, points) in [
        (user("ann"), "2026-08-03", 1_000_000),
        (user("bob"), "2026-08-03", 2_000_001),
        (user("dora"), "2026-08-05", 3_000_000),
        (provider("prov"), "2026-08-09", 7_000_000),
        (user("ann"), "2026-09-03", 1_000_000),
        (provider("prov"), "2026-09-04", 1_000_000),
        (user("ann"), "2026-10-03", 500_000),
        (provider("prov"), "2026-10-04", 400_000),
    ] {
        earns(&stand, &account, day, points).await;
    }
    // What was reversed after the close of its month falls into a later one.
    book(&stand, &user("bob"), |entry| {
        let deduction = Deduction {
            reversed: 1,
            points: Points(5_000_000),
            ..Deduction::default()
        };
        let place = (
            Slot::Late(month("2026-09")),
            Service::CHAT_COMPLETIONS,
            deduction,
        );
        entry.deductions.by_service.push(place);
    })
    .await;
    for (account, address) in [
        (user("ann"), address(1)),
        (user("bob"), address(2)),
        (provider("prov"), address(1)),
    ] {
        link(&stand.db, &account, Some(address)).await;
    }
    stand
}

pub(super) fn body(month: &str) -> Value {
    json!({"month": month, "pool": "1000", "decimals": 6, "minimum": "0.5"})
}

/// Everything that was published of a month, as anybody reads it.
async fn files(stand: &Stand, month: &str) -> BTreeMap<String, Vec<u8>> {
    let close = stand.get(&format!("{ROUTE}/{month}")).await;
    assert_eq!(close.status, 200, "{:?}", close.body);
    let mut files = BTreeMap::new();
    for file in close.json()["files"].as_array().unwrap() {
        let name = file["name"].as_str().unwrap();
        let path = match file["public"].as_bool().unwrap() {
            true => format!("/api/closes/{month}/{name}"),
            false => format!("{ROUTE}/{month}/files/{name}"),
        };
        let key = file["public"].as_bool().unwrap().then_some(None);
        let key = key.unwrap_or(Some(stand.admin.as_str()));
        let answer = stand.ask(key, Method::GET, &path, None).await;
        assert_eq!(answer.status, 200, "{path}: {:?}", answer.body);
        files.insert(name.to_owned(), answer.body.to_vec());
    }
    files
}

struct Published(BTreeMap<String, Vec<u8>>);

impl Beside for Published {
    fn file(&self, kind: FileKind) -> std::io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(&kind.to_string()).cloned())
    }
}

pub(super) fn units(text: &Value) -> U256 {
    U256::from_str_radix(text.as_str().unwrap(), 10).unwrap()
}

/// Whether a proof of the API leads to its root.
pub fn proves(proof: &Value, is_uniswap: bool) -> bool {
    let address: Address = proof["address"].as_str().unwrap().parse().unwrap();
    let amount = units(&proof["amount"]);
    let leaf = match is_uniswap {
        true => uniswap_leaf(proof["index"].as_u64().unwrap(), address, amount),
        false => standard_leaf(0, address, amount),
    };
    let nodes = proof["proof"].as_array().unwrap().iter();
    let nodes: Vec<_> = nodes
        .map(|node| Hash::of_text(node.as_str().unwrap()).unwrap())
        .collect();
    Some(proof_root(leaf, &nodes)) == Hash::of_text(proof["root"].as_str().unwrap())
}

pub(super) async fn claims(stand: &Stand, path: &str) -> Value {
    let answer = stand.get(&format!("/api/{path}/claims")).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.json()
}

#[tokio::test]
async fn three_months_are_closed_and_claimed() {
    let stand = marketplace().await;
    posted_up_to(&stand, start_of("2026-11-05")).await;
    let preview = stand
        .post(&format!("{ROUTE}/preview"), &body("2026-08"))
        .await;
    assert_eq!(preview.status, 200, "{:?}", preview.body);
    let first = stand.post(ROUTE, &body("2026-08")).await;
    assert_eq!(first.status, 200, "{:?}", first.body);
    let first = first.json();
    assert_eq!(preview.json()["totals"], first["totals"]);
    assert_eq!(first["totals"]["withoutWallet"], 1);
    assert_eq!(first["totals"]["paidAccounts"], 3);
    assert_eq!(
        first["totals"]["claims"], 2,
        "two accounts share an address"
    );
    let published = Published(files(&stand, "2026-08").await);
    check("close.json", &published.0["close.json"], &published).unwrap();

    // The same again changes nothing; anything else is refused.
    let again = stand.post(ROUTE, &body("2026-08")).await;
    assert_eq!(again.json(), first);
    let mut other = body("2026-08");
    other["pool"] = json!("1001");
    for (body, code) in [
        (other, "closed_on_other_terms"),
        (body("2026-10"), "months_out_of_order"),
        (
            json!({"month": "2026-09", "pool": "1", "decimals": 18}),
            "decimals_changed",
        ),
        (body("2026-11"), "months_out_of_order"),
    ] {
        assert_eq!(
            stand.post(ROUTE, &body).await.code(),
            (409, code.to_owned()),
            "{body}"
        );
    }

    // Dora has a wallet from now on; bob owes points.
    link(&stand.db, &user("dora"), Some(address(4))).await;
    let before = claims(&stand, "users/bob").await;
    let second = stand.post(ROUTE, &body("2026-09")).await;
    assert_eq!(second.status, 200, "{:?}", second.body);
    assert_eq!(second.json()["totals"]["inDebt"], 1);
    let dora = claims(&stand, "users/dora").await;
    assert_eq!(dora["closes"][0]["status"], "claimable");
    assert_eq!(
        dora["closes"][0]["amount"], "0",
        "she earned nothing in September"
    );
    assert_eq!(dora["closes"][0]["paid"], dora["closes"][1]["unpaid"]);
    let bob = claims(&stand, "users/bob").await;
    assert_eq!(bob["closes"][0]["status"], "debt");
    assert_eq!(bob["closes"][0]["debt"], "5");
    assert_eq!(bob["closes"][1], before["closes"][0]);
    // What was paid stays paid.
    let cumulative = |claims: &Value| units(&claims["cumulative"][0]["claim"]["amount"]);
    assert_eq!(cumulative(&bob), cumulative(&before));

    let third = stand.post(ROUTE, &body("2026-10")).await;
    assert_eq!(third.status, 200, "{:?}", third.body);
    for path in ["users/ann", "users/bob", "users/dora", "providers/prov"] {
        let claims = claims(&stand, path).await;
        for close in claims["closes"].as_array().unwrap() {
            if close["status"] == "claimable" {
                assert!(proves(&close["openzeppelin"], false), "{path}: {close}");
                assert!(proves(&close["uniswap"], true), "{path}: {close}");
            }
        }
        let newest = &claims["cumulative"][0];
        assert_eq!(newest["month"], "2026-10");
        assert!(proves(&newest["claim"], false), "{path}");
    }
    // Nobody else's, and nothing of those who have nothing.
    let stranger = claims(&stand, "users/eve").await;
    assert_eq!(
        (&stranger["closes"], &stranger["cumulative"]),
        (&json!([]), &json!([]))
    );
    for month in ["2026-09", "2026-10"] {
        let published = Published(files(&stand, month).await);
        check("close.json", &published.0["close.json"], &published).unwrap();
    }
    let audit = stand.get("/api/admin/audit").await.json();
    let entries = audit["entries"].as_array().unwrap().iter();
    let closes = entries.filter(|entry| entry["action"] == "closes.close");
    assert_eq!(closes.count(), 3);
}

#[tokio::test]
async fn what_cannot_be_closed_is_refused_and_nothing_is_written() {
    let stand = marketplace().await;
    let code = async |body: Value| stand.post(ROUTE, &body).await.code();
    assert_eq!(
        code(body("2026-10")).await,
        (409, "month_not_final".to_owned())
    );
    posted_up_to(&stand, start_of("2026-11-05")).await;
    for (body, status, expected) in [
        (
            json!({"month": "2026-10", "pool": "0", "decimals": 6}),
            422,
            "amount_is_zero",
        ),
        (
            json!({"month": "2026-10", "pool": "1", "decimals": 37}),
            422,
            "decimals_out_of_range",
        ),
        (
            json!({"month": "2026-10", "pool": U256::MAX.to_string(), "decimals": 1}),
            422,
            "amount_out_of_range",
        ),
        (
            json!({"month": "2026-10", "pool": TWO_TO_256, "decimals": 0}),
            422,
            "amount_out_of_range",
        ),
        (
            json!({"month": "2026-08", "tokensPerPoint": U256::MAX.to_string(), "decimals": 0}),
            422,
            "amount_out_of_range",
        ),
        (
            json!({"month": "2026-10", "tokensPerPoint": "0.0", "decimals": 6}),
            422,
            "amount_is_zero",
        ),
        (
            json!({"month": "2026-10", "pool": "many", "decimals": 1}),
            422,
            "invalid_amount",
        ),
        (
            json!({"month": "2026-10", "pool": "-1", "decimals": 1}),
            422,
            "invalid_amount",
        ),
        (
            json!({"month": "2026-10", "pool": "0.25", "decimals": 1}),
            422,
            "invalid_amount",
        ),
        (
            json!({"month": "2026-10", "decimals": 1}),
            422,
            "pool_or_tokens_per_point",
        ),
        (
            json!({"month": "2026-10", "pool": "1", "decimals": 1, "kinds": "robots"}),
            422,
            "invalid_kinds",
        ),
        (
            json!({"month": "2026-10", "pool": "1", "decimals": 1, "x": 1}),
            400,
            "invalid_body",
        ),
        (
            json!({"month": "2026-11", "pool": "1", "decimals": 1}),
            409,
            "month_not_final",
        ),
    ] {
        assert_eq!(
            code(body.clone()).await,
            (status, expected.to_owned()),
            "{body}"
        );
    }
    // The first close decides from when on months are closed in order: not from one without points.
    for path in [ROUTE.to_owned(), format!("{ROUTE}/preview")] {
        let refused = stand.post(&path, &body("2026-07")).await;
        assert_eq!(
            refused.code(),
            (409, "nothing_to_close".to_owned()),
            "{path}"
        );
        let said = refused.json()["detail"].to_string();
        assert!(
            said.contains("2026-07") && said.contains("in order"),
            "{said}"
        );
    }
    // A preview refuses the same.
    for (zero, expected) in [("0", "amount_is_zero"), (TWO_TO_256, "amount_out_of_range")] {
        let body = json!({"month": "2026-10", "pool": zero, "decimals": 0});
        let refused = stand.post(&format!("{ROUTE}/preview"), &body).await;
        assert_eq!(refused.code(), (422, expected.to_owned()));
    }
    // Whoever has not the right changes nothing either, whatever the body says.
    for scope in ["admin:read", "ingest", "account:user:ann"] {
        let key = stand.key(&[scope]).await;
        for path in [ROUTE.to_owned(), format!("{ROUTE}/preview")] {
            let body = body("2026-10");
            let refused = stand
                .ask(Some(&key), Method::POST, &path, Some(&body))
                .await;
            assert_eq!(
                refused.code(),
                (403, "forbidden".to_owned()),
                "{scope} {path}"
            );
        }
    }
    let list = stand.get(ROUTE).await.json();
    assert_eq!(list["closes"], json!([]));
    let objects = stand.service.closing.clone().expect("a place for files");
    assert!(all_files(&objects).await.is_empty());
    let audit = stand.get("/api/admin/audit").await.json();
    let mut entries = audit["entries"].as_array().unwrap().iter();
    assert!(entries.all(|entry| entry["action"] != "closes.close"));
    let none = stand.get("/api/closes/2026-10/close.json").await;
    assert_eq!(none.code(), (404, "not_closed".to_owned()));
    assert_eq!(stand.post(ROUTE, &body("2026-10")).await.status, 200);
    for file in [
        "accounts.csv",
        "accounts-index.csv",
        "openzeppelin.tree",
        "../x",
        "keys",
    ] {
        let answer = stand
            .ask(
                None,
                Method::GET,
                &format!("/api/closes/2026-10/{file}"),
                None,
            )
            .await;
        assert!(
            answer.status == 404 || answer.status == 401,
            "{file}: {}",
            answer.status
        );
    }
}

/// A store whose `n`-th write never returns: before it happened, or after.
struct Dying {
    db: DynamoDb,
    left: AtomicUsize,
    happens: bool,
}

impl Dying {
    /// Whether this write is the last.
    fn dies(&self) -> bool {
        self.left.fetch_sub(1, Ordering::Relaxed) == 0
    }
}

#[async_trait]
impl Db for Dying {
    fn clock(&self) -> &dyn Clock {
        self.db.clock()
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        self.db.get(key).await
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.db.batch_get(keys).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        self.db.query(query).await
    }

    async fn scan(&self, table: Table, after: Option<Item>) -> Result<Page, StoreError> {
        self.db.scan(table, after).await
    }

    async fn write(&self, write: Write) -> Result<(), StoreError> {
        self.db.write(write).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        match (self.dies(), self.happens) {
            (false, _) => self.db.transact(writes).await,
            (true, true) => {
                self.db.transact(writes).await?;
                Err(StoreError::Denied("killed after it".to_owned()))
            }
            (true, false) => Err(StoreError::Denied("killed before it".to_owned())),
        }
    }

    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        self.db.put_all(table, items).await
    }
}

pub(super) fn closing(stand: &Stand, db: Arc<dyn Db>, files: &Objects) -> Closing {
    let partitions = Partitions {
        source: PARTITIONS,
        posting: PARTITIONS,
        rejected: PARTITIONS,
    };
    let queries = Queries::new(db, stand.log.clone(), partitions);
    let metrics = stand.metrics.clone();
    Closing::new(
        Arc::new(queries),
        stand.clock.clone(),
        metrics,
        Some(files.clone()),
    )
}

pub(super) fn terms() -> TermsText {
    TermsText {
        minimum: Some("0.5".to_owned()),
        ..pool("1000", 6)
    }
}

/// Every file by path.
pub(super) async fn all_files(files: &Objects) -> BTreeMap<String, Vec<u8>> {
    use futures::TryStreamExt as _;
    let listed: Vec<_> = files.list(None).try_collect().await.unwrap();
    let mut found = BTreeMap::new();
    for meta in listed {
        let path = meta.location.to_string();
        found.insert(
            path.clone(),
            files.get(&path).await.unwrap().unwrap().to_vec(),
        );
    }
    found
}

#[tokio::test]
async fn a_close_that_was_killed_at_any_step_and_repeated_gives_the_same_bytes() {
    let mut bytes: Option<BTreeMap<String, Vec<u8>>> = None;
    // Two closes: each begins and finishes, which are two transactions.
    for (dies_at, happens) in [
        (9, true),
        (0, false),
        (0, true),
        (1, false),
        (1, true),
        (2, false),
        (2, true),
        (3, false),
        (3, true),
    ] {
        let stand = marketplace().await;
        posted_up_to(&stand, start_of("2026-11-05")).await;
        let files = Objects::in_memory();
        let dying = Dying {
            db: stand.db.clone(),
            left: AtomicUsize::new(dies_at),
            happens,
        };
        let killed = closing(&stand, Arc::new(dying), &files);
        let mut died = false;
        for month in ["2026-08", "2026-09"] {
            let by = format!("{dies_at} {happens}");
            let closed = killed.close(self::month(month), Some(terms()), &by).await;
            died = closed.is_err();
            // A process that was killed closes no further month.
            if died {
                break;
            }
        }
        assert_eq!(died, dies_at < 4);
        // Somebody else finishes it, later.
        stand.clock.set(Millis(NOON.0 + 86_400_000));
        let next = closing(&stand, Arc::new(stand.db.clone()), &files);
        for month in ["2026-08", "2026-09"] {
            next.close(self::month(month), Some(terms()), "another")
                .await
                .unwrap();
        }
        let found = all_files(&files).await;
        assert_eq!(found.len(), 20, "{:?}", found.keys());
        match &bytes {
            None => bytes = Some(found),
            Some(bytes) => assert!(
                *bytes == found,
                "killed at {dies_at}, {happens}: other bytes"
            ),
        }
    }
}

#[tokio::test]
async fn files_that_were_lost_are_made_again_and_damaged_ones_are_refused() {
    let stand = marketplace().await;
    posted_up_to(&stand, start_of("2026-11-05")).await;
    let files = Objects::in_memory();
    let db: Arc<dyn Db> = Arc::new(stand.db.clone());
    let one = closing(&stand, db.clone(), &files);
    one.close(month("2026-08"), Some(terms()), "a test")
        .await
        .unwrap();
    one.close(month("2026-09"), Some(terms()), "a test")
        .await
        .unwrap();
    let before = all_files(&files).await;
    // Any part of them is gone: closing again brings it back.
    for path in before.keys() {
        files.delete(path).await.unwrap();
        let month = path.split_once('/').unwrap().0;
        one.close(self::month(month), None, "a test").await.unwrap();
        assert!(
            all_files(&files).await == before,
            "{path} was not made again as it was"
        );
    }
    // A lost machine: everything is gone, and the next month is closed all the same.
    let empty = Objects::in_memory();
    let two = closing(&stand, db.clone(), &empty);
    let third = two
        .close(month("2026-10"), Some(terms()), "a test")
        .await
        .unwrap();
    let again = all_files(&empty).await;
    assert!(
        before
            .iter()
            .all(|(path, bytes)| again.get(path) == Some(bytes))
    );
    let other = one
        .close(month("2026-10"), Some(terms()), "a test")
        .await
        .unwrap();
    assert_eq!(third, other);
    assert!(all_files(&files).await == again);
    // One that is there with other bytes is never overwritten.
    files.delete("2026-10/openzeppelin.json").await.unwrap();
    files
        .put("2026-10/openzeppelin.json", "{}".into())
        .await
        .unwrap();
    files.delete("2026-10/sablier.csv").await.unwrap();
    let refused = one
        .close(month("2026-10"), None, "a test")
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("2026-10/openzeppelin.json"),
        "{refused}"
    );
    assert_eq!(
        files
            .get("2026-10/openzeppelin.json")
            .await
            .unwrap()
            .unwrap(),
        "{}"
    );
}

#[tokio::test]
async fn two_closers_at_once_agree() {
    let stand = marketplace().await;
    posted_up_to(&stand, start_of("2026-11-05")).await;
    let files = Objects::in_memory();
    let db: Arc<dyn Db> = Arc::new(stand.db.clone());
    let (one, two) = (
        closing(&stand, db.clone(), &files),
        closing(&stand, db, &files),
    );
    let (one, two) = tokio::join!(
        one.close(month("2026-08"), Some(terms()), "one"),
        two.close(month("2026-08"), Some(terms()), "two"),
    );
    assert_eq!(one.unwrap(), two.unwrap());
    // On other terms, only one of them can.
    let (one, two) = (
        closing(&stand, Arc::new(stand.db.clone()), &files),
        closing(&stand, Arc::new(stand.db.clone()), &files),
    );
    let other = TermsText {
        minimum: None,
        ..terms()
    };
    let (one, two) = tokio::join!(
        one.close(month("2026-09"), Some(terms()), "one"),
        two.close(month("2026-09"), Some(other), "two"),
    );
    let lost = match (one, two) {
        (Ok(_), Err(lost)) | (Err(lost), Ok(_)) => lost,
        both => panic!("one of them closes it, not {both:?}"),
    };
    let CommandError::Refused(refusal) = &lost else {
        panic!("not refused, but {lost}");
    };
    assert_eq!(refusal.code, "closed_on_other_terms");
}
