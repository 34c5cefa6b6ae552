//! Adapters: what each gateway's log entries become. The fixtures show the gateways' exact shapes; beside each stands what it becomes.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tidemark::domain::position::{Offset, Partition};
use tidemark::domain::time::Millis;
use tidemark::gateways::access_log::{ForeignRecord, Outcome, adapt};
use tidemark::log::usage;
use tidemark::ops::config::{AdapterConfig, Config, Sources};

pub const APISIX: &str = "topic = 'apisix-logs'\nformat = 'apisix'\nsource = 'apisix-eu'\n";
pub const KONG: &str = "topic = 'kong-logs'\nformat = 'kong'\nsource = 'kong-eu'\n";
pub const ENVOY: &str =
    "topic = 'envoy-logs'\nformat = 'envoy'\nsource = 'envoy-eu'\nuser_from = 'x-user-id'\n";

/// The adapter that such a table configures.
pub fn adapter(table: &str) -> AdapterConfig {
    let sources = Sources {
        file: Some(("my.toml".into(), format!("[[adapters]]\n{table}"))),
        ..Sources::default()
    };
    Config::read(&sources).expect("valid").adapters.remove(0)
}

pub fn outcomes(settings: &AdapterConfig, value: &[u8]) -> Vec<Outcome> {
    let record = ForeignRecord {
        topic: &settings.topic,
        topic_id: "t-1",
        partition: Partition(3),
        offset: Offset(42),
        time: Millis(1_795_330_900_000),
        value,
    };
    adapt(settings, &record)
}

/// Outcomes as the golden files show them.
pub fn shown(outcomes: &[Outcome]) -> Value {
    let one = |outcome: &Outcome| match outcome {
        Outcome::Event(adapted) => {
            let value = &adapted.record.value;
            let event = usage::decode(value, &adapted.record.headers).expect("a usage event");
            assert_eq!(event.user, adapted.user);
            assert_eq!(adapted.record.key.as_deref(), Some(adapted.user.as_bytes()));
            assert_eq!(usage::encode(&event), **value, "it is canonical");
            let event: Value = serde_json::from_slice(value).expect("JSON");
            json!({"event": event, "isUsageUnknown": adapted.remarks.is_usage_unknown})
        }
        Outcome::Skipped(skip) => json!({"skipped": skip.as_str()}),
        Outcome::Refused(refusal) => {
            json!({"refused": [refusal.index, refusal.reason.as_str(), refusal.field, refusal.detail]})
        }
    };
    outcomes.iter().map(one).collect()
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/wire/fixtures")
        .join(name)
}

/// Compares what `<fixture>.json` becomes with `<fixture>.<golden>.json`.
fn check_fixture(name: &str, golden: &str, table: &str) {
    let value = fs::read(fixture(&format!("{name}.json"))).expect("a fixture");
    let is = shown(&outcomes(&adapter(table), &value));
    let path = fixture(&format!("{name}.{golden}.json"));
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        fs::write(&path, serde_json::to_string_pretty(&is).unwrap() + "\n").unwrap();
    }
    let must: Value =
        serde_json::from_slice(&fs::read(&path).expect("a golden file")).expect("JSON");
    assert_eq!(is, must, "{name} with {table}");
    assert!(!is.to_string().contains("SECRET"), "{name} leaks");
}

#[test]
fn apisix_entries_become_what_stands_beside_them() {
    check_fixture("apisix/batch", "out", APISIX);
    check_fixture(
        "apisix/batch",
        "out_with_ids",
        &format!(
            "{APISIX}id_from = 'request.headers.x-request-id'\nprovider_from = ['route_id']\n"
        ),
    );
    check_fixture(
        "apisix/single",
        "out",
        &format!("{APISIX}endpoint_from = '/v1/completions'\n"),
    );
    check_fixture(
        "apisix/anthropic",
        "out",
        &format!("{APISIX}cached_tokens = 'outside'\n"),
    );
    check_fixture("apisix/anthropic", "out_misconfigured", APISIX);
}

#[test]
fn kong_entries_become_what_stands_beside_them() {
    check_fixture("kong/chat", "out", KONG);
    check_fixture(
        "kong/chat",
        "out_custom",
        &format!(
            "{KONG}user_from = ['consumer.custom_id', 'consumer.username']\nprovider_from = 'service.name'\n"
        ),
    );
    check_fixture(
        "kong/stream_unknown",
        "out",
        &format!("{KONG}user_from = ['consumer.custom_id', 'consumer.username']\n"),
    );
    check_fixture("kong/transformer_only", "out", KONG);
    // Kong 3.6, 3.7 and 3.8, each with names of its own.
    check_fixture("kong/before_3_9", "out", KONG);
}

#[test]
fn envoy_entries_become_what_stands_beside_them() {
    check_fixture("envoy/chat", "out", ENVOY);
    check_fixture("envoy/lines", "out", ENVOY);
}
