//! What gateways post in forms of their own. The fixtures of LiteLLM are what LiteLLM 1.106.2 really sent (see `process::litellm`), with prompts and keys
//! that must not come out; beside each stands what it becomes.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tidemark::domain::time::Millis;
use tidemark::log::gateways::{Format, Outcome, UserFrom, read};
use tidemark::log::usage;

/// When everything is received.
pub const RECEIVED: Millis = Millis(1_795_395_200_000);

pub const LITELLM: &str = include_str!("fixtures/litellm/batch.json");
pub const OPENMETER: &str = include_str!("fixtures/litellm/openmeter.json");
pub const LAGO: &str = include_str!("fixtures/litellm/lago.json");
pub const OTLP: &str = include_str!("fixtures/otlp/traces.json");

pub fn outcomes(format: Format, body: &[u8]) -> Vec<Outcome> {
    read(format, body, RECEIVED, &UserFrom::default()).expect("a body of that form")
}

/// Outcomes as the golden files show them.
fn shown(outcomes: &[Outcome]) -> Value {
    let one = |outcome: &Outcome| match outcome {
        Outcome::Event(adapted) => {
            let value = &adapted.record.value;
            let event = usage::decode(value, &adapted.record.headers).expect("a usage event");
            assert_eq!(adapted.record.key.as_deref(), Some(event.user.as_bytes()));
            assert_eq!(usage::encode(&event), **value, "it is canonical");
            let event: Value = serde_json::from_slice(value).expect("JSON");
            json!({"event": event, "isUsageUnknown": adapted.is_usage_unknown})
        }
        Outcome::Skipped(skip) => json!({"skipped": skip.as_str()}),
        Outcome::Refused(refused) => {
            let refusal = &refused.refusal;
            let draft: Value = serde_json::from_slice(&refused.draft).unwrap_or_default();
            json!({"refused": [refusal.index, refusal.reason.as_str(), refusal.field, refusal.detail], "draft": draft})
        }
    };
    outcomes.iter().map(one).collect()
}

/// Compares what a fixture becomes with the golden file beside it.
fn check_fixture(format: Format, name: &str, body: &str) {
    let is = shown(&outcomes(format, body.as_bytes()));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/wire/fixtures")
        .join(format!("{name}.out.json"));
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        fs::write(&path, serde_json::to_string_pretty(&is).unwrap() + "\n").unwrap();
    }
    let golden = fs::read(&path).expect("a golden file");
    let must: Value = serde_json::from_slice(&golden).expect("JSON");
    assert_eq!(is, must, "{name}");
    assert!(
        body.contains("SECRET")
            || format == Format::LitellmOpenmeter
            || format == Format::LitellmLago
    );
    assert!(!is.to_string().contains("SECRET"), "{name} leaks");
}

#[test]
fn what_litellm_really_sends_becomes_what_stands_beside_it() {
    check_fixture(Format::Litellm, "litellm/batch", LITELLM);
    check_fixture(Format::LitellmOpenmeter, "litellm/openmeter", OPENMETER);
    check_fixture(Format::LitellmLago, "litellm/lago", LAGO);
}

#[test]
fn spans_of_genai_clients_become_what_stands_beside_them() {
    check_fixture(Format::Otlp, "otlp/traces", OTLP);
}

/// A successful chat of LiteLLM's, with other fields.
pub fn payload(changes: &[(&str, Value)]) -> Value {
    let all: Vec<Value> = serde_json::from_str(LITELLM).expect("JSON");
    let mut payload = all[0].clone();
    change(&mut payload, changes);
    payload
}

/// Sets fields by their paths; null takes them away.
fn change(value: &mut Value, changes: &[(&str, Value)]) {
    for (path, with) in changes {
        let pointer = format!("/{}", path.replace('.', "/"));
        let (parent, name) = pointer.rsplit_once('/').expect("a path");
        let parent = value.pointer_mut(parent).expect("an object");
        let fields = parent.as_object_mut().expect("an object");
        if with.is_null() {
            fields.remove(name);
        } else {
            fields.insert(name.to_owned(), with.clone());
        }
    }
}

