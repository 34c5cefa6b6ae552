//! Credits: a user's ledger, and a form to add to it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::frame;
use super::super::visitor::{Form, Visitor};
use super::super::words::{account_path, encoded, headline, instant, number};
use super::super::{Pages, redirect};
use super::money::{Desk, Outcome, Said, Sent, Words};
use super::{PageQuery, page_of, spaces_note, unknown_note, writes};
use crate::app::commands::{Booked, CreditError, NewCredit, key_of_undo};
use crate::app::queries::{CreditLine, Credits};
use crate::domain::amount::Money;
use crate::domain::ids::{Account, AccountKind};
use crate::http::extract::account;
use crate::http::problem::Problem;

const PATH: &str = "/admin/credits";

const WORDS: Words = Words {
    path: PATH,
    title: "Credits",
    field: "amount",
    label: "USD",
    unit: "USD",
    form: "Add credit, or take it back",
    amount_help: "Such as 25 or 0.5, at most 1,000,000. A negative amount takes credit back.",
    reason_help: "The user sees it too.",
    submit: "Add",
    add: ["Add this credit?", "Add it"],
    take: ["Take this credit back?", "Take it back"],
    done: "added",
};

fn desk<'p>(pages: &'p Pages, visitor: &'p Visitor, user: &Account) -> Desk<'p> {
    Desk {
        words: &WORDS,
        pages,
        visitor,
        whose: format!("user “{}”", user.id()),
        account: html! { input type="hidden" name="user" value=(user.id()); },
        back: path_of(user),
    }
}

fn path_of(user: &Account) -> String {
    format!("{PATH}?user={}", encoded(user.id()))
}

/// Which user, and what was done before.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct CreditsQuery {
    #[serde(default)]
    user: String,
    #[serde(default)]
    done: String,
    /// The key of the entry that it was done with.
    #[serde(default)]
    entry: String,
    /// The key of an entry that is to be undone.
    #[serde(default)]
    undo: String,
}

/// `GET /admin/credits`.
pub(in super::super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    PageQuery(wanted): PageQuery<CreditsQuery>,
) -> Result<Response, Problem> {
    let user = match wanted.user.as_str() {
        "" => None,
        id => Some(account(AccountKind::User, id)?),
    };
    let Some(user) = user else {
        return Ok(page_of(
            StatusCode::OK,
            &visitor,
            "Credits",
            PATH,
            &nobody(),
        ));
    };
    let credits = pages.service.queries.credits(&user).await?;
    let desk = desk(&pages, &visitor, &user);
    if !wanted.undo.is_empty() && writes(&visitor) {
        return ask_undo(&desk, &user, &credits, &wanted.undo).await;
    }
    let is_unknown = credits.entries.is_empty()
        && credits.spent == Money::ZERO
        && pages.service.queries.traces_of(&user).await?.is_empty();
    let note = match is_unknown {
        true => Some(unknown_note(&user)),
        false => said(&wanted, &credits),
    };
    let body = ledger_page(&desk, &user, &credits, note, &desk.form(&Sent::default()));
    Ok(desk.page(StatusCode::OK, &body))
}

/// What was done just before.
fn said(wanted: &CreditsQuery, credits: &Credits) -> Option<Markup> {
    let mut entries = credits.entries.iter();
    let entry = entries.find(|entry| entry.key == wanted.entry)?;
    match wanted.done.as_str() {
        "added" => Some(frame::done("Added.")),
        "before" => Some(frame::done(&format!(
            "Already added at {}: {} USD, “{}”. It was not added a second time.",
            instant(entry.at),
            number(entry.amount),
            entry.reason
        ))),
        _ => None,
    }
}

fn nobody() -> Markup {
    html! { h1 { "Credits" } (whose("")) }
}

fn whose(user: &str) -> Markup {
    html! {
        form .line.card method="get" action=(PATH) {
            label for="user" { "User" }
            input #user name="user" required maxlength="128" value=(user) autocomplete="off" spellcheck="false";
            button .second type="submit" { "Show" }
        }
    }
}

