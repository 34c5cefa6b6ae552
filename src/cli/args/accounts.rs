//! What accounts have and receive: `pricing`, `referral`, `credits`, `award`, `statement`,
//! `leaderboard`,
//! `usage`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{AccountArg, JsonArg};
use crate::domain::amount::{Money, Points};
use crate::domain::ids::AccountKind;
use crate::domain::time::{Day, Millis, Month};
use crate::domain::votes::ProposalId;
use crate::gateways::Markup;

pub(super) const STATEMENT_EXAMPLES: &str = "\
Examples:
  tidemark statement user alice
  tidemark statement provider prov-1 --month 2026-11 --json
  tidemark statement --all --month 2026-11 --json > november.jsonl";

pub(super) const EXPLAIN_EXAMPLES: &str = "\
Examples:
  tidemark explain alice --source gateway-eu-1 --id r-1
  tidemark explain alice --source gateway-eu-1 --id r-1 --time 2026-11-22T07:01:02.123Z --json

Exit code 1 if the steps come to something other than was posted (explanation_differs), which is a fault;
2 if there is no such request.";

/// `pricing`.
#[derive(Debug, Subcommand)]
pub enum PricingCommand {
    /// Publish the shipped value of every rule that has none yet, valid from the beginning. Running
    /// it again changes nothing.
    Init {
        /// testnet: usage is free. mainnet: usage costs credits.
        set: RuleSet,
        /// Also reset every price and rule that was changed to its shipped value.
        #[arg(long)]
        replace: bool,
    },
    /// Show the values in force, and those that are scheduled.
    Show {
        /// Only what is scheduled, soonest first.
        #[arg(long)]
        scheduled: bool,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Publish a new value of one price or rule: shows what it changes, asks, and writes.
    #[command(
        after_help = "Examples:\n  tidemark pricing set tts 0.02 --reason 'new supplier'\n  \
                      tidemark pricing set system_mainnet true --from 2027-01-01T00:00:00Z --reason 'launch'\n  \
                      tidemark pricing set rules.providers --file providers.json --reason 'new deployment' --yes\n\n\
                      To call a scheduled change back, publish what is to hold in its place with the same --from."
    )]
    Set(SetArgs),
    /// Check a rules file, and publish nothing. Reports all faults at once.
    #[command(
        after_help = "Examples:\n  tidemark pricing check config/rules/mainnet.toml\n  \
                      tidemark pricing check services.json --key rules.services\n\n\
                      Exit code 2 if the file has faults. Not checked: what depends on versions that are published already, \
                      such as a service that changes its name."
    )]
    Check {
        /// The file: all rules of a network as TOML, as in config/rules; with --key, one value as
        /// JSON.
        file: PathBuf,
        /// The key whose value the file is, such as rules.services.
        #[arg(long)]
        key: Option<String>,
    },
    /// Publish prices of single models from LiteLLM's public price list, as one version of
    /// `rules.modelPrices`.
    ///
    /// Prices of models that the list does not name stay as they are. Download the list from
    /// <https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json>
    #[command(
        after_help = "Examples:\n  tidemark pricing import model_prices.json --markup 20 --dry-run\n  \
                      tidemark pricing import model_prices.json --markup 20 --only 'claude-*' --only 'gpt-*' --yes"
    )]
    Import(ImportArgs),
}

/// `pricing set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// The price or rule, as `tidemark pricing show` names it.
    pub key: String,
    /// The value as JSON; of a price also its amount in USD alone.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub value: Option<String>,
    /// A file with the value as JSON.
    #[arg(long)]
    pub file: Option<PathBuf>,
    /// From when on, such as 2027-01-01T00:00:00Z; not in the past. Default: now; for
    /// rules.providers, in five seconds.
    #[arg(long, value_name = "TIME")]
    pub from: Option<Millis>,
    /// Why; it is kept with the version and in the audit entry.
    #[arg(long)]
    pub reason: String,
    /// Show what would change, and publish nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
}

/// `pricing import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The list, a JSON file.
    pub file: PathBuf,
    /// Percent to add to every price, with up to two decimals.
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = markup)]
    pub markup: Markup,
    /// Only models whose names match this glob; may be given more than once.
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,
    /// Show what would change, and publish nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
}

fn markup(text: &str) -> Result<Markup, String> {
    let allowed = || format!("{text:?} is not a percentage from 0 to 1000 with up to two decimals");
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || decimals.len() > 2 || !are_digits(whole) || !are_digits(decimals) {
        return Err(allowed());
    }
    let number: u32 = format!("{whole}{decimals:0<2}")
        .parse()
        .map_err(|_| allowed())?;
    match number {
        0..=100_000 => Ok(Markup(number)),
        _ => Err(allowed()),
    }
}

