//! Statements: what an account has earned in a month.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Queries, QueryError};
use crate::domain::amount::Points;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::ledger::{Carry, MonthRow};
use crate::domain::rules::Timeline;
use crate::domain::statement::{Statement, statement, total};
use crate::domain::time::{Millis, Month};
use crate::pipeline::progress::Finality;
use crate::store::db::{Item, StoreError};
use crate::store::{accounts, set_aside};

/// Statements of one month.
pub struct Statements<'r> {
    queries: &'r Queries,
    view: MonthView,
}

/// What statements of one month are computed with.
#[derive(Clone)]
pub(super) struct MonthView {
    month: Month,
    timeline: Arc<Timeline>,
    /// `None`: the month is open.
    closed: Option<Arc<Finality>>,
}

impl MonthView {
    /// The statements, of rows that are read by `queries`.
    pub(super) fn of(self, queries: &Queries) -> Statements<'_> {
        let view = self;
        Statements { queries, view }
    }

    /// Whether nothing of the month can change any more, but for accounts that are set aside.
    pub(super) fn is_final(&self) -> bool {
        self.closed.is_some()
    }
}

impl Queries {
    /// Statements of a month. Finality is read before any row: a row that is read later can only be
    /// newer.
    pub async fn statements(
        &self,
        month: Month,
        now: Millis,
    ) -> Result<Statements<'_>, QueryError> {
        Ok(self.month_view(month, now).await?.of(self))
    }

    pub(super) async fn month_view(
        &self,
        month: Month,
        now: Millis,
    ) -> Result<MonthView, QueryError> {
        let timeline = self.rules_needed().await?;
        // A month that is open by the clock is open by the log, so there is nothing to look at.
        let mut closed = None;
        if now > month.closes() {
            let (sources, postings) = (self.partitions.source, self.partitions.posting);
            let finality = Finality::read(self.db(), sources, postings).await?;
            closed = Some(finality).filter(|finality| finality.is_final(month));
        }
        Ok(MonthView {
            month,
            timeline,
            closed: closed.map(Arc::new),
        })
    }

    /// An account's statement of a month; one of zeros if nothing happened in it.
    pub async fn statement(
        &self,
        account: &Account,
        month: Month,
        now: Millis,
    ) -> Result<Statement, QueryError> {
        let statements = self.statements(month, now).await?;
        match statements.of(account).await? {
            Some(statement) => Ok(statement),
            None => statements.with_pause(statements.empty(account)?).await,
        }
    }
}

/// A page of statements.
#[derive(Debug, Default)]
pub struct StatementPage {
    /// Those that can be read.
    pub statements: Vec<Statement>,
    /// Accounts whose row of this month cannot be decoded.
    pub unreadable: Vec<Account>,
    /// Where the next page begins.
    pub next: Option<Item>,
}

