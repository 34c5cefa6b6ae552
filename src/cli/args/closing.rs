//! Arguments of `close` and `claims`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::AccountArg;
use crate::domain::time::Month;

pub(super) const CLOSE_EXAMPLES: &str = "\
Examples:
  tidemark close 2026-10 --pool 100000 --decimals 18 --preview
  tidemark close 2026-10 --pool 100000 --decimals 18 --minimum 1
  tidemark close 2026-10 --tokens-per-point 0.25 --decimals 6 --kinds providers
  tidemark close                          what was closed so far
  tidemark close 2026-10                  finish a close that was interrupted

A month is closed once. The same command again changes nothing.";

pub(super) const CLAIMS_EXAMPLES: &str = "\
Examples:
  tidemark claims check 2026-10/openzeppelin.json
  tidemark claims check 2026-10/close.json        every file that lies beside it
  tidemark claims show provider prov-1";

/// `close`.
#[derive(Debug, Args)]
pub struct CloseArgs {
    /// Month (UTC), such as 2026-10. Without it, what was closed so far is listed.
    pub month: Option<Month>,
    /// Whole tokens to share among all points, pro rata.
    #[arg(long, value_name = "TOKENS", group = "share", requires_all = ["decimals", "month"], allow_negative_numbers = true)]
    pub pool: Option<String>,
    /// Whole tokens for each point.
    #[arg(long, value_name = "TOKENS", group = "share", requires_all = ["decimals", "month"], allow_negative_numbers = true)]
    pub tokens_per_point: Option<String>,
    /// How many decimals the token has, 0 to 36.
    #[arg(long, value_name = "COUNT", requires = "share")]
    pub decimals: Option<u32>,
    /// Who takes part: users, providers, or both with a comma between [default: both].
    #[arg(long, value_name = "KINDS", requires = "share")]
    pub kinds: Option<String>,
    /// An account that has fewer whole tokens to get waits for a later close [default: 0].
    #[arg(
        long,
        value_name = "TOKENS",
        requires = "share",
        allow_negative_numbers = true
    )]
    pub minimum: Option<String>,
    /// Show what would be paid, and write nothing.
    #[arg(long, requires = "month")]
    pub preview: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `claims`.
#[derive(Debug, Subcommand)]
pub enum ClaimsCommand {
    /// Compute root, proofs and sums of a claim file again, and name the line that was edited.
    /// Needs no server and no configuration.
    Check {
        /// The file, or close.json for every file beside it.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Show what an account can claim, with proofs, as JSON.
    Show {
        /// Whose.
        #[command(flatten)]
        account: AccountArg,
        /// Closes of months before this one [default: the newest].
        #[arg(long, value_name = "MONTH")]
        before: Option<Month>,
    },
}
