//! Payloads modelled on public bug reports about gateways, posted to the routes: who is charged for what.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tidemark::log::{Topic, usage};

use crate::http::stand::Stand;

const LITELLM: &str = "/api/v1/events/litellm";
const OTLP: &str = "/api/v1/events/otlp";
const OPENMETER: &str = "/litellm/openmeter/api/v1/events";
const CLOUD_EVENT: &str = "application/cloudevents+json";

fn fixture(name: &str) -> String {
    let dir = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/it/wire/fixtures/reports"
    );
    std::fs::read_to_string(format!("{dir}/{name}")).expect("a fixture")
}

/// A service whose LiteLLM users are named by one of `litellm_user`.
async fn stand(litellm_user: &[&str]) -> Stand {
    let mut config = tidemark::ops::config::Config::default().http;
    if !litellm_user.is_empty() {
        let gateways = std::sync::Arc::make_mut(&mut config.gateways);
        gateways.litellm_user = litellm_user.iter().map(|&place| place.into()).collect();
    }
    Stand::with(config).await
}

/// Posts fixtures in order; the codes of what was refused.
async fn post(stand: &Stand, path: &str, content_type: &str, files: &[&str]) -> Vec<Value> {
    let mut refused = Vec::new();
    for file in files {
        let request = Request::post(path)
            .header(header::HOST, "localhost:8787")
            .header(header::AUTHORIZATION, format!("Bearer {}", stand.admin))
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(fixture(file)))
            .unwrap();
        let answer = stand.send(request).await;
        assert!(answer.status.is_success(), "{file}: {answer:?}");
        if answer.body.is_empty() {
            continue;
        }
        let body = answer.json();
        let codes = body["refused"].as_array().into_iter().flatten();
        refused.extend(codes.map(|item| item["code"].clone()));
        let spans = &body["partialSuccess"]["rejectedSpans"];
        refused.extend(spans.as_str().map(|count| json!(count)));
    }
    refused
}

/// User, provider, status, and the tokens of each event: input, cached, written to a cache, output.
fn charged(stand: &Stand) -> Vec<Value> {
    let records = stand.log.all(Topic::UsageEvents).into_iter();
    let mut events: Vec<Value> = records
        .map(|(_, record)| {
            let event = usage::decode(&record.value, &record.headers).expect("an event");
            json!([
                event.user,
                event.provider,
                event.status,
                event.input_tokens,
                event.cached_input_tokens,
                event.cache_write_tokens,
                event.output_tokens
            ])
        })
        .collect();
    events.sort_by_key(Value::to_string);
    events
}

/// Posts fixtures to a service of their own, and compares.
async fn check(
    litellm_user: &[&str],
    path: &str,
    files: &[&str],
    expected: &[Value],
    refused: &[&str],
) {
    let stand = stand(litellm_user).await;
    let content_type = match path {
        OPENMETER => CLOUD_EVENT,
        _ => "application/json",
    };
    let codes = post(&stand, path, content_type, files).await;
    assert_eq!(charged(&stand), expected, "{files:?}");
    assert_eq!(codes, refused, "{files:?}");
    // A gateway that is unsure whether it was heard sends again.
    post(&stand, path, content_type, files).await;
    let ids = |stand: &Stand| {
        let records = stand.log.all(Topic::UsageEvents).into_iter();
        let mut ids: Vec<_> = records
            .map(|(_, record)| {
                let event = usage::decode(&record.value, &record.headers).expect("an event");
                (
                    event.user.to_string(),
                    event.source.to_string(),
                    event.id.to_string(),
                )
            })
            .collect();
        ids.sort();
        ids.dedup();
        ids.len()
    };
    if path != OPENMETER {
        assert_eq!(ids(&stand), expected.len(), "{files:?}");
    }
}

/// The customer first, whom the gateway's own client names.
const BY_CUSTOMER: [&str; 2] = ["end_user", "metadata.user_api_key_user_id"];

#[tokio::test]
async fn a_number_that_is_not_json_costs_nothing_that_can_be_read() {
    let one = json!(["key-owner-1", "prov-9", 200, 150, null, null, 75]);
    for file in [
        "litellm_infinity.json",
        "litellm_nan_cost.json",
        "litellm_nan_lines.ndjson",
    ] {
        check(
            &[],
            LITELLM,
            &[file],
            &[one.clone(), one.clone(), one.clone()],
            &[],
        )
        .await;
    }
}

#[tokio::test]
async fn a_session_of_claude_code_is_not_an_account() {
    let ann = json!(["dev-ann", "prov-9", 200, 150, null, null, 75]);
    let five = vec![ann; 5];
    let files = ["litellm_claude_code.json"];
    check(&[], LITELLM, &files, &five, &[]).await;
    let stand = stand(&BY_CUSTOMER).await;
    post(&stand, LITELLM, "application/json", &files).await;
    // One account per person, whatever it is called.
    let users: Vec<Value> = charged(&stand)
        .iter()
        .map(|event| event[0].clone())
        .collect();
    assert_eq!(users.len(), 5);
    assert!(
        !users
            .iter()
            .any(|user| user.to_string().contains("session")),
        "{users:?}"
    );
}

