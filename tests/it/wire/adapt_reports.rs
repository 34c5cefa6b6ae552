//! Adapters: answers from a gateway's cache, and early lines about requests that go on.

use serde_json::{Value, json};
use tidemark::gateways::access_log::Outcome;
use tidemark::ops::config::AdapterConfig;

use super::adapt::{APISIX, ENVOY, KONG, adapter, outcomes, shown};

/// An answered chat with tokens.
fn chat(format: &str) -> (AdapterConfig, Value) {
    match format {
        "apisix" => (
            adapter(APISIX),
            json!({"consumer": {"username": "u"}, "service_id": "prov-9", "start_time": 1_795_330_862_123_u64, "latency": 9,
                "request": {"uri": "/v1/chat/completions"}, "response": {"status": 200, "headers": {}},
                "llm_summary": {"model": "gpt-4o", "prompt_tokens": "150", "completion_tokens": "75"}}),
        ),
        _ => (
            adapter(KONG),
            json!({"consumer": {"username": "u"}, "started_at": 1_795_330_862_123_u64, "latencies": {"request": 9},
                "request": {"id": "r", "uri": "/v1/chat/completions"}, "response": {"status": 200},
                "ai": {"proxy": {"meta": {"provider_name": "openai", "response_model": "gpt-4o"},
                    "usage": {"prompt_tokens": 150, "completion_tokens": 75}}}}),
        ),
    }
}

/// The entry with a value at a pointer, and objects on the way where there are none.
fn with(mut entry: Value, pointer: &str, value: Value) -> Value {
    let mut at = &mut entry;
    for name in pointer.split('/').skip(1) {
        at = &mut at[name];
    }
    *at = value;
    entry
}

/// Provider, tokens in and out, and whether the usage is unknown.
fn counted(settings: &AdapterConfig, entry: &Value) -> Value {
    let is = shown(&outcomes(settings, entry.to_string().as_bytes()));
    let data = &is[0]["event"]["data"];
    assert!(data.is_object(), "{is}");
    json!([
        data["providerId"],
        data["inputTokens"],
        data["outputTokens"],
        is[0]["isUsageUnknown"]
    ])
}

#[test]
fn what_the_gateways_cache_answered_nobody_served_and_it_took_nothing() {
    const KONG_3_9: &str = "/ai/proxy/cache/cache_status";
    const KONG_CACHE: &str = "/ai/ai-semantic-cache/cache/cache_status";
    const APISIX_LOWER: &str = "/response/headers/x-ai-cache-status";
    const APISIX_CACHE: &str = "/response/headers/X-AI-Cache-Status";
    for (format, pointer, status, is_hit) in [
        ("kong", KONG_3_9, json!("Hit"), true),
        ("kong", KONG_3_9, json!("hit"), true),
        ("kong", KONG_3_9, json!("Miss"), false),
        ("kong", KONG_3_9, json!("Bypass"), false),
        ("kong", KONG_3_9, json!(""), false),
        ("kong", KONG_3_9, json!(7), false),
        ("kong", KONG_3_9, Value::Null, false),
        ("kong", KONG_CACHE, json!("Hit"), true),
        ("kong", KONG_CACHE, json!("Refresh"), false),
        ("apisix", APISIX_CACHE, json!("HIT-L1"), true),
        ("apisix", APISIX_CACHE, json!("HIT-L2"), true),
        ("apisix", APISIX_LOWER, json!("HIT-L2"), true),
        ("apisix", APISIX_CACHE, json!("HIT"), true),
        ("apisix", APISIX_CACHE, json!("MISS"), false),
        ("apisix", APISIX_CACHE, json!("BYPASS"), false),
    ] {
        let (settings, entry) = chat(format);
        let provider = if format == "kong" { "openai" } else { "prov-9" };
        let expected = match is_hit {
            true => json!([null, 0, 0, false]),
            false => json!([provider, 150, 75, false]),
        };
        let entry = with(entry, pointer, status.clone());
        assert_eq!(
            counted(&settings, &entry),
            expected,
            "{format} {pointer} {status}"
        );
    }
}

#[test]
fn a_failure_beside_a_cache_stays_a_failure_of_its_provider() {
    let (settings, entry) = chat("kong");
    let entry = with(entry, "/ai/proxy/cache/cache_status", json!("Miss"));
    let entry = with(entry, "/response/status", json!(503));
    assert_eq!(counted(&settings, &entry)[0], "openai");
}

