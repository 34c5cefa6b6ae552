//! Streaks: how many active days in a row.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Queries, QueryError};
use crate::domain::ids::{Account, AccountKind};
use crate::domain::time::{Day, Millis};
use crate::store::streaks;

/// An account's streak. A user's day is active by one successful request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreakView {
    /// User or provider.
    #[schema(value_type = String)]
    pub kind: AccountKind,
    /// Whose.
    pub id: String,
    /// Active days in a row that end today or, while today is not active yet, yesterday; else 0.
    pub current: u32,
    /// The longest ever.
    pub longest: u32,
    /// The first day of the current run; `null` without one.
    #[schema(value_type = Option<String>)]
    pub start: Option<Day>,
    /// The last active day; `null` before the first.
    #[schema(value_type = Option<String>)]
    pub last_active: Option<Day>,
}

impl Queries {
    /// An account's streak as of today.
    pub async fn streak(&self, account: &Account, now: Millis) -> Result<StreakView, QueryError> {
        let found = streaks::get(self.db(), account).await?.unwrap_or_default();
        let yesterday = now.day().previous();
        let goes_on = found.last_active.is_some_and(|last| last >= yesterday);
        Ok(StreakView {
            kind: account.kind,
            id: account.id().to_owned(),
            current: if goes_on { found.current } else { 0 },
            longest: found.longest,
            start: found.start.filter(|_| goes_on),
            last_active: found.last_active,
        })
    }
}
