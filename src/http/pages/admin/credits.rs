//! Credits: a user's ledger, and a form to add to it.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::frame;
use super::super::user::overdrawn;
use super::super::visitor::{Form, Visitor};
use super::super::words::{account_path, encoded, headline, instant, number};
use super::super::{Pages, redirect};
use super::money::{Desk, Outcome, Said, Sent, Words};
use super::{PageQuery, page_of, spaces_note, unknown_note, writes};
use crate::app::commands::{Booked, CreditError, NewCredit};
use crate::app::queries::{AccountTraces, CreditLine, CreditPage, CreditSums, LedgerOrder};
use crate::domain::amount::Money;
use crate::domain::ids::{Account, AccountKind};
use crate::http::extract::{account, bad_query};
use crate::http::problem::Problem;

const PATH: &str = "/admin/credits";
/// Entries of a page.
const ENTRIES: usize = 100;

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
    /// The key of an entry: those before it are shown.
    before: Option<String>,
}

/// What the page shows of a user's credits.
struct Ledger {
    sums: CreditSums,
    /// Newest first.
    page: CreditPage,
    /// Which of them are undone, by key.
    undone: BTreeSet<String>,
    /// Whether there are newer ones than these.
    is_older: bool,
}

impl Ledger {
    async fn of(pages: &Pages, user: &Account, before: Option<&str>) -> Result<Ledger, Problem> {
        let (queries, newest_first) = (&pages.service.queries, LedgerOrder::NewestFirst);
        let page = queries.credit_page(user, newest_first, before, ENTRIES);
        let unknown = || bad_query("before: this user has no entry with this key");
        let page = page.await?.ok_or_else(unknown)?;
        let commands = &pages.service.commands;
        Ok(Ledger {
            undone: commands.undone_credits(user, &page.entries).await?,
            sums: queries.credit_sums(user).await?,
            is_older: before.is_some(),
            page,
        })
    }
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
    let desk = desk(&pages, &visitor, &user);
    if !wanted.undo.is_empty() && writes(&visitor) {
        return ask_undo(&desk, &user, &wanted.undo).await;
    }
    let queries = &pages.service.queries;
    let ledger = Ledger::of(&pages, &user, wanted.before.as_deref()).await?;
    let has_nothing = ledger.page.entries.is_empty() && ledger.sums.spent == Money::ZERO;
    let traces = match has_nothing {
        true => Some(queries.traces_of(&user).await?),
        false => None,
    };
    let note = match traces.filter(AccountTraces::is_empty) {
        Some(traces) => Some(unknown_note(&user, &traces)),
        None => {
            let entry = queries.credit(&user, &wanted.entry).await?;
            entry.and_then(|entry| said(&wanted.done, &entry))
        }
    };
    let body = ledger_page(&desk, &user, &ledger, note, &desk.form(&Sent::default()));
    Ok(desk.page(StatusCode::OK, &body))
}

/// What was done just before, with this entry.
fn said(done: &str, entry: &CreditLine) -> Option<Markup> {
    match done {
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
    ledger: &Ledger,
    note: Option<Markup>,
    form: &Markup,
) -> Markup {
    html! {
        h1 { "Credits" }
        @if let Some(note) = note { (note) }
        (whose(user.id()))
        (spaces_note(user.id(), &format!("{PATH}?user=")))
        div .grid {
            (balance(user, &ledger.sums))
            @if writes(desk.visitor) { (form) }
        }
        (entries(desk.visitor, user, ledger))
    }
}

fn balance(user: &Account, sums: &CreditSums) -> Markup {
    html! {
        section .card aria-labelledby="balance-h" {
            h2 #balance-h { a href=(account_path(user)) { (user.id()) } }
            (headline(sums.balance(), "USD"))
            (overdrawn(sums))
            dl .facts {
                div { dt { "Added" } dd .n { (number(sums.added)) " USD" } }
                div { dt { "Spent" } dd .n { (number(sums.spent)) " USD" } }
            }
        }
    }
}

fn entries(visitor: &Visitor, user: &Account, ledger: &Ledger) -> Markup {
    let Ledger { sums, page, .. } = ledger;
    html! {
        section .card aria-labelledby="ledger-h" {
            h2 #ledger-h { "Ledger" }
            @if page.entries.is_empty() {
                p .empty { @if ledger.is_older { "No older entries." } @else { "No credits yet." } }
            } @else {
                @if ledger.is_older || page.next.is_some() {
                    p .help { "Newest first, " (number(ENTRIES)) " of " (number(sums.entries)) " entries on a page." }
                }
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
                            @for entry in &page.entries {
                                tr {
                                    th .time scope="row" { (instant(entry.at)) }
                                    td .n data-label="USD" { (number(entry.amount)) }
                                    td data-label="Why" { (entry.reason) }
                                    td data-label="By" { (entry.by) }
                                    td data-label="Key" { code { (entry.key) } }
                                    td { (undo_link(visitor, user, ledger, entry)) }
                                }
                            }
                        }
                    }
                }
            }
            @if ledger.is_older { a .button.second href=(path_of(user)) { "Newest" } }
            @if let Some(next) = &page.next {
                a .button.second rel="next" href=(format!("{}&before={}", path_of(user), encoded(next))) { "Older" }
            }
        }
    }
}

fn undo_link(visitor: &Visitor, user: &Account, ledger: &Ledger, entry: &CreditLine) -> Markup {
    html! {
        @if ledger.undone.contains(&entry.key) {
            span .chip.open { "Undone" }
        } @else if writes(visitor) {
            a href=(format!("{}&undo={}", path_of(user), encoded(&entry.key))) { "Undo" }
        }
    }
}

/// Asks whether an entry is to be undone by a counter-entry.
async fn ask_undo(desk: &Desk<'_>, user: &Account, key: &str) -> Result<Response, Problem> {
    let service = &desk.pages.service;
    let commands = &service.commands;
    let counter = commands.counter_credit(user, key, &desk.visitor.by()).await;
    let why = match counter.map_err(Problem::from) {
        Ok(counter) if counter.is_booked => "this entry is undone already".to_owned(),
        Ok(counter) => {
            let (amount, reason) = (counter.new.amount, &counter.new.reason);
            let sums = service.queries.credit_sums(user).await?;
            let body = desk.undo_question(key, amount, reason, &then(&sums, amount));
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
fn then(sums: &CreditSums, amount: Money) -> Markup {
    html! {
        dl .facts {
            div { dt { "Balance now" } dd .n { (number(sums.balance())) " USD" } }
            div { dt { "Balance then" } dd .n { (number(sums.balance().plus(amount))) " USD" } }
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
            let sums = service.queries.credit_sums(user).await?;
            let facts = then(&sums, amount);
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
    let ledger = Ledger::of(desk.pages, user, None).await?;
    let note = Some(desk.not_done(why));
    let body = ledger_page(desk, user, &ledger, note, &desk.form_anew(sent));
    Ok(desk.page(StatusCode::UNPROCESSABLE_ENTITY, &body))
}
