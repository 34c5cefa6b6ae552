//! Taking requests back: by admins, and by keys that may speak for one source only.

use serde_json::{Value, json};
use tidemark::domain::time::DAY_MS;
use tidemark::store::db::{Db, Table};

use super::admin::{post, told};
use super::rows::usage_item;
use super::stand::{NOON, Stand};

const PATH: &str = "/api/admin/reversals";

fn of(id: &str) -> Value {
    json!({"userId": "alice", "source": "plain", "id": id, "time": NOON.to_string(), "reason": "cut off"})
}

#[tokio::test]
async fn an_admins_reversal_is_recorded_once_per_key_and_sent() {
    let stand = Stand::new().await;
    let rows = vec![
        usage_item("alice", "r-1", NOON),
        usage_item("alice", "r-2", NOON),
    ];
    stand.db.put_all(Table::UsageTracking, rows).await.unwrap();
    let sent = post(&stand, PATH, "ticket-1", &of("r-1")).await;
    assert_eq!(sent.status.as_u16(), 202, "{:?}", sent.body);
    assert_eq!(sent.json()["offset"], 0);
    // A repeat sends it again: rating drops it.
    let again = post(&stand, PATH, "ticket-1", &of("r-1")).await;
    assert_eq!(again.json()["offset"], 1);
    let other = post(&stand, PATH, "ticket-1", &of("r-2")).await;
    assert_eq!(other.code(), (422, "idempotency_key_reused".to_owned()));
    let unknown = post(&stand, PATH, "ticket-2", &of("r-3")).await;
    assert_eq!(unknown.code(), (404, "unknown_original".to_owned()));
    // The row of a request that is too old may have expired.
    let mut old = of("r-3");
    old["time"] = NOON.plus(-43 * DAY_MS).to_string().into();
    let old = post(&stand, PATH, "ticket-2", &old).await;
    assert_eq!(old.code(), (409, "too_old".to_owned()));
    let mut silent = of("r-2");
    silent["reason"] = "".into();
    let silent = post(&stand, PATH, "ticket-3", &silent).await;
    assert_eq!(silent.code(), (422, "invalid_reason".to_owned()));
    let told = told(&stand, "requests.reverse").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["subject"], "user:alice");
    assert_eq!(told[0]["detail"]["id"], "r-1");
}

#[tokio::test]
async fn who_speaks_for_one_source_takes_back_nothing_of_another() {
    let stand = Stand::new().await;
    let key = stand.key(&["ingest:gw-1"]).await;
    for (own, original, status) in [
        ("gw-1", "gw-1", 204),
        ("gw-2", "gw-1", 403),
        ("gw-1", "gw-2", 403),
    ] {
        let reversal = json!({
            "specversion": "1.0", "type": "tidemark.reversal.v1", "source": own, "id": "r", "subject": "alice",
            "data": {"source": original, "id": "1", "time": NOON.to_string()},
        });
        let method = axum::http::Method::POST;
        let answer = stand
            .ask(Some(&key), method, "/api/v1/events", Some(&reversal))
            .await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{own} {original} {:?}",
            answer.body
        );
    }
}

#[tokio::test]
async fn a_reversal_that_cannot_be_read_is_refused_with_its_field() {
    let stand = Stand::new().await;
    let good = json!({
        "specversion": "1.0", "type": "tidemark.reversal.v1", "source": "gw", "id": "r", "subject": "alice",
        "data": {"source": "gw", "id": "1", "time": NOON.to_string(), "reason": "why"},
    });
    let rows: [(&str, Value, &str, &str); 6] = [
        ("/subject", Value::Null, "missing_field", "subject"),
        ("/data/source", Value::Null, "missing_field", "data.source"),
        ("/data/id", json!(7), "wrong_type", "data.id"),
        (
            "/data/time",
            json!("yesterday"),
            "invalid_time",
            "data.time",
        ),
        (
            "/data/reason",
            json!("x".repeat(1_025)),
            "too_long",
            "data.reason",
        ),
        (
            "/type",
            json!("tidemark.reversal.v2"),
            "unknown_type",
            "type",
        ),
    ];
    for (place, value, code, field) in rows {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap() = value;
        let answer = stand.post("/api/v1/events", &bad).await;
        assert_eq!(answer.status.as_u16(), 400, "{place} {:?}", answer.body);
        let events = &answer.json()["events"];
        let is_it = |event: &Value| event["code"] == code && event["field"] == field;
        assert!(
            events.as_array().unwrap().iter().any(is_it),
            "{place} {events}"
        );
    }
}
