//! `tidemark rejects`: what was refused, and what becomes of it.
//!
//! While `up` runs it owns the log, so redriving and discarding go through its HTTP service, and the audit trail names this machine's key.
//! Otherwise the command works on log and store itself, in a cluster above all.

use std::io::Read as _;
use std::path::Path;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::args::{RejectPlace, RejectsCommand};
use super::client::{Answer, Client};
use super::data::DataDir;
use super::output::{Done, Failure, Out};
use super::records;
use super::session::{Session, Workers, by};
use crate::domain::position::{Offset, Partition};
use crate::http::RejectDetail;
use crate::log::Topic;
use crate::log::usage::EVENT_BYTES_MAX;
use crate::ops::config::Config;
use crate::store::redrive::{self, Decider, FindError, Found, RedriveError};

/// Runs the command.
pub async fn run(session: &Session, config: &Config, command: &RejectsCommand) -> Done {
    match command {
        RejectsCommand::List {
            reason,
            limit,
            newest,
            json,
        } => records::rejects(session, reason.as_deref(), *limit, newest, *json).await,
        RejectsCommand::Show { place } => {
            let found = find(session, *place).await?;
            let shown = detail(session, &found).await?;
            let mut out = Out::new();
            out.pretty_json(&shown)?;
            out.finish()
        }
        RejectsCommand::Redrive { place, event } => {
            let event = event.as_deref().map(read_event).transpose()?;
            redrive(session, config, *place, event.as_deref()).await
        }
        RejectsCommand::Discard { place, reason } => discard(session, config, *place, reason).await,
    }
}

async fn find(session: &Session, place: RejectPlace) -> Done<Found> {
    let RejectPlace { partition, offset } = place;
    let count = session.log.topic(Topic::UsageRejected).await?.partitions;
    let missing = || {
        Failure::refused(format!(
            "no reject at {partition} {offset}; `tidemark rejects list` shows all rejects"
        ))
    };
    if partition >= count {
        return Err(missing());
    }
    let found = redrive::find(&*session.log, Partition(partition), Offset(offset)).await;
    let found = found.map_err(|error| match error {
        FindError::Log(error) => error.into(),
        FindError::Reject(error) => Failure::failed(error),
    })?;
    found.ok_or_else(missing)
}

async fn detail(session: &Session, found: &Found) -> Done<Value> {
    let fates = redrive::fates(session.db(), std::slice::from_ref(found)).await?;
    let fate = fates.into_iter().next().flatten();
    serde_json::to_value(RejectDetail::new(found, fate)).map_err(Failure::failed)
}

/// One JSON value, as it was written.
fn read_event(file: &Path) -> Done<String> {
    let unreadable = |error| Failure::refused(format!("cannot read {}: {error}", file.display()));
    // One byte more than an event may have: then it is refused as too large, and not as cut off.
    let most = EVENT_BYTES_MAX as u64 + 1;
    let mut text = String::new();
    if file.as_os_str() == "-" {
        let mut input = std::io::stdin().lock().take(most);
        input.read_to_string(&mut text).map_err(unreadable)?;
    } else {
        let open = std::fs::File::open(file).map_err(unreadable)?;
        open.take(most)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
    }
    let event = RawValue::from_string(text.trim().to_owned()).map_err(|error| {
        Failure::refused(format!("{} is not one JSON event: {error}", file.display()))
    })?;
    Ok(event.get().to_owned())
}

async fn redrive(
    session: &Session,
    config: &Config,
    place: RejectPlace,
    event: Option<&str>,
) -> Done {
    let shown = if session.workers == Workers::Up {
        let body = match event {
            None => "{}".to_owned(),
            // It was read as one JSON value, so it cannot end the object.
            Some(event) => format!("{{\"value\":{event}}}"),
        };
        post(config, place, "redrive", body).await?
    } else {
        let found = find(session, place).await?;
        let decider = decider(session);
        let sent = redrive::redrive(session.db(), &*session.log, &found, event, &decider);
        sent.await.map_err(refused)?;
        detail(session, &found).await?
    };
    let sent = &shown["redriven"]["sent"];
    let edited = match shown["redriven"]["edited"] == true {
        true => "edited",
        false => "unchanged",
    };
    let mut out = Out::new();
    out.line(format!(
        "sent {edited} to usage.events/{} at offset {}; it counts once, however often it is sent; \
         `tidemark wait` returns once it is visible",
        sent["partition"], sent["offset"]
    ))?;
    out.finish()
}

async fn discard(session: &Session, config: &Config, place: RejectPlace, reason: &str) -> Done {
    let shown = if session.workers == Workers::Up {
        post(
            config,
            place,
            "discard",
            json!({"reason": reason}).to_string(),
        )
        .await?
    } else {
        let found = find(session, place).await?;
        let done = redrive::discard(session.db(), &found, reason, &decider(session)).await;
        done.map_err(refused)?;
        detail(session, &found).await?
    };
    let text = |name: &str| {
        shown["discarded"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let mut out = Out::new();
    out.line(format!(
        "discarded by {} at {}: {}",
        text("by"),
        text("at"),
        text("reason")
    ))?;
    out.finish()
}

fn decider(session: &Session) -> Decider {
    Decider {
        by: by(),
        now: session.now(),
    }
}

fn refused(error: RedriveError) -> Failure {
    match error {
        RedriveError::Store(error) => error.into(),
        RedriveError::Log(error) => error.into(),
        other => Failure::refused(other),
    }
}

/// Asks the `up` that runs.
async fn post(config: &Config, place: RejectPlace, what: &str, body: String) -> Done<Value> {
    let RejectPlace { partition, offset } = place;
    let path = format!("/api/admin/rejects/{partition}/{offset}/{what}");
    let client = Client::new(DataDir::new(&config.data));
    let asked = move || client.post(&path, "application/json", body.as_bytes());
    let answer = tokio::task::spawn_blocking(asked)
        .await
        .map_err(Failure::failed)?
        .map_err(Failure::failed)?;
    match answer.status {
        200 => serde_json::from_slice(&answer.body).map_err(Failure::failed),
        400..=499 => Err(Failure::refused(said(&answer))),
        _ => Err(Failure::failed(said(&answer))),
    }
}

fn said(answer: &Answer) -> String {
    let problem = answer.problem();
    match problem.events.first() {
        Some(bad) => format!("{} ({})", problem.detail, bad.code),
        None => problem.detail,
    }
}
