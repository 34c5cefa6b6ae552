//! Pages of admins. What they change goes through the functions of the admin API, so that both check the same and leave the same trail.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::Pages;
use super::frame;
use super::guard::Visitor;
use super::redirect;
use super::words::{account_path, instant};
use crate::domain::access::Scope;
use crate::domain::ids::AccountKind;
use crate::http::problem::Problem;
use crate::http::strict::{Asked, account};
use crate::pipeline::HaltCode;
use crate::store::checkpoints::{self, HaltRecord};

pub(super) mod audit;
pub(super) mod credits;
pub(super) mod network;
pub(super) mod preview;
pub(super) mod rejects;
pub(super) mod rules;

/// The pages of admins, with their names.
const TABS: [(&str, &str); 5] = [
    ("Overview", "/admin"),
    ("Prices and rules", "/admin/rules"),
    ("Credits", "/admin/credits"),
    ("Rejects", "/admin/rejects"),
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
            p { (detail) }
            @if !faults.is_empty() { ul { @for fault in faults { li { (fault) } } } }
        }
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
    let halts = checkpoints::halts(&*pages.service.db).await?;
    let rules = pages.service.reads.rules().await?;
    let now = pages.service.clock.now();
    let is_mainnet = rules.map(|rules| rules.at(now).is_mainnet());
    let body = html! {
        h1 { "Admin" }
        div #live hx-get="/admin" hx-trigger="every 15s" hx-select="#live" hx-swap="outerHTML" {
            (partitions(&halts))
        }
        div .grid {
            (network_card(is_mainnet))
            (find_account())
        }
    };
    Ok(page(&visitor, "Admin", "/admin", &body))
}

/// Partitions that stand still, and what to do.
fn partitions(halts: &[HaltRecord]) -> Markup {
    html! {
        section .card aria-labelledby="halts-h" {
            div .row {
                h2 #halts-h { "Partitions" }
                @if halts.is_empty() {
                    span .chip { "None is halted" }
                } @else {
                    span .chip.bad { (halts.len()) " halted" }
                }
            }
            @if halts.is_empty() {
                p .help { "Every partition is working, or waits for something to do." }
            }
            @for halt in halts {
                article {
                    h3 { (halt.task) " stands still since " (instant(halt.at)) }
                    p { (halt.message) }
                    @if let Some(code) = HaltCode::from_name(&halt.code) { p { strong { "What to do: " } (code.advice()) } }
                    p .help { "Then: " code { "tidemark resume " (halt.task) } ". The other partitions go on meanwhile." }
                }
            }
        }
    }
}

fn network_card(is_mainnet: Option<bool>) -> Markup {
    html! {
        section .card aria-labelledby="network-h" {
            h2 #network-h { "Network" }
            @match is_mainnet {
                Some(true) => { p { strong { "Mainnet" } ": usage is charged." } }
                Some(false) => { p { strong { "Testnet" } ": nothing is charged; what it would cost is noted." } }
                None => { p .warn { "No rules have been published, so no event can be rated: " code { "tidemark pricing init" } } }
            }
            p { a href="/admin/network" { "Switch it" } }
        }
    }
}

/// Leads to any account's page.
fn find_account() -> Markup {
    html! {
        section .card aria-labelledby="find-h" {
            h2 #find-h { "An account’s page and statement" }
            form .line method="get" action="/admin/find" {
                label for="find-kind" { "Kind" }
                select #find-kind name="kind" {
                    option value="user" { "User" }
                    option value="provider" { "Provider" }
                }
                label for="find-id" { "Id" }
                input #find-id name="id" required maxlength="128" autocomplete="off" spellcheck="false";
                button type="submit" { "Show" }
            }
        }
    }
}

/// Which account.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    kind: AccountKind,
    id: String,
}

/// `GET /admin/find`.
pub(super) async fn find(Asked(which): Asked<Which>) -> Result<Response, Problem> {
    let account = account(which.kind, which.id.trim())?;
    Ok(redirect(&account_path(&account)))
}
