//! API keys. Table Checkpoints, partition `keys`, one item per key under its public id.
//!
//! A key's secret is 256 random bits, shown once; what is stored is its SHA-256, which is enough
//! for a secret that cannot be guessed. A revoked key stays, so that audit entries go on to say
//! whose it was.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::digest::{SHA256, digest};
use ring::hmac;
use serde_json::json;
use subtle::ConstantTimeEq;

use super::audit;
use super::conditional::{WriteOutcome, write_once};
use super::db::{Attr, Condition, Db, Item, Key, Query, StoreError, Table, Write};
use super::pages;
use super::row::{Fields, Row};
use super::secrets;
use crate::domain::access::Scope;
use crate::domain::ids::{IdError, check_new_id};
use crate::domain::text::{TextError, check_text};
use crate::domain::time::Millis;

const PARTITION: &str = "keys";
/// What every key begins with, so that scanners of leaked secrets can tell it.
const PREFIX: &str = "tmk";
/// Characters of a key's public part.
pub const ID_CHARS: usize = 12;
const SECRET_BYTES: usize = 32;
/// Behind the secret: a mark that only this installation can make. By it a made-up key is told from
/// a real one without a read.
const MARK_BYTES: usize = 6;
/// Most scopes of one key.
pub const SCOPES_MAX: usize = 64;

/// A key as its holder sends it: `tmk_<id>_<secret and mark>`. `Debug` leaves the secret out;
/// `Display` is for the one time that it is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText {
    id: String,
    secret: [u8; SECRET_BYTES],
    /// `None`: the key was made before there were marks.
    mark: Option<[u8; MARK_BYTES]>,
}

/// Makes the marks of keys, and knows them again.
pub struct Marks(hmac::Key);

impl Marks {
    /// The marks of this installation.
    pub async fn of(db: &dyn Db) -> Result<Marks, StoreError> {
        // The generator of `rand::random` is a cryptographic one, seeded by the system.
        let secret = secrets::keys(db, rand::random()).await?;
        Ok(Marks(hmac::Key::new(hmac::HMAC_SHA256, &secret)))
    }

    fn of_key(&self, key: &KeyText) -> [u8; MARK_BYTES] {
        let tag = hmac::sign(&self.0, &[key.id.as_bytes(), &key.secret].concat());
        let mut mark = [0; MARK_BYTES];
        mark.copy_from_slice(&tag.as_ref()[..MARK_BYTES]);
        mark
    }

    /// Whether this installation may have made the key: `None` if it has no mark to tell by.
    pub fn knows(&self, key: &KeyText) -> Option<bool> {
        let mark = key.mark?;
        Some(self.of_key(key).ct_eq(&mark).into())
    }
}

impl KeyText {
    /// A new key that nobody can guess, with the mark of this installation. `once` names the wish
    /// for it: the same wish leads to the same id, and so to one key. The secret is random anyway.
    pub async fn draw(db: &dyn Db, once: Option<&str>) -> Result<KeyText, StoreError> {
        let marks = Marks::of(db).await?;
        let id = match once {
            Some(once) => id_of_wish(once),
            None => rand::random(),
        };
        // The generator of `rand::random` is a cryptographic one, seeded by the system.
        let key = KeyText::of_random(id, rand::random());
        Ok(KeyText {
            mark: Some(marks.of_key(&key)),
            ..key
        })
    }

    /// A key of random bytes, which the caller draws from a generator that is fit for secrets. It
    /// has no mark.
    pub fn of_random(id: u64, secret: [u8; SECRET_BYTES]) -> KeyText {
        let id = format!("{id:016x}")[..ID_CHARS].to_owned();
        KeyText {
            id,
            secret,
            mark: None,
        }
    }

    /// Whether it was made before keys had marks.
    pub fn is_unmarked(&self) -> bool {
        self.mark.is_none()
    }

    /// The public part, which names the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn hash(&self) -> Vec<u8> {
        digest(&SHA256, &self.secret).as_ref().to_vec()
    }
}

