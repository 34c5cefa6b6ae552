//! Rows of sub2api's usage logs, field by field.

use serde_json::{Value, json};
use tidemark::gateways::Format;

use super::gateways::{Changes, SUB2API, change, earns_for, is_refused, one};

fn row(at: usize, changes: Changes<'_>) -> Value {
    let rows: Vec<Value> = serde_json::from_str(SUB2API).unwrap();
    let mut row = rows[at].clone();
    change(&mut row, &changes);
    row
}

#[test]
fn rows_are_read_as_sub2api_writes_them() {
    let rows: Vec<(Value, &str, Value)> = vec![
        // Input, cached and cache-writing tokens are counted apart there, and together here.
        (row(0, vec![]), "/data/inputTokens", json!(1_212)),
        (row(0, vec![]), "/data/cachedInputTokens", json!(1_000)),
        (row(0, vec![]), "/data/cacheWriteTokens", json!(200)),
        (row(0, vec![]), "/data/outputTokens", json!(30)),
        (row(1, vec![]), "/data/inputTokens", json!(5_000)),
        (row(1, vec![]), "/data/cachedInputTokens", json!(5_000)),
        (row(0, vec![]), "/data/endpoint", json!("/v1/messages")),
        (row(1, vec![]), "/data/endpoint", json!("/v1/responses")),
        // Gemini's path names no service, and older versions have no path.
        (
            row(2, vec![]),
            "/data/endpoint",
            json!("/v1/chat/completions"),
        ),
        (
            row(2, vec![("model", json!("gemini-embedding-001"))]),
            "/data/endpoint",
            json!("/v1/embeddings"),
        ),
        (
            row(3, vec![]),
            "/data/endpoint",
            json!("/v1/chat/completions"),
        ),
        (row(0, vec![]), "/data/latencyMs", json!(2_345)),
        (row(1, vec![]), "/data/latencyMs", Value::Null),
        (row(0, vec![]), "/data/stream", json!(true)),
        (row(0, vec![]), "/data/statusCode", json!(200)),
        (row(0, vec![]), "/data/providerId", json!("3")),
        (
            row(0, vec![("account_id", json!(0))]),
            "/data/providerId",
            Value::Null,
        ),
        (row(0, vec![]), "/subject", json!("42")),
        // What the user asked for and pays for.
        (row(1, vec![]), "/data/model", json!("gpt-5")),
        (row(0, vec![]), "/time", json!("2026-11-22T07:01:02.123Z")),
        (row(0, vec![]), "/id", json!("90211/1795330862123")),
        // The same instant in another time zone is the same row.
        (
            row(0, vec![("created_at", json!("2026-11-22T07:01:02.123Z"))]),
            "/id",
            json!("90211/1795330862123"),
        ),
        // A successful chat puts something out: its output is unknown.
        (row(3, vec![]), "/data/outputTokens", Value::Null),
    ];
    for (row, path, expected) in rows {
        let event = one(Format::Sub2Api, &row);
        let is = event["event"].pointer(path).cloned().unwrap_or_default();
        assert_eq!(is, expected, "{path} of {row}: {event}");
    }
}

#[test]
fn what_cannot_be_read_is_kept() {
    let refused: Vec<(Value, &str, &str)> = vec![
        (row(4, vec![]), "missing_field", "user_id"),
        (row(0, vec![("id", Value::Null)]), "missing_field", "id"),
        (
            row(0, vec![("created_at", Value::Null)]),
            "missing_field",
            "created_at",
        ),
        (
            row(0, vec![("created_at", json!(1_795_330_862))]),
            "invalid_time",
            "created_at",
        ),
        (
            row(0, vec![("created_at", json!("2026-11-22"))]),
            "invalid_time",
            "created_at",
        ),
        (
            row(0, vec![("input_tokens", json!(-1))]),
            "out_of_range",
            "input_tokens",
        ),
        (
            row(0, vec![("cache_read_tokens", json!("many"))]),
            "wrong_type",
            "cache_read_tokens",
        ),
    ];
    for (row, reason, field) in refused {
        is_refused(Format::Sub2Api, &row, reason, field);
    }
}

#[test]
fn who_is_configured_for_an_account_earns_for_it() {
    for name in ["3", "claude-max-1"] {
        earns_for(Format::Sub2Api, &row(0, vec![]), name);
    }
}
