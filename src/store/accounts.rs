//! Account rows: a month of a user (`UserPoints`) or provider (`ProviderRewards`), and the
//! account's own item.
//!
//! The newest month row is the account's **head**. It holds the account's one fence and its
//! lifetime facts, and names the fences of the older rows that may still change. A write to any row
//! of the account carries the head's condition, so that of two workers that believe they own the
//! account only one can write; see ARCHITECTURE.md, "Post".
//!
//! Under the same partition key stands the **account item** (sort key [`ACCOUNT_ITEM`]). It is
//! written once, together with the first row: "there is no row of this month" would hold again in
//! the next month, "there is no account" holds once in a life.

mod reading;

pub(in crate::store) use reading::items_of;
pub use reading::{
    HeadNow, ReadOrder, Reading, StoredAccount, Torn, all_rows, head_now, month, read, rows_between,
};

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::db::{Attr, Condition, Item, Key, StoreError, Table, Write};
use super::row::{Row, key_text};
use crate::domain::event::Service;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::ledger::{
    ByService, Carry, DayStats, LateStats, Lifetime, MonthRow, Reversals, ServiceStats,
};
use crate::domain::position::Fence;
use crate::domain::posting::{Cascade, Charge};
use crate::domain::time::{Millis, Month};

/// Sort key of the account item; sorts before every month.
pub const ACCOUNT_ITEM: &str = "0000-00";
/// Sorts after every month.
const AFTER_MONTHS: &str = ":";
/// The versions of the binary statistics: without points from referrals by level (older rows, and
/// those that have none), with them behind the rest, with services that are not built in behind
/// those, and with what was reversed behind those. A row has the lowest that holds it.
const STATS_PLAIN: u8 = 1;
const STATS_WITH_LEVELS: u8 = 2;
const STATS_WITH_SERVICES: u8 = 3;
const STATS_WITH_REVERSALS: u8 = 4;
/// Versions that a later tidemark may write. Anything else is no version.
const STATS_NEWER_MIN: u8 = STATS_WITH_REVERSALS + 1;
const STATS_NEWER_MAX: u8 = 15;
/// What the statistics of nearly every month take, in bytes.
const STATS_BYTES_USUAL: usize = 512;
/// Most attributes of a month row.
const ATTRIBUTES_MAX: usize = 11;

/// The statistics of a month, as they stand in the `stats` attribute (postcard: LEB128 integers).
#[derive(Serialize, Deserialize)]
struct Stats<'a> {
    carry: Carry,
    days: Cow<'a, [(u8, DayStats)]>,
    /// Of the built-in services.
    services: Cow<'a, [ServiceStats; Service::DEFAULT_COUNT]>,
    late: LateStats,
    charge: Charge,
}

/// What was reversed, as it stands behind the statistics. Services are there by their numbers.
#[derive(Default, Serialize, Deserialize)]
struct StoredReversals {
    days: Vec<(u8, u64)>,
    services: Vec<(u8, u64)>,
    late: u64,
}

impl StoredReversals {
    fn of(reversals: &Reversals) -> StoredReversals {
        let numbered = |(service, count): &(Service, u64)| (service.number(), *count);
        StoredReversals {
            days: reversals.days.clone(),
            services: reversals.services.iter().map(numbered).collect(),
            late: reversals.late,
        }
    }

