//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::domain::ids::{Account, AccountKind};
use crate::domain::time::Millis;
pub use accounts::{
    AwardCommand, CreditsCommand, ExplainArgs, FormulaArg, FreezeArgs, GovernanceCommand,
    ImportArgs, Kinds, LeaderboardArgs, PricingCommand, ReferralCommand, ReverseArgs, RuleSet,
    SetArgs, StatementArgs, UsageArgs, WalletCommand,
};
pub use badges::{BadgeDecisionArgs, BadgesCommand};
pub use closing::{ClaimsCommand, CloseArgs};
pub use emit::EmitArgs;
pub use export::{ExportArgs, ReplayArgs};
pub use records::{LogCommand, NewestArgs, RejectPlace, RejectsCommand};
pub use repair::{
    AcceptLossArgs, CorrectClockArgs, RecoverArgs, ReleaseArgs, ResumeArgs, SetAsideCommand,
};
pub use season::SeasonCommand;
pub use services::{
    DoctorArgs, KeysCommand, ServeArgs, TablesCommand, TopArgs, TopicsApplyArgs, TopicsArgs,
    TopicsCommand, UpArgs, WorkerArgs, WorkerRole,
};
pub use verify::VerifyArgs;

mod accounts;
mod badges;
mod closing;
mod emit;
mod export;
mod records;
mod repair;
mod season;
mod services;
mod verify;

const EXAMPLES: &str = "\
Try it, in two terminals:
  tidemark up --demo                      everything in one process, with a small live marketplace
  tidemark leaderboard users              who has the most points
  tidemark statement user user-1          what an account earned this month, and for what

Send your own events:
  tidemark emit --events 10000            generated events
  tidemark emit --file my-events.jsonl    events from a file, one JSON object per line
  tidemark wait                           wait until everything sent so far is in statements

When something is wrong:
  tidemark doctor

Exit codes: 0 success, 1 failure, 2 invalid input.";

/// Exact points, referral rewards, streaks and statements from AI usage events.
#[derive(Debug, Parser)]
#[command(name = "tidemark", version, about, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// Configuration file; config/tidemark.toml documents every setting.
    #[arg(long, global = true, value_name = "FILE", env = "TIDEMARK_CONFIG")]
    pub config: Option<PathBuf>,
    /// Data directory [default: ./data].
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process: log, store, rating, posting and the HTTP service.
    #[command(after_help = services::UP_EXAMPLES)]
    Up(UpArgs),
    /// Run rating and posting on Kafka and DynamoDB. Any number of workers share the partitions.
    #[command(after_help = services::WORKER_EXAMPLES)]
    Worker(WorkerArgs),
    /// Run the HTTP service on Kafka and DynamoDB: ingest, admin, referrals, earnings.
    #[command(after_help = services::SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Manage API keys of the HTTP service.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Create the log's topics and the store's tables. Running it again changes nothing; `up` does
    /// it by itself.
    Init,
    /// Send usage events to a running `up` or to Kafka, generated or from a file.
    #[command(after_help = emit::EMIT_EXAMPLES)]
    Emit(EmitArgs),
    /// Publish and show prices, tiers and every other number that decides an amount.
    #[command(subcommand)]
    Pricing(PricingCommand),
    /// Manage referral codes and signups.
    #[command(subcommand)]
    Referral(ReferralCommand),
    /// Link and show the wallets to which accounts' claims go.
    #[command(subcommand)]
    Wallet(WalletCommand),
    /// Manage the credits that users pay with.
    #[command(subcommand)]
    Credits(CreditsCommand),
    /// Grant one-off awards.
    #[command(subcommand)]
    Award(AwardCommand),
    /// Freeze and show the weights of votes.
    #[command(subcommand)]
    Governance(GovernanceCommand),
    /// Take back what a request earned and cost: its provider's and user's points, every referrer's
    /// share, and the charge.
    #[command(
        after_help = "Example:\n  tidemark reverse alice --source gateway-eu-1 --id r-1 --time 2026-11-22T07:01:02.123Z --reason 'the model answered nonsense'"
    )]
    Reverse(ReverseArgs),
    /// Explain why a request earned and cost what it did, step by step.
    #[command(after_help = accounts::EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// Show what an account earned in a month, and for what.
    #[command(after_help = accounts::STATEMENT_EXAMPLES)]
    Statement(StatementArgs),
    /// Write a month to a file for finance: every account's statement, or charges in FOCUS columns.
    #[command(after_help = export::EXPORT_EXAMPLES)]
    Export(ExportArgs),
    /// Close a month: fix what every account is paid in tokens, and write the claim files.
    #[command(after_help = closing::CLOSE_EXAMPLES)]
    Close(CloseArgs),
    /// Check claim files, and show what an account can claim.
    #[command(subcommand, after_help = closing::CLAIMS_EXAMPLES)]
    Claims(ClaimsCommand),
    /// Rate the archive of a month under other rules: what they would bring and cost, and whom.
    #[command(after_help = export::REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// Show who has the most points in a month.
    Leaderboard(LeaderboardArgs),
    /// Show a user's requests on one day, and how each was rated.
    Usage(UsageArgs),
    /// Show the badges of accounts, take them back, and replace the key that signs their
    /// credentials.
    #[command(subcommand, after_help = badges::EXAMPLES)]
    Badges(BadgesCommand),
    /// List seasons, and freeze the leaderboards of those that have ended.
    #[command(subcommand, after_help = season::EXAMPLES)]
    Season(SeasonCommand),
    /// Inspect and resend records that could not be rated (dead letters).
    #[command(subcommand)]
    Rejects(RejectsCommand),
    /// Restart halted partitions after their cause is fixed; `tidemark doctor` lists them.
    #[command(
        after_help = "Examples:\n  tidemark resume rate/2 --reason 'restored the log from the backup of 09:00'\n  \
tidemark resume --all --reason 'fixed the permissions of the credentials'"
    )]
    Resume(ResumeArgs),
    /// List and release accounts that are set aside: their postings and awards wait while their
    /// partition continues.
    #[command(subcommand, after_help = repair::SET_ASIDE_EXAMPLES)]
    SetAside(SetAsideCommand),
    /// Mark append times of a source partition as wrong after a clock ran ahead; then run `tidemark
    /// resume`.
    #[command(
        after_help = "Example:\n  tidemark correct-clock rate/2 --reason 'broker 3 had no time server until 14:00'"
    )]
    CorrectClock(CorrectClockArgs),
    /// Continue with tables restored to a moment before the end of the log: roll rate checkpoints
    /// forward from the posting blocks.
    #[command(after_help = repair::RECOVER_EXAMPLES)]
    Recover(RecoverArgs),
    /// Give up what was in flight in a log that is permanently lost, so that the next epoch can
    /// begin.
    #[command(after_help = repair::ACCEPT_LOSS_EXAMPLES)]
    AcceptLoss(AcceptLossArgs),
    /// Read the log.
    #[command(subcommand)]
    Log(LogCommand),
    /// Create the Kafka topics, or compare them with their definition files.
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Copy the store's tables.
    #[command(subcommand)]
    Tables(TablesCommand),
    /// Show how far the auditor is and what it found. It rates every chunk again and compares the
    /// result with what was posted.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Compare every account row with the archive of requests and the awards. Needs
    /// archive.location.
    #[command(after_help = verify::EXAMPLES)]
    Verify(VerifyArgs),
    /// Wait until everything sent so far is visible in statements.
    Wait(WaitArgs),
    /// Report what is wrong and what to do about it.
    #[command(after_help = DOCTOR_CODES)]
    #[command(after_help = services::DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Watch running processes: throughput, lag, freshness and halts, from their metrics.
    #[command(after_help = services::TOP_EXAMPLES)]
    Top(TopArgs),
    /// Describe the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write man pages, one per command.
    #[command(
        after_help = "Example:\n  tidemark man --dir /usr/local/share/man/man1 && man tidemark-up"
    )]
    Man {
        /// The directory to write to; it is created if it does not exist.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

const DOCTOR_CODES: &str = "\
Reads tables and log and changes nothing.

Exit codes: 0 all is well, 1 something needs attention, 2 the check itself could not run.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  tidemark completions bash > /etc/bash_completion.d/tidemark
  tidemark completions zsh > ~/.zfunc/_tidemark
  tidemark completions fish > ~/.config/fish/completions/tidemark.fish";

/// `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the JSON schema of the configuration file, for editors and checks before a roll-out.
    #[command(after_help = "Example:\n  tidemark config schema > tidemark.schema.json")]
    Schema,
}