/// Lines of Envoy about one request: periodic ones while it goes on, and the last one.
fn envoy(fields: &[(&str, Value)]) -> Value {
    let mut line = json!({"x-user-id": "u", "x-request-id": "r", "start_time": "2026-11-22T07:01:02.123Z",
        "x-envoy-origin-path": "/v1/chat/completions", "gen_ai.request.model": "gpt-4o",
        "response_code": 0, "duration": null});
    for (name, value) in fields {
        line[*name] = value.clone();
    }
    line
}

fn last_line() -> Value {
    envoy(&[
        ("response_code", json!(200)),
        ("duration", json!(2_001)),
        ("bytes_sent", json!(9_000)),
        ("gen_ai.provider.name", json!("prov-9")),
        ("gen_ai.usage.input_tokens", json!(150)),
        ("gen_ai.usage.output_tokens", json!(75)),
    ])
}

fn names(outcomes: &[Outcome]) -> Vec<&'static str> {
    let name = |outcome: &Outcome| match outcome {
        Outcome::Event(_) => "event",
        Outcome::Skipped(skip) => skip.as_str(),
        Outcome::Refused(refusal) => refusal.reason.as_str(),
    };
    outcomes.iter().map(name).collect()
}

#[test]
fn a_line_about_a_request_that_goes_on_is_skipped() {
    let settings = adapter(ENVOY);
    for (fields, becomes) in [
        (vec![], "unfinished"),
        (vec![("response_code", json!("0"))], "unfinished"),
        (
            vec![("response_code", json!("-")), ("duration", json!("-"))],
            "unfinished",
        ),
        (vec![("response_code", Value::Null)], "unfinished"),
        // The client went away before there was an answer: time has passed.
        (vec![("duration", json!(17))], "event"),
        (vec![("duration", json!(0))], "event"),
        (vec![("response_code", json!(200))], "event"),
    ] {
        let found = outcomes(&settings, envoy(&fields).to_string().as_bytes());
        assert_eq!(names(&found), [becomes], "{fields:?}");
    }
    // Kong and APISIX write one entry, when a request has ended.
    let (kong, entry) = chat("kong");
    let entry = with(entry, "/response/status", json!(0));
    let entry = with(entry, "/latencies", json!({}));
    let found = outcomes(&kong, entry.to_string().as_bytes());
    assert_eq!(names(&found), ["out_of_range"]);
}

#[test]
fn early_and_last_line_of_a_request_are_one_event() {
    let settings = adapter(ENVOY);
    // Before the answer, while it is streamed, at the end.
    let begun = envoy(&[]);
    let streaming = envoy(&[("response_code", json!(200)), ("bytes_sent", json!(4_000))]);
    let lines = |lines: &[&Value]| {
        let texts: Vec<String> = lines.iter().map(|line| line.to_string()).collect();
        outcomes(&settings, texts.join("\n").as_bytes())
    };
    let last = last_line();
    for order in [
        [&begun, &streaming, &last],
        [&last, &streaming, &begun],
        [&streaming, &last, &begun],
    ] {
        let found = lines(&order);
        let mut becomes = names(&found);
        becomes.sort_unstable();
        assert_eq!(becomes, ["event", "same_call", "unfinished"]);
        let event = shown(&found);
        let event = event
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["event"].is_object());
        let data = &event.expect("an event")["event"]["data"];
        assert_eq!(
            (
                &data["inputTokens"],
                &data["latencyMs"],
                &data["responseBytes"]
            ),
            (&json!(150), &json!(2_001), &json!(9_000)),
        );
    }
}

#[test]
fn an_early_line_says_nothing_that_the_last_one_could_contradict() {
    let settings = adapter(ENVOY);
    let streaming = envoy(&[
        ("response_code", json!(200)),
        ("bytes_sent", json!(4_000)),
        ("gen_ai.usage.input_tokens", json!(0)),
    ]);
    let (early, late) = (
        shown(&outcomes(&settings, streaming.to_string().as_bytes())),
        shown(&outcomes(&settings, last_line().to_string().as_bytes())),
    );
    let (early, late) = (&early[0]["event"], &late[0]["event"]);
    for name in ["id", "source", "subject", "time"] {
        assert_eq!(early[name], late[name], "{name}");
    }
    for (name, said) in early["data"].as_object().expect("fields") {
        assert_eq!(said, &late["data"][name], "{name}");
    }
    assert_eq!(early["data"].get("responseBytes"), None);
}
