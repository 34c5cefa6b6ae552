//! Messages that were issued for signing, each under its nonce.

use super::{key, partition};
use crate::domain::ids::Account;
use crate::domain::position::Control;
use crate::domain::time::Millis;
use crate::store::conditional::write_once;
use crate::store::db::{
    Attr, Condition, Db, Item, Key, Query, RangeFilter, StoreError, Table, Write,
};
use crate::store::pages;
use crate::store::row::{Fields, Row};

/// How many messages of an account can be open at once; a further one takes the place of the
/// oldest.
pub const MESSAGES_MAX: usize = 10;

const NONCE: &str = "nonce#";
const OPEN: &str = "open";
const USED: &str = "used";

/// A message that is issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedMessage {
    /// Random letters and digits.
    pub nonce: String,
    /// The whole text.
    pub text: String,
    /// When.
    pub issued_at: Millis,
    /// Until when it can be used.
    pub expires_at: Millis,
}

/// A message as the table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// What was issued.
    pub issued: IssuedMessage,
    /// By which attempt it was used, and the number of the wallet's entry after it.
    pub used: Option<(String, Control)>,
}

pub(super) fn nonce_key(account: &Account, nonce: &str) -> Key {
    key(account, format!("{NONCE}{nonce}"))
}

/// Keeps a message. Messages that have expired are removed, and the oldest if there are too many.
pub async fn issue(
    db: &dyn Db,
    account: &Account,
    message: &IssuedMessage,
) -> Result<(), StoreError> {
    make_room(db, account, message.issued_at).await?;
    let put = put(account, message, None, Condition::Absent);
    // A nonce is random: one that exists is this very message, after a lost answer.
    write_once(db, vec![put]).await.map(drop)
}

async fn make_room(db: &dyn Db, account: &Account, now: Millis) -> Result<(), StoreError> {
    let query = Query {
        range: RangeFilter::Prefix(NONCE.to_owned()),
        ..pages::whole(Table::Checkpoints, partition(account))
    };
    let items = pages::all(db, query).await?;
    let stored = items.iter().map(|item| decode_message(account, item));
    let mut stored = stored.collect::<Result<Vec<StoredMessage>, StoreError>>()?;
    // Used ones are kept until they expire, so that a repeat is told what it is. They need no room:
    // links are limited by themselves.
    let (mut open, used): (Vec<_>, Vec<_>) = stored
        .drain(..)
        .partition(|message| message.used.is_none() && message.issued.expires_at > now);
    open.sort_by_key(|message| message.issued.issued_at);
    let too_many = (open.len() + 1).saturating_sub(MESSAGES_MAX);
    let expired = used
        .iter()
        .filter(|message| message.issued.expires_at <= now);
    for message in open.iter().take(too_many).chain(expired) {
        let key = nonce_key(account, &message.issued.nonce);
        let condition = Condition::Always;
        db.write(Write::Delete { key, condition }).await?;
    }
    Ok(())
}

/// The message of an account with this nonce.
pub async fn find_message(
    db: &dyn Db,
    account: &Account,
    nonce: &str,
) -> Result<Option<StoredMessage>, StoreError> {
    let item = db.get(&nonce_key(account, nonce)).await?;
    item.map(|item| decode_message(account, &item)).transpose()
}

/// The write that uses a message up, once.
pub(super) fn use_up(
    account: &Account,
    message: &IssuedMessage,
    token: &str,
    control: Control,
) -> Write {
    let open = Condition::Equals("state", Attr::S(OPEN.to_owned()));
    put(account, message, Some((token, control)), open)
}

fn put(
    account: &Account,
    message: &IssuedMessage,
    used: Option<(&str, Control)>,
    condition: Condition,
) -> Write {
    let fields = Fields::of(&nonce_key(account, &message.nonce))
        .text("nonce", &message.nonce)
        .text("text", &message.text)
        .number("issuedAt", message.issued_at.0)
        .number("expiresAt", message.expires_at.0);
    let fields = match used {
        None => fields.text("state", OPEN),
        Some((token, control)) => fields
            .text("state", USED)
            .text("token", token)
            .number("control", control.0),
    };
    Write::Put {
        table: Table::Checkpoints,
        item: fields.item(),
        condition,
    }
}

pub(super) fn decode_message(account: &Account, item: &Item) -> Result<StoredMessage, StoreError> {
    let row = Row::new(key(account, NONCE), item);
    let used = match row.text("state")? {
        OPEN => None,
        USED => Some((
            row.text("token")?.to_owned(),
            Control(row.number("control")?),
        )),
        other => return Err(row.corrupt(format!("state is {other}"))),
    };
    Ok(StoredMessage {
        issued: IssuedMessage {
            nonce: row.text("nonce")?.to_owned(),
            text: row.text("text")?.to_owned(),
            issued_at: Millis(row.number("issuedAt")?),
            expires_at: Millis(row.number("expiresAt")?),
        },
        used,
    })
}
