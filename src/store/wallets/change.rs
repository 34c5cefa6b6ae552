//! Links and unlinks.

use serde_json::json;

use super::nonces::{self, StoredMessage, nonce_key};
use super::{
    Wallet, WalletChange, as_it_was, changes_of, put_change, put_wallet, read_wallet, wallet_key,
};
use crate::domain::ethereum::Address;
use crate::domain::ids::Account;
use crate::domain::time::{DAY_MS, Millis};
use crate::store::audit;
use crate::store::conditional::{Attempts, WriteOutcome};
use crate::store::control::{self, Change, Head};
use crate::store::db::{Db, StoreError, Write};

/// How many links of an account there may be within 24 hours. Each is an entry of the control feed,
/// which every rater reads and which is kept for good.
pub const LINKS_PER_DAY_MAX: usize = 10;

/// A link to be made, whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRequest {
    /// Whose claims.
    pub account: Account,
    /// Where they go.
    pub address: Address,
    /// The nonce of the message that was signed.
    pub nonce: String,
    /// When.
    pub now: Millis,
    /// Names this link; unique (random). A repeat with the same token finds the first one's work
    /// and returns it.
    pub token: String,
    /// Who does it, for the audit trail.
    pub by: String,
    /// Why, if that is said.
    pub reason: Option<String>,
    /// Whether an admin does it, not the account itself.
    pub by_admin: bool,
}

/// A wallet to be unlinked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnlinkRequest {
    /// Whose.
    pub account: Account,
    /// When.
    pub now: Millis,
    /// Names this attempt; unique (random).
    pub token: String,
    /// Who does it, for the audit trail.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// Whether an admin does it, not the account itself.
    pub by_admin: bool,
}

/// Why there is no link; for good, except for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefusal {
    /// No message with this nonce was issued to the account, or it expired and was removed.
    #[error(
        "no message with this nonce was issued to this account, or it expired long ago; ask for a new message and sign that"
    )]
    NonceUnknown,
    /// Its message was used before.
    #[error(
        "this message was used before; each message links once: ask for a new one and sign that"
    )]
    NonceUsed,
    /// Its message has expired.
    #[error("this message expired at {0}; ask for a new one and sign that")]
    NonceExpired(Millis),
    /// There were too many links lately.
    #[error(
        "this account has linked wallets {LINKS_PER_DAY_MAX} times within 24 hours, which is the limit; try again from {0} on"
    )]
    TooMany(Millis),
}

/// Why there is no link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It is refused.
    #[error(transparent)]
    Refused(#[from] LinkRefusal),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StoredMessage {
    /// Refuses a message that cannot be used at `now`.
    pub fn check_open(&self, now: Millis) -> Result<(), LinkRefusal> {
        if self.used.is_some() {
            return Err(LinkRefusal::NonceUsed);
        }
        match now >= self.issued.expires_at {
            true => Err(LinkRefusal::NonceExpired(self.issued.expires_at)),
            false => Ok(()),
        }
    }
}

/// Links an address to an account, in place of the one before. If that is the same, only the
/// message is used up. It returns when the control feed counts the entry.
///
/// Errors: a store error of the transient kind means "try again with the same token".
pub async fn link(db: &dyn Db, request: &LinkRequest) -> Result<Wallet, LinkError> {
    let mut attempts = Attempts::new(db);
    let account = &request.account;
    loop {
        let keys = [
            control::key_of_head(),
            wallet_key(account),
            nonce_key(account, &request.nonce),
        ];
        let items = db.batch_get(&keys).await?;
        let at = |index: usize| items.get(index).and_then(Option::as_ref);
        let head = control::read_head(at(0))?;
        let before = at(1).map(|item| read_wallet(account, item)).transpose()?;
        let message = at(2)
            .map(|item| nonces::decode_message(account, item))
            .transpose()?;
        let message = message.ok_or(LinkRefusal::NonceUnknown)?;
        if let Some((token, number)) = &message.used
            && *token == request.token
        {
            control::until_counted(db, *number).await?;
            return Ok(linked(request, *number, before));
        }
        message.check_open(request.now)?;
        let is_same = |wallet: &&Wallet| wallet.address == Some(request.address);
        let wallet = match before.as_ref().filter(is_same) {
            Some(same) => same.clone(),
            None => {
                check_rate(db, request).await?;
                changed(head, request.now, &request.token, Some(request.address))
            }
        };
        let use_up = nonces::use_up(account, &message.issued, &request.token, wallet.control);
        let writes = match before.as_ref().filter(is_same) {
            Some(same) => vec![
                use_up,
                Write::Check {
                    key: wallet_key(account),
                    condition: as_it_was(Some(same)),
                },
            ],
            None => {
                let by = Actor {
                    by: &request.by,
                    reason: request.reason.as_deref(),
                    is_admin: request.by_admin,
                };
                let mut writes = change_writes(account, head, &wallet, before.as_ref(), by);
                writes.push(use_up);
                writes
            }
        };
        if attempts.write(writes).await? == WriteOutcome::Written {
            control::until_counted(db, wallet.control).await?;
            return Ok(wallet);
        }
    }
}

