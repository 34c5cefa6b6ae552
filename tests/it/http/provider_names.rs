//! `rules.providers` as gateways' forms are read: what an admin publishes goes before the
//! configuration, and is taken up by services that run. The event's own time decides which version
//! counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tidemark::app::CommandError;
use tidemark::app::commands::Commands;
use tidemark::app::commands::rules::{Mode, RulesUpdate};
use tidemark::app::queries::Queries;
use tidemark::domain::rules::Network;
use tidemark::domain::time::Millis;
use tidemark::http::{ApiState, Hosts, router};
use tidemark::log::{Record, Topic, usage};
use tidemark::ops::config::{Config, GatewaySettings};
use tower::ServiceExt as _;

use super::admin::{publish, put, told};
use super::rated::event;
use super::slow_db::{Hanging, service_on};
use super::stand::{Answer, NOON, Stand};

const RULE: &str = "/api/admin/rules/rules.providers";
/// Longer than a service believes rules.
const WITHIN: Duration = Duration::from_secs(30);
/// When requests are made that are mapped by what is published at noon: at the earliest five
/// seconds later. And when those are that are not, in whole seconds, as some gateways count.
const AFTER: Millis = Millis(NOON.0 + 5_000);
const BEFORE: Millis = Millis(NOON.0 + 4_000);
const MADE_UP: &str = "0d7d1b3a-1c1e-4d7b-9e55-7b0a3ae45f01";

fn litellm(id: u64, made: Millis) -> Value {
    let start = made.0 / 1_000;
    json!({"id": id.to_string(), "litellm_call_id": id.to_string(), "call_type": "acompletion", "status": "success",
        "model": "llama-3-70b", "custom_llm_provider": "openai", "model_group": "gpt-4o", "model_id": MADE_UP,
        "prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225, "startTime": start, "endTime": start + 1,
        "stream": false, "metadata": {"user_api_key_user_id": "alice"}})
}

fn new_api(id: u64, made: Millis) -> Value {
    json!({"id": id, "user_id": 42, "created_at": made.0 / 1_000, "type": 2,
        "model_name": "llama-3-70b", "quota": 1_125, "prompt_tokens": 150, "completion_tokens": 75, "use_time": 2,
        "is_stream": true, "channel": 7, "other": "{\"request_path\":\"/v1/chat/completions\"}"})
}

fn sub2api(id: u64, made: Millis) -> Value {
    json!({"id": id, "user_id": 42, "account_id": 3, "request_id": format!("msg-{id}"),
        "model": "llama-3-70b", "inbound_endpoint": "/v1/messages", "input_tokens": 12, "output_tokens": 30,
        "cache_creation_tokens": 0, "cache_read_tokens": 1_000, "stream": true, "duration_ms": 2_345,
        "created_at": made.to_string()})
}

/// A trace of one span. Its id is that of the item, in as many digits as it must have.
fn trace(id: u64, made: Millis, attributes: &[(&str, &str)]) -> Value {
    let common = [
        ("gen_ai.request.model", "llama-3-70b"),
        ("gen_ai.provider.name", "openai"),
    ];
    let attributes = common.iter().chain(attributes);
    let attributes: Vec<Value> = attributes
        .map(|(name, text)| json!({"key": name, "value": {"stringValue": text}}))
        .collect();
    let nanos = |at: Millis| format!("{}000000", at.0);
    json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": format!("{id:032}"), "spanId": "eee19b7ec3c1b174",
        "kind": 3, "startTimeUnixNano": nanos(made), "endTimeUnixNano": nanos(made.plus(250)), "attributes": attributes}]}]}]})
}

fn span(id: u64, made: Millis) -> Value {
    let named = [("gen_ai.operation.name", "chat"), ("enduser.id", "alice")];
    trace(id, made, &named)
}

fn litellm_span(id: u64, made: Millis) -> Value {
    let hidden = json!({"model_id": MADE_UP}).to_string();
    let call = id.to_string();
    let named = [
        ("gen_ai.operation.name", "acompletion"),
        ("litellm.call_id", &call),
        ("litellm.model_group", "gpt-4o"),
        ("hidden_params", &hidden),
        ("metadata.user_api_key_user_id", "alice"),
    ];
    trace(id, made, &named)
}

/// A form of a gateway's: where it is posted, what is answered, and an item of it.
#[derive(Clone, Copy)]
struct Form {
    path: &'static str,
    status: u16,
    item: fn(u64, Millis) -> Value,
}

