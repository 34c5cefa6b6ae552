//! What an adapter refuses: reason and field, and never a value.

use serde_json::{Value, json};
use tidemark::domain::event::Reason;
use tidemark::gateways::access_log::Outcome;

use super::adapt::outcomes;
use super::adapt_rows::{least, with};

/// A format, a path in its least entry and what stands there instead; the reason and the field of the refusal.
type Row<'a> = (&'a str, &'a [&'a str], Option<Value>, Reason, &'a str);

#[test]
fn what_cannot_be_read_is_refused_with_reason_and_field_and_without_its_value() {
    use Reason::*;
    let long = "x".repeat(129);
    let rows: Vec<Row<'_>> = vec![
        (
            "apisix",
            &["consumer"],
            None,
            MissingField,
            "consumer.username",
        ),
        (
            "apisix",
            &["consumer", "username"],
            Some(json!("")),
            MissingField,
            "consumer.username",
        ),
        (
            "apisix",
            &["consumer", "username"],
            Some(json!(["SECRET", "b"])),
            WrongType,
            "consumer.username",
        ),
        (
            "apisix",
            &["consumer", "username"],
            Some(json!(1.5)),
            WrongType,
            "consumer.username",
        ),
        (
            "apisix",
            &["consumer", "username"],
            Some(json!(long)),
            InvalidId,
            "consumer.username",
        ),
        (
            "apisix",
            &["consumer", "username"],
            Some(json!("SECRET\n")),
            InvalidId,
            "consumer.username",
        ),
        ("apisix", &["start_time"], None, MissingField, "start_time"),
        (
            "apisix",
            &["start_time"],
            Some(json!("SECRET")),
            InvalidTime,
            "start_time",
        ),
        (
            "apisix",
            &["start_time"],
            Some(json!(-1)),
            InvalidTime,
            "start_time",
        ),
        (
            "apisix",
            &["start_time"],
            Some(json!(253_402_300_800_000_u64)),
            InvalidTime,
            "start_time",
        ),
        (
            "apisix",
            &["start_time"],
            Some(json!("1e300")),
            InvalidTime,
            "start_time",
        ),
        (
            "apisix",
            &["response", "status"],
            None,
            MissingField,
            "response.status",
        ),
        (
            "apisix",
            &["response", "status"],
            Some(json!(0)),
            OutOfRange,
            "response.status",
        ),
        (
            "apisix",
            &["response", "status"],
            Some(json!(70_000)),
            OutOfRange,
            "response.status",
        ),
        (
            "apisix",
            &["response", "status"],
            Some(json!("SECRET")),
            WrongType,
            "response.status",
        ),
        (
            "apisix",
            &["request", "uri"],
            Some(json!("?SECRET")),
            MissingField,
            "request.uri",
        ),
        (
            "apisix",
            &["request", "uri"],
            Some(json!("/x".repeat(1_025))),
            TooLong,
            "request.uri",
        ),
        (
            "apisix",
            &["llm_summary", "prompt_tokens"],
            Some(json!(1.5)),
            WrongType,
            "llm_summary.prompt_tokens",
        ),
        (
            "apisix",
            &["llm_summary", "prompt_tokens"],
            Some(json!("SECRET")),
            WrongType,
            "llm_summary.prompt_tokens",
        ),
        (
            "apisix",
            &["llm_summary", "prompt_tokens"],
            Some(json!(true)),
            WrongType,
            "llm_summary.prompt_tokens",
        ),
        (
            "apisix",
            &["llm_summary", "prompt_tokens"],
            Some(json!(-1)),
            OutOfRange,
            "llm_summary.prompt_tokens",
        ),
        (
            "apisix",
            &["llm_summary", "prompt_tokens"],
            Some(json!(1_099_511_627_777_u64)),
            OutOfRange,
            "llm_summary.prompt_tokens",
        ),
        (
            "apisix",
            &["llm_summary", "model"],
            Some(json!("m".repeat(257))),
            TooLong,
            "llm_summary.model",
        ),
        (
            "apisix",
            &["service_id"],
            Some(json!({"SECRET": 1})),
            WrongType,
            "service_id",
        ),
        (
            "kong",
            &["started_at"],
            Some(json!("2026-11-22T07:01:02Z")),
            InvalidTime,
            "started_at",
        ),
        (
            "kong",
            &["request", "id"],
            Some(json!(long)),
            InvalidId,
            "request.id",
        ),
        (
            "envoy",
            &["start_time"],
            Some(json!(1_795_330_862_123_u64)),
            InvalidTime,
            "start_time",
        ),
        (
            "envoy",
            &["start_time"],
            Some(json!("2026-11-22T07:01:02")),
            InvalidTime,
            "start_time",
        ),
        (
            "envoy",
            &["x-user-id"],
            Some(json!("-")),
            MissingField,
            "x-user-id",
        ),
        (
            "envoy",
            &["x-envoy-origin-path"],
            None,
            MissingField,
            "x-envoy-origin-path or request.path",
        ),
    ];
    for (format, path, value, reason, field) in rows {
        let (settings, entry) = least(format);
        let entry = with(entry, path, value);
        let outcomes = outcomes(&settings, entry.to_string().as_bytes());
        let [Outcome::Refused(refusal)] = &outcomes[..] else {
            panic!("{entry} became {outcomes:?}");
        };
        assert_eq!(
            (refusal.reason, refusal.field.as_deref()),
            (reason, Some(field)),
            "{entry}"
        );
        assert!(refusal.detail.starts_with(field), "{}", refusal.detail);
        assert!(!refusal.detail.contains("SECRET"), "{}", refusal.detail);
    }
}
