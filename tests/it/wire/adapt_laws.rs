//! Laws of the adapters, over made-up and broken log entries.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tidemark::domain::position::{Offset, Partition};
use tidemark::domain::time::Millis;
use tidemark::gateways::access_log::{ForeignRecord, Outcome, adapt};
use tidemark::log::rejected::{Reject, decode_reject, encode_foreign};
use tidemark::log::{Record, usage};
use tidemark::ops::config::AdapterConfig;

use super::adapt::{APISIX, ENVOY, KONG, adapter, outcomes};

pub const FIXTURES: [(&str, &str); 7] = [
    (APISIX, include_str!("fixtures/apisix/batch.json")),
    (APISIX, include_str!("fixtures/apisix/anthropic.json")),
    (KONG, include_str!("fixtures/kong/chat.json")),
    (KONG, include_str!("fixtures/kong/stream_unknown.json")),
    (KONG, include_str!("fixtures/kong/before_3_9.json")),
    (ENVOY, include_str!("fixtures/envoy/chat.json")),
    (ENVOY, include_str!("fixtures/envoy/lines.json")),
];
const SECRET: &str = "s3cr3t";
/// Every field that an event is made of; the last names of their paths. A secret in any other must stay where it is.
const READ: [&str; 39] = [
    "duration",
    "bytes_received",
    "bytes_sent",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "username",
    "service_id",
    "uri",
    "status",
    "size",
    "start_time",
    "latency",
    "model",
    "request_model",
    "prompt_tokens",
    "completion_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "stream",
    "provider_name",
    "id",
    "started_at",
    "response_model",
    "request_mode",
    "cached_tokens",
    "cache_status",
    "reasoning_tokens",
    "gen_ai.usage.reasoning_tokens",
    "x-user-id",
    "gen_ai.provider.name",
    "x-request-id",
    "x-envoy-origin-path",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.request.model_override",
    "response_code",
    "request",
];

fn any_settings() -> impl Strategy<Value = AdapterConfig> {
    let table = prop::sample::select(vec![APISIX, KONG, ENVOY]);
    (table, any::<bool>()).prop_map(|(table, is_outside)| {
        let counted = if is_outside { "outside" } else { "inside" };
        adapter(&format!("{table}cached_tokens = '{counted}'\n"))
    })
}

/// Names that mean something to one of the formats, and others.
fn name() -> impl Strategy<Value = String> {
    const NAMES: [&str; 34] = [
        "consumer",
        "username",
        "request",
        "uri",
        "headers",
        "response",
        "status",
        "size",
        "start_time",
        "latency",
        "llm_summary",
        "model",
        "prompt_tokens",
        "completion_tokens",
        "cache_read_input_tokens",
        "stream",
        "ai",
        "proxy",
        "meta",
        "usage",
        "started_at",
        "latencies",
        "id",
        "x-user-id",
        "gen_ai.request.model",
        "gen_ai.usage.input_tokens",
        "gen_ai",
        "response_code",
        "duration",
        "x-request-id",
        "x-envoy-origin-path",
        "service_id",
        "request.uri",
        "ai.proxy",
    ];
    prop_oneof![9 => prop::sample::select(&NAMES[..]).prop_map(str::to_owned), 1 => ".{0,6}"]
}

pub fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (1_700_000_000_000i64..1_900_000_000_000).prop_map(Value::from),
        (0u64..700).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("2026-11-22T07:01:02.123Z")),
        Just(json!("200")),
        Just(json!("/v1/messages?x=1")),
    ];
    leaf.prop_recursive(4, 96, 10, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..12)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// What must hold of whatever comes out.
fn check(settings: &AdapterConfig, value: &[u8]) -> Result<(), TestCaseError> {
    let first = outcomes(settings, value);
    prop_assert!(!first.is_empty());
    prop_assert_eq!(
        &first,
        &outcomes(settings, value),
        "the same record, the same outcomes"
    );
    for (index, outcome) in first.iter().enumerate() {
        match outcome {
            Outcome::Event(adapted) => {
                let event = usage::decode(&adapted.record.value, &adapted.record.headers);
                let event = event.map_err(|e| TestCaseError::fail(format!("{e:?}")))?;
                prop_assert_eq!(&event.user, &adapted.user);
                prop_assert_eq!(&event.source, &settings.source);
                prop_assert!(
                    event.input_tokens != Some(0)
                        || event.output_tokens == Some(0) && event.provider.is_none(),
                    "unknown is never zero; what a cache answered is"
                );
                prop_assert!(
                    event.cached_input_tokens.unwrap_or(0) <= event.input_tokens.unwrap_or(0)
                );
                prop_assert!(!event.endpoint.contains('?'));
            }
            Outcome::Refused(refusal) => {
                prop_assert_eq!(refusal.index as usize, index);
                prop_assert!(refusal.detail.len() < 1_024);
            }
            Outcome::Skipped(_) => {}
        }
    }
    Ok(())
}

