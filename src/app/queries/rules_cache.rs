//! The rules, remembered until they change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::position::Control;
use crate::domain::rules::{RuleBook, Timeline, VersionInForce};
use crate::domain::time::Millis;
use crate::store::db::{Db, StoreError};
use crate::store::{control, pricing};

/// How long the rules are believed without a look where each read counts: so much later a change is
/// felt there.
pub const RULES_CACHE_TTL: Duration = Duration::from_secs(1);

/// How long [`RulesCache::at_hand`] waits for the store.
const LOOK_MAX: Duration = Duration::from_millis(500);

/// The rules as of the newest entry of the control feed that changed them.
#[derive(Default)]
pub(super) struct RulesCache {
    known: Mutex<Option<KnownRules>>,
    /// Held by the one look of [`RulesCache::at_hand`]; when the last one failed, if it did.
    failed_look: tokio::sync::Mutex<Option<Instant>>,
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
    /// the rules as they were last known, however old; `None` if they never were.
    pub async fn at_hand(&self, db: &dyn Db) -> Option<Arc<Timeline>> {
        let known = self.lock().clone();
        let mut failed_look = match (&known, self.failed_look.try_lock()) {
            (Some(known), _) if known.looked.elapsed() < RULES_CACHE_TTL => {
                return known.timeline.clone();
            }
            (_, Ok(failed_look)) => failed_look,
            // Another request looks.
            (Some(known), Err(_)) => return known.timeline.clone(),
            (None, Err(_)) => self.failed_look.lock().await,
        };
        let last_known = || self.lock().clone().and_then(|known| known.timeline);
        if failed_look.is_some_and(|at| at.elapsed() < RULES_CACHE_TTL) {
            return last_known();
        }
        let why = match tokio::time::timeout(LOOK_MAX, self.believed(db)).await {
            Ok(Ok(timeline)) => {
                *failed_look = None;
                return timeline;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the store did not answer within {LOOK_MAX:?}"),
        };
        if failed_look.replace(Instant::now()).is_none() {
            tracing::warn!(
                event = "rules.not_read",
                error = why,
                "cannot read the rules; usage of gateways is mapped to providers as last known"
            );
        }
        last_known()
    }

    fn lock(&self) -> MutexGuard<'_, Option<KnownRules>> {
        // A panic elsewhere leaves it whole: each change of it is one assignment.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
