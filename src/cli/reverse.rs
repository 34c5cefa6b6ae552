//! `tidemark reverse`.

use serde::Deserialize;
use serde_json::json;

use super::args::ReverseArgs;
use super::client::Client;
use super::data::DataDir;
use super::output::{Done, Failure, Out};
use super::session::{Session, Workers, by};
use crate::app::commands::NewReversal;
use crate::ops::config::Config;
use crate::ops::random_name;

/// Where the reversal was sent.
#[derive(Deserialize)]
struct Sent {
    partition: u32,
    offset: Option<u64>,
}

/// Runs `tidemark reverse`.
pub async fn run(session: &Session, config: &Config, args: &ReverseArgs) -> Done {
    let key = args.key.clone().unwrap_or_else(random_name);
    let sent = match session.workers {
        // Its log is open in that process alone.
        Workers::Up => ask_up(config, args, &key).await?,
        _ => {
            let commands = session.commands();
            let sent = commands.reverse(NewReversal {
                user: args.user.clone(),
                source: args.source.clone(),
                id: args.id.clone(),
                time: args.time,
                reason: args.reason.clone(),
                idempotency_key: key.clone(),
                by: by(),
            });
            let sent = sent.await?;
            Sent {
                partition: sent.partition,
                offset: sent.offset,
            }
        }
    };
    let mut out = Out::new();
    let place = match sent.offset {
        Some(offset) => format!("usage.events/{} at offset {offset}", sent.partition),
        None => format!("usage.events/{}", sent.partition),
    };
    out.line(format!(
        "sent to {place} under the key {key}; it counts once, however often it is sent; `tidemark wait` returns once it is visible"
    ))?;
    out.finish()
}

async fn ask_up(config: &Config, args: &ReverseArgs, key: &str) -> Done<Sent> {
    let body = json!({
        "userId": args.user, "source": args.source, "id": args.id,
        "time": args.time.to_string(), "reason": args.reason,
    });
    let client = Client::new(DataDir::new(&config.data));
    let key = key.to_owned();
    let asked = move || {
        let body = body.to_string();
        client.post_under("/api/admin/reversals", &key, body.as_bytes())
    };
    let answer = tokio::task::spawn_blocking(asked).await;
    let answer = answer.map_err(Failure::failed)?.map_err(Failure::failed)?;
    answer.accepted()
}
