//! Pages for what went wrong.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::html;

use super::frame::{Width, framed};
use super::visitor::Visitor;
use crate::http::problem::Problem;

/// The page that says what a problem says.
pub(super) fn of_problem(problem: &Problem, visitor: Option<&Visitor>) -> Response {
    in_place_of_problems(problem.clone().into_response(), visitor)
}

/// The response; a page for people if it is a problem.
pub(super) fn in_place_of_problems(response: Response, visitor: Option<&Visitor>) -> Response {
    let Some(problem) = response.extensions().get::<Arc<Problem>>().cloned() else {
        return response;
    };
    let (parts, _) = response.into_parts();
    let mut page = page(parts.status, Some(&problem), visitor);
    // The cause stays with the response, for the log.
    *page.extensions_mut() = parts.extensions;
    if let Some(after) = parts.headers.get(header::RETRY_AFTER) {
        page.headers_mut()
            .insert(header::RETRY_AFTER, after.clone());
    }
    page
}

/// What went wrong, in plain words, and what to do.
pub(super) fn page(
    status: StatusCode,
    problem: Option<&Problem>,
    visitor: Option<&Visitor>,
) -> Response {
    let code = problem.map_or("", Problem::code);
    let (detail, faults) = problem.map_or(("", &[][..]), Problem::told);
    let was_sent = visitor.is_some_and(|visitor| visitor.sent_from.is_some());
    let (title, text, again) = match (status, code) {
        (StatusCode::NOT_FOUND, _) => (
            "There is no such page",
            "The address may be mistyped, or the page was removed.",
            false,
        ),
        (StatusCode::FORBIDDEN, "foreign_form") => (
            "This was not sent",
            "The form came from another site, or from a page that had been open for too long. Nothing was changed. Open the page again, and \
             send the form from there.",
            false,
        ),
        (StatusCode::FORBIDDEN, _) => (
            "This page is not yours",
            "You are signed in, but this key may not see the page. Sign in with the key of the account it belongs to, or as an admin.",
            false,
        ),
        (StatusCode::TOO_MANY_REQUESTS, _) => (
            "Too many requests",
            "There were too many requests in a short time. Wait a few seconds, then try again.",
            true,
        ),
        (StatusCode::CONFLICT, "no_rules") => (
            "Nothing is set up yet",
            "No rules have been published, so no points can be computed yet. An admin publishes them: tidemark pricing init",
            false,
        ),
        (StatusCode::METHOD_NOT_ALLOWED, _) => (
            "This page only accepts form submissions",
            "This page only accepts form submissions. Opening it changed nothing. Go back to the page with the form.",
            false,
        ),
        (StatusCode::SERVICE_UNAVAILABLE, "closing_file_missing") => (
            "A file is missing",
            "A file of a closed month is missing, so its claims cannot be shown. An admin makes it again: tidemark close MONTH. Claims on \
             chain are not affected.",
            true,
        ),
        (StatusCode::SERVICE_UNAVAILABLE, _) if was_sent => (
            "Not available just now",
            "The data cannot be reached at the moment, so this may or may not have been done. Wait a few seconds, and check the page \
             before you send it again.",
            true,
        ),
        (StatusCode::SERVICE_UNAVAILABLE, _) => (
            "Not available just now",
            "The data cannot be reached at the moment. Nothing is lost: requests are still recorded, and will be counted. Try again in a \
             few seconds.",
            true,
        ),
        (status, _) if status.is_server_error() => (
            "Something went wrong",
            "This is an error in the service, not in what you did. It is in the server log. Try again; if it happens again, tell an admin.",
            true,
        ),
        _ => (
            "This cannot be done",
            "The request could not be carried out.",
            false,
        ),
    };
    let says_more = matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE
    ) || (status == StatusCode::CONFLICT && code != "no_rules");
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
            @if says_more && !detail.is_empty() { p .what { (detail) } }
            @if !faults.is_empty() { ul .what { @for fault in faults { li { (fault) } } } }
            p .actions {
                @if let Some(here) = here { a .button href=(here) { (word) } " " }
                a .button.second href="/" { "Home" }
            }
        }
    };
    framed(status, visitor, title, Width::Narrow, &body)
}