const OTLP: &str = "/api/v1/events/otlp";

const FORMS: [Form; 5] = [
    Form {
        path: "/api/v1/events/litellm",
        status: 204,
        item: litellm,
    },
    Form {
        path: "/api/v1/events/new-api",
        status: 204,
        item: new_api,
    },
    Form {
        path: "/api/v1/events/sub2api",
        status: 204,
        item: sub2api,
    },
    Form {
        path: OTLP,
        status: 200,
        item: span,
    },
    Form {
        path: OTLP,
        status: 200,
        item: litellm_span,
    },
];

async fn send(stand: &Stand, service: &ApiState, path: &str, body: &Value) -> Answer {
    let request = Request::post(path)
        .header(header::HOST, "localhost:8787")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {}", stand.admin))
        .body(Body::from(body.to_string()))
        .unwrap();
    let answer = router(service.clone(), Hosts::Loopback).oneshot(request);
    let (parts, body) = answer.await.unwrap().into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: axum::body::to_bytes(body, usize::MAX).await.unwrap(),
    }
}

/// The records of an item in the log, in order.
fn records(stand: &Stand, id: u64) -> Vec<Record> {
    let beginning = format!("{id}/");
    let records = stand.log.all(Topic::UsageEvents).into_iter();
    let of_item = |record: &Record| {
        let event = usage::decode(&record.value, &record.headers).unwrap();
        // The id of a trace has zeros in front.
        event.id.trim_start_matches('0').starts_with(&beginning)
    };
    records.map(|(_, record)| record).filter(of_item).collect()
}

fn provider_of(record: &Record) -> Option<String> {
    let event = usage::decode(&record.value, &record.headers).unwrap();
    event.provider.map(|provider| provider.into_owned())
}

/// Posts an item to a service, which takes it.
async fn post(stand: &Stand, service: &ApiState, form: Form, id: u64, made: Millis) {
    let Form { path, status, item } = form;
    let answer = send(stand, service, path, &item(id, made)).await;
    assert_eq!(answer.status.as_u16(), status, "{path}: {:?}", answer.body);
}

/// Posts an item to a service, and says who earns for it.
async fn earner(
    stand: &Stand,
    service: &ApiState,
    form: Form,
    id: u64,
    made: Millis,
) -> Option<String> {
    post(stand, service, form, id, made).await;
    let records = records(stand, id);
    provider_of(records.last().expect("the event"))
}

