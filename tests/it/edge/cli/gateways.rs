//! From what a gateway sends to the statement: calls that are told in two requests, odd totals, services
//! that were added, failures without a provider.

use serde_json::{Value, json};
use tidemark::gateways::access_log::Outcome;
use tidemark::ops::config::AdapterConfig;

use super::{Place, Up, chat, now, request};
use crate::wire::adapt::{ENVOY, KONG, adapter, outcomes};
use crate::wire::gateways::payload;
use crate::wire::gateways_otlp::export;

const JSON: &str = "application/json";

/// Posts what must be taken.
#[track_caller]
fn post(up: &Up, path: &str, body: &Value) {
    let key = up.key();
    let (status, said) = request(up.listen, &key, "POST", path, JSON, &body.to_string());
    assert!(matches!(status, 200 | 204), "{status} {said}");
    assert!(!said.contains("refused"), "{said}");
}

fn millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What a statement says of the user's requests and of what they are worth.
fn worth(place: &Place, user: &str) -> Value {
    let statement = place.statement("user", user);
    let names = [
        "requests",
        "successful",
        "usage",
        "trial",
        "cost",
        "shadowCost",
    ];
    names.iter().map(|name| statement[*name].clone()).collect()
}

/// The reasons of all rejects.
fn rejects(place: &Place) -> Vec<String> {
    let rejects = place.tidemark(&["rejects", "list", "--json"]).lines();
    let reason = |reject: &Value| reject["reason"].as_str().expect("a reason").to_owned();
    rejects.iter().map(reason).collect()
}

/// A stream of LiteLLM's that took two seconds: as it is told of when it begins to answer, and when its
/// usage is known.
fn litellm_stream(user: &str) -> [Value; 2] {
    let start = millis() as f64 / 1_000.0;
    let call = format!("call-of-{user}");
    let common = [
        ("metadata.user_api_key_user_id", json!(user)),
        ("litellm_call_id", json!(call)),
        ("stream", json!(true)),
        ("startTime", json!(start)),
    ];
    let early = [
        ("id", json!("chatcmpl-early")),
        ("endTime", json!(start + 0.3)),
        ("prompt_tokens", json!(0)),
        ("completion_tokens", json!(0)),
        ("total_tokens", json!(0)),
        ("metadata.usage_object", Value::Null),
    ];
    let late = [
        ("id", json!("chatcmpl-late")),
        ("endTime", json!(start + 2.0)),
        ("prompt_tokens", json!(1_000)),
        ("completion_tokens", json!(500)),
        ("total_tokens", json!(1_500)),
        ("metadata.usage_object", Value::Null),
    ];
    [
        payload(&[common.as_slice(), early.as_slice()].concat()),
        payload(&[common.as_slice(), late.as_slice()].concat()),
    ]
}

#[test]
fn a_stream_that_litellm_tells_of_twice_counts_once_and_whole() {
    const LITELLM: &str = "/api/v1/events/litellm";
    let place = Place::new();
    let up = place.up(&[]);
    let [_, once] = litellm_stream("once");
    let [early, late] = litellm_stream("early-first");
    let [second, first] = litellm_stream("late-first");
    post(&up, LITELLM, &once);
    post(&up, LITELLM, &early);
    post(&up, LITELLM, &first);
    place.wait();
    let unknown = worth(&place, "early-first");
    post(&up, LITELLM, &late);
    post(&up, LITELLM, &second);
    place.wait();
    // Both again, as a sender that is unsure does.
    for again in [&early, &late, &second, &first] {
        post(&up, LITELLM, again);
    }
    place.wait();
    let whole = worth(&place, "once");
    assert_eq!(whole[0], 1);
    assert_ne!(
        unknown, whole,
        "nothing was charged before the usage was known"
    );
    assert_eq!(worth(&place, "early-first"), whole);
    assert_eq!(worth(&place, "late-first"), whole);
    assert_eq!(rejects(&place), Vec::<String>::new());
    // The whole call's latency, and one request of the provider's for each user's.
    let provider = place.statement("provider", "prov-9");
    let chats = &provider["services"]["chat_completions"];
    assert_eq!(
        (&chats["requests"], &chats["meanLatencyMs"]),
        (&json!(3), &json!(2_000)),
        "{provider}"
    );
    up.stop();
}

