//! Commands that bring an installation back after an accident.

use clap::{Args, Subcommand};

use super::{AccountArg, JsonArg};
use crate::ops::health::TaskId;

pub(super) const RECOVER_EXAMPLES: &str = "\
Stop every worker first. The command shows what it will do, asks for confirmation, and can be run again if it was \
interrupted. docs/backup.md has the whole procedure and lists what cannot be recovered.

Examples:
  tidemark recover --dry-run
  tidemark recover --reason 'tables restored to 09:00'
  tidemark recover --yes --reason 'tables restored to 09:00'      for scripts

Exit codes: 0 recovered or nothing to do, 1 recovery is not possible (the message says why), 2 not confirmed.";
pub(super) const ACCEPT_LOSS_EXAMPLES: &str = "\
Stop all workers first. Run it with the configuration of the next epoch: new topics and a higher log.epoch (docs/runbook.md#a-topic-is-gone). \
It lists what would be given up and asks for confirmation before it changes anything.

Example:
  tidemark --config next.toml accept-loss --reason 'cluster eu-1 and its replicas were destroyed'";

/// `resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// One or more of rate/N, post/N, adapt-TOPIC/N.
    #[arg(required_unless_present = "all", value_name = "PARTITION")]
    pub partitions: Vec<TaskId>,
    /// Every halted partition.
    #[arg(long, conflicts_with = "partitions")]
    pub all: bool,
    /// How the cause was fixed; kept in the audit entry.
    #[arg(long, default_value = "not given")]
    pub reason: String,
}

/// `recover`.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// Show what would be done without changing anything.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
    /// Rewind posting and rewrite usage rows even if no rate checkpoint is behind; use it when
    /// tables were restored some seconds apart.
    #[arg(long)]
    pub force: bool,
    /// The moment to which the tables were restored, and why; kept in the audit entry.
    #[arg(long, default_value = "not given")]
    pub reason: String,
}

/// `correct-clock`.
#[derive(Debug, Args)]
pub struct CorrectClockArgs {
    /// One or more of rate/N that are halted with clock_ahead.
    #[arg(required = true, value_name = "PARTITION")]
    pub partitions: Vec<TaskId>,
    /// Which clock was wrong, and when; kept in the audit entry.
    #[arg(long)]
    pub reason: String,
}

/// `accept-loss`.
#[derive(Debug, Args)]
pub struct AcceptLossArgs {
    /// What happened to the log; kept in the audit entries.
    #[arg(long)]
    pub reason: String,
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
}

pub(super) const SET_ASIDE_EXAMPLES: &str = "\
Examples:
  tidemark set-aside list
  tidemark set-aside release user alice --reason 'restored the row of 2026-11 from point-in-time recovery'";

/// `set-aside`.
#[derive(Debug, Subcommand)]
pub enum SetAsideCommand {
    /// Show which accounts are set aside, why, since when, and how long the log still holds what
    /// they miss.
    List(JsonArg),
    /// Release an account after it is repaired. Its poster adds what it missed, from the log.
    Release(ReleaseArgs),
}

/// `set-aside release`.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// The account.
    #[command(flatten)]
    pub account: AccountArg,
    /// How it was repaired; it is kept in the audit entry.
    #[arg(long)]
    pub reason: String,
    /// Release it although some of what it misses is permanently lost. Make up for that with an
    /// adjustment.
    #[arg(long)]
    pub accept_missing: bool,
    /// With --accept-missing: do not ask for confirmation.
    #[arg(long, requires = "accept_missing")]
    pub yes: bool,
}
