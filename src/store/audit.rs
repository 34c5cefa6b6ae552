//! The audit trail: who changed what, when and why. Table Checkpoints, partition `audit`; an entry
//! is written in the transaction of the change that it tells of, so that there is neither without
//! the other.

use serde_json::Value;

use super::db::{Attr, Condition, Db, Item, Key, Query, RangeFilter, StoreError, Table, Write};
use super::pages;
use super::row::{Fields, Row};
use crate::domain::time::Millis;

const PARTITION: &str = "audit";

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When the change was made, by the clock of whoever made it.
    pub at: Millis,
    /// What was done: `pricing.publish`, `credits.add`, `keys.revoke`, …
    pub action: String,
    /// To what or whom.
    pub subject: String,
    /// Who did it: a key, a token's subject, or the user of a command.
    pub by: String,
    /// What was changed, and why.
    pub detail: Value,
}

/// A page of entries, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The key of each entry: what `before` takes for a page of the entries before it.
    pub keys: Vec<String>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

fn key_of(entry: &Entry) -> Key {
    let Entry { at, action, .. } = entry;
    // Random: also two changes that are alike in everything, within one millisecond, are two
    // entries.
    let random: u64 = rand::random();
    key(&format!("{at}#{action}#{random:016x}"))
}

fn key(item: &str) -> Key {
    Key::new(Table::Checkpoints, PARTITION, item)
}

/// The write that leaves an entry; it belongs into one transaction with the change.
pub fn write(entry: &Entry) -> Write {
    let item = Fields::of(&key_of(entry))
        .text("action", &entry.action)
        .text("subject", &entry.subject)
        .text("by", &entry.by)
        .json("detail", &entry.detail)
        .item();
    Write::Put {
        table: Table::Checkpoints,
        item,
        // Never over another entry.
        condition: Condition::Absent,
    }
}

/// Entries before `before` (a page's `next`; `None`: the newest), newest first, at most `limit`.
pub async fn page(db: &dyn Db, before: Option<&str>, limit: usize) -> Result<Page, StoreError> {
    page_between(db, None, None, before, limit).await
}

/// The same, of entries from an instant on, and before another one.
pub async fn page_between(
    db: &dyn Db,
    from: Option<Millis>,
    until: Option<Millis>,
    before: Option<&str>,
    limit: usize,
) -> Result<Page, StoreError> {
    // Keys begin with the instant, whose text sorts as it does; a '#' follows, so that no key equals
    // an instant. Every key lies between "0" and ":".
    let first = from.map_or_else(|| "0".to_owned(), |at| at.to_string());
    let last = until.map_or_else(|| ":".to_owned(), |at| at.to_string());
    // DynamoDB refuses a range that ends before it begins, and a start outside of the range.
    let before = before.filter(|item| *item <= last.as_str());
    if first > last || before.is_some_and(|item| item < first.as_str()) {
        return Ok(Page::default());
    }
    let range = match (from, until) {
        (None, None) => RangeFilter::All,
        _ => RangeFilter::Between(first, last),
    };
    let after = before.map(|item| key(item).item());
    let query = Query {
        range,
        descending: true,
        after,
        ..pages::whole(Table::Checkpoints, PARTITION)
    };
    let found = pages::first(db, query, limit).await?;
    let entries = found.items.iter().map(decode_entry);
    let keys: Vec<String> = found.items.iter().filter_map(name_of).collect();
    Ok(Page {
        entries: entries.collect::<Result<Vec<Entry>, StoreError>>()?,
        next: keys.last().filter(|_| !found.is_whole).cloned(),
        keys,
    })
}

fn name_of(item: &Item) -> Option<String> {
    match item.get("item") {
        Some(Attr::S(name)) => Some(name.clone()),
        _ => None,
    }
}

/// The entries of an action at one moment.
pub async fn of_moment(db: &dyn Db, at: Millis, action: &str) -> Result<Vec<Entry>, StoreError> {
    let query = Query {
        range: RangeFilter::Prefix(format!("{at}#{action}#")),
        ..pages::whole(Table::Checkpoints, PARTITION)
    };
    let items = pages::all(db, query).await?;
    items.iter().map(decode_entry).collect()
}

fn decode_entry(item: &Item) -> Result<Entry, StoreError> {
    let unknown = Row::new(key("?"), item);
    let name = unknown.text("item")?;
    let row = Row::new(key(name), item);
    let at = name.split('#').next().unwrap_or_default();
    let at = at
        .parse()
        .map_err(|error| row.corrupt(format!("its key begins with no time: {error}")))?;
    Ok(Entry {
        at,
        action: row.text("action")?.to_owned(),
        subject: row.text("subject")?.to_owned(),
        by: row.text("by")?.to_owned(),
        detail: row.json("detail")?,
    })
}
