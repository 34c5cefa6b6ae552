//! API keys, remembered for a moment: a read of the store before each request would double its cost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::store::db::{Db, StoreError};
use crate::store::keys::{self, ApiKey, KeyText};

/// How long a key is believed without being looked up again: so much later a revocation is felt everywhere.
pub const KEY_BELIEVED: Duration = Duration::from_secs(5);
/// How long a key that was good is believed while the store does not answer: events must come in then, too.
const KEY_BELIEVED_IN_OUTAGE: Duration = Duration::from_secs(600);
/// Most keys remembered, those that do not exist included.
const KEYS_MAX: usize = 10_000;

/// Keys and when they were looked up. Ids that nobody has are remembered, too.
pub(super) struct Keyring {
    db: Arc<dyn Db>,
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Clone)]
struct Known {
    key: Option<Arc<ApiKey>>,
    at: Instant,
}

impl Keyring {
    pub fn new(db: Arc<dyn Db>) -> Keyring {
        Keyring {
            db,
            known: Mutex::default(),
        }
    }

    /// The key that was sent, if it is good.
    pub async fn find(&self, sent: &KeyText) -> Result<Option<Arc<ApiKey>>, StoreError> {
        let key = self.by_id(sent.id()).await?;
        Ok(key.filter(|key| key.is(sent)))
    }

    async fn by_id(&self, id: &str) -> Result<Option<Arc<ApiKey>>, StoreError> {
        let known = self.lock().get(id).cloned();
        if let Some(known) = &known
            && known.at.elapsed() < KEY_BELIEVED
        {
            return Ok(known.key.clone());
        }
        match (keys::get(&*self.db, id).await, known) {
            (Ok(key), _) => {
                let key = key.map(Arc::new);
                self.remember(id, key.clone());
                Ok(key)
            }
            (Err(error), Some(known))
                if error.is_transient() && known.at.elapsed() < KEY_BELIEVED_IN_OUTAGE =>
            {
                Ok(known.key)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn remember(&self, id: &str, key: Option<Arc<ApiKey>>) {
        let mut known = self.lock();
        if known.len() >= KEYS_MAX {
            known.retain(|_, known| known.key.is_some() && known.at.elapsed() < KEY_BELIEVED);
        }
        if known.len() < KEYS_MAX {
            let at = Instant::now();
            known.insert(id.to_owned(), Known { key, at });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        // A panic elsewhere leaves the map whole: each change of it is one insert.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