/// Spans of one inference: the framework's, and within it the SDK's.
fn spans(user: &str, trace: u32, response: &Value, start: i64) -> [Value; 2] {
    let nanos = |millis: i64| json!((millis * 1_000_000).to_string());
    let trace = json!(format!("{trace:032x}"));
    let span = |id: &str, parent: Value, from: i64, to: i64| {
        export(&[
            ("enduser.id", json!(user)),
            ("gen_ai.response.id", response.clone()),
            (".traceId", trace.clone()),
            (".spanId", json!(id)),
            (".parentSpanId", parent),
            (".startTimeUnixNano", nanos(from)),
            (".endTimeUnixNano", nanos(to)),
        ])
    };
    [
        span("aaaaaaaaaaaaaaaa", json!(""), start, start + 300),
        span(
            "bbbbbbbbbbbbbbbb",
            json!("aaaaaaaaaaaaaaaa"),
            start + 5,
            start + 290,
        ),
    ]
}

#[test]
fn an_inference_with_a_response_id_counts_once_however_its_spans_are_exported() {
    const OTLP: &str = "/api/v1/events/otlp";
    let place = Place::new();
    let up = place.up(&[]);
    let start = millis();
    let id = json!("chatcmpl-0123456789abcdef");
    let [mut outer, inner] = spans("together", 1, &id, start);
    let span = inner["resourceSpans"][0].clone();
    outer["resourceSpans"]
        .as_array_mut()
        .expect("a list")
        .push(span);
    post(&up, OTLP, &outer);
    let [outer, inner] = spans("apart", 2, &id, start);
    post(&up, OTLP, &inner);
    place.wait();
    post(&up, OTLP, &outer);
    place.wait();
    let whole = worth(&place, "together");
    assert_eq!(whole[0], 1);
    assert_eq!(worth(&place, "apart"), whole);
    // They began at different times, so the second is no completion. It is kept, and visible.
    assert_eq!(rejects(&place), ["conflict"]);

    // Nothing but the spans themselves identifies a call without such an id: in one export they are
    // one, in two they are two (docs/wire.md says what to do about it).
    let [mut outer, inner] = spans("nested", 3, &Value::Null, start);
    let span = inner["resourceSpans"][0].clone();
    outer["resourceSpans"]
        .as_array_mut()
        .expect("a list")
        .push(span);
    post(&up, OTLP, &outer);
    let [outer, inner] = spans("torn", 4, &Value::Null, start);
    post(&up, OTLP, &inner);
    post(&up, OTLP, &outer);
    place.wait();
    assert_eq!(worth(&place, "nested"), whole);
    assert_eq!(worth(&place, "torn")[0], 2);
    up.stop();
}

/// The event that an adapter makes of an entry, as `usage.events` gets it.
fn adapted(settings: &AdapterConfig, entry: &Value) -> Value {
    match &outcomes(settings, entry.to_string().as_bytes())[..] {
        [Outcome::Event(adapted)] => serde_json::from_slice(&adapted.record.value).expect("JSON"),
        other => panic!("{entry} became {other:?}"),
    }
}

fn kong(user: &str, is_last: bool) -> Value {
    // One time for both, whichever is made first.
    let started = millis() / 60_000 * 60_000;
    let mut entry = json!({"consumer": {"username": user}, "started_at": started,
        "request": {"id": format!("of-{user}"), "uri": "/v1/chat/completions", "size": 300},
        "response": {"status": 200, "size": 20},
        "ai": {"proxy": {"meta": {"provider_name": "prov-9", "request_model": "gpt-4o", "request_mode": "stream"}}}});
    if is_last {
        entry["latencies"] = json!({"request": 2_000});
        entry["response"]["size"] = json!(9_000);
        entry["ai"]["proxy"]["usage"] = json!({"prompt_tokens": 1_000, "completion_tokens": 500});
    }
    entry
}