fn one(format: Format, item: &Value) -> Value {
    let outcomes = outcomes(format, item.to_string().as_bytes());
    assert_eq!(outcomes.len(), 1);
    shown(&outcomes)[0].clone()
}

#[test]
fn a_field_of_litellm_means_this() {
    let rows: Vec<(Vec<(&str, Value)>, &str, Value)> = vec![
        // Who: the customer, then the key's user.
        (vec![], "/subject", json!("anna")),
        (
            vec![("end_user", json!("customer-7"))],
            "/subject",
            json!("customer-7"),
        ),
        (vec![("end_user", json!(""))], "/subject", json!("anna")),
        (vec![("end_user", json!(4711))], "/subject", json!("4711")),
        (
            vec![("metadata.user_api_key_end_user_id", json!("c"))],
            "/subject",
            json!("c"),
        ),
        // Who served it: the operator's name of the deployment, else the vendor.
        (vec![], "/data/providerId", json!("prov-9")),
        (
            vec![("model_id", json!("ab".repeat(32)))],
            "/data/providerId",
            json!("openai"),
        ),
        (
            vec![("model_id", Value::Null)],
            "/data/providerId",
            json!("openai"),
        ),
        (
            vec![
                ("model_id", Value::Null),
                ("custom_llm_provider", Value::Null),
            ],
            "/data/providerId",
            Value::Null,
        ),
        // Nobody served what came from the cache, and nothing was computed.
        (
            vec![("cache_hit", json!(true))],
            "/data/providerId",
            Value::Null,
        ),
        (
            vec![("cache_hit", json!(true))],
            "/data/inputTokens",
            json!(0),
        ),
        (
            vec![("cache_hit", json!("True"))],
            "/data/outputTokens",
            json!(0),
        ),
        (
            vec![("cache_hit", json!(false))],
            "/data/inputTokens",
            json!(10),
        ),
        // When: to the millisecond, from the decimal text.
        (
            vec![("startTime", json!(1795394966.9999))],
            "/time",
            json!("2026-11-23T00:49:26.999Z"),
        ),
        (
            vec![("startTime", json!(1795394966))],
            "/time",
            json!("2026-11-23T00:49:26.000Z"),
        ),
        (
            vec![("startTime", json!("1795394966.001"))],
            "/time",
            json!("2026-11-23T00:49:26.001Z"),
        ),
        (
            vec![("endTime", json!(1795394967.043))],
            "/data/latencyMs",
            json!(251),
        ),
        (
            vec![("endTime", json!("never"))],
            "/data/latencyMs",
            Value::Null,
        ),
        (
            vec![("endTime", json!(1.0))],
            "/data/latencyMs",
            Value::Null,
        ),
        // What.
        (
            vec![("call_type", json!("completion"))],
            "/data/endpoint",
            json!("/v1/chat/completions"),
        ),
        (
            vec![("call_type", json!("atext_completion"))],
            "/data/endpoint",
            json!("/v1/completions"),
        ),
        (
            vec![("call_type", json!("embedding"))],
            "/data/endpoint",
            json!("/v1/embeddings"),
        ),
        (
            vec![("call_type", json!("aspeech"))],
            "/data/endpoint",
            json!("/v1/audio/speech"),
        ),
        (
            vec![("call_type", json!("aresponses"))],
            "/data/endpoint",
            json!("/v1/responses"),
        ),
        (
            vec![("call_type", json!("anthropic_messages"))],
            "/data/endpoint",
            json!("/v1/messages"),
        ),
        (
            vec![("call_type", json!("aanthropic_messages"))],
            "/data/endpoint",
            json!("/v1/messages"),
        ),
        (
            vec![("call_type", json!("agenerate_content_stream"))],
            "/data/endpoint",
            json!("/v1/chat/completions"),
        ),
        (
            vec![
                ("call_type", json!("pass_through_endpoint")),
                (
                    "metadata.user_api_key_request_route",
                    json!("/anthropic/v1/messages?key=x"),
                ),
            ],
            "/data/endpoint",
            json!("/anthropic/v1/messages"),
        ),
        (
            vec![
                ("call_type", json!("aimage_generation")),
                ("metadata.user_api_key_request_route", Value::Null),
            ],
            "/data/endpoint",
            json!("/aimage_generation"),
        ),
        (vec![("model", json!(""))], "/data/model", json!("gpt-4o")),
        (vec![("stream", json!(true))], "/data/stream", json!(true)),
        // How it went.
        (
            vec![
                ("status", json!("success")),
                ("error_information.error_code", json!("499")),
            ],
            "/data/statusCode",
            json!(200),
        ),
        (
            vec![
                ("status", json!("failure")),
                ("error_information.error_code", json!("429")),
            ],
            "/data/statusCode",
            json!(429),
        ),
        (
            vec![
                ("status", json!("failure")),
                ("error_information.error_code", json!(404)),
            ],
            "/data/statusCode",
            json!(404),
        ),
        (
            vec![
                ("status", json!("failure")),
                ("error_information", Value::Null),
            ],
            "/data/statusCode",
            json!(500),
        ),
        (
            vec![
                ("status", json!("failure")),
                ("error_information.error_code", json!("")),
            ],
            "/data/statusCode",
            json!(500),
        ),
        (
            vec![
                ("status", json!("failure")),
                ("error_information.error_code", json!("200")),
            ],
            "/data/statusCode",
            json!(500),
        ),
        (
            vec![
                ("status", json!("failure")),
                ("error_information.error_code", json!("9999")),
            ],
            "/data/statusCode",
            json!(500),
        ),
        (
            vec![
                ("status", json!("failure")),
                (
                    "error_information.error_code",
                    json!("context_length_exceeded"),
                ),
                (
                    "error_information.error_class",
                    json!("ContextWindowExceededError"),
                ),
            ],
            "/data/statusCode",
            json!(400),
        ),
        (
            vec![
                ("status", json!("failure")),
                ("error_information.error_class", json!("RateLimitError")),
            ],
            "/data/errorMessage",
            json!("RateLimitError"),
        ),
        (
            vec![
                ("status", json!("failure")),
                ("error_information.error_class", json!("SECRET key sk-1")),
            ],
            "/data/errorMessage",
            Value::Null,
        ),
        // How much. Cached tokens are counted once, wherever they were counted.
        (
            vec![("prompt_tokens", json!(0)), ("completion_tokens", json!(0))],
            "/data/inputTokens",
            Value::Null,
        ),
        (
            vec![("prompt_tokens", json!(0)), ("completion_tokens", json!(0))],
            "/data/outputTokens",
            Value::Null,
        ),
        (
            vec![(
                "metadata.usage_object.prompt_tokens_details",
                json!({"cached_tokens": 4}),
            )],
            "/data/inputTokens",
            json!(10),
        ),
        (
            vec![(
                "metadata.usage_object.prompt_tokens_details",
                json!({"cached_tokens": 4}),
            )],
            "/data/cachedInputTokens",
            json!(4),
        ),
        (
            vec![("metadata.usage_object.cache_read_input_tokens", json!(1000))],
            "/data/inputTokens",
            json!(1010),
        ),
        (
            vec![("metadata.usage_object", Value::Null)],
            "/data/inputTokens",
            json!(10),
        ),
    ];
    for (changes, pointer, expected) in rows {
        let is = one(Format::Litellm, &payload(&changes));
        let found = is["event"].pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(found, expected, "{pointer} with {changes:?}: {is}");
    }
}

