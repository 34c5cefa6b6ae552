//! The page of a user or a provider.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::admin::{adjustments, find};
use super::subject::Subject;
use super::visitor::{PathAccount, Visitor};
use super::words::{account_path, encoded, instant, season};
use super::{Pages, badges, frame, provider, referrals, requests, user, wallet};
use crate::domain::access::Scope;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::time::Month;
use crate::http::extract::QueryParams;
use crate::http::problem::Problem;

/// How often the numbers of an open month look for themselves.
const REFRESH: &str = "every 15s";

/// What a page of an account is asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct AccountQuery {
    /// Which month; the current one, if it is left out.
    month: Option<Month>,
    /// Referees after this entry of the control feed.
    #[serde(default)]
    pub after: u64,
    /// What was done just before.
    #[serde(default)]
    pub done: String,
}

/// `GET /users/{id}`, `GET /providers/{id}`.
pub(super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    PathAccount(account): PathAccount,
    QueryParams(asking): QueryParams<AccountQuery>,
) -> Result<Response, Problem> {
    respond(&pages, &visitor, account, &asking, None).await
}

/// The page, with what was refused of its referral section.
pub(super) async fn respond(
    pages: &Pages,
    visitor: &Visitor,
    account: Account,
    asking: &AccountQuery,
    refused: Option<&referrals::RefusedCode>,
) -> Result<Response, Problem> {
    // Who looks at an account of their own sees that it has nothing yet. Admins mistype ids.
    let is_own = visitor.accounts().contains(&&account);
    let queries = &pages.service.queries;
    if !is_own {
        let traces = queries.traces_of(&account).await?;
        // Its first usage may wait behind a halted partition; the page says so.
        if traces.is_empty() && queries.stands_still(&account).await?.is_none() {
            return Ok(find::no_such_account(visitor, &account, &traces));
        }
    }
    let subject = Subject::read(pages, account, asking.month).await?;
    let live = match subject.account.kind {
        AccountKind::User => user::live(pages, visitor, &subject).await?,
        AccountKind::Provider => provider::live(pages, &subject).await?,
    };
    let body = page(pages, visitor, &subject, asking, live, refused).await?;
    let status = match refused {
        None => StatusCode::OK,
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Ok(frame::page_of(status, visitor, subject.account.id(), &body))
}

/// The page: a head, what refreshes itself, badges, and the referral section.
async fn page(
    pages: &Pages,
    visitor: &Visitor,
    subject: &Subject,
    asking: &AccountQuery,
    live: Markup,
    problem: Option<&referrals::RefusedCode>,
) -> Result<Markup, Problem> {
    let referral = referrals::section(pages, visitor, subject, asking.after, problem).await?;
    let badges = badges::section(pages, subject).await?;
    let wallet = pages.service.queries.wallet(&subject.account).await?;
    let wallet = wallet::card(&subject.account, &wallet);
    let standstill = standstill(pages, &subject.account).await?;
    let path = account_path(&subject.account);
    let here = format!("{path}?month={}", subject.month);
    // What is final does not change.
    let is_open = !subject.statement.is_final;
    let get = is_open.then_some(&here);
    Ok(html! {
        (head(subject, &path))
        @if visitor.may(&Scope::AdminRead) { (admin_links(&subject.account)) }
        (season(&subject.rules))
        @if let Some(text) = said(&asking.done) { (frame::done(text)) }
        p #stale .note.bad role="status" hidden { "These numbers may be out of date: the service is not responding." }
        div #live hx-get=[get] hx-trigger=[get.map(|_| REFRESH)] hx-select=[get.map(|_| "#live")] hx-swap=[get.map(|_| "outerHTML")] {
            @if let Some(standstill) = standstill { (standstill) }
            (live)
        }
        (badges)
        (wallet)
        (referral)
        p { a href=(format!("{path}/claims")) { "Claims on chain" } }
    })
}

/// That what this account brings is not counted at present. Nothing else on the page would tell.
async fn standstill(pages: &Pages, account: &Account) -> Result<Option<Markup>, Problem> {
    let since = pages.service.queries.stands_still(account).await?;
    Ok(since.map(|since| {
        html! {
            p #standstill .note.bad role="status" {
                "Updates paused since " (instant(since)) ": usage after that is not in these numbers yet. Nothing is lost; it is \
                 counted as soon as an operator has resolved the problem."
            }
        }
    }))
}

/// What admins do with an account.
fn admin_links(account: &Account) -> Markup {
    html! {
        p .help {
            a href=(adjustments::path_of(account)) { "Adjustments" }
            @if account.kind == AccountKind::User {
                " · " a href=(format!("/admin/credits?user={}", encoded(account.id()))) { "Credits" }
                " · " a href=(requests::path_of(account)) { "Requests" }
            }
        }
    }
}

fn head(subject: &Subject, path: &str) -> Markup {
    html! {
        div .head {
            h1 { (frame::account_kind(subject.account.kind)) " " span .id { (subject.account.id()) } }
            form .picker method="get" action=(path) {
                (frame::month_field(subject.month, subject.now.month()))
                button .second type="submit" { "Show" }
            }
        }
    }
}

/// What was done just before, in words.
fn said(done: &str) -> Option<&'static str> {
    match done {
        "code" => Some("This is your code. Share it with others."),
        "referred" => Some("Your referrer is set."),
        _ => None,
    }
}
