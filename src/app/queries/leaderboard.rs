//! Leaderboards: pages of them, and the rank of one account.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Queries, QueryError, text};
use crate::domain::amount::Points;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::statement::total;
use crate::domain::time::Month;
use crate::store::{accounts, top};

/// The best accounts of a kind in a month: by total, descending, then by id. Every place in it is
/// exact; nothing is known of the order of the accounts behind its last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// Users or providers.
    pub kind: AccountKind,
    /// The month.
    pub month: Month,
    ranked: Vec<top::Ranked>,
}

/// A place on a leaderboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// From 1.
    pub rank: u64,
    /// User or provider.
    #[schema(value_type = String)]
    pub kind: AccountKind,
    /// Who.
    pub id: String,
    /// The month.
    #[schema(value_type = String)]
    pub month: Month,
    /// Points, bonuses included.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub total: Points,
}

/// Some places of a leaderboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaderboardPage {
    /// User or provider.
    #[schema(value_type = String)]
    pub kind: AccountKind,
    /// The month.
    #[schema(value_type = String)]
    pub month: Month,
    /// How many places are kept: these are exact, beyond them no order is known.
    pub kept: u64,
    /// The places of this page.
    pub places: Vec<Place>,
    /// The rank after which the next page begins; `null` if there is none.
    pub next: Option<u64>,
}

/// The rank of one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RankOf {
    /// User or provider.
    #[schema(value_type = String)]
    pub kind: AccountKind,
    /// Who.
    pub id: String,
    /// The month.
    #[schema(value_type = String)]
    pub month: Month,
    /// The place; `null`: behind the last one that is kept.
    pub rank: Option<u64>,
    /// How many places are kept.
    pub kept: u64,
    /// Points, bonuses included, as in the account's row, which may be some seconds ahead of the
    /// leaderboard.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub total: Points,
}

impl Queries {
    /// The leaderboard of a month.
    pub async fn leaderboard(
        &self,
        kind: AccountKind,
        month: Month,
    ) -> Result<Ranking, QueryError> {
        let ranked = top::leaderboard(self.db(), self.partitions.posting, kind, month).await?;
        Ok(Ranking {
            kind,
            month,
            ranked,
        })
    }

    /// Where an account stands in a month. An account without a row has no points, and no place.
    pub async fn rank_of(&self, account: &Account, month: Month) -> Result<RankOf, QueryError> {
        let ranking = self.leaderboard(account.kind, month).await?;
        let total = match accounts::month(self.db(), account, month).await? {
            Some(stored) => total(account.kind, &stored.row, &*self.rules_needed().await?),
            None => Points::ZERO,
        };
        Ok(RankOf {
            kind: account.kind,
            id: account.id().to_owned(),
            month,
            rank: ranking.rank(account.id()),
            kept: ranking.kept(),
            total,
        })
    }
}

impl Ranking {
    /// How many places are kept.
    pub fn kept(&self) -> u64 {
        self.ranked.len() as u64
    }

    /// The place of an account, if it is among those that are kept.
    pub fn rank(&self, id: &str) -> Option<u64> {
        let at = self.ranked.iter().position(|ranked| ranked.1 == id)?;
        Some(at as u64 + 1)
    }

    /// At most `limit` places after the rank `after` (0: from the first).
    pub fn places(&self, after: u64, limit: usize) -> Vec<Place> {
        let skipped = usize::try_from(after).unwrap_or(usize::MAX);
        let place = |(rank, ranked): (u64, &top::Ranked)| Place {
            rank,
            kind: self.kind,
            id: ranked.1.clone(),
            month: self.month,
            total: ranked.0,
        };
        let numbered = (1..).zip(&self.ranked);
        numbered.skip(skipped).take(limit).map(place).collect()
    }

    /// The same as a page that says whether there is more.
    pub fn page(&self, after: u64, limit: usize) -> LeaderboardPage {
        let places = self.places(after, limit);
        let last = places.last().map(|place| place.rank);
        LeaderboardPage {
            kind: self.kind,
            month: self.month,
            kept: self.kept(),
            next: last.filter(|last| *last < self.kept()),
            places,
        }
    }
}
