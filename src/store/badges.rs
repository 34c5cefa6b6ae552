//! Badges that accounts have. Table Checkpoints:
//!
//! - grant: partition `badges#<kind>:<id>`, item `<badge id>`; written once and never deleted, so a
//!   badge is granted once, whoever finds first that it is earned.
//! - address: partition `badge#<address>`, item `badge`; in one transaction with the grant. Leads
//!   from the public address, which names no account, to the grant.
//! - for what accounts were looked through: partition `badges`, item `sweep`; how far that has come
//!   meanwhile: item `sweep-progress`.
//! - keys that sign credentials: partition `badge-keys`, see `keys`.

mod keys;

use serde::{Deserialize, Serialize};
use serde_json::json;

pub use keys::{
    PublicKey, SigningKey, Withdrawal, current_key, current_key_id, public_keys, rotate_key,
    withdraw_key,
};

use super::audit;
use super::awards::read_account;
use super::checkpoints::{self, Versioned};
use super::conditional::{Attempts, WriteOutcome};
use super::db::{Attr, Condition, Db, Item, Key, StoreError, Table, Write};
use super::pages;
use super::row::{Fields, Row};
use crate::domain::badges::{BadgeId, Evidence};
use crate::domain::ids::{Account, AccountKind};
use crate::domain::position::{Control, Position, WriteId};
use crate::domain::time::{Millis, Month};

/// How many random bytes a public address has.
pub const ADDRESS_BYTES: usize = 16;

/// The public address of a badge that somebody has: random, so that it tells nothing of the
/// account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BadgeAddress(pub [u8; ADDRESS_BYTES]);

/// The text is no address of a badge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address of a badge is 32 hexadecimal digits")]
pub struct NotABadgeAddress;

impl std::fmt::Display for BadgeAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut digits = [0; 2 * ADDRESS_BYTES];
        f.write_str(base16ct::lower::encode_str(&self.0, &mut digits)?)
    }
}

impl std::str::FromStr for BadgeAddress {
    type Err = NotABadgeAddress;

    fn from_str(text: &str) -> Result<BadgeAddress, NotABadgeAddress> {
        let mut bytes = [0; ADDRESS_BYTES];
        match base16ct::lower::decode(text, &mut bytes) {
            Ok(read) if read.len() == ADDRESS_BYTES => Ok(BadgeAddress(bytes)),
            _ => Err(NotABadgeAddress),
        }
    }
}

/// That an admin took a badge back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// When.
    pub at: Millis,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// A badge that an account was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who has it.
    pub account: Account,
    /// Which badge.
    pub badge: BadgeId,
    /// Where anybody can see it.
    pub address: BadgeAddress,
    /// When it was granted.
    pub granted_at: Millis,
    /// What earned it.
    pub evidence: Evidence,
    /// The newest posting in the rows that show it; `None`: final months or awards do.
    pub position: Option<Position>,
    /// The change of the rules by which it was granted.
    pub rules: Control,
    /// Whether it was taken back.
    pub revoked: Option<Revocation>,
    /// Names the last change of it.
    version: String,
}

impl Grant {
    /// A badge that is about to be granted. `write` was never given before.
    pub fn new(account: Account, badge: BadgeId, evidence: Evidence, write: WriteId) -> Grant {
        Grant {
            address: address_of(&account, &badge, write),
            account,
            badge,
            granted_at: Millis::default(),
            evidence,
            position: None,
            rules: Control::default(),
            revoked: None,
            version: "0".to_owned(),
        }
    }
}

/// An address that nobody can guess who does not know the random number that each worker draws.
fn address_of(account: &Account, badge: &BadgeId, write: WriteId) -> BadgeAddress {
    let text = format!("badge address\n{write}\n{account}\n{badge}");
    let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut address = [0; ADDRESS_BYTES];
    address.copy_from_slice(&hash.as_ref()[..ADDRESS_BYTES]);
    BadgeAddress(address)
}

fn grant_key(account: &Account, badge: &BadgeId) -> Key {
    Key::new(
        Table::Checkpoints,
        format!("badges#{account}"),
        badge.as_str(),
    )
}

