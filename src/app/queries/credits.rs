//! Credits: what was added, what was spent, what is left, and whether that is enough to go on.

use std::sync::Arc;

use futures::future::try_join;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Queries, QueryError, text};
use crate::domain::amount::Money;
use crate::domain::ids::{Account, AccountKind, check_id};
use crate::domain::time::Millis;
use crate::store::credits::{self, CreditEntry};
use crate::store::db::StoreError;
use crate::store::heads;

pub use crate::store::credits::LedgerOrder;

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

/// The sums of a user's credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditSums {
    /// The sum of the entries.
    pub added: Money,
    /// How many entries there are.
    pub entries: u64,
    /// What usage has cost, over the user's life.
    pub spent: Money,
}

impl CreditSums {
    /// What is left; may be below zero.
    pub fn balance(&self) -> Money {
        Money(self.added.0 - self.spent.0)
    }

    /// Whether the balance is below zero.
    pub fn is_overdrawn(&self) -> bool {
        self.balance() < Money::ZERO
    }

    /// With these of the entries.
    pub fn with(self, user: &Account, entries: CreditPage) -> Credits {
        Credits {
            user_id: user.id().to_owned(),
            added: self.added,
            spent: self.spent,
            balance: self.balance(),
            overdrawn: self.is_overdrawn(),
            entries: entries.entries,
            next: entries.next,
        }
    }
}

/// Some of the entries of a user's credits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditPage {
    /// In the order that was asked for.
    pub entries: Vec<CreditLine>,
    /// The key of the last one, if there are more behind it.
    pub next: Option<String>,
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
    /// The sums of a user's credits. Reads two rows, however many entries there are.
    pub async fn credit_sums(&self, user: &Account) -> Result<CreditSums, QueryError> {
        Ok(self.sums(user).await?)
    }

    /// At most `limit` entries of a user's credits, those behind the entry with the key `after`;
    /// `None` if there is no such entry. Reads little more than those.
    pub async fn credit_page(
        &self,
        user: &Account,
        order: LedgerOrder,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<CreditPage>, QueryError> {
        let after = match after {
            None => None,
            Some(key) => match self.credit_entry(user, key).await? {
                None => return Ok(None),
                entry => entry,
            },
        };
        self.list_credits(user).await?;
        let page = credits::page(self.db(), user.id(), order, after.as_ref(), limit).await?;
        let entries: Vec<CreditLine> = page.entries.into_iter().map(CreditLine::from).collect();
        let last = entries.last().map(|last| last.key.clone());
        Ok(Some(CreditPage {
            entries,
            next: last.filter(|_| page.has_more),
        }))
    }

    /// The entry of a user's credits with this key.
    pub async fn credit(
        &self,
        user: &Account,
        key: &str,
    ) -> Result<Option<CreditLine>, QueryError> {
        let entry = self.credit_entry(user, key).await?;
        Ok(entry.map(CreditLine::from))
    }

    async fn credit_entry(
        &self,
        user: &Account,
        key: &str,
    ) -> Result<Option<CreditEntry>, StoreError> {
        if check_id(key).is_err() {
            return Ok(None);
        }
        let [entry] = credits::entries(self.db(), user.id(), [key]).await?;
        Ok(entry)
    }

    /// Lists by time what an older version added to a user's credits: once per user, and to the end
    /// also if the client goes away meanwhile. One user at a time, since it may be much.
    async fn list_credits(&self, user: &Account) -> Result<(), StoreError> {
        if credits::is_listed(self.db(), user.id()).await? {
            return Ok(());
        }
        let (db, user) = (Arc::clone(&self.db), user.clone());
        let turn = Arc::clone(&self.credit_listings);
        let listing = tokio::spawn(async move {
            let _turn = turn.lock().await;
            credits::list_all(&*db, user.id()).await
        });
        let stopped =
            |_| StoreError::Unavailable("listing the user's credits was interrupted".to_owned());
        listing.await.map_err(stopped)?
    }

    /// Whether a user's next request should be served. Two small reads, of the credits' sum and of
    /// the user's newest row; the rules are looked at once a second.
    pub async fn servable(&self, user: &Account, now: Millis) -> Result<Servable, QueryError> {
        let rules = self.rules.believed(self.db());
        let (sums, rules) = try_join(self.sums(user), rules).await?;
        let network = rules.map(|rules| match rules.at(now).is_mainnet() {
            true => Network::Mainnet,
            false => Network::Testnet,
        });
        let balance = sums.balance();
        Ok(Servable {
            user_id: user.id().to_owned(),
            balance,
            serve: network == Some(Network::Testnet) || balance > Money::ZERO,
            network,
        })
    }

    async fn sums(&self, user: &Account) -> Result<CreditSums, StoreError> {
        debug_assert_eq!(user.kind, AccountKind::User);
        // Not one moment: an entry may be in the sum already and not be in a list that was read
        // before, or the other way round.
        let added = credits::added(self.db(), user.id());
        let (added, head) = try_join(added, heads::newest(self.db(), user)).await?;
        Ok(CreditSums {
            added: added.total,
            entries: added.entries,
            spent: head.map(|head| head.lifetime.spent).unwrap_or_default(),
        })
    }
}