/// Puts the secret into every text that nobody reads, and under a new name into every object.
fn with_secrets(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                match value {
                    Value::Object(_) | Value::Array(_) => with_secrets(value),
                    _ if READ.contains(&name.as_str()) => {}
                    Value::String(text) => *text = format!("{text} {SECRET}"),
                    _ => {}
                }
            }
            fields.insert(format!("x-{SECRET}"), SECRET.into());
        }
        Value::Array(items) => items.iter_mut().for_each(with_secrets),
        Value::String(text) => text.push_str(SECRET),
        _ => {}
    }
}

#[test]
fn nothing_that_is_not_asked_for_comes_out() {
    for (table, fixture) in FIXTURES {
        let settings = adapter(table);
        let plain = outcomes(&settings, fixture.as_bytes());
        let entries = serde_json::Deserializer::from_str(fixture).into_iter::<Value>();
        let mut laced = String::new();
        for entry in entries {
            let mut entry = entry.expect("a fixture");
            with_secrets(&mut entry);
            laced.push_str(&entry.to_string());
        }
        assert!(laced.matches(SECRET).count() > 10);
        let outcomes = outcomes(&settings, laced.as_bytes());
        assert_eq!(outcomes, plain, "{fixture}");
        for outcome in &outcomes {
            assert!(!said(outcome).contains("SECRET"), "{outcome:?}");
        }
    }
}

/// Everything that an outcome can say to anyone.
fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Event(adapted) => format!(
            "{adapted:?}{}",
            String::from_utf8_lossy(&adapted.record.value)
        ),
        other => format!("{other:?}"),
    }
}

/// A value with one leaf, chosen by number, replaced.
pub fn replace_leaf(value: &mut Value, left: &mut usize, with: &Value) {
    match value {
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|inner| replace_leaf(inner, left, with)),
        Value::Array(items) => items
            .iter_mut()
            .for_each(|inner| replace_leaf(inner, left, with)),
        leaf => {
            if *left == 0 {
                *leaf = with.clone();
            }
            *left = left.wrapping_sub(1);
        }
    }
}

proptest! {
    #[test]
    fn any_value_has_outcomes_that_keep_the_laws(settings in any_settings(), value in any_value()) {
        check(&settings, value.to_string().as_bytes())?;
    }

    #[test]
    fn any_bytes_have_outcomes_that_keep_the_laws(settings in any_settings(), value in prop::collection::vec(any::<u8>(), 0..60)) {
        check(&settings, &value)?;
    }

    #[test]
    fn a_fixture_with_any_leaf_replaced_keeps_the_laws(
        fixture in prop::sample::select(&FIXTURES[..]), leaf in 0usize..60, with in any_value(), is_outside: bool,
    ) {
        let (table, text) = fixture;
        let counted = if is_outside { "outside" } else { "inside" };
        let settings = adapter(&format!("{table}cached_tokens = '{counted}'\n"));
        let Some(Ok(mut value)) = serde_json::Deserializer::from_str(text).into_iter::<Value>().next() else {
            panic!("a fixture");
        };
        replace_leaf(&mut value, &mut leaf.clone(), &with);
        check(&settings, value.to_string().as_bytes())?;
    }

    #[test]
    fn a_refusal_never_quotes_what_was_there(
        fixture in prop::sample::select(&FIXTURES[..]), leaf in 0usize..60, shape in 0usize..4,
    ) {
        let (table, text) = fixture;
        let settings = adapter(table);
        let Some(Ok(mut value)) = serde_json::Deserializer::from_str(text).into_iter::<Value>().next() else {
            panic!("a fixture");
        };
        // None of these shapes is taken as an id, a number, a status or a time.
        let with = [json!([SECRET]), json!({SECRET: SECRET}), json!(format!("{SECRET}\u{1}")), json!(SECRET.repeat(400))][shape].clone();
        replace_leaf(&mut value, &mut leaf.clone(), &with);
        for outcome in outcomes(&settings, value.to_string().as_bytes()) {
            prop_assert!(!said(&outcome).contains(SECRET), "{outcome:?}");
        }
    }

    #[test]
    fn a_reject_of_a_refusal_holds_its_place_and_reads_back(
        settings in any_settings(), value in any_value(), partition: u32, offset: u64, time: i64,
    ) {
        let text = value.to_string();
        let record = ForeignRecord {
            topic: &settings.topic, topic_id: "t", partition: Partition(partition), offset: Offset(offset), time: Millis(time), value: text.as_bytes(),
        };
        for outcome in adapt(&settings, &record) {
            let Outcome::Refused(refusal) = outcome else { continue };
            let reject = record.reject(&refusal, &settings);
            let stored = encode_foreign(&reject);
            prop_assert!(stored.value.is_empty());
            let stored = Record {
                offset: Offset(1), append_time: Millis(2), key: stored.key, value: stored.value, headers: stored.headers,
            };
            prop_assert_eq!(decode_reject(&stored), Ok(Reject::Foreign(reject)));
        }
    }
}