#[tokio::test]
async fn a_background_response_is_charged_once_its_usage_is_known() {
    let of = |user: &str| json!([user, "prov-9", 200, 1200, null, null, 800]);
    let polled = [
        "litellm_background_response.json",
        "litellm_poll_of_client.json",
    ];
    check(&BY_CUSTOMER, LITELLM, &polled, &[of("bg-user")], &[]).await;
    check(&[], LITELLM, &polled, &[of("key-owner-1")], &[]).await;
    check(&[], LITELLM, &polled[1..], &[], &[]).await;
}

#[tokio::test]
async fn failures_without_a_provider_are_visible() {
    let stand = stand(&[]).await;
    let files = ["litellm_failures_without_provider.json"];
    post(&stand, LITELLM, "application/json", &files).await;
    let failed = charged(&stand)
        .iter()
        .filter(|event| event[2] == 503)
        .count();
    assert_eq!((charged(&stand).len(), failed), (25, 5));
    let metrics = stand.metrics.render();
    let line = "tidemark_ingest_unattributed_failures_total{format=\"litellm\"} 5";
    assert!(metrics.lines().any(|l| l == line), "{metrics}");
}

#[tokio::test]
async fn where_cached_tokens_are_counted_never_follows_from_their_numbers() {
    let event = |user: &str, input: u64, cached: Value, written: Value| {
        json!([user, "prov-9", 200, input, cached, written, 75])
    };
    let beside = [
        event("cache-a", 1999, json!(999), Value::Null),
        event("cache-b", 2001, json!(1001), Value::Null),
        event("cache-c", 4514, Value::Null, json!(4511)),
        event("cache-d", 4514, Value::Null, json!(4511)),
    ];
    check(&[], OTLP, &["otlp_cache_beside_input.json"], &beside, &[]).await;
    let rows = [
        (
            OTLP,
            "otlp_all_input_cached.json",
            event("zero-in", 5000, json!(5000), Value::Null),
        ),
        (
            OTLP,
            "otlp_one_input_beside_cached.json",
            event("zero-in-3", 5001, json!(5000), Value::Null),
        ),
        (
            LITELLM,
            "litellm_all_input_cached.json",
            event("key-owner-1", 5000, json!(5000), Value::Null),
        ),
    ];
    for (path, file, expected) in rows {
        check(&[], path, &[file], &[expected], &[]).await;
    }
}

#[tokio::test]
async fn spans_count_once_and_what_contradicts_itself_is_kept() {
    let event = |user: &str| json!([user, "prov-9", 200, 150, null, null, 75]);
    let rows: [(&str, &[Value], &[&str]); 5] = [
        ("otlp_nested_inference.json", &[event("nest-1")], &[]),
        ("otlp_operation_twice.json", &[event("dup-attr")], &[]),
        ("otlp_tokens_twice.json", &[event("dup-attr-2")], &[]),
        ("otlp_operation_not_text.json", &[], &["1"]),
        ("otlp_response_model_none.json", &[event("none-user")], &[]),
    ];
    for (file, expected, refused) in rows {
        check(&[], OTLP, &[file], expected, refused).await;
    }
    // No model of this name answered: it is the one that was asked for.
    let stand = stand(&[]).await;
    post(
        &stand,
        OTLP,
        "application/json",
        &["otlp_response_model_none.json"],
    )
    .await;
    let models: Vec<Option<String>> = stand
        .log
        .all(Topic::UsageEvents)
        .into_iter()
        .map(|(_, record)| {
            let event = usage::decode(&record.value, &record.headers).expect("an event");
            event.model.map(|model| model.into_owned())
        })
        .collect();
    assert_eq!(models, [Some("gpt-4o".to_owned())]);
}

#[tokio::test]
async fn a_span_whose_counts_contradict_each_other_is_kept() {
    let other = fixture("otlp_tokens_twice.json");
    let (first, last) = other.rsplit_once("\"150\"").expect("the second count");
    let contradicting = format!("{first}\"151\"{last}");
    let stand = stand(&[]).await;
    let request = Request::post(OTLP)
        .header(header::HOST, "localhost:8787")
        .header(header::AUTHORIZATION, format!("Bearer {}", stand.admin))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(contradicting))
        .unwrap();
    let answer = stand.send(request).await.json();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1", "{answer}");
    assert_eq!(charged(&stand), [Value::Null; 0]);
}

#[tokio::test]
async fn a_reranker_is_no_service_whatever_its_name_looks_like() {
    let stand = stand(&[]).await;
    let files = [
        "openmeter_bge_reranker.json",
        "openmeter_gte_reranker.json",
        "openmeter_cohere_rerank.json",
    ];
    assert_eq!(
        post(&stand, OPENMETER, CLOUD_EVENT, &files).await,
        [Value::Null; 0]
    );
    let records = stand.log.all(Topic::UsageEvents);
    assert_eq!(records.len(), 3);
    for (_, record) in records {
        let event = usage::decode(&record.value, &record.headers).expect("an event");
        assert_eq!(
            tidemark::domain::rating::service_of(&event.endpoint),
            None,
            "{}",
            event.endpoint
        );
    }
}
