//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::domain::access::Scope;
use crate::domain::amount::{Money, Points};
use crate::domain::ids::{Account, AccountKind};
use crate::domain::time::{Day, Millis, Month};
use crate::ops::health::TaskId;
pub use records::{LogCommand, NewestArgs, RejectPlace, RejectsCommand};

mod records;

const EXAMPLES: &str = "\
Try it, in two terminals:
  tidemark up --demo                      everything in one process, with a small live marketplace
  tidemark leaderboard users              who has how many points
  tidemark statement user user-1          what one account earned this month, and for what

Send your own events:
  tidemark emit --events 10000            generated ones
  tidemark emit --file my-events.jsonl    yours: one JSON event a line, CloudEvents or plain
  tidemark wait                           until everything sent so far can be seen

When something is wrong:
  tidemark doctor

Exit codes: 0 done, 1 it did not work, 2 the input was refused.";

/// Exact points, referral rewards, streaks and statements from AI usage events.
#[derive(Debug, Parser)]
#[command(name = "tidemark", version, about, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    /// Configuration file; config/tidemark.toml explains every setting.
    #[arg(long, global = true, value_name = "FILE", env = "TIDEMARK_CONFIG")]
    pub config: Option<PathBuf>,
    /// Data directory [default: ./data].
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process: log, store, rating, posting and the HTTP service.
    #[command(after_help = UP_EXAMPLES)]
    Up(UpArgs),
    /// Run rating and posting on Kafka and DynamoDB. Start as many as you like: the partitions are shared out among them.
    #[command(after_help = WORKER_EXAMPLES)]
    Worker(WorkerArgs),
    /// Run the HTTP service on Kafka and DynamoDB: ingest, admin, referrals, earnings.
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// API keys of the HTTP service.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Create the log's topics and the store's tables. `up` does it too; doing it again changes nothing.
    Init,
    /// Send usage events to a running `up`, or into Kafka: generated ones, or those of a file.
    #[command(after_help = EMIT_EXAMPLES)]
    Emit(EmitArgs),
    /// Prices, tiers and every other number that decides an amount.
    #[command(subcommand)]
    Pricing(PricingCommand),
    /// Referral codes and signups.
    #[command(subcommand)]
    Referral(ReferralCommand),
    /// Credits that users pay with.
    #[command(subcommand)]
    Credits(CreditsCommand),
    /// One-off awards.
    #[command(subcommand)]
    Award(AwardCommand),
    /// What an account earned in a month, and for what.
    #[command(after_help = STATEMENT_EXAMPLES)]
    Statement(StatementArgs),
    /// Who has the most points in a month.
    Leaderboard(LeaderboardArgs),
    /// A user's requests of one day, and how each was rated.
    Usage(UsageArgs),
    /// Records that could not be rated.
    #[command(subcommand)]
    Rejects(RejectsCommand),
    /// Let a halted partition go on, once the cause of its halt is gone; `tidemark doctor` names them.
    #[command(
        after_help = "Examples:\n  tidemark resume rate/2 --reason 'restored the log from the backup of 09:00'\n  \
tidemark resume --all --reason 'the permissions of the credentials are back'"
    )]
    Resume(ResumeArgs),
    /// Accounts that are set aside: something is wrong with one account alone, so its postings and awards wait while its partition goes on.
    #[command(subcommand, after_help = SET_ASIDE_EXAMPLES)]
    SetAside(SetAsideCommand),
    /// Declare append times of a source partition wrong, after a clock was ahead; then let it go on with `tidemark resume`.
    #[command(
        after_help = "Example:\n  tidemark correct-clock rate/2 --reason 'broker 3 had no time server until 14:00'"
    )]
    CorrectClock(CorrectClockArgs),
    /// Go on from tables that were restored to an earlier moment than the log: roll the rate checkpoints forward from the posting blocks.
    #[command(after_help = RECOVER_EXAMPLES)]
    Recover(RecoverArgs),
    /// Give up what was in flight in a log that is gone for good, so that the next epoch can begin.
    #[command(after_help = ACCEPT_LOSS_EXAMPLES)]
    AcceptLoss(AcceptLossArgs),
    /// The log itself.
    #[command(subcommand)]
    Log(LogCommand),
    /// Kafka's topics: compare them with their files, create and mend them.
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// The store's tables.
    #[command(subcommand)]
    Tables(TablesCommand),
    /// Return when everything that was sent before can be seen in statements.
    Wait(WaitArgs),
    /// Say in sentences what is wrong and what to do.
    #[command(after_help = DOCTOR_CODES)]
    Doctor(JsonArg),
    /// Watch what runs: throughput, lag, freshness, halts, from the metrics of the processes.
    #[command(after_help = TOP_EXAMPLES)]
    Top(TopArgs),
}

