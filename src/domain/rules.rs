//! Rules: every number that decides an amount, as versioned data.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::amount::{Bp, Points};
use super::ledger::Activity;
use super::position::Control;
use super::tier::Detection;
use super::time::Millis;

/// One new version of one price or rule set, as the control feed carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleChange {
    /// Which: `tide_pool_input`, `system_mainnet`, `rules.streak`, …
    pub key: String,
    /// The value, as JSON text.
    pub value: String,
    /// From when on (event time); `None` for the first version, which has no beginning.
    pub effective_from: Option<Millis>,
}

/// A fault in a rules document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}; allowed: {allowed}")]
pub struct RuleFault {
    /// The key (`prices.tts`).
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What is allowed.
    pub allowed: String,
}

/// Everything that is in force at one moment.
#[derive(Debug)]
pub struct Rules {}

/// Every version that has come through the control feed.
#[derive(Debug, Default)]
pub struct RuleBook {}

/// The versions up to one control position, by business time.
#[derive(Debug)]
pub struct Timeline {}

impl RuleBook {
    /// Takes the changes of one entry of the control feed. Entries come in order.
    pub fn apply(
        &mut self,
        _control: Control,
        _changes: &[RuleChange],
    ) -> Result<(), Vec<RuleFault>> {
        todo!()
    }

    /// What is in force as of a control position; `None` before the first complete rules.
    pub fn as_of(&mut self, _control: Control) -> Option<Arc<Timeline>> {
        todo!()
    }
}

impl Timeline {
    /// The rules in force at an instant.
    pub fn at(&self, _time: Millis) -> &Arc<Rules> {
        todo!()
    }

    /// When a day is active; the same in every version.
    pub fn activity(&self) -> Activity {
        todo!()
    }
}

impl Rules {
    /// Names this combination of versions: what is cached per model name is keyed by it.
    pub fn id(&self) -> u64 {
        todo!()
    }

    /// The tier of a model.
    pub fn detect(&self, _model: &str) -> Detection {
        todo!()
    }

    /// The share of an amount that goes to the referrer at each level.
    pub fn cascade(&self) -> [Bp; 3] {
        todo!()
    }

    /// What a user's first success with a service gives.
    pub fn trial(&self) -> Points {
        todo!()
    }

    /// What a referrer gets for a signup.
    pub fn signup(&self) -> Points {
        todo!()
    }

    /// What a referrer gets for a referee's 50th success.
    pub fn milestone(&self) -> Points {
        todo!()
    }
}
