//! What people see: statements, leaderboards, credits, usage, streaks, referrals, earnings.
//!
//! Each answer is computed once, here, as a type that serializes to its public form: the command
//! line prints it (`--json`), the HTTP service answers with it. The only writes are those of the
//! analytics, which one process computes and keeps for all, and those that list by time what an
//! older version added to a user's credits.
//!
//! Every number is as fresh as the store: an event is included once it has been rated and posted.

use std::fmt::Display;
use std::sync::Arc;

use serde::Serializer;
use tokio::sync::{Mutex, Semaphore};

use crate::domain::rules::{ProviderTimeline, Timeline};
use crate::domain::time::Millis;
use crate::log::{Log, Partitions};
use crate::store::db::{Db, StoreError};

mod adjustments;
mod analytics;
mod audit;
mod audits;
mod badges;
mod bytes_text;
mod credits;
mod earnings;
mod explain;
mod export;
mod filtered;
mod halts;
mod keys;
mod leaderboard;
mod models;
mod open_rejects;
mod quality;
mod referrals;
mod rejects;
mod replay;
mod rules;
mod rules_cache;
mod search;
mod seasons;
mod sent_rejects;
mod set_aside;
mod standstill;
mod statements;
mod streak;
mod usage;
pub mod verify;
mod votes;
mod wallets;
mod what_if;

pub use adjustments::{AWARDS_LOOKED_MAX, AwardInfo, AwardList};
pub use analytics::{
    ActiveDay, Analytics, Funnel, MOVERS_MAX, Mover, PerKind, ServiceSum, compute, keep,
};
pub use audit::{AuditEntry, AuditFilter, AuditPage};
pub use audits::{ArchivedPart, AuditFinding, AuditProgress, AuditReport};
pub use badges::{BadgeAddress, BadgeLine, BadgeList, BadgeWithGrant, PublicKey, words_of};
pub use bytes_text::BytesText;
pub use credits::{CreditLine, CreditPage, CreditSums, Credits, LedgerOrder, Network, Servable};
pub use earnings::{DayAmount, Earnings};
pub use explain::{
    Beneficiary, BookingStep, CompletionStep, CostItem, CostLine, CostStep, DIFFERS, DayStep,
    Explanation, Floored, LogStep, PointsStep, QualityStep, RequestFacts, ReversalSent,
    ReversalStep, RuleUsed, RulesStep, SeasonStep, Section, ServiceDemand, ServiceStep, SumLine,
    TierFound, View, WhichRequest,
};
pub use export::{
    ArchiveFault, ChangesFile, Column, ColumnKind, Export, ExportError, ExportFormat,
    ExportRequest, ExportWhat, FOCUS_VERSION, ISSUER_DEFAULT, Sums, TrailFile, UnknownName,
};
pub use halts::Halt;
pub use keys::{KEYS_LOOKED_MAX, KeyInfo, KeyPage};
pub use leaderboard::{LeaderboardPage, Place, RankOf, Ranking};
pub use models::{ModelLine, ModelUse};
pub use open_rejects::OPEN_LOOKED_MAX;
pub use referrals::{
    CodeView, Counts, MilestoneState, RefereeLine, RefereeProgress, ReferralOverview, Rewards, Who,
};
pub use rejects::{
    DiscardInfo, FoundReject, Origin, RedriveInfo, RejectDetail, RejectLine, RejectPage,
    RejectPlace, RejectState, SentTo,
};
pub use replay::{
    AccountChange, ArchivePath, ChangedAccount, CoverageError, EachAccount, Forget,
    IncompleteArchive, MonthCoverage, OverlappingFiles, Pair, ReplayError, ReplayReport,
    ReplayRequest, ReplayTotals, RowCounts, StoredArchive, Worth, replay,
};
pub use rules::{
    Price, PriceVersion, Pricing, RuleList, RuleVersion, Version, in_force_at, is_mainnet_of,
    json_of, known_rule, price_of, to_come,
};
pub use rules_cache::RULES_CACHE_TTL;
pub use search::{AccountTrace, AccountTraces, FoundAccount, SearchResult, id_of_pasted_key};
pub use seasons::{SeasonBoards, SeasonError, SeasonPlace, season_boards};
pub use sent_rejects::{PageStart, SentBy, SentReject, SentRejectDetail, SentRejectPage};
pub use set_aside::{AccountsAside, ReleaseRefusal, SetAside, UnreadableRecord};
pub use statements::{DayDoc, ServiceDoc, StatementDoc, Statements};
pub use streak::StreakView;
pub use usage::{
    CompletionOfRequest, ReversalOfRequest, StatusFilter, UsageCursor, UsageFilter, UsageLine,
    UsageOfDay,
};
pub use votes::{ComputedVotes, VOTERS_MAX, VotesError, VotesPage, VotesView, WeightTable};
pub use wallets::{WalletChangeView, WalletView};
pub use what_if::{ChangedValue, SampledWeek, WhatIf};

