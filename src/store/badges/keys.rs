//! The keys that sign credentials of badges: Ed25519. Table Checkpoints, partition `badge-keys`:
//!
//! - item `current`: the id, the private key, when it was made;
//! - item `public#<id>`: every public key there ever was, so that old credentials can be checked;
//!   with `withdrawnAt` if it is not to be trusted any more.
//!
//! Whoever reads the tables can sign credentials in the issuer's name, so backups of table
//! Checkpoints are to be kept as secret as the table.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use crate::domain::time::Millis;
use crate::store::audit;
use crate::store::conditional::{Attempts, WriteOutcome};
use crate::store::db::{
    Attr, Condition, Db, Item, Key, Query, RangeFilter, StoreError, Table, Write,
};
use crate::store::pages;
use crate::store::row::{Fields, Row};

const PARTITION: &str = "badge-keys";
const PUBLIC: &str = "public#";

/// A key that signs credentials.
pub struct SigningKey {
    /// Names it.
    pub id: String,
    /// When it was made.
    pub made_at: Millis,
    pair: Ed25519KeyPair,
}

/// Never shows the private part.
impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .field("made_at", &self.made_at)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// The signature of a message.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

/// The public part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Names it.
    pub id: String,
    /// The 32 bytes, in base64url: the member `x` of a JSON Web Key.
    pub x: String,
    /// When it was made.
    pub made_at: Millis,
    /// Since when it is not published any more; `None`: it is.
    pub withdrawn_at: Option<Millis>,
}

/// What came of withdrawing a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// It is withdrawn now, or was before.
    Done(PublicKey),
    /// There is no such key.
    Unknown,
    /// It signs: it must be replaced first.
    Signs,
}

fn key(item: impl Into<String>) -> Key {
    Key::new(Table::Checkpoints, PARTITION, item)
}

/// The id of a public key: its thumbprint (RFC 7638).
fn thumbprint(x: &str) -> String {
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    BASE64.encode(ring::digest::digest(
        &ring::digest::SHA256,
        canonical.as_bytes(),
    ))
}

/// A fresh key: its public part and PKCS#8.
fn drawn(now: Millis) -> Result<(PublicKey, String), StoreError> {
    let failed = || StoreError::Refused("the system gives no random numbers".to_owned());
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| failed())?;
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| failed())?;
    let x = BASE64.encode(pair.public_key().as_ref());
    let public = PublicKey {
        id: thumbprint(&x),
        x,
        made_at: now,
        withdrawn_at: None,
    };
    Ok((public, BASE64.encode(document.as_ref())))
}

/// The writes that make a key the current one, over another (`None`: over none).
fn writes(public: &PublicKey, private: &str, over: Option<&str>) -> Vec<Write> {
    let current = Fields::of(&key("current"))
        .text("key", &public.id)
        .text("pkcs8", private)
        .number("madeAt", public.made_at.0)
        .item();
    let of_public = Fields::of(&key(format!("{PUBLIC}{}", public.id)))
        .text("key", &public.id)
        .text("x", &public.x)
        .number("madeAt", public.made_at.0)
        .item();
    let put = |item, condition| Write::Put {
        table: Table::Checkpoints,
        item,
        condition,
    };
    let over = over.map_or(Condition::Absent, |id| {
        Condition::Equals("key", Attr::S(id.to_owned()))
    });
    vec![put(current, over), put(of_public, Condition::Absent)]
}

/// The key that signs now; made if there is none. Whoever asks first decides for all.
pub async fn current_key(db: &dyn Db, now: Millis) -> Result<SigningKey, StoreError> {
    let mut attempts = Attempts::new(db);
    loop {
        if let Some(item) = db.get(&key("current")).await? {
            return decode_signing_key(&item);
        }
        let (public, private) = drawn(now)?;
        attempts.write(writes(&public, &private, None)).await?;
    }
}

