//! The control feed: one append-only sequence through which every change of rules and referrals
//! goes, so that "what was known as of position `v`" means the same to every rater, now and in a
//! replay.
//!
//! Rows, all in table Checkpoints under partition `control`:
//! - `head`: the number of the newest entry, and the number of the newest entry that changed rules.
//! - one item per entry, under its zero-padded number.
//!
//! An entry is written in one transaction with the head's move from `n` to `n + 1` and with the row
//! that it is about; an import writes several, and moves the head by as many. The entry's own key makes each number a register that is written once: after a
//! lost answer, whose token stands in entry `n + 1` tells whether the transaction happened or did
//! not; while the head still says `n` it may be tried again as it was, because of two attempts at
//! the same number only one can win.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::conditional::{Attempts, WriteOutcome, read_again, until_visible};
use super::db::{Attr, Condition, Db, Item, Key, Query, RangeFilter, StoreError, Table, Write};
use super::pages;
use super::row::{Fields, Row};
use crate::domain::ethereum::Address;
use crate::domain::ids::Account;
use crate::domain::position::Control;
use crate::domain::rules::RuleChange;
use crate::domain::time::Millis;

const PARTITION: &str = "control";
const HEAD: &str = "head";

/// What an entry changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// New versions of prices or rules.
    Rules(Vec<RuleChange>),
    /// A referral link.
    Link {
        /// Who got a referrer.
        referee: Account,
        /// The referrer, the referrer's referrer, and theirs, as they were at that moment.
        chain: Vec<Account>,
    },
    /// The wallet to which an account's claims go from then on.
    Wallet {
        /// Whose.
        account: Account,
        /// `None`: from then on it has none.
        address: Option<Address>,
    },
}

/// One entry of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place: 1, 2, 3, …
    pub number: Control,
    /// When its writer said it was written.
    pub written_at: Millis,
    /// Names the attempt that wrote it; unique.
    pub token: String,
    /// What it changed.
    pub change: Change,
}

/// The feed's newest numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The newest entry; 0 before the first.
    pub number: Control,
    /// The newest entry that changed rules; 0 before the first.
    pub rules: Control,
}

fn head_key() -> Key {
    Key::new(Table::Checkpoints, PARTITION, HEAD)
}

fn entry_key(number: Control) -> Key {
    Key::new(Table::Checkpoints, PARTITION, format!("{:020}", number.0))
}

/// The number of the feed's newest entry, strongly consistent; 0 before the first.
pub async fn head(db: &dyn Db) -> Result<Control, StoreError> {
    Ok(full_head(db).await?.number)
}

/// The feed's head with the newest rules entry.
pub async fn full_head(db: &dyn Db) -> Result<Head, StoreError> {
    read_head(db.get(&head_key()).await?.as_ref())
}

/// The key of the head, for those who read it together with other rows.
pub(super) fn key_of_head() -> Key {
    head_key()
}

/// Reads the head's item.
pub(super) fn read_head(item: Option<&Item>) -> Result<Head, StoreError> {
    let Some(item) = item else {
        return Ok(Head::default());
    };
    let row = Row::new(head_key(), item);
    Ok(Head {
        number: Control(row.number("number")?),
        rules: Control(row.number("rules")?),
    })
}

/// The entries with `after < number ≤ up_to`, in order. `up_to` must have been seen as the head (or
/// below it).
///
/// They are read by number; one that is not visible yet is read again a bounded number of times.
/// Errors: [`StoreError::Unavailable`] when one stays away; try again later.
pub async fn entries(
    db: &dyn Db,
    after: Control,
    up_to: Control,
) -> Result<Vec<Entry>, StoreError> {
    let mut found = Vec::new();
    let mut missing: Vec<u64> = (after.0 + 1..=up_to.0).collect();
    let mut retry = read_again(db);
    while !missing.is_empty() {
        let keys: Vec<Key> = missing.iter().map(|n| entry_key(Control(*n))).collect();
        let items = db.batch_get(&keys).await?;
        let mut left = Vec::new();
        for (number, item) in missing.into_iter().zip(items) {
            match item {
                Some(item) => found.push(read_entry(Control(number), &item)?),
                None => left.push(number),
            }
        }
        missing = left;
        if let Some(number) = missing.first()
            && !retry.again().await
        {
            return Err(StoreError::Unavailable(format!(
                "entry {number} of the control feed is not visible yet"
            )));
        }
    }
    found.sort_by_key(|entry| entry.number);
    Ok(found)
}

/// Shows every entry in the table, in order; also entries beyond the head. One that is not visible
/// yet is left out.
pub(in crate::store) async fn walk(
    db: &dyn Db,
    mut each: impl FnMut(Entry) + Send,
) -> Result<(), StoreError> {
    let (first, last) = (entry_key(Control(0)), entry_key(Control(u64::MAX)));
    let mut query = Query {
        range: RangeFilter::Between(first.range, last.range),
        ..pages::whole(Table::Checkpoints, PARTITION)
    };
    loop {
        let page = db.query(&query).await?;
        for item in &page.items {
            let row = Row::new(entry_key(Control(0)), item);
            each(read_entry(Control(row.parsed("item")?), item)?);
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(()),
        }
    }
}

/// The entry of a number; `None`: there is none. It is read again for a while.
pub(in crate::store) async fn find(
    db: &dyn Db,
    number: Control,
) -> Result<Option<Entry>, StoreError> {
    let key = entry_key(number);
    let item = until_visible(db, || db.get(&key)).await?;
    item.map(|item| read_entry(number, &item)).transpose()
}

