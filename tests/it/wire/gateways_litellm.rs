//! LiteLLM's StandardLoggingPayloads, field by field.

use serde_json::{Value, json};
use tidemark::gateways::Format;

use super::gateways::{Row, one, payload};

#[test]
fn a_field_of_litellm_means_this() {
    let rows: Vec<Row<'_>> = vec![
        // Who: the key's user. Whoever holds a key can name anybody as the customer, so that counts only where an operator wants it.
        (vec![], "/subject", json!("anna")),
        (
            vec![("metadata.user_api_key_user_id", json!(4711))],
            "/subject",
            json!("4711"),
        ),
        (
            vec![("end_user", json!("customer-7"))],
            "/subject",
            json!("anna"),
        ),
        (
            vec![("metadata.user_api_key_end_user_id", json!("c"))],
            "/subject",
            json!("anna"),
        ),
        // Who served it: the operator's name of the deployment, else the vendor.
        (vec![], "/data/providerId", json!("prov-9")),
        (
            vec![("model_id", json!("ab".repeat(32)))],
            "/data/providerId",
            json!("openai"),
        ),
        (
            vec![("model_id", Value::Null), ("hidden_params", Value::Null)],
            "/data/providerId",
            json!("openai"),
        ),
        (
            vec![
                ("model_id", Value::Null),
                ("custom_llm_provider", Value::Null),
                ("hidden_params", Value::Null),
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
            json!("/v1/images/generations"),
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
        // How much. Cached tokens are inside the input, unless configured; more of them is a contradiction.
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
            Value::Null,
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
fn a_report_of_a_stream_without_usage_says_nothing_of_how_long_it_takes() {
    const NO_USAGE: [(&str, u32); 3] = [
        ("prompt_tokens", 0),
        ("completion_tokens", 0),
        ("total_tokens", 0),
    ];
    let latency = |changes: &[(&str, Value)], has_usage: bool| {
        let mut all = vec![
            ("startTime", json!(1_795_394_966.5)),
            ("endTime", json!(1_795_394_968.5)),
        ];
        if !has_usage {
            all.extend(NO_USAGE.map(|(name, count)| (name, json!(count))));
            all.push(("metadata.usage_object", Value::Null));
        }
        all.extend_from_slice(changes);
        one(Format::Litellm, &payload(&all))["event"]["data"]["latencyMs"].clone()
    };
    let stream = [("stream", json!(true))];
    for (changes, has_usage, expected) in [
        (&stream[..], false, Value::Null),
        (&stream[..], true, json!(2_000)),
        // A whole answer is told of once, when it is there.
        (&[][..], false, json!(2_000)),
        (&[][..], true, json!(2_000)),
        // So is a failure.
        (
            &[("stream", json!(true)), ("status", json!("failure"))][..],
            false,
            json!(2_000),
        ),
        // Nothing is unknown about an answer from the cache.
        (
            &[("stream", json!(true)), ("cache_hit", json!(true))][..],
            false,
            json!(2_000),
        ),
    ] {
        assert_eq!(
            latency(changes, has_usage),
            expected,
            "{changes:?} {has_usage}"
        );
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
            Value::Null,
            "{known}"
        );
    }
}

#[test]
fn a_count_of_zero_under_one_name_does_not_hide_the_one_under_another() {
    let usage = json!({"prompt_tokens_details": {"cached_tokens": 0, "cache_creation_tokens": 5},
        "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0});
    let is = one(
        Format::Litellm,
        &payload(&[("metadata.usage_object", usage)]),
    );
    let data = &is["event"]["data"];
    assert_eq!(data["cachedInputTokens"], 4, "{is}");
    assert_eq!(data["cacheWriteTokens"], 5, "{is}");
}

#[test]
fn usage_that_is_a_text_is_refused_since_nobody_knows_what_was_cached() {
    let with = |usage: Value| {
        one(
            Format::Litellm,
            &payload(&[("metadata.usage_object", usage)]),
        )
    };
    let is = with(json!("{'cache_read_input_tokens': 7}"));
    assert_eq!(is["refused"][1], "wrong_type", "{is}");
    for nothing in [json!(""), json!("None"), json!({}), Value::Null] {
        assert!(with(nothing).get("event").is_some());
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
        // Some providers give every response the same id.
        id(&[("litellm_call_id", json!("other"))]),
    ];
    assert!(others.iter().all(|other| *other != whole));
    // Two callbacks of one call may tell different ids of its response.
    assert_eq!(whole, id(&[("id", json!("chatcmpl-other"))]));
    // Before 1.70 there was no call id beside the id.
    let old = |response: &str| id(&[("litellm_call_id", Value::Null), ("id", json!(response))]);
    assert_eq!(old("chatcmpl-1"), "chatcmpl-1/1795394966792918");
    let long = old(&"resp_".repeat(100));
    assert_eq!(long.len(), 32);
    assert_ne!(long, old(&"resp_".repeat(101)));
}

#[test]
fn what_is_not_inference_of_a_user_is_passed_over() {
    let origin = "metadata.internal_call_origin";
    for (path, with, reason) in [
        ("call_type", "aget_responses", "housekeeping"),
        ("call_type", "avector_store_file_list", "housekeeping"),
        // A client's poll.
        ("call_type", "aretrieve_batch", "housekeeping"),
        (origin, "guardrail", "gateway_call"),
    ] {
        let is = one(Format::Litellm, &payload(&[(path, json!(with))]));
        assert_eq!(is, json!({"skipped": reason, "items": 1}), "{path} {with}");
    }
    // One that is not done.
    let poll = payload(&[
        ("call_type", json!("aretrieve_batch")),
        ("prompt_tokens", json!(0)),
        ("completion_tokens", json!(0)),
        ("total_tokens", json!(0)),
    ]);
    let is = one(Format::Litellm, &poll);
    assert_eq!(is, json!({"skipped": "housekeeping", "items": 1}));
    let alias = "metadata.user_api_key_alias";
    let check = (alias, json!("litellm-internal-health-check"));
    let nobody = ("metadata.user_api_key_user_id", Value::Null);
    let is = one(Format::Litellm, &payload(&[check.clone(), nobody]));
    assert_eq!(is, json!({"skipped": "health_check", "items": 1}));
    // Whoever makes a key may give it any name.
    let is = one(Format::Litellm, &payload(&[check]));
    assert_eq!(is["event"]["subject"], "anna");
}

#[test]
fn what_cannot_be_read_is_refused_by_its_name_and_drafted_without_it() {
    let rows: Vec<(&str, Value, &str, &str, &str)> = vec![
        (
            "metadata.user_api_key_user_id",
            Value::Null,
            "missing_field",
            "metadata.user_api_key_user_id",
            "/subject",
        ),
        (
            "metadata.user_api_key_user_id",
            json!("default_user_id"),
            "missing_field",
            "metadata.user_api_key_user_id",
            "/subject",
        ),
        (
            "metadata.user_api_key_user_id",
            json!(["SECRET"]),
            "wrong_type",
            "metadata.user_api_key_user_id",
            "/subject",
        ),
        (
            "metadata.user_api_key_user_id",
            json!("SECRET".repeat(30)),
            "invalid_id",
            "metadata.user_api_key_user_id",
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
