//! What gateways post in forms of their own. The fixtures of LiteLLM are what LiteLLM 1.106.2 really sent (see `process::litellm`), with prompts and keys
//! that must not come out; beside each stands what it becomes.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tidemark::domain::time::Millis;
use tidemark::gateways::{Format, GatewaySettings, Outcome, Outcomes, read};
use tidemark::log::usage;

/// When everything is received.
pub const RECEIVED: Millis = Millis(1_795_395_200_000);

pub const LITELLM: &str = include_str!("fixtures/litellm/batch.json");
pub const OPENMETER: &str = include_str!("fixtures/litellm/openmeter.json");
pub const LAGO: &str = include_str!("fixtures/litellm/lago.json");
pub const NEW_API: &str = include_str!("fixtures/new_api/logs.json");
pub const SUB2API: &str = include_str!("fixtures/sub2api/usage.json");
pub const OTLP: &str = include_str!("fixtures/otlp/traces.json");

/// What differs from an item that is well, by paths; null takes away.
pub type Changes<'a> = Vec<(&'a str, Value)>;

/// Changes, a place in the event, and what stands there.
pub type Row<'a> = (Changes<'a>, &'a str, Value);

pub fn outcomes(format: Format, body: &[u8]) -> Outcomes {
    read(format, body, RECEIVED, &GatewaySettings::default()).expect("a body of that form")
}

/// Outcomes as the golden files show them: what is kept, then what was passed over.
pub fn shown(outcomes: &Outcomes) -> Value {
    let one = |outcome: &Outcome| match outcome {
        Outcome::Event(adapted) => {
            let value = &adapted.record.value;
            let event = usage::decode(value, &adapted.record.headers).expect("a usage event");
            assert_eq!(adapted.record.key.as_deref(), Some(event.user.as_bytes()));
            assert_eq!(usage::encode(&event), **value, "it is canonical");
            let event: Value = serde_json::from_slice(value).expect("JSON");
            let mut shown = json!({"event": event});
            let remarks = adapted.remarks;
            for (name, is_so) in [
                ("isUsageUnknown", remarks.is_usage_unknown),
                ("isTotalOdd", remarks.is_total_odd),
                ("isProviderMadeUp", remarks.is_provider_made_up),
                ("isFailureUnattributed", remarks.is_failure_unattributed),
            ] {
                if is_so {
                    shown[name] = json!(true);
                }
            }
            shown
        }
        Outcome::Refused(refused) => {
            let refusal = &refused.refusal;
            let draft: Value = serde_json::from_slice(&refused.draft).unwrap_or_default();
            json!({"refused": [refusal.index, refusal.reason.as_str(), refusal.field, refusal.detail], "draft": draft})
        }
    };
    let kept = outcomes.kept.values().map(one);
    let skipped = outcomes.skipped.iter();
    let skipped = skipped.map(|(why, items)| json!({"skipped": why.as_str(), "items": items}));
    kept.chain(skipped).collect()
}

/// How many items there were.
pub fn items(outcomes: &Outcomes) -> u64 {
    outcomes.kept.len() as u64 + outcomes.skipped.values().sum::<u64>()
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
    assert!(!is.to_string().contains("SECRET"), "{name} leaks");
}

#[test]
fn what_litellm_really_sends_becomes_what_stands_beside_it() {
    check_fixture(Format::Litellm, "litellm/batch", LITELLM);
    check_fixture(Format::LitellmOpenmeter, "litellm/openmeter", OPENMETER);
    check_fixture(Format::LitellmLago, "litellm/lago", LAGO);
}

#[test]
fn rows_of_new_api_become_what_stands_beside_them() {
    check_fixture(Format::NewApi, "new_api/logs", NEW_API);
}

#[test]
fn rows_of_sub2api_become_what_stands_beside_them() {
    check_fixture(Format::Sub2Api, "sub2api/usage", SUB2API);
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
pub fn change(value: &mut Value, changes: &[(&str, Value)]) {
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

pub fn one(format: Format, item: &Value) -> Value {
    let outcomes = outcomes(format, item.to_string().as_bytes());
    assert_eq!(items(&outcomes), 1);
    shown(&outcomes)[0].clone()
}

/// The item is kept as a reject, for this reason, which names this field.
#[track_caller]
pub fn is_refused(format: Format, item: &Value, reason: &str, field: &str) {
    let outcomes = outcomes(format, item.to_string().as_bytes());
    let Some((_, Outcome::Refused(refused))) = outcomes.kept.into_iter().next() else {
        panic!("taken: {item}");
    };
    let refusal = refused.refusal;
    assert_eq!(
        (refusal.reason.as_str(), refusal.field.as_deref()),
        (reason, Some(field)),
        "{item}: {}",
        refusal.detail
    );
}

/// A provider that is configured for this name earns for the item.
#[track_caller]
pub fn earns_for(format: Format, item: &Value, name: &str) {
    let configured = [(name.to_owned(), "prov-1".to_owned())];
    let settings = GatewaySettings {
        providers: configured.into_iter().collect(),
        ..GatewaySettings::default()
    };
    let outcomes = read(format, item.to_string().as_bytes(), RECEIVED, &settings).unwrap();
    let Some(Outcome::Event(adapted)) = outcomes.kept.values().next() else {
        panic!("no event");
    };
    let event: Value = serde_json::from_slice(&adapted.record.value).unwrap();
    assert_eq!(event["data"]["providerId"], "prov-1", "{name}");
}

#[test]
fn items_come_as_an_array_one_a_line_or_alone() {
    let (a, b) = (
        payload(&[]).to_string(),
        payload(&[("metadata.user_api_key_user_id", json!("ben"))]).to_string(),
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
        assert_eq!(items(&outcomes), count, "{body:.80}");
        let events = outcomes.kept.values();
        let events = events.filter(|o| matches!(o, Outcome::Event(_)));
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
            &GatewaySettings::default(),
        );
        assert!(read.is_err(), "{body}");
    }
}

#[test]
fn a_byte_that_is_no_utf_8_costs_no_other_item() {
    let body = [
        b"[".as_slice(),
        payload(&[]).to_string().as_bytes(),
        b",{\"metadata\":{\"user_api_key_user_id\":\"\xff\"}}]",
    ]
    .concat();
    let is = shown(&outcomes(Format::Litellm, &body));
    assert_eq!(is[0]["event"]["subject"], "anna");
    assert_eq!(is[1]["refused"][1], "malformed");
}
#[test]
fn the_places_of_the_user_can_be_chosen() {
    let from = GatewaySettings {
        litellm_user: vec![
            "end_user".to_owned(),
            "metadata.user_api_key_user_id".to_owned(),
        ],
        otlp_user: vec!["service.name".to_owned()],
        ..GatewaySettings::default()
    };
    let body = payload(&[("end_user", json!("customer-7"))]).to_string();
    let outcomes = read(Format::Litellm, body.as_bytes(), RECEIVED, &from).unwrap();
    assert_eq!(shown(&outcomes)[0]["event"]["subject"], "customer-7");
    let nobody = payload(&[
        ("end_user", json!("")),
        ("metadata.user_api_key_user_id", Value::Null),
    ]);
    let outcomes = read(
        Format::Litellm,
        nobody.to_string().as_bytes(),
        RECEIVED,
        &from,
    )
    .unwrap();
    assert_eq!(
        shown(&outcomes)[0]["refused"][2],
        "end_user or metadata.user_api_key_user_id"
    );
    let outcomes = read(Format::Otlp, OTLP.as_bytes(), RECEIVED, &from).unwrap();
    assert_eq!(shown(&outcomes)[0]["event"]["subject"], "chat-backend");
}