/// A set of rules that ships with tidemark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RuleSet {
    /// Usage is free.
    Testnet,
    /// Usage costs credits.
    Mainnet,
}

/// `referral`.
#[derive(Debug, Subcommand)]
pub enum ReferralCommand {
    /// Show an account's referral code, creating one if it has none.
    #[command(after_help = "Example:\n  tidemark referral code user alice")]
    Code {
        /// The account.
        #[command(flatten)]
        account: AccountArg,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Sign an account up with a referral code. The referrer can never be changed afterwards.
    #[command(after_help = "Example:\n  tidemark referral signup user bob ALIC-7KQ2M")]
    Signup {
        /// The new account.
        #[command(flatten)]
        account: AccountArg,
        /// The referrer's code.
        code: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Import the referral links of an existing marketplace. Each line is a signup, applied in file
    /// order.
    #[command(
        after_help = "A line: {\"referee\":[\"user\",\"bob\"],\"referrer\":[\"user\",\"alice\"]}\nInvalid lines are reported \
on stderr, the others are imported, and the exit code is 2. Importing a file again is safe."
    )]
    Import {
        /// File of JSON lines; - reads standard input.
        file: PathBuf,
        /// Create only the links; the awards were already paid elsewhere.
        #[arg(long)]
        no_awards: bool,
    },
}

