//! Pages of admins. What they change goes through the functions of the admin API, so that both
//! check the same and leave the same trail.

use axum::extract::{FromRequestParts, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use maud::{Markup, html};
use serde::de::DeserializeOwned;

use super::Pages;
use super::frame;
use super::visitor::Visitor;
use super::words::{encoded, instant};
use crate::app::commands::nothing_known;
use crate::app::queries::{AccountTraces, AccountsAside, Halt, UnreadableRecord, Version};
use crate::domain::access::Scope;
use crate::domain::ids::Account;
use crate::domain::rules::SettingKey;
use crate::http::problem::Problem;
use crate::ops::random_name;
use crate::pipeline::HaltCode;

pub(super) mod adjustments;
pub(super) mod audit;
pub(super) mod change;
pub(super) mod closes;
mod confirmation;
pub(super) mod credits;
pub(super) mod exports;
pub(super) mod find;
pub(super) mod governance;
pub(super) mod keys;
mod money;
pub(super) mod network;
mod preview;
mod reject_overview;
mod reject_table;
pub(super) mod rejects;
pub(super) mod requests;
pub(super) mod rules;
mod versions;

/// The pages of admins, with their names.
const TABS: [(&str, &str); 11] = [
    ("Overview", "/admin"),
    ("Prices and rules", "/admin/rules"),
    ("Credits", "/admin/credits"),
    ("Adjustments", adjustments::PATH),
    ("Requests", requests::PATH),
    ("Rejects", "/admin/rejects"),
    ("Exports", exports::PATH),
    ("Closes", closes::PATH),
    ("Votes", governance::PATH),
    ("Keys", keys::PATH),
    ("Audit", "/admin/audit"),
];

/// A page of admins, with the tabs of all of them.
fn page(visitor: &Visitor, title: &str, tab: &str, body: &Markup) -> Response {
    page_of(StatusCode::OK, visitor, title, tab, body)
}

/// The same, saying what became of what was asked.
fn page_of(
    status: StatusCode,
    visitor: &Visitor,
    title: &str,
    tab: &str,
    body: &Markup,
) -> Response {
    let with_tabs = html! {
        nav .tabs aria-label="Admin" {
            ul {
                @for (name, path) in TABS {
                    li { a href=(path) aria-current=[(path == tab).then_some("page")] { (name) } }
                }
            }
        }
        (body)
    };
    frame::page_of(status, visitor, title, &with_tabs)
}

/// What a form was refused for, above it.
fn refusal(problem: &Problem) -> Markup {
    let (detail, faults) = problem.told();
    html! {
        div .note.bad role="alert" {
            @if faults.is_empty() { p { (coded(detail)) } } @else { p { "The rules are not valid with this change:" } }
            @if !faults.is_empty() { ul { @for fault in faults { li { (fault) } } } }
        }
    }
}

/// A text in whose `backticks` code stands.
fn coded(text: &str) -> Markup {
    html! {
        @for (n, part) in text.split('`').enumerate() {
            @if n % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// What the address of a page says beside its path. Addresses are typed and passed on: what is
/// wrong with one is told in plain words.
pub(super) struct PageQuery<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for PageQuery<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<PageQuery<T>, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(wished)| PageQuery(wished)).map_err(|_| {
            let why = "The query part of this address (after the question mark) is not valid. Use the links on the pages to get here.";
            Problem::new(StatusCode::BAD_REQUEST, "invalid_query", why)
        })
    }
}

/// The name under which a form counts once, however often it is sent; a new one, where it has none
/// yet.
fn name_of_form(once: &str) -> String {
    match once {
        "" => format!("page-{}", random_name()),
        once => once.to_owned(),
    }
}

/// Whether the visitor may change things.
fn writes(visitor: &Visitor) -> bool {
    visitor.may(&Scope::AdminWrite)
}

/// `GET /admin`.
pub(super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let queries = &pages.service.queries;
    let halts = queries.halts().await?;
    let aside = queries.set_aside().await?;
    let rules = queries.rules().await?;
    let now = pages.service.clock.now();
    let is_mainnet = rules.map(|rules| rules.at(now).is_mainnet());
    let pending = queries.pending_rules(now).await?;
    let rejects = reject_overview::card(queries).await;
    let body = html! {
        h1 { "Admin" }
        div #live hx-get="/admin" hx-trigger="every 15s" hx-select="#live" hx-swap="outerHTML" {
            (partitions(&halts))
            @if !aside.is_empty() { (accounts_aside(&aside)) }
            (rejects)
        }
        div .grid {
            (network_card(is_mainnet, &pending))
            (find::card(""))
        }
        (versions::pending_card(&pending))
    };
    Ok(page(&visitor, "Admin", "/admin", &body))
}