const RECOVER_EXAMPLES: &str = "\
Stop every worker first. It shows what it will do, asks for a confirmation, and may be run again if it was interrupted.
docs/backup.md has the whole procedure, and what cannot come back.

Examples:
  tidemark recover --dry-run
  tidemark recover --reason 'tables restored to 09:00'
  tidemark recover --yes --reason 'tables restored to 09:00'      for scripts

Exit codes: 0 recovered or nothing to do, 1 it cannot recover (and says why), 2 not confirmed.";
const ACCEPT_LOSS_EXAMPLES: &str = "\
Stop all workers first. Run it with the configuration of the next epoch: new topics and a higher log.epoch (docs/runbook.md#a-topic-is-gone). \
It lists what would be given up and asks before it changes anything.

Example:
  tidemark --config next.toml accept-loss --reason 'cluster eu-1 and its replicas were destroyed'";

const DOCTOR_CODES: &str = "\
It reads tables and log and changes nothing. Exit codes, for scripts: 0 all is well, 1 something is to be done, 2 it cannot look.";

const TOP_EXAMPLES: &str = "\
Examples:
  tidemark top                                 the `up` on ./data, every two seconds
  tidemark top worker-1:8788 worker-2:8788 api:8789
  tidemark top --once && echo fine             for scripts: two readings, a second apart
  tidemark top --json                          a line of JSON each time

Exit codes of --once: 0 fine, 1 something is late, halted or does not answer, 2 nobody answers.";

/// `top`.
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    /// Whom to ask: host:port of each process, workers and services [default: the `up` on the data directory].
    #[arg(value_name = "ADDRESS")]
    pub addresses: Vec<String>,
    /// Look once, say it, and end with a code.
    #[arg(long)]
    pub once: bool,
    /// Print JSON lines.
    #[arg(long)]
    pub json: bool,
    /// How often to look, such as 5s.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub interval: Duration,
}

const UP_EXAMPLES: &str = "\
Examples:
  tidemark up                             data under ./data, HTTP on 127.0.0.1:8787
  tidemark up --demo                      and a small live marketplace to watch
  tidemark up --data /var/lib/tidemark --listen 127.0.0.1:9000

Send an event with curl:
  curl -i http://127.0.0.1:8787/api/v1/events -H \"authorization: Bearer $(cat data/key)\" \
    -H 'content-type: application/json' -d '{\"requestId\":\"r-1\",
    \"userId\":\"alice\",\"providerId\":\"prov-1\",\"endpoint\":\"/v1/chat/completions\",\"model\":\"llama-3-70b\",
    \"timestamp\":\"'$(date -u +%FT%TZ)'\",\"statusCode\":200,\"latencyMs\":250,\"inputTokens\":150,\"outputTokens\":75}'

Stop it with Ctrl-C; it finishes what is under way. Killing it at any moment loses nothing either.";

const WORKER_EXAMPLES: &str = "\
Examples:
  tidemark --config production.toml worker                 both roles
  tidemark --config production.toml worker --roles rate    rating alone; others post
  tidemark --config production.toml worker --roles adapt   log records of gateways into usage events: docs/adapters.md
  tidemark --config production.toml worker --listen 0.0.0.0:8788

The configuration needs log.engine = \"kafka\" and store.engine = \"dynamodb\". Before the first worker: tidemark topics apply, tidemark init.
Health and metrics: /healthz, /readyz, /metrics on worker.listen. Stop it with Ctrl-C or SIGTERM; it finishes what is under way and hands its
partitions over. Killing it at any moment loses nothing either: others take over when its session ends (kafka.session_timeout).";

const SERVE_EXAMPLES: &str = "\
Examples:
  tidemark --config production.toml keys create gateway-eu --scope ingest
  tidemark --config production.toml serve
  tidemark --config production.toml serve --listen 0.0.0.0:8789

The configuration needs log.engine = \"kafka\" and store.engine = \"dynamodb\". /docs on the service describes every route. Start as many as you like;
it keeps nothing of its own. Stop it with Ctrl-C or SIGTERM; it finishes the requests that are under way.";

