//! How requests ended.

use serde::{Deserialize, Serialize};

/// How many requests there were, and how they ended. Those with any other status (a client's fault)
/// are neither successful nor failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Accepted events.
    pub requests: u64,
    /// Status 200–299.
    pub successful: u64,
    /// Status ≥ 500.
    pub failed: u64,
}

impl Outcomes {
    /// Adds others. Sums stay at the end of their range.
    pub fn add(&mut self, others: Outcomes) {
        self.requests = self.requests.saturating_add(others.requests);
        self.successful = self.successful.saturating_add(others.successful);
        self.failed = self.failed.saturating_add(others.failed);
    }

    /// Both together.
    #[must_use]
    pub fn plus(mut self, others: Outcomes) -> Outcomes {
        self.add(others);
        self
    }
}
