//! `log` and `rejects`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{duration, instant};
use crate::domain::time::Millis;
use crate::ops::clock::{Clock, SystemClock};

/// Most records that `--last` accepts: they are kept in memory.
const LAST_MAX: u64 = 100_000;

/// Which records of a topic, seen from its end.
#[derive(Clone, Copy, Debug, Args)]
pub struct NewestArgs {
    /// The newest N over all partitions, oldest first.
    #[arg(long, value_name = "N", conflicts_with = "limit", value_parser = clap::value_parser!(u64).range(1..=LAST_MAX))]
    pub last: Option<u64>,
    /// Only records appended since then: a duration ago (90s, 1h, 7d) or a time
    /// (2026-11-22T10:00:00Z).
    #[arg(long, value_name = "TIME|DURATION", value_parser = since)]
    pub since: Option<Millis>,
}

fn since(text: &str) -> Result<Millis, String> {
    if let Ok(at) = instant(text) {
        return Ok(at);
    }
    let ago = duration(text).map_err(|_| {
        "write a duration such as 90s, 1h or 7d, or a time such as 2026-11-22T10:00:00Z".to_owned()
    })?;
    let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
    Ok(Millis(SystemClock.now().0.saturating_sub(ago)))
}

const LIST_EXAMPLES: &str = "\
Examples:
  tidemark rejects list --last 20                    the newest over all partitions
  tidemark rejects list --since 1h --reason too_old
  tidemark rejects list --since 2026-11-22T10:00:00Z --json";

const CAT_EXAMPLES: &str = "\
Topics: usage.events, usage.rejected, ledger.postings, ledger.cuts

Examples:
  tidemark log cat usage.events --last 10            the newest over all partitions
  tidemark log cat usage.events --since 10m          appended in the last ten minutes
  tidemark log cat usage.events --partition 2 --from 1000 --limit 5";

/// `rejects`.
#[derive(Debug, Subcommand)]
pub enum RejectsCommand {
    /// List rejects: where each record was, why it was rejected, and its bytes. Oldest first,
    /// partition by partition.
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Only rejects with this reason code.
        #[arg(long)]
        reason: Option<String>,
        /// At most N per partition, oldest first.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// Which records.
        #[command(flatten)]
        newest: NewestArgs,
        /// Print JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Show one reject as JSON: why it was rejected, its bytes, and whether it was resent or
    /// discarded.
    #[command(after_help = REJECTS_PLACE)]
    Show {
        /// The reject's position.
        #[command(flatten)]
        place: RejectPlace,
    },
    /// Resend a reject, unchanged or edited. Repeating the command is safe: an event counts once.
    #[command(
        after_help = "Examples:\n  tidemark rejects redrive 1 17                      unchanged\n  \
tidemark rejects redrive 1 17 --event fixed.json   with an edited event\n\nA repeated command sends what the first one sent. \
`tidemark rejects list` shows PARTITION and OFFSET."
    )]
    Redrive {
        /// The reject's position.
        #[command(flatten)]
        place: RejectPlace,
        /// File with the edited event as one JSON object; - reads standard input.
        #[arg(long, value_name = "FILE")]
        event: Option<PathBuf>,
    },
    /// Mark a reject as discarded, so that it cannot be resent.
    #[command(after_help = REJECTS_PLACE)]
    Discard {
        /// The reject's position.
        #[command(flatten)]
        place: RejectPlace,
        /// Reason, kept in the audit entry.
        #[arg(long)]
        reason: String,
    },
}

const REJECTS_PLACE: &str = "`tidemark rejects list` shows PARTITION and OFFSET.";

/// A position in usage.rejected.
#[derive(Clone, Copy, Debug, Args)]
pub struct RejectPlace {
    /// Partition of usage.rejected.
    pub partition: u32,
    /// Offset in that partition.
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
        /// Start at this offset.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// At most N per partition, oldest first.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// Which records.
        #[command(flatten)]
        newest: NewestArgs,
    },
}