/// Replaces the key that signs, with an entry of the audit trail; the new one. The private part of
/// the old one is gone then; its public part stays.
pub async fn rotate_key(
    db: &dyn Db,
    by: &str,
    reason: &str,
    now: Millis,
) -> Result<PublicKey, StoreError> {
    let (public, private) = drawn(now)?;
    let own = key(format!("{PUBLIC}{}", public.id));
    let mut attempts = Attempts::new(db);
    loop {
        // An attempt without an answer may have made it the current one, and another come after it.
        if db.get(&own).await?.is_some() {
            break;
        }
        let item = db.get(&key("current")).await?;
        // Also one that is damaged can be replaced.
        let id = |item: &Item| {
            Row::new(key("current"), item)
                .text("key")
                .map(str::to_owned)
        };
        let before = item.as_ref().map(id).transpose()?;
        let mut changes = writes(&public, &private, before.as_deref());
        changes.push(audit::write(&audit::Entry {
            at: now,
            action: "badges.rotate_key".to_owned(),
            subject: public.id.clone(),
            by: by.to_owned(),
            detail: json!({"before": before, "reason": reason}),
        }));
        if attempts.write(changes).await? == WriteOutcome::Written {
            break;
        }
    }
    Ok(public)
}

/// The id of the key that signs; `None`: none was made yet.
pub async fn current_key_id(db: &dyn Db) -> Result<Option<String>, StoreError> {
    let item = db.get(&key("current")).await?;
    let id = item.map(|item| {
        Row::new(key("current"), &item)
            .text("key")
            .map(str::to_owned)
    });
    id.transpose()
}

/// Takes a key that was replaced out of those that are published, with an entry of the audit trail.
pub async fn withdraw_key(
    db: &dyn Db,
    id: &str,
    by: &str,
    reason: &str,
    now: Millis,
) -> Result<Withdrawal, StoreError> {
    let own = key(format!("{PUBLIC}{id}"));
    let mut attempts = Attempts::new(db);
    loop {
        let Some(item) = db.get(&own).await? else {
            return Ok(Withdrawal::Unknown);
        };
        let public = read_public(&item)?;
        if public.withdrawn_at.is_some() {
            return Ok(Withdrawal::Done(public));
        }
        // One that was replaced never signs again.
        if current_key_id(db).await?.as_deref() == Some(id) {
            return Ok(Withdrawal::Signs);
        }
        let withdrawn = Fields::of(&own)
            .text("key", &public.id)
            .text("x", &public.x)
            .number("madeAt", public.made_at.0)
            .number("withdrawnAt", now.0)
            .item();
        let put = Write::Put {
            table: Table::Checkpoints,
            item: withdrawn,
            condition: Condition::Equals("key", Attr::S(public.id.clone())),
        };
        let entry = audit::write(&audit::Entry {
            at: now,
            action: "badges.withdraw_key".to_owned(),
            subject: public.id.clone(),
            by: by.to_owned(),
            detail: json!({"reason": reason}),
        });
        if attempts.write(vec![put, entry]).await? == WriteOutcome::Written {
            let withdrawn_at = Some(now);
            return Ok(Withdrawal::Done(PublicKey {
                withdrawn_at,
                ..public
            }));
        }
    }
}

/// Every public key there ever was, the newest first, also those that were withdrawn.
pub async fn public_keys(db: &dyn Db) -> Result<Vec<PublicKey>, StoreError> {
    let query = Query {
        range: RangeFilter::Prefix(PUBLIC.to_owned()),
        ..pages::whole(Table::Checkpoints, PARTITION)
    };
    let items = pages::all(db, query).await?;
    let keys = items.iter().map(read_public);
    let mut keys = keys.collect::<Result<Vec<PublicKey>, StoreError>>()?;
    keys.sort_by(|a, b| (b.made_at, &b.id).cmp(&(a.made_at, &a.id)));
    Ok(keys)
}

fn read_public(item: &Item) -> Result<PublicKey, StoreError> {
    let row = Row::new(key("public#?"), item);
    let withdrawn_at = match item.get("withdrawnAt") {
        Some(_) => Some(Millis(row.number("withdrawnAt")?)),
        None => None,
    };
    Ok(PublicKey {
        id: row.text("key")?.to_owned(),
        x: row.text("x")?.to_owned(),
        made_at: Millis(row.number("madeAt")?),
        withdrawn_at,
    })
}

fn decode_signing_key(item: &Item) -> Result<SigningKey, StoreError> {
    let row = Row::new(key("current"), item);
    // Without a word of what stands there.
    let damaged = || row.corrupt("attribute pkcs8 holds no key");
    let document = BASE64.decode(row.text("pkcs8")?).map_err(|_| damaged())?;
    Ok(SigningKey {
        id: row.text("key")?.to_owned(),
        made_at: Millis(row.number("madeAt")?),
        pair: Ed25519KeyPair::from_pkcs8(&document).map_err(|_| damaged())?,
    })
}
