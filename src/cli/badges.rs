//! `tidemark badges`: what accounts have, what is taken back, and the key that signs credentials.

use super::args::{BadgeDecisionArgs, BadgesCommand};
use super::output::{Done, Failure, Out};
use super::session::{Session, by};
use crate::app::commands::{badge_id, not_granted};
use crate::app::queries::{BadgeLine, PublicKey};
use crate::domain::ids::Account;

/// Runs the command.
pub async fn run(session: &Session, command: &BadgesCommand) -> Done {
    match command {
        BadgesCommand::List { account, json } => {
            let account = account.account().map_err(Failure::refused)?;
            list(session, &account, *json).await
        }
        BadgesCommand::Show {
            account,
            badge,
            json,
        } => {
            let account = account.account().map_err(Failure::refused)?;
            show(session, &account, badge, *json).await
        }
        BadgesCommand::Revoke(args) => decide(session, args, true).await,
        BadgesCommand::Restore(args) => decide(session, args, false).await,
        BadgesCommand::Keys { json } => keys(session, *json).await,
        BadgesCommand::RotateKey { reason } => {
            let key = session.commands().rotate_badge_key(reason, &by()).await;
            let key = key.map_err(Failure::with_code)?;
            let mut out = Out::new();
            out.line(format!(
                "credentials are signed with the key {key} from now on; the public part of the one before stays published"
            ))?;
            out.finish()
        }
        BadgesCommand::WithdrawKey { key, reason } => {
            let commands = session.commands();
            let withdrawn = commands.withdraw_badge_key(key, reason, &by()).await;
            withdrawn.map_err(Failure::with_code)?;
            let mut out = Out::new();
            out.line(format!(
                "the key {key} is not published any more; credentials that it signed can no longer be verified"
            ))?;
            out.finish()
        }
    }
}

fn state(line: &BadgeLine) -> String {
    match (&line.revoked_at, &line.revoked_reason) {
        (Some(at), Some(reason)) => format!("revoked at {at}: {reason}"),
        _ => "granted".to_owned(),
    }
}

async fn list(session: &Session, account: &Account, is_json: bool) -> Done {
    let badges = session.queries().badges(account).await?;
    let mut out = Out::new();
    if is_json {
        out.json(&badges)?;
    } else if badges.badges.is_empty() {
        out.line(format!("{account} has no badges"))?;
    } else {
        let row = |line: &BadgeLine| {
            vec![
                line.badge.clone(),
                line.name.clone(),
                line.granted_at.to_string(),
                line.evidence.clone(),
                state(line),
            ]
        };
        let rows: Vec<Vec<String>> = badges.badges.iter().map(row).collect();
        out.table(&["badge", "name", "granted at", "for", "state"], &rows)?;
    }
    out.finish()
}

async fn show(session: &Session, account: &Account, badge: &str, is_json: bool) -> Done {
    let id = badge_id(badge).map_err(Failure::with_code)?;
    let shown = session.queries().badge_of(account, &id).await?;
    let shown = shown.ok_or_else(|| Failure::with_code(not_granted(account, &id)))?;
    print(&BadgeLine::from(&shown), is_json)
}

fn print(line: &BadgeLine, is_json: bool) -> Done {
    let mut out = Out::new();
    if is_json {
        out.json(line)?;
        return out.finish();
    }
    out.line(format!("{} ({})", line.name, line.badge))?;
    out.line(&line.description)?;
    out.line(format!("criterion:   {}", line.criterion))?;
    out.line(format!("earned by:   {}", line.evidence))?;
    out.line(format!("granted at:  {}", line.granted_at))?;
    if let Some(position) = &line.position {
        out.line(format!("position:    {position}"))?;
    }
    out.line(format!("public path: {}", line.path))?;
    out.line(format!("state:       {}", state(line)))?;
    out.finish()
}

async fn decide(session: &Session, args: &BadgeDecisionArgs, revoke: bool) -> Done {
    let account = args.account.account().map_err(Failure::refused)?;
    let commands = session.commands();
    let reason = args.reason.clone();
    let line = commands
        .decide_badge(&account, &args.badge, revoke, reason, by())
        .await;
    print(&line.map_err(Failure::with_code)?, args.json)
}

async fn keys(session: &Session, is_json: bool) -> Done {
    let queries = session.queries();
    let (keys, signing) = (
        queries.badge_keys().await?,
        queries.badge_signing_key_id().await?,
    );
    let use_of = |key: &PublicKey| match key.withdrawn_at {
        Some(_) => "withdrawn",
        None if signing.as_ref() == Some(&key.id) => "signs",
        None => "replaced",
    };
    let mut out = Out::new();
    if is_json {
        for key in &keys {
            out.json(
                &serde_json::json!({"key": key.id, "madeAt": key.made_at.to_string(), "x": key.x,
                "use": use_of(key)}),
            )?;
        }
    } else if keys.is_empty() {
        out.line("no keys yet; the first credential makes one")?;
    } else {
        let row = |key: &PublicKey| {
            vec![
                key.id.clone(),
                key.made_at.to_string(),
                use_of(key).to_owned(),
            ]
        };
        let rows: Vec<Vec<String>> = keys.iter().map(row).collect();
        out.table(&["key", "made at", "use"], &rows)?;
    }
    out.finish()
}
