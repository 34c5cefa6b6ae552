//! `rules.providers` as gateways' forms are read: what an admin publishes goes before the
//! configuration, and is taken up by services that run.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tidemark::domain::rules::Network;
use tidemark::http::{ApiState, Hosts, router};
use tidemark::log::{Topic, usage};
use tidemark::ops::config::{Config, GatewaySettings};
use tower::ServiceExt as _;

use super::admin::{publish, put, told};
use super::slow_db::{Hanging, service_on};
use super::stand::Stand;

const RULE: &str = "/api/admin/rules/rules.providers";
/// Longer than a service believes rules.
const WITHIN: Duration = Duration::from_secs(30);

fn litellm(id: &str) -> Value {
    json!({"id": id, "litellm_call_id": id, "call_type": "acompletion", "status": "success", "model": "llama-3-70b",
        "custom_llm_provider": "openai", "model_group": "gpt-4o",
        "model_id": "0d7d1b3a-1c1e-4d7b-9e55-7b0a3ae45f01",
        "prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225, "startTime": 1_795_330_862.123,
        "endTime": 1_795_330_862.373, "stream": false, "metadata": {"user_api_key_user_id": "alice"}})
}

fn new_api(id: &str) -> Value {
    json!({"id": id.parse::<u64>().unwrap(), "user_id": 42, "created_at": 1_795_330_862, "type": 2,
        "model_name": "llama-3-70b", "quota": 1_125, "prompt_tokens": 150, "completion_tokens": 75, "use_time": 2,
        "is_stream": true, "channel": 7, "other": "{\"request_path\":\"/v1/chat/completions\"}"})
}

fn sub2api(id: &str) -> Value {
    json!({"id": id.parse::<u64>().unwrap(), "user_id": 42, "account_id": 3, "request_id": format!("msg-{id}"),
        "model": "llama-3-70b", "inbound_endpoint": "/v1/messages", "input_tokens": 12, "output_tokens": 30,
        "cache_creation_tokens": 0, "cache_read_tokens": 1_000, "stream": true, "duration_ms": 2_345,
        "created_at": "2026-11-22T07:01:02.123456Z"})
}

