//! One search for accounts, referral codes and API keys; and what an account's page says where
//! there is no such account.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::frame;
use super::super::visitor::Visitor;
use super::super::words::{account_path, encoded, kind_word, number};
use super::super::{Pages, redirect};
use super::{
    PageQuery, adjustments, has_outer_spaces, keys, page, page_of, requests, where_spaces,
};
use crate::app::queries::{
    AccountTrace, AccountTraces, CodeView, FoundAccount, KEYS_LOOKED_MAX, SearchResult,
};
use crate::domain::ids::{Account, AccountKind};
use crate::http::admin::TEXT_CHARS_MAX;
use crate::http::extract::account;
use crate::http::problem::Problem;

const PATH: &str = "/admin/find";
const TITLE: &str = "Search";

/// The form of the search, as a card of another page.
pub(super) fn card(text: &str) -> Markup {
    html! {
        section .card aria-labelledby="find-h" {
            h2 #find-h { "Search" }
            (form(text))
        }
    }
}

fn form(text: &str) -> Markup {
    html! {
        form .line method="get" action=(PATH) role="search" {
            label for="find-q" { "Account, code or key" }
            input #find-q name="q" required maxlength=(TEXT_CHARS_MAX) value=(text) autocomplete="off" spellcheck="false";
            button type="submit" { "Search" }
        }
        p .help { "An account’s id, a referral code, or an API key’s id or name. " a href=(requests::PATH) { "A single request" } " is found by its user and id." }
    }
}

/// The head of the search's own page.
fn head(text: &str) -> Markup {
    html! {
        h1 { "Search" }
        section .card aria-label="What to look for" { (form(text)) }
    }
}

/// What is looked for; or which account, as older links say it.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct FindQuery {
    #[serde(default)]
    q: String,
    kind: Option<AccountKind>,
    #[serde(default)]
    id: String,
}

/// `GET /admin/find`.
pub(in super::super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    PageQuery(wanted): PageQuery<FindQuery>,
) -> Result<Response, Problem> {
    if let Some(kind) = wanted.kind {
        return account_named(&visitor, kind, &wanted.id);
    }
    let text = wanted.q.as_str();
    let trimmed = text.trim();
    if trimmed.is_empty() {
        let body = head("");
        return Ok(page(&visitor, TITLE, "/admin", &body));
    }
    if text.chars().count() > TEXT_CHARS_MAX {
        let why = format!("Nothing was searched: give at most {TEXT_CHARS_MAX} characters.");
        let body = html! { (head("")) (frame::not_done(&why)) };
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Ok(page_of(status, &visitor, TITLE, "/admin", &body));
    }
    let mut found = pages.service.queries.search(text).await?;
    if has_outer_spaces(text) {
        // Both may be accounts.
        let without = pages.service.queries.search(trimmed).await?;
        found.accounts.extend(without.accounts);
        found.code = found.code.or(without.code);
        (found.keys, found.further_keys) = (without.keys, without.further_keys);
    }
    if let ([only], None, []) = (&found.accounts[..], &found.code, &found.keys[..])
        && only.id == text
    {
        return Ok(redirect(&path_of(only)));
    }
    let status = match found.is_empty() {
        true => StatusCode::NOT_FOUND,
        false => StatusCode::OK,
    };
    // What may be a secret is not shown again.
    let shown = if trimmed.starts_with("tmk_") {
        ""
    } else {
        text
    };
    let body = html! {
        (head(shown))
        @if found.is_empty() { (nothing(shown)) } @else { (results(&found)) }
    };
    Ok(page_of(status, &visitor, TITLE, "/admin", &body))
}

/// An account by its kind and id.
fn account_named(visitor: &Visitor, kind: AccountKind, id: &str) -> Result<Response, Problem> {
    let found = account(kind, id)?;
    if !has_outer_spaces(id) {
        return Ok(redirect(&account_path(&found)));
    }
    let body = html! {
        h1 { "Which account?" }
        section .card aria-label="Which account" {
            p { "The id " (where_spaces(id)) ". Spaces are part of an id." }
            ul .choices {
                @if let Ok(trimmed) = account(kind, id.trim()) {
                    li { a href=(account_path(&trimmed)) { (kind_word(kind)) " “" (trimmed.id()) "”" } }
                }
                li { a href=(account_path(&found)) { (kind_word(kind)) " “" (found.id()) "”, with the space" } }
            }
        }
    };
    Ok(page(visitor, "Which account?", "/admin", &body))
}

