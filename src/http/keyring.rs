//! API keys, remembered for a moment: a read of the store before each request would double its
//! cost.
//!
//! A key that was good is looked up again every few seconds, beside the requests that bring it:
//! while the store does not answer, it goes on to be believed, and nobody waits for the store
//! longer than a blink. A made-up key costs no read, and takes no good key's place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;

use super::problem::Problem;
use crate::ops::log_throttle::LogThrottle;
use crate::ops::metrics::Metrics;
use crate::store::db::{Db, StoreError};
use crate::store::keys::{self, ApiKey, KeyText, Marks};

/// How long a key is believed without being looked up again: so much later a revocation is felt
/// everywhere.
pub const KEY_CACHE_TTL: Duration = Duration::from_secs(5);
/// How long a key that was good is believed while the store does not answer: events must come in
/// then, too.
pub(super) const KEY_CACHE_TTL_IN_OUTAGE: Duration = Duration::from_secs(600);
/// A key that is in use is looked up again at this age, before it is too old: no request waits for
/// it.
const LOOKED_UP_AHEAD: Duration = Duration::from_millis(2_500);
/// How long requests wait, from its beginning on, for a look-up of a good key that has become too
/// old.
const LOOKED_UP_WITHIN: Duration = Duration::from_millis(250);
/// How long a request waits for a key that is not known here.
const UNKNOWN_WITHIN: Duration = Duration::from_secs(2);
/// Most good keys remembered, and most ids that nobody has.
const KEYS_MAX: usize = 10_000;
/// Most look-ups in vain per second of keys without a mark: anybody can make those up. One that is
/// found costs none of them, so keys of earlier versions are all found after a restart.
const MISSES_PER_SECOND: u32 = 20;

/// Keys and when they were looked up.
pub(super) struct Keyring {
    db: Arc<dyn Db>,
    metrics: Arc<Metrics>,
    marks: OnceCell<Marks>,
    known: Mutex<KnownKeys>,
    misses: Mutex<Misses>,
    failures: LogThrottle<()>,
}

#[derive(Default)]
struct KnownKeys {
    good: HashMap<String, Good>,
    /// Ids that nobody has.
    absent: HashMap<String, Instant>,
}

/// How many look-ups found nothing, since when.
struct Misses {
    second: Instant,
    count: u32,
}

/// A key that there is. It may be revoked.
struct Good {
    key: Arc<ApiKey>,
    at: Instant,
    used: Instant,
    /// Set while it is being looked up again.
    looking: Option<Lookup>,
    /// The last look-up did not end well, or in time: nobody waits for the next one.
    is_late: bool,
}

/// A look-up that is under way.
#[derive(Clone)]
struct Lookup {
    since: Instant,
    done: watch::Receiver<()>,
}

/// What is known of an id.
enum CachedKey {
    Fresh(Arc<ApiKey>),
    Stale(Lookup),
    /// What was good is believed without waiting.
    Late(Arc<ApiKey>),
    Absent,
    Unknown,
}

impl Keyring {
    pub fn new(db: Arc<dyn Db>, metrics: Arc<Metrics>) -> Arc<Keyring> {
        Arc::new(Keyring {
            db,
            metrics,
            marks: OnceCell::new(),
            known: Mutex::default(),
            misses: Mutex::new(Misses {
                second: Instant::now(),
                count: 0,
            }),
            failures: LogThrottle::new(),
        })
    }

    /// The key that was sent, if it is good.
    pub async fn find(self: &Arc<Self>, sent: &KeyText) -> Result<Option<Arc<ApiKey>>, Problem> {
        let (key, result) = self.look(sent).await?;
        let lookups = &self.metrics.http_key_lookups_total;
        lookups.with_label_values(&[result]).inc();
        Ok(key.filter(|key| key.is(sent)))
    }

    async fn look(
        self: &Arc<Self>,
        sent: &KeyText,
    ) -> Result<(Option<Arc<ApiKey>>, &'static str), Problem> {
        match self.known(sent.id()) {
            CachedKey::Fresh(key) => Ok((Some(key), "cached")),
            CachedKey::Absent => Ok((None, "cached")),
            CachedKey::Late(key) => Ok((Some(key), "believed")),
            CachedKey::Stale(looking) => self.looked_up_again(sent.id(), looking).await,
            CachedKey::Unknown => {
                let looked = tokio::time::timeout(UNKNOWN_WITHIN, self.look_up(sent)).await;
                looked.unwrap_or_else(|_| {
                    let why = format!("a key was not found within {UNKNOWN_WITHIN:?}");
                    Err(StoreError::Unavailable(why).into())
                })
            }
        }
    }

    /// Asks the store for a key that is not known here.
    async fn look_up(
        &self,
        sent: &KeyText,
    ) -> Result<(Option<Arc<ApiKey>>, &'static str), Problem> {
        match self.is_made_up(sent).await? {
            true => Ok((None, "made_up")),
            false => {
                if sent.is_unmarked() && self.misses().count >= MISSES_PER_SECOND {
                    let lookups = &self.metrics.http_key_lookups_total;
                    lookups.with_label_values(&["limited"]).inc();
                    return Err(too_many_unknown());
                }
                let key = keys::get(&*self.db, sent.id()).await?.map(Arc::new);
                if key.is_none() {
                    self.misses().count += 1;
                }
                self.remember(sent.id(), key.clone());
                Ok((key, "read"))
            }
        }
    }

