//! PricingConfig: every version of every price and rule set, who made it and why.
//!
//! One row per version: partition `configKey`, sort key the zero-padded version number of that key.
//! A publication writes its version rows, its entry of the control feed, the feed's head and its
//! entry of the audit trail in one transaction.
//!
//! **Loading** the rules as of a control position reads this table and never the feed's entries,
//! which may be 100,000 links. A scan may see a part of a transaction, so completeness is proved,
//! not assumed: every version row carries its publication's control number, the number of versions
//! in it, and the control number of the publication before it (`previous`); the feed's head names
//! the newest publication. All of that is written in the publication's own transaction under the
//! condition that the head had not moved, so the numbers form one unbroken chain `head.rules →
//! previous → … → 0`. The head is read first; a scan that holds every publication of that chain
//! with as many rows as it says holds everything up to the head, and versions above the wanted
//! position are left out afterwards. If anything is missing the scan was torn, and is done again.

mod seen;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use super::audit;
use super::conditional::{Attempts, WriteOutcome, until_visible};
use super::control::{self, Change, Head};
use super::db::{
    Condition, Db, Query, RangeFilter, StoreError, TRANSACTION_ITEMS_MAX, Table, Write,
};
use super::pages;
use crate::domain::position::Control;
use crate::domain::rules::{RuleBook, RuleChange, RuleFault, Rules, SettingKey};
use crate::domain::text::{TextError, check_reason};
use crate::domain::time::Millis;

pub use seen::{Seen, published_under};
pub use versions::Version;
pub(in crate::store) use versions::{Publication, put_version, read_version, version_key};

/// Most versions in one publication: the feed's entry, its head and the audit entry go into the
/// same transaction.
pub const CHANGES_MAX: usize = TRANSACTION_ITEMS_MAX - 3;

/// A new value for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewValue {
    /// Which price or rule set.
    pub key: String,
    /// Its value, as JSON text.
    pub value: String,
}

/// A publication: new values, from when on, by whom, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The values; no key twice, at most [`CHANGES_MAX`].
    pub values: Vec<NewValue>,
    /// From when on, in event time; not before `now`. Required keys without any version ignore it:
    /// their first has no beginning. [`Publish::begins`] may be later.
    pub effective_from: Millis,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When it is written.
    pub now: Millis,
    /// Names this publication; unique (random). A repeat under the same token after
    /// [`StoreError::Unanswered`] is a new publication: look at [`history`] first.
    pub token: String,
}

impl Publish {
    /// From when on its versions are in force: as it says, but not before the time that one of its
    /// keys needs to be seen everywhere ([`SettingKey::lead_ms`]).
    pub fn begins(&self) -> Millis {
        let keys = self.values.iter();
        let keys = keys.filter_map(|new| SettingKey::named(&new.key));
        let lead = keys.map(SettingKey::lead_ms).max().unwrap_or(0);
        self.effective_from.max(self.now.plus(lead))
    }
}

