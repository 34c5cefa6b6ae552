//! What one event earns and costs.

use std::borrow::Cow;

use proptest::prelude::*;
use tidemark::domain::amount::{Bp, Money, Points};
use tidemark::domain::event::{Service, UsageEvent};
use tidemark::domain::posting::Charge;
use tidemark::domain::rating::{Amounts, cascade, rate, service_of};
use tidemark::domain::rules::{Network, RateClass, Rules};
use tidemark::domain::semantics::Semantics;
use tidemark::domain::tier::{Detection, Tier};
use tidemark::domain::time::Millis;

use super::helpers::{NO_SEASON, book, rules, rules_with, season, shipped};

fn event(status: u16) -> UsageEvent<'static> {
    UsageEvent {
        source: Cow::Borrowed("s"),
        id: Cow::Borrowed("i"),
        time: Millis(0),
        user: Cow::Borrowed("u"),
        provider: None,
        endpoint: Cow::Borrowed("/v1/chat/completions"),
        model: None,
        status,
        latency_ms: None,
        input_tokens: None,
        output_tokens: None,
        cached_input_tokens: None,
        cache_write_tokens: None,
        reasoning_tokens: None,
        audio_millis: None,
        image_count: None,
        request_bytes: None,
        response_bytes: None,
        error_message: None,
        stream: false,
    }
}

fn points(text: &str) -> Points {
    text.parse().expect("points")
}

fn dollars(text: &str) -> Money {
    text.parse().expect("dollars")
}

fn in_1970(multipliers: [u32; 7]) -> String {
    season("1970-01-01T00:00:00Z", "1971-01-01T00:00:00Z", multipliers)
}

#[track_caller]
fn check_service(service: Option<Service>, endpoints: &[&str]) {
    for endpoint in endpoints {
        assert_eq!(service_of(endpoint), service, "{endpoint}");
    }
}

#[test]
fn the_service_is_how_the_path_ends() {
    check_service(
        Some(Service::CHAT_COMPLETIONS),
        &[
            "/chat/completions",
            "/v1/chat/completions",
            "/openai/v1/chat/completions",
            "/openai/deployments/gpt-4o/chat/completions?api-version=2024-06-01",
            "https://api.example.com/v1/chat/completions",
            "/v1/completions",
            "/v1/completions/",
            "/v1/responses",
            "/anthropic/v1/messages//",
            "/v1/messages/?beta=true",
            "/v1/messages#top",
        ],
    );
    check_service(
        Some(Service::EMBEDDINGS),
        &["/embeddings", "/v1/embeddings", "/v1/embeddings?q=/scrape"],
    );
    check_service(
        Some(Service::TTS),
        &["/tts", "/v1/tts/", "/v1/audio/speech"],
    );
    check_service(
        Some(Service::SCRAPE),
        &["/scrape", "/v1/scrape?url=https://x/tts"],
    );
}

#[test]
fn an_unknown_endpoint_never_becomes_chat() {
    check_service(
        None,
        &[
            "",
            "/",
            "?",
            "/v1/images/generations",
            "/v1/models",
            "/v1/chat",
            "/v1/chat/completions/123",
            "/v1/chat/completionsx",
            "/v1/Chat/Completions",
            "/v1/audio/transcriptions",
            "/speech",
            "/v1/rescrape",
            "chat-completions",
            "/x?path=/embeddings",
        ],
    );
}

#[test]
fn base_points_are_those_of_the_rules() {
    let rules = rules(Network::Testnet);
    for (service, tier, provider, user) in [
        (Service::CHAT_COMPLETIONS, Tier::TidePool, "1", "0.1"),
        (Service::CHAT_COMPLETIONS, Tier::BlueSurge, "3", "0.3"),
        (Service::CHAT_COMPLETIONS, Tier::OpenOcean, "7", "0.7"),
        (Service::CHAT_COMPLETIONS, Tier::MarianaDepth, "15", "1.5"),
        (Service::EMBEDDINGS, Tier::MarianaDepth, "1", "0.1"),
        (Service::TTS, Tier::TidePool, "2", "0.2"),
        (Service::SCRAPE, Tier::BlueSurge, "0.5", "0.05"),
    ] {
        let amounts = rate(&event(200), service, &Detection::of_tier(tier), &rules);
        assert_eq!(
            (amounts.provider, amounts.user),
            (points(provider), points(user))
        );
    }
}

#[test]
fn a_chat_call_on_the_largest_tier_pays_both_chains() {
    let rules = rules(Network::Testnet);
    let tier = rules.detect("llama-3-70b", Semantics::NOW).tier;
    let amounts = rate(
        &event(200),
        Service::CHAT_COMPLETIONS,
        &Detection::of_tier(tier),
        &rules,
    );
    assert_eq!(
        (amounts.provider, amounts.user),
        (points("15"), points("1.5"))
    );
    let up = |amount| cascade(amount, rules.cascade());
    assert_eq!(up(amounts.provider), ["3", "1.5", "0.75"].map(points));
    assert_eq!(up(amounts.user), ["0.3", "0.15", "0.075"].map(points));
    assert_eq!(rules.trial(), points("5"));
}

