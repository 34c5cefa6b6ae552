//! Laws of batches, in every format: what an item becomes depends neither on its neighbours nor on its place, and every item has exactly one outcome.

use proptest::prelude::*;
use serde_json::{Value, json};
use tidemark::gateways::{Format, GatewaySettings, read_otlp_protobuf};

use super::gateways::{LAGO, LITELLM, NEW_API, OPENMETER, OTLP, SUB2API, items, outcomes, shown};
use super::gateways_otlp::PROTOBUF;

/// The items of a format's fixture: each of them is another call.
fn fixture(format: Format) -> Vec<Value> {
    let text = match format {
        Format::Litellm => LITELLM,
        Format::LitellmOpenmeter => OPENMETER,
        Format::LitellmLago => LAGO,
        Format::NewApi => NEW_API,
        Format::Sub2Api => SUB2API,
        Format::Otlp => OTLP,
    };
    let value: Value = serde_json::from_str(text).expect("JSON");
    match value {
        Value::Array(items) => items,
        export if format == Format::Otlp => {
            let resources = export["resourceSpans"].as_array().expect("resources");
            let spans = resources.iter().flat_map(|resource| {
                let scopes = resource["scopeSpans"].as_array().expect("scopes");
                scopes.iter().flat_map(|scope| {
                    let spans = scope["spans"].as_array().expect("spans");
                    spans.iter().map(|span| {
                        let mut alone = resource.clone();
                        alone["scopeSpans"] = json!([{"spans": [span]}]);
                        alone
                    })
                })
            });
            spans.collect()
        }
        item => vec![item],
    }
}

/// A body of these items as they are written.
fn body(format: Format, items: &[String]) -> String {
    let list = items.join(",");
    match format {
        Format::Otlp => format!("{{\"resourceSpans\":[{list}]}}"),
        _ => format!("[{list}]"),
    }
}

/// Events and refusals without their places, and how many items were passed over for which reason.
fn as_a_set(format: Format, items: &[String]) -> Vec<String> {
    let outcomes = outcomes(format, body(format, items).as_bytes());
    let shown = shown(&outcomes);
    let told =
        shown
            .as_array()
            .expect("a list")
            .iter()
            .map(|outcome| match outcome.get("refused") {
                Some(refused) => format!("{} {} {}", refused[1], refused[2], outcome["draft"]),
                None => outcome.to_string(),
            });
    let mut told: Vec<String> = told.collect();
    told.sort();
    told
}

fn written(format: Format) -> Vec<String> {
    fixture(format).iter().map(Value::to_string).collect()
}

/// What is not an item: another value, what Python writes for a number that is none, a broken text, an item that was cut off.
fn any_broken() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "7".to_owned(),
        "\"text\"".to_owned(),
        "[1]".to_owned(),
        "[NaN]".to_owned(),
        "{\"id\":\"\\x\"}".to_owned(),
        "{\"id\":\"a\u{1}\"}".to_owned(),
        "{\"id\":-Infinity,}".to_owned(),
        "{\"id\":}".to_owned(),
    ])
}

fn any_format() -> impl Strategy<Value = Format> {
    prop::sample::select(&Format::ALL[..])
}

fn any_order(format: Format) -> impl Strategy<Value = Vec<String>> {
    Just(written(format)).prop_shuffle()
}

proptest! {
    #[test]
    fn taken_and_skipped_and_refused_are_all_items_in_whichever_order(
        (format, shuffled) in any_format().prop_flat_map(|format| (Just(format), any_order(format))),
    ) {
        let outcomes = outcomes(format, body(format, &shuffled).as_bytes());
        prop_assert_eq!(items(&outcomes), shuffled.len() as u64);
        prop_assert_eq!(as_a_set(format, &shuffled), as_a_set(format, &written(format)));
    }

    #[test]
    fn how_items_are_batched_changes_no_event(format in any_format(), cut in any::<prop::sample::Index>()) {
        let all = written(format);
        let (first, second) = all.split_at(cut.index(all.len() + 1));
        let events = |items: &[String]| -> Vec<String> {
            let told = as_a_set(format, items);
            told.into_iter().filter(|told| told.contains("\"event\"")).collect()
        };
        let mut apart = [events(first), events(second)].concat();
        apart.sort();
        prop_assert_eq!(apart, events(&all));
    }

    #[test]
    fn one_broken_item_changes_no_other(
        format in any_format(), broken in any_broken(), at in any::<prop::sample::Index>(),
    ) {
        let whole = written(format);
        let mut with = whole.clone();
        with.insert(at.index(whole.len() + 1), broken.clone());
        let before = as_a_set(format, &whole);
        let mut beside = as_a_set(format, &with);
        // The broken one is kept, and nothing else differs.
        for told in &before {
            let at = beside.iter().position(|other| other == told);
            prop_assert!(at.is_some(), "{:?} is missing beside {}: {:?}", told, broken, beside);
            beside.remove(at.unwrap_or_default());
        }
        prop_assert_eq!(beside.len(), 1, "{:?}", beside);
        prop_assert!(beside[0].contains("malformed"), "{:?}", beside);
    }
}

#[test]
fn the_counts_of_protobuf_add_up_as_well() {
    let outcomes = read_otlp_protobuf(PROTOBUF, &GatewaySettings::default()).expect("spans");
    assert_eq!(items(&outcomes), fixture(Format::Otlp).len() as u64);
}
