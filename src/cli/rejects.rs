//! `tidemark rejects`: what was refused, and what becomes of it.
//!
//! While `up` runs it owns the log, so redriving and discarding go through its HTTP service, and
//! the audit trail names this machine's key. Otherwise the command works on log and store itself,
//! in a cluster above all.

use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::args::{self, RejectsCommand};
use super::client::Client;
use super::data::DataDir;
use super::output::{Done, Failure, Out};
use super::records;
use super::session::{Session, Workers, by};
use crate::app::queries::{DiscardInfo, RedriveInfo, RejectPlace};
use crate::log::usage::EVENT_BYTES_MAX;
use crate::ops::config::Config;

/// What became of a reject, as this process or the `up` that runs says.
#[derive(Deserialize)]
struct RedriveOutcome {
    redriven: Option<RedriveInfo>,
    discarded: Option<DiscardInfo>,
}

const fn place_of(place: args::RejectPlace) -> RejectPlace {
    let args::RejectPlace { partition, offset } = place;
    RejectPlace { partition, offset }
}

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
            let shown = session.queries().reject(place_of(*place)).await?;
            let mut out = Out::new();
            out.pretty_json(&shown)?;
            out.finish()
        }
        RejectsCommand::Redrive { place, event } => {
            let event = event.as_deref().map(read_event).transpose()?;
            redrive(session, config, place_of(*place), event.as_deref()).await
        }
        RejectsCommand::Discard { place, reason } => {
            discard(session, config, place_of(*place), reason).await
        }
    }
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
    let redriven = if session.workers == Workers::Up {
        let body = match event {
            None => "{}".to_owned(),
            // It was read as one JSON value, so it cannot end the object.
            Some(event) => format!("{{\"value\":{event}}}"),
        };
        post(config, place, "redrive", body).await?.redriven
    } else {
        let commands = session.commands();
        let sent = commands.redrive_reject(place, event, by()).await?;
        sent.redriven
    };
    let sent = redriven.as_ref().and_then(|redriven| redriven.sent);
    let (Some(redriven), Some(sent)) = (redriven, sent) else {
        return Err(Failure::failed(
            "the answer does not say where the event was sent; run the command again, it counts once however often it is sent",
        ));
    };
    let edited = match redriven.edited {
        true => "edited",
        false => "unchanged",
    };
    let mut out = Out::new();
    out.line(format!(
        "sent {edited} to usage.events/{} at offset {}; it counts once, however often it is sent; \
         `tidemark wait` returns once it is visible",
        sent.partition, sent.offset
    ))?;
    out.finish()
}

async fn discard(session: &Session, config: &Config, place: RejectPlace, reason: &str) -> Done {
    let discarded = if session.workers == Workers::Up {
        let body = json!({"reason": reason}).to_string();
        post(config, place, "discard", body).await?.discarded
    } else {
        let commands = session.commands();
        let done = commands.discard_reject(place, reason, by()).await?;
        done.discarded
    };
    let DiscardInfo { by, at, reason } = discarded.ok_or_else(|| {
        Failure::failed("the answer does not say that it was discarded; try again")
    })?;
    let mut out = Out::new();
    out.line(format!("discarded by {by} at {at}: {reason}"))?;
    out.finish()
}

/// Asks the `up` that runs.
async fn post(
    config: &Config,
    place: RejectPlace,
    what: &str,
    body: String,
) -> Done<RedriveOutcome> {
    let RejectPlace { partition, offset } = place;
    let path = format!("/api/admin/rejects/{partition}/{offset}/{what}");
    let client = Client::new(DataDir::new(&config.data));
    let asked = move || client.post(&path, "application/json", body.as_bytes());
    let answer = tokio::task::spawn_blocking(asked)
        .await
        .map_err(Failure::failed)?
        .map_err(Failure::failed)?;
    answer.accepted()
}
