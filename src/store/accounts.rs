//! Account rows: a month of a user (`UserPoints`) or provider (`ProviderRewards`), and the account's own item.
//!
//! The newest month row is the account's **head**. It holds the account's one fence and its lifetime facts, and names the
//! fences of the older rows that may still change. A write to any row of the account carries the head's condition, so that of
//! two workers that believe they own the account only one can write; see ARCHITECTURE.md, "Post".
//!
//! Under the same partition key stands the **account item** (sort key [`ACCOUNT_ITEM`]). It is written once, together with the
//! first row: "there is no row of this month" would hold again in the next month, "there is no account" holds once in a life.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::db::{Attr, Db, Item, Key, Query, RangeFilter, StoreError, Table};
use super::pages;
use super::row::{Row, key_text};
use crate::domain::event::Service;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::ledger::{
    AccountRows, Carry, DayStats, LateStats, Lifetime, MonthRow, ServiceStats,
};
use crate::domain::position::Fence;
use crate::domain::posting::{Cascade, Charge};
use crate::domain::sorted::SortedMap;
use crate::domain::time::{Millis, Month};

/// Sort key of the account item; sorts before every month.
pub const ACCOUNT_ITEM: &str = "0000-00";
/// Sorts after every month.
const AFTER_MONTHS: &str = ":";
/// The versions of the binary statistics: without points from referrals by level (older rows, and those that have none), and with them behind the rest.
const STATS_PLAIN: u8 = 1;
const STATS_WITH_LEVELS: u8 = 2;
/// What the statistics of nearly every month take, in bytes.
const STATS_BYTES_USUAL: usize = 512;
/// Most attributes of a month row.
const ATTRIBUTES_MAX: usize = 11;

/// The statistics of a month, as they stand in the `stats` attribute (postcard: LEB128 integers).
#[derive(Serialize, Deserialize)]
struct Stats<'a> {
    carry: Carry,
    days: Cow<'a, [(u8, DayStats)]>,
    services: Cow<'a, [ServiceStats; Service::COUNT]>,
    late: LateStats,
    charge: Charge,
}

/// One month row as it stands in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// The statistics.
    pub row: MonthRow,
    /// The fence of the last write to this row. The head's is the account's.
    pub fence: Fence,
    /// Lifetime facts (on the head).
    pub lifetime: Lifetime,
    /// The older rows that may still change, with their fences (on the head).
    pub older: BTreeMap<Month, Fence>,
    /// Set when a newer row has become the head.
    pub superseded_by: Option<Month>,
}

/// A month row to be stored, its parts borrowed; else as [`StoredRow`].
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    /// The statistics.
    pub row: &'a MonthRow,
    /// The fence of this write.
    pub fence: Fence,
    /// Lifetime facts; written on the head.
    pub lifetime: &'a Lifetime,
    /// The older rows that may still change; written on the head.
    pub older: &'a BTreeMap<Month, Fence>,
    /// Set on every row but the head.
    pub superseded_by: Option<Month>,
}

/// What is known of the account in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHead {
    /// The head's month.
    pub month: Month,
    /// The account's fence.
    pub fence: Fence,
    /// The older rows that may still change, with their fences.
    pub older: BTreeMap<Month, Fence>,
}

/// An account as loaded: head and the older rows that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAccount {
    /// What the conditions of the next write are about.
    pub head: StoredHead,
    /// Lifetime facts and rows.
    pub rows: AccountRows,
}

/// What one reading of an account's rows found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The account has never been written.
    Absent,
    /// All of it, matching.
    Whole(Box<StoredAccount>),
    /// Half of a transaction, or a row is missing. Read again; if it stays so, the rows contradict each other.
    Torn(String),
}

/// The table of a kind of account.
pub const fn table(kind: AccountKind) -> Table {
    match kind {
        AccountKind::User => Table::UserPoints,
        AccountKind::Provider => Table::ProviderRewards,
    }
}

/// The key of a month row.
pub fn row_key(account: &Account, month: Month) -> Key {
    Key::new(table(account.kind), account.id(), month.to_string())
}

/// The key of the account item.
pub(super) fn item_key(account: &Account) -> Key {
    Key::new(table(account.kind), account.id(), ACCOUNT_ITEM)
}

