//! Versions of prices and rules, for people: their values in short, which one counts, and which are
//! to come.

use maud::{Markup, html};

use super::super::frame;
use super::super::words::{encoded, instant};
use crate::app::queries::{Version, in_force_at, is_mainnet_of, json_of, price_of, to_come};
use crate::domain::rules::{PriceKey, SettingKey, Unit};
use crate::domain::time::Millis;

/// What a version is at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    InForce,
    ToCome,
    /// Another one was published for the moment at which it would have begun.
    Replaced,
    Over,
}

impl Standing {
    fn of(version: &Version, all: &[Version], now: Millis) -> Standing {
        let holds = in_force_at(all, now);
        if holds.is_some_and(|holds| holds.version == version.version) {
            return Standing::InForce;
        }
        let is_same_moment = |other: &&Version| {
            other.version > version.version && other.effective_from == version.effective_from
        };
        if version.effective_from.is_some() && all.iter().any(|other| is_same_moment(&other)) {
            Standing::Replaced
        } else if version.effective_from.is_some_and(|from| from > now) {
            Standing::ToCome
        } else {
            Standing::Over
        }
    }

    fn chip(self) -> Markup {
        html! {
            @match self {
                Standing::InForce => { span .chip { "In force" } }
                Standing::ToCome => { span .chip.open { "Upcoming" } }
                Standing::Replaced => { span .chip.bad { "Replaced" } }
                Standing::Over => { "Past" }
            }
        }
    }
}

/// The price that a key is.
pub(super) fn price_key(key: &str) -> Option<PriceKey> {
    match SettingKey::named(key) {
        Some(SettingKey::Price(price)) => Some(price),
        _ => None,
    }
}

/// What one price pays for, as people say it.
pub(super) const fn unit_word(unit: Unit) -> &'static str {
    match unit {
        Unit::ThousandTokens => "1,000 tokens",
        Unit::Minute => "a minute",
        Unit::Request => "a request",
    }
}

/// The name of a network.
pub(super) const fn network(is_mainnet: bool) -> &'static str {
    if is_mainnet { "mainnet" } else { "testnet" }
}

/// A value in a line; folded where it has none.
fn short(version: &Version) -> Markup {
    html! {
        @if let Some(price) = price_of(version) {
            (price.per_unit) " USD for " (unit_word(price.unit))
        } @else if let Some(is_mainnet) = is_mainnet_of(version) {
            (network(is_mainnet))
        } @else {
            details { summary { "Show" } pre tabindex="0" { (format!("{:#}", json_of(&version.value))) } }
        }
    }
}

/// From when on a version counts.
pub(super) fn since(version: &Version) -> String {
    version
        .effective_from
        .map_or_else(|| "the beginning".to_owned(), instant)
}

/// Every version of a key, the newest first.
pub(super) fn history(versions: &[Version], now: Millis) -> Markup {
    html! {
        section .card aria-labelledby="history-h" {
            h2 #history-h { "History" }
            @if versions.is_empty() { p .empty { "No version yet." } } @else {
                div .scroll.wide.cells tabindex="0" role="group" aria-labelledby="history-h" {
                    table {
                        thead { tr {
                            th scope="col" { "From" }
                            th scope="col" { "Value" }
                            th scope="col" { "State" }
                            th scope="col" { "By" }
                            th scope="col" { "Why" }
                            th scope="col" { "Written" }
                            th .n scope="col" { "Version" }
                        } }
                        tbody {
                            @for version in versions.iter().rev() {
                                tr {
                                    th .time scope="row" { (since(version)) }
                                    td data-label="Value" { (short(version)) }
                                    td { (Standing::of(version, versions, now).chip()) }
                                    td data-label="By" { (version.by) }
                                    td data-label="Why" { (version.reason) }
                                    td .time data-label="Written" { (instant(version.written_at)) }
                                    td .n data-label="Version" { (version.version) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A card with what is to come; nothing, if nothing is.
pub(super) fn pending_card(pending: &[Version]) -> Markup {
    html! {
        @if !pending.is_empty() {
            section .card aria-labelledby="pending-h" {
                h2 #pending-h { "Upcoming" }
                div .scroll.wide.cells tabindex="0" role="group" aria-labelledby="pending-h" {
                    table {
                        thead { tr {
                            th scope="col" { "From" }
                            th scope="col" { "What" }
                            th scope="col" { "Value" }
                            th scope="col" { "By" }
                            th scope="col" { "Why" }
                        } }
                        tbody {
                            @for version in pending {
                                tr {
                                    th .time scope="row" { (instant(version.effective_from.unwrap_or(version.written_at))) }
                                    td { a href=(format!("/admin/rules/{}", encoded(&version.key))) { (name(&version.key)) } }
                                    td data-label="Value" { (short(version)) }
                                    td data-label="By" { (version.by) }
                                    td data-label="Why" { (version.reason) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What people call a key.
fn name(key: &str) -> &str {
    match SettingKey::named(key) {
        Some(SettingKey::Mainnet) => "the network",
        _ => key,
    }
}

/// What becomes of a change that begins at `at` by the versions that are to come already.
pub(super) fn meets(versions: &[Version], at: Millis, now: Millis) -> Markup {
    let pending: Vec<&Version> = to_come(versions, now).collect();
    html! {
        @for version in pending {
            @let begins = version.effective_from.unwrap_or(at);
            @if begins == at {
                div .note { "It replaces version " (version.version) ", which " (version.by) " published for the same moment: " (short(version)) }
            } @else if begins > at {
                div .note {
                    "It applies only until " (instant(begins)) ": then version " (version.version) " begins, which " (version.by) " published: " (short(version))
                }
            }
        }
    }
}

/// One version, told: what to, by whom, when.
pub(super) fn told(version: &Version) -> Markup {
    html! {
        "version " (version.version) ", written by " (version.by) " at " (instant(version.written_at)) ", from " (since(version)) " on: " (short(version))
    }
}

/// What was done just before, in words.
pub(super) fn said(done: &str, number: u32, versions: &[Version], now: Millis) -> Option<Markup> {
    let version = versions.iter().find(|version| version.version == number);
    let text = match (done, version) {
        ("published", Some(version)) => match version.effective_from.filter(|from| *from > now) {
            Some(from) => format!(
                "Published. It applies to events from {} on; until then nothing changes.",
                instant(from)
            ),
            None => "Published. Events that arrive from now on are rated with it.".to_owned(),
        },
        ("before", Some(version)) => format!(
            "Already published at {}, as version {}. Sending the form again changed nothing.",
            instant(version.written_at),
            version.version
        ),
        ("unchanged", _) => {
            "Nothing was published: this value is already in force then.".to_owned()
        }
        _ => return None,
    };
    Some(frame::done(&text))
}
