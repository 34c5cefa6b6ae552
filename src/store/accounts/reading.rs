//! Reading an account's rows as a whole; see [`super`].

use std::collections::BTreeMap;

use super::{
    ACCOUNT_ITEM, AFTER_MONTHS, StoredHead, StoredRow, account_of, decode, row_key, table,
};
use crate::domain::ids::Account;
use crate::domain::ledger::{AccountRows, MonthRow};
use crate::domain::position::Fence;
use crate::domain::sorted::SortedMap;
use crate::domain::time::Month;
use crate::store::db::{Db, Item, Query, RangeFilter, StoreError};
use crate::store::pages;

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
    /// Half of a transaction, or a row is missing. Read again; if it stays so, the rows contradict
    /// each other.
    Torn(Torn),
}

/// How rows contradict each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// In words.
    pub what: String,
    /// A row is gone. Else all are there, but they were not written together.
    pub is_missing: bool,
}

impl Torn {
    fn missing(what: String) -> Torn {
        Torn {
            what,
            is_missing: true,
        }
    }

    fn unmatched(what: String) -> Torn {
        Torn {
            what,
            is_missing: false,
        }
    }
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

/// The newest item under an account's key: its newest month row, or its account item.
async fn newest_item(db: &dyn Db, account: &Account) -> Result<Option<Item>, StoreError> {
    let query = months_query(account, ACCOUNT_ITEM, AFTER_MONTHS, true, Some(1));
    Ok(db.query(&query).await?.items.into_iter().next())
}

/// The newest month row, and whether the account item was seen beside it or alone.
async fn newest(db: &dyn Db, account: &Account) -> Result<(Option<StoredRow>, bool), StoreError> {
    match newest_item(db, account).await? {
        None => Ok((None, false)),
        Some(item) => match account_of(account.kind, &item)? {
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
    /// The account item without a row: half of the first transaction was seen, or the rows were
    /// deleted.
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

/// In which order the rows of an account are read. There is one right order; the other is there for
/// the simulator, which must find that it is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOrder {
    /// The head, then the older rows that it names, compared with the fences that it names.
    HeadFirstMatched,
    /// The same without the comparison (breakage).
    HeadFirstUnmatched,
    /// The older rows before the head (breakage).
    OlderFirst,
}

/// Reads the head and the older rows that it names, once. A plain read may see half of a
/// transaction: that shows as [`Reading::Torn`].
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
            let what = "the account has an item but no month row".to_owned();
            return Ok(Reading::Torn(Torn::missing(what)));
        }
        (None, false) => return Ok(Reading::Absent),
    };
    if let Some(newer) = head.superseded_by {
        return Ok(Reading::Torn(Torn::missing(format!(
            "the newest row is {}, which was superseded by {newer}",
            head.row.month
        ))));
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
) -> Option<Torn> {
    if order == ReadOrder::HeadFirstUnmatched {
        return None;
    }
    head.older
        .iter()
        .find_map(|(month, named)| match older.get(month) {
            None => Some(Torn::missing(format!(
                "row {month} is missing, the head names it"
            ))),
            Some(row) if row.fence != *named && order == ReadOrder::HeadFirstMatched => {
                Some(Torn::unmatched(format!(
                    "row {month} has the fence {}, the head names {named}",
                    row.fence
                )))
            }
            Some(_) => None,
        })
}

/// Every row from the oldest named one up to the head. Not only the named ones: a streak is carried
/// through all of them.
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

/// The rows from the nearest one before `month` (a streak is carried from it) up to, not including,
/// `before`, oldest first. Rows that the head does not name any more are closed; what a torn
/// reading might show here makes the next conditional write fail.
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

/// Every item under an account's key, in order.
pub(in crate::store) async fn items_of(
    db: &dyn Db,
    account: &Account,
) -> Result<Vec<Item>, StoreError> {
    let query = months_query(account, ACCOUNT_ITEM, AFTER_MONTHS, false, None);
    pages::all(db, query).await
}

/// Every month row, oldest first.
pub async fn all_rows(db: &dyn Db, account: &Account) -> Result<Vec<StoredRow>, StoreError> {
    month_rows(account, items_of(db, account).await?)
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
