//! Prices by kind of token and by model.

use std::sync::Arc;

use proptest::prelude::*;
use tidemark::domain::amount::Money;
use tidemark::domain::event::Service;
use tidemark::domain::position::Control;
use tidemark::domain::rating::{Used, price};
use tidemark::domain::rules::{
    Network, PriceKey, RuleChange, Rules, RulesDocument, TokenCounts, TokenPrices, check_value,
};
use tidemark::domain::semantics::Semantics;
use tidemark::domain::tier::{Detection, Tier};
use tidemark::domain::time::Millis;

use super::helpers::{book, edited, rules, shipped};

const CHAT: Service = Service::CHAT_COMPLETIONS;

/// The testnet's rules with further values.
fn with(values: &[(&str, &str)]) -> Arc<Rules> {
    let mut book = book(&shipped(Network::Testnet));
    let change = |(key, value): &(&str, &str)| RuleChange {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        effective_from: None,
    };
    let changes: Vec<RuleChange> = values.iter().map(change).collect();
    book.apply(Control(2), &changes).expect("they are allowed");
    let timeline = book.as_of(Control(2)).expect("complete rules");
    Arc::clone(timeline.at(Millis(0)))
}

fn cost(rules: &Rules, service: Service, model: &str, counts: [u64; 5]) -> i128 {
    let [input, cached_input, cache_write, output, reasoning] = counts;
    let tokens = TokenCounts {
        input,
        cached_input,
        cache_write,
        output,
        reasoning,
    };
    let used = Used {
        tokens,
        audio_millis: 0,
        image_count: 0,
    };
    price(used, service, &rules.detect(model, Semantics::NOW), rules).0
}

#[test]
fn kinds_of_token_cost_what_they_are_priced_at() {
    let price = |text: &str| format!(r#"{{"pricePerUnit":"{text}","unit":"1000_tokens"}}"#);
    let (cached, written, reasoning) = (price("0.00005"), price("0.000625"), price("0.004"));
    let rules = with(&[
        ("blue_surge_cached_input", &cached),
        ("blue_surge_cache_write", &written),
        ("blue_surge_reasoning", &reasoning),
    ]);
    // blue_surge: 500,000 n$ in, 1,000,000 n$ out per 1,000.
    for (counts, expected) in [
        ([1_000, 0, 0, 1_000, 0], 1_500_000),
        ([1_000, 1_000, 0, 0, 0], 50_000),
        ([1_000, 0, 1_000, 0, 0], 625_000),
        ([1_000, 400, 500, 0, 0], 50_000 + 20_000 + 312_500),
        ([0, 0, 0, 1_000, 250], 750_000 + 1_000_000),
        // One floor each: 1 × 500,000 + 1 × 50,000 + 1 × 625,000, and 1 × 1,000,000 + 1 × 4,000,000.
        ([3, 1, 1, 2, 1], 1_175 + 5_000),
        // What is more than its whole does not count.
        ([1_000, 5_000, 5_000, 0, 5_000], 50_000),
        ([0, 5_000, 5_000, 0, 5_000], 0),
    ] {
        let found = cost(&rules, CHAT, "llama-3-8b", counts);
        assert_eq!(found, expected, "{counts:?}");
    }
    // Other tiers are as they were.
    let counts = [1_000, 500, 0, 1_000, 500];
    assert_eq!(cost(&rules, CHAT, "llama-3-70b", counts), 12_000_000);
}

#[test]
fn a_price_of_a_kind_may_be_withdrawn() {
    let rules = with(&[("blue_surge_cached_input", "null")]);
    let counts = [1_000, 1_000, 0, 0, 0];
    assert_eq!(cost(&rules, CHAT, "llama-3-8b", counts), 500_000);
    assert_eq!(
        check_value("blue_surge_cached_input", "null").unwrap(),
        "null"
    );
    assert!(check_value("blue_surge_input", "null").is_err());
}

const MODELS: &str = r#"[
    {"match": "GPT-4o", "input": "0.0025", "output": "0.01", "cachedInput": "0.00125"},
    {"match": "ft:gpt-4o", "input": "0.00375", "output": "0.015"},
    {"match": "gpt-4*", "input": "0.001", "output": "0.002"},
    {"match": "gpt-4o-mini", "input": "9", "output": "9"},
    {"match": "claude-*-haiku*", "input": "0.0008", "output": "0.004", "cacheWrite": "0.001"},
    {"match": "text-embedding-3-small", "input": "0.00002", "output": "0"}
]"#;