#[test]
fn usage_that_litellm_does_not_know_is_unknown() {
    let none = payload(&[("prompt_tokens", json!(0)), ("completion_tokens", json!(0))]);
    assert_eq!(one(Format::Litellm, &none)["isUsageUnknown"], json!(true));
    for changes in [("cache_hit", json!(true)), ("status", json!("failure"))] {
        let known = payload(&[("prompt_tokens", json!(0)), changes]);
        assert_eq!(
            one(Format::Litellm, &known)["isUsageUnknown"],
            json!(false),
            "{known}"
        );
    }
}

#[test]
fn the_id_of_a_call_is_its_own_and_stays_the_same() {
    let id = |changes: &[(&str, Value)]| {
        let is = one(Format::Litellm, &payload(changes));
        is["event"]["id"].as_str().expect("an id").to_owned()
    };
    let whole = id(&[]);
    assert_eq!(
        whole,
        id(&[("response_cost", json!(1.5)), ("trace_id", json!("other"))])
    );
    let others = [
        // Attempts of one call have its id.
        id(&[("startTime", json!(1795394967.0))]),
        // Clients may choose the id of a call.
        id(&[("id", json!("chatcmpl-other"))]),
        // Some providers give every response the same id.
        id(&[("litellm_call_id", json!("other"))]),
    ];
    assert!(others.iter().all(|other| *other != whole));
    let long = id(&[("id", json!("resp_".repeat(100)))]);
    assert_eq!(long.len(), 32);
    assert_ne!(long, id(&[("id", json!("resp_".repeat(101)))]));
    // Before 1.70 there was no call id beside the id.
    let old = id(&[("litellm_call_id", Value::Null)]);
    assert!(old.starts_with("1795394966792/chatcmpl-"), "{old}");
}

