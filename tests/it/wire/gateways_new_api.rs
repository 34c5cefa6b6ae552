//! Rows of new-api's logs, field by field.

use serde_json::{Value, json};
use tidemark::gateways::{Format, GatewaySettings};

use super::gateways::{Changes, NEW_API, RECEIVED, change, earns_for, is_refused, items, one};

fn row(at: usize, changes: Changes<'_>) -> Value {
    let rows: Vec<Value> = serde_json::from_str(NEW_API).unwrap();
    let mut row = rows[at].clone();
    change(&mut row, &changes);
    row
}

/// The row with this text as `other`.
fn with_other(at: usize, other: &Value) -> Value {
    row(at, vec![("other", json!(other.to_string()))])
}

#[test]
fn rows_are_read_as_new_api_writes_them() {
    let rows: Vec<(Value, &str, Value)> = vec![
        (row(0, vec![]), "/data/inputTokens", json!(150)),
        (row(0, vec![]), "/data/cachedInputTokens", json!(100)),
        (
            row(0, vec![]),
            "/data/endpoint",
            json!("/v1/chat/completions"),
        ),
        (row(0, vec![]), "/data/latencyMs", json!(2_000)),
        (row(0, vec![]), "/data/providerId", json!("7")),
        (row(0, vec![]), "/data/stream", json!(true)),
        (row(0, vec![]), "/subject", json!("42")),
        (row(0, vec![]), "/id", json!("4711/1795330862")),
        // one-api.
        (
            row(
                0,
                vec![("use_time", Value::Null), ("elapsed_time", json!(1_234))],
            ),
            "/data/latencyMs",
            json!(1_234),
        ),
        (
            row(0, vec![("use_time", json!(0))]),
            "/data/latencyMs",
            Value::Null,
        ),
        // Older versions tell no path: the model decides.
        (
            with_other(0, &json!({})),
            "/data/endpoint",
            json!("/v1/chat/completions"),
        ),
        (
            row(
                0,
                vec![("other", json!("")), ("model_name", json!("bge-m3"))],
            ),
            "/data/endpoint",
            json!("/v1/embeddings"),
        ),
        // A shipper may unpack the text.
        (
            row(
                0,
                vec![(
                    "other",
                    json!({"cache_tokens": 30, "request_path": "/v1/messages"}),
                )],
            ),
            "/data/cachedInputTokens",
            json!(30),
        ),
        // Claude's own form counts cached tokens beside the input.
        (row(1, vec![]), "/data/inputTokens", json!(1_212)),
        (row(1, vec![]), "/data/cacheWriteTokens", json!(200)),
        (row(1, vec![]), "/data/endpoint", json!("/v1/messages")),
        (
            with_other(
                0,
                &json!({"usage_semantic": "anthropic", "cache_tokens": 1_000}),
            ),
            "/data/inputTokens",
            json!(1_150),
        ),
        (row(1, vec![]), "/data/latencyMs", Value::Null),
        // Without a count the usage is unknown, not zero.
        (
            row(0, vec![("prompt_tokens", json!(0)), ("other", json!(""))]),
            "/data/inputTokens",
            Value::Null,
        ),
        // Failed attempts.
        (row(2, vec![]), "/data/statusCode", json!(502)),
        (row(2, vec![]), "/data/inputTokens", Value::Null),
        (with_other(2, &json!({})), "/data/statusCode", json!(500)),
        (
            with_other(2, &json!({"status_code": 200})),
            "/data/statusCode",
            json!(500),
        ),
        // No channel served it.
        (
            row(2, vec![("channel", json!(0))]),
            "/data/providerId",
            Value::Null,
        ),
    ];
    for (row, path, expected) in rows {
        let event = one(Format::NewApi, &row);
        let is = event["event"].pointer(path).cloned().unwrap_or_default();
        assert_eq!(is, expected, "{path} of {row}: {event}");
    }
}