#[test]
fn the_first_price_that_matches_a_model_counts() {
    let rules = with(&[("rules.modelPrices", MODELS)]);
    for (service, model, counts, expected) in [
        (CHAT, "gpt-4o", [1_000, 0, 0, 1_000, 0], 12_500_000),
        (CHAT, "OpenAI/gpt-4o", [1_000, 1_000, 0, 0, 0], 1_250_000),
        // As it is written it matches the pattern; that comes before the name without its date.
        (CHAT, "gpt-4o-2024-08-06", [1_000, 0, 0, 0, 0], 1_000_000),
        (CHAT, "gpt-4o-mini", [1_000, 0, 0, 0, 0], 1_000_000),
        (
            CHAT,
            "ft:gpt-4o:acme::1",
            [1_000, 0, 0, 1_000, 0],
            18_750_000,
        ),
        (
            CHAT,
            "ft:gpt-4o-2024-08-06:acme::1",
            [1_000, 0, 0, 0, 0],
            3_750_000,
        ),
        (
            CHAT,
            "us.anthropic.claude-3-5-haiku-20241022-v1:0",
            [1_000, 0, 1_000, 0, 0],
            1_000_000,
        ),
        (CHAT, "llama-3-8b", [1_000, 0, 0, 0, 0], 500_000),
        (
            Service::EMBEDDINGS,
            "text-embedding-3-small",
            [1_000, 0, 0, 7, 0],
            20_000,
        ),
        (
            Service::EMBEDDINGS,
            "text-embedding-3-large",
            [1_000, 0, 0, 7, 0],
            100_000,
        ),
        (Service::SCRAPE, "gpt-4o", [1_000, 0, 0, 0, 0], 1_000_000),
    ] {
        let found = cost(&rules, service, model, counts);
        assert_eq!(found, expected, "{service:?} {model} {counts:?}");
    }
    // Points stay by tier.
    let tiers = ["gpt-4o", "llama-3-8b"].map(|model| rules.detect(model, Semantics::NOW).tier);
    assert_eq!(tiers, [Tier::MarianaDepth, Tier::BlueSurge]);
    let none = with(&[("rules.modelPrices", "[]")]);
    assert!(!none.has_model_prices());
}

#[test]
fn faults_of_model_prices_name_their_place() {
    let faults = |value: &str| {
        let faults = check_value("rules.modelPrices", value).unwrap_err();
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        told.join("\n")
    };
    for (value, expected) in [
        ("{}", "rules.modelPrices: is not a list"),
        (
            r#"[{"match":"a","input":"1"}]"#,
            "rules.modelPrices[0].output: is missing",
        ),
        (
            r#"[{"match":"a","input":"1","output":"1","cached":"1"}]"#,
            "rules.modelPrices[0].cached: is not known; allowed: match, input, output, cachedInput, cacheWrite, reasoning",
        ),
        (
            r#"[{"match":"a/b","input":"1","output":"1"}]"#,
            r#"rules.modelPrices[0].match: is "a/b""#,
        ),
        (
            r#"[{"match":"A","input":"1","output":"1"},{"match":"a","input":"2","output":"2"}]"#,
            r#"rules.modelPrices[1].match: "a" is listed more than once"#,
        ),
        (
            r#"[{"match":"a[","input":"1","output":"1"}]"#,
            r#"rules.modelPrices[0].match: is "a[""#,
        ),
        (
            r#"[{"match":"a","input":"-1","output":"1"}]"#,
            "rules.modelPrices[0].input: ",
        ),
        (
            r#"[{"match":"a","input":"1","output":"1","reasoning":1}]"#,
            "rules.modelPrices[0].reasoning: is 1",
        ),
    ] {
        let told = faults(value);
        assert!(told.contains(expected), "{value}: {told}");
    }
}