fn envoy(user: &str, is_last: bool) -> Value {
    let started = jiff::Timestamp::from_millisecond(millis() / 60_000 * 60_000).expect("a time");
    let mut line = json!({"x-user-id": user, "x-request-id": format!("of-{user}"), "start_time": started.to_string(),
        "x-envoy-origin-path": "/v1/chat/completions", "gen_ai.request.model": "gpt-4o", "response_code": 200,
        "duration": null, "bytes_sent": 20});
    if is_last {
        line["duration"] = json!(2_000);
        line["bytes_sent"] = json!(9_000);
        line["gen_ai.provider.name"] = json!("prov-9");
        line["gen_ai.usage.input_tokens"] = json!(1_000);
        line["gen_ai.usage.output_tokens"] = json!(500);
    }
    line
}

/// Makes a user's early or last entry.
type EntryOf = fn(&str, bool) -> Value;

#[test]
fn early_and_last_entries_of_an_access_log_count_once_and_whole() {
    let place = Place::new();
    let up = place.up(&[]);
    let formats: [(&str, &str, EntryOf); 2] = [("kong", KONG, kong), ("envoy", ENVOY, envoy)];
    for (name, table, entry) in formats {
        let settings = adapter(table);
        let user = |what: &str| format!("{name}-{what}");
        let [once, early, late] = ["once", "early", "late"].map(user);
        // The last minute may end between two entries of a user.
        let of = |user: &str| [entry(user, false), entry(user, true)];
        let (of_early, of_late) = (of(&early), of(&late));
        let event = |entry: &Value| adapted(&settings, entry);
        place.send(&[
            event(&entry(&once, true)),
            event(&of_early[0]),
            event(&of_late[1]),
        ]);
        place.wait();
        place.send(&[event(&of_early[1]), event(&of_late[0])]);
        place.wait();
        let whole = worth(&place, &once);
        assert_eq!(whole[0], 1, "{whole}");
        assert_eq!(worth(&place, &early), whole);
        assert_eq!(worth(&place, &late), whole);
        assert_eq!(rejects(&place), Vec::<String>::new(), "{name}");
    }
    let provider = place.statement("provider", "prov-9");
    let chats = &provider["services"]["chat_completions"];
    assert_eq!(
        (&chats["requests"], &chats["meanLatencyMs"]),
        (&json!(6), &json!(2_000)),
        "{provider}"
    );
    up.stop();
}

#[test]
fn a_total_that_is_not_the_sum_of_its_parts_is_told_by_explain_and_metrics() {
    let place = Place::new();
    let up = place.up(&[]);
    let start = millis() as f64 / 1_000.0;
    let call = |id: &str, total: u32, model: &str| {
        payload(&[
            ("litellm_call_id", json!(id)),
            ("startTime", json!(start)),
            ("endTime", json!(start + 0.5)),
            ("total_tokens", json!(total)),
            ("model_id", json!(model)),
        ])
    };
    let made_up = "6cb9b97054a7581b061237873eaaf81333879847f2769ca5d6b9b59b9618a213";
    let calls = json!([
        call("even", 30, "prov-9"),
        call("odd", 31, "prov-9"),
        call("hash", 30, made_up)
    ]);
    post(&up, "/api/v1/events/litellm", &calls);
    place.wait();
    let metrics = up.metrics();
    for line in [
        "tidemark_ingest_odd_totals_total{format=\"litellm\"} 1",
        "tidemark_ingest_made_up_providers_total{format=\"litellm\"} 1",
        "tidemark_ingest_events_total{format=\"litellm\"} 3",
    ] {
        assert!(
            metrics.lines().any(|told| told == line),
            "{line}\n{metrics}"
        );
    }
    // By the record's id: the call and its start.
    let records = place.tidemark(&["log", "cat", "usage.events"]).lines();
    let id = |record: &Value| Some(record["value"]["id"].as_str()?.to_owned());
    let ids: Vec<String> = records.iter().filter_map(id).collect();
    let explained = |call: &str| {
        let id = ids.iter().find(|id| id.starts_with(call)).expect(call);
        place
            .tidemark(&[
                "explain", "anna", "--source", "litellm", "--id", id, "--json",
            ])
            .json()
    };
    const SAID: &str = "The gateway's total of tokens is not the sum of its parts.";
    for (call, is_odd) in [("even", false), ("odd", true)] {
        let found = explained(call);
        assert_eq!(found["request"]["oddTotal"], is_odd, "{found}");
        assert_eq!(found.to_string().contains(SAID), is_odd, "{found}");
    }
    // The parts were counted.
    let costs = ["even", "odd"].map(|call| explained(call)["cost"].clone());
    assert_eq!(costs[0], costs[1]);
    up.stop();
}