    /// `None`: something is out of order, or of an unknown service.
    fn reversals(self) -> Option<Option<Box<Reversals>>> {
        let numbered = |(number, count)| Some((Service::numbered(number)?, count));
        let services: Option<Vec<_>> = self.services.into_iter().map(numbered).collect();
        let reversals = Reversals {
            days: self.days,
            services: services?,
            late: self.late,
        };
        let days = reversals.days.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let mut services = reversals.services.windows(2);
        let services = services.all(|pair| pair[0].0 < pair[1].0);
        let found = (!reversals.is_empty()).then(|| Box::new(reversals));
        (days && services).then_some(found)
    }
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

/// A check that the row of `month` is the account's head still, and was last written with `fence`.
pub fn head_check(account: &Account, month: Month, fence: Fence) -> Write {
    Write::Check {
        key: row_key(account, month),
        condition: Condition::Equals("fence", Attr::S(fence.to_string())),
    }
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

/// The older rows that a row names, with their fences.
pub(super) fn parse_older(row: &Row<'_>) -> Result<BTreeMap<Month, Fence>, StoreError> {
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

/// [`encode`] of what is borrowed. Attributes are put in by name, in order: an item is a sorted
/// list.
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
        item.insert("services", number(life.services_used));
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
        services: Cow::Borrowed(row.services.defaults()),
        late: row.late,
        charge: row.charge,
    };
    let numbered = |(service, stats): &(Service, ServiceStats)| (service.number(), *stats);
    let added =
        || -> Vec<(u8, ServiceStats)> { row.services.added().iter().map(numbered).collect() };
    if let Some(reversals) = &row.reversals {
        versioned(
            STATS_WITH_REVERSALS,
            &(stats, row.cascade, added(), StoredReversals::of(reversals)),
        )
    } else if !row.services.added().is_empty() {
        versioned(STATS_WITH_SERVICES, &(stats, row.cascade, added()))
    } else if row.cascade.is_zero() {
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

/// What the `stats` attribute holds, in any version.
#[derive(Deserialize)]
struct ReadStats {
    stats: Stats<'static>,
    cascade: Cascade,
    /// What services have that are not built in, by their numbers.
    added: Vec<(u8, ServiceStats)>,
    reversals: StoredReversals,
}

fn read_stats(row: &Row<'_>, bytes: &[u8]) -> Result<ReadStats, StoreError> {
    let older = |stats, cascade, added| ReadStats {
        stats,
        cascade,
        added,
        reversals: StoredReversals::default(),
    };
    let read = match bytes.split_first() {
        Some((&STATS_PLAIN, body)) => {
            postcard::from_bytes(body).map(|stats| older(stats, Cascade::default(), Vec::new()))
        }
        Some((&STATS_WITH_LEVELS, body)) => {
            postcard::from_bytes(body).map(|(stats, cascade)| older(stats, cascade, Vec::new()))
        }
        Some((&STATS_WITH_SERVICES, body)) => {
            postcard::from_bytes(body).map(|(stats, cascade, added)| older(stats, cascade, added))
        }
        Some((&STATS_WITH_REVERSALS, body)) => postcard::from_bytes(body),
        Some((version @ (STATS_NEWER_MIN..=STATS_NEWER_MAX), _)) => {
            return Err(row.newer(format!("attribute stats has version {version}")));
        }
        _ => return Err(row.corrupt("attribute stats has an unknown version")),
    };
    read.map_err(|e| row.corrupt(format!("attribute stats: {e}")))
}

fn by_service(
    row: &Row<'_>,
    defaults: [ServiceStats; Service::DEFAULT_COUNT],
    added: Vec<(u8, ServiceStats)>,
) -> Result<ByService, StoreError> {
    let numbered = |(number, stats)| Some((Service::numbered(number)?, stats));
    let added: Option<Vec<_>> = added.into_iter().map(numbered).collect();
    added
        .and_then(|added| ByService::new(defaults, added))
        .ok_or_else(|| row.corrupt("attribute stats: services are out of order or unknown"))
}

/// The month row in an item.
pub fn decode(key: Key, item: &Item) -> Result<StoredRow, StoreError> {
    let row = Row::new(key.clone(), item);
    let month: Month = key.range.parse().map_err(|e| row.corrupt(format!("{e}")))?;
    let Some(Attr::B(bytes)) = item.get("stats") else {
        return Err(row.corrupt("attribute stats is missing or holds no bytes"));
    };
    let ReadStats {
        stats,
        cascade,
        added,
        reversals,
    } = read_stats(&row, bytes)?;
    Ok(StoredRow {
        row: MonthRow {
            month,
            carry: stats.carry,
            days: stats.days.into_owned(),
            services: by_service(&row, stats.services.into_owned(), added)?,
            late: stats.late,
            charge: stats.charge,
            cascade,
            bonus: crate::domain::amount::Points(row.number("bonus")?),
            reversals: reversals
                .reversals()
                .ok_or_else(|| row.corrupt("attribute stats: reversals are out of order"))?,
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

/// Whose row an item of an account table is, and of which month, whatever else it holds; `None` for
/// an item that is no month row.
pub fn whose(kind: AccountKind, item: &Item) -> Result<Option<(Account, Month)>, StoreError> {
    let (hash, range) = table(kind).keys();
    let whole = Row::new(Key::new(table(kind), "?", "?"), item);
    let (id, range) = (whole.text(hash)?, whole.text(range.unwrap_or("month"))?);
    let (Ok(account), Ok(month)) = (Account::new(kind, id), range.parse()) else {
        return Ok(None);
    };
    Ok(Some((account, month)))
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
