//! What a change of rules means for a request.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::amount::{Money, Points};
use crate::domain::rules::{PriceKey, RateClass, Rules, ServicePrice, Unit};
use crate::domain::tier::Tier;

/// Lengths of streaks at which the shipped rules have steps, and one before the first.
const STREAK_DAYS: [u32; 6] = [1, 6, 7, 14, 30, 90];

/// Something that comes out differently.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    /// What.
    pub what: String,
    /// Now; null: the rules are not complete.
    pub before: Option<String>,
    /// With the change; null: the rules are not complete.
    pub after: Option<String>,
}

/// What would come out differently for single requests.
pub(super) fn examples(before: Option<&Rules>, after: Option<&Rules>) -> Vec<Example> {
    // Where nothing is charged before and after, a price changes what is noted.
    let noted = [before, after]
        .into_iter()
        .flatten()
        .all(|rules| !rules.is_mainnet());
    let [a, b] =
        [before, after].map(|rules| rules.map(|rules| facts(rules, noted)).unwrap_or_default());
    // Services are added at the end, so the longer list names all.
    let names = if a.len() < b.len() { &b } else { &a };
    let value = |facts: &[(String, String)], i: usize| facts.get(i).map(|(_, text)| text.clone());
    let mut found = Vec::new();
    for (i, (what, _)) in names.iter().enumerate() {
        let (before, after) = (value(&a, i), value(&b, i));
        if before != after {
            found.push(Example {
                what: what.clone(),
                before,
                after,
            });
        }
    }
    found
}

/// What rules come to, always in the same order; what would be charged on mainnet where that is
/// only `noted`.
fn facts(rules: &Rules, noted: bool) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut say = |what: String, value: String| facts.push((what, value));
    for (class, name) in RateClass::ALL.into_iter().zip(RateClass::NAMES) {
        let (provider, user) = (rules.provider_earns(class), rules.user_earns(class));
        say(
            format!("points of the provider for a successful request, {name}"),
            provider.to_string(),
        );
        say(
            format!("points of the user for a successful request, {name}"),
            user.to_string(),
        );
    }
    for (what, price) in parts(rules) {
        say(format!("USD for {what}"), price);
    }
    for (what, cost) in costs(rules) {
        let (word, cost) = match (noted, rules.is_mainnet()) {
            (true, _) => ("would be charged on mainnet", cost),
            (false, true) => ("are charged", cost),
            (false, false) => ("are charged", Money::ZERO),
        };
        say(format!("USD that {word} for {what}"), cost.to_string());
    }
    for days in STREAK_DAYS {
        say(
            format!("basis points of a day that ends a streak of {days}"),
            rules.streak(days).0.to_string(),
        );
    }
    for (level, share) in (1..).zip(rules.cascade()) {
        say(
            format!("basis points of the referrer at level {level}"),
            share.0.to_string(),
        );
    }
    let awards: [(&str, Points); 3] = [
        ("a first success with a service", rules.trial()),
        ("a signup", rules.signup()),
        ("a referee's 50th success", rules.milestone()),
    ];
    for (what, points) in awards {
        say(format!("points for {what}"), points.to_string());
    }
    facts.extend(of_added_services(rules));
    facts
}

/// What requests of services earn and cost that are not built in, by number: none is ever removed.
fn of_added_services(rules: &Rules) -> Vec<(String, String)> {
    let services = rules.services();
    let mut facts = Vec::new();
    for entry in services.entries() {
        let Some(added) = rules.added(entry.service) else {
            continue;
        };
        let name = &entry.name;
        let offered = if entry.retired { "no" } else { "yes" };
        facts.push((format!("{name} is offered"), offered.to_owned()));
        let points = match entry.is_tiered {
            true => "by the tier of the model".to_owned(),
            false => rules
                .earnings(entry.service, Tier::TidePool)
                .provider
                .to_string(),
        };
        let what = format!("points of the provider for a successful request, {name}");
        facts.push((what, points));
        let price = match added.price {
            ServicePrice::Tokens { input, output } => {
                format!("{input} for 1,000 tokens in, {output} for 1,000 out")
            }
            ServicePrice::Request(price) => format!("{price} for a request"),
            ServicePrice::AudioMinute(price) => format!("{price} for a minute"),
            ServicePrice::Image(price) => format!("{price} for an image"),
        };
        facts.push((format!("USD on mainnet, {name}"), price));
    }
    facts
}

/// Prices of kinds of token, where they are not those of their wholes.
fn parts(rules: &Rules) -> Vec<(String, String)> {
    let of_tier = |tier: Tier| {
        let kinds = [
            (PriceKey::cached_input(tier), "cached input", "input"),
            (PriceKey::cache_write(tier), "cache-writing input", "input"),
            (PriceKey::reasoning(tier), "reasoning", "output"),
        ];
        kinds.map(|(key, kind, whole)| {
            let price = rules.price(key);
            let is_that_of_whole = key.whole().is_some_and(|whole| rules.price(whole) == price);
            let price = match is_that_of_whole {
                true => format!("as {whole}"),
                false => price.to_string(),
            };
            (format!("1,000 {kind} tokens, {}", tier.as_str()), price)
        })
    };
    Tier::ALL.into_iter().flat_map(of_tier).collect()
}

fn costs(rules: &Rules) -> Vec<(String, Money)> {
    let mut costs = Vec::new();
    for tier in Tier::ALL {
        for (key, direction) in [
            (PriceKey::input(tier), "in"),
            (PriceKey::output(tier), "out"),
        ] {
            let what = format!("1,000 tokens {direction}, {}", tier.as_str());
            costs.push((what, rules.price(key)));
        }
    }
    for key in [PriceKey::Embeddings, PriceKey::Tts, PriceKey::Scrape] {
        let unit = match key.unit() {
            Unit::ThousandTokens => "1,000 tokens",
            Unit::Minute => "a minute",
            Unit::Request => "a request",
        };
        costs.push((format!("{unit}, {}", key.as_str()), rules.price(key)));
    }
    costs
}
