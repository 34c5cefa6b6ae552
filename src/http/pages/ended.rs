//! Sessions that were ended, remembered for a moment, as API keys are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::digest::{SHA256, digest};

use crate::domain::time::Millis;
use crate::http::keyring::{KEY_CACHE_TTL, KEY_CACHE_TTL_IN_OUTAGE};
use crate::store::db::{Db, StoreError};
use crate::store::sessions;

/// Most sessions remembered.
const SESSIONS_MAX: usize = 10_000;

/// A session, to be ended.
#[derive(Clone)]
pub(super) struct SessionId {
    id: Arc<str>,
    until: Millis,
}

impl SessionId {
    /// The session of a cookie.
    pub fn of(cookie: &str, until: Millis) -> SessionId {
        let hash = digest(&SHA256, cookie.as_bytes());
        SessionId {
            id: BASE64.encode(hash).into(),
            until,
        }
    }
}

/// Whether sessions were ended, and when that was looked up.
#[derive(Default)]
pub(super) struct Ended(Mutex<HashMap<Arc<str>, (bool, Instant)>>);

impl Ended {
    /// Ends a session: here at once, in other processes within [`KEY_CACHE_TTL`].
    pub async fn end(
        &self,
        db: &dyn Db,
        session: &SessionId,
        now: Millis,
    ) -> Result<(), StoreError> {
        self.remember(&session.id, true);
        sessions::end(db, &session.id, session.until, now).await
    }

    /// Whether it was ended, here or elsewhere.
    pub async fn has_ended(&self, db: &dyn Db, session: &SessionId) -> Result<bool, StoreError> {
        if let Some((has_ended, at)) = self.lock().get(&session.id)
            && (*has_ended || at.elapsed() < KEY_CACHE_TTL)
        {
            return Ok(*has_ended);
        }
        match sessions::has_ended(db, &session.id).await {
            Ok(has_ended) => {
                self.remember(&session.id, has_ended);
                Ok(has_ended)
            }
            // As keys are: a session that went on a moment ago goes on while the store does not
            // answer.
            Err(error) => match self.lock().get(&session.id) {
                Some((false, at)) if at.elapsed() < KEY_CACHE_TTL_IN_OUTAGE => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Notes that a session has begun.
    pub fn begun(&self, session: &SessionId) {
        self.remember(&session.id, false);
    }

    fn remember(&self, id: &Arc<str>, has_ended: bool) {
        let mut known = self.lock();
        if known.len() >= SESSIONS_MAX {
            known.retain(|_, (_, at)| at.elapsed() < KEY_CACHE_TTL_IN_OUTAGE);
        }
        if known.len() >= SESSIONS_MAX {
            known.retain(|_, (_, at)| at.elapsed() < KEY_CACHE_TTL);
        }
        if known.len() < SESSIONS_MAX {
            known.insert(id.clone(), (has_ended, Instant::now()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, (bool, Instant)>> {
        // A panic elsewhere leaves the map whole: each change of it is one statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
