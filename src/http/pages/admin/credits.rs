//! Credits: a user's ledger, and a form to add to it.

use std::time::Duration;

use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::super::frame::{self, token};
use super::super::visitor::{Form, Visitor};
use super::super::words::{account_path, encoded, headline, instant, number};
use super::super::{Pages, redirect};
use super::{PageQuery, coded, page_of, spaces_note, unknown_note, writes};
use crate::app::commands::{
    CreditError, Doubt, NewCredit, is_key_of_undo, key_of_undo, reason_of_undo,
};
use crate::app::queries::{CreditLine, Credits, QueryError};
use crate::domain::amount::Money;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::text::REASON_CHARS_MAX;
use crate::http::extract::account;
use crate::http::problem::Problem;
use crate::ops::random_name;

const PATH: &str = "/admin/credits";

/// So much earlier than a page gives up, this one stops waiting for the store: it must say what may
/// have happened.
pub(super) const EARLIER: Duration = Duration::from_millis(300);

/// PathAccount, and what was done before.
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
    if !wanted.undo.is_empty() && writes(&visitor) {
        return undo(&pages, &visitor, &user, &credits, &wanted.undo).await;
    }
    let is_unknown = credits.entries.is_empty()
        && credits.spent == Money::ZERO
        && pages.service.queries.traces_of(&user).await?.is_empty();
    let note = match is_unknown {
        true => Some(unknown_note(&user)),
        false => said(&wanted, &credits),
    };
    let body = ledger_page(&visitor, &user, &credits, note, &Sent::default());
    Ok(page_of(StatusCode::OK, &visitor, "Credits", PATH, &body))
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

/// A form as it was sent.
#[derive(Clone, Debug, Default)]
struct Sent {
    amount: String,
    reason: String,
    /// The name of the entry; a new one, where it is empty.
    once: String,
}

impl Sent {
    fn of(form: &Form) -> Sent {
        Sent {
            amount: form.text("amount").to_owned(),
            reason: form.text("reason").to_owned(),
            once: form.text("once").to_owned(),
        }
    }

    /// The same to be sent as another entry.
    fn anew(self) -> Sent {
        Sent {
            once: String::new(),
            ..self
        }
    }

