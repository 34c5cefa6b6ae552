//! UserCredits: what was added to a user's balance, one row per ledger entry, and their running
//! total.
//!
//! Rows, under the user's id: `balance` (total and count of the entries), `entry#<idempotency key>`,
//! and `at#<when>#<idempotency key>`, which says the same as the entry: the list by time, of which a
//! page is read without the rest. All are written in one transaction, so that the total is always
//! the sum of the entries, and the entry's own key makes it count once. The same transaction leaves
//! the entry of the audit trail. What was spent stands in the user's account rows; the balance is
//! added − spent.
//!
//! Versions of tidemark without the list write no rows of it. The balance row says how many entries
//! are in the list (`listed`); those versions write it without that attribute, so a list that is not
//! complete is known, and [`list_all`] completes it.

use serde_json::json;

use super::audit;
use super::conditional::{self, Attempts, WriteOutcome, write_once};
use super::db::{
    Attr, Condition, Db, Item, Key, Query, RangeFilter, StoreError, TRANSACTION_ITEMS_MAX, Table,
    Write,
};
use super::pages;
use super::row::{Fields, Row};
use crate::domain::amount::Money;
use crate::domain::ids::{IdError, check_id};
use crate::domain::text::{TextError, check_reason};
use crate::domain::time::Millis;

const BALANCE: &str = "balance";
const ENTRY: &str = "entry#";
const AT: &str = "at#";
const LISTED: &str = "listed";
/// How often a list is completed again because entries were added meanwhile.
const LISTINGS_MAX: u32 = 3;

/// One entry of a user's credit ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditEntry {
    /// Names it, so that a repeat counts once: 1 to 128 characters, unique per user.
    pub idempotency_key: String,
    /// How much; negative takes credit back.
    pub amount: Money,
    /// Why: 1 to 500 characters, see [`check_reason`].
    pub reason: String,
    /// Who.
    pub by: String,
    /// When.
    pub at: Millis,
}

/// The sum of a user's entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Their sum.
    pub total: Money,
    /// How many.
    pub entries: u64,
}

/// Why credit was not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreditError {
    /// The user's id or the idempotency key is no id.
    #[error("{what}: {error}")]
    Id {
        /// Which of them.
        what: &'static str,
        /// Why.
        error: IdError,
    },
    /// The key was used for another amount, or with another reason.
    #[error(
        "the idempotency key {key} was used for {before} USD with the reason '{reason}'; use a new key for another entry"
    )]
    KeyReused {
        /// The key.
        key: String,
        /// What was added under it.
        before: Money,
        /// Why.
        reason: String,
        /// When.
        at: Millis,
    },
    /// It would change nothing.
    #[error("the amount is 0, which changes nothing")]
    Zero,
    /// It is more than one entry may move.
    #[error("the amount is {0} USD; one entry moves at most 1,000,000 USD, up or down")]
    Amount(Money),
    /// The reason cannot be kept.
    #[error(transparent)]
    Reason(#[from] TextError),
    /// The total would leave its range.
    #[error("the balance would leave the range of money")]
    TooMuch,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The largest amount of one entry, up or down.
pub const AMOUNT_MAX: Money = Money(1_000_000 * 1_000_000_000);

/// An entry, as it stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booked {
    /// The sum of the user's entries, with it.
    pub added: Added,
    /// When it was added, if that was before this call.
    pub before: Option<Millis>,
}

/// The largest total, in nano-dollars: DynamoDB keeps 38 digits.
const TOTAL_MAX: i128 = 10i128.pow(37);

fn balance_key(user: &str) -> Key {
    Key::new(Table::UserCredits, user, BALANCE)
}

fn entry_key(user: &str, idempotency_key: &str) -> Key {
    Key::new(
        Table::UserCredits,
        user,
        format!("{ENTRY}{idempotency_key}"),
    )
}

/// The entry's place in the list: instants sort as their texts do.
fn listed_key(user: &str, at: Millis, idempotency_key: &str) -> Key {
    let range = format!("{AT}{at}#{idempotency_key}");
    Key::new(Table::UserCredits, user, range)
}

/// Adds credit once per user and idempotency key; returns the sum with it. The same key again
/// changes nothing if amount and reason are the same, and is refused if they are not.
pub async fn add(db: &dyn Db, user: &str, entry: &CreditEntry) -> Result<Added, CreditError> {
    Ok(book(db, user, entry).await?.added)
}

/// [`add`], which says whether the entry stood there before.
pub async fn book(db: &dyn Db, user: &str, entry: &CreditEntry) -> Result<Booked, CreditError> {
    check_texts(user, &entry.idempotency_key, &entry.reason)?;
    let keys = [balance_key(user), entry_key(user, &entry.idempotency_key)];
    let mut attempts = Attempts::new(db);
    let mut has_tried = false;
    loop {
        let items = db.batch_get(&keys).await?;
        let added = read_added(user, items[0].as_ref())?;
        if let Some(item) = &items[1] {
            let before = read_entry(user, item)?;
            let is_mine = has_tried && before == *entry;
            let at = same(entry, before)?;
            let before = (!is_mine).then_some(at);
            return Ok(Booked { added, before });
        }
        check_amount(entry.amount)?;
        let is_listed = is_list_complete(user, items[0].as_ref())?;
        let (after, writes) = add_writes(user, entry, added, is_listed)?;
        has_tried = true;
        if attempts.write(writes).await? == WriteOutcome::Written {
            return Ok(Booked {
                added: after,
                before: None,
            });
        }
    }
}

