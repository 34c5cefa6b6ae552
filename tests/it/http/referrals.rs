//! Referral codes, signups, and what they brought.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Method, Request, header};
use futures::future::join_all;
use serde_json::{Value, json};
use tidemark::domain::amount::Points;
use tidemark::domain::posting::{Cascade, Slot};
use tidemark::domain::rules::Network;
use tidemark::http::{ApiState, Hosts, router};
use tidemark::ops::clock::Clock;
use tidemark::store::awards::awards_of;
use tidemark::store::db::{Db, Item, Key, Page, Query, StoreError, Table, Write};
use tidemark::store::dynamo::DynamoDb;
use tidemark::store::referrals::{
    Switch, grant_milestone_writes, link_of, lookup, referees, set_active,
};
use tower::ServiceExt;

use super::admin::told;
use super::rows::{book, rules, served};
use super::slow_db::{Counted, Killed, service_on};
use super::stand::{Answer, NOON, Stand};
use crate::edge::memory_log::PARTITIONS;
use crate::store::{provider, user};

const SIGNUP: &str = "/api/referrals/signup";

async fn stand() -> Stand {
    let stand = Stand::new().await;
    rules(&stand, Network::Testnet).await;
    stand
}

/// The code of an account.
async fn code(stand: &Stand, kind: &str, id: &str) -> String {
    let body = json!({"userId": id, "userType": kind});
    let answer = stand.post("/api/referrals/code", &body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.json()["code"].as_str().unwrap().to_owned()
}

async fn switch_off(stand: &Stand, code: &str) {
    let switch = Switch {
        active: false,
        by: "a test".to_owned(),
        reason: "a test".to_owned(),
        now: NOON,
    };
    set_active(&stand.db, code, &switch).await.unwrap();
}

fn body(code: &str, kind: &str, id: &str) -> Value {
    json!({"referralCode": code, "refereeId": id, "refereeType": kind})
}

fn with_key(stand: &Stand, key: Option<&str>, body: &Value) -> Request<Body> {
    let mut request = Request::post(SIGNUP)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {}", stand.admin));
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    request.body(Body::from(body.to_string())).unwrap()
}

async fn sign_up(stand: &Stand, key: Option<&str>, body: &Value) -> Answer {
    stand.send(with_key(stand, key, body)).await
}

#[tokio::test]
async fn an_account_has_one_code_that_only_it_and_admins_can_ask_for() {
    let stand = stand().await;
    let alice = stand.key(&["account:user:alice"]).await;
    let body = json!({"userId": "alice", "userType": "user"});
    let path = "/api/referrals/code";
    let first = stand.ask(Some(&alice), Method::POST, path, Some(&body));
    let first = first.await.json();
    assert!(first["code"].as_str().unwrap().starts_with("ALIC-"));
    assert_eq!(first["owner"], json!(["user", "alice"]));
    assert_eq!(stand.post(path, &body).await.json(), first);
    let other = json!({"userId": "alice", "userType": "provider"});
    let refused = stand.ask(Some(&alice), Method::POST, path, Some(&other));
    assert_eq!(refused.await.code(), (403, "forbidden".to_owned()));
    let reader = stand.key(&["admin:read"]).await;
    let refused = stand.ask(Some(&reader), Method::POST, path, Some(&body));
    assert_eq!(refused.await.code(), (403, "forbidden".to_owned()));
    // Looking makes none.
    let looked = stand.get("/api/referrals/user/bob").await.json();
    assert_eq!(looked["code"], Value::Null);
    let looked = stand.get("/api/referrals/user/alice").await.json();
    assert_eq!(looked["code"], first);
}

#[tokio::test]
async fn concurrent_requests_for_a_code_get_the_same() {
    let stand = stand().await;
    let codes = join_all((0..8).map(|_| code(&stand, "provider", "prov-1"))).await;
    assert!(codes.iter().all(|found| *found == codes[0]), "{codes:?}");
}

#[tokio::test]
async fn each_refusal_has_its_own_code() {
    let stand = stand().await;
    let ann = code(&stand, "user", "ann").await;
    let bob = code(&stand, "user", "bob").await;
    let off = code(&stand, "user", "off").await;
    switch_off(&stand, &off).await;
    let answer = sign_up(&stand, None, &body(&ann, "user", "bob")).await;
    assert_eq!(answer.status, 201);
    let mut told = answer.json();
    assert_eq!(told["referralCode"], ann);
    told["referralCode"] = json!("ANN…");
    insta::assert_json_snapshot!("signup", told);
    let (off, ann, bob) = (off.as_str(), ann.as_str(), bob.as_str());
    let rows = [
        ("ZZZZ-22222", "user", "cat", 404, "unknown_code"),
        ("no code at all", "user", "cat", 404, "unknown_code"),
        ("", "user", "cat", 404, "unknown_code"),
        (off, "user", "cat", 422, "inactive_code"),
        (ann, "user", "ann", 422, "own_code"),
        (ann, "provider", "ann", 422, "own_code"),
        (bob, "user", "ann", 422, "cycle"),
        (ann, "user", "bob", 409, "already_referred"),
        (ann, "user", "", 400, "invalid_id"),
        (ann, "user", "a\nb", 400, "invalid_id"),
        (ann, "robot", "cat", 400, "invalid_body"),
    ];
    for (code, kind, id, status, expected) in rows {
        let answer = sign_up(&stand, None, &body(code, kind, id)).await;
        assert_eq!(
            answer.code(),
            (status, expected.to_owned()),
            "{code} {kind} {id}"
        );
    }
    for strange in [
        json!({"referralCode": ann, "refereeId": "cat"}),
        json!({"referralCode": ann, "refereeId": "cat", "refereeType": "user", "bonus": 1}),
        json!({"referralCode": 1, "refereeId": "cat", "refereeType": "user"}),
        json!([]),
    ] {
        let answer = sign_up(&stand, None, &strange).await;
        assert_eq!(answer.code(), (400, "invalid_body".to_owned()), "{strange}");
    }
    // Typed as people type.
    let typed = format!(" {} ", ann.to_lowercase().replace('-', ""));
    let answer = sign_up(&stand, None, &body(&typed, "provider", "cat")).await;
    assert_eq!(answer.status, 201, "{:?}", answer.body);
}

#[tokio::test]
async fn without_rules_nobody_can_sign_up_and_it_is_said() {
    let stand = Stand::new().await;
    let ann = code(&stand, "user", "ann").await;
    let answer = sign_up(&stand, None, &body(&ann, "user", "bob")).await;
    assert_eq!(answer.code(), (409, "no_rules".to_owned()));
    assert_eq!(link_of(&stand.db, &user("bob")).await.unwrap(), None);
}

#[tokio::test]
async fn a_repeat_under_the_same_key_gets_the_first_answer() {
    let stand = stand().await;
    let ann = code(&stand, "user", "ann").await;
    let other = code(&stand, "user", "other").await;
    let request = body(&ann, "user", "bob");
    let first = sign_up(&stand, Some("k-1"), &request).await;
    assert_eq!(first.status, 201);
    stand
        .clock
        .set(tidemark::domain::time::Millis(NOON.0 + 60_000));
    // Also when the code was switched off meanwhile, and typed otherwise.
    switch_off(&stand, &ann).await;
    let typed = body(&ann.to_lowercase(), "user", "bob");
    for again in [&request, &typed] {
        let answer = sign_up(&stand, Some("k-1"), again).await;
        assert_eq!((answer.status, answer.json()), (first.status, first.json()));
    }
    let long = "x".repeat(129);
    let rows = [
        // Another key is another signup.
        (
            Some("k-2"),
            body(&other, "user", "bob"),
            409,
            "already_referred",
        ),
        (None, body(&other, "user", "bob"), 409, "already_referred"),
        // The same key for something else.
        (
            Some("k-1"),
            body(&other, "user", "bob"),
            422,
            "idempotency_key_reused",
        ),
        (
            Some("k-1"),
            body("ZZZZ-22222", "user", "bob"),
            422,
            "idempotency_key_reused",
        ),
        (Some(""), request.clone(), 400, "invalid_idempotency_key"),
        (
            Some("a\tb"),
            request.clone(),
            400,
            "invalid_idempotency_key",
        ),
        (
            Some(long.as_str()),
            request.clone(),
            400,
            "invalid_idempotency_key",
        ),
    ];
    for (key, request, status, expected) in rows {
        let answer = sign_up(&stand, key, &request).await;
        assert_eq!(
            answer.code(),
            (status, expected.to_owned()),
            "{key:?} {request}"
        );
    }
    // Keys are each referee's own.
    let answer = sign_up(&stand, Some("k-1"), &body(&other, "user", "cat")).await;
    assert_eq!(answer.status, 201);
    assert_eq!(lookup(&stand.db, &ann).await.unwrap().unwrap().signups, 1);
}

async fn ask(service: &ApiState, request: Request<Body>) -> Answer {
    let response = router(service.clone(), Hosts::Loopback);
    let (parts, body) = response.oneshot(request).await.unwrap().into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: axum::body::to_bytes(body, usize::MAX).await.unwrap(),
    }
}

