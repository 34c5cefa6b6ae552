//! `tidemark credits` and `tidemark award`.

use std::io::IsTerminal as _;

use serde_json::json;

use super::args::{AwardCommand, CreditsCommand};
use super::output::{Done, Failure, Out};
use super::price_import::type_yes;
use super::session::{Session, by};
use crate::app::commands::{Adjusted, Booked, Doubt, NewAdjustment, NewCredit};
use crate::app::queries::{CreditLine, CreditPage, Credits, LedgerOrder, Queries, QueryError};
use crate::app::words::noun_of;
use crate::domain::amount::Points;
use crate::domain::ids::{Account, AccountKind};
use crate::ops::config::Config;
use crate::ops::random_name;

/// Runs `tidemark credits`.
pub async fn credits(session: &Session, config: &Config, command: &CreditsCommand) -> Done {
    match command {
        CreditsCommand::Add {
            user,
            amount,
            key,
            reason,
            yes,
            json,
        } => {
            let commands = session.commands();
            let account = Account::new(AccountKind::User, user).map_err(Failure::refused)?;
            let above = config.http.ask_above_usd;
            let new = NewCredit {
                user: user.clone(),
                amount: *amount,
                reason: reason.clone(),
                idempotency_key: key.clone().unwrap_or_else(random_name),
                by: by(),
            };
            new.check()?;
            let doubts = commands.doubts_of_credit(&account, *amount, above).await?;
            ask(&doubts, *yes)?;
            let booked = commands.add_credit(new).await?;
            tell_repeat(&booked);
            show(session, user, *json).await
        }
        CreditsCommand::Undo { user, key, json } => {
            let account = Account::new(AccountKind::User, user).map_err(Failure::refused)?;
            let undone = session.commands().undo_credit(&account, key, &by()).await;
            let (_, booked) = undone?;
            tell_repeat(&booked);
            show(session, user, *json).await
        }
        CreditsCommand::Show { user, json } => show(session, user, *json).await,
    }
}

/// A repeat under the same key succeeds; who repeats it is told that it changed nothing.
fn tell_repeat(booked: &Booked) {
    if let Some(at) = booked.before {
        eprintln!("note: this entry was added before, at {at}; nothing was changed");
    }
}

async fn show(session: &Session, user: &str, is_json: bool) -> Done {
    let account = Account::new(AccountKind::User, user).map_err(Failure::refused)?;
    let credits = whole_ledger(&session.queries(), &account).await?;
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
            line.key.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = credits.entries.iter().map(row).collect();
    if !rows.is_empty() {
        out.table(&["added at", ">USD", "reason", "by", "key"], &rows)?;
    }
    out.finish()
}

/// A user's credits with every entry, oldest first.
async fn whole_ledger(queries: &Queries, user: &Account) -> Result<Credits, QueryError> {
    const TOGETHER: usize = 1_000;
    let mut all = CreditPage {
        entries: Vec::new(),
        next: None,
    };
    loop {
        let (order, after) = (LedgerOrder::OldestFirst, all.next.as_deref());
        let page = queries.credit_page(user, order, after, TOGETHER).await?;
        // An entry stays once it is there.
        let Some(page) = page else { break };
        all.entries.extend(page.entries);
        all.next = page.next;
        if all.next.is_none() {
            break;
        }
    }
    Ok(queries.credit_sums(user).await?.with(user, all))
}

/// Runs `tidemark award`.
pub async fn award(session: &Session, config: &Config, command: &AwardCommand) -> Done {
    match command {
        AwardCommand::Adjust {
            account,
            points,
            reason,
            key,
            yes,
            json,
        } => {
            let account = account.account().map_err(Failure::refused)?;
            let (commands, above) = (session.commands(), config.http.ask_above_points);
            let key = key.clone().unwrap_or_else(random_name);
            let new = NewAdjustment {
                account: account.clone(),
                points: *points,
                reason: reason.clone(),
                idempotency_key: key.clone(),
                by: by(),
            };
            new.check()?;
            let doubts = commands
                .doubts_of_adjustment(&account, *points, above)
                .await?;
            ask(&doubts, *yes)?;
            let adjusted = commands.adjust(new).await?;
            report(&account, &key, &adjusted, *json)
        }
        AwardCommand::Undo { account, key, json } => {
            let account = account.account().map_err(Failure::refused)?;
            let commands = session.commands();
            let (counter, adjusted) = commands.undo_adjustment(&account, key, &by()).await?;
            report(&account, &counter.idempotency_key, &adjusted, *json)
        }
    }
}

/// Prints what is doubtful and, on a terminal, asks. Without a terminal it continues:
/// scripts of earlier versions keep working.
fn ask(doubts: &[Doubt], yes: bool) -> Done {
    for doubt in doubts {
        eprintln!("note: {doubt}");
    }
    if doubts.is_empty() || yes || !std::io::stdin().is_terminal() {
        return Ok(());
    }
    type_yes("Continue?", "nothing was changed")
}

fn report(account: &Account, key: &str, adjusted: &Adjusted, is_json: bool) -> Done {
    let (points, month) = (adjusted.award.points, adjusted.award.month);
    let mut out = Out::new();
    if is_json {
        out.json(&json!({
            "account": account, "points": points.to_string(), "key": key,
            "month": month, "granted": adjusted.is_new,
        }))?;
    } else if adjusted.is_new {
        let sign = if points < Points::ZERO { "" } else { "+" };
        let noun = noun_of(Points(points.0.abs()));
        out.line(format!("{account}: {sign}{points} {noun} in the bonus of {month}; `tidemark wait` returns once they are visible"))?;
    } else {
        out.line(format!(
            "{account}: already granted under the key {key}; nothing was changed"
        ))?;
    }
    out.finish()
}