fn path_of(found: &FoundAccount) -> String {
    account_path(&Account::of_checked(found.user_type, &found.id))
}

fn nothing(text: &str) -> Markup {
    html! {
        section .card aria-label="Nothing found" {
            p .empty { "Nothing found: no account" @if !text.is_empty() { " “" (text) "”" } ", no referral code and no API key." }
            p .help {
                "An account exists once it has usage, points, a referrer or referees, a code, awards, credits, a wallet or a key. "
                "Ids must match exactly, including upper and lower case."
            }
        }
    }
}

fn results(found: &SearchResult) -> Markup {
    html! {
        @if !found.accounts.is_empty() {
            section .card aria-labelledby="accounts-h" {
                h2 #accounts-h { "Accounts" }
                ul .choices {
                    @for one in &found.accounts {
                        li { a href=(path_of(one)) {
                            (kind_word(one.user_type)) " “" (one.id) "”"
                            @if has_outer_spaces(&one.id) { ", which " (where_spaces(&one.id)) }
                            span .help { " " (known_by(&one.known_by)) }
                        } }
                    }
                }
            }
        }
        @if let Some(code) = &found.code { (code_card(code)) }
        @if !found.keys.is_empty() {
            section .card aria-labelledby="keys-h" {
                h2 #keys-h { "API keys" }
                ul .choices {
                    @for key in &found.keys {
                        li { a href=(format!("{}?q={}", keys::PATH, encoded(&key.id))) {
                            (key.name) " " span .help { (key.id) @if key.revoked_at.is_some() { ", revoked" } }
                        } }
                    }
                }
                @if found.further_keys > 0 { p .help { "And " (number(found.further_keys)) " more; type more of the name." } }
            }
        }
        @if found.keys_unsearched {
            (keys_unsearched())
        }
    }
}

/// That a search did not look at every key.
fn keys_unsearched() -> Markup {
    html! {
        p .help {
            "There are more than " (number(KEYS_LOOKED_MAX)) " API keys. Names, and accounts of which there is nothing but a key, were searched \
             in that many. An id finds any key."
        }
    }
}

fn known_by(traces: &[AccountTrace]) -> String {
    let words: Vec<&str> = traces
        .iter()
        .map(|trace| match trace {
            AccountTrace::Row => "has usage or points",
            AccountTrace::Link => "was referred",
            AccountTrace::Code => "has a code",
            AccountTrace::Referees => "referred others",
            AccountTrace::Awards => "has awards",
            AccountTrace::Credits => "has credits",
            AccountTrace::Wallet => "has a wallet",
            AccountTrace::Key => "has a key",
        })
        .collect();
    words.join(", ")
}

fn code_card(code: &CodeView) -> Markup {
    html! {
        section .card aria-labelledby="code-h" {
            h2 #code-h { "Referral code" }
            p {
                code { (code.code) } " of "
                a href=(account_path(&code.owner)) { (kind_word(code.owner.kind)) " “" (code.owner.id()) "”" }
                ", " (super::super::words::counted(code.signups, "signup")) @if !code.active { ", switched off" } "."
            }
        }
    }
}

/// In place of an account's page: nothing is known of it.
pub(in super::super) fn no_such_account(
    visitor: &Visitor,
    account: &Account,
    traces: &AccountTraces,
) -> Response {
    let word = match account.kind {
        AccountKind::User => "user",
        AccountKind::Provider => "provider",
    };
    let credits = format!("/admin/credits?user={}", encoded(account.id()));
    let body = html! {
        h1 { "No such account" }
        section .card aria-label="No such account" {
            p { "There is no " (word) " “" (account.id()) "”." }
            p .help {
                "An account exists once it has usage, points, a referrer or referees, a code, awards, credits, a wallet or a key. "
                "Ids must match exactly, including upper and lower case."
            }
            @if traces.are_keys_unsearched { (keys_unsearched()) }
            p {
                a href=(adjustments::path_of(account)) { "Adjustments" }
                @if account.kind == AccountKind::User { " · " a href=(credits) { "Credits" } }
            }
        }
        (card(account.id()))
    };
    page_of(
        StatusCode::NOT_FOUND,
        visitor,
        "No such account",
        "/admin",
        &body,
    )
}
