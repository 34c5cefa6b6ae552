//! Quality: how well a provider serves today.

use super::{Queries, QueryError};
use crate::domain::ids::Account;
use crate::domain::ledger::DayStats;
use crate::domain::statement::{DayQuality, day_quality};
use crate::domain::time::Millis;
use crate::store::accounts;

impl Queries {
    /// The quality of a provider's day so far, under the rules in force at its start.
    pub async fn quality_today(
        &self,
        provider: &Account,
        now: Millis,
    ) -> Result<DayQuality, QueryError> {
        let (today, rules) = (now.day(), self.rules_needed().await?);
        let stored = accounts::month(self.db(), provider, today.month()).await?;
        let days = stored.map(|stored| stored.row.days).unwrap_or_default();
        let stats = days.iter().find(|(day, _)| *day == today.of_month());
        let stats = stats.map_or_else(DayStats::default, |(_, stats)| *stats);
        Ok(day_quality(&stats, rules.at(today.start())))
    }
}