#[test]
fn what_is_not_inference_of_a_user_is_passed_over() {
    for changes in [
        ("call_type", json!("aget_responses")),
        ("call_type", json!("avector_store_file_list")),
        (
            "metadata.user_api_key_alias",
            json!("litellm-internal-health-check"),
        ),
    ] {
        let is = one(Format::Litellm, &payload(&[changes]));
        assert_eq!(is, json!({"skipped": "not_inference"}));
    }
}

#[test]
fn what_cannot_be_read_is_refused_by_its_name_and_drafted_without_it() {
    let rows: Vec<(&str, Value, &str, &str, &str)> = vec![
        (
            "metadata.user_api_key_user_id",
            Value::Null,
            "missing_field",
            "end_user or metadata.user_api_key_user_id",
            "/subject",
        ),
        (
            "metadata.user_api_key_user_id",
            json!("default_user_id"),
            "missing_field",
            "end_user or metadata.user_api_key_user_id",
            "/subject",
        ),
        (
            "end_user",
            json!(["SECRET"]),
            "wrong_type",
            "end_user",
            "/subject",
        ),
        (
            "end_user",
            json!("SECRET".repeat(30)),
            "invalid_id",
            "end_user or metadata.user_api_key_user_id",
            "/subject",
        ),
        (
            "startTime",
            Value::Null,
            "missing_field",
            "startTime",
            "/time",
        ),
        (
            "startTime",
            json!("2026-11-23 00:49:26"),
            "invalid_time",
            "startTime",
            "/time",
        ),
        (
            "startTime",
            json!(-1.5),
            "invalid_time",
            "startTime",
            "/time",
        ),
        (
            "call_type",
            Value::Null,
            "missing_field",
            "call_type",
            "/data/endpoint",
        ),
        (
            "status",
            Value::Null,
            "missing_field",
            "status",
            "/data/statusCode",
        ),
        (
            "prompt_tokens",
            json!(1.5),
            "wrong_type",
            "prompt_tokens",
            "/data/inputTokens",
        ),
        (
            "prompt_tokens",
            json!(-1),
            "out_of_range",
            "prompt_tokens",
            "/data/inputTokens",
        ),
        (
            "completion_tokens",
            json!(1_u64 << 41),
            "out_of_range",
            "completion_tokens",
            "/data/outputTokens",
        ),
        (
            "model",
            json!("SECRET\u{1}"),
            "invalid_id",
            "model",
            "/data/model",
        ),
        (
            "model_id",
            json!({"SECRET": 1}),
            "wrong_type",
            "model_id",
            "/data/providerId",
        ),
    ];
    for (path, with, code, field, missing) in rows {
        let is = one(Format::Litellm, &payload(&[(path, with)]));
        assert_eq!(
            (&is["refused"][1], &is["refused"][2]),
            (&json!(code), &json!(field)),
            "{path}: {is}"
        );
        let draft = &is["draft"];
        assert_eq!(draft["specversion"], "1.0");
        assert_eq!(draft.pointer(missing), None, "{path}: {draft}");
        assert_eq!(draft["data"]["stream"], json!(false));
        assert!(!is.to_string().contains("SECRET"), "{is}");
    }
}

