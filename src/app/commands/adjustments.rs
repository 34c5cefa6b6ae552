//! Correcting an account's points.

use super::Commands;
use crate::app::CommandError;
use crate::app::queries::AwardInfo;
use crate::domain::amount::Points;
use crate::domain::ids::Account;
use crate::store::awards::{self, Adjustment, Granted};
use crate::store::db::StoreError;

/// A correction to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAdjustment {
    /// Whose points.
    pub account: Account,
    /// How many, plus or minus.
    pub points: Points,
    /// Why.
    pub reason: String,
    /// Names this correction: sent again under the same key, it counts once per account.
    pub idempotency_key: String,
    /// Who makes it.
    pub by: String,
}

impl NewAdjustment {
    /// Refuses what cannot be booked whatever the store holds.
    pub fn check(&self) -> Result<(), CommandError> {
        Ok(awards::check_adjustment(
            &self.idempotency_key,
            &self.reason,
            self.points,
        )?)
    }
}

/// A correction that was made under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjusted {
    /// What was granted.
    pub award: AwardInfo,
    /// Whether it was granted by this call; else by an earlier one under the same key.
    pub is_new: bool,
}

impl Commands {
    /// Corrects an account's points, once per account and idempotency key. The correction is in the
    /// `bonus` of this month's statement within seconds.
    pub async fn adjust(&self, new: NewAdjustment) -> Result<Adjusted, CommandError> {
        let adjustment = Adjustment {
            account: new.account,
            points: new.points,
            reason: new.reason,
            idempotency_key: new.idempotency_key,
            by: new.by,
            now: self.now(),
        };
        let partitions = self.queries.partitions().posting;
        let granted = awards::adjustment(self.db(), &adjustment, partitions).await?;
        let Adjustment {
            account,
            idempotency_key: key,
            ..
        } = &adjustment;
        let award = awards::adjustment_of(self.db(), account, key).await?;
        // Records are written once and never deleted; this one was just written, or found.
        let award = award.ok_or_else(|| StoreError::Corrupt {
            key: format!("adjustment {key} of {account}"),
            what: "it was granted, but its record is missing".to_owned(),
        })?;
        Ok(Adjusted {
            award: award.into(),
            is_new: granted == Granted::Now,
        })
    }
}