/// Why nothing was published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The values do not make rules.
    #[error("the rules have {} fault(s), the first: {}", .0.len(), .0.first().map(ToString::to_string).unwrap_or_default())]
    Faults(Vec<RuleFault>),
    /// It would change what already has been rated.
    #[error("effective from {effective_from} is before now ({now}); give a time from now on")]
    InThePast {
        /// What was asked.
        effective_from: Millis,
        /// The time of writing.
        now: Millis,
    },
    /// No value, too many, or one key twice.
    #[error("a publication holds 1 to {CHANGES_MAX} values, no key twice")]
    Values,
    /// The reason cannot be kept.
    #[error(transparent)]
    Reason(#[from] TextError),
    /// It was to follow what somebody looked at, and that is not so any more: look again.
    #[error(
        "{key} was changed meanwhile, and nothing was published; review what is in force now, then try again"
    )]
    Changed {
        /// Which.
        key: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Publishes new versions and returns their control position. An event that is appended after this
/// has returned is rated with them, from [`Publish::begins`] on.
pub async fn publish(db: &dyn Db, publish: &Publish) -> Result<Control, PublishError> {
    publish_noted(db, publish, None).await
}

/// [`publish`], with a note in the entry of the audit trail.
pub async fn publish_noted(
    db: &dyn Db,
    publish: &Publish,
    note: Option<&str>,
) -> Result<Control, PublishError> {
    publish_if(db, publish, note, None).await
}

/// [`publish`] of one value, only if what was `seen` of its key still is so: otherwise
/// [`PublishError::Changed`], and nothing is written. That is decided within the transaction: it
/// moves the feed's head from where the versions were read. A publication that stands already under
/// the same token, because it was sent twice at once, is answered as if this call had made it.
pub async fn publish_onto(
    db: &dyn Db,
    publish: &Publish,
    seen: Seen,
) -> Result<Control, PublishError> {
    publish_if(db, publish, None, Some(seen)).await
}

async fn publish_if(
    db: &dyn Db,
    publish: &Publish,
    note: Option<&str>,
    seen: Option<Seen>,
) -> Result<Control, PublishError> {
    check(publish)?;
    let mut attempts = Attempts::new(db);
    let mut tried: Option<Control> = None;
    loop {
        let loaded = load(db).await?;
        loaded.check_beyond(db).await?;
        if let Some(number) = tried
            && control::happened(db, number, loaded.head, &publish.token).await?
        {
            return Ok(number);
        }
        if let Some(seen) = seen
            && !seen.holds(publish, &loaded.versions)
        {
            return seen::not_onto(db, publish, seen).await;
        }
        let number = control::next(loaded.head);
        let (changes, rows) = plan(publish, &loaded);
        let book = book(&loaded.versions, loaded.head.number)?;
        book.check(&changes).map_err(PublishError::Faults)?;
        let mut writes: Vec<Write> = rows
            .iter()
            .map(|row| put_version(row, Condition::Absent))
            .collect();
        writes.push(audit_write(publish, number, &rows, &loaded.versions, note));
        let change = Change::Rules(changes);
        let append = control::append_writes(loaded.head, publish.now, &publish.token, &change);
        writes.extend(append);
        tried = Some(number);
        if attempts.write(writes).await? == WriteOutcome::Written {
            control::until_counted(db, number).await?;
            return Ok(number);
        }
    }
}

/// Which versions there are now, and which they replace; their values stand in their rows, for
/// ever.
fn audit_write(
    publish: &Publish,
    number: Control,
    rows: &[Version],
    before: &[Version],
    note: Option<&str>,
) -> Write {
    let versions: Vec<_> = rows
        .iter()
        .map(|row| {
            let from = row.effective_from.map(|at| at.to_string());
            let replaces = replaced_among(before, row).map(|old| old.version);
            json!({"key": row.key, "version": row.version, "effectiveFrom": from, "replaces": replaces})
        })
        .collect();
    let subject = match rows {
        [only] => only.key.clone(),
        all => format!("{} keys", all.len()),
    };
    let mut detail = json!({"control": number, "versions": versions, "reason": publish.reason});
    if let Some(note) = note {
        detail["note"] = json!(note);
    }
    audit::write(&audit::Entry {
        at: publish.now,
        action: "pricing.publish".to_owned(),
        subject,
        by: publish.by.clone(),
        detail,
    })
}

/// What a publication would change.
#[derive(Debug)]
pub struct Preview {
    /// The version of each key that is in force when the publication's would begin, in the
    /// publication's order.
    pub before: Vec<Option<Version>>,
    /// What is in force then without it, and with it; `None` while the rules are not complete.
    pub rules: [Option<Arc<Rules>>; 2],
}

/// What [`publish`] would do, without doing it.
///
/// # Errors
/// As [`publish`].
pub async fn preview(db: &dyn Db, publish: &Publish) -> Result<Preview, PublishError> {
    check(publish)?;
    let loaded = load(db).await?;
    let (changes, _) = plan(publish, &loaded);
    let (head, number) = (loaded.head.number, control::next(loaded.head));
    let mut book = book(&loaded.versions, head)?;
    let without = book.as_of(head);
    book.apply(number, &changes).map_err(PublishError::Faults)?;
    let with = book.as_of(number);
    let at = publish.begins();
    let mut in_force = in_force(loaded.versions, at);
    let before = publish.values.iter().map(|new| in_force.remove(&new.key));
    Ok(Preview {
        before: before.collect(),
        rules: [without, with].map(|timeline| timeline.map(|found| Arc::clone(found.at(at)))),
    })
}

fn check(publish: &Publish) -> Result<(), PublishError> {
    check_reason(&publish.reason)?;
    let mut keys: Vec<&str> = publish.values.iter().map(|v| v.key.as_str()).collect();
    keys.sort_unstable();
    let doubled = keys.windows(2).any(|pair| pair[0] == pair[1]);
    if keys.is_empty() || keys.len() > CHANGES_MAX || doubled || keys[0].is_empty() {
        return Err(PublishError::Values);
    }
    if publish.effective_from < publish.now {
        return Err(PublishError::InThePast {
            effective_from: publish.effective_from,
            now: publish.now,
        });
    }
    Ok(())
}

/// What a publication adds, given what is there.
fn plan(publish: &Publish, loaded: &Loaded) -> (Vec<RuleChange>, Vec<Version>) {
    let mut newest: BTreeMap<&str, u32> = BTreeMap::new();
    for version in &loaded.versions {
        let known = newest.entry(&version.key).or_default();
        *known = version.version.max(*known);
    }
    let mut changes = Vec::new();
    let mut rows = Vec::new();
    for (index, new) in publish.values.iter().enumerate() {
        let before = newest.get(new.key.as_str()).copied().unwrap_or(0);
        let is_optional = SettingKey::named(&new.key).is_some_and(SettingKey::is_optional);
        let has_beginning = before > 0 || is_optional;
        let effective_from = has_beginning.then(|| publish.begins());
        changes.push(RuleChange {
            key: new.key.clone(),
            value: new.value.clone(),
            effective_from,
        });
        rows.push(Version {
            key: new.key.clone(),
            version: before + 1,
            control: control::next(loaded.head),
            effective_from,
            value: new.value.clone(),
            by: publish.by.clone(),
            reason: publish.reason.clone(),
            written_at: publish.now,
            publication: Publication {
                previous: loaded.head.rules,
                count: publish.values.len(),
                index,
            },
        });
    }
    (changes, rows)
}

/// The rules as of a control position: exactly the versions with number ≤ `up_to`, applied in the
/// feed's order.
///
/// Errors: [`StoreError::Unavailable`] when the table stays torn; [`StoreError::Corrupt`] when
/// versions are missing for good or cannot be applied, or the feed is shorter than `up_to`.
pub async fn load_rules(db: &dyn Db, up_to: Control) -> Result<RuleBook, StoreError> {
    book_of(&load(db).await?, up_to)
}

/// [`load_rules`] for those who go on from them. Refuses tables of different moments.
///
/// Errors: [`StoreError::Apart`] too.
pub async fn load_rules_checked(db: &dyn Db, up_to: Control) -> Result<RuleBook, StoreError> {
    let loaded = load(db).await?;
    loaded.check_beyond(db).await?;
    book_of(&loaded, up_to)
}

fn book_of(loaded: &Loaded, up_to: Control) -> Result<RuleBook, StoreError> {
    if loaded.head.number < up_to {
        return Err(StoreError::Corrupt {
            key: super::row::key_text(&control::key_of_head()),
            what: format!(
                "the control feed ends at {}, but position {up_to} was seen before",
                loaded.head.number
            ),
        });
    }
    book(&loaded.versions, up_to)
}

/// The version of every key that is in force at `now`, by key.
pub async fn current(db: &dyn Db, now: Millis) -> Result<Vec<Version>, StoreError> {
    Ok(in_force(load(db).await?.versions, now)
        .into_values()
        .collect())
}

/// Every version of every key, in the order of the control feed.
pub async fn all(db: &dyn Db) -> Result<Vec<Version>, StoreError> {
    Ok(load(db).await?.versions)
}

/// Of versions of one key, the one that is in force at an instant.
pub fn in_force_at(versions: &[Version], at: Millis) -> Option<&Version> {
    let begun = versions.iter().filter(|version| has_begun(version, at));
    begun.max_by_key(|version| order_in_force(version))
}

/// The version that another one replaces when it begins: of those published before it, the one in
/// force then.
fn replaced_among<'v>(versions: &'v [Version], new: &Version) -> Option<&'v Version> {
    let at = new.effective_from?;
    let earlier = versions.iter().filter(|version| {
        version.key == new.key && version.control < new.control && has_begun(version, at)
    });
    earlier.max_by_key(|version| order_in_force(version))
}

