//! Whole tables, page by page: for sums over everybody, which no row holds. They cost what the tables weigh, so nobody asks for them per request.

use super::accounts::{self, StoredRow};
use super::credits;
use super::db::{Db, Key, StoreError, Table};
use super::pages;
use super::referrals::{self, Link};
use super::row::Row;
use crate::domain::amount::Money;
use crate::domain::ids::{Account, AccountKind};

/// The sort key of a user's running total, in table UserCredits.
const BALANCE: &str = "balance";

/// Every month row of a kind of account; those of one account come together, the oldest first.
pub async fn rows(
    db: &dyn Db,
    kind: AccountKind,
    mut each: impl FnMut(Account, StoredRow) + Send,
) -> Result<(), StoreError> {
    pages::scan(db, accounts::table(kind), |item| {
        if let Some((account, row)) = accounts::account_of(kind, &item)? {
            each(account, row);
        }
        Ok(())
    })
    .await
}

/// Every referral link.
pub async fn links(db: &dyn Db, mut each: impl FnMut(Link) + Send) -> Result<(), StoreError> {
    pages::scan(db, Table::ReferralRelationships, |item| {
        each(referrals::read_own_link(&item)?);
        Ok(())
    })
    .await
}

/// How many referral codes there are.
pub async fn codes(db: &dyn Db) -> Result<u64, StoreError> {
    let mut count = 0;
    pages::scan(db, Table::ReferralCodes, |_| {
        count += 1;
        Ok(())
    })
    .await?;
    Ok(count)
}

/// What was added to the credits of each user who ever had any.
pub async fn credits(
    db: &dyn Db,
    mut each: impl FnMut(&str, Money) + Send,
) -> Result<(), StoreError> {
    let (hash, range) = Table::UserCredits.keys();
    pages::scan(db, Table::UserCredits, |item| {
        let row = Row::new(Key::new(Table::UserCredits, "?", "?"), &item);
        if row.text(range.unwrap_or("entry"))? == BALANCE {
            let user = row.text(hash)?;
            each(user, credits::read_added(user, Some(&item))?.total);
        }
        Ok(())
    })
    .await
}