const EMIT_EXAMPLES: &str = "\
Examples:
  tidemark emit                           10,000 generated events
  tidemark emit --events 1000000 --seed 7
  tidemark emit --rate 500                500 a second, until Ctrl-C
  tidemark emit --file events.jsonl       a file: one JSON event a line
  my-exporter | tidemark emit --file -    standard input

Lines that are refused are named on stderr (line, field, reason); the rest is sent, and the exit code is 2. Every event is sent until
`up`, or Kafka, has acknowledged it, also across a restart. Sending the same file again is safe: an event counts once.";

const STATEMENT_EXAMPLES: &str = "\
Examples:
  tidemark statement user alice
  tidemark statement provider prov-1 --month 2026-11 --json
  tidemark statement --all --month 2026-11 --json > november.jsonl";

/// `up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Address and port of the HTTP service [default: 127.0.0.1:8787]. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// Add a small live marketplace: signups, credits, and events at a gentle rate, some of them bad.
    #[arg(long)]
    pub demo: bool,
}

/// `worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// What it does.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "rate,post",
        value_name = "ROLE,…"
    )]
    pub roles: Vec<WorkerRole>,
    /// Address and port of health and metrics [default: 127.0.0.1:8788]. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
}

/// `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address and port [default: 127.0.0.1:8789]. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
}

/// `keys`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key and print it, this one time.
    #[command(
        after_help = "Examples:\n  tidemark keys create gateway-eu --scope ingest\n  tidemark keys create ops --scope admin:read --scope admin:write\n  \
tidemark keys create alice --scope account:user:alice"
    )]
    Create {
        /// What people call it.
        name: String,
        /// What it allows: ingest, ingest:SOURCE, admin:read, admin:write, account:user:ID, account:provider:ID.
        #[arg(long = "scope", required = true, value_name = "SCOPE")]
        scopes: Vec<Scope>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Every key, without its secret.
    List(JsonArg),
    /// Make a key worthless, within seconds.
    Revoke {
        /// Its id: the part between the first two underscores.
        id: String,
    },
}

/// A role of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum WorkerRole {
    /// Usage events into posting blocks.
    Rate,
    /// Posting blocks into account rows.
    Post,
    /// Log records of gateways into usage events, for every topic in `[[adapters]]` of the configuration.
    Adapt,
}

/// `emit`.
#[derive(Clone, Debug, Args)]
pub struct EmitArgs {
    /// How many events to generate [default: 10000, or without end with --rate].
    #[arg(long, value_name = "N", conflicts_with = "file")]
    pub events: Option<u64>,
    /// Events per second [default: as fast as they are taken].
    #[arg(long, value_name = "R", value_parser = rate)]
    pub rate: Option<f64>,
    /// The generator's seed; the same seed generates the same requests [default: random].
    #[arg(long, conflicts_with = "file")]
    pub seed: Option<u64>,
    /// How many users the generator has.
    #[arg(long, default_value_t = 1_000, conflicts_with = "file")]
    pub users: u32,
    /// How many providers the generator has.
    #[arg(long, default_value_t = 50, conflicts_with = "file")]
    pub providers: u32,
    /// Generate no resends, late, unratable or malformed events.
    #[arg(long, conflicts_with = "file")]
    pub clean: bool,
    /// Generate the requests of this time and the moments after it, in place of now: with the same seed, the same events to the byte.
    #[arg(long, value_name = "TIME", value_parser = instant, conflicts_with = "file")]
    pub at: Option<Millis>,
    /// Print the generated events in place of sending them.
    #[arg(long, conflicts_with = "file")]
    pub print: bool,
    /// Send the events of this file, one JSON event a line; - is standard input.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How long to go on trying while `up`, or Kafka, does not answer.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub patience: Duration,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `pricing`.
#[derive(Debug, Subcommand)]
pub enum PricingCommand {
    /// Publish the shipped rules that have no value yet; they hold from the beginning. What is in force stays, so doing it again changes nothing.
    Init {
        /// testnet: nothing is charged. mainnet: usage costs credits.
        set: RuleSet,
        /// Also publish the file's value where another one is in force: every price and rule that was changed goes back to the shipped one.
        #[arg(long)]
        replace: bool,
    },
    /// Show what is in force.
    Show(JsonArg),
}

/// A shipped set of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RuleSet {
    /// Nothing is charged.
    Testnet,
    /// Usage costs credits.
    Mainnet,
}

