//! `rules.providers`: what it may say, and which version maps.

use std::sync::Arc;

use serde_json::{Value, json};
use tidemark::domain::position::Control;
use tidemark::domain::rules::{
    Network, RuleBook, RuleChange, RulesDocument, Timeline, check_value,
};
use tidemark::domain::time::Millis;
use tidemark::ops::config::ProviderAccounts;

const KEY: &str = "rules.providers";

#[test]
fn names_are_mapped_to_accounts_within_limits() {
    let many = |count: usize| -> Value {
        let pairs = (0..count).map(|n| (format!("deployment-{n:04}"), json!("prov-1")));
        Value::Object(pairs.collect())
    };
    let named = |name: String| Value::Object([(name, json!("prov-1"))].into_iter().collect());
    // A value whose JSON has this size.
    let sized = |bytes: usize| -> Value {
        let entry = |name: String| (name, json!("prov-1"));
        let mut value: Vec<(String, Value)> = (0..740)
            .map(|n| entry(format!("{n:03}{}", "x".repeat(253))))
            .collect();
        let object = |pairs: &[(String, Value)]| Value::Object(pairs.iter().cloned().collect());
        while object(&value).to_string().len() + 200 < bytes {
            value.push(entry(format!("{:04}{}", value.len(), "y".repeat(100))));
        }
        // A comma, two texts in quotes, a colon.
        let rest = bytes - object(&value).to_string().len() - 12;
        value.push(entry("z".repeat(rest)));
        let value = object(&value);
        assert_eq!(value.to_string().len(), bytes);
        value
    };
    let rows: [(Value, Option<&str>); 16] = [
        (json!({}), None),
        (
            json!({"azure-eu-1": "prov-9", "7": "prov-7", "a, b = c": "prov-1"}),
            None,
        ),
        (named("n".repeat(256)), None),
        (many(1_000), None),
        (sized(200_000), None),
        (sized(200_001), Some("at most 200000 bytes of JSON")),
        (many(1_001), Some("a table of at most 1000 names")),
        (json!([]), Some("a table of at most 1000 names")),
        (json!(null), Some("a table of at most 1000 names")),
        (named("n".repeat(257)), Some("names of 1 to 256 characters")),
        (named(String::new()), Some("names of 1 to 256 characters")),
        (
            named(" azure".to_owned()),
            Some("without spaces at either end"),
        ),
        (named("a\nb".to_owned()), Some("without control characters")),
        (
            json!({"azure-eu-1": ""}),
            Some("a text of 1 to 256 characters"),
        ),
        (
            json!({"azure-eu-1": 7}),
            Some("a text of 1 to 256 characters"),
        ),
        (
            json!({"azure-eu-1": "p".repeat(200)}),
            Some("the id of the provider's account"),
        ),
    ];
    for (value, fault) in rows {
        let checked = check_value(KEY, &value.to_string());
        match (checked, fault) {
            (Ok(canonical), None) => {
                let canonical: Value = serde_json::from_str(&canonical).unwrap();
                assert_eq!(canonical, value);
            }
            (Err(faults), Some(allowed)) => {
                assert!(faults[0].to_string().contains(allowed), "{faults:?}");
            }
            (checked, _) => panic!("{value:.200}: {checked:?}"),
        }
    }
}

/// The testnet's rules, and then these versions of the names.
fn timeline(versions: &[(Option<i64>, Value)]) -> Arc<Timeline> {
    let (file, text) = Network::Testnet.document();
    let document = RulesDocument::parse_toml(file, text).unwrap();
    let change = |(key, value): (String, String)| RuleChange {
        key,
        value,
        effective_from: None,
    };
    let mut book = RuleBook::default();
    let first: Vec<RuleChange> = document.changes().into_iter().map(change).collect();
    book.apply(Control(1), &first).unwrap();
    for (number, (from, value)) in (2..).zip(versions) {
        let change = RuleChange {
            key: KEY.to_owned(),
            value: value.to_string(),
            effective_from: from.map(Millis),
        };
        book.apply(Control(number), &[change]).unwrap();
    }
    let last = Control(1 + versions.len() as u64);
    book.as_of(last).unwrap()
}

#[test]
fn the_version_maps_that_is_in_force_and_the_configuration_beneath_it() {
    let configured = ["a", "b"].map(|name| (name.to_owned(), "configured".to_owned()));
    let configured: ProviderAccounts = configured.into_iter().collect();
    let timeline = timeline(&[
        (Some(100), json!({"a": "first"})),
        (Some(300), json!({"c": "third"})),
        // A later publication for the same moment replaces it; one for an earlier moment holds
        // until then.
        (Some(300), json!({"a": "fourth"})),
        (Some(200), json!({})),
    ]);
    let rows = [
        (99, ["configured", "configured"]),
        (100, ["first", "configured"]),
        (199, ["first", "configured"]),
        (200, ["configured", "configured"]),
        (300, ["fourth", "configured"]),
    ];
    let accounts = configured.beneath(Arc::clone(timeline.provider_names()));
    for (time, expected) in rows {
        let found = ["a", "b"].map(|name| accounts.of(name, Millis(time)));
        assert_eq!(found, expected.map(Some), "{time}");
        assert_eq!(accounts.of("c", Millis(time)), None);
    }
}

/// It says who earns before a record is in the log; what a record earns does not depend on it.
#[test]
fn no_rules_that_rate_differ_by_it() {
    let (without, with) = (timeline(&[]), timeline(&[(Some(100), json!({"a": "b"}))]));
    for time in [0, 99, 100, 101] {
        let time = Millis(time);
        assert_eq!(without.at(time).id(), with.at(time).id());
        assert_eq!(with.since(time), None);
    }
}
