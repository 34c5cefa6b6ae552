//! A sender reads its own rejects, and nobody else's.

use axum::http::Method;
use bytes::Bytes;
use serde_json::{Value, json};
use tidemark::domain::event::{Reason, Rejection};
use tidemark::domain::position::{Epoch, Partition};
use tidemark::log::rejected::{self, ForeignReject};
use tidemark::log::usage::SENDER_HEADER;
use tidemark::log::{Log, NewRecord, Record, Topic};

use super::stand::{Answer, NOON, Stand};

const PARTITION: Partition = Partition(1);

/// An event of a service that the edge does not know; rating refuses it.
fn event(id: &str, source: &str) -> Value {
    json!({"requestId": id, "userId": "alice", "source": source, "endpoint": "/v9", "timestamp": "2026-11-22T07:01:02.123Z", "statusCode": 200})
}

async fn send(stand: &Stand, key: &str, events: &Value) {
    let answer = stand
        .ask(Some(key), Method::POST, "/api/v1/events", Some(events))
        .await;
    assert_eq!(answer.status.as_u16(), 204, "{answer:?}");
}

async fn append(stand: &Stand, record: NewRecord) {
    let appended = stand
        .log
        .append(Topic::UsageRejected, PARTITION, vec![record]);
    appended.await.unwrap();
}

/// Writes the reject of every record of `usage.events`, in the order of their ids, as rating does.
async fn refuse_all(stand: &Stand) {
    let mut records = stand.log.all(Topic::UsageEvents);
    records.sort_by_key(|(_, record)| record.value.clone());
    for (partition, record) in records {
        refuse(stand, partition, &record).await;
    }
}

async fn refuse(stand: &Stand, partition: Partition, record: &Record) {
    let rejection = Rejection {
        reason: Reason::UnknownService,
        field: Some("endpoint"),
        detail: "a sentence".to_owned(),
    };
    let reject = rejected::encode(record, Epoch(1), partition, NOON, &rejection);
    append(stand, reject).await;
}

async fn get(stand: &Stand, key: &str, path: &str) -> Answer {
    stand.ask(Some(key), Method::GET, path, None).await
}

/// The offsets of the rejects that a key sees.
async fn offsets(stand: &Stand, key: &str) -> Vec<u64> {
    let page = get(stand, key, "/api/v1/rejects?partition=1").await.json();
    let rejects = page["rejects"].as_array().expect("a list").iter();
    rejects
        .map(|reject| reject["offset"].as_u64().expect("an offset"))
        .collect()
}

fn id_of(key: &str) -> &str {
    key.split('_').nth(1).expect("an id")
}

#[tokio::test]
async fn a_record_names_the_key_that_sent_it_and_no_secret() {
    let stand = Stand::new().await;
    let key = stand.key(&["ingest"]).await;
    send(&stand, &key, &event("r-1", "eu")).await;
    let litellm = json!([{"id": "chatcmpl-1", "call_type": "acompletion", "status": "success", "model": "llama-3-70b",
        "prompt_tokens": 150, "completion_tokens": 75, "startTime": 1_795_330_862.123, "endTime": 1_795_330_863.123,
        "metadata": {"user_api_key_user_id": "alice"}}]);
    let path = "/api/v1/events/litellm";
    stand
        .ask(Some(&key), Method::POST, path, Some(&litellm))
        .await;
    let records = stand.log.all(Topic::UsageEvents);
    assert_eq!(records.len(), 2);
    let (_, secret) = key.split_at(key.len() - 40);
    for (_, record) in records {
        assert_eq!(record.header(SENDER_HEADER), Some(id_of(&key).as_bytes()));
        assert_eq!(record.headers.len(), 1);
        assert!(!format!("{record:?}").contains(secret));
    }
}