    fn name(&self) -> String {
        match self.once.as_str() {
            "" => format!("page-{}", random_name()),
            once => once.to_owned(),
        }
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
    visitor: &Visitor,
    user: &Account,
    credits: &Credits,
    note: Option<Markup>,
    sent: &Sent,
) -> Markup {
    html! {
        h1 { "Credits" }
        @if let Some(note) = note { (note) }
        (whose(user.id()))
        (spaces_note(user.id(), &format!("{PATH}?user=")))
        div .grid {
            (balance(user, credits))
            @if writes(visitor) { (add_form(visitor, user, sent)) }
        }
        (ledger(visitor, user, credits))
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

fn add_form(visitor: &Visitor, user: &Account, sent: &Sent) -> Markup {
    html! {
        section .card aria-labelledby="add-h" {
            h2 #add-h { "Add credit, or take it back" }
            form .stack method="post" action=(PATH) {
                (token(visitor))
                input type="hidden" name="user" value=(user.id());
                // Sent twice it counts once.
                input type="hidden" name="once" value=(sent.name());
                label for="amount" { "USD" }
                input #amount name="amount" inputmode="decimal" required readonly[is_key_of_undo(&sent.once)] value=(sent.amount) autocomplete="off" aria-describedby="amount-help";
                p #amount-help .help { "Such as 25 or 0.5, at most 1,000,000. A negative amount takes credit back." }
                label for="reason" { "Why" }
                input #reason name="reason" required readonly[is_key_of_undo(&sent.once)] maxlength=(REASON_CHARS_MAX) value=(sent.reason) autocomplete="off" aria-describedby="reason-help";
                p #reason-help .help { "The user sees it too." }
                p .actions { button type="submit" { "Add" } }
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
    let [id, key] = [user.id(), &entry.key].map(encoded);
    html! {
        @if undone_by(credits, entry).is_some() {
            span .chip.open { "Undone" }
        } @else if writes(visitor) {
            a href=(format!("{PATH}?user={id}&undo={key}")) { "Undo" }
        }
    }
}

/// Asks whether an entry is to be undone by a counter-entry.
async fn undo(
    pages: &Pages,
    visitor: &Visitor,
    user: &Account,
    credits: &Credits,
    key: &str,
) -> Result<Response, Problem> {
    let entry = credits.entries.iter().find(|entry| entry.key == key);
    let why = match entry {
        None => "there is no such entry",
        Some(entry) if undone_by(credits, entry).is_some() => "this entry is undone already",
        Some(_) => "",
    };
    let Some(entry) = entry.filter(|_| why.is_empty()) else {
        return refused(pages, visitor, user, Sent::default(), why).await;
    };
    let reason = reason_of_undo(
        &format!("{} USD", entry.amount),
        &instant(entry.at),
        &entry.reason,
    );
    let sent = Sent {
        amount: Money::ZERO.minus(entry.amount).to_string(),
        reason,
        once: key_of_undo(&entry.key),
    };
    let amount = Money::ZERO.minus(entry.amount);
    let body = confirmation(visitor, user, credits, amount, &sent, &[]);
    Ok(page_of(StatusCode::OK, visitor, "Credits", PATH, &body))
}

/// The page that asks whether credit is meant so, if something of it is doubtful.
async fn question(
    pages: &Pages,
    visitor: &Visitor,
    user: &Account,
    amount: Money,
    sent: &Sent,
) -> Result<Option<Markup>, QueryError> {
    let service = &pages.service;
    let above = service.config.ask_above_usd;
    let doubts = service
        .commands
        .doubts_of_credit(user, amount, above)
        .await?;
    if doubts.is_empty() {
        return Ok(None);
    }
    let credits = service.queries.credits(user).await?;
    let body = confirmation(visitor, user, &credits, amount, sent, &doubts);
    Ok(Some(body))
}

/// What would be added, what that makes of the balance, and why it is asked.
fn confirmation(
    visitor: &Visitor,
    user: &Account,
    credits: &Credits,
    amount: Money,
    sent: &Sent,
    doubts: &[Doubt],
) -> Markup {
    let back = format!("{PATH}?user={}", encoded(user.id()));
    let is_back = amount < Money::ZERO;
    let word = if is_back { "Take it back" } else { "Add it" };
    html! {
        h1 { @if is_back { "Take this credit back?" } @else { "Add this credit?" } }
        section .card aria-labelledby="sure-h" {
            h2 #sure-h { "User “" (user.id()) "”" }
            @for doubt in doubts { p .warn { (coded(&format!("Please check: {doubt}."))) } }
            (headline(amount, "USD"))
            dl .facts {
                div { dt { "Balance now" } dd .n { (number(credits.balance)) " USD" } }
                div { dt { "Balance then" } dd .n { (number(credits.balance.plus(amount))) " USD" } }
            }
            p { "Why: " (sent.reason) }
            form .actions method="post" action=(PATH) {
                (token(visitor))
                input type="hidden" name="user" value=(user.id());
                input type="hidden" name="amount" value=(sent.amount);
                input type="hidden" name="reason" value=(sent.reason);
                // Sent twice it counts once.
                input type="hidden" name="once" value=(sent.name());
                input type="hidden" name="confirmed" value="yes";
                button .danger[is_back] type="submit" { (word) } " "
                a .button.second href=(back) { "Cancel" }
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
    let user = account(AccountKind::User, form.whole("user"))?;
    let sent = Sent::of(&form);
    let amount = match sent.amount.parse::<Money>() {
        Ok(amount) => amount,
        Err(error) => return refused(&pages, &visitor, &user, sent, &error.to_string()).await,
    };
    let key = sent.name();
    let new = NewCredit {
        user: user.id().to_owned(),
        amount,
        reason: sent.reason.clone(),
        idempotency_key: key.clone(),
        by: visitor.by(),
    };
    // The confirmation, and the form again, keep the name.
    let sent = Sent {
        once: key.clone(),
        ..sent
    };
    // The question and the booking share the time: what is cut off has to be told as unsure here.
    let within = pages.answer_within(&Method::POST).saturating_sub(EARLIER);
    let until = Instant::now() + within;
    if form.text("confirmed") != "yes" {
        if let Err(error) = new.check() {
            return refused(&pages, &visitor, &user, sent, &in_words(&error)).await;
        }
        let asked = timeout_at(until, question(&pages, &visitor, &user, amount, &sent));
        match asked.await {
            Ok(Ok(None)) => (),
            Ok(Ok(Some(body))) => {
                return Ok(page_of(StatusCode::OK, &visitor, "Credits", PATH, &body));
            }
            Ok(Err(QueryError::Store(error))) if error.is_transient() => {
                tracing::warn!(event = "http.store_unavailable", %error, "the store does not answer");
                return Ok(unsure(&visitor, &user, &sent));
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Ok(unsure(&visitor, &user, &sent)),
        }
    }
    let booked = pages.service.commands.add_credit(new);
    let error = match timeout_at(until, booked).await {
        Ok(Ok(booked)) => {
            let done = if booked.before.is_some() {
                "before"
            } else {
                "added"
            };
            let (user, key) = (encoded(user.id()), encoded(&key));
            return Ok(redirect(&format!(
                "{PATH}?user={user}&done={done}&entry={key}"
            )));
        }
        Ok(Err(error)) => error,
        Err(_) => return Ok(unsure(&visitor, &user, &sent)),
    };
    match error {
        CreditError::Store(error) if error.is_transient() => {
            tracing::warn!(event = "http.store_unavailable", %error, "the store does not answer");
            Ok(unsure(&visitor, &user, &sent))
        }
        CreditError::Store(error) => Err(error.into()),
        other => refused(&pages, &visitor, &user, sent, &in_words(&other)).await,
    }
}

/// Why it was refused, without the words of the API.
fn in_words(error: &CreditError) -> String {
    match error {
        CreditError::KeyReused {
            before, reason, at, ..
        } => format!(
            "this form was sent before, at {}, with {before} USD, “{reason}”, and that was added. Below is a new form with what you \
             typed now: send it if this is to be added, too",
            instant(*at)
        ),
        other => other.to_string(),
    }
}

/// The page with the form as it was typed. Nothing was added under its name, or something else was:
/// it gets a new one.
async fn refused(
    pages: &Pages,
    visitor: &Visitor,
    user: &Account,
    sent: Sent,
    why: &str,
) -> Result<Response, Problem> {
    let credits = pages.service.queries.credits(user).await?;
    let note = Some(frame::not_done(&format!("Nothing was added: {why}.")));
    let body = ledger_page(visitor, user, &credits, note, &sent.anew());
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Ok(page_of(status, visitor, "Credits", PATH, &body))
}

/// Nobody knows whether it was added. The same form under the same name is safe to send again.
fn unsure(visitor: &Visitor, user: &Account, sent: &Sent) -> Response {
    let body = html! {
        h1 { "Credits" }
        div .note.bad role="alert" {
            p { "The store did not answer, so this may or may not have been added. Send the same form again in a few seconds: it counts \
                 once, however often it is sent." }
        }
        h2 { "For " (user.id()) }
        (add_form(visitor, user, sent))
    };
    let status = StatusCode::SERVICE_UNAVAILABLE;
    page_of(status, visitor, "Credits", PATH, &body)
}
