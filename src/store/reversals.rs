//! What admins have asked to be reversed. Table Checkpoints, a partition for each user: one row per
//! idempotency key, written with the entry of the audit trail before the reversal is sent, so that
//! repeats send the same.

use serde_json::json;

use super::audit;
use super::conditional::{Attempts, WriteOutcome};
use super::db::{Condition, Db, Key, StoreError, Table, Write};
use super::pages;
use super::row::{Fields, Row};
use crate::domain::ids::{IdError, check_id};
use crate::domain::text::{TextError, check_reason};
use crate::domain::time::Millis;

/// A request to be taken back, as an admin asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewReversal {
    /// The user who made the request.
    pub user: String,
    /// The event's `source`.
    pub source: String,
    /// The event's `id`.
    pub id: String,
    /// The event's `time`.
    pub time: Millis,
    /// Why: 1 to 500 characters, see [`check_reason`].
    pub reason: String,
    /// Names this reversal: 1 to 128 characters, unique per user.
    pub idempotency_key: String,
    /// Who asks for it.
    pub by: String,
}

/// Why a reversal was not recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReversalError {
    /// A text that is no id.
    #[error("{field}: {error}")]
    Id {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        error: IdError,
    },
    /// The reason cannot be kept.
    #[error(transparent)]
    Reason(#[from] TextError),
    /// The key was used for another request.
    #[error(
        "the idempotency key {0} was used to reverse another request of this user; use a new key"
    )]
    KeyReused(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Records a reversal, once per user and idempotency key, with one entry of the audit trail.
pub async fn record(db: &dyn Db, request: &NewReversal, now: Millis) -> Result<(), ReversalError> {
    check(request)?;
    let key = key(request);
    let mut attempts = Attempts::new(db);
    loop {
        if let Some(item) = db.get(&key).await? {
            let row = Row::new(key.clone(), &item);
            let before = (row.text("source")?, row.text("id")?, row.parsed("time")?);
            return match before == (&*request.source, &*request.id, request.time) {
                true => Ok(()),
                false => Err(ReversalError::KeyReused(request.idempotency_key.clone())),
            };
        }
        let item = Fields::of(&key)
            .text("source", &request.source)
            .text("id", &request.id)
            .text("time", request.time)
            .text("reason", &request.reason)
            .text("by", &request.by)
            .text("at", now)
            .item();
        let put = Write::Put {
            table: Table::Checkpoints,
            item,
            condition: Condition::Absent,
        };
        if attempts.write(vec![put, audit_entry(request, now)]).await? == WriteOutcome::Written {
            return Ok(());
        }
    }
}

/// A reversal that an admin has asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedReversal {
    /// Its idempotency key.
    pub key: String,
    /// Why.
    pub reason: String,
    /// Who asked for it.
    pub by: String,
    /// When.
    pub at: Millis,
}

/// The reversals of a request that admins have asked for, the oldest first.
pub async fn recorded(
    db: &dyn Db,
    user: &str,
    source: &str,
    id: &str,
    time: Millis,
) -> Result<Vec<RecordedReversal>, StoreError> {
    let query = pages::whole(Table::Checkpoints, partition(user));
    let mut found = Vec::new();
    for item in pages::all(db, query).await? {
        let row = Row::new(Key::new(Table::Checkpoints, partition(user), "?"), &item);
        let of = (row.text("source")?, row.text("id")?, row.parsed("time")?);
        if of == (source, id, time) {
            found.push(RecordedReversal {
                key: row.text("item")?.to_owned(),
                reason: row.text("reason")?.to_owned(),
                by: row.text("by")?.to_owned(),
                at: row.parsed("at")?,
            });
        }
    }
    found.sort_by_key(|recorded| recorded.at);
    Ok(found)
}

fn partition(user: &str) -> String {
    format!("reversals#{user}")
}

fn check(request: &NewReversal) -> Result<(), ReversalError> {
    let ids = [
        ("the user", &request.user),
        ("the source", &request.source),
        ("the id", &request.id),
        ("the idempotency key", &request.idempotency_key),
    ];
    for (field, id) in ids {
        check_id(id).map_err(|error| ReversalError::Id { field, error })?;
    }
    Ok(check_reason(&request.reason)?)
}

fn key(request: &NewReversal) -> Key {
    let partition = partition(&request.user);
    Key::new(Table::Checkpoints, partition, &request.idempotency_key)
}

fn audit_entry(request: &NewReversal, now: Millis) -> Write {
    audit::write(&audit::Entry {
        at: now,
        action: "requests.reverse".to_owned(),
        subject: format!("user:{}", request.user),
        by: request.by.clone(),
        detail: json!({
            "source": request.source, "id": request.id, "time": request.time.to_string(),
            "reason": request.reason, "idempotencyKey": request.idempotency_key,
        }),
    })
}