#[test]
fn a_document_may_have_them_and_none_is_needed() {
    let text = edited(&[
        (
            "\nscrape               =",
            "\ntide_pool_cached_input = { pricePerUnit = \"0.00001\", unit = \"1000_tokens\" }\nscrape               =",
        ),
        (
            "\n[rules.shares]",
            "\n[[rules.modelPrices]]\nmatch = \"gpt-4o\"\ninput = \"0.0025\"\noutput = \"0.01\"\n\n[rules.shares]",
        ),
    ]);
    let document = RulesDocument::parse_toml("edited.toml", &text).expect("no fault");
    let keys: Vec<String> = document.changes().into_iter().map(|(key, _)| key).collect();
    assert!(
        keys.contains(&"tide_pool_cached_input".to_owned()),
        "{keys:?}"
    );
    assert!(keys.contains(&"rules.modelPrices".to_owned()), "{keys:?}");
    let rules = Arc::clone(book(&document).as_of(Control(1)).unwrap().at(Millis(0)));
    assert_eq!(
        cost(&rules, CHAT, "gemma-2b", [1_000, 1_000, 0, 0, 0]),
        10_000
    );
    assert_eq!(cost(&rules, CHAT, "gpt-4o", [1_000, 0, 0, 0, 0]), 2_500_000);
    let keys: Vec<String> = shipped(Network::Mainnet)
        .changes()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    let optional = PriceKey::ALL.into_iter().filter(|key| key.is_optional());
    for key in optional {
        assert!(
            key.whole().is_some_and(|whole| !whole.is_optional()),
            "{key:?}"
        );
        assert!(!keys.contains(&key.as_str().to_owned()));
    }
}

prop_compose! {
    fn counts()(
        input in 0u64..1 << 40, output in 0u64..1 << 40,
        shares in [0u64..=1_000, 0u64..=1_000, 0u64..=1_000],
    ) -> TokenCounts {
        let cached_input = input / 1_000 * shares[0];
        TokenCounts {
            input,
            cached_input,
            cache_write: (input - cached_input) / 1_000 * shares[1],
            output,
            reasoning: output / 1_000 * shares[2],
        }
    }
}

proptest! {
    /// Kinds of one price cost together what they cost before kinds had prices.
    #[test]
    fn equal_prices_cost_what_the_wholes_cost(tokens in counts(), input in 0i128..10_i128.pow(15), output in 0i128..10_i128.pow(15)) {
        let prices = TokenPrices {
            input: Money(input), cached_input: Money(input), cache_write: Money(input),
            output: Money(output), reasoning: Money(output),
        };
        let floor = |count: u64, price: i128| i128::from(count) * price / 1_000;
        prop_assert_eq!(prices.cost(tokens).0, floor(tokens.input, input) + floor(tokens.output, output));
    }

    #[test]
    fn shipped_rules_charge_by_the_wholes_alone(tokens in counts(), tier in 0usize..4) {
        let rules = rules(Network::Mainnet);
        let wholes = TokenCounts { input: tokens.input, output: tokens.output, ..TokenCounts::default() };
        let model = Detection::of_tier(Tier::ALL[tier]);
        let cost = |tokens| price(Used { tokens, ..Used::default() }, CHAT, &model, &rules);
        prop_assert_eq!(cost(tokens), cost(wholes));
    }

    #[test]
    fn a_kind_that_costs_less_never_makes_a_request_dearer(tokens in counts(), input in 1i128..10_i128.pow(9), cached in 0i128..10_i128.pow(9)) {
        let prices = |cached_input: i128| TokenPrices {
            input: Money(input), cached_input: Money(cached_input), cache_write: Money(input),
            output: Money(0), reasoning: Money(0),
        };
        prop_assert!(prices(cached.min(input)).cost(tokens) <= prices(input).cost(tokens));
    }
}
