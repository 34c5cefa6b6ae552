//! Months as files.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::Pages;
use super::super::frame::month_field;
use super::super::visitor::Visitor;
use super::audit::FILE_PATH;
use super::{PageQuery, page};
use crate::app::queries::{ExportFormat, ExportRequest, ExportWhat, ISSUER_DEFAULT};
use crate::domain::time::Month;
use crate::http::download::download;
use crate::http::extract::bad_query;
use crate::http::problem::Problem;

pub(super) const PATH: &str = "/admin/exports";

/// The files that are offered: a form's value, and what it is.
const FILES: [(&str, &str); 8] = [
    ("statements.csv", "Statements (CSV), one row per account"),
    (
        "statements.parquet",
        "Statements (Parquet), one row per account",
    ),
    (
        "services.csv",
        "Services (CSV), one row per account and service",
    ),
    ("days.csv", "Days (CSV), one row per account and day"),
    ("statements.focus", "Charges (FOCUS 1.2), one row per user"),
    ("requests.csv", "Requests (CSV), one row per request"),
    (
        "requests.parquet",
        "Requests (Parquet), one row per request",
    ),
    (
        "requests.focus",
        "Charges of requests (FOCUS 1.2), one row per charged request",
    ),
];

/// `GET /admin/exports`.
pub(in super::super) async fn show(State(pages): State<Pages>, visitor: Visitor) -> Response {
    let now = pages.service.clock.now();
    let before = Month(now.month().0 - 1);
    let has_archive = pages.service.archive.is_some();
    let body = html! {
        h1 { "Exports" }
        section .card aria-labelledby="export-h" {
            h2 #export-h { "A month as a file" }
            form .line method="get" action=(format!("{PATH}/file")) {
                (month_field(before, now.month()))
                label for="file" { "File" }
                select #file name="file" {
                    @for (value, name) in FILES {
                        @let needs_archive = value.starts_with("requests.");
                        @if has_archive || !needs_archive { option value=(value) { (name) } }
                    }
                }
                @if has_archive {
                    label { input type="checkbox" name="partial" value="true"; " Requests, even if some are missing" }
                }
                button type="submit" { "Download" }
            }
            p .help {
                "Amounts are exact. A CSV file ends with a line that counts its rows and gives their sums; a file without it was cut short. \
                 The column " code { "final" } " says whether the month can still change. An apostrophe stands before ids that a \
                 spreadsheet would take for a formula."
            }
            @if has_archive {
                p .help {
                    "If the archive does not hold every request of the month, a file of requests is refused unless that is ticked; its name and its \
                     last line then say " code { "partial" } "."
                }
            } @else {
                p .help { "Requests can be exported if there is an archive: set " code { "archive.location" } "." }
            }
            p .help { "From the command line: " code { "tidemark export --month " (before) " --format csv" } }
        }
        (trail_card())
    };
    page(&visitor, "Exports", PATH, &body)
}

/// What of the audit trail is offered: an action, and what its entries are.
const TRAIL: [(&str, &str); 3] = [
    ("credits.add", "Credits of all users, with their sum"),
    (
        "awards.adjust",
        "Adjustments of all accounts, with their sum",
    ),
    ("", "The whole audit trail"),
];

/// Credits, adjustments, and who did what, for any days.
fn trail_card() -> Markup {
    html! {
        section .card aria-labelledby="trail-h" {
            h2 #trail-h { "Credits, adjustments and the audit trail" }
            form .line method="get" action=(FILE_PATH) {
                span .field {
                    label for="action" { "What" }
                    select #action name="action" {
                        @for (action, name) in TRAIL { option value=(action) { (name) } }
                    }
                }
                span .field { label for="from" { "From" } input #from type="date" name="from"; }
                span .field { label for="to" { "to" } input #to type="date" name="to"; }
                button type="submit" { "Download" }
            }
            p .help {
                "CSV, newest first, by the UTC day on which it was done. Without days, everything that is kept. The last line counts the rows and \
                 gives the sums of " code { "amountUsd" } " and " code { "points" } "."
            }
        }
    }
}

/// Which file.
#[derive(Debug, Deserialize)]
pub(in super::super) struct FileQuery {
    month: Month,
    file: String,
    /// Requests also if the archive lacks some of them.
    #[serde(default)]
    partial: bool,
}

/// `GET /admin/exports/file`.
pub(in super::super) async fn file(
    State(pages): State<Pages>,
    PageQuery(wanted): PageQuery<FileQuery>,
) -> Result<Response, Problem> {
    let named = wanted.file.split_once('.');
    let parsed = named.and_then(|(what, format)| {
        let what: ExportWhat = what.parse().ok()?;
        Some((what, format.parse::<ExportFormat>().ok()?))
    });
    let Some((what, format)) = parsed else {
        return Err(bad_query("no such file; choose one on the page Exports"));
    };
    let request = ExportRequest {
        month: wanted.month,
        what,
        format,
        exact_text: false,
        issuer: ISSUER_DEFAULT.to_owned(),
        partial: wanted.partial,
    };
    download(&pages.service, request).await
}
