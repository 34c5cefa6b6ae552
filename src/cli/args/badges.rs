//! Arguments of `tidemark badges`.

use clap::{Args, Subcommand};

use super::AccountArg;

pub(super) const EXAMPLES: &str = "\
Examples:
  tidemark badges list user alice
  tidemark badges revoke user alice week-streak --reason 'earned by a script'
  tidemark badges restore user alice week-streak --reason 'it was not'
  tidemark badges rotate-key --reason 'once a year'
  tidemark badges withdraw-key kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k --reason 'a backup was stolen'

Which badges there are is the rule rules.badges; see docs/badges.md.";

/// `badges`.
#[derive(Debug, Subcommand)]
pub enum BadgesCommand {
    /// List the badges of an account, also those that were taken back.
    List {
        /// The account.
        #[command(flatten)]
        account: AccountArg,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a badge of an account: what earned it, its public path, and whether it was taken back.
    Show {
        /// The account.
        #[command(flatten)]
        account: AccountArg,
        /// The badge's id.
        badge: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take a badge back. It stays so although its criterion is still met; its credential shows it.
    Revoke(BadgeDecisionArgs),
    /// Give a badge back that was taken back.
    Restore(BadgeDecisionArgs),
    /// List the public keys that sign credentials of badges.
    Keys {
        /// Print JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Replace the key that signs credentials. Older credentials stay valid.
    RotateKey {
        /// Why; it is kept in the audit entry.
        #[arg(long)]
        reason: String,
    },
    /// Stop publishing a key that was replaced, because others may have it.
    ///
    /// Credentials that it signed can no longer be verified; their earners download them again.
    WithdrawKey {
        /// The key, as `tidemark badges keys` shows it.
        // Ids are base64url: one in 64 begins with a hyphen.
        #[arg(allow_hyphen_values = true)]
        key: String,
        /// Why; it is kept in the audit entry.
        #[arg(long)]
        reason: String,
    },
}

/// `badges revoke` and `badges restore`.
#[derive(Debug, Args)]
pub struct BadgeDecisionArgs {
    /// The account.
    #[command(flatten)]
    pub account: AccountArg,
    /// The badge's id.
    pub badge: String,
    /// Why; it is kept in the audit entry.
    #[arg(long)]
    pub reason: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
