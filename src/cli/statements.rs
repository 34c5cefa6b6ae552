//! `tidemark statement`, `tidemark leaderboard` and `tidemark usage`.

use std::sync::Arc;

use serde_json::json;

use super::args::{LeaderboardArgs, StatementArgs, UsageArgs};
use super::output::{Done, Failure, Out};
use super::session::Session;
use crate::domain::ids::{Account, AccountKind, check_id};
use crate::domain::ledger::MonthRow;
use crate::domain::rules::Timeline;
use crate::domain::statement::{Statement, statement};
use crate::domain::time::Month;
use crate::pipeline::progress::Finality;
use crate::store::usage_list;
use crate::store::{accounts, top};

/// Runs `tidemark statement`.
pub async fn statements(session: &Session, args: &StatementArgs) -> Done {
    let month = args.month.unwrap_or_else(|| session.now().month());
    let printer = Printer::new(session, month).await?;
    match (args.kind, &args.id) {
        (Some(kind), Some(id)) => {
            let account = Account::new(kind, id).map_err(Failure::refused)?;
            printer.one(session, &account, args.json).await
        }
        _ => printer.all(session).await,
    }
}

/// Statements of one month.
struct Printer {
    month: Month,
    timeline: Arc<Timeline>,
    is_final: bool,
}

impl Printer {
    /// Finality is read before any row: a row that is read later can only be newer.
    async fn new(session: &Session, month: Month) -> Done<Printer> {
        let (sources, postings) = (session.source_partitions, session.posting_partitions);
        let finality = Finality::read(session.db(), sources, postings).await?;
        Ok(Printer {
            month,
            timeline: session.rules_needed().await?,
            is_final: finality.is_final(month),
        })
    }

    fn statement(&self, account: &Account, row: &MonthRow) -> Done<Statement> {
        statement(account, row, &self.timeline, self.is_final).map_err(Failure::failed)
    }

    async fn one(&self, session: &Session, account: &Account, is_json: bool) -> Done {
        let month = self.month;
        let row = accounts::month(session.db(), account, month).await?;
        let row = row.ok_or_else(|| {
            Failure::failed(format!(
                "{} {} has nothing in {month}; ids are case-sensitive, and what was just sent may take a moment (tidemark wait)",
                account.kind,
                account.id()
            ))
        })?;
        let statement = self.statement(account, &row.row)?;
        let mut out = Out::new();
        if is_json {
            out.json(&statement)?;
        } else {
            out.line(statement.to_string().trim_end())?;
        }
        out.finish()
    }

    async fn all(&self, session: &Session) -> Done {
        let mut out = Out::new();
        for kind in AccountKind::ALL {
            let mut after = None;
            loop {
                let page = session.db().scan(accounts::table(kind), after).await?;
                for item in &page.items {
                    if let Some((account, stored)) = accounts::account_of(kind, item)?
                        && stored.row.month == self.month
                    {
                        out.json(&self.statement(&account, &stored.row)?)?;
                    }
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        out.finish()
    }
}

/// Runs `tidemark leaderboard`.
pub async fn leaderboard(session: &Session, args: &LeaderboardArgs) -> Done {
    let month = args.month.unwrap_or_else(|| session.now().month());
    let kind = args.kind.kind();
    let ranked = top::leaderboard(session.db(), session.posting_partitions, kind, month).await?;
    let ranked = &ranked[..ranked.len().min(args.top)];
    let mut out = Out::new();
    if args.json {
        for (rank, entry) in (1..).zip(ranked) {
            out.json(&json!({"rank": rank, "kind": kind, "id": entry.1, "month": month, "total": entry.0.to_string()}))?;
        }
    } else if ranked.is_empty() {
        out.line(format!("no {kind} has points in {month}"))?;
    } else {
        let row = |(rank, entry): (usize, &top::Ranked)| {
            vec![rank.to_string(), entry.1.clone(), entry.0.to_string()]
        };
        let rows: Vec<Vec<String>> = (1..).zip(ranked).map(row).collect();
        out.table(&[">rank", kind.as_str(), ">points"], &rows)?;
    }
    out.finish()
}

/// Runs `tidemark usage`.
pub async fn usage(session: &Session, args: &UsageArgs) -> Done {
    check_id(&args.id).map_err(Failure::refused)?;
    let day = args.day.unwrap_or_else(|| session.now().day());
    let lines = usage_list::of_day(session.db(), &args.id, day, session.now()).await?;
    let mut out = Out::new();
    if args.json {
        lines.iter().try_for_each(|line| out.json(line))?;
    } else if lines.is_empty() {
        out.line(format!("user {} has no request on {day}", args.id))?;
    } else {
        let rows: Vec<Vec<String>> = lines.iter().map(usage_list::UsageLine::columns).collect();
        out.table(&usage_list::UsageLine::TITLES, &rows)?;
    }
    out.finish()
}
