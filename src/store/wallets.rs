//! Wallets: the address to which an account's claims go.
//!
//! Rows, all in table Checkpoints, as the control feed is: tables that are restored to an earlier
//! moment never hold one without the other. Partition `wallet#<kind>:<id>`:
//! - `wallet`: what holds now, with the number of its entry in the control feed.
//! - `change#<number>`: one item per link and unlink, under that number.
//! - `nonce#<nonce>`: a message that was issued, until some time after it has expired.
//!
//! A link is one transaction: its entry in the control feed, the wallet row as it was read, the
//! change, the nonce from open to used, and an entry of the audit trail. After a lost answer the
//! token in the nonce's row tells whether it happened.

mod change;
mod nonces;

use std::collections::BTreeMap;

pub use change::{
    LINKS_PER_DAY_MAX, LinkError, LinkRefusal, LinkRequest, UnlinkRequest, link, unlink,
};
pub use nonces::{IssuedMessage, MESSAGES_MAX, StoredMessage, find_message, issue};

use super::control::{self, Change};
use super::db::{Attr, Condition, Db, Item, Key, Query, RangeFilter, StoreError, Table, Write};
use super::pages;
use super::row::{Fields, Row};
use crate::domain::ethereum::Address;
use crate::domain::ids::Account;
use crate::domain::position::Control;
use crate::domain::time::Millis;

/// Where an account's claims go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wallet {
    /// `None`: it was unlinked.
    pub address: Option<Address>,
    /// The entry of the control feed that made it so.
    pub control: Control,
    /// When.
    pub changed_at: Millis,
    /// Names the attempt that made it so.
    pub token: String,
}

/// A link or an unlink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletChange {
    /// The entry of the control feed.
    pub control: Control,
    /// When.
    pub at: Millis,
    /// The address from then on.
    pub address: Option<Address>,
    /// Who did it: a key, a token's subject, or the user of a command.
    pub by: String,
    /// Why, if that was said.
    pub reason: Option<String>,
    /// Whether an admin did it, not the account itself.
    pub by_admin: bool,
}

fn partition(account: &Account) -> String {
    format!("wallet#{account}")
}

fn key(account: &Account, item: impl Into<String>) -> Key {
    Key::new(Table::Checkpoints, partition(account), item)
}

fn wallet_key(account: &Account) -> Key {
    key(account, "wallet")
}

/// An account's wallet; `None` if it never had one.
pub async fn wallet_of(db: &dyn Db, account: &Account) -> Result<Option<Wallet>, StoreError> {
    let item = db.get(&wallet_key(account)).await?;
    item.map(|item| read_wallet(account, &item)).transpose()
}

/// The newest links and unlinks of an account, the newest first, at most `limit`.
pub async fn changes_of(
    db: &dyn Db,
    account: &Account,
    limit: u32,
) -> Result<Vec<WalletChange>, StoreError> {
    let query = Query {
        range: RangeFilter::Prefix(CHANGE.to_owned()),
        descending: true,
        limit: Some(limit),
        ..pages::whole(Table::Checkpoints, partition(account))
    };
    let page = db.query(&query).await?;
    let changes = page.items.iter().map(|item| read_change(account, item));
    changes.collect()
}

const CHANGE: &str = "change#";
/// The actor of a change that the account did not make itself.
const ADMIN: &str = "admin";

fn read_wallet(account: &Account, item: &Item) -> Result<Wallet, StoreError> {
    let row = Row::new(wallet_key(account), item);
    Ok(Wallet {
        address: row.parsed_opt("address")?,
        control: Control(row.number("control")?),
        changed_at: Millis(row.number("changedAt")?),
        token: row.text("token")?.to_owned(),
    })
}

fn put_wallet(account: &Account, wallet: &Wallet, before: Option<&Wallet>) -> Write {
    let fields = Fields::of(&wallet_key(account))
        .number("control", wallet.control.0)
        .number("changedAt", wallet.changed_at.0)
        .text("token", &wallet.token);
    Write::Put {
        table: Table::Checkpoints,
        item: with_address(fields, wallet.address).item(),
        condition: as_it_was(before),
    }
}

fn with_address(fields: Fields, address: Option<Address>) -> Fields {
    match address {
        Some(address) => fields.text("address", address),
        None => fields,
    }
}

/// Each change has a number of its own, so it says that the row is the one that was read.
fn as_it_was(wallet: Option<&Wallet>) -> Condition {
    match wallet {
        None => Condition::Absent,
        Some(wallet) => Condition::Equals("control", Attr::N(i128::from(wallet.control.0))),
    }
}

fn put_change(account: &Account, change: &WalletChange) -> Write {
    let fields = Fields::of(&key(account, format!("{CHANGE}{:020}", change.control.0)))
        .number("control", change.control.0)
        .number("at", change.at.0)
        .text("by", &change.by);
    let fields = match &change.reason {
        Some(reason) => fields.text("reason", reason),
        None => fields,
    };
    let fields = match change.by_admin {
        true => fields.text("actor", ADMIN),
        false => fields,
    };
    Write::Put {
        table: Table::Checkpoints,
        item: with_address(fields, change.address).item(),
        condition: Condition::Absent,
    }
}

fn read_change(account: &Account, item: &Item) -> Result<WalletChange, StoreError> {
    let row = Row::new(key(account, CHANGE), item);
    Ok(WalletChange {
        control: Control(row.number("control")?),
        at: Millis(row.number("at")?),
        address: row.parsed_opt("address")?,
        by: row.text("by")?.to_owned(),
        reason: row.text_opt("reason")?.map(str::to_owned),
        by_admin: row.text_opt("actor")? == Some(ADMIN),
    })
}

/// The wallet of every account that had one as of a position of the control feed.
///
/// Walks the whole feed; keeps an address per account in memory. Errors:
/// [`StoreError::Unavailable`] if an entry up to `position` stays invisible; try again later.
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