#[test]
fn what_is_no_request_is_passed_over_and_what_cannot_be_read_is_kept() {
    let rows: Vec<(Value, Value)> = vec![
        (
            row(4, vec![]),
            json!({"skipped": "housekeeping", "items": 1}),
        ),
        // What a task cost more than was charged before: no request of its own.
        (
            row(
                0,
                vec![
                    ("prompt_tokens", json!(0)),
                    ("completion_tokens", json!(0)),
                    (
                        "other",
                        json!(
                            json!({"task_id": "task_1", "pre_consumed_quota": 500, "actual_quota": 700, "model_price": 0.1})
                                .to_string()
                        ),
                    ),
                ],
            ),
            json!({"skipped": "housekeeping", "items": 1}),
        ),
        (
            row(5, vec![]),
            json!({"skipped": "not_inference", "items": 1}),
        ),
        // Tests of channels: new-api's, and one-api's type, which has the number of errors.
        (
            row(
                0,
                vec![
                    ("content", json!("模型测试")),
                    ("token_name", json!("模型测试")),
                    ("token_id", json!(0)),
                ],
            ),
            json!({"skipped": "health_check", "items": 1}),
        ),
        (
            row(
                0,
                vec![
                    ("type", json!(5)),
                    ("other", Value::Null),
                    ("elapsed_time", json!(812)),
                ],
            ),
            json!({"skipped": "health_check", "items": 1}),
        ),
        (
            row(0, vec![("type", json!(3))]),
            json!({"skipped": "not_inference", "items": 1}),
        ),
    ];
    for (row, expected) in rows {
        assert_eq!(one(Format::NewApi, &row), expected, "{row}");
    }
    // A user may name a token so.
    let named = row(
        0,
        vec![
            ("content", json!("模型测试")),
            ("token_name", json!("模型测试")),
            ("token_id", json!(7)),
        ],
    );
    assert!(one(Format::NewApi, &named).get("event").is_some());
    let refused: Vec<(Value, &str, &str)> = vec![
        (row(3, vec![]), "unknown_type", "type"),
        (row(0, vec![("type", Value::Null)]), "missing_field", "type"),
        (
            row(0, vec![("type", json!("consume"))]),
            "wrong_type",
            "type",
        ),
        (
            row(0, vec![("user_id", Value::Null)]),
            "missing_field",
            "user_id",
        ),
        (row(0, vec![("id", Value::Null)]), "missing_field", "id"),
        (
            row(0, vec![("created_at", json!("yesterday"))]),
            "invalid_time",
            "created_at",
        ),
        (
            row(0, vec![("prompt_tokens", json!(-1))]),
            "out_of_range",
            "prompt_tokens",
        ),
        (
            with_other(0, &json!({"cache_tokens": 1_000})),
            "out_of_range",
            "other.cache_tokens",
        ),
        (
            with_other(0, &json!({"cache_tokens": "many"})),
            "wrong_type",
            "other.cache_tokens",
        ),
    ];
    for (row, reason, field) in refused {
        is_refused(Format::NewApi, &row, reason, field);
    }
}

#[test]
fn who_is_configured_for_a_channel_earns_for_it() {
    for name in ["7", "east"] {
        earns_for(Format::NewApi, &row(0, vec![]), name);
    }
}

#[test]
fn an_answer_without_rows_is_an_empty_page_or_no_page() {
    let read = |format, body: Value| {
        let settings = GatewaySettings::default();
        let body = body.to_string();
        tidemark::gateways::read(format, body.as_bytes(), RECEIVED, &settings)
    };
    for format in [Format::NewApi, Format::Sub2Api] {
        for empty in [
            json!({"success": true, "data": {"items": null}}),
            json!({"success": true, "data": []}),
            json!({"code": 0, "message": "success", "data": {"items": null}}),
        ] {
            let outcomes = read(format, empty.clone()).expect("a page");
            assert_eq!(items(&outcomes), 0, "{empty}");
        }
        for failed in [
            json!({"success": false, "message": "token expired"}),
            json!({"code": 401, "message": "unauthorized"}),
            // Rows where nobody looks for them are not nothing.
            json!({"success": true, "data": {"logs": [{"user_id": 1}]}}),
            json!({"code": 0, "data": {"list": [{"user_id": 1}]}}),
            json!({"success": true}),
        ] {
            assert!(read(format, failed.clone()).is_err(), "{failed}");
        }
    }
}
