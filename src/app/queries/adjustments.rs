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

impl Queries {
    /// Every award of an account, the newest first; also those that are not in its statement yet.
    pub async fn awards(&self, account: &Account) -> Result<Vec<AwardInfo>, QueryError> {
        let awards = awards::awards_of(self.db(), account).await?;
        Ok(awards.into_iter().rev().map(AwardInfo::from).collect())
    }
}
