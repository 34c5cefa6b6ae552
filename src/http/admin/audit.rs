//! `GET /api/admin/audit`, page by page or as a file.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::At;
use crate::app::queries::{AuditFilter, AuditPage};
use crate::domain::ids::check_id;
use crate::http::ApiState;
use crate::http::caller::{AdminRead, May};
use crate::http::download::download_trail;
use crate::http::extract::{QueryParams, bad_query, page_entries};
use crate::http::problem::Problem;

const ENTRIES_DEFAULT: u32 = 50;
const ENTRIES_MAX: u32 = 500;

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// `next` of the page before; without it, the newest.
    before: Option<String>,
    /// Maximum number: 50 by default, up to 500.
    limit: Option<u32>,
    /// Only entries whose actor contains this text, regardless of case: a key's id or name, a
    /// command's user.
    actor: Option<String>,
    /// Only entries whose subject contains this text, regardless of case: a key, a rule, an account.
    subject: Option<String>,
    /// Only entries of this action, or whose action begins with it: `credits.add`, `credits`.
    action: Option<String>,
    /// Only entries from this instant on, such as 2026-11-01T00:00:00Z.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<At>,
    /// Only entries before this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<At>,
}

/// What is asked for, by actor, subject and action; an empty text asks for nothing.
fn filter_of(texts: [Option<String>; 3], times: [Option<At>; 2]) -> AuditFilter {
    let [actor, subject, action] = texts.map(|text| text.filter(|text| !text.is_empty()));
    let [from, until] = times.map(|time| time.map(|At(at)| at));
    AuditFilter {
        actor,
        subject,
        action,
        from,
        until,
    }
}

/// Who changed what, when and why: newest first. With a filter, a page can have few entries or none
/// although it has a `next`: at most 5,000 entries are searched for one page.
#[utoipa::path(get, path = "/api/admin/audit", tag = "admin", security(("key" = ["admin:read"])), params(AuditQuery),
    responses((status = 200, description = "A page of the audit trail.", body = AuditPage)))]
pub(super) async fn list(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    QueryParams(wanted): QueryParams<AuditQuery>,
) -> Result<Json<AuditPage>, Problem> {
    if let Some(before) = &wanted.before {
        check_id(before).map_err(|error| {
            bad_query(format!(
                "before: {error}; give the `next` of the page before"
            ))
        })?;
    }
    let limit = page_entries(wanted.limit, ENTRIES_DEFAULT, ENTRIES_MAX)?;
    let texts = [wanted.actor, wanted.subject, wanted.action];
    let filter = filter_of(texts, [wanted.from, wanted.until]);
    let page = service
        .queries
        .audit_page(&filter, wanted.before.as_deref(), limit);
    Ok(Json(page.await?))
}

/// Which entries, and in which form.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(super) struct AuditFileQuery {
    /// Only entries whose actor contains this text, regardless of case.
    actor: Option<String>,
    /// Only entries whose subject contains this text, regardless of case.
    subject: Option<String>,
    /// Only entries of this action, or whose action begins with it: `credits.add`, `awards.adjust`.
    action: Option<String>,
    /// Only entries from this instant on, such as 2026-11-01T00:00:00Z.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<At>,
    /// Only entries before this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<At>,
    /// Write texts as they are. By default an apostrophe is put before those that a spreadsheet
    /// would take for a formula.
    exact_text: Option<bool>,
}

/// The audit trail as a CSV file, newest first; for instance every credit of a month
/// (`action=credits.add`) or every correction of points (`action=awards.adjust`).
///
/// The answer is streamed. It ends with a line `# end rows=… amountUsd=… points=…` that counts the
/// rows and sums credits and corrections; a file without it was cut short. `changes` has at most
/// 200 places of each published price or rule; `furtherChanges` says how many more there are, and
/// is empty if there are none.
#[utoipa::path(get, path = "/api/admin/audit/file", tag = "admin", security(("key" = ["admin:read"])), params(AuditFileQuery),
    responses(
        (status = 200, description = "The file.", body = String, content_type = "text/csv"),
        (status = 503, description = "`downloads_busy`: too many downloads at once: retry, see Retry-After.",
            body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn file(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    QueryParams(wanted): QueryParams<AuditFileQuery>,
) -> Result<Response, Problem> {
    let texts = [wanted.actor, wanted.subject, wanted.action];
    let filter = filter_of(texts, [wanted.from, wanted.until]);
    download_trail(&service, filter, wanted.exact_text.unwrap_or(false))
}
