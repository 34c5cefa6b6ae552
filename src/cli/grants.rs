//! `tidemark credits` and `tidemark award`.

use serde_json::json;

use super::args::{AwardCommand, CreditsCommand};
use super::output::{Done, Failure, Out};
use super::session::{Session, by};
use crate::domain::amount::Points;
use crate::domain::ids::{Account, AccountKind};
use crate::ops::random_name;
use crate::reads::CreditLine;
use crate::store::awards::{self, Adjustment, AdjustmentError, Granted};
use crate::store::credits::{self, CreditEntry, CreditError};

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
    let credits = session.reads().credits(&account).await?;
    let mut out = Out::new();
    if is_json {
        out.json(&credits)?;
        return out.finish();
    }
    let overdrawn = if credits.overdrawn {
        " (overdrawn)"
    } else {
        ""
    };
    out.line(format!(
        "{user}: {} USD{overdrawn} = {} added − {} spent",
        credits.balance, credits.added, credits.spent
    ))?;
    let row = |line: &CreditLine| {
        vec![
            line.at.to_string(),
            line.amount.to_string(),
            line.reason.clone(),
            line.by.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = credits.entries.iter().map(row).collect();
    if !rows.is_empty() {
        out.table(&["added at", ">USD", "reason", "by"], &rows)?;
    }
    out.finish()
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
    let granted = awards::adjustment(session.db(), &adjustment, session.partitions.posting).await;
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
        out.line(format!("{account}: {sign}{points} points in the bonus of {month}; `tidemark wait` returns once they are visible"))?;
    } else {
        out.line(format!(
            "{account}: already granted under the key {idempotency_key}; nothing was changed"
        ))?;
    }
    out.finish()
}
