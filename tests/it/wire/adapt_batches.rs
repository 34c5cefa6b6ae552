//! Laws of batches in gateways' own logs: what an entry becomes depends neither on its neighbours nor on
//! its place nor on how entries are strung together, and every entry has exactly one outcome.

use proptest::prelude::*;
use serde_json::Value;
use tidemark::gateways::access_log::Outcome;
use tidemark::ops::config::AdapterConfig;

use super::adapt::{APISIX, KONG, adapter, outcomes};
use super::adapt_laws::FIXTURES;

/// Entries that name their calls, so that a place decides nothing.
const IDS: &str = "id_from = 'request.headers.x-request-id'\n";

/// Kong's entries that are skipped and refused.
const KONG_OTHERS: &str = concat!(
    include_str!("fixtures/kong/transformer_only.json"),
    r#"{"request":{"id":"n","uri":"/v1/messages"},"started_at":1795330862123,"ai":{"proxy":{}},"response":{"status":200}}"#
);

/// The entries of a fixture as they are written.
fn entries(text: &str) -> Vec<String> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    values
        .flat_map(|value| match value.expect("JSON") {
            Value::Array(entries) => entries,
            entry => vec![entry],
        })
        .map(|entry| entry.to_string())
        .collect()
}

/// An adapter, and entries of different calls in its format.
fn formats() -> Vec<(AdapterConfig, Vec<String>)> {
    let mut formats: Vec<(String, Vec<String>)> = Vec::new();
    for (table, text) in FIXTURES.into_iter().chain([(KONG, KONG_OTHERS)]) {
        let table = match table {
            APISIX => format!("{APISIX}{IDS}"),
            table => table.to_owned(),
        };
        match formats.iter_mut().find(|(known, _)| *known == table) {
            Some((_, known)) => known.extend(entries(text)),
            None => formats.push((table, entries(text))),
        }
    }
    let formats = formats.into_iter();
    formats
        .map(|(table, entries)| (adapter(&table), entries))
        .collect()
}

/// How entries are strung together in a record.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Array,
    Lines,
    Sequence,
    ArraysInARow,
}

fn any_framing() -> impl Strategy<Value = Framing> {
    prop::sample::select(vec![
        Framing::Array,
        Framing::Lines,
        Framing::Sequence,
        Framing::ArraysInARow,
    ])
}

fn record(framing: Framing, entries: &[String]) -> String {
    match framing {
        Framing::Array => format!("[{}]", entries.join(",")),
        Framing::Lines => entries.join("\n"),
        Framing::Sequence => entries.join(" "),
        Framing::ArraysInARow => {
            let arrays: Vec<String> = entries.iter().map(|entry| format!("[{entry}]")).collect();
            arrays.join("\n")
        }
    }
}

/// What an outcome says, but for its place. An id that is made of a place says nothing else.
fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Event(adapted) => {
            let mut event: Value = serde_json::from_slice(&adapted.record.value).expect("JSON");
            if adapted.id.contains("/t-1/") {
                event["id"] = "of its place".into();
            }
            format!("{event} {:?}", adapted.remarks)
        }
        Outcome::Skipped(skip) => skip.as_str().to_owned(),
        Outcome::Refused(refusal) => format!("{:?} {:?}", refusal.reason, refusal.field),
    }
}

/// Taken, skipped and refused entries of a record.
fn all(settings: &AdapterConfig, record: &str) -> Vec<String> {
    let mut all: Vec<String> = outcomes(settings, record.as_bytes())
        .iter()
        .map(told)
        .collect();
    all.sort();
    all
}

fn any_format() -> impl Strategy<Value = (AdapterConfig, Vec<String>)> {
    prop::sample::select(formats())
}

/// What is no entry.
fn any_broken() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "7".to_owned(),
        "\"text\"".to_owned(),
        "[1]".to_owned(),
        "[NaN]".to_owned(),
        "{\"request\":\"\\x\"}".to_owned(),
        "{\"response\":-Infinity,}".to_owned(),
        "{\"ai\":}".to_owned(),
    ])
}

#[test]
fn the_entries_of_these_laws_are_taken_skipped_and_refused() {
    let formats = formats();
    assert_eq!(formats.len(), 3, "one for each gateway");
    for (settings, entries) in formats {
        let found = all(&settings, &record(Framing::Array, &entries));
        let events = found.iter().filter(|told| told.starts_with('{')).count();
        assert!(events > 1, "{found:#?}");
        assert!(found.contains(&"not_inference".to_owned()), "{found:#?}");
        let is_refused = |told: &String| told.contains("Some(\"");
        assert!(found.iter().any(is_refused), "{found:#?}");
    }
}

proptest! {
    #[test]
    fn taken_and_skipped_and_refused_are_all_entries_in_whichever_order(
        ((settings, entries), shuffled) in any_format().prop_flat_map(|(settings, entries)| {
            (Just((settings, entries.clone())), Just(entries).prop_shuffle())
        }),
        framing in any_framing(),
    ) {
        let found = all(&settings, &record(framing, &shuffled));
        prop_assert_eq!(found.len(), entries.len());
        prop_assert_eq!(found, all(&settings, &record(Framing::Array, &entries)));
    }

    #[test]
    fn how_entries_are_batched_changes_nothing(
        (settings, entries) in any_format(), cut in any::<prop::sample::Index>(), framing in any_framing(),
    ) {
        let (first, second) = entries.split_at(1 + cut.index(entries.len() - 1));
        let mut apart = [first, second].map(|part| all(&settings, &record(framing, part))).concat();
        apart.sort();
        prop_assert_eq!(apart, all(&settings, &record(framing, &entries)));
    }

    #[test]
    fn one_broken_entry_changes_no_other(
        (settings, entries) in any_format(), broken in any_broken(), at in any::<prop::sample::Index>(),
    ) {
        let before = all(&settings, &record(Framing::Array, &entries));
        let mut with = entries.clone();
        with.insert(at.index(entries.len() + 1), broken.clone());
        let mut beside = all(&settings, &record(Framing::Array, &with));
        for told in &before {
            let at = beside.iter().position(|other| other == told);
            prop_assert!(at.is_some(), "{:?} is missing beside {}: {:?}", told, broken, beside);
            beside.remove(at.unwrap_or_default());
        }
        prop_assert_eq!(beside, ["Malformed None"]);
    }
}
