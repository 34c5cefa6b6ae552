//! Keys on the way in: made-up ones cost nothing, good ones are believed while the store hangs, and a key may be bound to a source.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::json;
use tidemark::domain::access::Scope;
use tidemark::http::{ApiState, Hosts, KEY_CACHE_TTL, router};
use tidemark::log::Topic;
use tidemark::ops::config::{Config, HttpConfig};
use tidemark::store::keys::{self, KeyText};
use tower::ServiceExt;

use super::slow_db::{Counted, Hanging, service_on};
use super::stand::{Answer, NOON, Stand};

/// No request may wait longer for the store than this, while a good key is known.
const BLINK: Duration = Duration::from_millis(300);

fn event(id: usize, source: Option<&str>) -> String {
    let mut event = json!({"requestId": id.to_string(), "userId": "alice", "endpoint": "/v1/scrape",
        "timestamp": "2026-11-22T07:01:02Z", "statusCode": 200});
    if let Some(source) = source {
        event["source"] = json!(source);
    }
    event.to_string()
}

async fn send(service: &ApiState, key: &str, path: &str, body: String) -> Answer {
    let request = Request::post(path)
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::CONTENT_TYPE, "application/json");
    let app = router(service.clone(), Hosts::Loopback);
    let answer = app.oneshot(request.body(Body::from(body)).unwrap()).await;
    let (parts, body) = answer.unwrap().into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: axum::body::to_bytes(body, usize::MAX).await.unwrap(),
    }
}

async fn ingest(service: &ApiState, key: &str, id: usize) -> Answer {
    send(service, key, "/api/v1/events", event(id, None)).await
}

