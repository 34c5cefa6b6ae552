//! The audit trail.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::super::Pages;
use super::super::frame;
use super::super::visitor::Visitor;
use super::super::words::{encoded, instant, number};
use super::{PageQuery, page_of};
use crate::app::queries::{AuditEntry, AuditFilter};
use crate::domain::ids::check_id;
use crate::domain::time::{Day, Millis};
use crate::http::download::download_trail;
use crate::http::extract::bad_query;
use crate::http::problem::Problem;

const PATH: &str = "/admin/audit";
pub(super) const FILE_PATH: &str = "/admin/audit/file";
/// Entries of a page.
const ENTRIES: usize = 30;
/// 10000-01-01.
const YEAR_10_000: Millis = Millis(253_402_300_800_000);

/// Longest detail that is shown at once.
const DETAIL_BYTES_MAX: usize = 200;

/// Which entries.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct AuditQuery {
    before: Option<String>,
    #[serde(default)]
    actor: String,
    #[serde(default)]
    subject: String,
    #[serde(default)]
    action: String,
    /// The first day.
    #[serde(default)]
    from: String,
    /// The last day.
    #[serde(default)]
    to: String,
}

impl AuditQuery {
    /// The filter; or what is wrong with it.
    fn filter(&self) -> Result<AuditFilter, String> {
        let text = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let day = |text: &str| -> Result<Option<Day>, String> {
            let text = text.trim();
            let parsed: Option<Day> = text.parse().ok();
            match (text.is_empty(), parsed) {
                (true, _) => Ok(None),
                (false, Some(day)) => Ok(Some(day)),
                (false, None) => Err(format!("“{text}” is not a day such as 2026-11-22")),
            }
        };
        let (from, to) = (day(&self.from)?, day(&self.to)?);
        Ok(AuditFilter {
            actor: text(&self.actor),
            subject: text(&self.subject),
            action: text(&self.action),
            from: from.map(Day::start),
            // Texts of instants are compared, and those of later years have a digit more.
            until: to
                .map(|day| day.next().start())
                .filter(|until| *until < YEAR_10_000),
        })
    }

    /// The address of these entries, the ones before `before`.
    fn path(&self, before: Option<&str>) -> String {
        self.path_at(PATH, before)
    }

    /// The address of all of them as a file.
    fn file_path(&self) -> String {
        self.path_at(FILE_PATH, None)
    }

    fn path_at(&self, path: &str, before: Option<&str>) -> String {
        let fields = [
            ("actor", self.actor.as_str()),
            ("subject", &self.subject),
            ("action", &self.action),
            ("from", &self.from),
            ("to", &self.to),
            ("before", before.unwrap_or_default()),
        ];
        let given = fields.iter().filter(|(_, value)| !value.is_empty());
        let query: Vec<String> = given
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        match query.is_empty() {
            true => path.to_owned(),
            false => format!("{path}?{}", query.join("&")),
        }
    }
}

/// What was changed: old and new values, where one replaced the other, and the rest; folded where
/// it is long.
fn more(entry: &AuditEntry) -> Markup {
    let text = entry.detail.to_string();
    let changes: usize = entry
        .changes
        .iter()
        .map(|change| change.before.to_string().len() + change.after.to_string().len())
        .sum();
    html! {
        @if !entry.changes.is_empty() {
            @if changes > DETAIL_BYTES_MAX || entry.changes.len() > 3 {
                details {
                    summary { (number(entry.changes.len() + entry.further_changes)) " places changed" }
                    (differences(entry))
                }
            } @else {
                (differences(entry))
            }
        }
        @if text.len() > DETAIL_BYTES_MAX {
            details { summary { "Show" } code { (text) } }
        } @else {
            code { (text) }
        }
    }
}

