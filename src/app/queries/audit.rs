//! The audit trail.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Queries, QueryError, text};
use crate::domain::time::Millis;
use crate::store::audit::{self, Entry};

/// Entries of the audit trail.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
    /// Ask with `before=` this for older ones; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// When.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub at: Millis,
    /// What was done: `pricing.publish`, `credits.add`, …
    pub action: String,
    /// To what or whom.
    pub subject: String,
    /// Who did it.
    pub by: String,
    /// What was changed, and why.
    pub detail: Value,
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
            at,
            action,
            subject,
            by,
            detail,
        }
    }
}

impl Queries {
    /// At most `limit` entries that are older than `before` (the `next` of another page); without
    /// it, the newest.
    pub async fn audit_page(
        &self,
        before: Option<&str>,
        limit: usize,
    ) -> Result<AuditPage, QueryError> {
        let page = audit::page(self.db(), before, limit).await?;
        Ok(AuditPage {
            entries: page.entries.into_iter().map(AuditEntry::from).collect(),
            next: page.next,
        })
    }
}
