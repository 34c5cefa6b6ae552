//! What surrounds every page: head, navigation, footer; and pages for what went wrong.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::assets;
use super::guard::{FORM_TOKEN, Told, Visitor};
use super::visible;
use super::words::{account_path, kind_word, month_word};
use crate::domain::access::Scope;
use crate::domain::time::Month;

/// htmx, without what a strict policy forbids, and only for addresses of ours.
const HTMX_CONFIG: &str = r#"{"includeIndicatorStyles":false,"allowEval":false,"allowScriptTags":false,"selfRequestsOnly":true,"historyEnabled":false}"#;

/// Everything comes from here, nothing stands within the page, and nobody shows it in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// How many months are offered.
const MONTHS: i32 = 24;

/// How wide a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// Text and forms.
    Narrow,
    /// Tables and charts.
    Wide,
}

/// A page with its frame.
pub(super) fn page(visitor: &Visitor, title: &str, body: &Markup) -> Response {
    framed(StatusCode::OK, Some(visitor), title, Width::Wide, body)
}

/// A page that says that what was asked did not happen.
pub(super) fn page_of(
    status: StatusCode,
    visitor: &Visitor,
    title: &str,
    body: &Markup,
) -> Response {
    framed(status, Some(visitor), title, Width::Wide, body)
}

/// A page of any kind.
pub(super) fn framed(
    status: StatusCode,
    visitor: Option<&Visitor>,
    title: &str,
    width: Width,
    body: &Markup,
) -> Response {
    let class = match width {
        Width::Narrow => "narrow",
        Width::Wide => "wide",
    };
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="htmx-config" content=(HTMX_CONFIG);
                title { (title) " · tidemark" }
                link rel="icon" type="image/svg+xml" href=(assets::path("icon.svg"));
                link rel="stylesheet" href=(assets::path("app.css"));
                script defer src=(assets::path("htmx.js")) {}
                script defer src=(assets::path("app.js")) {}
            }
            body {
                a .skip href="#main" { "Skip to the content" }
                (top(visitor))
                main #main class=(class) tabindex="-1" { (body) }
                (bottom(visitor))
            }
        }
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // Browsers tell the origin of a form only where they may tell its referrer.
        (header::REFERRER_POLICY, "same-origin"),
    ];
    let page = visible::shown(&markup.into_string()).into_owned();
    (status, headers, page).into_response()
}

fn top(visitor: Option<&Visitor>) -> Markup {
    let is_in = visitor.is_some_and(|visitor| visitor.caller.is_some());
    html! {
        header .top {
            div .inner {
                a .brand href="/" { "tidemark" }
                @if let Some(visitor) = visitor.filter(|_| is_in) {
                    nav aria-label="Pages" {
                        ul {
                            @for (name, path) in links(visitor) {
                                @let is_here = is_under(&visitor.here, &path);
                                li { a href=(path) aria-current=[is_here.then_some("page")] { (name) } }
                            }
                        }
                    }
                    form .signout method="post" action="/signout" {
                        (token(visitor))
                        button .quiet type="submit" { "Sign out" }
                    }
                } @else {
                    nav aria-label="Pages" { ul { li { a href="/signin" { "Sign in" } } } }
                }
            }
        }
    }
}

fn links(visitor: &Visitor) -> Vec<(String, String)> {
    let mut links: Vec<(String, String)> = visitor
        .accounts()
        .into_iter()
        .map(|account| (account.id().to_owned(), account_path(account)))
        .collect();
    links.push(("Leaderboard".to_owned(), "/leaderboard".to_owned()));
    if visitor.may(&Scope::AdminRead) {
        links.push(("Admin".to_owned(), "/admin".to_owned()));
    }
    links
}

fn is_under(here: &str, path: &str) -> bool {
    let here = here.split('?').next().unwrap_or_default();
    here == path
        || here
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('/'))
}

fn bottom(visitor: Option<&Visitor>) -> Markup {
    let by = visitor.map(Visitor::by).filter(|by| !by.is_empty());
    html! {
        footer .bottom {
            div .inner {
                @if let Some(by) = by { p { "Signed in with " (by) "." } }
                p { "Days and months are UTC. " a href="/docs" { "API" } }
            }
        }
    }
}

/// The hidden field that every form needs.
pub(super) fn token(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name=(FORM_TOKEN) value=(visitor.form_token); }
}

