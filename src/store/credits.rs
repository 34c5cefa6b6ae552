//! UserCredits: what was added to a user's balance, one row per ledger entry, and their running
//! total.
//!
//! Rows, under the user's id: `balance` (total and count of the entries) and `entry#<idempotency
//! key>`. Both are written in one transaction, so that the total is always the sum of the entries,
//! and the entry's own key makes it count once. The same transaction leaves the entry of the audit
//! trail. What was spent stands in the user's account rows; the balance is added − spent.

use serde_json::json;

use super::audit;
use super::conditional::{Attempts, WriteOutcome};
use super::db::{Attr, Condition, Db, Item, Key, Query, RangeFilter, StoreError, Table, Write};
use super::pages;
use super::row::{Fields, Row};
use crate::domain::amount::Money;
use crate::domain::ids::{IdError, check_id};
use crate::domain::text::{TextError, check_reason};
use crate::domain::time::Millis;

const BALANCE: &str = "balance";
const ENTRY: &str = "entry#";

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
        let (after, writes) = add_writes(user, entry, added)?;
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
    let balance = Fields::of(&balance_key(user))
        .number("added", after.total.0)
        .number("entries", after.entries);
    let row = Fields::of(&entry_key(user, &entry.idempotency_key))
        .number("amount", entry.amount.0)
        .text("reason", &entry.reason)
        .text("by", &entry.by)
        .number("at", entry.at.0);
    let put = |item: Item, condition| Write::Put {
        table: Table::UserCredits,
        item,
        condition,
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
    let writes = vec![
        put(balance.item(), condition),
        put(row.item(), Condition::Absent),
        told,
    ];
    Ok((after, writes))
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

/// A user's entries, oldest first.
pub async fn ledger(db: &dyn Db, user: &str) -> Result<Vec<CreditEntry>, StoreError> {
    let query = Query {
        range: RangeFilter::Prefix(ENTRY.to_owned()),
        ..pages::whole(Table::UserCredits, user)
    };
    let items = pages::all(db, query).await?;
    let mut entries = items
        .iter()
        .map(|item| read_entry(user, item))
        .collect::<Result<Vec<CreditEntry>, StoreError>>()?;
    entries.sort_by(|a, b| (a.at, &a.idempotency_key).cmp(&(b.at, &b.idempotency_key)));
    Ok(entries)
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
    let key = name
        .strip_prefix(ENTRY)
        .ok_or_else(|| row.corrupt("it is not a ledger entry"))?;
    Ok(CreditEntry {
        idempotency_key: key.to_owned(),
        amount: Money(row.number("amount")?),
        reason: row.text("reason")?.to_owned(),
        by: row.text("by")?.to_owned(),
        at: Millis(row.number("at")?),
    })
}
