//! `GET /api/admin/audit`.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::queries::AuditPage;
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
}

/// Who changed what, when and why: newest first.
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
    Ok(Json(service.queries.audit_page(before, limit).await?))
}