fn id_of_wish(once: &str) -> u64 {
    let hash = digest(&SHA256, once.as_bytes());
    let mut id = [0; 8];
    id.copy_from_slice(&hash.as_ref()[..8]);
    u64::from_be_bytes(id)
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}_{}_…", self.id)
    }
}

impl fmt::Display for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = self.mark.as_ref().map_or(&[][..], |mark| mark);
        let rest = BASE64.encode([&self.secret, mark].concat());
        write!(f, "{PREFIX}_{}_{rest}", self.id)
    }
}

/// The text is no key of ours. It is not repeated: it may be somebody's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an API key of tidemark; keys look like {PREFIX}_<12 characters>_<51 characters>, older \
     ones end with 43 characters"
)]
pub struct NotAKey;

impl FromStr for KeyText {
    type Err = NotAKey;
    fn from_str(text: &str) -> Result<KeyText, NotAKey> {
        let mut parts = text.splitn(3, '_');
        let (prefix, id, secret) = (parts.next(), parts.next(), parts.next());
        let (Some(PREFIX), Some(id), Some(secret)) = (prefix, id, secret) else {
            return Err(NotAKey);
        };
        let is_id = id.len() == ID_CHARS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bytes = BASE64.decode(secret).map_err(|_| NotAKey)?;
        let (secret, mark) = bytes.split_first_chunk().ok_or(NotAKey)?;
        let mark = match mark {
            [] => None,
            mark => Some(mark.try_into().map_err(|_| NotAKey)?),
        };
        if !is_id {
            return Err(NotAKey);
        }
        Ok(KeyText {
            id: id.to_owned(),
            secret: *secret,
            mark,
        })
    }
}

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its public part.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Millis,
    /// Who made it.
    pub created_by: String,
    /// Since when it is worth nothing.
    pub revoked_at: Option<Millis>,
    /// SHA-256 of its secret.
    hash: Vec<u8>,
}

impl ApiKey {
    /// Whether this key is the one that was sent, and still good. Takes the same time wherever the
    /// secrets differ.
    pub fn is(&self, sent: &KeyText) -> bool {
        let is_same: bool = self.hash.ct_eq(&sent.hash()).into();
        is_same && self.id == sent.id && self.revoked_at.is_none()
    }
}

