//! `tidemark set-aside`: accounts that wait while their partition goes on.

use std::time::Duration;

use serde_json::json;

use super::accept_loss::is_confirmed;
use super::args::{ReleaseArgs, SetAsideCommand};
use super::engine::topic_specs;
use super::output::{Done, Failure, Out, counted};
use super::session::{Session, by};
use crate::app::queries::{SetAside, UnreadableRecord};
use crate::domain::ids::Account;
use crate::domain::time::Millis;
use crate::log::{Bounds, Topic};
use crate::ops::config::Config;

/// What is to be typed.
const CONFIRMATION: &str = "accept";

/// Runs `tidemark set-aside`.
pub async fn run(session: &Session, config: &Config, command: &SetAsideCommand) -> Done {
    match command {
        SetAsideCommand::List(args) => list(session, config, args.json).await,
        SetAsideCommand::Release(args) => release(session, args).await,
    }
}

/// How long the log holds what an account misses.
pub(super) enum Held {
    /// It has dropped the first of it already.
    Gone,
    /// Until then, if the topic keeps records as long as its file says.
    Until(Millis),
    /// Nothing is missing yet, or this cannot be told.
    Unknown,
}

impl Held {
    /// Of an account that is set aside.
    pub(super) async fn of(
        session: &Session,
        retention: Duration,
        record: &SetAside,
    ) -> Done<Held> {
        let since = &record.since;
        if since.epoch != session.log.epoch() {
            return Ok(Held::Unknown);
        }
        let bounds = session.log.bounds(Topic::LedgerPostings, record.partition);
        let Bounds { start, .. } = bounds.await?;
        if start > since.next {
            return Ok(Held::Gone);
        }
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let until = |at: Millis| Held::Until(Millis(at.0.saturating_add(retention)));
        Ok(record.since_time.map_or(Held::Unknown, until))
    }

    pub(super) fn text(&self) -> String {
        match self {
            Held::Gone => "some of it has expired".to_owned(),
            Held::Until(at) => format!("until {at}"),
            Held::Unknown => "-".to_owned(),
        }
    }
}

/// How long `ledger.postings` keeps records.
pub(super) fn retention(config: &Config) -> Done<Duration> {
    let specs = topic_specs(config)?;
    let of = specs
        .iter()
        .find(|spec| spec.topic == Topic::LedgerPostings);
    Ok(of.map_or(Duration::MAX, |spec| spec.retention))
}

async fn list(session: &Session, config: &Config, is_json: bool) -> Done {
    let retention = retention(config)?;
    let mut out = Out::new();
    let mut rows = Vec::new();
    let aside = session.queries().set_aside().await?;
    for record in &aside.unreadable {
        if is_json {
            out.json(&unreadable_as_json(record))?;
        } else {
            rows.push(unreadable_row(record));
        }
    }
    for record in aside.records {
        let held = Held::of(session, retention, &record).await?;
        if is_json {
            out.json(&as_json(&record, &held))?;
        } else {
            rows.push(row(&record, &held));
        }
    }
    if !is_json && rows.is_empty() {
        out.line("no account is set aside")?;
    } else if !is_json {
        let titles = ["account", "code", "since", "log holds it", "state", "what"];
        out.table(&titles, &rows)?;
    }
    out.finish()
}

fn state(record: &SetAside) -> String {
    match (&record.release, &record.refused) {
        (Some(_), _) => "being released".to_owned(),
        (None, Some(refused)) => format!("not released ({}): {}", refused.code, refused.what),
        (None, None) => "waiting for repair".to_owned(),
    }
}

fn row(record: &SetAside, held: &Held) -> Vec<String> {
    vec![
        record.account.to_string(),
        record.code.as_str().to_owned(),
        record.at.to_string(),
        held.text(),
        state(record),
        record.what.clone(),
    ]
}

fn unreadable_row(record: &UnreadableRecord) -> Vec<String> {
    let code = UnreadableRecord::CODE.to_owned();
    let unknown = || "-".to_owned();
    let state = "waiting for repair".to_owned();
    let what = record.what.clone();
    vec![record.name(), code, unknown(), unknown(), state, what]
}

fn unreadable_as_json(record: &UnreadableRecord) -> serde_json::Value {
    let account = record.account.as_ref();
    json!({
        "kind": account.map(|account| account.kind.as_str()),
        "id": account.map(Account::id),
        "code": UnreadableRecord::CODE,
        "what": record.what,
    })
}

fn as_json(record: &SetAside, held: &Held) -> serde_json::Value {
    json!({
        "kind": record.account.kind.as_str(),
        "id": record.account.id(),
        "code": record.code,
        "what": record.what,
        "since": record.at.to_string(),
        "postingPartition": record.partition,
        "from": record.since.position().to_string(),
        "expired": matches!(held, Held::Gone),
        "heldUntil": match held {
            Held::Until(at) => Some(at.to_string()),
            Held::Gone | Held::Unknown => None,
        },
        "releaseRequested": record.release.is_some(),
        "refused": record.refused.as_ref().map(|refused| json!({
            "code": refused.code, "what": refused.what, "at": refused.at.to_string(),
        })),
    })
}

async fn release(session: &Session, args: &ReleaseArgs) -> Done {
    let account = args.account.account().map_err(Failure::refused)?;
    if args.accept_missing {
        eprintln!(
            "GIVEN UP permanently: whatever {account} misses that the log no longer holds, or that its \
             restored rows lack."
        );
        if !args.yes && !is_confirmed(CONFIRMATION)? {
            return Err(Failure::refused("not confirmed; nothing was changed"));
        }
    }
    let commands = session.commands();
    commands
        .release(&account, args.accept_missing, &args.reason, &by())
        .await?;
    let mut out = Out::new();
    out.line(format!(
        "{account} is released once its poster has added what it missed; it then disappears from \
         `tidemark set-aside list`. If it is still damaged, it stays set aside, and the list says why"
    ))?;
    out.finish()
}

/// What `doctor` says of an account that is set aside.
pub(super) fn sentence(record: &SetAside, held: &Held) -> String {
    let (account, code, at) = (&record.account, record.code.as_str(), record.at);
    let held = match held {
        Held::Gone => format!(
            " ledger.postings/{} no longer holds the first of what it misses: release it with \
             --accept-missing, and add what is missing as an adjustment.",
            record.partition
        ),
        Held::Until(until) => format!(" The log holds what it misses until {until}."),
        Held::Unknown => String::new(),
    };
    let refused = record.refused.as_ref().map_or(String::new(), |refused| {
        format!(
            " It was not released at {} ({}): {}.",
            refused.at, refused.code, refused.what
        )
    });
    let release = match record.release {
        Some(_) => " It is being released.".to_owned(),
        None => format!(
            " {} Then: tidemark set-aside release {} {} --reason '…'",
            record.code.advice(),
            account.kind,
            account.id()
        ),
    };
    format!(
        "{account} has been set aside since {at} ({code}): {}.{refused}{held}{release}",
        record.what.trim_end_matches('.')
    )
}

/// What `doctor` says of a record that cannot be decoded.
pub(super) fn unreadable_sentence(record: &UnreadableRecord) -> String {
    format!(
        "{} is set aside, but its record cannot be read ({}): {}. {}",
        record.name(),
        UnreadableRecord::CODE,
        record.what.trim_end_matches('.'),
        UnreadableRecord::ADVICE
    )
}

/// One line for all of them.
pub(super) fn headline(count: usize) -> String {
    format!(
        "{} set aside: what they earn is not counted until they are repaired and released. All \
         other accounts continue.",
        counted(count as u64, "account")
    )
}
