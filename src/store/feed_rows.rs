//! The rows that entries of the control feed belong to, compared with the feed.
//!
//! An entry is written in one transaction with its rows: the versions of a publication in
//! PricingConfig, or a link in ReferralRelationships. Tables that are restored one by one may come
//! out some seconds apart. Then a row may be newer than the feed, which would give its number to
//! something else; or the row of an entry is missing.
//!
//! The feed decides, because it is in the same table as the positions from which rating and posting
//! go on. A row that it does not know is removed: everything else that was written with it is gone.
//! A row that is missing is written again from its entry. What an entry does not hold is taken from
//! the audit trail and the awards, which are in the same table too; only the code of a link is
//! lost.

mod links;
mod versions;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::control::{self, Change, Entry, Head};
use super::db::{Attr, Condition, Db, Key, StoreError, Table, Write};
use super::pricing::{self, Version};
use super::referrals::{self, Link, StoredLink};
use super::row::key_text;
use crate::domain::position::Control;
use links::LinkEntries;

pub use versions::compare_versions;

/// How many rows are mended in one transaction, with its audit entry.
const REPAIRS_PER_WRITE_MAX: usize = 24;

/// A row that the control feed does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrayRow {
    key: Key,
    /// The number that it carries.
    pub control: Control,
    condition: Condition,
}

impl StrayRow {
    fn of(key: Key, control: Control) -> StrayRow {
        let number = Attr::N(i128::from(control.0));
        StrayRow {
            key,
            control,
            condition: Condition::Equals("control", number),
        }
    }
}

impl std::fmt::Display for StrayRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&key_text(&self.key))
    }
}

/// A row that an entry of the control feed lacks, as it is written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MissingRow {
    /// A version of a price or rule set.
    Version(Box<Version>),
    /// A referral link.
    Link(Box<Link>),
}

impl MissingRow {
    /// The entry.
    pub fn control(&self) -> Control {
        match self {
            MissingRow::Version(version) => version.control,
            MissingRow::Link(link) => link.control,
        }
    }

    fn key(&self) -> Key {
        match self {
            MissingRow::Version(version) => pricing::version_key(&version.key, version.version),
            MissingRow::Link(link) => referrals::link_key(&link.referee),
        }
    }

    fn put(&self, condition: Condition) -> Write {
        match self {
            MissingRow::Version(version) => pricing::put_version(version, condition),
            MissingRow::Link(link) => referrals::put_link(link, condition),
        }
    }
}

impl std::fmt::Display for MissingRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&key_text(&self.key()))
    }
}

/// How the rows differ from the feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedRows {
    /// Rows that the feed does not know.
    pub stray: Vec<StrayRow>,
    /// Rows that it lacks.
    pub missing: Vec<MissingRow>,
    /// Entries up to the head that are missing themselves.
    pub holes: Vec<Control>,
}

/// Some rows that are mended in one transaction, and what its audit entry says of them.
pub struct Repair {
    /// The writes.
    pub writes: Vec<Write>,
    /// The rows.
    pub detail: Value,
}

impl FeedRows {
    /// Whether every row is as the feed says.
    pub fn agree(&self) -> bool {
        self.stray.is_empty() && self.missing.is_empty() && self.holes.is_empty()
    }

    /// The newest number that a row carries which the feed does not know.
    pub fn newest_stray(&self) -> Option<Control> {
        self.stray.iter().map(|row| row.control).max()
    }

    /// What makes the rows as the feed says. Each may be done by itself.
    pub fn repairs(&self) -> Vec<Repair> {
        let mut writes: BTreeMap<Key, (Write, Value)> = BTreeMap::new();
        for row in &self.stray {
            let write = Write::Delete {
                key: row.key.clone(),
                condition: row.condition.clone(),
            };
            let detail = json!({"removed": row.to_string(), "control": row.control});
            writes.insert(row.key.clone(), (write, detail));
        }
        for row in &self.missing {
            let key = row.key();
            let condition = match writes.get(&key) {
                Some((Write::Delete { condition, .. }, _)) => condition.clone(),
                _ => Condition::Absent,
            };
            let detail = json!({"restored": row.to_string(), "control": row.control()});
            writes.insert(key, (row.put(condition), detail));
        }
        let all: Vec<_> = writes.into_values().collect();
        let groups = all.chunks(REPAIRS_PER_WRITE_MAX);
        let repairs = groups.map(|group| {
            let (writes, details) = group.iter().cloned().unzip::<_, _, Vec<_>, Vec<_>>();
            Repair {
                writes,
                detail: json!({ "rows": details }),
            }
        });
        repairs.collect()
    }
}

/// The feed, with what is compared of it.
#[derive(Debug, Default)]
struct Feed {
    head: Head,
    /// The entries that changed rules, up to the head.
    rules: Vec<Entry>,
    links: LinkEntries,
    /// Entries beyond the head: parts of transactions.
    beyond: Vec<Control>,
    holes: Vec<Control>,
}

impl Feed {
    async fn read(db: &dyn Db) -> Result<Feed, StoreError> {
        let mut feed = Feed {
            head: control::full_head(db).await?,
            ..Feed::default()
        };
        let mut next = Control(1);
        let mut unseen = Vec::new();
        control::walk(db, |entry| {
            unseen.extend((next.0..entry.number.0).map(Control));
            next = Control(entry.number.0 + 1);
            feed.take(entry);
        })
        .await?;
        unseen.extend((next.0..=feed.head.number.0).map(Control));
        // A query may not show yet what was written just now.
        let head = feed.head.number;
        for number in unseen.into_iter().filter(|number| *number <= head) {
            match control::find(db, number).await? {
                Some(entry) => feed.take(entry),
                None => feed.holes.push(number),
            }
        }
        feed.rules.sort_by_key(|entry| entry.number);
        feed.links.sort();
        Ok(feed)
    }

