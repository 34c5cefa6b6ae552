//! Wallets: the address to which an account's claims go.

use std::collections::BTreeMap;

use super::control::{self, Change};
use super::db::{Db, StoreError};
use crate::domain::ethereum::Address;
use crate::domain::ids::Account;
use crate::domain::position::Control;

/// The wallet of every account that had one as of a position of the control feed.
///
/// Walks the whole feed; keeps an address per account in memory.
/// Errors: [`StoreError::Unavailable`] if an entry up to `position` stays invisible; try again later.
pub async fn as_of(
    db: &dyn Db,
    position: Control,
) -> Result<BTreeMap<Account, Address>, StoreError> {
    let mut newest: BTreeMap<Account, (Control, Option<Address>)> = BTreeMap::new();
    let mut take = |number: Control, change: Change| {
        if let Change::Wallet { account, address } = change {
            let held = newest.entry(account).or_insert((number, address));
            if held.0 <= number {
                *held = (number, address);
            }
        }
    };
    let mut next = Control(1);
    let mut unseen: Vec<Control> = Vec::new();
    control::walk(db, |entry| {
        if entry.number <= position {
            unseen.extend((next.0..entry.number.0).map(Control));
            next = Control(entry.number.0 + 1);
            take(entry.number, entry.change);
        }
    })
    .await?;
    // A query may not show yet what was written just now.
    unseen.extend((next.0..=position.0).map(Control));
    for number in unseen {
        for entry in control::entries(db, Control(number.0 - 1), number).await? {
            take(entry.number, entry.change);
        }
    }
    Ok(newest
        .into_iter()
        .filter_map(|(account, (_, address))| Some((account, address?)))
        .collect())
}