#[test]
fn items_come_as_an_array_one_a_line_or_alone() {
    let (a, b) = (
        payload(&[]).to_string(),
        payload(&[("end_user", json!("ben"))]).to_string(),
    );
    let pretty = serde_json::to_string_pretty(&payload(&[])).unwrap();
    let rows = [
        (a.clone(), 1),
        (pretty, 1),
        ("[]".to_owned(), 0),
        (format!("[{a}]"), 1),
        (format!(" [{a},\n null, {b}] "), 3),
        (format!("{a}\n{b}"), 2),
        (format!("{a}\r\n\n{b}\n"), 2),
        (format!("{a}\nno JSON\n{b}\n{{\"cut\": "), 4),
        (format!("{a}\n[1]\n7"), 3),
    ];
    for (body, count) in rows {
        let outcomes = outcomes(Format::Litellm, body.as_bytes());
        assert_eq!(outcomes.len(), count, "{body:.80}");
        let events = outcomes.iter().filter(|o| matches!(o, Outcome::Event(_)));
        assert_eq!(
            events.count(),
            usize::from(body.contains("anna")) + usize::from(body.contains("\"ben\""))
        );
    }
    for body in ["", " ", "no JSON", "null", "7", "\"text\"", "[1,", "<xml/>"] {
        let read = read(
            Format::Litellm,
            body.as_bytes(),
            RECEIVED,
            &UserFrom::default(),
        );
        assert!(read.is_err(), "{body}");
    }
}

#[test]
fn a_byte_that_is_no_utf_8_costs_no_other_item() {
    let body = [
        b"[".as_slice(),
        payload(&[]).to_string().as_bytes(),
        b",{\"end_user\":\"\xff\"}]",
    ]
    .concat();
    let is = shown(&outcomes(Format::Litellm, &body));
    assert_eq!(is[0]["event"]["subject"], "anna");
    assert_eq!(is[1]["refused"][1], "malformed");
}

#[test]
fn openmeter_and_lago_are_read_as_litellm_writes_them() {
    let openmeter: Vec<Value> = serde_json::from_str(OPENMETER).unwrap();
    let lago: Value = serde_json::from_str(LAGO).unwrap();
    let rows: Vec<(Format, &Value, Vec<(&str, Value)>, &str, Value)> = vec![
        // Python before 3.11 writes no offset, and no fraction where it is zero.
        (
            Format::LitellmOpenmeter,
            &openmeter[0],
            vec![("time", json!("2026-11-23T00:49:26.836596"))],
            "/time",
            json!("2026-11-23T00:49:26.836Z"),
        ),
        (
            Format::LitellmOpenmeter,
            &openmeter[0],
            vec![("time", json!("2026-11-23T00:49:26"))],
            "/time",
            json!("2026-11-23T00:49:26.000Z"),
        ),
        (
            Format::LitellmOpenmeter,
            &openmeter[0],
            vec![("time", json!("2026-11-23T01:49:26+01:00"))],
            "/time",
            json!("2026-11-23T00:49:26.000Z"),
        ),
        (
            Format::LitellmOpenmeter,
            &openmeter[0],
            vec![("subject", json!(42))],
            "/subject",
            json!("42"),
        ),
        (
            Format::LitellmOpenmeter,
            &openmeter[0],
            vec![("data.cost", Value::Null)],
            "/data/inputTokens",
            json!(10),
        ),
        (
            Format::LitellmOpenmeter,
            &openmeter[0],
            vec![
                ("data.prompt_tokens", Value::Null),
                ("data.completion_tokens", Value::Null),
            ],
            "/data/inputTokens",
            Value::Null,
        ),
        (
            Format::LitellmOpenmeter,
            &openmeter[0],
            vec![("data.model", json!("tts-1"))],
            "/data/endpoint",
            json!("/v1/audio/speech"),
        ),
        (
            Format::LitellmOpenmeter,
            &openmeter[0],
            vec![("data.model", Value::Null)],
            "/data/endpoint",
            json!("/v1/chat/completions"),
        ),
        (
            Format::LitellmLago,
            &lago,
            vec![],
            "/time",
            json!(RECEIVED.to_string()),
        ),
        (
            Format::LitellmLago,
            &lago,
            vec![("event.timestamp", json!(1795394966))],
            "/time",
            json!("2026-11-23T00:49:26.000Z"),
        ),
        (
            Format::LitellmLago,
            &lago,
            vec![("event.timestamp", json!("1795394966.123"))],
            "/time",
            json!("2026-11-23T00:49:26.123Z"),
        ),
        (
            Format::LitellmLago,
            &lago,
            vec![("event.properties.model", json!("text-embedding-3-small"))],
            "/data/endpoint",
            json!("/v1/embeddings"),
        ),
        (
            Format::LitellmLago,
            &lago,
            vec![("event.external_subscription_id", json!(7))],
            "/subject",
            json!("7"),
        ),
    ];
    for (format, item, changes, pointer, expected) in rows {
        let mut item = item.clone();
        change(&mut item, &changes);
        let is = one(format, &item);
        let found = is["event"].pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(found, expected, "{pointer} with {changes:?}: {is}");
    }
    let refusals: Vec<(Format, &Value, &str, Value, &str, &str)> = vec![
        (
            Format::LitellmOpenmeter,
            &openmeter[0],
            "subject",
            json!(""),
            "missing_field",
            "subject",
        ),
        (
            Format::LitellmOpenmeter,
            &openmeter[0],
            "time",
            json!("yesterday"),
            "invalid_time",
            "time",
        ),
        (
            Format::LitellmOpenmeter,
            &openmeter[0],
            "id",
            Value::Null,
            "missing_field",
            "id",
        ),
        (
            Format::LitellmOpenmeter,
            &openmeter[0],
            "data.prompt_tokens",
            json!(0.5),
            "wrong_type",
            "data.prompt_tokens",
        ),
        (
            Format::LitellmLago,
            &lago,
            "event.transaction_id",
            Value::Null,
            "missing_field",
            "event.transaction_id",
        ),
        (
            Format::LitellmLago,
            &lago,
            "event.external_subscription_id",
            Value::Null,
            "missing_field",
            "event.external_subscription_id",
        ),
        (
            Format::LitellmLago,
            &lago,
            "event.timestamp",
            json!("soon"),
            "invalid_time",
            "event.timestamp",
        ),
    ];
    for (format, item, path, with, code, field) in refusals {
        let mut item = item.clone();
        change(&mut item, &[(path, with)]);
        let is = one(format, &item);
        assert_eq!(
            (&is["refused"][1], &is["refused"][2]),
            (&json!(code), &json!(field)),
            "{path}: {is}"
        );
    }
}