/// When the same was added before; or that it is something else under the same key.
fn same(entry: &CreditEntry, before: CreditEntry) -> Result<Millis, CreditError> {
    if before.amount == entry.amount && before.reason == entry.reason {
        return Ok(before.at);
    }
    Err(CreditError::KeyReused {
        key: before.idempotency_key,
        before: before.amount,
        reason: before.reason,
        at: before.at,
    })
}

/// Refuses what no entry may be, without the store: before a person is asked to confirm it.
pub fn check_entry(
    user: &str,
    idempotency_key: &str,
    reason: &str,
    amount: Money,
) -> Result<(), CreditError> {
    check_texts(user, idempotency_key, reason)?;
    check_amount(amount)
}

fn check_texts(user: &str, idempotency_key: &str, reason: &str) -> Result<(), CreditError> {
    check("user", user)?;
    check("idempotency key", idempotency_key)?;
    Ok(check_reason(reason)?)
}

/// What one entry may move. What was added before under its key is not asked.
fn check_amount(amount: Money) -> Result<(), CreditError> {
    match amount.0.unsigned_abs() {
        0 => Err(CreditError::Zero),
        nanos if nanos > AMOUNT_MAX.0.unsigned_abs() => Err(CreditError::Amount(amount)),
        _ => Ok(()),
    }
}

fn check(what: &'static str, id: &str) -> Result<(), CreditError> {
    check_id(id).map_err(|error| CreditError::Id { what, error })
}

fn add_writes(
    user: &str,
    entry: &CreditEntry,
    added: Added,
    is_listed: bool,
) -> Result<(Added, Vec<Write>), CreditError> {
    let after = Added {
        total: added
            .total
            .checked_plus(entry.amount)
            .map_err(|_| CreditError::TooMuch)?,
        entries: added.entries + 1,
    };
    if after.total.0.abs() > TOTAL_MAX || entry.amount.0.abs() > TOTAL_MAX {
        return Err(CreditError::TooMuch);
    }
    let condition = match added.entries {
        0 => Condition::Absent,
        entries => Condition::Equals("entries", Attr::N(i128::from(entries))),
    };
    let told = audit::write(&audit::Entry {
        at: entry.at,
        action: "credits.add".to_owned(),
        subject: format!("user:{user}"),
        by: entry.by.clone(),
        detail: json!({
            "amount": entry.amount.to_string(), "reason": entry.reason,
            "idempotencyKey": entry.idempotency_key,
        }),
    });
    let named = entry_key(user, &entry.idempotency_key);
    let listed = listed_key(user, entry.at, &entry.idempotency_key);
    let writes = vec![
        put(balance_item(user, after, is_listed), condition),
        put(entry_item(&named, entry), Condition::Absent),
        put(entry_item(&listed, entry), Condition::Always),
        told,
    ];
    Ok((after, writes))
}

fn put(item: Item, condition: Condition) -> Write {
    Write::Put {
        table: Table::UserCredits,
        item,
        condition,
    }
}

fn balance_item(user: &str, added: Added, is_listed: bool) -> Item {
    Fields::of(&balance_key(user))
        .number("added", added.total.0)
        .number("entries", added.entries)
        .number_opt(LISTED, is_listed.then_some(added.entries))
        .item()
}

fn entry_item(key: &Key, entry: &CreditEntry) -> Item {
    Fields::of(key)
        .number("amount", entry.amount.0)
        .text("reason", &entry.reason)
        .text("by", &entry.by)
        .number("at", entry.at.0)
        .item()
}

/// The sum of everything that was added for a user.
pub async fn added(db: &dyn Db, user: &str) -> Result<Added, StoreError> {
    read_added(user, db.get(&balance_key(user)).await?.as_ref())
}

/// A user's entries with these keys (no key twice), as far as there are such.
pub async fn entries<const N: usize>(
    db: &dyn Db,
    user: &str,
    keys: [&str; N],
) -> Result<[Option<CreditEntry>; N], StoreError> {
    let rows = db.batch_get(&keys.map(|key| entry_key(user, key))).await?;
    let mut entries = [const { None }; N];
    for (entry, row) in entries.iter_mut().zip(rows) {
        *entry = row.map(|row| read_entry(user, &row)).transpose()?;
    }
    Ok(entries)
}

/// Those of a user's entries that have one of these keys (no key twice), in no order.
pub async fn entries_with(
    db: &dyn Db,
    user: &str,
    keys: impl IntoIterator<Item = String>,
) -> Result<Vec<CreditEntry>, StoreError> {
    let keys: Vec<Key> = keys.into_iter().map(|key| entry_key(user, &key)).collect();
    let rows = db.batch_get(&keys).await?;
    let rows = rows.iter().flatten();
    rows.map(|row| read_entry(user, row)).collect()
}