#[tokio::test]
async fn a_key_sees_the_rejects_of_what_it_sent_and_no_others() {
    let stand = Stand::new().await;
    let (mine, other) = (stand.key(&["ingest"]).await, stand.key(&["ingest"]).await);
    let bound = stand.key(&["ingest:eu", "ingest:gateway-1"]).await;
    send(
        &stand,
        &mine,
        &json!([event("a-0", "eu"), event("a-1", "us")]),
    )
    .await;
    send(&stand, &other, &event("a-2", "us")).await;
    send(&stand, &bound, &event("a-3", "eu")).await;
    refuse_all(&stand).await;
    // Rejects of before: nothing says who sent the event. One cannot even be read.
    let old = |value: Bytes| Record {
        offset: tidemark::domain::position::Offset(9),
        append_time: NOON,
        key: None,
        value,
        headers: Vec::new(),
    };
    let (partition, text) = (Partition(0), event("a-4", "eu").to_string());
    refuse(&stand, partition, &old(text.into())).await;
    refuse(&stand, partition, &old(Bytes::from_static(b"\xff"))).await;
    let foreign = ForeignReject {
        reason: Reason::MissingField,
        field: None,
        detail: "a sentence".to_owned(),
        source: "gateway-1".to_owned(),
        topic: "kong-logs".to_owned(),
        partition,
        offset: tidemark::domain::position::Offset(3),
        index: 0,
        log_time: NOON,
    };
    append(&stand, rejected::encode_foreign(&foreign)).await;
    // What is no reject costs only itself.
    append(&stand, NewRecord::default()).await;

    assert_eq!(offsets(&stand, &mine).await, [0, 1]);
    assert_eq!(offsets(&stand, &other).await, [2]);
    // A key that is bound to sources sees all of those sources.
    assert_eq!(offsets(&stand, &bound).await, [0, 3, 4, 6]);
    assert_eq!(offsets(&stand, &stand.admin).await, [0; 0]);
    assert_eq!(offsets(&stand, &stand.key(&["ingest"]).await).await, [0; 0]);
    let elsewhere = stand.key(&["ingest:plain"]).await;
    assert_eq!(offsets(&stand, &elsewhere).await, [0; 0]);

    for (key, path, status) in [
        (&mine, "1/0", 200),
        (&mine, "1/2", 404),
        (&mine, "1/5", 404),
        (&mine, "1/7", 404),
        (&mine, "1/99", 404),
        (&mine, "9/0", 404),
        (&bound, "1/0", 200),
        (&bound, "1/6", 200),
        (&bound, "1/1", 404),
        (&other, "1/0", 404),
    ] {
        let answer = get(&stand, key, &format!("/api/v1/rejects/{path}")).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
    }
    let mut reject = get(&stand, &mine, "/api/v1/rejects/1/0").await.json();
    assert_eq!(reject["sender"], id_of(&mine));
    assert_eq!(reject["value"], event("a-0", "eu").to_string());
    reject["origin"] = Value::Null;
    reject
        .as_object_mut()
        .unwrap()
        .retain(|name, _| name != "sender" && name != "value");
    assert_eq!(
        reject,
        json!({"partition": 1, "offset": 0, "reason": "unknown_service", "field": "endpoint", "detail": "a sentence",
        "origin": null, "logTime": "2026-11-22T12:00:00.000Z", "state": "open", "source": "eu"})
    );
    let foreign = get(&stand, &bound, "/api/v1/rejects/1/6").await.json();
    assert_eq!(
        (&foreign["value"], &foreign["source"]),
        (&Value::Null, &json!("gateway-1"))
    );
}

#[tokio::test]
async fn an_item_in_a_gateways_form_is_its_senders_too() {
    let stand = Stand::new().await;
    let (mine, other) = (stand.key(&["ingest"]).await, stand.key(&["ingest"]).await);
    let bound = stand.key(&["ingest:litellm"]).await;
    let unreadable = json!([{"id": "chatcmpl-1", "call_type": "acompletion", "status": "success"}]);
    let path = "/api/v1/events/litellm";
    let answer = stand
        .ask(Some(&mine), Method::POST, path, Some(&unreadable))
        .await;
    assert_eq!(answer.json()["refused"].as_array().unwrap().len(), 1);
    let records = stand.log.all(Topic::UsageRejected);
    let [(partition, record)] = &records[..] else {
        panic!("{records:?}")
    };
    let path = format!("/api/v1/rejects/{partition}/{}", record.offset);
    for (key, status) in [(&mine, 200), (&bound, 200), (&other, 404)] {
        let answer = get(&stand, key, &path).await;
        assert_eq!(answer.status.as_u16(), status);
        if status == 200 {
            let reject = answer.json();
            assert_eq!(
                (&reject["source"], &reject["sender"]),
                (&json!("litellm"), &json!(id_of(&mine)))
            );
        }
    }
}

