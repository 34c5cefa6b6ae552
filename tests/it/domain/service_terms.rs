//! Seasons, demand and prices of single models, for services beside the built-in ones.

use std::borrow::Cow;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use tidemark::domain::amount::{Bp, Money, Points};
use tidemark::domain::event::UsageEvent;
use tidemark::domain::position::Control;
use tidemark::domain::rating::{Amounts, rate};
use tidemark::domain::rules::{Network, RateClass, RuleBook, RuleChange, Rules, check_value};
use tidemark::domain::semantics::Semantics;
use tidemark::domain::service::Service;
use tidemark::domain::tier::Tier;
use tidemark::domain::time::Millis;

use super::helpers::{book, rules, shipped};

const MODEL: &str = "jina-reranker-v2";

fn added(demand: u32) -> Value {
    json!([
        {"number": 4, "name": "images", "endpoints": ["/images/generations"], "counts": "images", "price": "0.02",
         "points": "3", "demand": demand, "targetMs": 9000},
        {"number": 5, "name": "rerank", "endpoints": ["/rerank"], "counts": "tokens", "inputPrice": "0.001",
         "outputPrice": "0.002", "points": "tier", "demand": demand},
    ])
}

fn season(classes: u32, services: Value) -> Value {
    let multiplier: serde_json::Map<String, Value> = RateClass::NAMES
        .iter()
        .map(|name| ((*name).to_owned(), json!(classes)))
        .collect();
    let mut season = json!({"name": "a season", "from": "1970-01-01T00:00:00Z", "to": "1971-01-01T00:00:00Z",
        "multiplier": multiplier});
    if !services.is_null() {
        season["services"] = services;
    }
    json!([season])
}

/// The rules of mainnet with these values.
fn with(values: &[(&str, Value)]) -> Arc<Rules> {
    let mut book: RuleBook = book(&shipped(Network::Mainnet));
    for (at, (key, value)) in (2..).zip(values) {
        let change = RuleChange {
            key: (*key).to_owned(),
            value: value.to_string(),
            effective_from: Some(Millis(0)),
        };
        book.apply(Control(at), &[change]).expect("taken");
    }
    let timeline = book.as_of(Control(99)).expect("complete rules");
    Arc::clone(timeline.at(Millis(5)))
}

fn rated(rules: &Rules, service: Service, model: &str) -> Amounts {
    let event = UsageEvent {
        source: Cow::Borrowed("s"),
        id: Cow::Borrowed("i"),
        time: Millis(5),
        user: Cow::Borrowed("u"),
        provider: None,
        endpoint: Cow::Borrowed("/"),
        model: Some(Cow::Borrowed(model)),
        status: 200,
        latency_ms: None,
        input_tokens: Some(1_000),
        output_tokens: Some(1_000),
        cached_input_tokens: Some(400),
        cache_write_tokens: None,
        reasoning_tokens: None,
        audio_millis: None,
        image_count: Some(2),
        request_bytes: None,
        response_bytes: None,
        error_message: None,
        stream: false,
    };
    rate(&event, service, &rules.detect(model, Semantics::NOW), rules)
}

fn numbered(number: u8) -> Service {
    Service::numbered(number).expect("a number")
}

fn points(text: &str) -> Points {
    text.parse().expect("points")
}

fn dollars(text: &str) -> Money {
    text.parse().expect("dollars")
}

#[test]
fn a_season_names_services_with_fixed_points_and_applies_to_others_by_tier() {
    let tier = rules(Network::Mainnet).provider_earns(RateClass::TidePool);
    let rows = [
        // Season, demand, points of images, share of the tier's points for reranking.
        (Value::Null, 10_000, "3", 10_000),
        // The built-in classes have a season, and images have none.
        (season(20_000, Value::Null), 10_000, "3", 20_000),
        (
            season(20_000, json!({"images": 15_000})),
            10_000,
            "4.5",
            20_000,
        ),
        (
            season(10_000, json!({"images": 15_000, "other": 7})),
            20_000,
            "9",
            20_000,
        ),
        (season(20_000, json!({"images": 0})), 10_000, "0", 20_000),
    ];
    for (seasons, demand, images, by_tier) in rows {
        let mut values = vec![("rules.services", added(demand))];
        if !seasons.is_null() {
            values.push(("rules.season", seasons.clone()));
        }
        let rules = with(&values);
        let provider = rated(&rules, numbered(4), "x").provider;
        assert_eq!(provider, points(images), "{seasons}");
        let provider = rated(&rules, numbered(5), MODEL).provider;
        assert_eq!(provider, tier.times(Bp(by_tier)), "{seasons}");
    }
}

#[test]
fn prices_of_a_model_apply_to_every_service_that_counts_tokens() {
    let prices =
        json!([{"match": "jina-*", "input": "0.01", "cachedInput": "0.001", "output": "0.1"}]);
    let rules = with(&[
        ("rules.services", added(10_000)),
        ("rules.modelPrices", prices),
    ]);
    assert!(rules.depends_on_model_prices(numbered(5)));
    assert!(!rules.depends_on_model_prices(numbered(4)));
    let cost = |service, model| rated(&rules, numbered(service), model).charge.cost;
    // 600 at 0.01, 400 at 0.001, 1,000 at 0.1, per 1,000.
    assert_eq!(cost(5, MODEL), dollars("0.1064"));
    assert_eq!(cost(5, "other"), dollars("0.003"));
    // Images are paid by the image, whatever the model.
    assert_eq!(cost(4, MODEL), dollars("0.04"));
}

#[test]
fn a_seasons_services_are_checked() {
    let faults = |services: Value| {
        let value = season(10_000, services).to_string();
        let faults = check_value("rules.season", &value).expect_err("refused");
        faults
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    };
    assert!(faults(json!({"tts": 10_000})).contains("services.tts"));
    assert!(faults(json!({"images": 100_001})).contains("services.images"));
    assert!(faults(json!([1])).contains("services"));
    // Values of today have the text that they had.
    let plain = season(10_000, Value::Null).to_string();
    assert!(
        !check_value("rules.season", &plain)
            .expect("taken")
            .contains("services")
    );
}

proptest! {
    /// What added services have changes nothing for the built-in ones.
    #[test]
    fn seasons_of_added_services_change_nothing_for_built_in_ones(
        number in 0..4u8,
        tier in prop::sample::select(Tier::ALL.to_vec()),
        classes in 0..100_000u32,
        images in 0..100_000u32,
        demand in 5_000..20_000u32,
    ) {
        let alone = with(&[("rules.season", season(classes, Value::Null))]);
        let beside = with(&[
            ("rules.season", season(classes, json!({"images": images}))),
            ("rules.services", added(demand)),
        ]);
        prop_assert_eq!(
            beside.earnings(numbered(number), tier),
            alone.earnings(numbered(number), tier)
        );
        prop_assert_eq!(
            rated(&beside, numbered(number), MODEL),
            rated(&alone, numbered(number), MODEL)
        );
    }
}
