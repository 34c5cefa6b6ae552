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

/// Whether a status means success (200–299). Nothing else earns or costs.
pub const fn is_successful(status: u16) -> bool {
    status >= 200 && status < 300
}

/// Whether a status counts as failed (500 and above). What is neither is the client's own fault.
pub const fn is_failed(status: u16) -> bool {
    status >= 500
}
