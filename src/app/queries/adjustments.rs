//! Awards of an account: corrections, signups and milestones.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Queries, QueryError, text};
use crate::domain::amount::Points;
use crate::domain::ids::Account;
use crate::domain::time::{Millis, Month};
use crate::store::awards::{self, Award};

/// Points outside of usage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwardInfo {
    /// Its name among the account's: `adjustment#<idempotency key>`, `signup#user:bob`, …
    pub award_id: String,
    /// `adjustment`, `signup` or `milestone`.
    pub r#type: &'static str,
    /// The month in whose bonus it is booked.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub month: Month,
    /// How many points.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub points: Points,
    /// When it was granted.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub granted_at: Millis,
    /// Why.
    pub reason: String,
}

impl From<Award> for AwardInfo {
    fn from(award: Award) -> AwardInfo {
        AwardInfo {
            r#type: award.kind.as_str(),
            month: award.month,
            points: award.points,
            granted_at: award.granted_at,
            reason: award.reason,
            award_id: award.id,
        }
    }
}

/// Most awards of an account that are read for one answer: corrections first, then milestones and
/// signups.
pub const AWARDS_LOOKED_MAX: usize = 10_000;

/// Awards of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwardList {
    /// The newest first; also those that are not in its statement yet.
    pub awards: Vec<AwardInfo>,
    /// Whether these are all that it ever got.
    pub is_whole: bool,
}

/// What the id of a correction begins with; its idempotency key follows.
const ADJUSTMENT: &str = "adjustment#";

impl AwardInfo {
    /// The key under which a correction was made; `None`: it is a signup or a milestone.
    pub fn adjustment_key(&self) -> Option<&str> {
        self.award_id.strip_prefix(ADJUSTMENT)
    }
}

impl Queries {
    /// Awards of an account: all of them, unless it has more than are read.
    pub async fn awards(&self, account: &Account) -> Result<AwardList, QueryError> {
        let found = awards::some_awards_of(self.db(), account, AWARDS_LOOKED_MAX).await?;
        let (awards, is_whole) = found;
        Ok(AwardList {
            awards: awards.into_iter().rev().map(AwardInfo::from).collect(),
            is_whole,
        })
    }

    /// The correction that was made under an idempotency key.
    pub async fn adjustment(
        &self,
        account: &Account,
        key: &str,
    ) -> Result<Option<AwardInfo>, QueryError> {
        let award = awards::adjustment_of(self.db(), account, key).await?;
        Ok(award.map(AwardInfo::from))
    }
}
