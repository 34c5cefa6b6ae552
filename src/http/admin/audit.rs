//! `GET /api/admin/audit`.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::domain::ids::check_id;
use crate::http::Service;
use crate::http::access::{AdminRead, May};
use crate::http::problem::Problem;
use crate::http::strict::{Asked, bad_query, page_entries};
use crate::store::audit::{self, Entry};

const ENTRIES_USUAL: u32 = 50;
const ENTRIES_MAX: u32 = 500;

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// `next` of the page before; without it, the newest.
    before: Option<String>,
    /// At most so many: 50 by default, up to 500.
    limit: Option<u32>,
}

/// Entries of the audit trail.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditPage {
    /// Newest first.
    entries: Vec<AuditEntry>,
    /// Ask with `before=` this for older ones; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One change.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AuditEntry {
    /// When.
    at: String,
    /// What was done: `pricing.publish`, `credits.add`, …
    action: String,
    /// To what or whom.
    subject: String,
    /// Who did it.
    by: String,
    /// What was changed, and why.
    detail: Value,
}

impl From<Entry> for AuditEntry {
    fn from(entry: Entry) -> AuditEntry {
        let Entry {
            at,
            action,
            subject,
            by,
            detail,
        } = entry;
        AuditEntry {
            at: at.to_string(),
            action,
            subject,
            by,
            detail,
        }
    }
}

/// Who changed what, when and why: newest first.
#[utoipa::path(get, path = "/api/admin/audit", tag = "admin", security(("key" = ["admin:read"])), params(Wanted),
    responses((status = 200, description = "A page of the audit trail.", body = AuditPage)))]
pub(super) async fn list(
    _: May<AdminRead>,
    State(service): State<Service>,
    Asked(wanted): Asked<Wanted>,
) -> Result<Json<AuditPage>, Problem> {
    if let Some(before) = &wanted.before {
        check_id(before).map_err(|error| {
            bad_query(format!("before: {error}; it is the `next` of another page"))
        })?;
    }
    let limit = page_entries(wanted.limit, ENTRIES_USUAL, ENTRIES_MAX)?;
    let page = audit::page(&*service.db, wanted.before.as_deref(), limit).await?;
    Ok(Json(AuditPage {
        entries: page.entries.into_iter().map(AuditEntry::from).collect(),
        next: page.next,
    }))
}
