//! `log` and `rejects`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{duration, instant};
use crate::domain::time::Millis;
use crate::ops::clock::{Clock, SystemClock};

/// Most records that `--last` may ask for: they are kept in memory.
const LAST_MAX: u64 = 100_000;

/// Which records of a topic, seen from its end.
#[derive(Clone, Copy, Debug, Args)]
pub struct NewestArgs {
    /// The newest N of all partitions together, oldest of them first.
    #[arg(long, value_name = "N", conflicts_with = "limit", value_parser = clap::value_parser!(u64).range(1..=LAST_MAX))]
    pub last: Option<u64>,
    /// Only what the log took since then: how long ago (90s, 1h, 7d), or a time (2026-11-22T10:00:00Z).
    #[arg(long, value_name = "TIME|DURATION", value_parser = since)]
    pub since: Option<Millis>,
}

fn since(text: &str) -> Result<Millis, String> {
    if let Ok(at) = instant(text) {
        return Ok(at);
    }
    let ago = duration(text).map_err(|_| {
        "write how long ago, such as 90s, 1h or 7d, or a time such as 2026-11-22T10:00:00Z"
            .to_owned()
    })?;
    let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
    Ok(Millis(SystemClock.now().0.saturating_sub(ago)))
}

const LIST_EXAMPLES: &str = "\
Examples:
  tidemark rejects list --last 20                    the newest, whatever their partition
  tidemark rejects list --since 1h --reason too_old
  tidemark rejects list --since 2026-11-22T10:00:00Z --json";

const CAT_EXAMPLES: &str = "\
Topics: usage.events, usage.rejected, ledger.postings

Examples:
  tidemark log cat usage.events --last 10            the newest, whatever their partition
  tidemark log cat usage.events --since 10m          what has come in these ten minutes
  tidemark log cat usage.events --partition 2 --from 1000 --limit 5";

/// `rejects`.
#[derive(Debug, Subcommand)]
pub enum RejectsCommand {
    /// List them: where each stood, why it was rejected, and its bytes. Oldest first, partition by partition.
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Only those with this reason code.
        #[arg(long)]
        reason: Option<String>,
        /// The oldest N, per partition.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// Which of them.
        #[command(flatten)]
        newest: NewestArgs,
        /// Print JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Show one: why it was rejected, its bytes, and what became of it. Prints JSON.
    #[command(after_help = REJECTS_PLACE)]
    Show {
        /// Where it stands.
        #[command(flatten)]
        place: RejectPlace,
    },
    /// Send one again, as it was or edited. Repeating it is safe: an event counts once.
    #[command(
        after_help = "Examples:\n  tidemark rejects redrive 1 17                      as it was\n  \
tidemark rejects redrive 1 17 --event mended.json  another event in its place\n\nEvery repeat sends what the first one sent. \
`tidemark rejects list` names PARTITION and OFFSET."
    )]
    Redrive {
        /// Where it stands.
        #[command(flatten)]
        place: RejectPlace,
        /// The edited event: a file of one JSON object; - is standard input.
        #[arg(long, value_name = "FILE")]
        event: Option<PathBuf>,
    },
    /// Mark one as done with: it is not sent again.
    #[command(after_help = REJECTS_PLACE)]
    Discard {
        /// Where it stands.
        #[command(flatten)]
        place: RejectPlace,
        /// Why.
        #[arg(long)]
        reason: String,
    },
}

const REJECTS_PLACE: &str = "`tidemark rejects list` names PARTITION and OFFSET.";

/// A place in usage.rejected.
#[derive(Clone, Copy, Debug, Args)]
pub struct RejectPlace {
    /// The partition of usage.rejected.
    pub partition: u32,
    /// The offset in it.
    pub offset: u64,
}

/// `log`.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Print a topic's records as JSON lines. Oldest first, partition by partition.
    #[command(after_help = CAT_EXAMPLES)]
    Cat {
        /// The topic.
        topic: String,
        /// Only this partition.
        #[arg(long)]
        partition: Option<u32>,
        /// From this offset on.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// The oldest N, per partition.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// Which of them.
        #[command(flatten)]
        newest: NewestArgs,
    },
}