/// Posts until the item earns for this provider: rules are believed for a moment.
async fn until_earns(stand: &Stand, form: Form, made: Millis, next: &mut u64, expected: &str) {
    let start = Instant::now();
    loop {
        *next += 1;
        let found = earner(stand, &stand.service, form, *next, made).await;
        if found.as_deref() == Some(expected) {
            return;
        }
        assert!(start.elapsed() < WITHIN, "{}: {found:?}", form.path);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn set(stand: &Stand, names: &Value) -> Answer {
    let body = json!({"value": names, "reason": "a new deployment"});
    let answer = put(stand, RULE, &body).await;
    assert_eq!(answer.status.as_u16(), 200, "{:?}", answer.body);
    answer
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
    let [litellm, new_api, sub2api, span, litellm_span] = FORMS;
    // LiteLLM made the deployment's id up: the vendor. The others are configured.
    until_earns(&stand, litellm, AFTER, &mut next, "openai").await;
    until_earns(&stand, span, AFTER, &mut next, "openai").await;
    until_earns(&stand, litellm_span, AFTER, &mut next, "openai").await;
    until_earns(&stand, new_api, AFTER, &mut next, "configured-7").await;
    until_earns(&stand, sub2api, AFTER, &mut next, "configured-3").await;
    let answer = set(&stand, &json!({MADE_UP: "prov-9", "7": "prov-7"})).await;
    assert_eq!(answer.json()["effectiveFrom"], AFTER.to_string());
    until_earns(&stand, litellm, AFTER, &mut next, "prov-9").await;
    until_earns(&stand, litellm_span, AFTER, &mut next, "prov-9").await;
    until_earns(&stand, new_api, AFTER, &mut next, "prov-7").await;
    until_earns(&stand, span, AFTER, &mut next, "openai").await;
    // What it does not name is as configured.
    until_earns(&stand, sub2api, AFTER, &mut next, "configured-3").await;
    stand.clock.set(AFTER);
    set(
        &stand,
        &json!({"gpt-4o": "prov-4", "3": "prov-3", "openai": "prov-2"}),
    )
    .await;
    let later = AFTER.plus(5_000);
    until_earns(&stand, litellm, later, &mut next, "prov-4").await;
    until_earns(&stand, litellm_span, later, &mut next, "prov-4").await;
    until_earns(&stand, span, later, &mut next, "prov-2").await;
    until_earns(&stand, sub2api, later, &mut next, "prov-3").await;
    until_earns(&stand, new_api, later, &mut next, "configured-7").await;
    // Each version maps the requests of its own time, whenever they come in.
    for (form, made, expected) in [
        (litellm, BEFORE, "openai"),
        (litellm, AFTER, "prov-9"),
        (new_api, BEFORE, "configured-7"),
        (new_api, later.plus(-1_000), "prov-7"),
        (sub2api, later.plus(-1), "configured-3"),
        (span, later.plus(-1), "openai"),
        (litellm_span, BEFORE, "openai"),
        (litellm_span, later.plus(-1), "prov-9"),
    ] {
        next += 1;
        let found = earner(&stand, &stand.service, form, next, made).await;
        assert_eq!(found.as_deref(), Some(expected), "{} {made}", form.path);
    }
    // Every change has its entry, and versions.
    let entries = told(&stand, "pricing.publish").await;
    assert_eq!(entries.len(), 3);
    stand.clock.set(later);
    let shown = stand.get(&format!("{RULE}?history=true")).await.json();
    assert_eq!(
        shown["current"]["value"],
        json!({"3": "prov-3", "gpt-4o": "prov-4", "openai": "prov-2"})
    );
    assert_eq!(shown["history"].as_array().unwrap().len(), 2);
}

/// A row that is posted again, or a callback that is retried, after names were changed.
#[tokio::test]
async fn what_is_sent_again_after_a_change_is_the_same_event() {
    let stand = stand().await;
    let mut next = 400_000;
    for (id, form) in (500_001..).zip(FORMS) {
        post(&stand, &stand.service, form, id, BEFORE).await;
    }
    set(
        &stand,
        &json!({MADE_UP: "prov-9", "7": "prov-7", "3": "prov-3", "openai": "prov-2"}),
    )
    .await;
    let expected = ["prov-9", "prov-7", "prov-3", "prov-2", "prov-9"];
    for (form, expected) in FORMS.into_iter().zip(expected) {
        until_earns(&stand, form, AFTER, &mut next, expected).await;
    }
    for (id, form) in (500_001..).zip(FORMS) {
        let path = form.path;
        post(&stand, &stand.service, form, id, BEFORE).await;
        let records = records(&stand, id);
        assert_eq!(records.len(), 2, "{path}");
        // Identical ones are duplicates, which rating drops; others would be a conflict.
        assert_eq!(records[0].value, records[1].value, "{path}");
    }
}

#[tokio::test]
async fn a_mapping_begins_when_it_says() {
    let stand = stand().await;
    let new_api = FORMS[1];
    let past = NOON.plus(-1).to_string();
    let body = json!({"value": {"7": "prov-8"}, "reason": "before", "effectiveFrom": past});
    let answer = put(&stand, RULE, &body).await;
    let expected = (422, "effective_from_in_the_past".to_owned());
    assert_eq!(answer.code(), expected);
    let body = json!({"value": {"7": "prov-7"}, "reason": "next month", "effectiveFrom": "2026-12-01T00:00:00Z"});
    let answer = put(&stand, RULE, &body).await;
    assert_eq!(answer.status.as_u16(), 200, "{:?}", answer.body);
    let begins: Millis = "2026-12-01T00:00:00Z".parse().unwrap();
    assert_eq!(answer.json()["effectiveFrom"], begins.to_string());
    let mut next = 200_000;
    until_earns(&stand, new_api, begins, &mut next, "prov-7").await;
    let before = begins.plus(-1_000);
    until_earns(&stand, new_api, before, &mut next, "configured-7").await;
}

#[tokio::test]
async fn what_cannot_be_a_mapping_is_refused_with_every_fault() {
    let stand = stand().await;
    let body = json!({"value": {" a": "prov-1", "b": 7}, "reason": "x"});
    let answer = put(&stand, RULE, &body).await;
    assert_eq!(answer.code(), (422, "invalid_rules".to_owned()));
    assert_eq!(answer.json()["faults"].as_array().unwrap().len(), 2);
}

/// While the command line asks for confirmation, another admin publishes.
#[tokio::test]
async fn a_change_that_was_made_meanwhile_is_not_overwritten() {
    let stand = stand().await;
    let db = Arc::new(stand.db.clone());
    let queries = Queries::new(db, stand.log.clone(), stand.service.partitions);
    let commands = Commands::new(Arc::new(queries), stand.clock.clone());
    let update = || RulesUpdate {
        values: vec![(
            "rules.providers".to_owned(),
            json!({"7": "prov-7"}).to_string(),
        )],
        effective_from: None,
        reason: "a test".to_owned(),
        note: None,
        by: "a test".to_owned(),
        mode: Mode::Write,
    };
    let shown = commands.confirmation_of("rules.providers").await.unwrap();
    set(&stand, &json!({"7": "prov-8"})).await;
    let refused = commands.publish_confirmed(update(), &shown).await;
    let Err(CommandError::Refused(refusal)) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refusal.code, "changed_meanwhile");
    let detail = "rules.providers was changed meanwhile, and nothing was published";
    assert!(refusal.detail.starts_with(detail), "{}", refusal.detail);
    let shown = commands.confirmation_of("rules.providers").await.unwrap();
    let published = commands.publish_confirmed(update(), &shown).await.unwrap();
    assert_eq!(published.effective_from, AFTER);
    assert_eq!(published.changes.len(), 1);
}

/// Usage is not held up for a mapping: the one that was last known counts.
#[tokio::test]
async fn events_come_in_while_the_store_does_not_answer() {
    let stand = stand().await;
    set(&stand, &json!({"7": "prov-7"})).await;
    let db = Arc::new(Hanging::new(stand.db.clone()));
    let service = service_on(&stand, db.clone());
    let new_api = FORMS[1];
    let sent = async {
        let earner_of = |id| earner(&stand, &service, new_api, id, AFTER);
        assert_eq!(earner_of(300_001).await.as_deref(), Some("prov-7"));
        db.hangs.store(true, Ordering::Relaxed);
        tokio::time::sleep(tidemark::app::queries::RULES_CACHE_TTL).await;
        for id in 300_002..300_010 {
            assert_eq!(earner_of(id).await.as_deref(), Some("prov-7"));
        }
    };
    let within = tokio::time::timeout(WITHIN, sent).await;
    within.expect("events are taken while the store hangs");
    db.hangs.store(false, Ordering::Relaxed);
    db.wake();
}

/// A process that does not know whether there are names must not read usage without them.
#[tokio::test]
async fn a_process_that_has_never_read_the_rules_refuses_until_it_has() {
    let stand = stand().await;
    set(&stand, &json!({"7": "prov-7"})).await;
    let db = Arc::new(Hanging::new(stand.db.clone()));
    let service = service_on(&stand, db.clone());
    let Form { path, item, .. } = FORMS[1];
    // It knows the key, and nothing of the rules.
    let own = event("own", json!({}));
    let answer = send(&stand, &service, "/api/v1/events", &own).await;
    assert_eq!(answer.status.as_u16(), 204, "{:?}", answer.body);
    db.hangs.store(true, Ordering::Relaxed);
    let body = item(600_001, AFTER);
    let many = (0..5).map(|_| send(&stand, &service, path, &body));
    let refused = tokio::time::timeout(WITHIN, futures::future::join_all(many)).await;
    for answer in refused.expect("an answer while the store hangs") {
        assert_eq!(answer.code(), (503, "store_unavailable".to_owned()));
        assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    }
    assert!(records(&stand, 600_001).is_empty());
    // One look for all, and perhaps one at the key.
    assert!(db.hanging() <= 2, "{}", db.hanging());
    db.hangs.store(false, Ordering::Relaxed);
    db.wake();
    // The sender sends it again.
    let start = Instant::now();
    loop {
        let answer = send(&stand, &service, path, &body).await;
        if answer.status.as_u16() == 204 {
            break;
        }
        assert_eq!(answer.status.as_u16(), 503, "{:?}", answer.body);
        assert!(start.elapsed() < WITHIN, "{:?}", answer.body);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let taken = records(&stand, 600_001);
    let providers: Vec<Option<String>> = taken.iter().map(provider_of).collect();
    assert_eq!(providers, [Some("prov-7".to_owned())]);
}
