//! Prices and rules: what is in force, every version, and a form for the next one.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::super::Pages;
use super::super::frame::token;
use super::super::guard::Visitor;
use super::super::words::encoded;
use super::preview::{Change, from_input, plain, reason_input};
use super::versions::{history, pending, pending_card, price_key, said, since, unit_word};
use super::{Wished, page, writes};
use crate::domain::rules::{PriceKey, SettingKey};
use crate::http::admin::{in_force, json_of, to_come};
use crate::http::problem::Problem;
use crate::http::strict::Named;
use crate::store::pricing::{self, Version};

pub(super) const TAB: &str = "/admin/rules";

pub(super) fn path(key: &str) -> String {
    format!("{TAB}/{}", encoded(key))
}

pub(super) fn known(key: &str) -> Result<SettingKey, Problem> {
    SettingKey::named(key).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "unknown_rule",
            "there is no such rule",
        )
    })
}

/// `GET /admin/rules`.
pub(in super::super) async fn list(
    State(pages): State<Pages>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let versions = in_force(&pages.service, pages.service.clock.now()).await?;
    let is_price =
        |version: &&Version| matches!(SettingKey::named(&version.key), Some(SettingKey::Price(_)));
    let (prices, rest): (Vec<&Version>, Vec<&Version>) = versions.iter().partition(is_price);
    let has_price = |key: &PriceKey| {
        let priced = |version: &&&Version| version.key == key.as_str();
        let found = prices.iter().find(priced);
        found.is_some_and(|version| !json_of(&version.value).is_null())
    };
    let unpriced: Vec<(PriceKey, PriceKey)> = PriceKey::ALL
        .into_iter()
        .filter(|key| !versions.is_empty() && !has_price(key))
        .filter_map(|key| Some((key, key.whole()?)))
        .collect();
    let prices: Vec<&Version> = prices
        .into_iter()
        .filter(|version| !json_of(&version.value).is_null())
        .collect();
    let models = SettingKey::ModelPrices.name();
    let has_models = rest.iter().any(|version| version.key == models);
    let pending = pending(&pages.service).await?;
    let body = html! {
        h1 { "Prices and rules" }
        (pending_card(&pending))
        @if versions.is_empty() {
            p .empty { "No rules have been published yet: " code { "tidemark pricing init" } }
        }
        section .card aria-labelledby="prices-h" {
            h2 #prices-h { "Prices" }
            p .help { "Charged on mainnet; on testnet only noted." }
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
                        @for version in &prices {
                            @let value = json_of(&version.value);
                            tr {
                                th scope="row" { a href=(path(&version.key)) { (version.key.replace('_', " ")) } }
                                td .n data-label="USD" { (plain(&value["pricePerUnit"])) }
                                td data-label="for" { (unit_word(&plain(&value["unit"]))) }
                                td .time data-label="Since" { (since(version)) }
                                td data-label="By" { (version.by) }
                            }
                        }
                        @for (key, whole) in &unpriced {
                            tr {
                                th scope="row" { a href=(path(key.as_str())) { (key.as_str().replace('_', " ")) } }
                                td .n data-label="USD" { "as " (whole.as_str().replace('_', " ")) }
                                td data-label="for" { (unit_word(key.unit().as_str())) }
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
                        @for version in &rest {
                            tr {
                                th scope="row" { a href=(path(&version.key)) { (version.key) } }
                                td .n data-label="Version" { (version.version) }
                                td .time data-label="Since" { (since(version)) }
                                td data-label="By" { (version.by) }
                            }
                        }
                        @if !has_models && !versions.is_empty() {
                            tr {
                                th scope="row" { a href=(path(models)) { (models) } }
                                td .n data-label="Version" { "–" }
                                td .time data-label="Since" { "no model has a price of its own" }
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

/// What was done before.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct Wanted {
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
    Named(key): Named<String>,
    Wished(wanted): Wished<Wanted>,
) -> Result<Response, Problem> {
    known(&key)?;
    let versions = pricing::history(&*pages.service.db, &key).await?;
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
    let versions = pricing::history(&*pages.service.db, key).await?;
    let now = pages.service.clock.now();
    let current = pricing::in_force_at(&versions, now);
    Ok(html! {
        h1 { (key) }
        @if let Some(note) = note { (note) }
        section .card aria-labelledby="now-h" {
            h2 #now-h { "In force now" }
            @match &current {
                Some(version) => {
                    (value(key, &json_of(&version.value)))
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

fn value(key: &str, value: &Value) -> Markup {
    html! {
        @if value.is_null() {
            p .big { "Withdrawn: as what contains it." }
        } @else if price_key(key).is_some() {
            p .big { span .number { (plain(&value["pricePerUnit"])) } " USD for " (unit_word(&plain(&value["unit"]))) }
        } @else {
            details open[value.to_string().len() < 2_000] {
                summary { "The value" }
                pre tabindex="0" { (serde_json::to_string_pretty(value).unwrap_or_default()) }
            }
        }
    }
}

fn change_form(
    visitor: &Visitor,
    key: &str,
    current: Option<&Version>,
    sent: Option<&Change>,
) -> Markup {
    let value = match (sent, current) {
        (Some(sent), _) => {
            serde_json::from_str(&sent.value).unwrap_or_else(|_| Value::String(sent.value.clone()))
        }
        (None, Some(version)) => json_of(&version.value),
        (None, None) => Value::Null,
    };
    let text = match &value {
        // What was sent and is no JSON, as it was sent.
        Value::String(text) if sent.is_some() => text.clone(),
        value => serde_json::to_string_pretty(value).unwrap_or_default(),
    };
    let sent = sent.cloned().unwrap_or_default();
    html! {
        section .card aria-labelledby="change-h" {
            h2 #change-h { "Change it" }
            form .stack method="post" action=(format!("{}/preview", path(key))) {
                (token(visitor))
                @match price_key(key) {
                    Some(price) => {
                        label for="price" { "USD for " (unit_word(price.unit().as_str())) }
                        input #price name="price" inputmode="decimal" required value=(plain(&value["pricePerUnit"])) autocomplete="off";
                    }
                    None => {
                        label for="value" { "The value, as JSON" }
                        textarea #value name="value" required spellcheck="false" { (text) }
                    }
                }
                (from_input(&sent.from))
                (reason_input(&sent.reason))
                p .actions { button type="submit" { "Show what it would change" } }
            }
        }
    }
}
