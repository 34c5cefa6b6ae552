//! The processes and what they depend on: `up`, `worker`, `serve`, `top`, `keys`, `topics`,
//! `tables`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{JsonArg, duration};
use crate::domain::access::Scope;

pub(super) const UP_EXAMPLES: &str = "\
Examples:
  tidemark up                             data under ./data, HTTP on 127.0.0.1:8787
  tidemark up --demo                      the same, with a small live marketplace to watch
  tidemark up --data /var/lib/tidemark --listen 127.0.0.1:9000

Send an event with curl:
  curl -i http://127.0.0.1:8787/api/v1/events -H \"authorization: Bearer $(cat data/key)\" \
    -H 'content-type: application/json' -d '{\"requestId\":\"r-1\",
    \"userId\":\"alice\",\"providerId\":\"prov-1\",\"endpoint\":\"/v1/chat/completions\",\"model\":\"llama-3-70b\",
    \"timestamp\":\"'$(date -u +%FT%TZ)'\",\"statusCode\":200,\"latencyMs\":250,\"inputTokens\":150,\"outputTokens\":75}'

Stop it with Ctrl-C; it finishes work in progress first. Killing it at any moment loses nothing either.";

pub(super) const WORKER_EXAMPLES: &str = "\
Examples:
  tidemark --config production.toml worker                 both roles
  tidemark --config production.toml worker --roles rate    rating only; other workers post
  tidemark --config production.toml worker --roles adapt   turn gateway log records into usage events (docs/adapters.md)
  tidemark --config production.toml worker --listen 0.0.0.0:8788

Requires log.engine = \"kafka\" and store.engine = \"dynamodb\". Before the first worker, run `tidemark topics apply` and `tidemark init`. \
Health and metrics are at /healthz, /readyz and /metrics on worker.listen. Stop it with Ctrl-C or SIGTERM; it finishes work in progress and \
releases its partitions. Killing it at any moment loses nothing either: other workers take over when its session expires \
(kafka.session_timeout).";

pub(super) const SERVE_EXAMPLES: &str = "\
Examples:
  tidemark --config production.toml keys create gateway-eu --scope ingest
  tidemark --config production.toml serve
  tidemark --config production.toml serve --listen 0.0.0.0:8789

Requires log.engine = \"kafka\" and store.engine = \"dynamodb\". /docs on the service describes every route. The service is stateless, so any \
number of instances can run. Stop it with Ctrl-C or SIGTERM; it finishes requests in progress first.";

/// `up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Address and port of the HTTP service [default: 127.0.0.1:8787]. Port 0 picks a free port.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// Add a small live marketplace: signups, credits and a slow stream of events, some of them
    /// invalid.
    #[arg(long)]
    pub demo: bool,
}

/// `worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// Roles, separated by commas.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "rate,post",
        value_name = "ROLE,…"
    )]
    pub roles: Vec<WorkerRole>,
    /// Address and port for health and metrics [default: 127.0.0.1:8788]. Port 0 picks a free port.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
}

/// `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address and port [default: 127.0.0.1:8789]. Port 0 picks a free port.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
}

/// A role of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum WorkerRole {
    /// Turn usage events into posting blocks.
    Rate,
    /// Add posting blocks to account rows.
    Post,
    /// Rate every chunk again and compare the result with what was posted.
    Audit,
    /// Turn gateway log records into usage events, for every topic in `[[adapters]]`.
    Adapt,
}

pub(super) const DOCTOR_EXAMPLES: &str = "\
Examples:
  tidemark doctor                                     the data directory, and the `up` on it
  tidemark doctor worker-1:8788 api:8789              a cluster, and these processes of it
  tidemark doctor --json

Exit codes: 0 all is well, 1 something is wrong, 2 doctor cannot look.";

/// `doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// host:port of workers and services that are asked as well: what they cannot use, and whether
    /// they take events.
    #[arg(value_name = "ADDRESS")]
    pub addresses: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

