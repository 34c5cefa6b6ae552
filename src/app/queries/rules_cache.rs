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

/// The rules as of the newest entry of the control feed that changed them.
#[derive(Default)]
pub(super) struct RulesCache(Mutex<Option<KnownRules>>);

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

    fn lock(&self) -> MutexGuard<'_, Option<KnownRules>> {
        // A panic elsewhere leaves it whole: each change of it is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
