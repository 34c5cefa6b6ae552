//! What people see: statements, leaderboards, credits, usage, streaks, referrals, earnings.
//!
//! Each answer is computed once, here, as a type that serialises to what it looks like: the command line prints it (`--json`), the HTTP
//! service answers with it. Two things here write to the store: [`Reads::sign_up`], and the analytics,
//! which are computed by one process and kept for all.
//!
//! Every number is as fresh as the store: what a gateway has sent is in it once it has been rated and posted.

use std::fmt::Display;
use std::sync::Arc;

use serde::Serializer;

use crate::domain::rules::Timeline;
use crate::store::db::{Db, StoreError};

mod analytics;
mod credits;
mod earnings;
mod leaderboard;
mod models;
mod quality;
mod referrals;
mod rules;
mod signup;
mod standstill;
mod statements;
mod streak;
mod usage;
mod what_if;

pub use analytics::{
    ActiveDay, Analytics, Funnel, MOVERS_MAX, Mover, PerKind, ServiceSum, compute, keep,
};
pub use credits::{CreditLine, Credits, Network, Servable};
pub use earnings::{DayAmount, Earnings};
pub use leaderboard::{LeaderboardPage, Place, RankOf, Ranking};
pub use models::{ModelLine, ModelUse};
pub use referrals::{
    CodeView, Counts, MilestoneState, RefereeLine, ReferralOverview, Rewards, Who,
};
pub use rules::BELIEVED;
pub use signup::{NewSignup, SignUpError};
pub use statements::{DayDoc, ServiceDoc, StatementDoc, Statements};
pub use streak::StreakView;
pub use usage::UsageOfDay;
pub use what_if::WhatIf;

/// Reads the store.
pub struct Reads {
    db: Arc<dyn Db>,
    source_partitions: u32,
    posting_partitions: u32,
    rules: rules::InForce,
    models: models::Found,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No rules have been published.
    #[error("there are no rules yet; publish them: tidemark pricing init testnet")]
    NoRules,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Reads {
    /// Reads of a store, whose log has so many partitions of `usage.events` and of `ledger.postings`.
    pub fn new(db: Arc<dyn Db>, source_partitions: u32, posting_partitions: u32) -> Reads {
        Reads {
            db,
            source_partitions,
            posting_partitions,
            rules: rules::InForce::default(),
            models: models::Found::default(),
        }
    }

    fn db(&self) -> &dyn Db {
        &*self.db
    }

    /// Every version of the rules as of now; `None` before any were published. One small read, unless they have changed.
    pub async fn rules(&self) -> Result<Option<Arc<Timeline>>, StoreError> {
        self.rules.current(self.db()).await
    }

    /// The rules, without which there is no answer.
    pub async fn rules_needed(&self) -> Result<Arc<Timeline>, ReadError> {
        self.rules().await?.ok_or(ReadError::NoRules)
    }
}

/// An amount, or an instant, as its text.
fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