/// Halted partitions, and what to do.
fn partitions(halts: &[Halt]) -> Markup {
    html! {
        section .card aria-labelledby="halts-h" {
            div .row {
                h2 #halts-h { "Partitions" }
                @if halts.is_empty() {
                    span .chip { "None halted" }
                } @else {
                    span .chip.bad { (halts.len()) " halted" }
                }
            }
            @if halts.is_empty() {
                p .help { "Every partition is running or waiting for work." }
            }
            @for halt in halts {
                article {
                    h3 { (halt.task) " has been halted since " (instant(halt.at)) }
                    p { (coded(&halt.message)) }
                    @if let Some(code) = HaltCode::from_name(&halt.code) { p { strong { "What to do: " } (coded(code.advice())) } }
                    p .help { "Then: " code { "tidemark resume " (halt.task) } ". The other partitions keep running." }
                }
            }
        }
    }
}

/// Accounts that wait while their partition goes on, and what to do.
fn accounts_aside(aside: &AccountsAside) -> Markup {
    html! {
        section .card aria-labelledby="aside-h" {
            div .row {
                h2 #aside-h { "Accounts set aside" }
                span .chip.bad { (aside.len()) }
            }
            p .help { "These accounts cannot be counted. What they earn waits in the log until they are repaired and released; all other accounts continue." }
            @for record in &aside.unreadable {
                article {
                    h3 { (record.name()) }
                    p { "Its record cannot be read: " (coded(&record.what)) }
                    p { strong { "What to do: " } (coded(UnreadableRecord::ADVICE)) }
                }
            }
            @for record in &aside.records {
                article {
                    h3 { (record.account.kind) " " (record.account.id()) " since " (instant(record.at)) }
                    p { (coded(&record.what)) }
                    @if let Some(refused) = &record.refused {
                        p { strong { "Not released: " } (coded(&refused.what)) }
                    }
                    @if record.release.is_some() {
                        p .help { "It is being released." }
                    } @else {
                        p { strong { "What to do: " } (coded(record.code.advice())) }
                        p .help { "Then: " code { "tidemark set-aside release " (record.account.kind) " " (record.account.id()) " --reason …" } }
                    }
                }
            }
        }
    }
}

fn network_card(is_mainnet: Option<bool>, pending: &[Version]) -> Markup {
    let switch = pending
        .iter()
        .find(|version| version.key == SettingKey::Mainnet.name());
    html! {
        section .card aria-labelledby="network-h" {
            h2 #network-h { "Network" }
            @match is_mainnet {
                Some(true) => { p { strong { "Mainnet" } ": usage is charged." } }
                Some(false) => { p { strong { "Testnet" } ": nothing is charged; what mainnet would charge is recorded." } }
                None => { p .warn { "No rules have been published, so no event can be rated: " code { "tidemark pricing init" } } }
            }
            @if let Some(switch) = switch {
                p { "A switch is scheduled: " (versions::told(switch)) "." }
            }
            p { a href="/admin/network" { "Switch it" } }
        }
    }
}

fn has_outer_spaces(id: &str) -> bool {
    id.trim() != id
}

/// Where the spaces of an id stand that nobody sees.
fn where_spaces(id: &str) -> &'static str {
    match (id.trim_start() != id, id.trim_end() != id) {
        (true, true) => "begins and ends with a space",
        (true, false) => "begins with a space",
        _ => "ends with a space",
    }
}

/// A note where nothing is known of an account: its id is probably mistyped.
fn unknown_note(account: &Account, traces: &AccountTraces) -> Markup {
    html! {
        p .note { "There is no " (account.kind) " “" (account.id()) "” yet: " (nothing_known(traces.are_keys_unsearched)) "." }
    }
}

/// A note where an id has spaces that nobody sees, with the way to the one without.
fn spaces_note(id: &str, path: &str) -> Markup {
    html! {
        @if has_outer_spaces(id) {
            p .note { "This id " (where_spaces(id)) ". " a href=(format!("{path}{}", encoded(id.trim()))) { "Open the one without it" } }
        }
    }
}
