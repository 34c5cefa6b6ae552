//! Arguments of `export`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::app::queries::{ExportFormat, ExportWhat, ISSUER_DEFAULT};
use crate::domain::time::Month;

pub(super) const EXPORT_EXAMPLES: &str = "\
Examples:
  tidemark export --month 2026-10 --format csv -o statements.csv
  tidemark export --month 2026-10 --format csv --what services -o services.csv
  tidemark export --month 2026-10 --format focus --issuer 'Example Inference Inc.' -o charges.csv

A CSV file ends with a line that counts its rows and gives the sums of its columns.";

/// `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Month (UTC), such as 2026-10.
    #[arg(long)]
    pub month: Month,
    /// Format of the file: csv, or focus for charges in the columns of FOCUS 1.2.
    #[arg(long, value_parser = formats())]
    pub format: ExportFormat,
    /// What to export: statements (one row per account), services or days (one row for each of an
    /// account).
    #[arg(long, default_value = "statements", value_parser = whats())]
    pub what: ExportWhat,
    /// File to write; it appears when it is complete [default: stdout].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write ids and names as they are. By default an apostrophe stands before those that a
    /// spreadsheet would take for a formula.
    #[arg(long)]
    pub exact_text: bool,
    /// Who issues the invoices; FOCUS files name it.
    #[arg(long, value_name = "NAME", default_value = ISSUER_DEFAULT)]
    pub issuer: String,
}

fn formats() -> impl TypedValueParser<Value = ExportFormat> {
    PossibleValuesParser::new(ExportFormat::NAMES).try_map(|name| name.parse::<ExportFormat>())
}

fn whats() -> impl TypedValueParser<Value = ExportWhat> {
    PossibleValuesParser::new(ExportWhat::NAMES).try_map(|name| name.parse::<ExportWhat>())
}