fn older_text(older: &BTreeMap<Month, Fence>) -> String {
    older
        .iter()
        .map(|(month, fence)| format!("{month}={fence}"))
        .collect::<Vec<_>>()
        .join(",")
}

fn parse_older(row: &Row<'_>) -> Result<BTreeMap<Month, Fence>, StoreError> {
    let Some(text) = row.text_opt("older")? else {
        return Ok(BTreeMap::new());
    };
    let parse = |part: &str| {
        let (month, fence) = part.split_once('=')?;
        Some((month.parse().ok()?, fence.parse().ok()?))
    };
    let named: Option<_> = text.split(',').map(parse).collect();
    named.ok_or_else(|| row.corrupt(format!("attribute older is '{text}'")))
}

/// The item of a month row.
pub fn encode(account: &Account, stored: &StoredRow) -> Item {
    let view = RowView {
        row: &stored.row,
        fence: stored.fence,
        lifetime: &stored.lifetime,
        older: &stored.older,
        superseded_by: stored.superseded_by,
    };
    encode_view(account, &view)
}

/// [`encode`] of what is borrowed. Attributes are put in by name, in order: an item is a sorted list.
pub fn encode_view(account: &Account, stored: &RowView<'_>) -> Item {
    let row = stored.row;
    let head = stored.superseded_by.is_none();
    let life = stored.lifetime;
    let number = |number: u64| Attr::N(number.into());
    let mut item = Item::with_capacity(ATTRIBUTES_MAX);
    item.insert("bonus", Attr::N(row.bonus.0.into()));
    item.insert("fence", Attr::S(stored.fence.to_string()));
    if head && let Some(at) = life.fiftieth_at {
        item.insert("fiftiethAt", Attr::N(at.0.into()));
    }
    let (hash, range) = table(account.kind).keys();
    item.insert(range.unwrap_or("month"), Attr::S(row.month.to_string()));
    if head && !stored.older.is_empty() {
        item.insert("older", Attr::S(older_text(stored.older)));
    }
    if head && account.kind == AccountKind::User {
        item.insert("services", number(life.services_used.into()));
        item.insert("spent", Attr::N(life.spent.0));
    }
    item.insert("stats", Attr::B(stats(row)));
    if head {
        item.insert("successes", number(life.successes));
    }
    if let Some(month) = stored.superseded_by {
        item.insert("supersededBy", Attr::S(month.to_string()));
    }
    item.insert(hash, Attr::S(account.id().to_owned()));
    item
}

/// The `stats` attribute of a month row.
fn stats(row: &MonthRow) -> Bytes {
    let stats = Stats {
        carry: row.carry,
        days: Cow::Borrowed(&row.days),
        services: Cow::Borrowed(&row.services),
        late: row.late,
        charge: row.charge,
    };
    if row.cascade.is_zero() {
        versioned(STATS_PLAIN, &stats)
    } else {
        versioned(STATS_WITH_LEVELS, &(stats, row.cascade))
    }
}

fn versioned(version: u8, stats: &impl Serialize) -> Bytes {
    // Nearly every row fits; then it takes one allocation of its own size.
    let mut bytes = [0; STATS_BYTES_USUAL];
    bytes[0] = version;
    if let Ok(written) = postcard::to_slice(stats, &mut bytes[1..]) {
        let size = 1 + written.len();
        return Bytes::copy_from_slice(&bytes[..size]);
    }
    let body = postcard::to_extend(stats, vec![version])
        .expect("writing integers and short texts into a growing buffer cannot fail");
    body.into()
}

fn read_stats(row: &Row<'_>, bytes: &[u8]) -> Result<(Stats<'static>, Cascade), StoreError> {
    let read = match bytes.split_first() {
        Some((&STATS_PLAIN, body)) => {
            postcard::from_bytes(body).map(|stats| (stats, Cascade::default()))
        }
        Some((&STATS_WITH_LEVELS, body)) => postcard::from_bytes(body),
        _ => {
            return Err(
                row.corrupt("attribute stats has an unknown version; a newer tidemark wrote it")
            );
        }
    };
    read.map_err(|e| row.corrupt(format!("attribute stats: {e}")))
}

