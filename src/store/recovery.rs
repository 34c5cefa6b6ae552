//! The note that `tidemark recover` is at work: once rate checkpoints are rolled forward, nothing
//! else shows that it was broken off.

use super::db::{Condition, Db, Key, StoreError, Table, Write};

fn key() -> Key {
    Key::new(Table::Checkpoints, "recovery", "begun")
}

/// Notes that a recovery has begun to change tables.
pub async fn begin(db: &dyn Db) -> Result<(), StoreError> {
    db.write(Write::Put {
        table: Table::Checkpoints,
        item: key().item(),
        condition: Condition::Always,
    })
    .await
}

/// Notes that it has come to its end.
pub async fn end(db: &dyn Db) -> Result<(), StoreError> {
    db.write(Write::Delete {
        key: key(),
        condition: Condition::Always,
    })
    .await
}

/// Whether a recovery was broken off.
pub async fn is_begun(db: &dyn Db) -> Result<bool, StoreError> {
    Ok(db.get(&key()).await?.is_some())
}
