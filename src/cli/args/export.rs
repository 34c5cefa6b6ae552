//! Arguments of `export` and `replay`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::app::queries::{ExportFormat, ExportWhat, ISSUER_DEFAULT};
use crate::domain::time::Month;
use crate::ops::config::FilesLocation;

pub(super) const EXPORT_EXAMPLES: &str = "\
Examples:
  tidemark export --month 2026-10 --format csv -o statements.csv
  tidemark export --month 2026-10 --format csv --what services -o services.csv
  tidemark export --month 2026-10 --format parquet --what requests --archive archive -o requests.parquet
  tidemark export --month 2026-10 --format focus --issuer 'Example Inference Inc.' -o charges.csv

A CSV file ends with a line that counts its rows and gives the sums of its columns.";

pub(super) const REPLAY_EXAMPLES: &str = "\
Examples:
  tidemark replay --month 2026-10 --archive archive --rules new-rules.toml
  tidemark replay --month 2026-10 --archive archive --rules new-rules.toml -o accounts.parquet
  tidemark replay --month 2026-10 --archive archive

Without --rules it rates the archive under the rules that there were, and fails if that gives anything
but what was posted.";

/// `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Month (UTC), such as 2026-10.
    #[arg(long)]
    pub month: Month,
    /// Format of the file: csv, parquet, or focus for charges in the columns of FOCUS 1.2 (as CSV).
    #[arg(long, value_parser = formats())]
    pub format: ExportFormat,
    /// What to export: statements (one row per account), services or days (one row for each of an
    /// account), or requests (one row per archived record).
    #[arg(long, default_value = "statements", value_parser = whats())]
    pub what: ExportWhat,
    /// File to write; it appears when it is complete [default: stdout].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Where the archive is, for --what requests: a directory, or s3://BUCKET/PREFIX [default:
    /// archive.location].
    #[arg(long, value_name = "PLACE")]
    pub archive: Option<FilesLocation>,
    /// Write ids and names in CSV as they are. By default an apostrophe is put before those that a
    /// spreadsheet would take for a formula.
    #[arg(long)]
    pub exact_text: bool,
    /// Who issues the invoices; FOCUS files name it.
    #[arg(long, value_name = "NAME", default_value = ISSUER_DEFAULT)]
    pub issuer: String,
    /// Export requests even if the archive lacks some of them; the last line says so.
    #[arg(long)]
    pub partial: bool,
}

/// `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Month (UTC) in which the requests are booked, such as 2026-10.
    #[arg(long)]
    pub month: Month,
    /// Where the archive is: a directory, or s3://BUCKET/PREFIX [default: archive.location].
    #[arg(long, value_name = "PLACE")]
    pub archive: Option<FilesLocation>,
    /// Rules to rate by, such as config/rules/mainnet.toml with other prices. They count from the
    /// beginning; keys that the file does not have stay as they were [default: the rules that there
    /// were].
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// File to write every account to; Parquet if its name ends in .parquet, else CSV.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write ids in CSV as they are. By default an apostrophe is put before those that a
    /// spreadsheet would take for a formula.
    #[arg(long, requires = "output")]
    pub exact_text: bool,
    /// Accounts at the top of each list.
    #[arg(long, default_value_t = 10)]
    pub top: usize,
    /// Memory for the table of accounts, in MiB. If they do not fit, the archive is read several
    /// times.
    #[arg(long, value_name = "MIB", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..))]
    pub memory: u32,
    /// Replay the month even if the archive lacks some of its requests.
    #[arg(long)]
    pub partial: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

fn formats() -> impl TypedValueParser<Value = ExportFormat> {
    PossibleValuesParser::new(ExportFormat::NAMES).try_map(|name| name.parse::<ExportFormat>())
}

fn whats() -> impl TypedValueParser<Value = ExportWhat> {
    PossibleValuesParser::new(ExportWhat::NAMES).try_map(|name| name.parse::<ExportWhat>())
}