#[tokio::test]
async fn a_service_that_is_killed_between_any_two_steps_of_a_signup_leaves_it_to_be_repeated() {
    let stand = stand().await;
    let ann = code(&stand, "user", "ann").await;
    let mut steps = 0;
    let mut done = 0;
    loop {
        let mut has_finished = false;
        for killed in [Killed::Before(steps), Killed::After(steps)] {
            let name = format!("referee-{killed:?}");
            let request = body(&ann, "user", &name);
            let db = Arc::new(Counted::killed(stand.db.clone(), killed));
            let doomed = service_on(&stand, db.clone());
            tokio::select! {
                answer = ask(&doomed, with_key(&stand, Some(&name), &request)) => {
                    assert_eq!(answer.status, 201);
                    has_finished = true;
                }
                () = db.reached.notified() => {}
            }
            let answer = sign_up(&stand, Some(&name), &request).await;
            assert_eq!(answer.status, 201, "{name}");
            done += 1;
            let expected = json!({
                "referee": {"kind": "user", "id": name}, "referrer": {"kind": "user", "id": "ann"},
                "referralCode": ann, "linkedAt": NOON.to_string(),
            });
            assert_eq!(answer.json(), expected, "{name}");
        }
        if has_finished {
            break;
        }
        steps += 1;
    }
    assert!(steps >= 4, "a signup has more steps than {steps}");
    // Each counts once, and pays once.
    assert_eq!(
        lookup(&stand.db, &ann).await.unwrap().unwrap().signups,
        done
    );
    let awards = awards_of(&stand.db, &user("ann")).await.unwrap();
    assert_eq!(awards.len() as u64, done);
}

