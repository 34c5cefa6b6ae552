//! `GET /api/admin/audit/findings`.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::queries::AuditReport;
use crate::http::ApiState;
use crate::http::caller::{AdminRead, May};
use crate::http::extract::{QueryParams, bad_query, page_entries};
use crate::http::problem::Problem;

const FINDINGS_DEFAULT: u32 = 100;
const FINDINGS_MAX: u32 = 1_000;
/// DynamoDB's longest sort key.
const CURSOR_BYTES_MAX: usize = 1_024;

/// Which findings.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FindingsQuery {
    /// `next` of the page before; without it, the first ones.
    after: Option<String>,
    /// Maximum number: 100 by default, up to 1,000.
    limit: Option<u32>,
}

/// How far the auditor is, and what it found: differences between the log and what rating it again
/// gives. It changes nothing.
#[utoipa::path(get, path = "/api/admin/audit/findings", tag = "admin", security(("key" = ["admin:read"])), params(FindingsQuery),
    responses((status = 200, description = "Progress by source partition, and the findings.", body = AuditReport)))]
pub(super) async fn show(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    QueryParams(wanted): QueryParams<FindingsQuery>,
) -> Result<Json<AuditReport>, Problem> {
    if let Some(after) = &wanted.after {
        check_cursor(after)?;
    }
    let limit = page_entries(wanted.limit, FINDINGS_DEFAULT, FINDINGS_MAX)?;
    let after = wanted.after.as_deref();
    Ok(Json(service.queries.audit_report(after, limit).await?))
}

/// A cursor is the key of a finding: it may hold an account's id.
fn check_cursor(after: &str) -> Result<(), Problem> {
    let is_key = !after.is_empty() && after.len() <= CURSOR_BYTES_MAX;
    match is_key {
        true => Ok(()),
        false => Err(bad_query(
            "after: give the `next` of the page before".to_owned(),
        )),
    }
}
