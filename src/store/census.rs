//! Whole tables, page by page: for sums over everybody, which no row holds. They cost what the
//! tables weigh, so nobody asks for them per request.

use super::accounts::{self, StoredRow};
use super::credits;
use super::db::{Db, Key, StoreError, Table};
use super::pages;
use super::referrals::{self, Link};
use super::row::Row;
use crate::domain::amount::Money;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::position::Fence;

/// The sort key of a user's running total, in table UserCredits.
const BALANCE: &str = "balance";

/// Every month row of a kind of account that can be decoded; those of one account come together,
/// the oldest first. How many cannot.
pub async fn rows(
    db: &dyn Db,
    kind: AccountKind,
    mut each: impl FnMut(Account, StoredRow) + Send,
) -> Result<u64, StoreError> {
    let mut unreadable = 0;
    pages::scan(db, accounts::table(kind), |item| {
        match accounts::account_of(kind, &item) {
            Ok(Some((account, row))) => each(account, row),
            Ok(None) => {}
            Err(StoreError::Corrupt { .. }) => unreadable += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    })
    .await?;
    Ok(unreadable)
}

/// The fence of every month row of a kind of account, whatever else the row holds; `None` if that
/// cannot be read either. Those of one account come together.
pub async fn fences(
    db: &dyn Db,
    kind: AccountKind,
    mut each: impl FnMut(Account, Option<Fence>) + Send,
) -> Result<(), StoreError> {
    pages::scan(db, accounts::table(kind), |item| {
        if let Some((account, month)) = accounts::whose(kind, &item)? {
            let key = Key::new(accounts::table(kind), account.id(), month.to_string());
            each(account, Row::new(key, &item).parsed("fence").ok());
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