#[test]
fn a_scrape_pays_fractions_down_to_the_third_level() {
    let rules = rules(Network::Testnet);
    let amounts = rate(
        &event(200),
        Service::SCRAPE,
        &Detection::of_tier(Tier::TidePool),
        &rules,
    );
    assert_eq!(
        (amounts.provider, amounts.user),
        (points("0.5"), points("0.05"))
    );
    let up = cascade(amounts.user, rules.cascade());
    assert_eq!(up[2], points("0.0025"));
}

#[test]
fn demand_and_season_multiply_before_the_floor() {
    let rules = rules_with(
        &[
            ("open_ocean = 10000\nmariana", "open_ocean = 12500\nmariana"),
            (
                NO_SEASON,
                &in_1970([10_000, 15_000, 15_000, 10_000, 10_000, 10_000, 10_000]),
            ),
            ("open_ocean = \"7\"", "open_ocean = \"3\""),
        ],
        Millis(0),
    );
    let chat = Service::CHAT_COMPLETIONS;
    let amounts = rate(
        &event(200),
        chat,
        &Detection::of_tier(Tier::OpenOcean),
        &rules,
    );
    assert_eq!(
        (amounts.provider, amounts.user),
        (points("5.625"), points("0.5625"))
    );
    let amounts = rate(
        &event(200),
        chat,
        &Detection::of_tier(Tier::TidePool),
        &rules,
    );
    assert_eq!(amounts.provider, points("1"));
}

#[test]
fn mainnet_charges_and_testnet_only_says_what_it_would_cost() {
    let full = UsageEvent {
        input_tokens: Some(150),
        output_tokens: Some(75),
        audio_millis: Some(90_001),
        ..event(200)
    };
    for (service, tier, cost) in [
        (Service::CHAT_COMPLETIONS, Tier::BlueSurge, "0.00015"),
        (Service::CHAT_COMPLETIONS, Tier::TidePool, "0.00006"),
        (Service::CHAT_COMPLETIONS, Tier::OpenOcean, "0.00045"),
        (Service::CHAT_COMPLETIONS, Tier::MarianaDepth, "0.0012"),
        (Service::EMBEDDINGS, Tier::MarianaDepth, "0.000015"),
        // floor(90,001 × 15,000,000 / 60,000) = 22,500,250
        (Service::TTS, Tier::TidePool, "0.02250025"),
        (Service::SCRAPE, Tier::TidePool, "0.001"),
    ] {
        let charge = |network| {
            let amounts = rate(&full, service, &Detection::of_tier(tier), &rules(network));
            amounts.charge
        };
        let (cost, zero) = (dollars(cost), Money::ZERO);
        assert_eq!(charge(Network::Mainnet), Charge { cost, shadow: zero });
        assert_eq!(
            charge(Network::Testnet),
            Charge {
                cost: zero,
                shadow: cost
            }
        );
    }
}

#[test]
fn input_and_output_are_floored_each_and_what_is_unknown_is_not_charged() {
    let rules = rules_with(
        &[
            ("\"0.0002\"", "\"0.000000999\""),
            ("\"0.0004\"", "\"0.000000999\""),
            ("system_mainnet = false", "system_mainnet = true"),
        ],
        Millis(0),
    );
    let cost = |input, output| {
        let event = UsageEvent {
            input_tokens: input,
            output_tokens: output,
            ..event(200)
        };
        let chat = Service::CHAT_COMPLETIONS;
        rate(&event, chat, &Detection::of_tier(Tier::TidePool), &rules)
            .charge
            .cost
            .0
    };
    assert_eq!(cost(Some(1), Some(1)), 0);
    assert_eq!(cost(Some(2), Some(2)), 2);
    assert_eq!(cost(Some(1_001), None), 999);
    assert_eq!(cost(None, None), 0);
}

#[test]
fn only_success_earns_and_costs() {
    let rules = rules(Network::Mainnet);
    for status in [100, 199, 300, 301, 400, 404, 429, 499, 500, 503, 599] {
        let failed = UsageEvent {
            input_tokens: Some(1_000_000),
            ..event(status)
        };
        for service in Service::DEFAULTS {
            let amounts = rate(
                &failed,
                service,
                &Detection::of_tier(Tier::MarianaDepth),
                &rules,
            );
            assert_eq!(amounts, Amounts::default(), "{status}");
        }
    }
    for status in [200, 201, 204, 299] {
        let amounts = rate(
            &event(status),
            Service::SCRAPE,
            &Detection::of_tier(Tier::TidePool),
            &rules,
        );
        assert_eq!(amounts.provider, points("0.5"), "{status}");
    }
}