pub(super) const TOP_EXAMPLES: &str = "\
Examples:
  tidemark top                                 the `up` on ./data, refreshed every two seconds
  tidemark top worker-1:8788 worker-2:8788 api:8789
  tidemark top --once && echo fine             for scripts: two readings, one second apart
  tidemark top --json                          one line of JSON per refresh

Exit codes with --once: 0 fine, 1 something is late, halted or does not answer, 2 no process answers.";

/// `top`.
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    /// host:port of each worker and service to watch [default: the `up` on the data directory].
    #[arg(value_name = "ADDRESS")]
    pub addresses: Vec<String>,
    /// Report once and exit with a status code.
    #[arg(long)]
    pub once: bool,
    /// Print JSON lines.
    #[arg(long)]
    pub json: bool,
    /// Refresh interval, such as 5s.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub interval: Duration,
}

/// `keys`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Create a key and print it. It cannot be shown again.
    #[command(
        after_help = "Examples:\n  tidemark keys create gateway-eu --scope ingest\n  tidemark keys create ops --scope admin:read --scope admin:write\n  \
tidemark keys create alice --scope account:user:alice"
    )]
    Create {
        /// A name for people to recognize the key by.
        name: String,
        /// What the key allows: ingest, ingest:SOURCE, admin:read, admin:write, account:user:ID,
        /// account:provider:ID.
        #[arg(long = "scope", required = true, value_name = "SCOPE")]
        scopes: Vec<Scope>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List every key, without its secret.
    List(JsonArg),
    /// Revoke a key; it stops working within seconds.
    Revoke {
        /// The key's id: the part between its first two underscores.
        id: String,
    },
}

/// `tables`.
#[derive(Debug, Subcommand)]
pub enum TablesCommand {
    /// Copy every table to another store, whose tables must be empty. Stop all processes first.
    #[command(
        after_help = "Example, from the embedded store to DynamoDB:\n  tidemark tables copy --into production.toml"
    )]
    Copy {
        /// Configuration file of the other store.
        #[arg(long, value_name = "FILE")]
        into: PathBuf,
    },
}

/// `topics`.
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Create missing topics and change settings that are safe to change. Dangerous changes are
    /// refused, with an alternative.
    #[command(after_help = TOPICS_EXAMPLES)]
    Apply(TopicsApplyArgs),
    /// Show differences without changing anything. Exits with 1 if there are any.
    #[command(after_help = TOPICS_EXAMPLES)]
    Check(TopicsArgs),
}

const TOPICS_EXAMPLES: &str = "\
Topics are defined by the files compiled into the program, or by those in the directory log.topics. Brokers, prefix and credentials come \
from the section [kafka].

Examples:
  TIDEMARK_KAFKA_BOOTSTRAP=kafka-1:9092 tidemark topics check
  tidemark --config production.toml topics apply
  tidemark topics apply --replication-factor 1 --min-insync 1      a cluster with one broker";

/// `topics check`, and `topics apply` too.
#[derive(Debug, Args)]
pub struct TopicsArgs {
    /// Replicas of each partition, overriding the files' replicationFactor and capping
    /// minInsyncReplicas.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=32))]
    pub replication_factor: Option<u16>,
    /// Replicas that must have a record before it is acknowledged, overriding the files'
    /// minInsyncReplicas.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=32))]
    pub min_insync: Option<u16>,
    /// Print JSON lines.
    #[arg(long)]
    pub json: bool,
}

/// `topics apply`.
#[derive(Debug, Args)]
pub struct TopicsApplyArgs {
    /// Create also topics that held records of this epoch and are gone. Their records stay lost,
    /// and workers halt: see docs/runbook.md#a-topic-is-gone first.
    #[arg(long)]
    pub recreate_lost: bool,
    /// As of `check`.
    #[command(flatten)]
    pub topics: TopicsArgs,
}