#[tokio::test]
async fn concurrent_signups_of_one_referee_count_once() {
    let stand = stand().await;
    let mut codes = Vec::new();
    for number in 0..6 {
        codes.push(code(&stand, "user", &format!("referrer-{number}")).await);
    }
    let bodies: Vec<Value> = codes.iter().map(|code| body(code, "user", "bob")).collect();
    let answers = join_all(bodies.iter().map(|body| sign_up(&stand, None, body))).await;
    let accepted: Vec<&Answer> = answers.iter().filter(|a| a.status == 201).collect();
    assert_eq!(accepted.len(), 1);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(refused.code(), (409, "already_referred".to_owned()));
    }
    let mut signups = 0;
    for code in &codes {
        signups += lookup(&stand.db, code).await.unwrap().unwrap().signups;
    }
    assert_eq!(signups, 1);

    // The same signup several times at once: the same answer, once.
    let request = body(&codes[0], "provider", "cat");
    let answers = join_all((0..6).map(|_| sign_up(&stand, Some("same"), &request))).await;
    for answer in &answers {
        assert_eq!(
            (answer.status.as_u16(), answer.json()),
            (201, answers[0].json())
        );
    }
    let referrer = link_of(&stand.db, &provider("cat")).await.unwrap().unwrap();
    let awards = awards_of(&stand.db, &referrer.chain[0]).await.unwrap();
    let of_cat = awards
        .iter()
        .filter(|award| award.id == "signup#provider:cat");
    assert_eq!(of_cat.count(), 1);
}