/// `referral`.
#[derive(Debug, Subcommand)]
pub enum ReferralCommand {
    /// Show an account's code; it gets one if it has none.
    #[command(after_help = "Example:\n  tidemark referral code user alice")]
    Code {
        /// Whose.
        #[command(flatten)]
        account: AccountArg,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Sign an account up with somebody's code. A referrer is never changed afterwards.
    #[command(after_help = "Example:\n  tidemark referral signup user bob ALIC-7KQ2M")]
    Signup {
        /// Who signs up.
        #[command(flatten)]
        account: AccountArg,
        /// The referrer's code.
        code: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make the links of a marketplace that moves in: each line is a signup, in file order.
    #[command(
        after_help = "A line: {\"referee\":[\"user\",\"bob\"],\"referrer\":[\"user\",\"alice\"]}\nLines that are refused are named \
on stderr, the rest is imported, and the exit code is 2. Importing a file again is safe."
    )]
    Import {
        /// JSON lines; - is standard input.
        file: PathBuf,
        /// The awards were paid elsewhere: make the links only.
        #[arg(long)]
        no_awards: bool,
    },
}

/// `credits`.
#[derive(Debug, Subcommand)]
pub enum CreditsCommand {
    /// Add credit to a user's account.
    #[command(
        after_help = "Example:\n  tidemark credits add alice 25 --key invoice-1001 --reason 'invoice 1001'"
    )]
    Add {
        /// The user.
        user: String,
        /// How much, in US dollars (12.5): at most 1,000,000, and below zero to take credit back.
        #[arg(allow_hyphen_values = true)]
        amount: Money,
        /// Names this addition: repeated under the same key, it counts once [default: random].
        #[arg(long)]
        key: Option<String>,
        /// Why.
        #[arg(long, default_value = "added by tidemark credits add")]
        reason: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what a user has, and where it came from.
    Show {
        /// The user.
        user: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `award`.
#[derive(Debug, Subcommand)]
pub enum AwardCommand {
    /// Correct an account's points, up or down; it stands in this month's bonus.
    #[command(
        after_help = "Example:\n  tidemark award adjust user alice -12.5 --key ticket-77 --reason 'double bonus of May'"
    )]
    Adjust {
        /// Whose.
        #[command(flatten)]
        account: AccountArg,
        /// How many points.
        #[arg(allow_hyphen_values = true)]
        points: Points,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Names this correction: repeated under the same key, it counts once [default: random].
        #[arg(long)]
        key: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `statement`.
#[derive(Debug, Args)]
pub struct StatementArgs {
    /// Kind of account: user or provider.
    #[arg(required_unless_present = "all", requires = "id")]
    pub kind: Option<AccountKind>,
    /// Its id.
    pub id: Option<String>,
    /// The month, such as 2026-11 [default: this one].
    #[arg(long)]
    pub month: Option<Month>,
    /// Every account, one JSON line each.
    #[arg(long, conflicts_with_all = ["kind", "id"], requires = "json")]
    pub all: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `leaderboard`.
#[derive(Debug, Args)]
pub struct LeaderboardArgs {
    /// users or providers.
    pub kind: Kinds,
    /// The month, such as 2026-11 [default: this one].
    #[arg(long)]
    pub month: Option<Month>,
    /// How many ranks.
    #[arg(long, default_value_t = 20)]
    pub top: usize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// A kind of account, in the plural.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kinds {
    /// Users.
    Users,
    /// Providers.
    Providers,
}

/// `usage`.
#[derive(Debug, Args)]
pub struct UsageArgs {
    /// The user.
    pub id: String,
    /// The day, such as 2026-11-22 [default: today], UTC.
    #[arg(long)]
    pub day: Option<Day>,
    /// Print JSON lines.
    #[arg(long)]
    pub json: bool,
}

/// `resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// rate/N, post/N or adapt-TOPIC/N; several if one cause has halted them all.
    #[arg(required_unless_present = "all", value_name = "PARTITION")]
    pub partitions: Vec<TaskId>,
    /// Every halted partition.
    #[arg(long, conflicts_with = "partitions")]
    pub all: bool,
    /// Why the cause is gone; it stands in the audit entry.
    #[arg(long, default_value = "not given")]
    pub reason: String,
}

const SET_ASIDE_EXAMPLES: &str = "\
Examples:
  tidemark set-aside list
  tidemark set-aside release user alice --reason 'restored the row of 2026-11 from point-in-time recovery'";

/// `set-aside`.
#[derive(Debug, Subcommand)]
pub enum SetAsideCommand {
    /// Which accounts are set aside, why, since when, and how long the log still holds what they miss.
    List(JsonArg),
    /// Let an account take part again, once it is mended: it gets from the log what it missed, once. Its poster does the work, and sets it
    /// aside again if the cause is still there.
    Release(ReleaseArgs),
}

/// `set-aside release`.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// Whose.
    #[command(flatten)]
    pub account: AccountArg,
    /// How it was mended; it is kept in the audit entry.
    #[arg(long)]
    pub reason: String,
    /// Go on although some of what the account misses is gone for good: the log has dropped it, or the restored rows are too old.
    /// What is missing stays missing; add it as an adjustment.
    #[arg(long)]
    pub accept_missing: bool,
    /// With --accept-missing: do not ask.
    #[arg(long, requires = "accept_missing")]
    pub yes: bool,
}

/// `recover`.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// Show what would be done, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask for a confirmation.
    #[arg(long)]
    pub yes: bool,
    /// Put posting back and write usage rows again also if no rate checkpoint is behind: the tables may be some seconds apart.
    #[arg(long)]
    pub force: bool,
    /// To which moment the tables were restored, and why; it is kept in the audit entry.
    #[arg(long, default_value = "not given")]
    pub reason: String,
}

