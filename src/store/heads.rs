//! An account's head alone, for readers: its newest month row, with the facts of its whole life.
//!
//! One query of one item. Whoever writes rows needs more than this and uses
//! [`super::accounts::read`]; a reader of lifetime facts does not: every write to any row of an
//! account writes its head too, so the head is never behind the other rows.

use super::accounts::{StoredRow, account_of, table};
use super::conditional::until_visible;
use super::db::{Db, Query, StoreError};
use super::pages;
use crate::domain::ids::Account;

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
    let read = || async {
        let page = db.query(&query).await?;
        let Some(item) = page.items.first() else {
            return Ok(Some(None));
        };
        // A row that has been superseded, or no row beside the account item: the new head is being
        // written.
        let row = account_of(account.kind, item)?.map(|(_, row)| row);
        Ok(row.filter(|row| row.superseded_by.is_none()).map(Some))
    };
    let found = until_visible(db, read).await?;
    found.ok_or_else(|| {
        StoreError::Unavailable(format!("the rows of {account} change while they are read"))
    })
}
