//! The audit trail.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::super::Pages;
use super::super::visitor::Visitor;
use super::super::words::{encoded, instant};
use super::{PageQuery, page};
use crate::domain::ids::check_id;
use crate::http::problem::Problem;

const PATH: &str = "/admin/audit";
/// Entries of a page.
const ENTRIES: usize = 30;

/// Longest detail that is shown at once.
const DETAIL_BYTES_MAX: usize = 200;

/// Which entries.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct AuditQuery {
    before: Option<String>,
}

/// What was changed; folded where it is long.
fn detail(detail: &Value) -> Markup {
    let text = detail.to_string();
    html! {
        @if text.len() > DETAIL_BYTES_MAX {
            details { summary { "Show" } code { (text) } }
        } @else {
            code { (text) }
        }
    }
}

/// `GET /admin/audit`.
pub(in super::super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    PageQuery(wanted): PageQuery<AuditQuery>,
) -> Result<Response, Problem> {
    let before = wanted.before.filter(|before| check_id(before).is_ok());
    let found = pages
        .service
        .queries
        .audit_page(before.as_deref(), ENTRIES)
        .await?;
    let body = html! {
        h1 { "Audit trail" }
        section .card aria-label="Changes" {
            @if found.entries.is_empty() { p .empty { "No changes yet." } } @else {
                div .scroll.wide.cells tabindex="0" role="group" aria-label="Changes, the newest first" {
                    table {
                        thead { tr {
                            th scope="col" { "When" }
                            th scope="col" { "What" }
                            th scope="col" { "Of" }
                            th scope="col" { "By" }
                            th scope="col" { "More" }
                        } }
                        tbody {
                            @for entry in &found.entries {
                                tr {
                                    th .time scope="row" { (instant(entry.at)) }
                                    td data-label="What" { (entry.action) }
                                    td data-label="Of" { (entry.subject) }
                                    td data-label="By" { (entry.by) }
                                    td data-label="More" { (detail(&entry.detail)) }
                                }
                            }
                        }
                    }
                }
            }
        }
        nav .pages aria-label="More changes" {
            @if before.is_some() { a .button.second href=(PATH) { "The newest" } }
            @if let Some(next) = &found.next { a .button.second rel="next" href=(format!("{PATH}?before={}", encoded(next))) { "Older" } }
        }
    };
    Ok(page(&visitor, "Audit trail", PATH, &body))
}
