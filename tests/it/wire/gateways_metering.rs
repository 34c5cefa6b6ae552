//! LiteLLM's `openmeter` and `lago` callbacks, field by field.

use serde_json::{Value, json};
use tidemark::gateways::Format;

use super::gateways::{
    Changes, LAGO, OPENMETER, RECEIVED, change, is_refused, one, outcomes, shown,
};

#[test]
fn openmeter_and_lago_are_read_as_litellm_writes_them() {
    let openmeter: Vec<Value> = serde_json::from_str(OPENMETER).unwrap();
    let lago: Value = serde_json::from_str(LAGO).unwrap();
    let rows: Vec<(Format, &Value, Changes<'_>, &str, Value)> = vec![
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
fn one_half_of_a_call_is_refused_and_says_what_to_send() {
    let openmeter: Vec<Value> = serde_json::from_str(OPENMETER).unwrap();
    let of = |changes: &Changes<'_>| {
        let mut item = openmeter[0].clone();
        change(&mut item, changes);
        one(Format::LitellmOpenmeter, &item)
    };
    let (input, output) = ("data.prompt_tokens", "data.completion_tokens");
    for (changes, code, field) in [
        (vec![(input, Value::Null)], "missing_field", input),
        (vec![(output, Value::Null)], "missing_field", output),
        // Also where the type is the sender's own.
        (
            vec![("type", json!("my_tokens")), (output, Value::Null)],
            "missing_field",
            output,
        ),
        // OpenMeter's own examples: an event for each direction, with data.tokens and data.type.
        (
            vec![
                ("type", json!("prompt")),
                (input, Value::Null),
                (output, Value::Null),
                ("data.total_tokens", Value::Null),
                ("data.tokens", json!(150)),
                ("data.type", json!("input")),
            ],
            "unknown_type",
            "type",
        ),
    ] {
        let is = of(&changes);
        let refused = &is["refused"];
        assert_eq!((&refused[1], &refused[2]), (&json!(code), &json!(field)));
        let detail = refused[3].as_str().expect("a detail");
        assert!(detail.contains("one event"), "{detail}");
    }
    // Also both halves of a call in one body, under one id: CloudEvents takes them for one event.
    let halves = [input, output].map(|missing| {
        let mut item = openmeter[0].clone();
        change(&mut item, &[(missing, Value::Null)]);
        item
    });
    let both = outcomes(
        Format::LitellmOpenmeter,
        Value::from(halves.to_vec()).to_string().as_bytes(),
    );
    let both = shown(&both);
    for half in both.as_array().expect("a list") {
        assert_eq!(half["refused"][1], "missing_field", "{both}");
    }
    // Nothing comes out of embeddings, and a call without usage is a call.
    let embeddings = of(&vec![
        ("data.model", json!("text-embedding-3-small")),
        (output, Value::Null),
    ]);
    assert_eq!(embeddings["event"]["data"]["inputTokens"], 10);
    let unknown = of(&vec![(input, Value::Null), (output, Value::Null)]);
    assert_eq!(unknown["isUsageUnknown"], true);
    // Zeros are what LiteLLM writes where it knows nothing.
    let zeros = of(&vec![(input, json!(0)), (output, json!(0))]);
    assert_eq!(zeros["isUsageUnknown"], true);
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
fn lago_takes_what_carries_usage_of_a_model_and_its_lists_of_events() {
    let with = |properties: Value| {
        let mut event: Value = serde_json::from_str(LAGO).unwrap();
        event["event"]["properties"] = properties;
        event
    };
    for (properties, reason, field) in [
        (json!({"gb": "5"}), "unknown_type", "event.properties.model"),
        (json!({}), "unknown_type", "event.properties.model"),
        (
            json!({"model": "gpt-4o", "prompt_tokens": 500}),
            "missing_field",
            "event.properties.completion_tokens",
        ),
        (
            json!({"completion_tokens": 70}),
            "missing_field",
            "event.properties.prompt_tokens",
        ),
    ] {
        is_refused(Format::LitellmLago, &with(properties), reason, field);
    }
    // LiteLLM tells no tokens of some calls.
    let is = one(Format::LitellmLago, &with(json!({"model": "gpt-4o"})));
    assert!(is.get("event").is_some(), "{is}");
    let whole: Value = serde_json::from_str(LAGO).unwrap();
    let mut other = whole["event"].clone();
    other["transaction_id"] = json!("other");
    let list = json!({"events": [whole["event"], other]}).to_string();
    let is = shown(&outcomes(Format::LitellmLago, list.as_bytes()));
    let alone = one(Format::LitellmLago, &whole);
    assert_eq!(is[0]["event"], alone["event"]);
    assert_eq!(is[1]["event"]["id"], "other", "{is}");
}
