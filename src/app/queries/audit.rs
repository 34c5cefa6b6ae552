//! The audit trail.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Queries, QueryError, Version, json_of, text};
use crate::app::differences::{Difference, differences};
use crate::domain::position::Control;
use crate::domain::time::Millis;
use crate::store::audit::{self, Entry};
use crate::store::db::StoreError;
use crate::store::pricing;

/// Most entries that are looked at for one page of a filter.
const LOOKED_MAX: usize = 5_000;
/// How many are read at a time.
const READ_TOGETHER: usize = 500;
/// Prices and rules whose versions are read at the same time.
const KEYS_TOGETHER: usize = 8;

/// Entries of the audit trail.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
    /// Ask with `before=` this for older ones; absent at the end. With a filter, a page can have few
    /// entries or none although there are older ones: at most 5,000 are searched.
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
    /// The old and the new value of what was changed, where one was replaced by the other; at most
    /// 200 places.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Difference>,
    /// How many more places changed; absent if none.
    #[serde(skip_serializing_if = "is_zero")]
    pub further_changes: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Which entries. Texts are compared regardless of case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// A part of who did it.
    pub actor: Option<String>,
    /// A part of to what or whom.
    pub subject: Option<String>,
    /// What was done, or the beginning of it: `credits`, `credits.add`.
    pub action: Option<String>,
    /// From when on.
    pub from: Option<Millis>,
    /// Before when.
    pub until: Option<Millis>,
}

impl AuditFilter {
    fn looks_into_entries(&self) -> bool {
        self.actor.is_some() || self.subject.is_some() || self.action.is_some()
    }

    fn takes(&self, entry: &Entry) -> bool {
        let has = |text: &str, part: &Option<String>| {
            part.as_ref()
                .is_none_or(|part| text.to_lowercase().contains(&part.to_lowercase()))
        };
        let action = entry.action.to_lowercase();
        let begins = |wanted: &String| action.starts_with(&wanted.to_lowercase());
        has(&entry.by, &self.actor)
            && has(&entry.subject, &self.subject)
            && self.action.as_ref().is_none_or(begins)
    }
}

impl Queries {
    /// At most `limit` entries of these that are older than `before` (the `next` of another page);
    /// without it, the newest.
    pub async fn audit_page(
        &self,
        filter: &AuditFilter,
        before: Option<&str>,
        limit: usize,
    ) -> Result<AuditPage, QueryError> {
        let (from, until) = (filter.from, filter.until);
        let is_filtered = filter.looks_into_entries();
        let together = if is_filtered { READ_TOGETHER } else { limit };
        let mut next = before.map(str::to_owned);
        let mut entries = Vec::new();
        let mut looked = 0;
        'pages: loop {
            let page =
                audit::page_between(self.db(), from, until, next.as_deref(), together).await?;
            let mut read = page.entries.into_iter().zip(page.keys).peekable();
            while let Some((entry, key)) = read.next() {
                looked += 1;
                if filter.takes(&entry) {
                    entries.push(entry);
                }
                if entries.len() == limit {
                    let has_more = read.peek().is_some() || page.next.is_some();
                    next = has_more.then_some(key);
                    break 'pages;
                }
            }
            next = page.next;
            if next.is_none() || looked >= LOOKED_MAX {
                break;
            }
        }
        Ok(AuditPage {
            entries: self.with_changes(entries).await?,
            next,
        })
    }

    async fn with_changes(&self, entries: Vec<Entry>) -> Result<Vec<AuditEntry>, QueryError> {
        let db = self.db();
        let keys = entries.iter().flat_map(published_keys).map(str::to_owned);
        let keys: BTreeSet<String> = keys.collect();
        let history = |key: String| async move {
            let history = pricing::history(db, &key).await?;
            Ok::<_, StoreError>((key, history))
        };
        let histories = stream::iter(keys).map(history).buffered(KEYS_TOGETHER);
        let histories: BTreeMap<String, Vec<Version>> = histories.try_collect().await?;
        let entry = |entry: Entry| {
            let (changes, further_changes) = match entry.action.as_str() {
                "pricing.publish" => published(&entry, &histories),
                _ => (replaced(&entry), 0),
            };
            AuditEntry {
                at: entry.at,
                action: entry.action,
                subject: entry.subject,
                by: entry.by,
                detail: entry.detail,
                changes,
                further_changes,
            }
        };
        Ok(entries.into_iter().map(entry).collect())
    }
}

/// The keys of which an entry published versions.
fn published_keys(entry: &Entry) -> impl Iterator<Item = &str> {
    let versions = (entry.action == "pricing.publish").then(|| &entry.detail["versions"]);
    let versions = versions.and_then(Value::as_array).into_iter().flatten();
    versions.filter_map(|version| version["key"].as_str())
}

/// What a publication replaced: values of prices and rules stay in their versions for ever.
fn published(
    entry: &Entry,
    histories: &BTreeMap<String, Vec<Version>>,
) -> (Vec<Difference>, usize) {
    let (mut changes, mut further) = (Vec::new(), 0);
    let control = entry.detail["control"].as_u64().map(Control);
    for key in published_keys(entry) {
        let versions = histories.get(key).map_or(&[][..], Vec::as_slice);
        let Some(new) = versions.iter().find(|v| Some(v.control) == control) else {
            continue;
        };
        let earlier = versions.iter().filter(|version| {
            version.control < new.control && version.effective_from <= new.effective_from
        });
        let old = earlier.max_by_key(|version| (version.effective_from, version.control));
        let old = old.map(|old| json_of(&old.value)).unwrap_or_default();
        let (found, beyond) = differences(key, &old, &json_of(&new.value));
        changes.extend(found);
        further += beyond;
    }
    (changes, further)
}

/// What other entries say of the value that was replaced.
fn replaced(entry: &Entry) -> Vec<Difference> {
    let change = |path: &str, before: Value, after: Value| {
        vec![Difference {
            path: path.to_owned(),
            before,
            after,
        }]
    };
    let detail = &entry.detail;
    match entry.action.as_str() {
        "keys.create" => change("scopes", Value::Null, detail["scopes"].clone()),
        "keys.revoke" => change("state", json!("active"), json!("revoked")),
        "badges.revoke" => change("revoked", json!(false), json!(true)),
        "badges.restore" => change("revoked", json!(true), json!(false)),
        // A code that was switched so already leaves no entry.
        "referral_codes.switch" => {
            let active = detail["active"] == true;
            change("active", json!(!active), json!(active))
        }
        "wallets.link" | "wallets.unlink" => change(
            "address",
            detail["before"].clone(),
            detail["address"].clone(),
        ),
        _ => Vec::new(),
    }
}
