//! Credits: what was added, what was spent, what is left, and whether that is enough to go on.

use futures::future::try_join;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Queries, QueryError, text};
use crate::domain::amount::Money;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::time::Millis;
use crate::store::credits::{self, CreditEntry};
use crate::store::db::StoreError;
use crate::store::heads;

/// A user's credits. The balance is what was added less what was spent; it may be below zero, for
/// what was used has been used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credits {
    /// Whose.
    pub user_id: String,
    /// The sum of the entries, USD.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub added: Money,
    /// What usage has cost, over the user's life, USD.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub spent: Money,
    /// `added − spent`, USD.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub balance: Money,
    /// Whether the balance is below zero.
    pub overdrawn: bool,
    /// What was added, oldest first.
    pub entries: Vec<CreditLine>,
    /// Give it as `after` for the entries that follow; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Credits {
    /// At most `limit` of the entries, those after the one with the key `after`; `None` if there is
    /// no such entry.
    pub fn page(mut self, after: Option<&str>, limit: usize) -> Option<Credits> {
        let first = match after {
            None => 0,
            Some(key) => 1 + self.entries.iter().position(|entry| entry.key == key)?,
        };
        self.entries.drain(..first);
        if self.entries.len() > limit {
            self.entries.truncate(limit);
            self.next = self.entries.last().map(|last| last.key.clone());
        }
        Some(self)
    }
}

/// An entry of a user's credits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreditLine {
    /// When.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub at: Millis,
    /// How much, USD; below zero: taken back.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub amount: Money,
    /// Why.
    pub reason: String,
    /// Who added it.
    pub by: String,
    /// Its idempotency key.
    pub key: String,
}

impl From<CreditEntry> for CreditLine {
    fn from(entry: CreditEntry) -> CreditLine {
        CreditLine {
            at: entry.at,
            amount: entry.amount,
            reason: entry.reason,
            by: entry.by,
            key: entry.idempotency_key,
        }
    }
}

/// Whether usage is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// It is not; what it would cost is noted.
    Testnet,
    /// It is.
    Mainnet,
}

/// Whether a gateway should serve a user's next request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Servable {
    /// Whose.
    pub user_id: String,
    /// What was added less what was spent, USD.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub balance: Money,
    /// Serve while this is true: on testnet always, on mainnet while the balance is above zero.
    pub serve: bool,
    /// Which rules are in force now; `null` before any were published.
    pub network: Option<Network>,
}

impl Queries {
    /// A user's credits, with every entry.
    pub async fn credits(&self, user: &Account) -> Result<Credits, QueryError> {
        // Not one moment: the sum may hold an entry already that the list does not show yet.
        let entries = credits::ledger(self.db(), user.id()).await?;
        let (added, spent) = self.added_and_spent(user).await?;
        let balance = Money(added.0 - spent.0);
        Ok(Credits {
            user_id: user.id().to_owned(),
            added,
            spent,
            balance,
            overdrawn: balance < Money::ZERO,
            entries: entries.into_iter().map(CreditLine::from).collect(),
            next: None,
        })
    }

    /// Whether a user's next request should be served. Two small reads, of the credits' sum and of
    /// the user's newest row; the rules are looked at once a second.
    pub async fn servable(&self, user: &Account, now: Millis) -> Result<Servable, QueryError> {
        let rules = self.rules.believed(self.db());
        let ((added, spent), rules) = try_join(self.added_and_spent(user), rules).await?;
        let network = rules.map(|rules| match rules.at(now).is_mainnet() {
            true => Network::Mainnet,
            false => Network::Testnet,
        });
        let balance = Money(added.0 - spent.0);
        Ok(Servable {
            user_id: user.id().to_owned(),
            balance,
            serve: network == Some(Network::Testnet) || balance > Money::ZERO,
            network,
        })
    }

    async fn added_and_spent(&self, user: &Account) -> Result<(Money, Money), StoreError> {
        debug_assert_eq!(user.kind, AccountKind::User);
        let added = credits::added(self.db(), user.id());
        let (added, head) = try_join(added, heads::newest(self.db(), user)).await?;
        let spent = head.map(|head| head.lifetime.spent).unwrap_or_default();
        Ok((added.total, spent))
    }
}
