//! `GET /api/admin/audit`.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::At;
use crate::app::queries::{AuditFilter, AuditPage};
use crate::domain::ids::check_id;
use crate::http::ApiState;
use crate::http::caller::{AdminRead, May};
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
    let before = wanted.before.as_deref();
    let filter = AuditFilter {
        actor: wanted.actor.filter(|text| !text.is_empty()),
        subject: wanted.subject.filter(|text| !text.is_empty()),
        action: wanted.action.filter(|text| !text.is_empty()),
        from: wanted.from.map(|At(at)| at),
        until: wanted.until.map(|At(at)| at),
    };
    let page = service.queries.audit_page(&filter, before, limit);
    Ok(Json(page.await?))
}
