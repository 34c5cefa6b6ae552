//! The audit trail.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::filtered::{self, Batch, Bounds};
use super::{Queries, QueryError, Version, json_of, text};
use crate::app::differences::{Difference, differences};
use crate::domain::time::Millis;
use crate::store::audit::{self, Entry};
use crate::store::db::StoreError;
use crate::store::pricing::{self, VersionName};

/// Most entries that are looked at for one page of a filter.
const LOOKED_MAX: usize = 5_000;
/// How many are read at a time.
const READ_TOGETHER: usize = 500;
/// Versions whose predecessors are looked for at the same time.
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

/// Entries whose versions are in memory at a time, and compared in one go: a list of prices may have
/// thousands.
const CHANGES_TOGETHER: usize = 20;

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
        let bounds = Bounds {
            limit,
            looked_max: LOOKED_MAX,
        };
        let read = |before: Option<String>| async move {
            let db = self.db();
            let page = audit::page_between(db, from, until, before.as_deref(), together).await?;
            Ok::<_, QueryError>(Batch {
                looked: page.entries.len(),
                found: page.entries.into_iter().zip(page.keys).collect(),
                next: page.next,
            })
        };
        let takes = |entry: &Entry| filter.takes(entry);
        let start = before.map(str::to_owned);
        let (entries, next) = filtered::page(bounds, start, takes, read).await?;
        let (mut entries, mut found) = (entries.into_iter(), Vec::new());
        while entries.len() > 0 {
            let some = entries.by_ref().take(CHANGES_TOGETHER).collect();
            found.extend(self.with_changes(some).await?);
        }
        Ok(AuditPage {
            entries: found,
            next,
        })
    }

    /// Reads of each version that these entries published the row, and that of the version which it
    /// replaced; never all versions of a key.
    async fn with_changes(&self, entries: Vec<Entry>) -> Result<Vec<AuditEntry>, QueryError> {
        let db = self.db();
        let published: Vec<PublishedVersion> = entries.iter().flat_map(published_by).collect();
        let named = published.iter().flat_map(PublishedVersion::named);
        let mut rows = pricing::versions(db, &named.collect()).await?;
        let unsaid = published
            .iter()
            .filter(|one| one.replaces == Replaced::Unsaid);
        let unsaid: Vec<Version> = unsaid
            .filter_map(|one| rows.get(&one.name).cloned())
            .collect();
        let replaced = unsaid.into_iter().map(|new: Version| async move {
            let old = pricing::replaced_by(db, &new).await?;
            Ok::<_, StoreError>(((new.key, new.version), old))
        });
        let replaced: Vec<(VersionName, Option<Version>)> = stream::iter(replaced)
            .buffered(KEYS_TOGETHER)
            .try_collect()
            .await?;
        let mut replacements: BTreeMap<VersionName, VersionName> = BTreeMap::new();
        for (new, old) in replaced {
            if let Some(old) = old {
                let name = (old.key.clone(), old.version);
                replacements.insert(new, name.clone());
                rows.insert(name, old);
            }
        }
        for one in published {
            if let Replaced::Version(old) = one.replaces {
                replacements.insert(one.name.clone(), (one.name.0, old));
            }
        }
        let entry = |entry: Entry| {
            let (changes, further_changes) = match entry.action.as_str() {
                PUBLISH => changes_of(&entry, &rows, &replacements),
                _ => (replaced_in(&entry), 0),
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

/// The action of an entry that published prices or rules.
const PUBLISH: &str = "pricing.publish";

/// A version that an entry published, and which one it replaced.
struct PublishedVersion {
    name: VersionName,
    replaces: Replaced,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Replaced {
    Nothing,
    Version(u32),
    /// The entry is of a version of tidemark that did not record it.
    Unsaid,
}

impl PublishedVersion {
    fn named(&self) -> impl Iterator<Item = VersionName> {
        let (key, version) = self.name.clone();
        let old = match self.replaces {
            Replaced::Version(old) => Some((key.clone(), old)),
            Replaced::Nothing | Replaced::Unsaid => None,
        };
        [Some((key, version)), old].into_iter().flatten()
    }

    fn of(published: &Value) -> Option<PublishedVersion> {
        let number = |value: &Value| u32::try_from(value.as_u64()?).ok();
        let (key, version) = (published["key"].as_str()?, number(&published["version"])?);
        let replaces = match published.get("replaces") {
            None if version > 1 => Replaced::Unsaid,
            old => old
                .and_then(number)
                .map_or(Replaced::Nothing, Replaced::Version),
        };
        Some(PublishedVersion {
            name: (key.to_owned(), version),
            replaces,
        })
    }
}

fn published_by(entry: &Entry) -> impl Iterator<Item = PublishedVersion> {
    let versions = (entry.action == PUBLISH).then(|| &entry.detail["versions"]);
    let versions = versions.and_then(Value::as_array).into_iter().flatten();
    versions.filter_map(PublishedVersion::of)
}

/// What a publication replaced: values of prices and rules stay in their versions for ever.
fn changes_of(
    entry: &Entry,
    rows: &BTreeMap<VersionName, Version>,
    replacements: &BTreeMap<VersionName, VersionName>,
) -> (Vec<Difference>, usize) {
    let (mut changes, mut further) = (Vec::new(), 0);
    for PublishedVersion { name, .. } in published_by(entry) {
        let Some(new) = rows.get(&name) else { continue };
        let old = replacements.get(&name).and_then(|old| rows.get(old));
        let old = old.map(|old| json_of(&old.value)).unwrap_or_default();
        let (found, beyond) = differences(&name.0, &old, &json_of(&new.value));
        changes.extend(found);
        further += beyond;
    }
    (changes, further)
}

/// What other entries say of the value that was replaced.
fn replaced_in(entry: &Entry) -> Vec<Difference> {
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
