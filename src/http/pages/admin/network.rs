//! The switch between testnet and mainnet. Its name is typed to confirm it: it decides whether
//! people are charged.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::super::frame::{self, token};
use super::super::visitor::{Form, Visitor};
use super::super::{Pages, redirect};
use super::change::meanwhile;
use super::preview::{Change, from_input, query_of, reason_input};
use super::rules::DoneQuery;
use super::versions::{history, meets, network as name, pending_card, said, since};
use super::{PageQuery, confirmation, page_of, refusal, writes};
use crate::app::commands::rules::{Confirmation, Confirmed};
use crate::app::queries::{Version, in_force_at, is_mainnet_of, to_come};
use crate::domain::rules::SettingKey;
use crate::domain::time::Millis;
use crate::http::problem::Problem;

const TAB: &str = "/admin/rules";
const PATH: &str = "/admin/network";

/// `GET /admin/network`.
pub(in super::super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    PageQuery(wanted): PageQuery<DoneQuery>,
) -> Result<Response, Problem> {
    let note = |versions: &[Version], now| said(&wanted.done, wanted.version, versions, now);
    respond(&pages, &visitor, note, &Change::default(), StatusCode::OK).await
}

/// The page, with a note on what was done that may speak of the versions that there are now.
async fn respond(
    pages: &Pages,
    visitor: &Visitor,
    note: impl FnOnce(&[Version], Millis) -> Option<Markup>,
    sent: &Change,
    status: StatusCode,
) -> Result<Response, Problem> {
    // Where nothing was published, this says so.
    pages.service.queries.rules_needed().await?;
    let name_of_key = SettingKey::Mainnet.name();
    let versions = pages.service.queries.rule_history(name_of_key).await?;
    let now = pages.service.clock.now();
    let note = note(&versions, now);
    let current = in_force_at(&versions, now);
    let is_mainnet = current.and_then(is_mainnet_of) == Some(true);
    let pending: Vec<Version> = to_come(&versions, now).cloned().collect();
    let body = html! {
        h1 { "Network" }
        @if let Some(note) = note { (note) }
        p { "In force now: " strong { (name(is_mainnet)) } ". "
            @if is_mainnet { "Usage is charged to credits." } @else { "Nothing is charged; what mainnet would charge is recorded." }
        }
        @if let Some(version) = current {
            p .help { "Version " (version.version) ", since " (since(version)) ", by " (version.by) ": " (version.reason) }
        }
        (pending_card(&pending))
        @if writes(visitor) {
            (form(visitor, is_mainnet, sent, &versions, pages))
        }
        (history(&versions, now))
    };
    Ok(page_of(status, visitor, "Network", TAB, &body))
}

fn form(
    visitor: &Visitor,
    is_mainnet: bool,
    sent: &Change,
    versions: &[Version],
    pages: &Pages,
) -> Markup {
    let (other, now) = (name(!is_mainnet), pages.service.clock.now());
    html! {
        section .card aria-labelledby="switch-h" {
            h2 #switch-h { "Switch to " (other) }
            p {
                @if is_mainnet {
                    "From then on nothing is charged. What was charged before stays charged."
                } @else {
                    "From then on every successful request is charged, and gateways should not serve users without credit."
                }
            }
            (meets(versions, now, now))
            form .stack method="post" action=(PATH) {
                (token(visitor))
                (confirmation::inputs(&Confirmation::of(versions, now)))
                input type="hidden" name="to" value=(other);
                (from_input(&sent.from))
                (reason_input(&sent.reason))
                label for="typed" { "Type " strong { (other) } " to confirm" }
                input #typed name="typed" required autocomplete="off" autocapitalize="none" spellcheck="false" pattern=(other);
                p .actions { button .danger type="submit" { "Switch to " (other) } }
            }
        }
    }
}

/// `POST /admin/network`.
pub(in super::super) async fn switch(
    State(pages): State<Pages>,
    visitor: Visitor,
    form: Form,
) -> Result<Response, Problem> {
    let to = form.text("to");
    let change = Change {
        key: SettingKey::Mainnet.name().to_owned(),
        value: (to == name(true)).to_string(),
        from: form.text("from").to_owned(),
        reason: form.text("reason").to_owned(),
        confirmation: confirmation::of(&form),
    };
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    let is_typed = form.text("typed") == to && [name(true), name(false)].contains(&to);
    let why = match (is_typed, &change.confirmation) {
        (true, Some(shown)) => return confirmed(&pages, &visitor, &change, shown).await,
        (true, None) => "look at what is in force, and confirm again",
        (false, _) => "the network’s name was not typed exactly",
    };
    let note = frame::not_done(&format!("Nothing was switched: {why}."));
    respond(&pages, &visitor, |_, _| Some(note), &change, unprocessable).await
}

async fn confirmed(
    pages: &Pages,
    visitor: &Visitor,
    change: &Change,
    confirmation: &Confirmation,
) -> Result<Response, Problem> {
    match change.publish(pages, &visitor.by(), confirmation).await {
        Ok(Confirmed::Changed) => {
            let note = |versions: &[Version], _| Some(meanwhile(versions));
            respond(pages, visitor, note, change, StatusCode::CONFLICT).await
        }
        Ok(outcome) => Ok(redirect(&format!("{PATH}{}", query_of(outcome)))),
        Err(problem) if problem.is_about_input() => {
            let (note, status) = (refusal(&problem), StatusCode::UNPROCESSABLE_ENTITY);
            respond(pages, visitor, |_, _| Some(note), change, status).await
        }
        Err(problem) => Err(problem),
    }
}
