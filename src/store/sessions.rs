//! Sessions that were ended before their time. Table Checkpoints, partition `ended-sessions`, one
//! item per session under the hash of its cookie.
//!
//! A cookie holds its session, so that no process keeps any; but whoever has copied one must not go
//! on with it after its owner has signed out. An item is of use until the session would have ended
//! by itself; each further sign-out takes some old ones away.

use super::db::{Condition, Db, Key, Query, RangeFilter, StoreError, Table, Write};
use super::row::{Fields, Row};
use crate::domain::time::Millis;

const PARTITION: &str = "ended-sessions";
/// How many old items a sign-out looks at: more than it adds.
const SWEPT: u32 = 10;

fn key(id: &str) -> Key {
    Key::new(Table::Checkpoints, PARTITION, id)
}

/// Ends a session that would have ended at `until`. Idempotent.
pub async fn end(db: &dyn Db, id: &str, until: Millis, now: Millis) -> Result<(), StoreError> {
    let item = Fields::of(&key(id)).number("until", until.0).item();
    db.write(Write::Put {
        table: Table::Checkpoints,
        item,
        condition: Condition::Always,
    })
    .await?;
    sweep(db, id, now).await
}

/// Whether a session was ended.
pub async fn has_ended(db: &dyn Db, id: &str) -> Result<bool, StoreError> {
    Ok(db.get(&key(id)).await?.is_some())
}

/// Takes away items behind `id` that are of no use any more. Ids are random, so every item has its
/// turn.
async fn sweep(db: &dyn Db, id: &str, now: Millis) -> Result<(), StoreError> {
    let query = Query {
        table: Table::Checkpoints,
        index: false,
        hash: PARTITION.to_owned(),
        range: RangeFilter::All,
        descending: false,
        limit: Some(SWEPT),
        after: Some(key(id).item()),
    };
    for item in db.query(&query).await?.items {
        let row = Row::new(key("?"), &item);
        let old = row.text("item")?.to_owned();
        let until: i64 = row.number("until")?;
        if until < now.0 {
            let condition = Condition::Always;
            let key = key(&old);
            db.write(Write::Delete { key, condition }).await?;
        }
    }
    Ok(())
}
