//! Signing in and out.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::ended::SessionId;
use super::frame::{self, Width, framed, token};
use super::guard::caller_of;
use super::seal::{BEARER_BYTES_MAX, Session};
use super::visitor::{Form, Visitor};
use super::way_back::{SIGN_IN, is_of_ours};
use super::words::account_path;
use super::{Pages, redirect};
use crate::domain::access::Scope;
use crate::domain::time::HOUR_MS;
use crate::http::extract::QueryParams;
use crate::http::limits::Costs;
use crate::http::problem::Problem;

/// How long a session lasts.
const SESSION_MS: i64 = 12 * HOUR_MS;

/// Where to go, and what was done before.
#[derive(Debug, Default, Deserialize)]
pub(super) struct SignInQuery {
    #[serde(default)]
    next: String,
    #[serde(default)]
    done: String,
}

/// `GET /signin`.
pub(super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    QueryParams(wanted): QueryParams<SignInQuery>,
) -> Response {
    let note = match wanted.done.as_str() {
        "signed-out" => Some(frame::done("You are signed out.")),
        "lost" => Some(frame::not_done(
            "Your session had ended, so nothing was done. Sign in, then send the form again.",
        )),
        _ => None,
    };
    form(&pages, &visitor, StatusCode::OK, &wanted.next, note)
}

fn form(
    pages: &Pages,
    visitor: &Visitor,
    status: StatusCode,
    next: &str,
    note: Option<Markup>,
) -> Response {
    let takes_tokens = pages.service.tokens.is_some();
    let label = if takes_tokens {
        "API key or token"
    } else {
        "API key"
    };
    let body = html! {
        h1 { "Sign in" }
        @if let Some(note) = note { (note) }
        form .stack method="post" action=(SIGN_IN) {
            (token(visitor))
            input type="hidden" name="next" value=(next);
            label for="key" { (label) }
            input #key name="key" type="password" autocomplete="off" autocapitalize="none" spellcheck="false" required autofocus
                aria-describedby="key-help";
            p #key-help .help {
                "It looks like " code { "tmk_…" }
                @if takes_tokens { ", or is the token of your marketplace’s login" }
                ". You stay signed in for " (SESSION_MS / HOUR_MS) " hours, or until you sign out. An admin makes keys: "
                code { "tidemark keys create" } "."
            }
            p .actions { button type="submit" { "Sign in" } }
        }
    };
    framed(status, Some(visitor), "Sign in", Width::Narrow, &body)
}

/// `POST /signin`.
pub(super) async fn sign_in(
    State(pages): State<Pages>,
    visitor: Visitor,
    form_: Form,
) -> Result<Response, Problem> {
    let next = form_.text("next");
    let bearer = form_.text("key");
    let bearer = bearer.strip_prefix("Bearer ").unwrap_or(bearer);
    let refuse = |text: &str| {
        let note = Some(frame::not_done(text));
        Ok(form(
            &pages,
            &visitor,
            StatusCode::UNPROCESSABLE_ENTITY,
            next,
            note,
        ))
    };
    if bearer.len() > BEARER_BYTES_MAX {
        return refuse(
            "This token is too long to be kept in a browser’s cookie. Sign in with an API key.",
        );
    }
    let session = Session {
        bearer: bearer.to_owned(),
        only: None,
        until: pages.service.clock.now().plus(SESSION_MS),
    };
    match begin(&pages, &session, next).await? {
        Some(response) => Ok(response),
        None => refuse(
            "This key is unknown, revoked or expired. Check that you pasted all of it, or ask an admin for a new one.",
        ),
    }
}

/// Begins a session, if its key or token is good.
async fn begin(pages: &Pages, session: &Session, next: &str) -> Result<Option<Response>, Problem> {
    if caller_of(pages, session, Costs::Little).await?.is_none() {
        return Ok(None);
    }
    let seal = pages.seal().await?;
    let now = pages.service.clock.now();
    let sealed = seal.seal(session);
    pages.begun(&SessionId::of(&sealed, session.until));
    let cookie = pages.cookies.set_session(&sealed, session.until, now);
    let to = if is_of_ours(next) { next } else { "/" };
    with_cookie(redirect(to), &cookie).map(Some)
}

fn with_cookie(mut response: Response, cookie: &str) -> Result<Response, Problem> {
    let cookie = HeaderValue::from_str(cookie).map_err(|_| Problem::internal())?;
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

/// A link's token.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Token {
    #[serde(default)]
    t: String,
}

/// `GET /signin/link`. Looking at it uses nothing up: what fetches links in advance must not.
pub(super) async fn show_link(
    State(pages): State<Pages>,
    visitor: Visitor,
    QueryParams(Token { t }): QueryParams<Token>,
) -> Response {
    let link = pages.links().look(&t, pages.service.clock.now());
    let Some(link) = link else {
        return used_up(&visitor);
    };
    let body = html! {
        h1 { "Sign in" }
        p { "This link signs you in, once, as " strong { (who(link.only.as_ref())) } "." }
        form .stack method="post" action="/signin/link" {
            (token(&visitor))
            input type="hidden" name="t" value=(t);
            p .actions { button type="submit" autofocus { "Sign in" } }
        }
    };
    framed(
        StatusCode::OK,
        Some(&visitor),
        "Sign in",
        Width::Narrow,
        &body,
    )
}

fn who(only: Option<&Scope>) -> String {
    match only {
        None => "admin".to_owned(),
        Some(Scope::Account(account)) => format!("{} {}", account.kind, account.id()),
        Some(other) => other.to_string(),
    }
}

fn used_up(visitor: &Visitor) -> Response {
    let body = html! {
        section .failure {
            h1 { "This link is no longer valid" }
            p { "A sign-in link works once, for a day, and only while the process that printed it is running. Start " code { "tidemark up" }
                " again for new ones, or sign in with a key." }
            p .actions { a .button href=(SIGN_IN) { "Sign in with a key" } }
        }
    };
    framed(
        StatusCode::GONE,
        Some(visitor),
        "This link is no longer valid",
        Width::Narrow,
        &body,
    )
}

/// `POST /signin/link`.
pub(super) async fn follow_link(
    State(pages): State<Pages>,
    visitor: Visitor,
    form: Form,
) -> Result<Response, Problem> {
    let now = pages.service.clock.now();
    let Some(link) = pages.links().take(form.text("t"), now) else {
        return Ok(used_up(&visitor));
    };
    let next = match &link.only {
        Some(Scope::Account(account)) => account_path(account),
        _ => "/".to_owned(),
    };
    let session = Session {
        bearer: link.bearer,
        only: link.only,
        until: now.plus(SESSION_MS),
    };
    let begun = begin(&pages, &session, &next).await?;
    Ok(begun.unwrap_or_else(|| used_up(&visitor)))
}

/// `POST /signout`.
pub(super) async fn sign_out(
    State(pages): State<Pages>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    // Before the browser forgets the cookie: if this fails, it can be tried again.
    if let Some(session) = &visitor.session {
        pages.end(session).await?;
    }
    let response = redirect("/signin?done=signed-out");
    with_cookie(response, &pages.cookies.end_session())
}
