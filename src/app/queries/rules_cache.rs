//! The rules, remembered until they change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::position::Control;
use crate::domain::rules::Timeline;
use crate::store::db::{Db, StoreError};
use crate::store::{control, pricing};

/// How long the rules are believed without a look where each read counts: so much later a change is felt there.
pub const RULES_CACHE_TTL: Duration = Duration::from_secs(1);

/// The rules as of the newest entry of the control feed that changed them.
#[derive(Default)]
pub(super) struct RulesCache(Mutex<Option<KnownRules>>);

#[derive(Clone)]
struct KnownRules {
    /// The entry; 0 before the first.
    entry: Control,
    timeline: Option<Arc<Timeline>>,
    looked: Instant,
}

impl RulesCache {
    /// The rules as of now: reads the feed's head, one item; and the rules only if they are not those that are remembered.
    pub async fn current(&self, db: &dyn Db) -> Result<Option<Arc<Timeline>>, StoreError> {
        let looked = Instant::now();
        let head = control::full_head(db).await?;
        if let Some(known) = self.lock().as_mut()
            && known.entry == head.rules
        {
            known.looked = known.looked.max(looked);
            return Ok(known.timeline.clone());
        }
        let mut book = pricing::load_rules(db, head.number).await?;
        let timeline = book.as_of(head.number);
        let mut known = self.lock();
        // Another request may have read later and been faster.
        if known.as_ref().is_none_or(|known| known.entry < head.rules) {
            *known = Some(KnownRules {
                entry: head.rules,
                timeline: timeline.clone(),
                looked,
            });
        }
        Ok(timeline)
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
