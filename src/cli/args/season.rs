//! Arguments of `tidemark season`.

use clap::Subcommand;

use super::JsonArg;
use crate::ops::config::FilesLocation;

pub(super) const EXAMPLES: &str = "\
Examples:
  tidemark season list
  tidemark verify --archive archive
  tidemark season freeze 'High tide' --archive archive
  tidemark season show 'High tide'

Seasons are the rule rules.season; see docs/badges.md#seasons.";

/// `season`.
#[derive(Debug, Subcommand)]
pub enum SeasonCommand {
    /// List the seasons, and which of them were frozen.
    List(JsonArg),
    /// Show the leaderboards of a season that was frozen.
    Show {
        /// The season's name.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compute the leaderboards of a season that has ended, from the archive, and keep them for
    /// good.
    ///
    /// Run `tidemark verify` first: what is frozen never changes.
    Freeze {
        /// The season's name.
        name: String,
        /// Where the archive is [default: archive.location].
        #[arg(long, value_name = "DIR")]
        archive: Option<FilesLocation>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}