/// A part of a user's ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerPage {
    /// The entries.
    pub entries: Vec<CreditEntry>,
    /// Whether there are more behind them.
    pub has_more: bool,
}

/// Which entry of a ledger comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerOrder {
    /// The oldest.
    OldestFirst,
    /// The newest.
    NewestFirst,
}

/// At most `limit` of a user's entries, those that come after the entry `after`. Reads one more.
/// Entries that older versions added are found only once [`list_all`] has listed them.
pub async fn page(
    db: &dyn Db,
    user: &str,
    order: LedgerOrder,
    after: Option<&CreditEntry>,
    limit: usize,
) -> Result<LedgerPage, StoreError> {
    let place = |entry: &CreditEntry| listed_key(user, entry.at, &entry.idempotency_key).item();
    let query = Query {
        range: RangeFilter::Prefix(AT.to_owned()),
        descending: order == LedgerOrder::NewestFirst,
        after: after.map(place),
        ..pages::whole(Table::UserCredits, user)
    };
    let found = pages::first(db, query, limit).await?;
    let entries = found.items.iter().map(|item| read_entry(user, item));
    Ok(LedgerPage {
        entries: entries.collect::<Result<_, _>>()?,
        has_more: !found.is_whole,
    })
}

/// Whether every entry of a user is in the list by time.
pub async fn is_listed(db: &dyn Db, user: &str) -> Result<bool, StoreError> {
    is_list_complete(user, db.get(&balance_key(user)).await?.as_ref())
}

/// Lists by time what older versions added to a user's credits. Reads and writes as much as there
/// is, once: from then on the balance says that the list is complete. Any number of processes may do
/// it at the same time, since an entry has one row of the list, which is the same whoever writes it.
pub async fn list_all(db: &dyn Db, user: &str) -> Result<(), StoreError> {
    for _ in 0..LISTINGS_MAX {
        let item = db.get(&balance_key(user)).await?;
        if is_list_complete(user, item.as_ref())? {
            return Ok(());
        }
        let added = read_added(user, item.as_ref())?;
        // A part of a transaction may not be seen yet: only a list of as many entries is complete.
        if list_entries(db, user).await? != added.entries {
            continue;
        }
        let unchanged = Condition::Equals("entries", Attr::N(i128::from(added.entries)));
        let complete = put(balance_item(user, added, true), unchanged);
        if write_once(db, vec![complete]).await? == WriteOutcome::Written {
            return Ok(());
        }
    }
    // Every entry of before is in the list; the next reader counts again.
    Ok(())
}

/// How many there are.
async fn list_entries(db: &dyn Db, user: &str) -> Result<u64, StoreError> {
    let mut query = Query {
        range: RangeFilter::Prefix(ENTRY.to_owned()),
        ..pages::whole(Table::UserCredits, user)
    };
    let mut count = 0;
    loop {
        let page = db.query(&query).await?;
        for items in page.items.chunks(TRANSACTION_ITEMS_MAX) {
            let mut writes = Vec::with_capacity(items.len());
            for item in items {
                let entry = read_entry(user, item)?;
                let key = listed_key(user, entry.at, &entry.idempotency_key);
                writes.push(put(entry_item(&key, &entry), Condition::Always));
            }
            count += writes.len() as u64;
            conditional::send(db, writes).await?;
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(count),
        }
    }
}

fn is_list_complete(user: &str, item: Option<&Item>) -> Result<bool, StoreError> {
    let Some(item) = item else { return Ok(true) };
    let row = Row::new(balance_key(user), item);
    let listed: Option<u64> = row.number_opt(LISTED)?;
    Ok(listed == Some(row.number("entries")?))
}

pub(in crate::store) fn read_added(user: &str, item: Option<&Item>) -> Result<Added, StoreError> {
    let Some(item) = item else {
        return Ok(Added::default());
    };
    let row = Row::new(balance_key(user), item);
    Ok(Added {
        total: Money(row.number("added")?),
        entries: row.number("entries")?,
    })
}

fn read_entry(user: &str, item: &Item) -> Result<CreditEntry, StoreError> {
    let unknown = Row::new(Key::new(Table::UserCredits, user, "?"), item);
    let name = unknown.text("entry")?;
    let row = Row::new(Key::new(Table::UserCredits, user, name), item);
    let listed = || Some(name.strip_prefix(AT)?.split_once('#')?.1);
    let key = name
        .strip_prefix(ENTRY)
        .or_else(listed)
        .ok_or_else(|| row.corrupt("it is not a ledger entry"))?;
    Ok(CreditEntry {
        idempotency_key: key.to_owned(),
        amount: Money(row.number("amount")?),
        reason: row.text("reason")?.to_owned(),
        by: row.text("by")?.to_owned(),
        at: Millis(row.number("at")?),
    })
}
