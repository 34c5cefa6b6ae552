//! Prices and rules: what is in force, every version, and a form for the next one.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::super::Pages;
use super::super::frame::token;
use super::super::visitor::Visitor;
use super::super::words::encoded;
use super::preview::{Change, from_input, reason_input};
use super::versions::{history, pending_card, price_key, said, since, unit_word};
use super::{PageQuery, page, writes};
use crate::app::queries::{Version, in_force_at, json_of, known_rule, price_of, to_come};
use crate::domain::rules::{PriceKey, SettingKey};
use crate::http::extract::PathParams;
use crate::http::problem::Problem;

pub(super) const TAB: &str = "/admin/rules";

pub(super) fn path(key: &str) -> String {
    format!("{TAB}/{}", encoded(key))
}

/// `GET /admin/rules`.
pub(in super::super) async fn list(
    State(pages): State<Pages>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let (queries, now) = (&pages.service.queries, pages.service.clock.now());
    let versions = queries.rules_in_force(now).await?;
    let prices = versions
        .iter()
        .filter_map(|version| Some((version, price_of(version)?)));
    let unpriced = unpriced(&versions);
    let rest = versions
        .iter()
        .filter(|version| price_key(&version.key).is_none());
    let optional = [
        (SettingKey::ModelPrices, "no model has a price of its own"),
        (SettingKey::Badges, "there are no badges"),
        (
            SettingKey::Providers,
            "only the configuration maps deployments to providers",
        ),
    ];
    let has = |key: &str| versions.iter().any(|version| version.key == key);
    let optional = optional.map(|(key, without)| (key.name(), without));
    let absent = optional
        .into_iter()
        .filter(|(key, _)| !versions.is_empty() && !has(key));
    let pending = queries.pending_rules(now).await?;
    let body = html! {
        h1 { "Prices and rules" }
        (pending_card(&pending))
        @if versions.is_empty() {
            p .empty { "No rules have been published yet: " code { "tidemark pricing init" } }
        }
        section .card aria-labelledby="prices-h" {
            h2 #prices-h { "Prices" }
            p .help { "Charged on mainnet; on testnet only recorded." }
            div .scroll.cells tabindex="0" role="group" aria-labelledby="prices-h" {
                table {
                    thead { tr {
                        th scope="col" { "Price of" }
                        th .n scope="col" { "USD" }
                        th scope="col" { "for" }
                        th scope="col" { "Since" }
                        th scope="col" { "By" }
                    } }
                    tbody {
                        @for (version, price) in prices {
                            tr {
                                th scope="row" { a href=(path(&version.key)) { (version.key.replace('_', " ")) } }
                                td .n data-label="USD" { (price.per_unit) }
                                td data-label="for" { (unit_word(price.unit)) }
                                td .time data-label="Since" { (since(version)) }
                                td data-label="By" { (version.by) }
                            }
                        }
                        @for (key, whole) in &unpriced {
                            tr {
                                th scope="row" { a href=(path(key.as_str())) { (key.as_str().replace('_', " ")) } }
                                td .n data-label="USD" { "as " (whole.as_str().replace('_', " ")) }
                                td data-label="for" { (unit_word(key.unit())) }
                                td data-label="Since" { "" }
                                td data-label="By" { "" }
                            }
                        }
                    }
                }
            }
        }
        section .card aria-labelledby="rules-h" {
            h2 #rules-h { "Rules" }
            div .scroll.cells tabindex="0" role="group" aria-labelledby="rules-h" {
                table {
                    thead { tr {
                        th scope="col" { "Rule" }
                        th .n scope="col" { "Version" }
                        th scope="col" { "Since" }
                        th scope="col" { "By" }
                    } }
                    tbody {
                        @for version in rest {
                            tr {
                                th scope="row" { a href=(path(&version.key)) { (version.key) } }
                                td .n data-label="Version" { (version.version) }
                                td .time data-label="Since" { (since(version)) }
                                td data-label="By" { (version.by) }
                            }
                        }
                        @for (key, without) in absent {
                            tr {
                                th scope="row" { a href=(path(key)) { (key) } }
                                td .n data-label="Version" { "–" }
                                td .time data-label="Since" { (without) }
                                td data-label="By" { "" }
                            }
                        }
                    }
                }
            }
        }
    };
    Ok(page(&visitor, "Prices and rules", TAB, &body))
}

/// Kinds of token without a price of their own, each with what it costs instead.
fn unpriced(versions: &[Version]) -> Vec<(PriceKey, PriceKey)> {
    let is_priced = |key: PriceKey| {
        let priced = |version: &&Version| version.key == key.as_str();
        versions.iter().find(priced).and_then(price_of).is_some()
    };
    let keys = PriceKey::ALL.into_iter();
    let keys = keys.filter(|key| !versions.is_empty() && !is_priced(*key));
    keys.filter_map(|key| Some((key, key.whole()?))).collect()
}