/// `correct-clock`.
#[derive(Debug, Args)]
pub struct CorrectClockArgs {
    /// rate/N, halted with clock_ahead; several if one clock has halted them all.
    #[arg(required = true, value_name = "PARTITION")]
    pub partitions: Vec<TaskId>,
    /// Which clock was wrong, and when; it is kept in the audit entry.
    #[arg(long)]
    pub reason: String,
}

/// `accept-loss`.
#[derive(Debug, Args)]
pub struct AcceptLossArgs {
    /// What happened to the log; it is kept in the audit entries.
    #[arg(long)]
    pub reason: String,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}

/// `tables`.
#[derive(Debug, Subcommand)]
pub enum TablesCommand {
    /// Copy every table into the store that another configuration names, whose tables must be empty. Nothing may run meanwhile.
    #[command(
        after_help = "Example, from the embedded store to DynamoDB:\n  tidemark tables copy --into production.toml"
    )]
    Copy {
        /// The configuration file of the other store.
        #[arg(long, value_name = "FILE")]
        into: PathBuf,
    },
}

/// `topics`.
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Create topics that are missing, and change settings that may be changed. What is dangerous is refused, with what to do instead.
    #[command(after_help = TOPICS_EXAMPLES)]
    Apply(TopicsArgs),
    /// Show what differs, and change nothing. Exit code 1 if something does.
    #[command(after_help = TOPICS_EXAMPLES)]
    Check(TopicsArgs),
}

const TOPICS_EXAMPLES: &str = "\
The topics are those of the files that are compiled in, or of the directory that log.topics names; brokers, prefix and logins are those of
the section [kafka].

Examples:
  TIDEMARK_KAFKA_BOOTSTRAP=kafka-1:9092 tidemark topics check
  tidemark --config production.toml topics apply
  tidemark topics apply --replication-factor 1 --min-insync 1      a cluster of one broker";

/// `topics apply` and `topics check`.
#[derive(Debug, Args)]
pub struct TopicsArgs {
    /// Copies of each partition, in place of the files' replicationFactor; minInsyncReplicas is at most that many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=32))]
    pub replication_factor: Option<u16>,
    /// Copies that must have a record before it is acknowledged, in place of the files' minInsyncReplicas.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=32))]
    pub min_insync: Option<u16>,
    /// Print JSON lines.
    #[arg(long)]
    pub json: bool,
}

/// `wait`.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// How long to wait at most.
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
    /// user or provider.
    pub kind: AccountKind,
    /// The id.
    pub id: String,
}

impl AccountArg {
    /// The account, if the id is one.
    pub fn account(&self) -> Result<Account, crate::domain::ids::IdError> {
        Account::new(self.kind, &self.id)
    }
}

impl Kinds {
    /// The kind.
    pub const fn kind(self) -> AccountKind {
        match self {
            Kinds::Users => AccountKind::User,
            Kinds::Providers => AccountKind::Provider,
        }
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
