//! Rejects: shown, edited, sent again, discarded; and whatever is repeated or lost on the way, one event counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use axum::http::Method;
use bytes::Bytes;
use futures::future::join_all;
use serde_json::{Value, json};
use tidemark::domain::event::{Reason, Rejection};
use tidemark::domain::position::{Epoch, Offset, Partition};
use tidemark::domain::time::Millis;
use tidemark::log::rejected::{self, ForeignReject};
use tidemark::log::{Log, LogError, NewRecord, Record, Topic, usage, usage_partition};
use tidemark::ops::clock::Clock;
use tidemark::store::db::{Db, Item, Key, Page, Query, StoreError, Table, Write};
use tidemark::store::redrive::{self, Decider, Fate, Found, RedriveError};

use super::admin::{send, stable, told};
use super::stand::{Answer, NOON, Stand};
use crate::edge::memory_log::PARTITIONS;

fn event(id: &str, endpoint: &str) -> Value {
    json!({"requestId": id, "userId": "alice", "providerId": "prov-1", "endpoint": endpoint, "model": "llama-3-70b",
        "timestamp": "2026-11-22T07:01:02.123Z", "statusCode": 200})
}

fn original(offset: u64, value: &[u8]) -> Record {
    Record {
        offset: Offset(offset),
        append_time: NOON,
        key: Some(Bytes::from_static(b"alice")),
        value: Bytes::copy_from_slice(value),
        headers: vec![
            ("source".to_owned(), Bytes::from_static(b"gateway-eu-1")),
            ("tidemark-tick".to_owned(), Bytes::from_static(b"1")),
            ("trace".to_owned(), Bytes::from_static(b"\xff\x00")),
        ],
    }
}

/// Appends the reject of a record of `usage.events`/3, as rating writes it.
async fn refuse(stand: &Stand, original: &Record, reason: Reason, field: Option<&'static str>) {
    let rejection = Rejection {
        reason,
        field,
        detail: "a sentence".to_owned(),
    };
    let reject = rejected::encode(original, Epoch(1), Partition(3), NOON, &rejection);
    append(stand, reject).await;
}

/// Appends the reject of an event of a service that nobody knows; its text.
async fn refuse_unknown(stand: &Stand) -> String {
    let text = event("r-1", "/v9").to_string();
    let original = original(7, text.as_bytes());
    refuse(stand, &original, Reason::UnknownService, Some("endpoint")).await;
    text
}

/// Appends the reject of a record that is too large to be kept whole.
async fn refuse_large(stand: &Stand) {
    let mut large = original(9, &vec![b'x'; 1 << 20]);
    large.headers.clear();
    refuse(stand, &large, Reason::TooLarge, None).await;
}

async fn append(stand: &Stand, reject: NewRecord) {
    let topic = Topic::UsageRejected;
    stand
        .log
        .append(topic, Partition(1), vec![reject])
        .await
        .unwrap();
}

/// Redrives with a body as text: every digit stays.
async fn redrive_text(stand: &Stand, offset: u64, body: &str) -> Answer {
    let path = format!("/api/admin/rejects/1/{offset}/redrive");
    send(stand, Method::POST, &path, None, body).await
}

async fn redrive_over_http(stand: &Stand, offset: u64, body: &Value) -> Answer {
    redrive_text(stand, offset, &body.to_string()).await
}

async fn discard_over_http(stand: &Stand, offset: u64, reason: &str) -> Answer {
    let path = format!("/api/admin/rejects/1/{offset}/discard");
    let body = json!({"reason": reason}).to_string();
    send(stand, Method::POST, &path, None, &body).await
}

/// What stands in `usage.events`.
fn sent(stand: &Stand) -> Vec<(Partition, Record)> {
    stand.log.all(Topic::UsageEvents)
}