fn has_begun(version: &Version, at: Millis) -> bool {
    version.effective_from.is_none_or(|from| from <= at)
}

fn in_force(versions: Vec<Version>, now: Millis) -> BTreeMap<String, Version> {
    let mut in_force: BTreeMap<String, Version> = BTreeMap::new();
    for version in versions {
        if !has_begun(&version, now) {
            continue;
        }
        match in_force.get(&version.key) {
            Some(known) if order_in_force(known) > order_in_force(&version) => {}
            _ => {
                in_force.insert(version.key.clone(), version);
            }
        }
    }
    in_force
}

/// Of two versions that have begun, the one that began later is in force; begun together, the one
/// published later.
fn order_in_force(version: &Version) -> (Option<Millis>, Control) {
    (version.effective_from, version.control)
}

/// Every version of one key, oldest first.
pub async fn history(db: &dyn Db, key: &str) -> Result<Vec<Version>, StoreError> {
    let items = pages::all(db, pages::whole(Table::PricingConfig, key)).await?;
    items.iter().map(read_version).collect()
}

/// Names a version: its key, and its number among the key's.
pub type VersionName = (String, u32);

/// These versions, one row each.
pub async fn versions(
    db: &dyn Db,
    names: &BTreeSet<VersionName>,
) -> Result<BTreeMap<VersionName, Version>, StoreError> {
    let keys = names
        .iter()
        .map(|(key, version)| version_key(key, *version));
    let rows = db.batch_get(&keys.collect::<Vec<_>>()).await?;
    let found = names.iter().zip(&rows);
    let found = found.filter_map(|(name, row)| Some((name, row.as_ref()?)));
    found
        .map(|(name, row)| Ok((name.clone(), read_version(row)?)))
        .collect()
}

