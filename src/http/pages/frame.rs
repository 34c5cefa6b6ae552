//! What surrounds every page: head, navigation, footer; and pages for what went wrong.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::assets;
use super::visible;
use super::visitor::{FORM_TOKEN, Visitor};
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