#[tokio::test]
async fn rejects_are_listed_in_pages_and_shown_to_the_byte() {
    let stand = Stand::new().await;
    refuse(
        &stand,
        &original(7, br#"{"a":1}"#),
        Reason::MissingField,
        Some("userId"),
    )
    .await;
    refuse(&stand, &original(8, b"\xff\xfe"), Reason::Malformed, None).await;
    refuse_large(&stand).await;
    append(&stand, foreign()).await;
    let page = stand
        .get("/api/admin/rejects?partition=1&limit=3")
        .await
        .json();
    assert_eq!(page["next"], 3);
    insta::assert_json_snapshot!("reject_list", page);
    let rest = stand
        .get("/api/admin/rejects?partition=1&from=3")
        .await
        .json();
    assert_eq!(rest["next"], Value::Null);
    insta::assert_json_snapshot!("reject_list_foreign", rest["rejects"]);
    let none = stand.get("/api/admin/rejects?partition=0").await.json();
    assert_eq!(none, json!({"partitions": 4, "rejects": []}));
    insta::assert_json_snapshot!(
        "reject_of_text",
        stand.get("/api/admin/rejects/1/0").await.json()
    );
    insta::assert_json_snapshot!(
        "reject_of_bytes",
        stand.get("/api/admin/rejects/1/1").await.json()
    );
    insta::assert_json_snapshot!(
        "reject_foreign",
        stand.get("/api/admin/rejects/1/3").await.json()
    );
    let beginning = stand.get("/api/admin/rejects/1/2").await.json();
    assert_eq!(beginning["wholeBytes"], (1 << 20) + 64 + 5);
    let rows = [
        ("/api/admin/rejects?partition=4", 404, "no_such_partition"),
        ("/api/admin/rejects?partition=-1", 400, "invalid_query"),
        ("/api/admin/rejects?part=1", 400, "invalid_query"),
        ("/api/admin/rejects", 400, "invalid_query"),
        ("/api/admin/rejects/4/0", 404, "no_such_partition"),
        ("/api/admin/rejects/1/4", 404, "no_such_reject"),
        (
            "/api/admin/rejects/1/18446744073709551615",
            404,
            "no_such_reject",
        ),
        (
            "/api/admin/rejects/1/18446744073709551616",
            400,
            "invalid_path",
        ),
        ("/api/admin/rejects/one/0", 400, "invalid_path"),
    ];
    for (path, status, code) in rows {
        assert_eq!(
            stand.get(path).await.code(),
            (status, code.to_owned()),
            "{path}"
        );
    }
}

fn foreign() -> NewRecord {
    rejected::encode_foreign(&ForeignReject {
        reason: Reason::WrongType,
        field: Some("latency".to_owned()),
        detail: "latency is no number".to_owned(),
        source: "apisix".to_owned(),
        topic: "apisix-logs".to_owned(),
        partition: Partition(9),
        offset: Offset(70),
        index: 2,
        log_time: NOON,
    })
}

#[tokio::test]
async fn an_original_is_sent_again_to_the_byte_and_only_it() {
    let stand = Stand::new().await;
    let text = "{ \"requestId\":\"r-1\",\"userId\":\"alice\",\"endpoint\":\"/v9\",\"timestamp\":\"2026-11-22T07:01:02Z\",\"statusCode\":200, \"x\":1e3 }";
    refuse(
        &stand,
        &original(7, text.as_bytes()),
        Reason::UnknownService,
        Some("endpoint"),
    )
    .await;
    // Rating was restarted, and wrote the reject again.
    refuse(
        &stand,
        &original(7, text.as_bytes()),
        Reason::UnknownService,
        Some("endpoint"),
    )
    .await;
    let answer = redrive_over_http(&stand, 0, &json!({})).await;
    insta::assert_json_snapshot!("redriven", stable(answer.json()));
    stand.clock.set(Millis(NOON.0 + 86_400_000));
    for offset in [0, 1, 0] {
        let again = redrive_over_http(&stand, offset, &json!({})).await;
        assert_eq!(again.json()["redriven"], answer.json()["redriven"]);
    }
    let all = sent(&stand);
    assert_eq!(all.len(), 4);
    for (partition, record) in &all {
        assert_eq!(*partition, usage_partition("alice", PARTITIONS));
        assert_eq!(record.key.as_deref(), Some(&b"alice"[..]));
        assert_eq!(record.value, text.as_bytes());
        // The header that belongs to the event; none that could steer rating.
        let source = ("source".to_owned(), Bytes::from_static(b"gateway-eu-1"));
        assert_eq!(record.headers, [source]);
    }
    let trail = told(&stand, "rejects.redrive").await;
    insta::assert_json_snapshot!("redrive_told", trail);
    let refused = discard_over_http(&stand, 1, "x").await;
    assert_eq!(refused.code(), (409, "already_redriven".to_owned()));
    let states = stand.get("/api/admin/rejects?partition=1").await.json();
    assert_eq!(states["rejects"][0]["state"], "redriven");
    assert_eq!(states["rejects"][1]["state"], "redriven");
}

/// A record that came past the edge may have fields that the edge takes for misnamed.
#[tokio::test]
async fn an_original_with_a_misnamed_field_is_sent_as_it_was_but_no_edit_may_have_one() {
    let stand = Stand::new().await;
    let mut misnamed = event("r-1", "/v9");
    misnamed["prompt_tokens"] = json!(150);
    let original = original(7, misnamed.to_string().as_bytes());
    refuse(&stand, &original, Reason::UnknownService, Some("endpoint")).await;
    let edited = json!({"value": misnamed});
    let answer = redrive_over_http(&stand, 0, &edited).await;
    let told = answer.json();
    assert_eq!(
        (answer.status.as_u16(), &told["events"][0]["code"]),
        (422, &json!("misnamed_field"))
    );
    assert_eq!(sent(&stand), []);
    let answer = redrive_over_http(&stand, 0, &json!({})).await;
    assert_eq!(answer.status.as_u16(), 200);
    let [(_, record)] = &sent(&stand)[..] else {
        panic!("one record")
    };
    assert_eq!(record.value, misnamed.to_string());
}

#[tokio::test]
async fn an_edited_event_is_checked_as_at_the_edge_and_the_first_edit_stays() {
    let stand = Stand::new().await;
    refuse(
        &stand,
        &original(7, br#"{"a":1}"#),
        Reason::MissingField,
        Some("userId"),
    )
    .await;
    let bad = [
        None,
        Some(json!({})),
        Some(event("", "/v1/tts")),
        Some(json!("text")),
        Some(json!([event("r-1", "/v1/tts")])),
    ];
    let source = &original(7, b"").headers;
    for value in bad {
        let text = value
            .as_ref()
            .map_or(r#"{"a":1}"#.to_owned(), Value::to_string);
        let body = value.map_or(json!({}), |value| json!({"value": value}));
        let answer = redrive_over_http(&stand, 0, &body).await;
        assert_eq!(answer.code(), (422, "invalid_events".to_owned()), "{body}");
        let edge = usage::decode(text.as_bytes(), source).unwrap_err();
        let found = &answer.json()["events"][0];
        assert_eq!(found["code"], edge.reason.as_str(), "{body}");
        assert_eq!(found["field"].as_str(), edge.field, "{body}");
    }
    for body in [
        r#"{"values":{}}"#,
        r#"[]"#,
        r#"{"value":{}}x"#,
        r#"{"value":null}"#,
        r#"{"value": null }"#,
        r#"{"value":{"userId":"a","userId":"b"}}"#,
    ] {
        let answer = redrive_text(&stand, 0, body).await;
        assert_eq!(answer.code(), (400, "invalid_body".to_owned()), "{body}");
    }
    assert_eq!(sent(&stand), []);
    assert_eq!(told(&stand, "rejects.redrive").await, Vec::<Value>::new());
    // Digits and spaces stay as they are.
    let body = r#"{"value": {"requestId":"r-1",  "userId":"bob","endpoint":"/v1/tts","timestamp":"2026-11-22T07:01:02Z","statusCode":200,"x":1.0e2}}"#;
    let answer = redrive_text(&stand, 0, body).await;
    assert_eq!(answer.status.as_u16(), 200, "{:?}", answer.body);
    let text = body
        .strip_prefix(r#"{"value": "#)
        .unwrap()
        .strip_suffix('}')
        .unwrap();
    assert_eq!(answer.json()["redriven"]["value"], text);
    assert_eq!(answer.json()["redriven"]["edited"], true);
    // Another edit comes too late; without one, and with the same, the first is sent again.
    let other = redrive_over_http(&stand, 0, &json!({"value": event("r-2", "/v1/tts")})).await;
    assert_eq!(other.code(), (409, "redriven_otherwise".to_owned()));
    redrive_text(&stand, 0, body).await;
    redrive_over_http(&stand, 0, &json!({})).await;
    let all = sent(&stand);
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|(partition, record)| {
        *partition == usage_partition("bob", PARTITIONS) && record.value == text.as_bytes()
    }));
}

#[tokio::test]
async fn what_is_not_kept_cannot_be_sent_as_it_was() {
    let stand = Stand::new().await;
    append(&stand, foreign()).await;
    refuse_large(&stand).await;
    for offset in [0, 1] {
        let answer = redrive_over_http(&stand, offset, &json!({})).await;
        assert_eq!(
            answer.code(),
            (422, "original_not_kept".to_owned()),
            "{offset}"
        );
    }
    let edited = json!({"value": event("r-1", "/v1/tts")});
    let answer = redrive_over_http(&stand, 0, &edited).await;
    assert_eq!(answer.code(), (422, "original_not_kept".to_owned()));
    // What was too large can be sent in a smaller form.
    assert_eq!(
        redrive_over_http(&stand, 1, &edited).await.status.as_u16(),
        200
    );
    // And what an adapter refused can be done with.
    let answer = discard_over_http(&stand, 0, "mended").await;
    assert_eq!(answer.json()["state"], "discarded");
}

#[tokio::test]
async fn a_discarded_reject_stays_discarded_and_says_why() {
    let stand = Stand::new().await;
    refuse_unknown(&stand).await;
    let empty = discard_over_http(&stand, 0, " ").await;
    assert_eq!(empty.code(), (422, "invalid_reason".to_owned()));
    let answer = discard_over_http(&stand, 0, "a test event").await;
    insta::assert_json_snapshot!("discarded", stable(answer.json()));
    let again = discard_over_http(&stand, 0, "another reason").await;
    assert_eq!(again.json(), answer.json());
    let refused = redrive_over_http(&stand, 0, &json!({})).await;
    assert_eq!(refused.code(), (409, "already_discarded".to_owned()));
    assert_eq!(sent(&stand), []);
    insta::assert_json_snapshot!("discard_told", told(&stand, "rejects.discard").await);
}

#[tokio::test]
async fn a_log_that_fails_after_the_event_was_stored_is_cured_by_asking_again() {
    let stand = Stand::new().await;
    refuse_unknown(&stand).await;
    let fails = |error| *stand.log.append_fails.lock().unwrap() = error;
    fails(Some(LogError::Unavailable("no broker".to_owned())));
    let edited = json!({"value": event("r-1", "/v1/tts")});
    let answer = redrive_over_http(&stand, 0, &edited).await;
    assert_eq!(answer.code(), (503, "log_unavailable".to_owned()));
    let shown = stand.get("/api/admin/rejects/1/0").await.json();
    assert_eq!(shown["state"], "redriven");
    assert_eq!(shown["redriven"]["sent"], Value::Null);
    fails(None);
    let answer = redrive_over_http(&stand, 0, &json!({})).await;
    assert_eq!(answer.json()["redriven"]["sent"]["offset"], 0);
    assert_eq!(sent(&stand).len(), 1);
    // Whoever appends is counted, and only what was acknowledged.
    let appended = &stand.metrics.log_appended_records_total;
    assert_eq!(appended.with_label_values(&["usage.events"]).get(), 1);
    assert_eq!(sent(&stand)[0].1.value, event("r-1", "/v1/tts").to_string());
    assert_eq!(told(&stand, "rejects.redrive").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_edits_at_once_one_is_sent() {
    let stand = Arc::new(Stand::new().await);
    refuse(&stand, &original(7, b"{"), Reason::Malformed, None).await;
    let posts = (0..16).map(|n| {
        let stand = stand.clone();
        tokio::spawn(async move {
            if n % 4 == 3 {
                discard_over_http(&stand, 0, "x").await
            } else {
                let edited = json!({"value": event(&format!("r-{n}"), "/v1/tts")});
                redrive_over_http(&stand, 0, &edited).await
            }
        })
    });
    let mut winners = 0;
    for answer in join_all(posts).await {
        let answer = answer.unwrap();
        match answer.status.as_u16() {
            200 => winners += 1,
            409 => (),
            other => panic!("{other}: {:?}", answer.body),
        }
    }
    let sent = sent(&stand);
    let redriven = told(&stand, "rejects.redrive").await.len();
    let discarded = told(&stand, "rejects.discard").await.len();
    assert_eq!((redriven + discarded, sent.len()), (1, redriven));
    // Every edit is another, so one redrive wins; or every discard is the same.
    assert_eq!(winners, if redriven == 1 { 1 } else { 4 });
}

/// A store that loses the answer of the write with this number, which happens all the same.
struct Lossy {
    db: Arc<dyn Db>,
    writes: AtomicU32,
    lost: u32,
}

impl Lossy {
    fn answer(&self, done: Result<(), StoreError>) -> Result<(), StoreError> {
        if self.writes.fetch_add(1, Ordering::Relaxed) == self.lost {
            return Err(StoreError::Unanswered("lost".to_owned()));
        }
        done
    }
}

#[async_trait]
impl Db for Lossy {
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
        let done = self.db.write(write).await;
        self.answer(done)
    }
    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let done = self.db.transact(writes).await;
        self.answer(done)
    }
    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        self.db.put_all(table, items).await
    }
}

#[tokio::test]
async fn whichever_answer_of_the_store_is_lost_the_event_is_stored_once_and_sent() {
    for lost in 0..3 {
        let stand = Stand::new().await;
        let text = refuse_unknown(&stand).await;
        let lossy = Lossy {
            db: Arc::new(stand.db.clone()),
            writes: AtomicU32::new(0),
            lost,
        };
        let found = redrive::find(&*stand.log, Partition(1), Offset(0)).await;
        let found: Found = found.unwrap().unwrap();
        let decider = Decider {
            by: "a test".to_owned(),
            now: NOON,
        };
        let mut tries = 0;
        let redriven = loop {
            tries += 1;
            match redrive::redrive(&lossy, &*stand.log, &found, None, &decider).await {
                Ok(redriven) => break redriven,
                Err(RedriveError::Store(error)) if error.is_transient() && tries < 5 => (),
                Err(other) => panic!("{lost}: {other}"),
            }
        };
        assert_eq!(redriven.value, text, "{lost}");
        let fates = redrive::fates(&stand.db, &[found.clone(), found])
            .await
            .unwrap();
        let [Some(Fate::Redriven(a)), Some(Fate::Redriven(b))] = &fates[..] else {
            panic!("{fates:?}")
        };
        assert_eq!(a, b);
        assert!(a.sent.is_some(), "{lost}");
        assert!(sent(&stand).iter().all(|(_, record)| record.value == text));
        assert_eq!(told(&stand, "rejects.redrive").await.len(), 1, "{lost}");
    }
}