type Form = (&'static str, fn(&str) -> Value);

const FORMS: [Form; 3] = [
    ("/api/v1/events/litellm", litellm),
    ("/api/v1/events/new-api", new_api),
    ("/api/v1/events/sub2api", sub2api),
];

/// Posts an item to a service, and says who earns for it.
async fn earner(stand: &Stand, service: &ApiState, (path, item): Form, id: u64) -> Option<String> {
    let request = Request::post(path)
        .header(header::HOST, "localhost:8787")
        .header(header::AUTHORIZATION, format!("Bearer {}", stand.admin))
        .body(Body::from(item(&id.to_string()).to_string()))
        .unwrap();
    let answer = router(service.clone(), Hosts::Loopback).oneshot(request);
    let answer = answer.await.unwrap();
    assert_eq!(answer.status().as_u16(), 204, "{path}");
    let records = stand.log.all(Topic::UsageEvents);
    let events = records.iter().map(|(_, record)| {
        let event = usage::decode(&record.value, &record.headers).unwrap();
        (
            event.id.into_owned(),
            event.provider.map(|p| p.into_owned()),
        )
    });
    let wanted = id.to_string();
    let mut events = events.filter(|(id, _)| id.contains(&wanted));
    events.next().expect("the event").1
}

/// Posts until the item earns for this provider: rules are believed for a moment.
async fn until_earns(stand: &Stand, form: Form, next: &mut u64, expected: Option<&str>) {
    let start = Instant::now();
    loop {
        *next += 1;
        let found = earner(stand, &stand.service, form, *next).await;
        if found.as_deref() == expected {
            return;
        }
        assert!(start.elapsed() < WITHIN, "{}: {found:?}", form.0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn set(stand: &Stand, names: &Value) {
    let body = json!({"value": names, "reason": "a new deployment"});
    let answer = put(stand, RULE, &body).await;
    assert_eq!(answer.status.as_u16(), 200, "{:?}", answer.body);
}

async fn stand() -> Stand {
    let configured = [("7", "configured-7"), ("3", "configured-3")];
    let configured = configured.map(|(name, id)| (name.to_owned(), id.to_owned()));
    let mut http = Config::default().http;
    http.gateways = Arc::new(GatewaySettings {
        providers: configured.into_iter().collect(),
        ..GatewaySettings::default()
    });
    let stand = Stand::with(http).await;
    publish(&stand, Network::Testnet).await;
    stand
}

#[tokio::test]
async fn what_an_admin_publishes_is_taken_up_by_a_running_service_in_every_form() {
    let stand = stand().await;
    let mut next = 100_000;
    let [litellm, new_api, sub2api] = FORMS;
    // LiteLLM made the deployment's id up: the vendor. The others are configured.
    until_earns(&stand, litellm, &mut next, Some("openai")).await;
    until_earns(&stand, new_api, &mut next, Some("configured-7")).await;
    until_earns(&stand, sub2api, &mut next, Some("configured-3")).await;
    let made_up = "0d7d1b3a-1c1e-4d7b-9e55-7b0a3ae45f01";
    set(&stand, &json!({made_up: "prov-9", "7": "prov-7"})).await;
    until_earns(&stand, litellm, &mut next, Some("prov-9")).await;
    until_earns(&stand, new_api, &mut next, Some("prov-7")).await;
    // What it does not name is as configured.
    until_earns(&stand, sub2api, &mut next, Some("configured-3")).await;
    set(&stand, &json!({"gpt-4o": "prov-4", "3": "prov-3"})).await;
    until_earns(&stand, litellm, &mut next, Some("prov-4")).await;
    until_earns(&stand, sub2api, &mut next, Some("prov-3")).await;
    until_earns(&stand, new_api, &mut next, Some("configured-7")).await;
    // Every change has its entry, and versions.
    let entries = told(&stand, "pricing.publish").await;
    assert_eq!(entries.len(), 3);
    let shown = stand.get(&format!("{RULE}?history=true")).await.json();
    assert_eq!(
        shown["current"]["value"],
        json!({"3": "prov-3", "gpt-4o": "prov-4"})
    );
    assert_eq!(shown["history"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_mapping_begins_when_it_says() {
    let stand = stand().await;
    let [_, new_api, _] = FORMS;
    let body = json!({"value": {"7": "prov-7"}, "reason": "next month", "effectiveFrom": "2026-12-01T00:00:00Z"});
    let answer = put(&stand, RULE, &body).await;
    assert_eq!(answer.status.as_u16(), 200, "{:?}", answer.body);
    let mut next = 200_000;
    until_earns(&stand, new_api, &mut next, Some("configured-7")).await;
    stand.clock.set("2026-12-01T00:00:00Z".parse().unwrap());
    until_earns(&stand, new_api, &mut next, Some("prov-7")).await;
}

#[tokio::test]
async fn what_cannot_be_a_mapping_is_refused_with_every_fault() {
    let stand = stand().await;
    let body = json!({"value": {" a": "prov-1", "b": 7}, "reason": "x"});
    let answer = put(&stand, RULE, &body).await;
    assert_eq!(answer.code(), (422, "invalid_rules".to_owned()));
    assert_eq!(answer.json()["faults"].as_array().unwrap().len(), 2);
}

/// Usage is not held up for a mapping: the one that was last known counts.
#[tokio::test]
async fn events_come_in_while_the_store_does_not_answer() {
    let stand = stand().await;
    set(&stand, &json!({"7": "prov-7"})).await;
    let db = Arc::new(Hanging::new(stand.db.clone()));
    let service = service_on(&stand, db.clone());
    let [_, new_api, _] = FORMS;
    let earner_of = |id| earner(&stand, &service, new_api, id);
    assert_eq!(earner_of(300_001).await.as_deref(), Some("prov-7"));
    db.hangs.store(true, Ordering::Relaxed);
    tokio::time::sleep(tidemark::app::queries::RULES_CACHE_TTL).await;
    let start = Instant::now();
    for id in 300_002..300_010 {
        assert_eq!(earner_of(id).await.as_deref(), Some("prov-7"));
    }
    assert!(start.elapsed() < WITHIN);
    db.hangs.store(false, Ordering::Relaxed);
    db.wake();
}