fn address_key(address: BadgeAddress) -> Key {
    Key::new(Table::Checkpoints, format!("badge#{address}"), "badge")
}

/// The writes that grant a badge, unless the account has it: they belong into one transaction.
pub fn grant_writes(grant: &Grant) -> Vec<Write> {
    let address = Fields::of(&address_key(grant.address))
        .text("account", &grant.account)
        .text("badge", &grant.badge)
        .item();
    vec![
        put_grant(grant, Condition::Absent),
        Write::Put {
            table: Table::Checkpoints,
            item: address,
            condition: Condition::Absent,
        },
    ]
}

fn put_grant(grant: &Grant, condition: Condition) -> Write {
    let mut fields = Fields::of(&grant_key(&grant.account, &grant.badge))
        .text("account", &grant.account)
        .text("badge", &grant.badge)
        .text("address", grant.address)
        .number("grantedAt", grant.granted_at.0)
        .json("evidence", &grant.evidence)
        .number("rules", grant.rules.0)
        .text("version", &grant.version);
    if let Some(position) = grant.position {
        fields = fields.text("position", position);
    }
    if let Some(revoked) = &grant.revoked {
        fields = fields.json("revoked", revoked);
    }
    Write::Put {
        table: Table::Checkpoints,
        item: fields.item(),
        condition,
    }
}

fn read_grant(item: &Item) -> Result<Grant, StoreError> {
    let unknown = Row::new(Key::new(Table::Checkpoints, "badges#?", "?"), item);
    let account = read_account(&unknown, "account")?;
    let badge: BadgeId = unknown.parsed("badge")?;
    let row = Row::new(grant_key(&account, &badge), item);
    let revoked = match row.text_opt("revoked")? {
        Some(_) => Some(row.json("revoked")?),
        None => None,
    };
    Ok(Grant {
        address: row.parsed("address")?,
        granted_at: Millis(row.number("grantedAt")?),
        evidence: row.json("evidence")?,
        position: row.parsed_opt("position")?,
        rules: Control(row.number("rules")?),
        revoked,
        version: row.text("version")?.to_owned(),
        account,
        badge,
    })
}

/// Every badge that an account was ever granted, also those that were taken back; the first one
/// first.
pub async fn badges_of(db: &dyn Db, account: &Account) -> Result<Vec<Grant>, StoreError> {
    let query = pages::whole(Table::Checkpoints, format!("badges#{account}"));
    let items = pages::all(db, query).await?;
    let grants = items.iter().map(read_grant);
    let mut grants = grants.collect::<Result<Vec<Grant>, StoreError>>()?;
    grants.sort_by(|a, b| (a.granted_at, &a.badge).cmp(&(b.granted_at, &b.badge)));
    Ok(grants)
}

/// Which of some badges an account was ever granted, in their order.
pub async fn are_granted(
    db: &dyn Db,
    account: &Account,
    badges: &[&BadgeId],
) -> Result<Vec<bool>, StoreError> {
    let keys: Vec<Key> = badges
        .iter()
        .map(|badge| grant_key(account, badge))
        .collect();
    let items = db.batch_get(&keys).await?;
    Ok(items.iter().map(Option::is_some).collect())
}

/// A badge of an account.
pub async fn badge_of(
    db: &dyn Db,
    account: &Account,
    badge: &BadgeId,
) -> Result<Option<Grant>, StoreError> {
    let item = db.get(&grant_key(account, badge)).await?;
    item.as_ref().map(read_grant).transpose()
}

/// The badge at a public address.
pub async fn at_address(db: &dyn Db, address: BadgeAddress) -> Result<Option<Grant>, StoreError> {
    let key = address_key(address);
    let Some(item) = db.get(&key).await? else {
        return Ok(None);
    };
    let row = Row::new(key, &item);
    let account = read_account(&row, "account")?;
    let badge: BadgeId = row.parsed("badge")?;
    badge_of(db, &account, &badge).await
}

/// That a badge is to be taken back, or given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is taken back.
    pub revoke: bool,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub now: Millis,
    /// Names this decision; drawn at random.
    pub token: String,
}