    /// Whether no process of this installation can have made the key.
    async fn is_made_up(&self, sent: &KeyText) -> Result<bool, StoreError> {
        if sent.is_unmarked() {
            return Ok(false);
        }
        let marks = self.marks.get_or_try_init(|| Marks::of(&*self.db)).await?;
        Ok(marks.knows(sent) == Some(false))
    }

    fn known(self: &Arc<Self>, id: &str) -> CachedKey {
        let now = Instant::now();
        let mut known = self.lock();
        if let Some(good) = known.good.get_mut(id) {
            good.used = now;
            let age = now - good.at;
            if age < LOOKED_UP_AHEAD {
                return CachedKey::Fresh(good.key.clone());
            }
            let looking = good
                .looking
                .get_or_insert_with(|| self.look_again(id))
                .clone();
            if age < KEY_CACHE_TTL {
                return CachedKey::Fresh(good.key.clone());
            }
            good.is_late |= now - looking.since >= LOOKED_UP_WITHIN;
            if good.is_late && age < KEY_CACHE_TTL_IN_OUTAGE {
                return CachedKey::Late(good.key.clone());
            }
            return CachedKey::Stale(looking);
        }
        match known.absent.get(id) {
            Some(at) if now - *at < KEY_CACHE_TTL => CachedKey::Absent,
            _ => CachedKey::Unknown,
        }
    }

    /// Looks a key up beside the requests that wait for it, and beside those that do not.
    fn look_again(self: &Arc<Self>, id: &str) -> Lookup {
        let (ended, done) = watch::channel(());
        let (keyring, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move {
            let looked = keys::get(&*keyring.db, &id).await;
            keyring.looked(&id, looked);
            drop(ended);
        });
        Lookup {
            since: Instant::now(),
            done,
        }
    }

    fn looked(&self, id: &str, looked: Result<Option<ApiKey>, StoreError>) {
        match looked {
            Ok(key) => self.remember(id, key.map(Arc::new)),
            Err(error) => {
                if let Some(kept_back) = self.failures.say(()) {
                    tracing::warn!(event = "http.key_not_checked", key = id, %error, kept_back, "cannot look up an API key; one that was valid is accepted for ten more minutes");
                }
                if let Some(good) = self.lock().good.get_mut(id) {
                    good.looking = None;
                    good.is_late = true;
                }
            }
        }
    }

    /// What the look-up says, if it comes in time; else what was good.
    async fn looked_up_again(
        &self,
        id: &str,
        Lookup { since, mut done }: Lookup,
    ) -> Result<(Option<Arc<ApiKey>>, &'static str), Problem> {
        // The sender says nothing; it goes when the look-up has ended.
        let in_time = tokio::time::timeout_at(since + LOOKED_UP_WITHIN, done.changed()).await;
        if in_time.is_err()
            && let Some(key) = self.believed_late(id)
        {
            return Ok((Some(key), "believed"));
        }
        // It is over, or there is nothing to be believed without it.
        let _ = done.changed().await;
        let known = self.lock();
        let Some(good) = known.good.get(id) else {
            return Ok((None, "read"));
        };
        match good.at.elapsed() {
            age if age < KEY_CACHE_TTL => Ok((Some(good.key.clone()), "read")),
            age if age < KEY_CACHE_TTL_IN_OUTAGE => Ok((Some(good.key.clone()), "believed")),
            _ => {
                let error = "cannot look up the API key".to_owned();
                Err(StoreError::Unavailable(error).into())
            }
        }
    }

    /// A good key, whose look-up takes too long: from now on until it ends, nobody waits for it.
    fn believed_late(&self, id: &str) -> Option<Arc<ApiKey>> {
        let mut known = self.lock();
        let good = known.good.get_mut(id)?;
        let is_believed = good.at.elapsed() < KEY_CACHE_TTL_IN_OUTAGE;
        is_believed.then(|| {
            good.is_late = true;
            good.key.clone()
        })
    }

    fn remember(&self, id: &str, key: Option<Arc<ApiKey>>) {
        let now = Instant::now();
        let mut known = self.lock();
        match key {
            Some(key) => {
                if known.good.len() >= KEYS_MAX && !known.good.contains_key(id) {
                    forget_oldest(&mut known.good);
                }
                let good = Good {
                    key,
                    at: now,
                    used: now,
                    looking: None,
                    is_late: false,
                };
                known.good.insert(id.to_owned(), good);
            }
            None => {
                known.good.remove(id);
                if known.absent.len() >= KEYS_MAX {
                    known.absent.retain(|_, at| now - *at < KEY_CACHE_TTL);
                }
                if known.absent.len() < KEYS_MAX {
                    known.absent.insert(id.to_owned(), now);
                }
            }
        }
    }

    /// The look-ups in vain of this second.
    fn misses(&self) -> MutexGuard<'_, Misses> {
        let misses = self.misses.lock();
        let mut misses = misses.unwrap_or_else(PoisonError::into_inner);
        if misses.second.elapsed() >= Duration::from_secs(1) {
            misses.second = Instant::now();
            misses.count = 0;
        }
        misses
    }

    fn lock(&self) -> MutexGuard<'_, KnownKeys> {
        // A panic elsewhere leaves the maps whole: each change of them is one insert.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room by the key that was not sent for longest.
fn forget_oldest(good: &mut HashMap<String, Good>) {
    let oldest = good.iter().min_by_key(|(_, good)| good.used);
    if let Some(id) = oldest.map(|(id, _)| id.clone()) {
        good.remove(&id);
    }
}

fn too_many_unknown() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "busy",
        "too many unknown keys are being sent; retry shortly, or use a key made by this version, which this limit does not affect",
    )
    .retry_after(1)
}
