//! Usage: the requests of a user's day.

use serde::Serialize;
use utoipa::ToSchema;

use super::{ReadError, Reads};
use crate::domain::ids::Account;
use crate::domain::time::{Day, Millis};
use crate::store::usage_list::{self, UsageCursor, UsageLine};

/// Most days that are looked at for the last requests: each is a query of each of its partition keys.
const DAYS_MAX: usize = 7;

/// Some requests of a user's day, in order of their time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageOfDay {
    /// Whose.
    pub user_id: String,
    /// The day.
    #[schema(value_type = String)]
    pub day: Day,
    /// The requests of this page.
    pub requests: Vec<UsageLine>,
    /// Give it as `after` for the next page; `null` if there is none.
    pub next: Option<String>,
}

impl Reads {
    /// A page of a user's day. Empty where usage rows are switched off, and for days of which they have expired.
    pub async fn usage_page(
        &self,
        user: &Account,
        day: Day,
        after: Option<&UsageCursor>,
        limit: usize,
        now: Millis,
    ) -> Result<UsageOfDay, ReadError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let page = usage_list::page_of_day(self.db(), user.id(), day, after, limit, now).await?;
        Ok(UsageOfDay {
            user_id: user.id().to_owned(),
            day,
            requests: page.lines,
            next: page.next.map(|next| next.to_string()),
        })
    }

    /// The last requests of a user on these days, at most `limit`, newest first. Days are looked at from the last one on, as many as that takes
    /// but at most seven; give those that have requests by the statement. A day of them without a row ends the search: then rows are not
    /// kept, or have expired.
    pub async fn last_requests(
        &self,
        user: &Account,
        days: impl DoubleEndedIterator<Item = Day>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<UsageLine>, ReadError> {
        let mut found = Vec::new();
        for day in days.rev().take(DAYS_MAX) {
            let left = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
            if left == 0 {
                break;
            }
            let lines = usage_list::last_of_day(self.db(), user.id(), day, left, now).await?;
            if lines.is_empty() {
                break;
            }
            found.extend(lines);
        }
        Ok(found)
    }

    /// All of a user's day.
    pub async fn usage(
        &self,
        user: &Account,
        day: Day,
        now: Millis,
    ) -> Result<Vec<UsageLine>, ReadError> {
        Ok(usage_list::of_day(self.db(), user.id(), day, now).await?)
    }
}