/// The month row in an item.
pub fn decode(key: Key, item: &Item) -> Result<StoredRow, StoreError> {
    let row = Row::new(key.clone(), item);
    let month: Month = key.range.parse().map_err(|e| row.corrupt(format!("{e}")))?;
    let Some(Attr::B(bytes)) = item.get("stats") else {
        return Err(row.corrupt("attribute stats is missing or holds no bytes"));
    };
    let (stats, cascade) = read_stats(&row, bytes)?;
    Ok(StoredRow {
        row: MonthRow {
            month,
            carry: stats.carry,
            days: stats.days.into_owned(),
            services: stats.services.into_owned(),
            late: stats.late,
            charge: stats.charge,
            cascade,
            bonus: crate::domain::amount::Points(row.number("bonus")?),
        },
        fence: row.parsed("fence")?,
        lifetime: Lifetime {
            services_used: row.number_opt("services")?.unwrap_or(0),
            successes: row.number_opt("successes")?.unwrap_or(0),
            spent: crate::domain::amount::Money(row.number_opt("spent")?.unwrap_or(0)),
            fiftieth_at: row.number_opt("fiftiethAt")?.map(Millis),
        },
        older: parse_older(&row)?,
        superseded_by: match row.text_opt("supersededBy")? {
            Some(text) => Some(
                text.parse()
                    .map_err(|e| row.corrupt(format!("attribute supersededBy: {e}")))?,
            ),
            None => None,
        },
    })
}

/// The account and month of an item of an account table; `None` for an account item.
pub fn account_of(
    kind: AccountKind,
    item: &Item,
) -> Result<Option<(Account, StoredRow)>, StoreError> {
    let (hash, range) = table(kind).keys();
    let whole = Row::new(Key::new(table(kind), "?", "?"), item);
    let (id, range) = (whole.text(hash)?, whole.text(range.unwrap_or("month"))?);
    if range == ACCOUNT_ITEM {
        return Ok(None);
    }
    let key = Key::new(table(kind), id, range);
    let account =
        Account::new(kind, id).map_err(|e| whole.corrupt(format!("{}: {e}", key_text(&key))))?;
    Ok(Some((account, decode(key, item)?)))
}

fn months_query(
    account: &Account,
    from: &str,
    to: &str,
    descending: bool,
    limit: Option<u32>,
) -> Query {
    Query {
        table: table(account.kind),
        index: false,
        hash: account.id().to_owned(),
        range: RangeFilter::Between(from.to_owned(), to.to_owned()),
        descending,
        limit,
        after: None,
    }
}

/// The newest month row, and whether the account item was seen beside it or alone.
async fn newest(db: &dyn Db, account: &Account) -> Result<(Option<StoredRow>, bool), StoreError> {
    let page = db
        .query(&months_query(
            account,
            ACCOUNT_ITEM,
            AFTER_MONTHS,
            true,
            Some(1),
        ))
        .await?;
    match page.items.first() {
        None => Ok((None, false)),
        Some(item) => match account_of(account.kind, item)? {
            Some((_, row)) => Ok((Some(row), true)),
            None => Ok((None, true)),
        },
    }
}

/// What stands in the account's newest row, for learning what became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadNow {
    /// No row and no account item.
    Absent,
    /// The account item without a row: half of the first transaction was seen, or the rows were deleted.
    Bare,
    /// The newest row's fence.
    Fence(Fence),
}

/// Reads the newest row's fence.
pub async fn head_now(db: &dyn Db, account: &Account) -> Result<HeadNow, StoreError> {
    Ok(match newest(db, account).await? {
        (Some(row), _) => HeadNow::Fence(row.fence),
        (None, true) => HeadNow::Bare,
        (None, false) => HeadNow::Absent,
    })
}

/// In which order the rows of an account are read. There is one right order; the other is there for the simulator,
/// which must find that it is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOrder {
    /// The head, then the older rows that it names, compared with the fences that it names.
    HeadFirstMatched,
    /// The same without the comparison (breakage).
    HeadFirstUnmatched,
    /// The older rows before the head (breakage).
    OlderFirst,
}