/// The field for a month: the newest ones, and the one that is `shown`, however old.
pub(super) fn month_field(shown: Month, newest: Month) -> Markup {
    let months = (0..MONTHS).map(|back| Month(newest.0 - back));
    let is_older = !months.clone().any(|month| month == shown);
    html! {
        label for="month" { "Month" }
        select #month name="month" {
            @if is_older { option value=(shown) selected { (month_word(shown)) } }
            @for month in months { option value=(month) selected[month == shown] { (month_word(month)) } }
        }
    }
}

/// What went wrong, in plain words, and what to do.
pub(super) fn failure(status: StatusCode, told: &Told, visitor: Option<&Visitor>) -> Response {
    let was_sent = visitor.is_some_and(|visitor| visitor.sent_from.is_some());
    let (title, text, again) = match (status, told.code.as_str()) {
        (StatusCode::NOT_FOUND, _) => (
            "There is no such page",
            "The address may be mistyped, or what stood here is gone.",
            false,
        ),
        (StatusCode::FORBIDDEN, "foreign_form") => (
            "This was not sent",
            "The form came from elsewhere, or from a page that had been open for too long. Nothing was changed. Open the page again, and \
             send the form from there.",
            false,
        ),
        (StatusCode::FORBIDDEN, _) => (
            "This page is not yours",
            "You are signed in, but not as somebody who may see this. Sign in with the key of the account that it belongs to, or as an admin.",
            false,
        ),
        (StatusCode::TOO_MANY_REQUESTS, _) => (
            "A moment, please",
            "There were too many requests in a short time. Wait a few seconds, then try again.",
            true,
        ),
        (StatusCode::CONFLICT, "no_rules") => (
            "Nothing is set up yet",
            "No rules have been published, so nothing can be worth anything yet. An admin does that: tidemark pricing init",
            false,
        ),
        (StatusCode::METHOD_NOT_ALLOWED, _) => (
            "There is nothing to see here",
            "This address is where a form goes. Coming here did nothing. Open the page with the form again.",
            false,
        ),
        (StatusCode::SERVICE_UNAVAILABLE, _) if was_sent => (
            "Not available just now",
            "The data cannot be reached at the moment, so whether this was done cannot be said. Wait a few seconds, and look at the page \
             before you send it again.",
            true,
        ),
        (StatusCode::SERVICE_UNAVAILABLE, _) => (
            "Not available just now",
            "The data cannot be reached at the moment. Nothing is lost: requests go on to be recorded, and will be counted. Try again in a \
             few seconds.",
            true,
        ),
        (status, _) if status.is_server_error() => (
            "Something went wrong here",
            "That is a fault of this service, not yours. It stands in the service's log. Try again; if it happens again, tell an admin.",
            true,
        ),
        _ => (
            "This cannot be done",
            "What was asked for is not possible as it was asked.",
            false,
        ),
    };
    let says_more = matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE
    ) || (status == StatusCode::CONFLICT && told.code != "no_rules");
    // A form's target is no page: back to the form's own.
    let here = visitor.map(|visitor| visitor.sent_from.as_ref().unwrap_or(&visitor.here));
    let here = here.filter(|_| again);
    let word = if was_sent {
        "Back to the form"
    } else {
        "Try again"
    };
    let body = html! {
        section .failure {
            h1 { (title) }
            p { (text) }
            @if says_more && !told.detail.is_empty() { p .what { (told.detail) } }
            @if !told.faults.is_empty() { ul .what { @for fault in &told.faults { li { (fault) } } } }
            p .actions {
                @if let Some(here) = here { a .button href=(here) { (word) } " " }
                a .button.second href="/" { "To the first page" }
            }
        }
    };
    framed(status, visitor, title, Width::Narrow, &body)
}

/// A note above a page that something was done.
pub(super) fn done(text: &str) -> Markup {
    html! { p .note.good role="status" { (text) } }
}

/// A note that something was not done.
pub(super) fn not_done(text: &str) -> Markup {
    html! { p .note.bad role="alert" { (text) } }
}

/// The heading of a page of a kind of account.
pub(super) fn account_kind(kind: crate::domain::ids::AccountKind) -> Markup {
    html! { span .kind { (kind_word(kind)) } }
}