    fn take(&mut self, entry: Entry) {
        if entry.number > self.head.number {
            self.beyond.push(entry.number);
            return;
        }
        match &entry.change {
            Change::Rules(changes) if changes.is_empty() => {}
            Change::Rules(_) => self.rules.push(entry),
            Change::Link { referee, chain } => self.links.push(entry.number, referee, chain),
            // Its row is in the feed's own table.
            Change::Wallet { .. } => {}
        }
    }
}

/// Compares the rows with the feed. Changes may go on meanwhile.
///
/// Costs what PricingConfig, ReferralRelationships and the feed weigh; keeps two numbers per link
/// in memory.
pub async fn compare(db: &dyn Db) -> Result<FeedRows, StoreError> {
    let mut feed = Feed::read(db).await?;
    let mut found = FeedRows {
        holes: std::mem::take(&mut feed.holes),
        ..FeedRows::default()
    };
    let versions = pricing::scan(db).await?;
    let (stray, missing) = compare_versions(&feed.rules, versions);
    found.stray.extend(stray.iter().map(stray_version));
    let missing = missing
        .into_iter()
        .map(|version| MissingRow::Version(Box::new(version)));
    found.missing.extend(missing);
    let stray = feed.links.compare(db).await?;
    found.stray.extend(stray.iter().map(stray_link));
    for number in feed.links.unseen() {
        for entry in control::entries(db, Control(number.0 - 1), number).await? {
            let link = links::of_entry(db, entry).await?;
            found
                .missing
                .extend(link.map(|link| MissingRow::Link(Box::new(link))));
        }
    }
    for number in feed.beyond {
        let (key, condition) = control::delete_entry(number);
        found.stray.push(StrayRow {
            key,
            control: number,
            condition,
        });
    }
    confirm(db, feed.head, &mut found).await?;
    for row in &mut found.missing {
        if let MissingRow::Version(version) = row {
            versions::complete(db, version).await?;
        }
    }
    Ok(found)
}

/// How many of the newest entries [`glance`] looks at.
const GLANCE_ENTRIES: u64 = 200;

/// Looks at PricingConfig and at the links of the newest entries: what costs little. [`compare`]
/// looks at everything.
///
/// Errors: [`StoreError::Apart`] if something does not agree.
pub async fn glance(db: &dyn Db) -> Result<(), StoreError> {
    pricing::check_table(db).await?;
    let head = control::head(db).await?;
    let after = Control(head.0.saturating_sub(GLANCE_ENTRIES));
    let mut expected = Vec::new();
    for entry in control::entries(db, after, head).await? {
        if let Change::Link { referee, chain } = entry.change {
            expected.push((entry.number, referee, chain));
        }
    }
    let referees: Vec<_> = expected.iter().map(|(_, of, _)| of.clone()).collect();
    let links = referrals::stored_links_of(db, &referees).await?;
    for ((number, referee, chain), link) in expected.into_iter().zip(links) {
        let is_it = match link {
            StoredLink::Absent => false,
            StoredLink::Present(link) => link.control == number && link.chain == chain,
            StoredLink::Unreadable(error, _) => {
                return Err(StoreError::Apart(format!(
                    "the referral link of {referee} cannot be decoded ({error}); restore the item in table ReferralRelationships"
                )));
            }
        };
        if !is_it {
            return Err(StoreError::Apart(format!(
                "entry {number} of the control feed gave {referee} a referrer, and ReferralRelationships does not hold that link"
            )));
        }
    }
    Ok(())
}

fn stray_version(version: &Version) -> StrayRow {
    let key = pricing::version_key(&version.key, version.version);
    StrayRow::of(key, version.control)
}

fn stray_link(link: &Link) -> StrayRow {
    StrayRow::of(referrals::link_key(&link.referee), link.control)
}

/// Whether a row was written with this entry.
fn wrote(entry: &Entry, row: &StrayRow) -> bool {
    let is_own = match &entry.change {
        Change::Link { referee, .. } => referrals::link_key(referee) == row.key,
        Change::Wallet { .. } => false,
        Change::Rules(changes) => {
            let mut keys = changes.iter().map(|change| &change.key);
            row.key.table == Table::PricingConfig && keys.any(|key| *key == row.key.hash)
        }
    };
    let is_entry = row.key == control::delete_entry(entry.number).0;
    entry.number == row.control && (is_own || is_entry)
}

/// Leaves only what still holds: something may have been written since the feed was read, and a
/// scan may not show yet what was written just before.
async fn confirm(db: &dyn Db, before: Head, found: &mut FeedRows) -> Result<(), StoreError> {
    let head = control::full_head(db).await?;
    let newer = match found.stray.is_empty() {
        true => Vec::new(),
        false => control::entries(db, before.number, head.number).await?,
    };
    found
        .stray
        .retain(|row| !newer.iter().any(|entry| wrote(entry, row)));
    let mut still = Vec::new();
    for row in std::mem::take(&mut found.missing) {
        let item = db.get(&row.key()).await?;
        let is_it = |item| match row.key().table {
            Table::PricingConfig => {
                pricing::read_version(item).map(|found| found.control == row.control())
            }
            _ => referrals::read_own_link(item).map(|found| found.control == row.control()),
        };
        if !item.as_ref().map(is_it).transpose()?.unwrap_or(false) {
            still.push(row);
        }
    }
    found.missing = still;
    Ok(())
}