/// `wallet`.
#[derive(Debug, Subcommand)]
pub enum WalletCommand {
    /// Show the address to which an account's claims go, and how it came to be.
    #[command(after_help = "Example:\n  tidemark wallet show user alice")]
    Show {
        /// The account.
        #[command(flatten)]
        account: AccountArg,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Issue a message that links an address once its owner has signed it, within 15 minutes.
    #[command(
        after_help = "Example:\n  tidemark wallet message user alice 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed > message.txt"
    )]
    Message {
        /// The account.
        #[command(flatten)]
        account: AccountArg,
        /// The address: 0x and 40 hex digits.
        address: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Link the wallet that signed a message. It replaces the one before from now on.
    #[command(
        after_help = "Example:\n  tidemark wallet link user alice --message message.txt --signature 0x… --reason 'asked by mail'\n\n\
                      The signature is that of personal_sign (EIP-191): cast wallet sign \"$(cat message.txt)\""
    )]
    Link {
        /// The account.
        #[command(flatten)]
        account: AccountArg,
        /// The file that holds the message, as `wallet message` printed it; - reads standard input.
        #[arg(long, value_name = "FILE")]
        message: PathBuf,
        /// Its signature: 0x and 130 hex digits.
        #[arg(long, value_name = "HEX")]
        signature: String,
        /// Reason, kept in the audit entry; the account sees it.
        #[arg(long)]
        reason: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Unlink an account's wallet: months that are closed from now on find none.
    #[command(
        after_help = "Example:\n  tidemark wallet unlink user alice --reason 'its owner reported the key as stolen'"
    )]
    Unlink {
        /// The account.
        #[command(flatten)]
        account: AccountArg,
        /// Reason, kept in the audit entry; the account sees it.
        #[arg(long)]
        reason: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `governance`.
#[derive(Debug, Subcommand)]
pub enum GovernanceCommand {
    /// Freeze the weights of a proposal, for good: what each linked address weighs by the points of
    /// final months.
    #[command(
        after_help = "Examples:\n  tidemark governance freeze proposal-1 --from 2026-08 --to 2026-10 --formula square-root --dry-run\n  \
                      tidemark governance freeze proposal-1 --from 2026-08 --to 2026-10 --formula square-root --reason 'vote on prices'"
    )]
    Freeze(FreezeArgs),
    /// Show what is frozen: one proposal, or a list of all.
    #[command(
        after_help = "Examples:\n  tidemark governance show\n  tidemark governance show proposal-1 --document > proposal-1.json"
    )]
    Show {
        /// The proposal.
        proposal: Option<ProposalId>,
        /// Print the frozen document, byte for byte.
        #[arg(long, requires = "proposal", conflicts_with = "json")]
        document: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `governance freeze`.
#[derive(Debug, Args)]
pub struct FreezeArgs {
    /// The proposal's name: Snapshot's id of it, or one of your own.
    pub proposal: ProposalId,
    /// The first month whose points count.
    #[arg(long, value_name = "MONTH")]
    pub from: Month,
    /// The last one; each month must be final.
    #[arg(long, value_name = "MONTH")]
    pub to: Month,
    /// How points become weight.
    #[arg(long, value_enum)]
    pub formula: FormulaArg,
    /// Most points that count, with --formula cap.
    #[arg(long, value_name = "POINTS")]
    pub cap: Option<Points>,
    /// Which kind of account takes part; may be given twice [default: both].
    #[arg(long = "kind", value_name = "KIND")]
    pub kinds: Vec<AccountKind>,
    /// As of which entry of the control feed wallets count [default: the newest].
    #[arg(long, value_name = "NUMBER")]
    pub control: Option<u64>,
    /// Reason, kept in the audit entry.
    #[arg(long, required_unless_present = "dry_run")]
    pub reason: Option<String>,
    /// Show what would be frozen, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// How points become weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormulaArg {
    /// The points themselves.
    Total,
    /// Their square root.
    SquareRoot,
    /// The points, at most --cap.
    Cap,
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
        /// Amount in US dollars, such as 12.5; at most 1,000,000. A negative amount takes credit
        /// back.
        #[arg(allow_hyphen_values = true)]
        amount: Money,
        /// Idempotency key: repeating the command with the same key counts once [default: random].
        #[arg(long)]
        key: Option<String>,
        /// Reason, kept in the audit entry.
        #[arg(long, default_value = "added by tidemark credits add")]
        reason: String,
        /// Do not ask about an unknown user or a large amount. Without a terminal it never asks.
        #[arg(long)]
        yes: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Undo an entry by a counter-entry with the opposite amount. An entry is undone once, however
    /// often the command is repeated.
    #[command(after_help = "Example:\n  tidemark credits undo alice invoice-1001")]
    Undo {
        /// The user.
        user: String,
        /// The entry's key; `tidemark credits show` lists it.
        key: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a user's balance and where it came from.
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
    /// Add points to an account or take points away; the change appears in this month's bonus.
    #[command(
        after_help = "Example:\n  tidemark award adjust user alice -12.5 --key ticket-77 --reason 'double bonus of May'"
    )]
    Adjust {
        /// The account.
        #[command(flatten)]
        account: AccountArg,
        /// Number of points; negative to take points away.
        #[arg(allow_hyphen_values = true)]
        points: Points,
        /// Reason, kept in the audit entry.
        #[arg(long)]
        reason: String,
        /// Idempotency key: repeating the command with the same key counts once [default: random].
        #[arg(long)]
        key: Option<String>,
        /// Do not ask about an unknown account or a large amount. Without a terminal it never asks.
        #[arg(long)]
        yes: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Undo an adjustment by a counter-entry in this month's bonus. An adjustment is undone once,
    /// however often the command is repeated.
    #[command(after_help = "Example:\n  tidemark award undo user alice ticket-77")]
    Undo {
        /// The account.
        #[command(flatten)]
        account: AccountArg,
        /// The adjustment's key; the page Adjustments and `GET /api/admin/adjustments` list it.
        key: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `reverse`.
#[derive(Debug, Args)]
pub struct ReverseArgs {
    /// The user who made the request.
    pub user: String,
    /// The event's source; `tidemark usage` shows it.
    #[arg(long)]
    pub source: String,
    /// The event's id.
    #[arg(long)]
    pub id: String,
    /// The event's time, such as 2026-11-22T07:01:02.123Z.
    #[arg(long)]
    pub time: Millis,
    /// Reason, kept in the audit entry and beside the request.
    #[arg(long)]
    pub reason: String,
    /// Idempotency key: repeating the command with the same key counts once [default: random].
    #[arg(long)]
    pub key: Option<String>,
}

/// `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The user who made the request.
    pub user: String,
    /// The event's source; `tidemark usage --json` shows it.
    #[arg(long)]
    pub source: String,
    /// The event's id.
    #[arg(long)]
    pub id: String,
    /// The event's time, such as 2026-11-22T07:01:02.123Z [default: the newest request of the last
    /// 35 days with this source and id].
    #[arg(long)]
    pub time: Option<Millis>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `statement`.
#[derive(Debug, Args)]
pub struct StatementArgs {
    /// Kind of account: user or provider.
    #[arg(required_unless_present = "all", requires = "id")]
    pub kind: Option<AccountKind>,
    /// The account's id.
    pub id: Option<String>,
    /// Month, such as 2026-11 [default: the current month].
    #[arg(long)]
    pub month: Option<Month>,
    /// Print every account, one JSON object per line.
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
    /// Month, such as 2026-11 [default: the current month].
    #[arg(long)]
    pub month: Option<Month>,
    /// Number of ranks to show.
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
    /// Day in UTC, such as 2026-11-22 [default: today].
    #[arg(long)]
    pub day: Option<Day>,
    /// Print JSON lines.
    #[arg(long)]
    pub json: bool,
}

impl Kinds {
    /// The kind of account.
    pub const fn kind(self) -> AccountKind {
        match self {
            Kinds::Users => AccountKind::User,
            Kinds::Providers => AccountKind::Provider,
        }
    }
}
