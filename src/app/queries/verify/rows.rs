//! The stored rows of accounts, whole accounts at a time.

use std::collections::BTreeMap;

use crate::domain::ids::{Account, AccountKind};
use crate::domain::time::Month;
use crate::store::accounts::{self, StoredRow};
use crate::store::db::{Db, Item, StoreError};
use crate::store::marker;

/// All rows of one account.
#[derive(Clone, Debug, Default)]
pub(super) struct AccountRows {
    /// By month.
    pub(super) rows: BTreeMap<Month, StoredRow>,
    /// Rows that cannot be decoded, and why.
    pub(super) unreadable: Vec<(Month, String)>,
}

impl AccountRows {
    /// The months of all of them.
    pub(super) fn months(&self) -> impl Iterator<Item = Month> {
        let unreadable = self.unreadable.iter().map(|(month, _)| *month);
        self.rows.keys().copied().chain(unreadable)
    }
}

/// Reads the table of a kind of account, account by account.
pub(super) struct AccountScan<'d> {
    db: &'d dyn Db,
    kind: AccountKind,
    next: Option<Item>,
    is_begun: bool,
    /// Of the account whose rows are not known to be complete.
    open: Option<(Account, AccountRows)>,
}

impl<'d> AccountScan<'d> {
    pub(super) const fn new(db: &'d dyn Db, kind: AccountKind) -> AccountScan<'d> {
        AccountScan {
            db,
            kind,
            next: None,
            is_begun: false,
            open: None,
        }
    }

    /// The accounts of the next page; `None` after the last. The rows of one account come together.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<(Account, AccountRows)>>, StoreError> {
        if self.is_begun && self.next.is_none() {
            return Ok(self.open.take().map(|last| vec![last]));
        }
        let table = accounts::table(self.kind);
        let page = self.db.scan(table, self.next.take()).await?;
        (self.next, self.is_begun) = (page.next, true);
        let mut whole = Vec::new();
        for item in page.items {
            if marker::is_marker(table, &item) {
                continue;
            }
            let Some((account, month)) = accounts::whose(self.kind, &item)? else {
                continue;
            };
            if self.open.as_ref().is_none_or(|(open, _)| *open != account) {
                whole.extend(self.open.replace((account, AccountRows::default())));
            }
            let Some((_, rows)) = &mut self.open else {
                continue;
            };
            match accounts::account_of(self.kind, &item) {
                Ok(Some((_, row))) => drop(rows.rows.insert(month, row)),
                Ok(None) => {}
                Err(StoreError::Corrupt { what, .. }) => rows.unreadable.push((month, what)),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(whole))
    }
}