/// Sends events that must be accepted, one after the other; how long each took.
async fn accepted(service: &ApiState, key: &str, ids: RangeInclusive<usize>) -> Vec<Duration> {
    let mut took = Vec::new();
    for id in ids {
        let begun = Instant::now();
        let answer = ingest(service, key, id).await;
        took.push(begun.elapsed());
        assert_eq!(answer.status.as_u16(), 204, "{id}: {:?}", answer.body);
    }
    took
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

async fn marked_key(stand: &Stand, scopes: &[&str]) -> String {
    let text = KeyText::draw(&stand.db, None).await.unwrap();
    let scopes: Vec<Scope> = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
    keys::create(&stand.db, &text, "a test's", scopes, "a test", NOON)
        .await
        .unwrap();
    text.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_hangs_no_event_of_a_good_key_is_refused_and_none_waits() {
    let stand = Stand::with(HttpConfig {
        requests_per_second_per_key: None,
        ..Config::default().http
    })
    .await;
    let key = marked_key(&stand, &["ingest"]).await;
    let db = Arc::new(Hanging::new(stand.db.clone()));
    let service = service_on(&stand, db.clone());
    assert_eq!(ingest(&service, &key, 0).await.status.as_u16(), 204);
    // How long requests take here, busy as the machine may be, while the store answers.
    let healthy = accepted(&service, &key, 1..=100).await;
    db.hangs.store(true, Ordering::Relaxed);
    tokio::time::sleep(KEY_CACHE_TTL + Duration::from_millis(100)).await;
    // Nobody has looked it up since: the first one waits a blink, and nobody after it. Whoever waited
    // for the store would wait for ever, and for a look-up of their own at least a blink.
    let first = accepted(&service, &key, 101..=101).await;
    let slowest = healthy.iter().max().unwrap();
    assert!(first[0] < BLINK + 20 * *slowest + BLINK, "{first:?}");
    let hung = accepted(&service, &key, 102..=300).await;
    let (usual, now) = (median(healthy), median(hung));
    assert!(now < usual + BLINK / 2, "{usual:?}, then {now:?}");
    assert_eq!(db.hanging(), 1, "one look-up at a time");
    // A secret that is wrong is not believed for a right one's sake.
    let wrong = format!("{}_{}", &key[..16], "A".repeat(43));
    assert_eq!(ingest(&service, &wrong, 0).await.status.as_u16(), 401);
    assert_eq!(stand.log.all(Topic::UsageEvents).len(), 301);
    // When the store answers again, a revocation is felt again.
    db.hangs.store(false, Ordering::Relaxed);
    db.wake();
    let id = key.split('_').nth(1).unwrap();
    keys::revoke(&stand.db, id, "a test", NOON).await.unwrap();
    let begun = Instant::now();
    while ingest(&service, &key, 0).await.status.as_u16() != 401 {
        assert!(
            begun.elapsed() < 6 * KEY_CACHE_TTL,
            "it is believed for ever"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_made_up_key_costs_no_read_of_the_store() {
    let stand = Stand::with(HttpConfig {
        requests_per_second_per_key: None,
        requests_per_second_per_address: None,
        ..Config::default().http
    })
    .await;
    let good = marked_key(&stand, &["ingest"]).await;
    let old = stand.key(&["ingest"]).await;
    let db = Arc::new(Counted::new(stand.db.clone()));
    let service = service_on(&stand, db.clone());
    assert_eq!(ingest(&service, &good, 1).await.status.as_u16(), 204);
    assert_eq!(ingest(&service, &old, 2).await.status.as_u16(), 204);
    // Of the form of today, each with another id and secret, and a mark that somebody made up.
    let before = db.count();
    for number in 0..500_u64 {
        let other = KeyText::of_random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), rand::random());
        let made_up = format!("{other}AAAAAAAA");
        assert!(made_up.parse::<KeyText>().is_ok(), "{made_up}");
        assert_eq!(ingest(&service, &made_up, 0).await.status.as_u16(), 401);
    }
    assert_eq!(db.count(), before, "made-up keys were looked up");
    // Of the older form, which has nothing to tell them by: some reads a second, and then "come again".
    let begun = Instant::now();
    let mut refused = 0;
    for number in 0..500_u64 {
        let other = KeyText::of_random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), rand::random());
        match ingest(&service, &other.to_string(), 0)
            .await
            .status
            .as_u16()
        {
            401 => (),
            503 => refused += 1,
            status => panic!("{status}"),
        }
    }
    let allowed = 20 * (begun.elapsed().as_secs() + 2);
    let reads = db.count() - before;
    // A machine that is slow enough may look up all of them.
    assert!(
        reads <= allowed && (refused > 0 || allowed >= 500),
        "{reads} reads, {refused} refused"
    );
    // Keys that are good go on, of both forms.
    for key in [&good, &old] {
        assert_eq!(ingest(&service, key, 3).await.status.as_u16(), 204);
    }
}

#[tokio::test]
async fn a_key_for_one_source_sends_events_of_no_other() {
    let stand = Stand::new().await;
    let litellm = json!([{"id": "c-1", "call_type": "acompletion", "status": "success", "model": "llama-3-70b", "prompt_tokens": 150,
        "completion_tokens": 75, "startTime": 1_795_330_862.123, "endTime": 1_795_330_862.373,
        "metadata": {"user_api_key_user_id": "alice"}}])
    .to_string();
    let events = "/api/v1/events";
    let rows = [
        ("ingest", events, event(1, Some("gw-1")), 204),
        ("ingest:gw-1", events, event(1, Some("gw-1")), 204),
        ("ingest:gw-1", events, event(1, Some("gw-2")), 403),
        ("ingest:gw-1", events, event(1, None), 403),
        ("ingest:plain", events, event(1, None), 204),
        (
            "ingest:gw-1",
            events,
            format!("[{},{}]", event(1, Some("gw-1")), event(2, Some("gw-2"))),
            403,
        ),
        (
            "ingest:litellm",
            "/api/v1/events/litellm",
            litellm.clone(),
            204,
        ),
        (
            "ingest:gw-1",
            "/api/v1/events/litellm",
            litellm.clone(),
            403,
        ),
        (
            "ingest:litellm",
            "/litellm/openmeter/api/v1/events",
            litellm.clone(),
            403,
        ),
        (
            "ingest:litellm",
            "/litellm/lago/api/v1/events",
            litellm,
            403,
        ),
        ("ingest:otlp", "/api/v1/events/otlp", "{}".to_owned(), 200),
        (
            "ingest:gw-1",
            "/api/v1/events/new-api",
            "[]".to_owned(),
            403,
        ),
        (
            "ingest:new-api",
            "/api/v1/events/sub2api",
            "[]".to_owned(),
            403,
        ),
        ("ingest:gw-1", "/api/v1/events/otlp", "{}".to_owned(), 403),
        (
            "ingest:gw-1",
            "/api/v1/events/otlp/v1/traces",
            "{}".to_owned(),
            403,
        ),
        ("admin:read", events, event(1, None), 403),
    ];
    let mut taken = 0;
    for (scope, path, body, status) in rows {
        let key = stand.key(&[scope]).await;
        let answer = send(&stand.service, &key, path, body).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{scope} {path}: {:?}",
            answer.body
        );
        if status == 403 {
            let code = if scope == "admin:read" {
                "forbidden"
            } else {
                "foreign_source"
            };
            assert_eq!(answer.code().1, code, "{scope} {path}");
        }
        taken += usize::from(status == 204);
        assert_eq!(
            stand.log.all(Topic::UsageEvents).len(),
            taken,
            "{scope} {path}"
        );
    }
    // Two sources in one key; and who may send everything may grant each.
    let key = stand.key(&["ingest:gw-1", "ingest:gw-2"]).await;
    let both = format!("[{},{}]", event(1, Some("gw-1")), event(2, Some("gw-2")));
    assert_eq!(
        send(&stand.service, &key, events, both)
            .await
            .status
            .as_u16(),
        204
    );
    let made = stand
        .post(
            "/api/admin/keys",
            &json!({"name": "gw", "scopes": ["ingest:gw-1"]}),
        )
        .await;
    assert_eq!(made.status.as_u16(), 201, "{:?}", made.body);
    let bad = stand
        .post(
            "/api/admin/keys",
            &json!({"name": "gw", "scopes": ["ingest:"]}),
        )
        .await;
    assert_eq!(bad.code(), (422, "invalid_scopes".to_owned()));
}