/// Most versions that [`replaced_by`] looks at.
pub const REPLACED_LOOKED_MAX: u32 = 20;

/// The version that this one replaced, if it is among the few before it. Entries of the audit trail
/// name it since they record it; this is for those that do not.
pub async fn replaced_by(db: &dyn Db, new: &Version) -> Result<Option<Version>, StoreError> {
    let number = |version: u32| version_key(&new.key, version).range;
    let query = Query {
        range: RangeFilter::Between(number(0), number(new.version.saturating_sub(1))),
        descending: true,
        limit: Some(REPLACED_LOOKED_MAX),
        ..pages::whole(Table::PricingConfig, &new.key)
    };
    let page = db.query(&query).await?;
    let before = page.items.iter().map(read_version);
    let before = before.collect::<Result<Vec<Version>, StoreError>>()?;
    Ok(replaced_among(&before, new).cloned())
}

/// Every version up to a head.
#[derive(Debug)]
struct Loaded {
    head: Head,
    /// In the order of the feed.
    versions: Vec<Version>,
    /// The newest version that the head does not count, if there is one.
    beyond: Option<Version>,
}

/// Reads the head, then the table, until the table holds everything that the head promises.
async fn load(db: &dyn Db) -> Result<Loaded, StoreError> {
    let loaded = try_load(db).await?;
    loaded.ok_or_else(|| StoreError::Unavailable(format!("{INCOMPLETE}, if this stays")))
}