#[test]
fn the_expected_latency_is_that_of_the_service_or_tier() {
    let rules = rules(Network::Testnet);
    for (class, target) in RateClass::ALL
        .into_iter()
        .zip([1_000, 2_000, 4_000, 8_000, 500, 3_000, 5_000])
    {
        assert_eq!(rules.target_ms(class), target, "{}", class.as_str());
    }
}

#[test]
fn the_most_that_the_limits_allow_overflows_nothing() {
    let rules = rules_with(
        &[
            ("mariana_depth = \"15\"", "mariana_depth = \"1000\""),
            (
                "mariana_depth = 10000\nembeddings",
                "mariana_depth = 20000\nembeddings",
            ),
            ("\"0.0040\"", "\"1000000\""),
            ("\"0.0080\"", "\"1000000\""),
            (NO_SEASON, &in_1970([0, 0, 0, 100_000, 0, 0, 0])),
        ],
        Millis(0),
    );
    let most = UsageEvent {
        input_tokens: Some(1 << 40),
        output_tokens: Some(1 << 40),
        ..event(200)
    };
    let amounts = rate(
        &most,
        Service::CHAT_COMPLETIONS,
        &Detection::of_tier(Tier::MarianaDepth),
        &rules,
    );
    assert_eq!(amounts.provider, Points::whole(20_000));
    let charged = 2 * (1i128 << 40) * 1_000_000 * 1_000_000_000 / 1_000;
    assert_eq!(amounts.charge.shadow, Money(charged));
}

/// The rules of a made-up multiplier each, computed anew from the definition.
fn scaled(base: i64, demand: u32, season: u32) -> i64 {
    let product = i128::from(base) * i128::from(demand) * i128::from(season);
    (product / 100_000_000) as i64
}

fn rules_of(base: Points, demand: u32, season: u32) -> std::sync::Arc<Rules> {
    rules_with(
        &[
            (NO_SEASON, &in_1970([season; 7])),
            ("tide_pool = \"1\"", &format!("tide_pool = \"{base}\"")),
            (
                "[rules.demand]\ntide_pool = 10000",
                &format!("[rules.demand]\ntide_pool = {demand}"),
            ),
        ],
        Millis(0),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn amounts_are_floored_products(base in 0i64..=1_000_000_000, demand in 5_000u32..=20_000, season in 0u32..=100_000) {
        let rules = rules_of(Points(base), demand, season);
        let amounts = rate(&event(200), Service::CHAT_COMPLETIONS, &Detection::of_tier(Tier::TidePool), &rules);
        prop_assert_eq!(amounts.provider.0, scaled(base, demand, season));
        prop_assert_eq!(amounts.user.0, amounts.provider.0 / 10);
    }
}

proptest! {
    #[test]
    fn a_cascade_never_exceeds_35_percent_and_falls_from_level_to_level(amount in 0i64..i64::MAX / 20_000) {
        let shares = rules(Network::Testnet).cascade();
        prop_assert_eq!(shares, [Bp(2_000), Bp(1_000), Bp(500)]);
        let levels = cascade(Points(amount), shares).map(|points| points.0);
        let sum: i64 = levels.iter().sum();
        prop_assert!(i128::from(sum) * 10_000 <= i128::from(amount) * 3_500);
        prop_assert!(i128::from(sum) * 10_000 > i128::from(amount) * 3_500 - 3 * 10_000);
        prop_assert!(levels[0] >= levels[1] && levels[1] >= levels[2] && levels[2] >= 0);
    }

    #[test]
    fn a_charge_is_the_floored_product(input in 0u64..=1 << 40, output in 0u64..=1 << 40) {
        let event = UsageEvent { input_tokens: Some(input), output_tokens: Some(output), ..event(200) };
        let amounts = rate(&event, Service::CHAT_COMPLETIONS, &Detection::of_tier(Tier::MarianaDepth), &rules(Network::Mainnet));
        let expected = i128::from(input) * 4_000_000 / 1_000 + i128::from(output) * 8_000_000 / 1_000;
        prop_assert_eq!(amounts.charge.cost.0, expected);
    }
}

#[test]
fn the_rules_of_a_book_are_those_of_its_document() {
    let mut book = book(&shipped(Network::Mainnet));
    let timeline = book
        .as_of(tidemark::domain::position::Control(7))
        .expect("complete");
    assert_eq!(
        timeline.at(Millis(i64::MIN)).id(),
        timeline.at(Millis(i64::MAX)).id()
    );
    assert_ne!(timeline.at(Millis(0)).id(), rules(Network::Testnet).id());
}