#[test]
fn a_service_that_was_added_is_in_statements_pages_and_metrics() {
    let place = Place::new();
    let up = place.up(&[]);
    let services = json!([{"number": 4, "name": "images", "endpoints": ["/images/generations"],
        "counts": "images", "price": "0.02", "points": "3", "targetMs": 9_000}]);
    let rule = json!({"value": services, "reason": "we offer images"}).to_string();
    let path = "/api/admin/rules/rules.services";
    let (status, said) = request(up.listen, &up.key(), "PUT", path, JSON, &rule);
    assert_eq!(status, 200, "{said}");
    let start = millis() as f64 / 1_000.0;
    let call = payload(&[
        ("call_type", json!("aimage_generation")),
        ("model", json!("dall-e-3")),
        ("startTime", json!(start)),
        ("endTime", json!(start + 4.5)),
        ("model_parameters", json!({"n": 3})),
        ("response", Value::Null),
    ]);
    post(&up, "/api/v1/events/litellm", &call);
    place.wait();
    assert_eq!(rejects(&place), Vec::<String>::new());
    let provider = place.statement("provider", "prov-9");
    assert_eq!(
        provider["services"],
        json!({"images": {"requests": 1, "successful": 1, "failed": 0, "points": "3", "meanLatencyMs": 4_500}})
    );
    let user = place.statement("user", "anna");
    let of_user = &user["services"]["images"];
    assert_eq!(
        (&of_user["requests"], &of_user["points"]),
        (&json!(1), &json!("0.3"))
    );
    assert_eq!(user["shadowCost"], "0.06");
    let metrics = up.metrics();
    let line = "tidemark_usage_events_total{service=\"images\",tier=\"none\"} 1";
    assert!(metrics.lines().any(|told| told == line), "{metrics}");
    let listed = up.get("/api/users/anna/usage").1;
    assert!(listed.contains("\"service\":\"images\""), "{listed}");
    up.stop();
}

#[test]
fn failures_without_a_provider_and_missing_counts_are_notes_of_doctor_without_up() {
    let place = Place::new();
    let up = place.up(&[]);
    let mut events: Vec<Value> = (0..8).map(|n| chat(&format!("ok-{n}"), "ann")).collect();
    let mut failure = json!({"requestId": "f", "userId": "ann", "endpoint": "/v1/chat/completions", "timestamp": now(),
        "statusCode": 503});
    events.push(failure.clone());
    // Its own provider's.
    failure["requestId"] = "g".into();
    failure["providerId"] = "prov".into();
    events.push(failure);
    let mut unknown = chat("u", "ann");
    for name in ["inputTokens", "outputTokens"] {
        unknown.as_object_mut().expect("an event").remove(name);
    }
    events.push(unknown);
    place.send(&events);
    place.wait();
    up.stop();
    let said = place.tidemark(&["doctor", "--json"]);
    let found: Value = serde_json::from_str(&said.out).expect("JSON");
    let notes = found["notes"].to_string();
    for note in [
        "1 of the newest 11 events are failures (5xx) that name no provider",
        "1 of the newest 9 successful completions have no token counts",
    ] {
        assert!(notes.contains(note), "{note}: {notes}");
    }
}
