//! `emit`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{duration, instant, rate};
use crate::domain::time::Millis;

pub(super) const EMIT_EXAMPLES: &str = "\
Examples:
  tidemark emit                           10,000 generated events
  tidemark emit --events 1000000 --seed 7
  tidemark emit --rate 500                500 per second, until Ctrl-C
  tidemark emit --file events.jsonl       a file with one JSON event per line
  my-exporter | tidemark emit --file -    standard input

Invalid lines are reported on stderr (line, field, reason); the others are sent, and the exit code is 2. Each event is retried until
`up` or Kafka acknowledges it, even across a restart. Sending the same file again is safe: each event counts once.";

/// `emit`.
#[derive(Clone, Debug, Args)]
pub struct EmitArgs {
    /// Number of events to generate [default: 10000; unlimited with --rate].
    #[arg(long, value_name = "N", conflicts_with = "file")]
    pub events: Option<u64>,
    /// Events per second [default: as fast as they are accepted].
    #[arg(long, value_name = "R", value_parser = rate)]
    pub rate: Option<f64>,
    /// Seed of the generator; the same seed generates the same requests [default: random].
    #[arg(long, conflicts_with = "file")]
    pub seed: Option<u64>,
    /// Number of generated users.
    #[arg(long, default_value_t = 1_000, conflicts_with = "file")]
    pub users: u32,
    /// Number of generated providers.
    #[arg(long, default_value_t = 50, conflicts_with = "file")]
    pub providers: u32,
    /// Do not generate duplicate, late, unratable or malformed events.
    #[arg(long, conflicts_with = "file")]
    pub clean: bool,
    /// Generate events from this time on instead of now; with the same seed, they are identical to the byte.
    #[arg(long, value_name = "TIME", value_parser = instant, conflicts_with = "file")]
    pub at: Option<Millis>,
    /// Print the generated events instead of sending them.
    #[arg(long, conflicts_with = "file")]
    pub print: bool,
    /// Send the events of this file, one JSON object per line; - reads standard input.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How long to keep retrying while `up` or Kafka does not answer.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub patience: Duration,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
}
