//! What differs between two values of a rule, and what that means for a request.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::amount::{Money, Points};
use crate::domain::rules::{PriceKey, RateClass, Rules, ServicePrice, Unit};
use crate::domain::tier::Tier;

/// Most differences that are told of one key: an entry at the front of the catalogue moves every
/// other.
const DIFFERENCES_MAX: usize = 200;
/// Lengths of streaks at which the shipped rules have steps, and one before the first.
const STREAK_DAYS: [u32; 6] = [1, 6, 7, 14, 30, 90];

/// One place at which two values differ.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Where: `rules.streak.steps[0].multiplier`.
    pub path: String,
    /// The value in force; null: none.
    pub before: Value,
    /// The value after the change; null: none.
    pub after: Value,
}

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

/// Where two values differ, at most the first 200 places; and how many there are beyond.
pub(super) fn differences(key: &str, before: &Value, after: &Value) -> (Vec<Difference>, usize) {
    let mut found = Vec::new();
    compare(key.to_owned(), before, after, &mut found);
    let beyond = found.len().saturating_sub(DIFFERENCES_MAX);
    found.truncate(DIFFERENCES_MAX);
    (found, beyond)
}

fn compare(path: String, before: &Value, after: &Value, found: &mut Vec<Difference>) {
    match (before, after) {
        (Value::Object(a), Value::Object(b)) => compare_members(&path, a, b, found),
        (Value::Array(a), Value::Array(b)) if are_named(a) && are_named(b) => {
            compare_named(&path, a, b, found);
        }
        (Value::Array(a), Value::Array(b)) => {
            for i in 0..a.len().max(b.len()) {
                let at = |list: &[Value]| list.get(i).cloned().unwrap_or_default();
                compare(format!("{path}[{i}]"), &at(a), &at(b), found);
            }
        }
        _ if before == after => (),
        _ => found.push(Difference {
            path,
            before: before.clone(),
            after: after.clone(),
        }),
    }
}

/// Whether elements are told apart by what they match, not by their places.
fn are_named(list: &[Value]) -> bool {
    list.iter().all(|entry| entry["match"].is_string())
}

fn compare_named(path: &str, before: &[Value], after: &[Value], found: &mut Vec<Difference>) {
    let name = |entry: &Value| entry["match"].as_str().unwrap_or_default().to_owned();
    let by_name = |list: &[Value]| -> BTreeMap<String, Value> {
        list.iter()
            .map(|entry| (name(entry), entry.clone()))
            .collect()
    };
    let [a, b] = [before, after].map(by_name);
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for one in names {
        let at = |map: &BTreeMap<String, Value>| map.get(one).cloned().unwrap_or_default();
        compare(format!("{path}[{one}]"), &at(&a), &at(&b), found);
    }
    // The first that matches counts.
    let kept = |list: &[Value], other: &BTreeMap<String, Value>| -> Vec<Value> {
        let kept = list
            .iter()
            .map(name)
            .filter(|name| other.contains_key(name));
        kept.map(Value::from).collect()
    };
    let [before, after] = [kept(before, &b), kept(after, &a)];
    if before != after {
        let first = before.iter().zip(&after).find(|(a, b)| a != b);
        let (before, after) = first
            .map(|(a, b)| (a.clone(), b.clone()))
            .unwrap_or_default();
        found.push(Difference {
            path: format!("{path} (first in another order)"),
            before,
            after,
        });
    }
}

fn compare_members(
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    found: &mut Vec<Difference>,
) {
    let new = after.keys().filter(|name| !before.contains_key(*name));
    for name in before.keys().chain(new) {
        let member = |map: &Map<String, Value>| map.get(name).cloned().unwrap_or_default();
        let path = format!("{path}.{name}");
        compare(path, &member(before), &member(after), found);
    }
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
