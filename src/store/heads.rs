//! An account's head alone, for readers: its newest month row, with the facts of its whole life.
//!
//! One query of one item. Whoever writes rows needs more than this and uses [`super::accounts::read`]; a reader of lifetime facts does not:
//! every write to any row of an account writes its head too, so the head is never behind the other rows.

use super::accounts::{StoredRow, account_of, table};
use super::db::{Db, Query, StoreError};
use super::pages;
use crate::domain::ids::Account;

/// How often half of a transaction is read again: its parts become visible within moments of each other.
const READS_MAX: u32 = 20;

/// The newest month row; `None` if the account has never been written.
///
/// Errors: [`StoreError::Unavailable`] if half of a transaction is all that can be seen; try again.
pub async fn newest(db: &dyn Db, account: &Account) -> Result<Option<StoredRow>, StoreError> {
    // The account item sorts before every month.
    let query = Query {
        descending: true,
        limit: Some(1),
        ..pages::whole(table(account.kind), account.id())
    };
    for _ in 0..READS_MAX {
        let page = db.query(&query).await?;
        let Some(item) = page.items.first() else {
            return Ok(None);
        };
        // A row that has been superseded, or no row beside the account item: the new head is being written.
        match account_of(account.kind, item)? {
            Some((_, row)) if row.superseded_by.is_none() => return Ok(Some(row)),
            _ => (),
        }
    }
    Err(StoreError::Unavailable(format!(
        "the rows of {account} change while they are read"
    )))
}