/// Takes a badge back or gives it back, with an entry of the audit trail. What is as it shall be
/// stays so. `None`: the account was never granted it.
pub async fn decide(
    db: &dyn Db,
    account: &Account,
    badge: &BadgeId,
    decision: &Decision,
) -> Result<Option<Grant>, StoreError> {
    let mut attempts = Attempts::new(db);
    loop {
        let Some(grant) = badge_of(db, account, badge).await? else {
            return Ok(None);
        };
        if grant.revoked.is_some() == decision.revoke {
            return Ok(Some(grant));
        }
        let revocation = Revocation {
            at: decision.now,
            by: decision.by.clone(),
            reason: decision.reason.clone(),
        };
        let changed = Grant {
            revoked: decision.revoke.then_some(revocation),
            version: decision.token.clone(),
            ..grant.clone()
        };
        let unchanged = Condition::Equals("version", Attr::S(grant.version.clone()));
        let entry = audit::Entry {
            at: decision.now,
            action: if decision.revoke {
                "badges.revoke"
            } else {
                "badges.restore"
            }
            .to_owned(),
            subject: account.to_string(),
            by: decision.by.clone(),
            detail: json!({"badge": badge, "reason": decision.reason}),
        };
        let writes = vec![put_grant(&changed, unchanged), audit::write(&entry)];
        if attempts.write(writes).await? == WriteOutcome::Written {
            return Ok(Some(changed));
        }
    }
}

/// For what all accounts were looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Swept {
    /// The change that brought the badges.
    pub rules: Control,
    /// The newest final month; `None`: there was none.
    pub month: Option<Month>,
    /// How many accounts were passed over, because a row of theirs could not be read.
    #[serde(default)]
    pub unreadable: u64,
    /// When it was done; 0 before this was kept.
    #[serde(default)]
    pub at: Millis,
}

impl Swept {
    /// Whether it was done for no less.
    pub fn covers(&self, other: &Swept) -> bool {
        self.rules >= other.rules && self.month >= other.month
    }
}

/// How far looking through accounts has come, so that a restart goes on. Everything before it was
/// granted when it was written, so whoever writes it last is right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SweepProgress {
    /// The change that brought the badges.
    pub rules: Control,
    /// The newest final month.
    pub month: Option<Month>,
    /// How many accounts were passed over so far.
    pub unreadable: u64,
    /// What is next.
    pub stage: SweepStage,
}

/// What is next when accounts are looked through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SweepStage {
    /// The accounts of a kind, after the rows of this one, of which this is the last month.
    Accounts(AccountKind, Option<(String, Month)>),
    /// Referral links.
    Links,
    /// Leaderboards from this one on, month by month.
    Ranks(Month, AccountKind),
}

fn progress_key() -> Key {
    Key::new(Table::Checkpoints, "badges", "sweep-progress")
}

/// How far a sweep had come; `None`: there was none, or what is there is of another version, which
/// only means to begin anew.
pub async fn sweep_progress(db: &dyn Db) -> Result<Option<SweepProgress>, StoreError> {
    let key = progress_key();
    let item = db.get(&key).await?;
    Ok(item.and_then(|item| Row::new(key, &item).json("progress").ok()))
}

/// The write that notes how far a sweep has come.
pub fn sweep_progress_write(progress: &SweepProgress) -> Write {
    Write::Put {
        table: Table::Checkpoints,
        item: Fields::of(&progress_key())
            .json("progress", progress)
            .item(),
        condition: Condition::Always,
    }
}

fn sweep_key() -> Key {
    Key::new(Table::Checkpoints, "badges", "sweep")
}

/// For what accounts were looked through last; `None`: never.
pub async fn swept(db: &dyn Db) -> Result<Option<Versioned<Swept>>, StoreError> {
    checkpoints::get(db, &sweep_key()).await
}

/// The write that notes for what accounts were looked through, over what was read before.
pub fn swept_write(swept: &Swept, before: Option<WriteId>, write: WriteId) -> Write {
    checkpoints::put(&sweep_key(), swept, before, write)
}