#[test]
fn answers_from_the_cache_have_ids_of_their_own_in_openmeter() {
    let all: Vec<Value> = serde_json::from_str(OPENMETER).unwrap();
    let of_cache = all.last().expect("one");
    let mut again = of_cache.clone();
    change(&mut again, &[("time", json!("2026-11-23T00:59:26+00:00"))]);
    let ids =
        [of_cache, &again].map(|item| one(Format::LitellmOpenmeter, item)["event"]["id"].clone());
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn the_places_of_the_user_can_be_chosen() {
    let from = UserFrom {
        litellm: vec!["metadata.user_api_key_user_id".to_owned()],
        otlp: vec!["service.name".to_owned()],
    };
    let body = payload(&[("end_user", json!("forged"))]).to_string();
    let outcomes = read(Format::Litellm, body.as_bytes(), RECEIVED, &from).unwrap();
    assert_eq!(shown(&outcomes)[0]["event"]["subject"], "anna");
    let outcomes = read(Format::Otlp, OTLP.as_bytes(), RECEIVED, &from).unwrap();
    assert_eq!(shown(&outcomes)[0]["event"]["subject"], "chat-backend");
}

#[test]
fn a_request_that_is_no_export_is_unreadable() {
    for body in [
        "",
        "{}",
        "[]",
        "null",
        "{\"resourceSpans\": 7}",
        "{\"resourceSpans\": [",
        "\u{0}\u{1}protobuf",
    ] {
        let read = read(
            Format::Otlp,
            body.as_bytes(),
            RECEIVED,
            &UserFrom::default(),
        );
        assert!(read.is_err(), "{body}");
    }
    for body in [
        "{\"resourceSpans\": []}",
        "{\"resourceSpans\": [{}]}",
        "{\"resourceSpans\": [{\"scopeSpans\": [{\"spans\": []}]}]}",
    ] {
        assert_eq!(outcomes(Format::Otlp, body.as_bytes()), []);
    }
}