/// Reads the head and the older rows that it names, once. A plain read may see half of a transaction:
/// that shows as [`Reading::Torn`].
pub async fn read(db: &dyn Db, account: &Account, order: ReadOrder) -> Result<Reading, StoreError> {
    let early = match order {
        ReadOrder::OlderFirst => match newest(db, account).await? {
            (Some(head), _) => Some(older_rows(db, account, &head).await?),
            (None, _) => None,
        },
        _ => None,
    };
    let head = match newest(db, account).await? {
        (Some(head), _) => head,
        (None, true) => {
            return Ok(Reading::Torn(
                "the account has an item but no month row".to_owned(),
            ));
        }
        (None, false) => return Ok(Reading::Absent),
    };
    if let Some(newer) = head.superseded_by {
        return Ok(Reading::Torn(format!(
            "the newest row is {}, which was superseded by {newer}",
            head.row.month
        )));
    }
    let older = match early {
        Some(rows) => rows,
        None => older_rows(db, account, &head).await?,
    };
    if let Some(what) = mismatch(&head, &older, order) {
        return Ok(Reading::Torn(what));
    }
    let older = older.into_values().map(|row| (row.row.month, row.row));
    let mut months: SortedMap<Month, MonthRow> = older.collect();
    let month = head.row.month;
    months.insert(month, head.row);
    Ok(Reading::Whole(Box::new(StoredAccount {
        head: StoredHead {
            month,
            fence: head.fence,
            older: head.older,
        },
        rows: AccountRows {
            lifetime: head.lifetime,
            months,
        },
    })))
}

/// How the older rows differ from what the head names.
fn mismatch(
    head: &StoredRow,
    older: &BTreeMap<Month, StoredRow>,
    order: ReadOrder,
) -> Option<String> {
    if order == ReadOrder::HeadFirstUnmatched {
        return None;
    }
    head.older
        .iter()
        .find_map(|(month, named)| match older.get(month) {
            None => Some(format!("row {month} is missing, the head names it")),
            Some(row) if row.fence != *named && order == ReadOrder::HeadFirstMatched => {
                Some(format!(
                    "row {month} has the fence {}, the head names {named}",
                    row.fence
                ))
            }
            Some(_) => None,
        })
}

/// Every row from the oldest named one up to the head. Not only the named ones: a streak is carried through all of them.
async fn older_rows(
    db: &dyn Db,
    account: &Account,
    head: &StoredRow,
) -> Result<BTreeMap<Month, StoredRow>, StoreError> {
    let Some((oldest, _)) = head.older.first_key_value() else {
        return Ok(BTreeMap::new());
    };
    let last = Month(head.row.month.0 - 1).to_string();
    let query = months_query(account, &oldest.to_string(), &last, false, None);
    let rows = month_rows(account, pages::all(db, query).await?)?;
    Ok(rows.into_iter().map(|row| (row.row.month, row)).collect())
}

/// The month rows among the items of an account.
fn month_rows(account: &Account, items: Vec<Item>) -> Result<Vec<StoredRow>, StoreError> {
    let mut rows = Vec::with_capacity(items.len());
    for item in items {
        if let Some((_, row)) = account_of(account.kind, &item)? {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The rows from the nearest one before `month` (a streak is carried from it) up to, not including, `before`, oldest first. Rows that the head does not
/// name any more are closed; what a torn reading might show here makes the next conditional write fail.
pub async fn rows_between(
    db: &dyn Db,
    account: &Account,
    month: Month,
    before: Month,
) -> Result<Vec<StoredRow>, StoreError> {
    let last = Month(before.0 - 1).to_string();
    let query = months_query(account, ACCOUNT_ITEM, &last, false, None);
    let mut rows = month_rows(account, pages::all(db, query).await?)?;
    let first = rows
        .iter()
        .rposition(|row| row.row.month < month)
        .unwrap_or(0);
    Ok(rows.split_off(first))
}

/// One month row, as a plain read.
pub async fn month(
    db: &dyn Db,
    account: &Account,
    month: Month,
) -> Result<Option<StoredRow>, StoreError> {
    let key = row_key(account, month);
    db.get(&key)
        .await?
        .map(|item| decode(key, &item))
        .transpose()
}
