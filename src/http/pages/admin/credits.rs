//! Credits: a user's ledger, and a form to add to it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::frame::{self, token};
use super::super::guard::{Form, Visitor};
use super::super::words::{account_path, encoded, instant};
use super::super::{Pages, redirect};
use super::{page_of, writes};
use crate::domain::amount::Money;
use crate::domain::ids::{Account, AccountKind};
use crate::http::problem::Problem;
use crate::http::strict::{Asked, account};
use crate::reads::Credits;
use crate::store::credits::{self, CreditEntry, CreditError};

const PATH: &str = "/admin/credits";

/// Whose, and what was done before.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct Wanted {
    #[serde(default)]
    user: String,
    #[serde(default)]
    done: String,
}

/// `GET /admin/credits`.
pub(in super::super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    Asked(wanted): Asked<Wanted>,
) -> Result<Response, Problem> {
    let note = (wanted.done == "added").then(|| frame::done("It is added."));
    let user = match wanted.user.trim() {
        "" => None,
        id => Some(account(AccountKind::User, id)?),
    };
    respond(
        &pages,
        &visitor,
        user,
        note,
        &Form::default(),
        StatusCode::OK,
    )
    .await
}

async fn respond(
    pages: &Pages,
    visitor: &Visitor,
    user: Option<Account>,
    note: Option<Markup>,
    sent: &Form,
    status: StatusCode,
) -> Result<Response, Problem> {
    let found = match &user {
        None => None,
        Some(user) => Some(pages.service.reads.credits(user).await?),
    };
    let body = html! {
        h1 { "Credits" }
        @if let Some(note) = note { (note) }
        form .line.card method="get" action=(PATH) {
            label for="user" { "User" }
            input #user name="user" required maxlength="128" value=(user.as_ref().map_or("", Account::id)) autocomplete="off" spellcheck="false";
            button .second type="submit" { "Show" }
        }
        @if let (Some(user), Some(credits)) = (&user, &found) {
            div .grid {
                (balance(user, credits))
                @if writes(visitor) { (add_form(visitor, user, sent)) }
            }
            (ledger(credits))
        }
    };
    Ok(page_of(status, visitor, "Credits", PATH, &body))
}

fn balance(user: &Account, credits: &Credits) -> Markup {
    html! {
        section .card aria-labelledby="balance-h" {
            h2 #balance-h { a href=(account_path(user)) { (user.id()) } }
            p .big { span .number { (credits.balance) } " USD" }
            @if credits.overdrawn { p .warn { "Overdrawn: more was used than was added." } }
            dl .facts {
                div { dt { "Added" } dd .n { (credits.added) " USD" } }
                div { dt { "Spent" } dd .n { (credits.spent) " USD" } }
            }
        }
    }
}

fn add_form(visitor: &Visitor, user: &Account, sent: &Form) -> Markup {
    html! {
        section .card aria-labelledby="add-h" {
            h2 #add-h { "Add credit, or take it back" }
            form .stack method="post" action=(PATH) {
                (token(visitor))
                input type="hidden" name="user" value=(user.id());
                // Sent twice it counts once.
                input type="hidden" name="once" value=(format!("page-{:032x}", rand::random::<u128>()));
                label for="amount" { "USD" }
                input #amount name="amount" inputmode="decimal" required value=(sent.text("amount")) autocomplete="off" aria-describedby="amount-help";
                p #amount-help .help { "Such as 25 or 0.5; below zero takes credit back." }
                label for="reason" { "Why" }
                input #reason name="reason" required maxlength="500" value=(sent.text("reason")) autocomplete="off" aria-describedby="reason-help";
                p #reason-help .help { "The user sees it, too." }
                p .actions { button type="submit" { "Add" } }
            }
        }
    }
}

fn ledger(credits: &Credits) -> Markup {
    html! {
        section .card aria-labelledby="ledger-h" {
            h2 #ledger-h { "Ledger" }
            @if credits.entries.is_empty() { p .empty { "No credits were added yet." } } @else {
                div .scroll.wide tabindex="0" role="group" aria-labelledby="ledger-h" {
                    table {
                        thead { tr {
                            th scope="col" { "When" }
                            th .n scope="col" { "USD" }
                            th scope="col" { "Why" }
                            th scope="col" { "By" }
                            th scope="col" { "Key" }
                        } }
                        tbody {
                            @for entry in credits.entries.iter().rev() {
                                tr {
                                    th .time scope="row" { (instant(entry.at)) }
                                    td .n { (entry.amount) }
                                    td { (entry.reason) }
                                    td { (entry.by) }
                                    td { code { (entry.key) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `POST /admin/credits`.
pub(in super::super) async fn add(
    State(pages): State<Pages>,
    visitor: Visitor,
    form: Form,
) -> Result<Response, Problem> {
    let user = account(AccountKind::User, form.text("user"))?;
    let path = format!("{PATH}?user={}&done=added", encoded(user.id()));
    let refused = match amount(form.text("amount")) {
        Err(why) => why,
        Ok(amount) => {
            let entry = CreditEntry {
                idempotency_key: form.text("once").to_owned(),
                amount,
                reason: form.text("reason").to_owned(),
                by: visitor.by(),
                at: pages.service.clock.now(),
            };
            match credits::add(&*pages.service.db, user.id(), &entry).await {
                Ok(_) => return Ok(redirect(&path)),
                Err(CreditError::Store(error)) => return Err(error.into()),
                Err(error) => error.to_string(),
            }
        }
    };
    let note = Some(frame::not_done(&format!("Nothing was added: {refused}.")));
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    respond(&pages, &visitor, Some(user), note, &form, status).await
}

fn amount(text: &str) -> Result<Money, String> {
    text.parse()
        .map_err(|error: crate::domain::amount::AmountError| error.to_string())
}
