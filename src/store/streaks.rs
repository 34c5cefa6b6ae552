//! StreakTracking: a snapshot of each account's streak, derived from its rows. Written only over
//! snapshots of the same or an earlier position, so that a worker that slept cannot put an old one
//! back.

use super::db::{Attr, Condition, Db, Item, Key, StoreError, Table, Write};
use super::row::{Fields, Row};
use crate::domain::ids::Account;
use crate::domain::position::Position;
use crate::domain::statement::Streak;
use crate::domain::time::Day;

fn key(account: &Account) -> Key {
    Key::new(Table::StreakTracking, account.id(), account.kind.as_str())
}

/// The write of a snapshot as of `position`.
pub fn put(account: &Account, streak: &Streak, position: Position) -> Write {
    let days = [("start", streak.start), ("lastActive", streak.last_active)];
    let mut fields = Fields::of_owned(key(account))
        .number("current", streak.current)
        .number("longest", streak.longest)
        .text("position", position);
    for (name, day) in days {
        if let Some(day) = day {
            fields = fields.text(name, day);
        }
    }
    let condition = Condition::AbsentOrAtMost("position", Attr::S(position.to_string()));
    Write::Put {
        table: Table::StreakTracking,
        item: fields.item(),
        condition,
    }
}

/// The snapshot of an account; `None` if it never had an active day.
pub async fn get(db: &dyn Db, account: &Account) -> Result<Option<Streak>, StoreError> {
    let key = key(account);
    let item = db.get(&key).await?;
    item.map(|item| decode_streak(key, &item)).transpose()
}

/// The snapshots of several accounts, in their order (none twice).
pub async fn of_all(db: &dyn Db, accounts: &[Account]) -> Result<Vec<Option<Streak>>, StoreError> {
    let keys: Vec<Key> = accounts.iter().map(key).collect();
    let items = db.batch_get(&keys).await?;
    let found = keys.into_iter().zip(items);
    found
        .map(|(key, item)| item.map(|item| decode_streak(key, &item)).transpose())
        .collect()
}

fn decode_streak(key: Key, item: &Item) -> Result<Streak, StoreError> {
    let row = Row::new(key, item);
    let day = |name| -> Result<Option<Day>, StoreError> {
        let Some(text) = row.text_opt(name)? else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|e| row.corrupt(format!("attribute {name}: {e}")))
    };
    Ok(Streak {
        current: row.number("current")?,
        longest: row.number("longest")?,
        start: day("start")?,
        last_active: day("lastActive")?,
    })
}
