//! `verify`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use crate::domain::time::Month;
use crate::ops::config::FilesLocation;

pub(super) const EXAMPLES: &str = "\
Examples:
  tidemark verify
  tidemark verify --month 2026-10
  tidemark verify --json --resume verify-state.jsonl > differences.jsonl

Exit code 1 if a row is not what it should be, 2 if it cannot be verified or nothing was compared.";

/// `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Only rows of this month, such as 2026-10.
    #[arg(long)]
    pub month: Option<Month>,
    /// Where the archive is: a directory, or s3://BUCKET/PREFIX [default: archive.location].
    #[arg(long, value_name = "PLACE")]
    pub archive: Option<FilesLocation>,
    /// Accounts in memory at a time, about 1 KiB each. With more, the archive and the tables are
    /// read more than once.
    #[arg(long, value_name = "COUNT", default_value = "1000000")]
    pub accounts_max: NonZeroUsize,
    /// Keep what is done in this file, and continue from it.
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// Print JSON lines.
    #[arg(long)]
    pub json: bool,
}
