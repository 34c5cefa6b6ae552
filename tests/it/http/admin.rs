//! What tests of admin routes share.

use std::cmp::Reverse;

use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::{Map, Value, json};
use tidemark::domain::rules::{Network, RulesDocument};

use super::stand::{Answer, Stand};

/// Asks as an admin, with a body as text: numbers keep their digits.
pub async fn send(
    stand: &Stand,
    method: Method,
    path: &str,
    idempotency_key: Option<&str>,
    body: &str,
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {}", stand.admin))
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = idempotency_key {
        request = request.header("idempotency-key", key);
    }
    stand
        .send(request.body(Body::from(body.to_owned())).unwrap())
        .await
}

pub async fn post(stand: &Stand, path: &str, key: &str, body: &Value) -> Answer {
    send(stand, Method::POST, path, Some(key), &body.to_string()).await
}

pub async fn put(stand: &Stand, path: &str, body: &Value) -> Answer {
    send(stand, Method::PUT, path, None, &body.to_string()).await
}

/// The values of a shipped rules document, by key.
pub fn document(network: Network) -> Value {
    let (file, text) = network.document();
    let document = RulesDocument::parse_toml(file, text).unwrap();
    let value = |(key, value): (String, String)| (key, serde_json::from_str(&value).unwrap());
    let values: Map<String, Value> = document.changes().into_iter().map(value).collect();
    Value::Object(values)
}

/// Publishes the shipped rules of a network.
pub async fn publish(stand: &Stand, network: Network) {
    let body = json!({"values": document(network), "reason": "a test"});
    let answer = stand.post("/api/admin/rules", &body).await;
    assert_eq!(answer.status.as_u16(), 200, "{:?}", answer.body);
}

/// A body with what differs from run to run made equal: ids of keys, within texts.
pub fn stable(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(stable_text(text)),
        Value::Array(list) => list.into_iter().map(stable).collect(),
        Value::Object(map) => {
            let members = map.into_iter().map(|(name, value)| (name, stable(value)));
            Value::Object(members.collect())
        }
        other => other,
    }
}

fn stable_text(text: String) -> String {
    match text.split_once("key ") {
        Some((before, after)) if after.get(12..14) == Some(" (") => {
            format!("{before}key <id>{}", &after[12..])
        }
        _ => text,
    }
}

/// The audit trail's entries of an action, newest first; those of one moment by what they tell.
pub async fn told(stand: &Stand, action: &str) -> Vec<Value> {
    let answer = stand.get("/api/admin/audit?limit=500").await;
    assert_eq!(answer.status.as_u16(), 200, "{:?}", answer.body);
    let page = stable(answer.json());
    let entries = page["entries"].as_array().unwrap().iter();
    let mut told: Vec<Value> = entries
        .filter(|entry| entry["action"] == action)
        .cloned()
        .collect();
    let order = |entry: &Value| {
        (
            Reverse(entry["at"].to_string()),
            entry["detail"].to_string(),
        )
    };
    told.sort_by_key(order);
    told
}