fn ledger_page(
    desk: &Desk<'_>,
    user: &Account,
    credits: &Credits,
    note: Option<Markup>,
    form: &Markup,
) -> Markup {
    html! {
        h1 { "Credits" }
        @if let Some(note) = note { (note) }
        (whose(user.id()))
        (spaces_note(user.id(), &format!("{PATH}?user=")))
        div .grid {
            (balance(user, credits))
            @if writes(desk.visitor) { (form) }
        }
        (ledger(desk.visitor, user, credits))
    }
}

fn balance(user: &Account, credits: &Credits) -> Markup {
    html! {
        section .card aria-labelledby="balance-h" {
            h2 #balance-h { a href=(account_path(user)) { (user.id()) } }
            (headline(credits.balance, "USD"))
            @if credits.overdrawn {
                p .warn {
                    @if credits.spent > Money::ZERO { "Overdrawn: more was used than there was credit for." }
                    @else { "Below zero: more was taken back than was added." }
                }
            }
            dl .facts {
                div { dt { "Added" } dd .n { (number(credits.added)) " USD" } }
                div { dt { "Spent" } dd .n { (number(credits.spent)) " USD" } }
            }
        }
    }
}

fn ledger(visitor: &Visitor, user: &Account, credits: &Credits) -> Markup {
    html! {
        section .card aria-labelledby="ledger-h" {
            h2 #ledger-h { "Ledger" }
            @if credits.entries.is_empty() { p .empty { "No credits yet." } } @else {
                div .scroll.wide.cells tabindex="0" role="group" aria-labelledby="ledger-h" {
                    table {
                        thead { tr {
                            th scope="col" { "When" }
                            th .n scope="col" { "USD" }
                            th scope="col" { "Why" }
                            th scope="col" { "By" }
                            th scope="col" { "Key" }
                            th scope="col" { span .sr { "Undo" } }
                        } }
                        tbody {
                            @for entry in credits.entries.iter().rev() {
                                tr {
                                    th .time scope="row" { (instant(entry.at)) }
                                    td .n data-label="USD" { (number(entry.amount)) }
                                    td data-label="Why" { (entry.reason) }
                                    td data-label="By" { (entry.by) }
                                    td data-label="Key" { code { (entry.key) } }
                                    td { (undo_link(visitor, user, credits, entry)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The counter-entry of an entry, if there is one.
fn undone_by<'c>(credits: &'c Credits, entry: &CreditLine) -> Option<&'c CreditLine> {
    let key = key_of_undo(&entry.key);
    let amount = Money::ZERO.minus(entry.amount);
    let mut entries = credits.entries.iter();
    entries.find(|other| other.key == key && other.amount == amount)
}

fn undo_link(visitor: &Visitor, user: &Account, credits: &Credits, entry: &CreditLine) -> Markup {
    html! {
        @if undone_by(credits, entry).is_some() {
            span .chip.open { "Undone" }
        } @else if writes(visitor) {
            a href=(format!("{}&undo={}", path_of(user), encoded(&entry.key))) { "Undo" }
        }
    }
}

/// Asks whether an entry is to be undone by a counter-entry.
async fn ask_undo(
    desk: &Desk<'_>,
    user: &Account,
    credits: &Credits,
    key: &str,
) -> Result<Response, Problem> {
    let commands = &desk.pages.service.commands;
    let counter = commands.counter_credit(user, key, &desk.visitor.by()).await;
    let why = match counter.map_err(Problem::from) {
        Ok(counter) if counter.is_booked => "this entry is undone already".to_owned(),
        Ok(counter) => {
            let (amount, reason) = (counter.new.amount, &counter.new.reason);
            let body = desk.undo_question(key, amount, reason, &then(credits, amount));
            return Ok(desk.page(StatusCode::OK, &body));
        }
        Err(problem) if problem.is("unknown_entry") || problem.is_about_input() => {
            problem.told().0.to_owned()
        }
        Err(problem) => return Err(problem),
    };
    refused(desk, user, Sent::default(), &why).await
}

/// What an entry makes of the balance.
fn then(credits: &Credits, amount: Money) -> Markup {
    html! {
        dl .facts {
            div { dt { "Balance now" } dd .n { (number(credits.balance)) " USD" } }
            div { dt { "Balance then" } dd .n { (number(credits.balance.plus(amount))) " USD" } }
        }
    }
}

/// `POST /admin/credits`.
pub(in super::super) async fn add(
    State(pages): State<Pages>,
    visitor: Visitor,
    form: Form,
) -> Result<Response, Problem> {
    let user = account(AccountKind::User, form.whole("user"))?;
    let desk = desk(&pages, &visitor, &user);
    let (undo, sent) = (form.whole("undo"), Sent::of(&form, &WORDS));
    let is_confirmed = form.text("confirmed") == "yes";
    let (booked, undone) = (
        book(&desk, &user, &sent, is_confirmed),
        undone(&desk, &user, undo),
    );
    let said = desk.booked_or_undone(&sent, undo, booked, undone);
    match said.await? {
        Said::Page(page) => Ok(page),
        Said::Refused(why) => refused(&desk, &user, sent, &why).await,
        Said::Booked((key, booked)) => {
            let is_new = booked.before.is_none();
            let done = if is_new { "added" } else { "before" };
            let (back, key) = (path_of(&user), encoded(&key));
            Ok(redirect(&format!("{back}&done={done}&entry={key}")))
        }
    }
}

/// Adds what a form says, or asks first.
async fn book(
    desk: &Desk<'_>,
    user: &Account,
    sent: &Sent,
    is_confirmed: bool,
) -> Result<Outcome<(String, Booked)>, Problem> {
    let service = &desk.pages.service;
    let amount = match sent.amount.parse::<Money>() {
        Ok(amount) => amount,
        Err(error) => return Ok(Outcome::Refused(error.to_string())),
    };
    let new = NewCredit {
        user: user.id().to_owned(),
        amount,
        reason: sent.reason.clone(),
        idempotency_key: sent.key(),
        by: desk.visitor.by(),
    };
    if !is_confirmed {
        new.check()?;
        let (commands, above) = (&service.commands, service.config.ask_above_usd);
        let doubts = commands.doubts_of_credit(user, amount, above).await?;
        if !doubts.is_empty() {
            let credits = service.queries.credits(user).await?;
            let facts = then(&credits, amount);
            return Ok(Outcome::Question(
                desk.question(amount, sent, &doubts, &facts),
            ));
        }
    }
    match service.commands.add_credit(new).await {
        Ok(booked) => Ok(Outcome::Booked((sent.key(), booked))),
        // Without the words of the API.
        Err(CreditError::KeyReused {
            before, reason, at, ..
        }) => Ok(Outcome::Refused(format!(
            "this form was sent before, at {}, with {before} USD, “{reason}”, and that was added. Below is a new form with what you \
             typed now: send it if this is to be added, too",
            instant(at)
        ))),
        Err(error) => Err(error.into()),
    }
}

async fn undone(
    desk: &Desk<'_>,
    user: &Account,
    key: &str,
) -> Result<Outcome<(String, Booked)>, Problem> {
    let commands = &desk.pages.service.commands;
    let by = desk.visitor.by();
    let (counter, booked) = commands.undo_credit(user, key, &by).await?;
    Ok(Outcome::Booked((counter.idempotency_key, booked)))
}

/// The page with the form as it was typed.
async fn refused(
    desk: &Desk<'_>,
    user: &Account,
    sent: Sent,
    why: &str,
) -> Result<Response, Problem> {
    let credits = desk.pages.service.queries.credits(user).await?;
    let note = Some(desk.not_done(why));
    let body = ledger_page(desk, user, &credits, note, &desk.form_anew(sent));
    Ok(desk.page(StatusCode::UNPROCESSABLE_ENTITY, &body))
}
