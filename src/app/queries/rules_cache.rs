//! The rules, remembered until they change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::domain::position::Control;
use crate::domain::rules::{RuleBook, Timeline, VersionInForce};
use crate::domain::time::Millis;
use crate::store::db::{Db, StoreError};
use crate::store::{control, pricing};

/// How long the rules are believed without a look where each read counts: so much later a change is
/// felt there.
pub const RULES_CACHE_TTL: Duration = Duration::from_secs(1);

/// How long [`RulesCache::at_hand`] waits for a look, if it can go on with what was last known.
const LOOK_MAX: Duration = Duration::from_millis(500);
/// How long it waits for the first look: rules with many versions may take long to load, and
/// without them it can only refuse.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(3);

/// The rules as of the newest entry of the control feed that changed them.
#[derive(Default)]
pub(super) struct RulesCache {
    known: Mutex<Option<KnownRules>>,
    looks: Mutex<Looks>,
}

/// The looks of [`RulesCache::at_hand`], one at a time.
#[derive(Default)]
struct Looks {
    newest: Option<Look>,
    /// When the newest one failed, if it did.
    failed: Option<Instant>,
}

/// A look at the rules that goes on beside the requests.
#[derive(Clone)]
struct Look {
    since: tokio::time::Instant,
    /// Closed once it has ended.
    ended: watch::Receiver<()>,
}

#[derive(Clone)]
struct KnownRules {
    /// The entry; 0 before the first.
    entry: Control,
    timeline: Option<Arc<Timeline>>,
    /// Every version up to the entry.
    book: Arc<Mutex<RuleBook>>,
    looked: Instant,
}

/// The rules as of a control position, seen at an instant.
#[derive(Clone, Debug)]
pub(super) struct RulesAsOf {
    pub timeline: Arc<Timeline>,
    /// The newest entry of the control feed up to the position that changed rules.
    pub newest: Control,
    /// The version of each key that was in force at the instant.
    pub versions: Vec<VersionInForce>,
}

impl RulesCache {
    /// The rules as of now: reads the feed's head, one item; and the rules only if they are not
    /// those that are remembered.
    pub async fn current(&self, db: &dyn Db) -> Result<Option<Arc<Timeline>>, StoreError> {
        Ok(self.known(db).await?.timeline)
    }

    async fn known(&self, db: &dyn Db) -> Result<KnownRules, StoreError> {
        let looked = Instant::now();
        let head = control::full_head(db).await?;
        if let Some(known) = self.lock().as_mut()
            && known.entry == head.rules
        {
            known.looked = known.looked.max(looked);
            return Ok(known.clone());
        }
        let mut book = pricing::load_rules(db, head.number).await?;
        let loaded = KnownRules {
            entry: head.rules,
            timeline: book.as_of(head.number),
            book: Arc::new(Mutex::new(book)),
            looked,
        };
        let mut known = self.lock();
        // Another request may have read later and been faster.
        if known.as_ref().is_none_or(|known| known.entry < head.rules) {
            *known = Some(loaded.clone());
        }
        Ok(loaded)
    }

    /// The rules as of a control position, and which versions were in force at `time`; `None`
    /// before the first rules.
    pub async fn as_of(
        &self,
        db: &dyn Db,
        control: Control,
        time: Millis,
    ) -> Result<Option<RulesAsOf>, StoreError> {
        let known = self.known(db).await?;
        // A panic elsewhere leaves it whole: what it compiled is set last.
        let mut book = known.book.lock().unwrap_or_else(PoisonError::into_inner);
        let as_of = book.newest(control).zip(book.as_of(control));
        Ok(as_of.map(|(newest, timeline)| RulesAsOf {
            timeline,
            newest,
            versions: book.versions_at(control, time),
        }))
    }

    /// The rules as they were at most [`RULES_CACHE_TTL`] ago.
    pub async fn believed(&self, db: &dyn Db) -> Result<Option<Arc<Timeline>>, StoreError> {
        let known = self.lock().clone();
        match known {
            Some(known) if known.looked.elapsed() < RULES_CACHE_TTL => Ok(known.timeline),
            _ => self.current(db).await,
        }
    }

    /// As [`RulesCache::believed`], for those who must go on while the store does not answer: then
    /// the rules as they were last known, however old.
    ///
    /// What is limited is the wait, not the look: it goes on beside the requests until it ends, so
    /// rules that take long to load are loaded once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: this process has never read the rules, so it cannot know what
    /// they say.
    pub async fn at_hand(
        self: &Arc<Self>,
        db: &Arc<dyn Db>,
    ) -> Result<Option<Arc<Timeline>>, StoreError> {
        let known = self.lock().clone();
        let within = match known {
            Some(known) if known.looked.elapsed() < RULES_CACHE_TTL => return Ok(known.timeline),
            Some(_) => LOOK_MAX,
            None => FIRST_LOOK_MAX,
        };
        if let Some(mut look) = self.look_beside(db) {
            // The sender says nothing; it goes when the look has ended.
            let _ = tokio::time::timeout_at(look.since + within, look.ended.changed()).await;
        }
        let known = self.lock().clone();
        let unread = || StoreError::Unavailable("the rules have not been read yet".to_owned());
        known.map(|known| known.timeline).ok_or_else(unread)
    }

    /// The look that goes on, or a new one; `None` shortly after one that failed.
    fn look_beside(self: &Arc<Self>, db: &Arc<dyn Db>) -> Option<Look> {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(look) = &looks.newest
            && look.ended.has_changed().is_ok()
        {
            return Some(look.clone());
        }
        if looks
            .failed
            .is_some_and(|at| at.elapsed() < RULES_CACHE_TTL)
        {
            return None;
        }
        let (end, ended) = watch::channel(());
        let look = Look {
            since: tokio::time::Instant::now(),
            ended,
        };
        looks.newest = Some(look.clone());
        let (cache, db) = (Arc::clone(self), Arc::clone(db));
        tokio::spawn(async move {
            let looked = cache.current(&*db).await;
            cache.look_ended(looked.err());
            drop(end);
        });
        Some(look)
    }

    fn look_ended(&self, error: Option<StoreError>) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let failed_before = looks.failed.take().is_some();
        let Some(error) = error else { return };
        looks.failed = Some(Instant::now());
        if !failed_before {
            tracing::warn!(
                event = "rules.not_read",
                %error,
                "cannot read the rules; usage of gateways is mapped to providers as last known"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<KnownRules>> {
        // A panic elsewhere leaves it whole: each change of it is one assignment.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
