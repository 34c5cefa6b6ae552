//! The switch between testnet and mainnet. Its name is typed to confirm it: it decides whether people are charged.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::super::frame::{self, token};
use super::super::guard::{Form, Visitor};
use super::super::{Pages, redirect};
use super::preview::{Change, from_input, reason_input};
use super::{page_of, refusal, writes};
use crate::domain::rules::SettingKey;
use crate::http::problem::Problem;

const TAB: &str = "/admin/rules";
const PATH: &str = "/admin/network";

const fn name(is_mainnet: bool) -> &'static str {
    if is_mainnet { "mainnet" } else { "testnet" }
}

async fn is_mainnet(pages: &Pages) -> Result<bool, Problem> {
    let rules = pages.service.reads.rules_needed().await?;
    Ok(rules.at(pages.service.clock.now()).is_mainnet())
}

/// `GET /admin/network`.
pub(in super::super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    respond(&pages, &visitor, None, &Change::default()).await
}

async fn respond(
    pages: &Pages,
    visitor: &Visitor,
    note: Option<Markup>,
    sent: &Change,
) -> Result<Response, Problem> {
    let is_mainnet = is_mainnet(pages).await?;
    let other = name(!is_mainnet);
    let status = match note {
        None => StatusCode::OK,
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let body = html! {
        h1 { "Network" }
        @if let Some(note) = note { (note) }
        p { "In force now: " strong { (name(is_mainnet)) } ". "
            @if is_mainnet { "Usage is charged to credits." } @else { "Nothing is charged; what mainnet would charge is noted." }
        }
        @if writes(visitor) {
            section .card aria-labelledby="switch-h" {
                h2 #switch-h { "Switch to " (other) }
                p {
                    @if is_mainnet {
                        "From then on nothing is charged any more. What was charged stays charged."
                    } @else {
                        "From then on every successful request is charged, and users without credit are not to be served."
                    }
                }
                form .stack method="post" action=(PATH) {
                    (token(visitor))
                    input type="hidden" name="to" value=(other);
                    (from_input(&sent.from))
                    (reason_input(&sent.reason))
                    label for="typed" { "Type " strong { (other) } " to confirm" }
                    input #typed name="typed" required autocomplete="off" autocapitalize="none" spellcheck="false" pattern=(other);
                    p .actions { button .danger type="submit" { "Switch to " (other) } }
                }
            }
        }
        p { a href="/admin/rules/system_mainnet" { "History of the switch" } }
    };
    Ok(page_of(status, visitor, "Network", TAB, &body))
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
    };
    if to.is_empty() || form.text("typed") != to || ![name(true), name(false)].contains(&to) {
        let note = frame::not_done(
            "Nothing was switched: the network’s name was not typed as it is written.",
        );
        return respond(&pages, &visitor, Some(note), &change).await;
    }
    match change.publish(&pages, &visitor.by()).await {
        Ok(_) => Ok(redirect("/admin/rules/system_mainnet?done=published")),
        Err(problem) if problem.is_about_input() => {
            respond(&pages, &visitor, Some(refusal(&problem)), &change).await
        }
        Err(problem) => Err(problem),
    }
}
