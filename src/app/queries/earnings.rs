//! A provider's earnings, in the form that marketplaces show them.

use serde::Serialize;
use utoipa::ToSchema;

use super::statements::StatementDoc;
use super::{Queries, QueryError, text};
use crate::domain::amount::Points;
use crate::domain::ids::Account;
use crate::domain::statement::Statement;
use crate::domain::time::{Day, Millis, Month};

/// A month of a provider's earnings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Earnings {
    /// The month's total: the days, `bonus` and `late`.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub total: Points,
    /// By day, in order; days without activity are left out.
    pub earnings: Vec<DayAmount>,
    /// How many accounts the provider has referred, ever; counted to 20,000 at the most.
    pub referrals_count: u64,
    /// What today has brought so far, whichever month was asked for. Today is the service's, UTC.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub earnings_today: Points,
    /// The month's statement.
    #[schema(value_type = StatementDoc)]
    pub statement: Statement,
}

/// What one day has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DayAmount {
    /// The day, UTC.
    #[schema(value_type = String)]
    pub day: Day,
    /// Points.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub amount: Points,
}

impl Queries {
    /// A provider's earnings of a month.
    pub async fn earnings(
        &self,
        provider: &Account,
        month: Month,
        now: Millis,
    ) -> Result<Earnings, QueryError> {
        let statement = self.statement(provider, month, now).await?;
        let today = now.day();
        let earnings_today = if today.month() == month {
            of_day(&statement, today)
        } else {
            of_day(&self.statement(provider, today.month(), now).await?, today)
        };
        let referrals_count = self.referee_count(provider).await?;
        let days = statement.days.iter();
        Ok(Earnings {
            total: statement.total,
            earnings: days
                .map(|(day, line)| DayAmount {
                    day: *day,
                    amount: line.points,
                })
                .collect(),
            referrals_count,
            earnings_today,
            statement,
        })
    }
}

fn of_day(statement: &Statement, day: Day) -> Points {
    let line = statement.days.iter().find(|(found, _)| *found == day);
    line.map(|(_, line)| line.points).unwrap_or_default()
}