/// Reads the store, the rejects in the log, and the archive of requests if there is one.
pub struct Queries {
    db: Arc<dyn Db>,
    log: Arc<dyn Log>,
    partitions: Partitions,
    archive: Option<Arc<StoredArchive>>,
    /// Room for replays of service: each reads files of the archive into memory.
    replays: Arc<Semaphore>,
    rules: Arc<rules_cache::RulesCache>,
    models: models::ModelCache,
    votes: votes::VotesCache,
    open_rejects: open_rejects::OpenRejects,
    /// Whose turn it is to list what older versions added to a user's credits.
    credit_listings: Arc<Mutex<()>>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No rules have been published.
    #[error("no rules have been published yet; an admin does that: tidemark pricing init testnet")]
    NoRules,
    /// A record of `usage.rejected` is not a reject, which is a bug.
    #[error("{0}")]
    Reject(String),
    /// The account's rows cannot be read, and it is set aside for that: since when.
    #[error(
        "this account cannot be shown: it has been set aside since {0}, because its rows cannot be read. Nothing is lost; `tidemark set-aside list` says what to do"
    )]
    SetAside(Millis),
    /// Many requests wait for weights of proposals to be loaded.
    #[error("the weights of proposals are being loaded for other requests; retry in a few seconds")]
    VotesLoading,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Queries {
    /// Queries of a store, and of a log with these partitions.
    pub fn new(db: Arc<dyn Db>, log: Arc<dyn Log>, partitions: Partitions) -> Queries {
        Queries {
            db,
            log,
            partitions,
            archive: None,
            replays: Arc::new(Semaphore::new(1)),
            rules: Arc::default(),
            models: models::ModelCache::default(),
            votes: votes::VotesCache::default(),
            open_rejects: open_rejects::OpenRejects::default(),
            credit_listings: Arc::default(),
        }
    }

    /// The same, with an archive of requests.
    #[must_use]
    pub fn with_archive(self, archive: Option<StoredArchive>) -> Queries {
        Queries {
            archive: archive.map(Arc::new),
            ..self
        }
    }

    pub(super) fn db(&self) -> &dyn Db {
        &*self.db
    }

    pub(super) fn log(&self) -> &dyn Log {
        &*self.log
    }

    pub(super) fn partitions(&self) -> Partitions {
        self.partitions
    }

    /// Every version of the rules as of now; `None` before any were published. One small read,
    /// unless they have changed.
    pub async fn rules(&self) -> Result<Option<Arc<Timeline>>, StoreError> {
        self.rules.current(self.db()).await
    }

    /// The published provider accounts behind gateways' own names; `None` before any rules. While
    /// the store does not answer, those that were last known: usage is not held up for them.
    ///
    /// # Errors
    /// The store does not answer, and this process has never read the rules.
    pub async fn provider_names(&self) -> Result<Option<Arc<ProviderTimeline>>, StoreError> {
        let timeline = self.rules.at_hand(&self.db).await?;
        Ok(timeline.map(|timeline| Arc::clone(timeline.provider_names())))
    }

    /// The rules, without which there is no answer.
    pub async fn rules_needed(&self) -> Result<Arc<Timeline>, QueryError> {
        self.rules().await?.ok_or(QueryError::NoRules)
    }
}

/// An amount, or an instant, as its text.
pub(super) fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// The same of what may be missing: `null`.
pub(super) fn optional_text<T: Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// An instant as its text, there and back.
mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr,
        T::Err: Display,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
