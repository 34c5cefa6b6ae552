//! Leaderboards of seasons that have ended. Table Checkpoints, partition `seasons`, an item per
//! season: written once, and never again.

use std::collections::BTreeSet;

use serde_json::json;

use super::audit;
use super::conditional::{Attempts, WriteOutcome};
use super::db::{Condition, Db, Key, StoreError, Table, Write};
use super::pages;
use super::row::{Fields, Row, key_text};
use crate::domain::time::Millis;

const PARTITION: &str = "seasons";

fn key(name: &str) -> Key {
    Key::new(Table::Checkpoints, PARTITION, name)
}

/// The leaderboards of a season as they were frozen; `None`: they were not.
pub async fn frozen(db: &dyn Db, name: &str) -> Result<Option<String>, StoreError> {
    let Some(item) = db.get(&key(name)).await? else {
        return Ok(None);
    };
    let row = Row::new(key(name), &item);
    Ok(Some(row.text("body")?.to_owned()))
}

/// What stands there cannot be understood.
pub fn unreadable(name: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt {
        key: key_text(&key(name)),
        what: error.to_string(),
    }
}

/// The names of all seasons that were frozen.
pub async fn names(db: &dyn Db) -> Result<BTreeSet<String>, StoreError> {
    let items = pages::all(db, pages::whole(Table::Checkpoints, PARTITION)).await?;
    let name = |item| Row::new(key("?"), item).text("item").map(str::to_owned);
    items.iter().map(name).collect()
}

/// Freezes the leaderboards of a season, with an entry of the audit trail, unless they were; what
/// stands there then.
pub async fn freeze(
    db: &dyn Db,
    name: &str,
    body: &str,
    by: &str,
    now: Millis,
) -> Result<String, StoreError> {
    let mut attempts = Attempts::new(db);
    loop {
        if let Some(frozen) = frozen(db, name).await? {
            return Ok(frozen);
        }
        let item = Fields::of(&key(name))
            .text("body", body)
            .number("frozenAt", now.0)
            .text("by", by)
            .item();
        let put = Write::Put {
            table: Table::Checkpoints,
            item,
            condition: Condition::Absent,
        };
        let entry = audit::Entry {
            at: now,
            action: "seasons.freeze".to_owned(),
            subject: name.to_owned(),
            by: by.to_owned(),
            detail: json!({"bytes": body.len()}),
        };
        let writes = vec![put, audit::write(&entry)];
        if attempts.write(writes).await? == WriteOutcome::Written {
            return Ok(body.to_owned());
        }
    }
}