/// The write that removes an entry beyond the head.
pub(in crate::store) fn delete_entry(number: Control) -> (Key, Condition) {
    (entry_key(number), Condition::Present)
}

fn read_entry(number: Control, item: &Item) -> Result<Entry, StoreError> {
    let row = Row::new(entry_key(number), item);
    Ok(Entry {
        number,
        written_at: Millis(row.number("writtenAt")?),
        token: row.text("token")?.to_owned(),
        change: row.json("change")?,
    })
}

/// The writes that append an entry after `head`; they belong into one transaction with the row that
/// it is about. The entry gets the number after the head's.
pub fn append_writes(head: Head, written_at: Millis, token: &str, change: &Change) -> [Write; 2] {
    let number = next(head);
    let rules = match change {
        Change::Rules(_) => number,
        Change::Link { .. } | Change::Wallet { .. } => head.rules,
    };
    [
        entry_write(number, written_at, token, change),
        move_write(head, Head { number, rules }),
    ]
}

/// The write of one entry. In the same transaction the head must come to count it
/// ([`move_write`]), with all entries up to it.
pub(in crate::store) fn entry_write(
    number: Control,
    written_at: Millis,
    token: &str,
    change: &Change,
) -> Write {
    let entry = Fields::of(&entry_key(number))
        .number("writtenAt", written_at.0)
        .text("token", token)
        .json("change", change);
    Write::Put {
        table: Table::Checkpoints,
        item: entry.item(),
        condition: Condition::Absent,
    }
}

/// The write that moves the head, if it stands where it was seen.
pub(in crate::store) fn move_write(from: Head, to: Head) -> Write {
    let moved = Fields::of(&head_key())
        .number("number", to.number.0)
        .number("rules", to.rules.0);
    Write::Put {
        table: Table::Checkpoints,
        item: moved.item(),
        condition: stands_at(from),
    }
}

/// The token of entries whose content was lost with the tables: they change nothing.
const VOID: &str = "void";
/// How many of them are written in one transaction.
const VOID_ENTRIES_MAX: u64 = 90;

/// Moves the head to `up_to` at least, over entries that change nothing. After tables were restored
/// to an earlier moment this keeps the numbers from being used again that the log knows already.
/// `audit` goes with the first write.
pub async fn append_void(
    db: &dyn Db,
    up_to: Control,
    written_at: Millis,
    audit: Write,
) -> Result<(), StoreError> {
    let mut audit = Some(audit);
    let mut attempts = Attempts::new(db);
    loop {
        let head = full_head(db).await?;
        if head.number >= up_to {
            return Ok(());
        }
        let last = up_to.0.min(head.number.0 + VOID_ENTRIES_MAX);
        let nothing = Change::Rules(Vec::new());
        let entry = |number| entry_write(Control(number), written_at, VOID, &nothing);
        let mut writes: Vec<Write> = (head.number.0 + 1..=last).map(entry).collect();
        let moved = Head {
            number: Control(last),
            ..head
        };
        writes.push(move_write(head, moved));
        writes.extend(audit.clone());
        if attempts.write(writes).await? == WriteOutcome::Written {
            audit = None;
        }
    }
}

/// Which of these entries, none of them above the head, are void.
pub async fn void_among(
    db: &dyn Db,
    numbers: &BTreeSet<Control>,
) -> Result<BTreeSet<Control>, StoreError> {
    let keys: Vec<Key> = numbers.iter().map(|number| entry_key(*number)).collect();
    let items = db.batch_get(&keys).await?;
    let mut void = BTreeSet::new();
    for (number, item) in numbers.iter().zip(items) {
        if let Some(item) = item
            && read_entry(*number, &item)?.token == VOID
        {
            void.insert(*number);
        }
    }
    Ok(void)
}

/// The number of the entry that follows `head`.
pub const fn next(head: Head) -> Control {
    Control(head.number.0 + 1)
}

fn stands_at(head: Head) -> Condition {
    match head.number {
        Control(0) => Condition::Absent,
        Control(number) => Condition::Equals("number", Attr::N(i128::from(number))),
    }
}

/// Whether the append that tried to become entry `number` under `token` is the one that did, asked
/// with a head that was read after the try. `false` while the head is below `number`: the try may
/// still be on its way, but a repeat with the same number is safe, for only one of both can win.
/// Decide again from fresh reads then, as when it was somebody else's.
pub async fn happened(
    db: &dyn Db,
    number: Control,
    head: Head,
    token: &str,
) -> Result<bool, StoreError> {
    if head.number < number {
        return Ok(false);
    }
    let before = Control(number.0 - 1);
    let written = entries(db, before, number).await?;
    Ok(written.iter().any(|entry| entry.token == token))
}

/// Returns when the head counts entry `number`, which was written: whatever is rated from now on
/// sees it. A transaction's parts become visible within moments of each other.
///
/// Errors: [`StoreError::Unavailable`] if it does not; it is written all the same, and a repeat
/// under the same token finds it.
pub(in crate::store) async fn until_counted(
    db: &dyn Db,
    number: Control,
) -> Result<(), StoreError> {
    match is_counted(db, number).await? {
        true => Ok(()),
        false => Err(StoreError::Unavailable(format!(
            "entry {number} of the control feed is written, but its head does not count it yet"
        ))),
    }
}

/// Whether the head counts an entry that was seen, or a row of it. It is read again for a while.
pub(in crate::store) async fn is_counted(db: &dyn Db, number: Control) -> Result<bool, StoreError> {
    let counted = || async { Ok((head(db).await? >= number).then_some(())) };
    Ok(until_visible(db, counted).await?.is_some())
}