#[tokio::test]
async fn an_account_that_looks_like_another_is_not_created() {
    let stand = Stand::new().await;
    for id in [
        "an\u{200b}na",
        "\u{202e}anna",
        "anna\u{feff}",
        "a\u{2066}nna",
    ] {
        let code = stand
            .post(
                "/api/referrals/code",
                &json!({"userId": id, "userType": "user"}),
            )
            .await;
        assert_eq!(code.code(), (400, "invalid_id".to_owned()), "{id:?}");
        let signup = json!({"referralCode": "BERT-7KQ2M", "refereeId": id, "refereeType": "user"});
        let signup = stand.post("/api/referrals/signup", &signup).await;
        assert_eq!(signup.code(), (400, "invalid_id".to_owned()), "{id:?}");
        let scope = format!("account:user:{id}");
        let key = stand
            .post("/api/admin/keys", &json!({"name": "x", "scopes": [scope]}))
            .await;
        assert_eq!(key.code(), (422, "invalid_scopes".to_owned()), "{id:?}");
        // Events count, whoever they are for: nothing is lost, and accounts that exist go on.
        let mut event: serde_json::Value = serde_json::from_str(&event(1, None)).unwrap();
        event["userId"] = json!(id);
        assert_eq!(
            stand.post("/api/v1/events", &event).await.status.as_u16(),
            204,
            "{id:?}"
        );
        let balance = stand
            .get(&format!(
                "/api/v1/credits/{}",
                percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC)
            ))
            .await;
        assert_eq!(balance.status.as_u16(), 200, "{id:?}");
    }
}