/// The index may be some moments behind.
async fn wait_for_referees(stand: &Stand, count: usize) {
    for _ in 0..100 {
        if referees(&stand.db, &user("ann"), 100)
            .await
            .unwrap()
            .links
            .len()
            == count
        {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{count} referees are not to be seen within 5 s");
}

#[tokio::test]
async fn a_referrer_sees_whom_it_referred_and_what_that_brought() {
    let stand = stand().await;
    let zoe = code(&stand, "provider", "zoe").await;
    let ann = code(&stand, "user", "ann").await;
    sign_up(&stand, None, &body(&zoe, "user", "ann")).await;
    for (kind, id) in [("user", "bob"), ("provider", "cat"), ("user", "dan")] {
        let answer = sign_up(&stand, None, &body(&ann, kind, id)).await;
        assert_eq!(answer.status, 201);
    }
    book(&stand, &user("bob"), |entry| {
        served(entry, "2026-11-21", 50, Points::whole(75));
    })
    .await;
    book(&stand, &user("ann"), |entry| {
        for (day, points) in [
            ("2026-10-30", [15_000_000, 0, 0]),
            ("2026-11-21", [200_000, 40_000, 10_000]),
        ] {
            let slot = Slot::Day(day.parse().unwrap());
            entry.referral.push((slot, Cascade(points.map(Points))));
        }
    })
    .await;
    let link = link_of(&stand.db, &user("bob")).await.unwrap().unwrap();
    let writes = grant_milestone_writes(&link, NOON, Points::whole(200), NOON, PARTITIONS);
    stand.db.transact(writes).await.unwrap();
    wait_for_referees(&stand, 3).await;
    let found = stand.get("/api/referrals/user/ann").await.json();
    let mut told = found.clone();
    assert_eq!(told["code"]["code"], ann);
    told["code"]["code"] = json!("ANN…");
    insta::assert_json_snapshot!("referrals", told);
    // Page by page, the counts are the same.
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let path = format!("/api/referrals/user/ann?limit=2&after={after}");
        let page = stand.get(&path).await.json();
        assert_eq!(page["counts"], found["counts"]);
        seen.extend(page["referees"].as_array().unwrap().clone());
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(Value::Array(seen), found["referees"]);
}

/// A store in which every query of referees has pages without end.
struct Endless {
    db: DynamoDb,
    pages: AtomicUsize,
}

#[async_trait]
impl Db for Endless {
    fn clock(&self) -> &dyn Clock {
        self.db.clock()
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        self.db.get(key).await
    }

    /// The same referee again and again has the same rows.
    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let distinct: Vec<Key> = BTreeSet::from_iter(keys.iter().cloned())
            .into_iter()
            .collect();
        let items = self.db.batch_get(&distinct).await?;
        let place = |key: &Key| distinct.binary_search(key).expect("it was asked for");
        Ok(keys.iter().map(|key| items[place(key)].clone()).collect())
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        // Each page is the first one, whatever it comes after.
        let first = Query {
            after: None,
            ..query.clone()
        };
        let mut page = self.db.query(&first).await?;
        if query.index {
            self.pages.fetch_add(1, Ordering::SeqCst);
            let first = page.items.first().expect("a referee").clone();
            page.items = vec![first.clone(); 1_000];
            page.next = Some(first);
        }
        Ok(page)
    }

    async fn scan(&self, table: Table, after: Option<Item>) -> Result<Page, StoreError> {
        self.db.scan(table, after).await
    }

    async fn write(&self, write: Write) -> Result<(), StoreError> {
        self.db.write(write).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.db.transact(writes).await
    }

    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        self.db.put_all(table, items).await
    }
}

#[tokio::test]
async fn an_account_with_endless_referees_costs_a_bounded_number_of_reads() {
    let stand = stand().await;
    let ann = code(&stand, "user", "ann").await;
    sign_up(&stand, Some("k"), &body(&ann, "user", "bob")).await;
    wait_for_referees(&stand, 1).await;
    let endless = Arc::new(Endless {
        db: stand.db.clone(),
        pages: AtomicUsize::new(0),
    });
    let stand = Stand {
        service: service_on(&stand, endless.clone()),
        ..stand
    };
    let found = stand.get("/api/referrals/user/ann?limit=1").await;
    assert_eq!(found.status, 200, "{:?}", found.body);
    let found = found.json();
    assert_eq!(found["whole"], false);
    assert_eq!(found["counts"]["referees"], 20_000);
    assert_eq!(endless.pages.load(Ordering::SeqCst), 20);
}

#[tokio::test]
async fn what_an_admin_does_for_an_account_is_in_the_audit_trail_and_what_it_does_itself_is_not() {
    let stand = stand().await;
    let ann = stand.key(&["account:user:ann"]).await;
    let bob = stand.key(&["account:user:bob"]).await;
    let ask = async |key: &str, path: &str, body: Value| {
        let answer = stand.ask(Some(key), Method::POST, path, Some(&body)).await;
        assert!(answer.status.is_success(), "{:?}", answer.body);
        answer.json()
    };
    let of = |id: &str| json!({"userId": id, "userType": "user"});
    let anns = ask(&ann, "/api/referrals/code", of("ann")).await;
    let anns = anns["code"].as_str().unwrap();
    ask(&bob, SIGNUP, body(anns, "user", "bob")).await;
    let entries = async |action: &str| told(&stand, action).await;
    assert_eq!(entries("referral_codes.create").await, [] as [Value; 0]);
    assert_eq!(entries("referrals.signup").await, [] as [Value; 0]);
    for _ in 0..2 {
        ask(&stand.admin, "/api/referrals/code", of("cat")).await;
        assert_eq!(
            sign_up(&stand, Some("k"), &body(anns, "provider", "dan"))
                .await
                .status,
            201
        );
    }
    let made = entries("referral_codes.create").await;
    assert_eq!(made.len(), 1, "once, however often it is asked: {made:?}");
    assert_eq!(made[0]["detail"]["owner"], json!(["user", "cat"]));
    let signups = entries("referrals.signup").await;
    assert_eq!(
        signups.len(),
        1,
        "once, however often it is asked: {signups:?}"
    );
    assert_eq!(signups[0]["subject"], "provider:dan");
    assert_eq!(signups[0]["detail"]["code"], anns);
    assert_eq!(signups[0]["detail"]["referrer"], json!(["user", "ann"]));
    let by = signups[0]["by"].as_str().unwrap();
    assert!(by.starts_with("key ") && by.ends_with("(a test's)"), "{by}");
}