/// `audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Show how far the audit of each source partition is. Chunk numbers have gaps: a partition
    /// that becomes idle takes a number without a chunk.
    Status(JsonArg),
    /// List what the auditor found: epoch, source partition, chunk, posting block and account.
    Findings {
        /// Show at most this many. With --json all are printed.
        #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove findings once they are explained. The audit trail keeps them.
    #[command(
        after_help = "Example:\n  tidemark audit findings\n  tidemark audit dismiss --up-to 17 --reason 'ledger.postings/2 was restored from a replica; accounts corrected'"
    )]
    Dismiss {
        /// The newest finding to remove, by its number in the list. What was found since stays.
        #[arg(long, value_name = "NUMBER")]
        up_to: u64,
        /// What the cause was and what was done about it; kept in the audit entry.
        #[arg(long)]
        reason: String,
    },
}

/// `wait`.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// host:port of workers and services that are asked as well: what they cannot use, and whether
    /// they take events.
    #[arg(value_name = "ADDRESS")]
    pub addresses: Vec<String>,
    /// Give up after this long.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub timeout: Duration,
}

/// Only `--json`.
#[derive(Debug, Args)]
pub struct JsonArg {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// An account, as two words.
#[derive(Debug, Args)]
pub struct AccountArg {
    /// Kind of account: user or provider.
    pub kind: AccountKind,
    /// The account's id.
    pub id: String,
}

impl AccountArg {
    /// The account, if the id is valid.
    pub fn account(&self) -> Result<Account, crate::domain::ids::IdError> {
        Account::new(self.kind, &self.id)
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let bad = || "write a duration such as 500ms, 30s, 5m or 7d".to_owned();
    let span: jiff::Span = text.parse().map_err(|_| bad())?;
    let parsed = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|_| bad())?;
    Duration::try_from(parsed).map_err(|_| "a duration must not be negative".to_owned())
}

fn instant(text: &str) -> Result<Millis, String> {
    text.parse::<jiff::Timestamp>()
        .map(|at| Millis(at.as_millisecond()))
        .map_err(|_| "write a time such as 2026-11-22T10:00:00Z".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 10_000_000.0 => Ok(rate),
        _ => Err("write a number of events per second, such as 500 or 0.5".to_owned()),
    }
}
