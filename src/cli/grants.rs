//! `tidemark credits` and `tidemark award`.

use serde_json::{Value, json};

use super::args::{AwardCommand, CreditsCommand};
use super::output::{Done, Failure, Out};
use super::session::{Session, by, random_name};
use crate::domain::amount::{Money, Points};
use crate::domain::ids::{Account, AccountKind};
use crate::store::accounts::{self, ReadOrder, Reading};
use crate::store::awards::{self, Adjustment, AdjustmentError, Granted};
use crate::store::credits::{self, CreditEntry, CreditError};

/// How often rows that change while they are read are read again.
const READS_MAX: u32 = 20;

/// Runs `tidemark credits`.
pub async fn credits(session: &Session, command: &CreditsCommand) -> Done {
    match command {
        CreditsCommand::Add {
            user,
            amount,
            key,
            reason,
            json,
        } => {
            let entry = CreditEntry {
                idempotency_key: key.clone().unwrap_or_else(random_name),
                amount: *amount,
                reason: reason.clone(),
                by: by(),
                at: session.now(),
            };
            let added = credits::add(session.db(), user, &entry).await;
            added.map_err(|error| match error {
                CreditError::Store(error) => error.into(),
                other => Failure::refused(other),
            })?;
            show(session, user, *json).await
        }
        CreditsCommand::Show { user, json } => show(session, user, *json).await,
    }
}

async fn show(session: &Session, user: &str, is_json: bool) -> Done {
    let account = Account::new(AccountKind::User, user).map_err(Failure::refused)?;
    let added = credits::added(session.db(), user).await?.total;
    let spent = spent(session, &account).await?;
    let balance = Money(added.0 - spent.0);
    let ledger = credits::ledger(session.db(), user).await?;
    let mut out = Out::new();
    if is_json {
        let entries: Vec<Value> = ledger.iter().map(entry_json).collect();
        out.json(&json!({
            "userId": user, "added": added.to_string(), "spent": spent.to_string(),
            "balance": balance.to_string(), "overdrawn": balance.0 < 0, "entries": entries,
        }))?;
    } else {
        let overdrawn = if balance.0 < 0 { " (overdrawn)" } else { "" };
        out.line(format!(
            "{user}: {balance} USD{overdrawn} = {added} added − {spent} spent"
        ))?;
        let row = |e: &CreditEntry| {
            vec![
                e.at.to_string(),
                e.amount.to_string(),
                e.reason.clone(),
                e.by.clone(),
            ]
        };
        let rows: Vec<Vec<String>> = ledger.iter().map(row).collect();
        if !rows.is_empty() {
            out.table(&["added at", ">USD", "reason", "by"], &rows)?;
        }
    }
    out.finish()
}

fn entry_json(entry: &CreditEntry) -> Value {
    json!({
        "at": entry.at.to_string(), "amount": entry.amount.to_string(), "reason": entry.reason,
        "by": entry.by, "key": entry.idempotency_key,
    })
}

/// What the user's usage has cost, over its life.
async fn spent(session: &Session, account: &Account) -> Done<Money> {
    for _ in 0..READS_MAX {
        match accounts::read(session.db(), account, ReadOrder::HeadFirstMatched).await? {
            Reading::Absent => return Ok(Money::ZERO),
            Reading::Whole(stored) => return Ok(stored.rows.lifetime.spent),
            Reading::Torn(_) => (),
        }
    }
    Err(Failure::failed(format!(
        "the rows of {account} change while they are read; try again"
    )))
}

/// Runs `tidemark award`.
pub async fn award(session: &Session, command: &AwardCommand) -> Done {
    let AwardCommand::Adjust {
        account,
        points,
        reason,
        key,
        json,
    } = command;
    let account = account.account().map_err(Failure::refused)?;
    let adjustment = Adjustment {
        account,
        points: *points,
        reason: reason.clone(),
        idempotency_key: key.clone().unwrap_or_else(random_name),
        by: by(),
        now: session.now(),
    };
    let granted = awards::adjustment(session.db(), &adjustment, session.posting_partitions).await;
    let granted = granted.map_err(|error| match error {
        AdjustmentError::Store(error) => error.into(),
        other => Failure::refused(other),
    })?;
    report(&adjustment, granted, *json)
}

fn report(adjustment: &Adjustment, granted: Granted, is_json: bool) -> Done {
    let Adjustment {
        account,
        points,
        idempotency_key,
        now,
        ..
    } = adjustment;
    let is_new = granted == Granted::Now;
    let mut out = Out::new();
    if is_json {
        out.json(&json!({
            "account": account, "points": points.to_string(), "key": idempotency_key,
            "month": now.month(), "granted": is_new,
        }))?;
    } else if is_new {
        let sign = if *points < Points::ZERO { "" } else { "+" };
        let month = now.month();
        out.line(format!("{account}: {sign}{points} points in the bonus of {month}; `tidemark wait` returns when it can be seen"))?;
    } else {
        out.line(format!(
            "{account}: granted before under the key {idempotency_key}; nothing was changed"
        ))?;
    }
    out.finish()
}