/// What was done before.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct DoneQuery {
    #[serde(default)]
    pub done: String,
    /// Which version it was done to.
    #[serde(default)]
    pub version: u32,
}

/// `GET /admin/rules/{key}`.
pub(in super::super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    PathParams(key): PathParams<String>,
    PageQuery(wanted): PageQuery<DoneQuery>,
) -> Result<Response, Problem> {
    known_rule(&key)?;
    let versions = pages.service.queries.rule_history(&key).await?;
    let now = pages.service.clock.now();
    let note = said(&wanted.done, wanted.version, &versions, now);
    let body = one(&pages, &visitor, &key, note, None).await?;
    Ok(page(&visitor, &key, TAB, &body))
}

/// A rule with its form and its history; the form as it was sent, where it was.
pub(super) async fn one(
    pages: &Pages,
    visitor: &Visitor,
    key: &str,
    note: Option<Markup>,
    sent: Option<&Change>,
) -> Result<Markup, Problem> {
    let versions = pages.service.queries.rule_history(key).await?;
    let now = pages.service.clock.now();
    let current = in_force_at(&versions, now);
    Ok(html! {
        h1 { (key) }
        @if let Some(note) = note { (note) }
        @if key == SettingKey::Providers.name() {
            p .help {
                "The provider account that earns for a deployment, model group or channel, by its name in the gateway. "
                "A version maps requests that are made while it is in force, at the earliest five seconds after it is published. "
                "It replaces the one before, and goes before "
                code { "http.gateways.providers" } " and the adapters' " code { "providers" } " of the configuration. "
                "What is in the log already does not change."
            }
        }
        section .card aria-labelledby="now-h" {
            h2 #now-h { "In force now" }
            @match &current {
                Some(version) => {
                    (value(version))
                    p .help { "Version " (version.version) ", since " (since(version)) ", by " (version.by) ": " (version.reason) }
                }
                None => { p .empty { "Nothing yet." } }
            }
        }
        @if key == SettingKey::Mainnet.name() {
            p { a .button href="/admin/network" { "Switch the network" } }
        } @else if writes(visitor) {
            (change_form(visitor, key, current, sent))
        }
        (pending_card(&to_come(&versions, now).cloned().collect::<Vec<Version>>()))
        (history(&versions, now))
    })
}

fn value(version: &Version) -> Markup {
    let text = format!("{:#}", json_of(&version.value));
    html! {
        @if version.value == "null" {
            p .big { "Withdrawn: costs what contains it." }
        } @else if let Some(price) = price_of(version) {
            p .big { span .number { (price.per_unit) } " USD for " (unit_word(price.unit)) }
        } @else {
            details open[version.value.len() < 2_000] {
                summary { "The value" }
                pre tabindex="0" { (text) }
            }
        }
    }
}

/// A value as it is edited; text that is not JSON, as it was sent.
fn indented(value: &str) -> String {
    serde_json::from_str::<Value>(value)
        .map_or_else(|_| value.to_owned(), |value| format!("{value:#}"))
}

/// The price in a value, as it was typed; empty if there is none.
fn typed_price(value: &str) -> String {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        price_per_unit: String,
    }
    let typed: Typed = serde_json::from_str(value).unwrap_or_default();
    typed.price_per_unit
}

fn change_form(
    visitor: &Visitor,
    key: &str,
    current: Option<&Version>,
    sent: Option<&Change>,
) -> Markup {
    let text = match (sent, current) {
        (Some(sent), _) => sent.value.clone(),
        (None, Some(version)) => version.value.clone(),
        (None, None) if key == SettingKey::Providers.name() => {
            r#"{"azure-eu-1": "prov-9"}"#.to_owned()
        }
        (None, None) => "null".to_owned(),
    };
    let sent = sent.cloned().unwrap_or_default();
    html! {
        section .card aria-labelledby="change-h" {
            h2 #change-h { "Change it" }
            form .stack method="post" action=(format!("{}/preview", path(key))) {
                (token(visitor))
                @match price_key(key) {
                    Some(price) => {
                        label for="price" { "USD for " (unit_word(price.unit())) }
                        input #price name="price" inputmode="decimal" required value=(typed_price(&text)) autocomplete="off";
                    }
                    None => {
                        label for="value" { "The value, as JSON" }
                        textarea #value name="value" required spellcheck="false" { (indented(&text)) }
                    }
                }
                (from_input(&sent.from))
                (reason_input(&sent.reason))
                p .actions { button type="submit" { "Show what it would change" } }
            }
        }
    }
}