/// What a link that happened has made, also if the wallet was changed again since.
fn linked(
    request: &LinkRequest,
    number: crate::domain::position::Control,
    now_there: Option<Wallet>,
) -> Wallet {
    let is_it = |wallet: &Wallet| wallet.control == number;
    now_there.filter(is_it).unwrap_or_else(|| Wallet {
        address: Some(request.address),
        control: number,
        changed_at: request.now,
        token: request.token.clone(),
    })
}

async fn check_rate(db: &dyn Db, request: &LinkRequest) -> Result<(), LinkError> {
    // There is at most one unlink for each link.
    let newest = u32::try_from(2 * LINKS_PER_DAY_MAX).unwrap_or(u32::MAX);
    let changes = changes_of(db, &request.account, newest).await?;
    let since = request.now.plus(-DAY_MS);
    let links = changes
        .iter()
        .filter(|change| change.address.is_some() && change.at > since);
    match links.map(|change| change.at).nth(LINKS_PER_DAY_MAX - 1) {
        Some(oldest) => Err(LinkRefusal::TooMany(oldest.plus(DAY_MS)).into()),
        None => Ok(()),
    }
}

/// Unlinks an account's wallet: from then on it has none. `None`: it had none. It returns when the
/// control feed counts the entry.
pub async fn unlink(db: &dyn Db, request: &UnlinkRequest) -> Result<Option<Wallet>, StoreError> {
    let mut attempts = Attempts::new(db);
    let account = &request.account;
    let mut first: Option<Wallet> = None;
    loop {
        let keys = [control::key_of_head(), wallet_key(account)];
        let items = db.batch_get(&keys).await?;
        let at = |index: usize| items.get(index).and_then(Option::as_ref);
        let head = control::read_head(at(0))?;
        let before = at(1).map(|item| read_wallet(account, item)).transpose()?;
        let Some(before) = before else {
            return Ok(None);
        };
        if let Some(first) = &first
            && first.control != before.control
        {
            // This attempt came through after all, or another change came before it. Either way the
            // address that was to be unlinked is; what was linked since is not to be.
            control::until_counted(db, before.control).await?;
            return Ok(Some(before));
        }
        if before.address.is_none() {
            return Ok(None);
        }
        let wallet = changed(head, request.now, &request.token, None);
        let by = Actor {
            by: &request.by,
            reason: request.reason.as_deref(),
            is_admin: request.by_admin,
        };
        let writes = change_writes(account, head, &wallet, Some(&before), by);
        first = Some(before);
        if attempts.write(writes).await? == WriteOutcome::Written {
            control::until_counted(db, wallet.control).await?;
            return Ok(Some(wallet));
        }
    }
}

fn changed(head: Head, now: Millis, token: &str, address: Option<Address>) -> Wallet {
    Wallet {
        address,
        control: control::next(head),
        changed_at: now,
        token: token.to_owned(),
    }
}

/// Who changes a wallet, and why.
struct Actor<'a> {
    by: &'a str,
    reason: Option<&'a str>,
    is_admin: bool,
}

/// What a change writes: its entry of the control feed, the wallet, the change, and an entry of the
/// audit trail.
fn change_writes(
    account: &Account,
    head: Head,
    wallet: &Wallet,
    before: Option<&Wallet>,
    actor: Actor<'_>,
) -> Vec<Write> {
    let entry = Change::Wallet {
        account: account.clone(),
        address: wallet.address,
    };
    let [entry, moved] = control::append_writes(head, wallet.changed_at, &wallet.token, &entry);
    let change = WalletChange {
        control: wallet.control,
        at: wallet.changed_at,
        address: wallet.address,
        by: actor.by.to_owned(),
        reason: actor.reason.map(str::to_owned),
        by_admin: actor.is_admin,
    };
    let action = match wallet.address {
        Some(_) => "wallets.link",
        None => "wallets.unlink",
    };
    let told = audit::write(&audit::Entry {
        at: wallet.changed_at,
        action: action.to_owned(),
        subject: account.to_string(),
        by: actor.by.to_owned(),
        detail: json!({
            "address": wallet.address,
            "before": before.and_then(|wallet| wallet.address),
            "control": wallet.control,
            "reason": actor.reason,
            "byAdmin": actor.is_admin,
        }),
    });
    vec![
        entry,
        moved,
        put_wallet(account, wallet, before),
        put_change(account, &change),
        told,
    ]
}