/// Why a key was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The name cannot be kept.
    #[error(transparent)]
    Name(TextError),
    /// It would allow nothing, or too much to read.
    #[error("a key has 1 to {SCOPES_MAX} scopes")]
    Scopes,
    /// It is for an account whose id could be taken for another.
    #[error(transparent)]
    Account(IdError),
    /// It was made before, by the same wish.
    #[error(
        "this key was created before, with the id {id}; its secret was only in that answer. If \
         that was lost or not kept, revoke {id} and create another key under a new Idempotency-Key"
    )]
    MadeBefore {
        /// Its id.
        id: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn key_of(id: &str) -> Key {
    Key::new(Table::Checkpoints, PARTITION, id)
}

/// Makes a key with an audit entry. After [`StoreError::Unanswered`] it may be there: then its
/// secret is lost. Make another, and revoke that one.
pub async fn create(
    db: &dyn Db,
    text: &KeyText,
    name: &str,
    scopes: Vec<Scope>,
    by: &str,
    now: Millis,
) -> Result<ApiKey, KeyError> {
    check_text("name", name).map_err(KeyError::Name)?;
    if scopes.is_empty() || scopes.len() > SCOPES_MAX {
        return Err(KeyError::Scopes);
    }
    for scope in &scopes {
        if let Scope::Account(account) = scope {
            check_new_id(account.id()).map_err(KeyError::Account)?;
        }
    }
    let key = ApiKey {
        id: text.id.clone(),
        name: name.to_owned(),
        scopes,
        created_at: now,
        created_by: by.to_owned(),
        revoked_at: None,
        hash: text.hash(),
    };
    let writes = vec![
        put(&key, Condition::Absent),
        audit_write("keys.create", &key, by, now),
    ];
    match write_once(db, writes).await? {
        WriteOutcome::Written => Ok(key),
        WriteOutcome::NotYet | WriteOutcome::ByAnother => Err(KeyError::MadeBefore { id: key.id }),
    }
}

/// The key of this public id.
pub async fn get(db: &dyn Db, id: &str) -> Result<Option<ApiKey>, StoreError> {
    db.get(&key_of(id))
        .await?
        .as_ref()
        .map(decode_api_key)
        .transpose()
}

/// Some keys, revoked ones too.
#[derive(Debug)]
pub struct KeyPage {
    /// The keys, oldest first.
    pub keys: Vec<ApiKey>,
    /// The id after which there are more.
    pub next: Option<String>,
}

/// At most `limit` keys, those whose ids follow `after`. Pages go by id, which says nothing of age.
pub async fn page(db: &dyn Db, after: Option<&str>, limit: u32) -> Result<KeyPage, StoreError> {
    let query = Query {
        after: after.map(|id| key_of(id).item()),
        ..pages::whole(Table::Checkpoints, PARTITION)
    };
    let found = pages::first(db, query, limit as usize).await?;
    let mut keys = found
        .items
        .iter()
        .map(decode_api_key)
        .collect::<Result<Vec<ApiKey>, _>>()?;
    let last = keys.last().map(|key| key.id.clone());
    keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    Ok(KeyPage {
        keys,
        next: last.filter(|_| !found.is_whole),
    })
}

/// Makes a key worthless, with an audit entry. Idempotent: a revoked key stays as it was. `None`:
/// there is no such key.
pub async fn revoke(
    db: &dyn Db,
    id: &str,
    by: &str,
    now: Millis,
) -> Result<Option<ApiKey>, StoreError> {
    let Some(key) = get(db, id).await? else {
        return Ok(None);
    };
    if key.revoked_at.is_some() {
        return Ok(Some(key));
    }
    let unchanged = Condition::Equals("state", Attr::S("active".to_owned()));
    let revoked = ApiKey {
        revoked_at: Some(now),
        ..key
    };
    let writes = vec![
        put(&revoked, unchanged),
        audit_write("keys.revoke", &revoked, by, now),
    ];
    // Or another admin has revoked it meanwhile.
    write_once(db, writes).await?;
    Ok(Some(revoked))
}

fn audit_write(action: &str, key: &ApiKey, by: &str, now: Millis) -> Write {
    audit::write(&audit::Entry {
        at: now,
        action: action.to_owned(),
        subject: key.id.clone(),
        by: by.to_owned(),
        detail: json!({"name": key.name, "scopes": key.scopes}),
    })
}

fn put(key: &ApiKey, condition: Condition) -> Write {
    let state = match key.revoked_at {
        None => "active",
        Some(_) => "revoked",
    };
    let item = Fields::of(&key_of(&key.id))
        .text("name", &key.name)
        .json("scopes", &key.scopes)
        .text("state", state)
        .text("hash", BASE64.encode(&key.hash))
        .number("createdAt", key.created_at.0)
        .text("createdBy", &key.created_by)
        .number_opt("revokedAt", key.revoked_at.map(|at| at.0))
        .item();
    Write::Put {
        table: Table::Checkpoints,
        item,
        condition,
    }
}

fn decode_api_key(item: &Item) -> Result<ApiKey, StoreError> {
    let unknown = Row::new(key_of("?"), item);
    let id = unknown.text("item")?;
    let row = Row::new(key_of(id), item);
    let hash = BASE64.decode(row.text("hash")?);
    Ok(ApiKey {
        id: id.to_owned(),
        name: row.text("name")?.to_owned(),
        scopes: row.json("scopes")?,
        created_at: Millis(row.number("createdAt")?),
        created_by: row.text("createdBy")?.to_owned(),
        revoked_at: row.number_opt("revokedAt")?.map(Millis),
        hash: hash.map_err(|_| row.corrupt("attribute hash is not base64"))?,
    })
}