impl Statements<'_> {
    /// Which month.
    pub fn month(&self) -> Month {
        self.view.month
    }

    /// The account's statement; `None` if nothing happened in this month.
    pub async fn of(&self, account: &Account) -> Result<Option<Statement>, QueryError> {
        let db = self.queries.db();
        let row = match accounts::month(db, account, self.view.month).await {
            Err(error @ StoreError::Corrupt { .. }) => {
                let aside = set_aside::get(db, account).await?;
                let since = aside.map(|stored| QueryError::SetAside(stored.value.at));
                return Err(since.unwrap_or(QueryError::Store(error)));
            }
            row => row?,
        };
        match row {
            Some(stored) => {
                let statement = self.of_row(account, &stored.row)?;
                self.with_pause(statement).await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// With since when it is not up to date, if it is not.
    async fn with_pause(&self, statement: Statement) -> Result<Statement, QueryError> {
        let paused_since = match statement.is_final {
            true => None,
            false => self.queries.stands_still(&statement.account).await?,
        };
        Ok(Statement {
            paused_since,
            ..statement
        })
    }

    /// A page of the table of a kind of account.
    pub async fn page(
        &self,
        kind: AccountKind,
        after: Option<Item>,
    ) -> Result<StatementPage, QueryError> {
        let page = self.queries.db().scan(accounts::table(kind), after).await?;
        let mut found = StatementPage {
            next: page.next,
            ..StatementPage::default()
        };
        for item in &page.items {
            match accounts::account_of(kind, item) {
                Ok(Some((account, stored))) if stored.row.month == self.view.month => {
                    found.statements.push(self.of_row(&account, &stored.row)?);
                }
                Ok(_) => {}
                Err(error @ StoreError::Corrupt { .. }) => {
                    // It may be of another month.
                    match accounts::whose(kind, item)? {
                        Some((account, month)) if month == self.view.month => {
                            found.unreadable.push(account);
                        }
                        Some(_) => {}
                        None => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// The accounts whose statements can still change; `None`: everybody's, the month is not final.
    pub(in crate::app) fn may_change_of(&self) -> Option<Vec<Account>> {
        let closed = self.view.closed.as_ref()?;
        Some(closed.accounts_that_may_change(self.view.month))
    }

    /// Shows the total of every account of a kind that has one, without the rest of its statement;
    /// gives the accounts whose row of this month cannot be decoded.
    pub(in crate::app) async fn each_total(
        &self,
        kind: AccountKind,
        mut each: impl FnMut(Account, Points),
    ) -> Result<Vec<Account>, QueryError> {
        let (mut unreadable, mut after) = (Vec::new(), None);
        loop {
            let page = self.queries.db().scan(accounts::table(kind), after).await?;
            for item in &page.items {
                // Most rows of an old installation are of other months: those need not be decoded.
                let whose = accounts::whose(kind, item)?;
                let is_other = |(_, month): &(Account, Month)| *month != self.view.month;
                if whose.as_ref().is_some_and(is_other) {
                    continue;
                }
                match (accounts::account_of(kind, item), whose) {
                    (Ok(Some((account, stored))), _) => {
                        each(account, total(kind, &stored.row, &self.view.timeline));
                    }
                    (Ok(None), _) => {}
                    (Err(StoreError::Corrupt { .. }), Some((account, _))) => {
                        unreadable.push(account);
                    }
                    (Err(error), _) => return Err(error.into()),
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(unreadable);
            }
        }
    }

    fn of_row(&self, account: &Account, row: &MonthRow) -> Result<Statement, QueryError> {
        let closed = self.view.closed.as_ref();
        let is_final =
            closed.is_some_and(|finality| !finality.may_change(account, self.view.month));
        Ok(statement(account, row, &self.view.timeline, is_final))
    }

    fn empty(&self, account: &Account) -> Result<Statement, QueryError> {
        self.of_row(account, &MonthRow::new(self.view.month, Carry::default()))
    }
}

/// A month of an account, as the API document describes it; [`Statement`] itself says how it is
/// written.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Statement)]
#[serde(rename_all = "camelCase")]
pub struct StatementDoc {
    /// `user` or `provider`.
    pub kind: String,
    /// Whose.
    pub id: String,
    /// UTC, `2026-11`.
    pub month: String,
    /// Whether nothing of it can change any more.
    pub r#final: bool,
    /// Set while what the account earns is not counted (RFC 3339): since when. It is counted later;
    /// nothing is lost.
    pub updates_paused_since: Option<String>,
    /// Points from requests served; a provider's.
    pub base: Option<String>,
    /// Points that quality adds, or takes away; a provider's.
    pub multiplier: Option<String>,
    /// Points from requests made; a user's.
    pub usage: Option<String>,
    /// Points from first successes with a service; a user's.
    pub trial: Option<String>,
    /// Points for days in a row.
    pub streak: String,
    /// Points from referrals.
    pub referral: String,
    /// Points of one-off awards.
    pub bonus: String,
    /// Points booked in this month although the requests belong to a month that had closed.
    pub late: String,
    /// The sum of the parts.
    pub total: String,
    /// Charged, USD; a user's.
    pub cost: Option<String>,
    /// What mainnet would have charged, USD; a user's.
    pub shadow_cost: Option<String>,
    /// Accepted requests.
    pub requests: u64,
    /// Those of status 200 to 299, less those that were reversed. Reversals of requests of earlier
    /// months, which had closed, count here too, so that it may be negative.
    pub successful: i64,
    /// Those of status 500 or above.
    pub failed: u64,
    /// Successful requests that were reversed; left out if there are none.
    pub reversed: Option<u64>,
    /// By service; those without activity are left out.
    pub services: BTreeMap<String, ServiceDoc>,
    /// By day; those without activity are left out.
    pub days: BTreeMap<String, DayDoc>,
}

/// A service in a statement.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatementService)]
#[serde(rename_all = "camelCase")]
pub struct ServiceDoc {
    /// Accepted requests.
    pub requests: u64,
    /// Those of status 200 to 299 that were not reversed.
    pub successful: u64,
    /// Those of status 500 or above.
    pub failed: u64,
    /// Successful requests that were reversed; left out if there are none.
    pub reversed: Option<u64>,
    /// Its part of `base` or `usage`.
    pub points: String,
    /// Over the successful requests that carry a latency; `null` if none does.
    pub mean_latency_ms: Option<u64>,
}

/// A day in a statement.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatementDay)]
#[serde(rename_all = "camelCase")]
pub struct DayDoc {
    /// Everything but `bonus` and `late`.
    pub points: String,
    /// Accepted requests.
    pub requests: u64,
    /// Those of status 200 to 299 that were not reversed.
    pub successful: u64,
    /// Those of status 500 or above.
    pub failed: u64,
    /// Successful requests that were reversed; left out if there are none.
    pub reversed: Option<u64>,
    /// Active days in a row that end on this day; 0 if it is not active.
    pub streak: u32,
}
