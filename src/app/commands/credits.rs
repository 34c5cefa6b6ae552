//! Adding credit to a user's balance, or taking it back.

use super::Commands;
use crate::domain::amount::Money;
use crate::store::credits::{self, CreditEntry};

pub use crate::store::credits::{Booked, CreditError};

/// Credit to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCredit {
    /// The user's id.
    pub user: String,
    /// USD; below zero takes credit back.
    pub amount: Money,
    /// Why; the user sees it.
    pub reason: String,
    /// Names this entry: sent again under the same key, it counts once per user.
    pub idempotency_key: String,
    /// Who adds it.
    pub by: String,
}

impl NewCredit {
    /// Refuses what cannot be added whatever the store holds.
    pub fn check(&self) -> Result<(), CreditError> {
        credits::check_entry(&self.user, &self.idempotency_key, &self.reason, self.amount)
    }
}

impl Commands {
    /// Adds credit once per user and idempotency key.
    pub async fn add_credit(&self, new: NewCredit) -> Result<Booked, CreditError> {
        let entry = CreditEntry {
            idempotency_key: new.idempotency_key,
            amount: new.amount,
            reason: new.reason,
            by: new.by,
            at: self.now(),
        };
        credits::book(self.db(), &new.user, &entry).await
    }
}