/// What a table that stays torn says.
const INCOMPLETE: &str = "PricingConfig does not hold exactly the versions that the control feed names: the tables \
     were restored to different moments, or rows were deleted (`tidemark recover --dry-run` says which)";

async fn try_load(db: &dyn Db) -> Result<Option<Loaded>, StoreError> {
    let scan_once = || async {
        let head = control::full_head(db).await?;
        let mut versions = scan(db).await?;
        let newest = versions.iter().max_by_key(|version| version.control);
        let beyond = newest
            .filter(|newest| newest.control > head.number)
            .cloned();
        versions.retain(|version| version.control <= head.number);
        versions.sort_by_key(|version| (version.control, version.publication.index));
        Ok(is_complete(head.rules, &versions).then_some(Loaded {
            head,
            versions,
            beyond,
        }))
    };
    until_visible(db, scan_once).await
}

/// Whether the table holds exactly the versions that the feed names.
///
/// Errors: [`StoreError::Apart`] if it does not.
pub async fn check_table(db: &dyn Db) -> Result<(), StoreError> {
    match try_load(db).await? {
        Some(loaded) => loaded.check_beyond(db).await,
        None => Err(StoreError::Apart(INCOMPLETE.to_owned())),
    }
}

impl Loaded {
    /// Refuses if the table holds a version that the control feed does not know: the next change of
    /// rules or referrals would take its number.
    ///
    /// Errors: [`StoreError::Apart`].
    async fn check_beyond(&self, db: &dyn Db) -> Result<(), StoreError> {
        let Some(beyond) = &self.beyond else {
            return Ok(());
        };
        // It may have been published since the head was read.
        if control::is_counted(db, beyond.control).await? {
            return Ok(());
        }
        Err(StoreError::Apart(format!(
            "version {} of {} in PricingConfig is entry {} of the control feed, which ends at {}",
            beyond.version, beyond.key, beyond.control, self.head.number
        )))
    }
}

/// Every version that the table holds, also what the feed does not know.
pub(in crate::store) async fn scan(db: &dyn Db) -> Result<Vec<Version>, StoreError> {
    let mut versions = Vec::new();
    pages::scan(db, Table::PricingConfig, |item| {
        versions.push(read_version(&item)?);
        Ok(())
    })
    .await?;
    Ok(versions)
}

/// Whether `versions`, sorted by control number, hold every publication of the chain that ends in
/// `newest`, complete.
fn is_complete(newest: Control, versions: &[Version]) -> bool {
    let mut expected = newest;
    for publication in versions.chunk_by(|a, b| a.control == b.control).rev() {
        let first = &publication[0];
        if first.control != expected || publication.len() != first.publication.count {
            return false;
        }
        expected = first.publication.previous;
    }
    expected == Control(0)
}

fn book(versions: &[Version], up_to: Control) -> Result<RuleBook, StoreError> {
    let mut book = RuleBook::default();
    for publication in versions.chunk_by(|a, b| a.control == b.control) {
        let first = &publication[0];
        if first.control > up_to {
            break;
        }
        let changes: Vec<RuleChange> = publication.iter().map(Version::change).collect();
        book.apply(first.control, &changes).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            StoreError::Corrupt {
                key: super::row::key_text(&version_key(&first.key, first.version)),
                what: format!("its publication makes no rules: {}", faults.join("; ")),
            }
        })?;
    }
    Ok(book)
}