fn differences(entry: &AuditEntry) -> Markup {
    html! {
        ul .changes {
            @for change in &entry.changes {
                li {
                    (change.path) ": "
                    @if !change.before.is_null() { del .before { (plain(&change.before)) } " " }
                    @if !change.after.is_null() { ins .now { (plain(&change.after)) } }
                }
            }
            @if entry.further_changes > 0 { li { "and " (number(entry.further_changes)) " more" } }
        }
    }
}

/// A text without its quotation marks; another value as JSON.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// `GET /admin/audit`.
pub(in super::super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    PageQuery(wanted): PageQuery<AuditQuery>,
) -> Result<Response, Problem> {
    let filter = match wanted.filter() {
        Ok(filter) => filter,
        Err(why) => {
            let body = html! {
                h1 { "Audit trail" }
                (frame::not_done(&format!("{why}.")))
                (filter_form(&wanted))
            };
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return Ok(page_of(status, &visitor, "Audit trail", PATH, &body));
        }
    };
    let before = wanted.before.as_deref();
    let before = before.filter(|before| check_id(before).is_ok());
    let found = pages.service.queries.audit_page(&filter, before, ENTRIES);
    let found = found.await?;
    let body = html! {
        h1 { "Audit trail" }
        (filter_form(&wanted))
        section .card aria-label="Changes" {
            @if found.entries.is_empty() {
                @if found.next.is_some() { p .empty { "No match among the entries searched; there are older ones." } }
                @else if filter == AuditFilter::default() { p .empty { "No changes yet." } }
                @else { p .empty { "No changes match." } }
            } @else {
                div .scroll.wide.cells tabindex="0" role="group" aria-label="Changes, the newest first" { (table(&found.entries)) }
            }
        }
        nav .pages aria-label="More changes" {
            @if before.is_some() { a .button.second href=(wanted.path(None)) { "The newest" } }
            @if let Some(next) = &found.next { a .button.second rel="next" href=(wanted.path(Some(next))) { "Older" } }
            @if !found.entries.is_empty() || found.next.is_some() {
                a .button.second download href=(wanted.file_path()) { "Download all of these (CSV)" }
            }
        }
    };
    Ok(page_of(
        StatusCode::OK,
        &visitor,
        "Audit trail",
        PATH,
        &body,
    ))
}

/// `GET /admin/audit/file`: the entries of the filter, all of them, as CSV.
pub(in super::super) async fn file(
    State(pages): State<Pages>,
    PageQuery(wanted): PageQuery<AuditQuery>,
) -> Result<Response, Problem> {
    let filter = wanted.filter().map_err(bad_query)?;
    download_trail(&pages.service, filter, false)
}

fn table(entries: &[AuditEntry]) -> Markup {
    html! {
        table {
            thead { tr {
                th scope="col" { "When" }
                th scope="col" { "What" }
                th scope="col" { "Of" }
                th scope="col" { "By" }
                th scope="col" { "More" }
            } }
            tbody {
                @for entry in entries {
                    tr {
                        th .time scope="row" { (instant(entry.at)) }
                        td data-label="What" { (entry.action) }
                        td data-label="Of" { (entry.subject) }
                        td data-label="By" { (entry.by) }
                        td data-label="More" { (more(entry)) }
                    }
                }
            }
        }
    }
}

fn filter_form(wanted: &AuditQuery) -> Markup {
    let fields = [
        ("actor", "By", "key or user", wanted.actor.as_str()),
        ("subject", "Of", "account or rule", &wanted.subject),
        ("action", "What", "credits.add", &wanted.action),
    ];
    html! {
        form .line.card method="get" action=(PATH) aria-label="Which changes" {
            @for (name, word, hint, value) in fields {
                span .field {
                    label for=(name) { (word) }
                    input id=(name) name=(name) maxlength="128" value=(value) placeholder=(hint) autocomplete="off" spellcheck="false";
                }
            }
            span .field {
                label for="from" { "From" }
                input #from type="date" name="from" value=(wanted.from);
            }
            span .field {
                label for="to" { "to" }
                input #to type="date" name="to" value=(wanted.to);
            }
            button .second type="submit" { "Show" }
        }
    }
}
