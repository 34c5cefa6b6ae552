//! Secrets that every process of an installation shares. Table Checkpoints, partition `secrets`,
//! items `sessions` and `keys`.
//!
//! `sessions` keeps what a browser's session cookie holds from being read or changed; `keys` marks
//! the API keys that were made here, so that made-up ones are told apart without a read. Whoever
//! reads the tables learns them, and gains nothing by it: a session still needs the API key or
//! token that was signed in with, and of keys only hashes are stored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::conditional::{WriteOutcome, write_once};
use super::db::{Condition, Db, Item, Key, StoreError, Table, Write};
use super::row::{Fields, Row};

/// How many bytes it has.
pub const SECRET_BYTES: usize = 32;

/// The secret of sessions; made from `drawn` (random bytes that are fit for secrets) if there is
/// none yet. Whoever asks first decides for all.
pub async fn sessions(
    db: &dyn Db,
    drawn: [u8; SECRET_BYTES],
) -> Result<[u8; SECRET_BYTES], StoreError> {
    shared(db, "sessions", drawn).await
}

/// The secret of API keys; as [`sessions`].
pub async fn keys(
    db: &dyn Db,
    drawn: [u8; SECRET_BYTES],
) -> Result<[u8; SECRET_BYTES], StoreError> {
    shared(db, "keys", drawn).await
}

async fn shared(
    db: &dyn Db,
    name: &str,
    drawn: [u8; SECRET_BYTES],
) -> Result<[u8; SECRET_BYTES], StoreError> {
    let key = Key::new(Table::Checkpoints, "secrets", name);
    if let Some(item) = db.get(&key).await? {
        return decode_secret(&key, &item);
    }
    let item = Fields::of(&key).text("secret", BASE64.encode(drawn)).item();
    let write = Write::Put {
        table: Table::Checkpoints,
        item,
        condition: Condition::Absent,
    };
    match write_once(db, vec![write]).await {
        Ok(WriteOutcome::Written) => Ok(drawn),
        // Another process was first, or the answer was lost: the row says which secret it is.
        Ok(_) | Err(StoreError::Unanswered(_)) => {
            let item = db.get(&key).await?;
            let gone = || StoreError::Unavailable(format!("the secret {name} is being made"));
            decode_secret(&key, &item.ok_or_else(gone)?)
        }
        Err(error) => Err(error),
    }
}

fn decode_secret(key: &Key, item: &Item) -> Result<[u8; SECRET_BYTES], StoreError> {
    let row = Row::new(key.clone(), item);
    let bytes = BASE64.decode(row.text("secret")?).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| row.corrupt("attribute secret is not base64 of 32 bytes"))
}