#[tokio::test]
async fn others_rejects_cost_a_page_and_hide_nothing() {
    let stand = Stand::new().await;
    let (mine, other) = (stand.key(&["ingest"]).await, stand.key(&["ingest"]).await);
    let all: Vec<Value> = (0..2_100)
        .map(|id| event(&format!("b-{id:04}"), "us"))
        .collect();
    send(
        &stand,
        &mine,
        &json!([event("a-0", "eu"), event("a-1", "eu")]),
    )
    .await;
    send(&stand, &other, &json!(all)).await;
    send(
        &stand,
        &mine,
        &json!([event("c-0", "eu"), event("c-1", "eu")]),
    )
    .await;
    refuse_all(&stand).await;
    let mut found = Vec::new();
    let mut next = Some(0);
    let mut pages = 0;
    while let Some(from) = next {
        let path = format!("/api/v1/rejects?partition=1&limit=1&from={from}");
        let page = get(&stand, &mine, &path).await.json();
        let rejects = page["rejects"].as_array().unwrap();
        assert!(rejects.len() <= 1);
        found.extend(
            rejects
                .iter()
                .map(|reject| reject["offset"].as_u64().unwrap()),
        );
        next = page["next"].as_u64();
        assert!(next.is_none_or(|next| next > from));
        pages += 1;
    }
    assert_eq!(found, [0, 1, 2_102, 2_103]);
    assert!(pages <= 5, "{pages}");
    let newest = get(&stand, &mine, "/api/v1/rejects?partition=1&newest=10")
        .await
        .json();
    assert_eq!(newest["rejects"].as_array().unwrap().len(), 2);
    assert_eq!(newest["next"], Value::Null);
    let all = get(
        &stand,
        &mine,
        "/api/v1/rejects?partition=1&newest=18446744073709551615",
    )
    .await
    .json();
    assert_eq!(all["rejects"].as_array().unwrap().len(), 2);
    assert_eq!(all["next"], 2_000);
    for (query, status, code) in [
        ("", 400, "invalid_query"),
        ("partition=1&newest=1&from=1", 400, "invalid_query"),
        ("partition=1&limit=0", 400, "invalid_query"),
        ("partition=1&limit=501", 400, "invalid_query"),
        ("partition=1&sender=x", 400, "invalid_query"),
        ("partition=4", 404, "no_such_partition"),
    ] {
        let answer = get(&stand, &mine, &format!("/api/v1/rejects?{query}")).await;
        assert_eq!(answer.code(), (status, code.to_owned()), "{query}");
    }
}

#[tokio::test]
async fn a_redriven_event_is_still_its_senders() {
    let stand = Stand::new().await;
    let mine = stand.key(&["ingest"]).await;
    send(&stand, &mine, &event("a-0", "eu")).await;
    refuse_all(&stand).await;
    // The second sends what the first has stored.
    for _ in 0..2 {
        let answer = stand
            .post("/api/admin/rejects/1/0/redrive", &json!({}))
            .await;
        assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
    }
    let senders: Vec<Option<Vec<u8>>> = stand
        .log
        .all(Topic::UsageEvents)
        .iter()
        .map(|(_, record)| record.header(SENDER_HEADER).map(<[u8]>::to_vec))
        .collect();
    let sender = Some(id_of(&mine).as_bytes().to_vec());
    assert_eq!(senders, [sender.clone(), sender.clone(), sender]);
    let reject = get(&stand, &mine, "/api/v1/rejects/1/0").await.json();
    assert_eq!(reject["state"], "redriven");
    // Who decided is the admins' affair.
    assert_eq!(reject["redriven"], Value::Null);
}
