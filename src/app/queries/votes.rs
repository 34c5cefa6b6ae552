//! Votes: the weights of proposals, computed and frozen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::{Queries, QueryError, text};
use crate::domain::amount::Points;
use crate::domain::ethereum::Address;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::position::Control;
use crate::domain::time::{Millis, Month};
use crate::domain::votes::{DECIMALS, ProposalId, VoteTerms, Weights, read_line};
use crate::store::db::StoreError;
use crate::store::votes::{self, FrozenVotes};
use crate::store::{control, wallets};

/// Most addresses of a proposal.
pub const VOTERS_MAX: usize = 1_000_000;
/// How many of them are in memory, over all proposals, for answering scores: 36 bytes each. Room
/// for two of the largest proposals, so that questions about both do not load them in turn.
const CACHED_VOTERS_MAX: usize = 2 * VOTERS_MAX;
/// Requests that wait for weights to be loaded; others are sent away.
const LOADS_WAITING_MAX: usize = 8;
/// How many proposals are in memory.
const CACHED_PROPOSALS_MAX: usize = 16;

/// Why weights cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VotesError {
    /// A month can still change.
    #[error(
        "{0} is not final, so weights could still change; wait until it is, at the earliest 72 hours after its end"
    )]
    MonthNotFinal(Month),
    /// An account is set aside, so that its months can still change.
    #[error(
        "the statement of {0} for {1} can still change, because the account is set aside; release it first (`tidemark doctor`)"
    )]
    AccountNotFinal(Account, Month),
    /// The control feed has not come that far.
    #[error("the control position {asked} does not exist yet; the newest is {newest}")]
    ControlAhead {
        /// What was asked for.
        asked: Control,
        /// Its head.
        newest: Control,
    },
    /// There are too many addresses.
    #[error("{0} addresses have a weight; at most {VOTERS_MAX} can be frozen")]
    TooManyVoters(usize),
    /// It did not work.
    #[error(transparent)]
    Failed(#[from] QueryError),
}

impl From<StoreError> for VotesError {
    fn from(error: StoreError) -> VotesError {
        VotesError::Failed(error.into())
    }
}

/// Weights, and what they were computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComputedVotes {
    /// As of which entry of the control feed wallets count.
    pub control: Control,
    /// The weights.
    pub weights: Weights,
    /// How many accounts have points and a wallet.
    pub accounts: u64,
    /// The points of accounts without a wallet, which weigh nothing; micropoints. As for others,
    /// only what is above zero over all months together.
    pub unlinked: u128,
}

/// Weights in memory, to be looked up.
#[derive(Debug, Default)]
pub struct WeightTable {
    addresses: Vec<Address>,
    weights: Vec<u128>,
}

impl WeightTable {
    /// What an address weighs.
    pub fn of(&self, address: &Address) -> u128 {
        let found = self.addresses.binary_search(address).ok();
        found.map_or(0, |at| self.weights[at])
    }

    fn push(&mut self, (address, weight): (Address, u128)) {
        self.addresses.push(address);
        self.weights.push(weight);
    }
}

/// The tables that were looked up last, the newest last. What is frozen never changes, so they are
/// good for ever.
pub(super) struct VotesCache {
    tables: Mutex<Vec<(String, Arc<WeightTable>)>>,
    /// One table is loaded at a time, whoever asks: its memory is bounded.
    loading: tokio::sync::Mutex<()>,
    /// Who may load or wait for it.
    waiting: Semaphore,
    /// Weights are computed one proposal at a time: each keeps a sum per account in memory.
    computing: tokio::sync::Mutex<()>,
}

impl Default for VotesCache {
    fn default() -> VotesCache {
        VotesCache {
            tables: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
            waiting: Semaphore::new(1 + LOADS_WAITING_MAX),
            computing: tokio::sync::Mutex::default(),
        }
    }
}

impl VotesCache {
    fn lock(&self) -> MutexGuard<'_, Vec<(String, Arc<WeightTable>)>> {
        // A panic elsewhere leaves the list whole.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, hash: &str) -> Option<Arc<WeightTable>> {
        let mut tables = self.lock();
        let at = tables.iter().position(|(known, _)| known == hash)?;
        let found = tables.remove(at);
        let table = found.1.clone();
        tables.push(found);
        Some(table)
    }

    fn put(&self, hash: &str, table: Arc<WeightTable>) {
        let mut tables = self.lock();
        tables.push((hash.to_owned(), table));
        let voters = |tables: &[(String, Arc<WeightTable>)]| {
            let lengths = tables.iter().map(|(_, table)| table.addresses.len());
            lengths.sum::<usize>()
        };
        while tables.len() > 1
            && (tables.len() > CACHED_PROPOSALS_MAX || voters(&tables) > CACHED_VOTERS_MAX)
        {
            tables.remove(0);
        }
    }
}

/// Refuses more addresses than can be frozen.
const fn must_be_few_enough(addresses: usize) -> Result<(), VotesError> {
    match addresses > VOTERS_MAX {
        true => Err(VotesError::TooManyVoters(addresses)),
        false => Ok(()),
    }
}

impl Queries {
    /// Computes weights. Reads the tables of accounts once for each month; keeps a sum per account,
    /// and a weight per address.
    pub async fn compute_votes(
        &self,
        terms: &VoteTerms,
        control: Option<Control>,
        now: Millis,
    ) -> Result<ComputedVotes, VotesError> {
        let newest = control::head(self.db()).await?;
        let control = control.unwrap_or(newest);
        if control > newest {
            let asked = control;
            return Err(VotesError::ControlAhead { asked, newest });
        }
        let mut months = Vec::new();
        for month in terms.months() {
            let statements = self.statements(month, now).await?;
            let Some(may_change) = statements.may_change_of() else {
                return Err(VotesError::MonthNotFinal(month));
            };
            // Also one without a row of the month: what was not counted may be all that it has.
            let mut may_change = may_change.into_iter();
            if let Some(account) = may_change.find(|account| terms.kinds.contains(&account.kind)) {
                return Err(VotesError::AccountNotFinal(account, month));
            }
            months.push((month, statements));
        }
        let _one_at_a_time = self.votes.computing.lock().await;
        let wallets = wallets::as_of(self.db(), control).await?;
        let mut sums: BTreeMap<Account, i128> = BTreeMap::new();
        for (month, statements) in months {
            for kind in &terms.kinds {
                let each = |account, total: Points| {
                    *sums.entry(account).or_default() += i128::from(total.0);
                };
                let unreadable = statements.each_total(*kind, each).await?;
                if let Some(account) = unreadable.into_iter().next() {
                    return Err(VotesError::AccountNotFinal(account, month));
                }
            }
        }
        let mut points: BTreeMap<Address, u128> = BTreeMap::new();
        let (mut accounts, mut unlinked) = (0, 0_u128);
        for (account, sum) in sums.into_iter().filter(|(_, sum)| *sum > 0) {
            let Some(address) = wallets.get(&account) else {
                unlinked += sum.unsigned_abs();
                continue;
            };
            *points.entry(*address).or_default() += sum.unsigned_abs();
            accounts += 1;
        }
        let weights = Weights::new(terms.formula, points);
        must_be_few_enough(weights.of.len())?;
        Ok(ComputedVotes {
            control,
            weights,
            accounts,
            unlinked,
        })
    }

    /// A proposal, if its weights are frozen.
    pub async fn frozen_votes(
        &self,
        proposal: &ProposalId,
    ) -> Result<Option<FrozenVotes>, QueryError> {
        Ok(votes::find(self.db(), proposal).await?)
    }

    /// Proposals by name, those behind `after`; and the name after which the next page begins.
    pub async fn frozen_proposals(
        &self,
        after: Option<&ProposalId>,
        limit: u32,
    ) -> Result<VotesPage, QueryError> {
        let (found, has_more) = votes::list(self.db(), after, limit).await?;
        let last = found.last().map(|frozen| frozen.proposal.to_string());
        Ok(VotesPage {
            proposals: found.iter().map(VotesView::from).collect(),
            next: last.filter(|_| has_more),
        })
    }

    /// A piece of a frozen document, from 0.
    pub async fn frozen_piece(
        &self,
        frozen: &FrozenVotes,
        number: u32,
    ) -> Result<Bytes, QueryError> {
        Ok(votes::piece(self.db(), frozen, number).await?)
    }

    /// The weights of a frozen proposal.
    pub async fn vote_weights(&self, frozen: &FrozenVotes) -> Result<Arc<WeightTable>, QueryError> {
        if let Some(table) = self.votes.get(&frozen.hash) {
            return Ok(table);
        }
        let place = self.votes.waiting.try_acquire();
        let _place = place.map_err(|_| QueryError::VotesLoading)?;
        let _one_at_a_time = self.votes.loading.lock().await;
        if let Some(table) = self.votes.get(&frozen.hash) {
            return Ok(table);
        }
        let mut table = WeightTable::default();
        for number in 0..frozen.pieces {
            let piece = votes::piece(self.db(), frozen, number).await?;
            let lines = String::from_utf8_lossy(&piece);
            lines
                .lines()
                .filter_map(read_line)
                .for_each(|line| table.push(line));
        }
        if table.addresses.len() as u64 != frozen.addresses {
            return Err(QueryError::Store(StoreError::Corrupt {
                key: format!("Checkpoints/votes#{}", frozen.proposal),
                what: format!(
                    "its pieces hold {} of {} addresses",
                    table.addresses.len(),
                    frozen.addresses
                ),
            }));
        }
        let table = Arc::new(table);
        self.votes.put(&frozen.hash, table.clone());
        Ok(table)
    }
}

/// The frozen weights of a proposal, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Votes)]
pub struct VotesView {
    /// The proposal.
    pub proposal: String,
    /// The first month whose points count.
    pub from: String,
    /// The last one.
    pub to: String,
    /// Which kinds of accounts take part.
    #[schema(value_type = Vec<String>)]
    pub kinds: Vec<AccountKind>,
    /// `total`, `square_root` or `cap`.
    pub formula: &'static str,
    /// Points, if the formula is `cap`.
    pub cap: Option<String>,
    /// The entry of the control feed as of which wallets count.
    pub control: u64,
    /// Decimals of every weight.
    pub decimals: u8,
    /// How many addresses have a weight.
    pub addresses: u64,
    /// The sum of the weights, in the smallest unit.
    pub total: String,
    /// SHA-256 of the frozen document, in hexadecimal.
    pub hash: String,
    /// How long it is.
    pub bytes: u64,
    /// When it was frozen.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub frozen_at: Millis,
}

impl From<&FrozenVotes> for VotesView {
    fn from(frozen: &FrozenVotes) -> VotesView {
        let terms = &frozen.terms;
        VotesView {
            proposal: frozen.proposal.to_string(),
            from: terms.from.to_string(),
            to: terms.to.to_string(),
            kinds: terms.kinds.clone(),
            formula: terms.formula.as_str(),
            cap: terms.formula.cap().map(|cap| cap.to_string()),
            control: frozen.control.0,
            decimals: DECIMALS,
            addresses: frozen.addresses,
            total: frozen.total.to_string(),
            hash: frozen.hash.clone(),
            bytes: frozen.bytes,
            frozen_at: frozen.frozen_at,
        }
    }
}

/// A page of proposals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VotesPage {
    /// By name.
    pub proposals: Vec<VotesView>,
    /// Give it as `after` for the next ones; `null` if there are none.
    pub next: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{
        Address, CACHED_PROPOSALS_MAX, CACHED_VOTERS_MAX, VOTERS_MAX, VotesCache, VotesError,
        WeightTable, must_be_few_enough,
    };
    use crate::app::CommandError;

    #[test]
    fn more_addresses_than_can_be_frozen_are_refused() {
        assert_eq!(VOTERS_MAX, 1_000_000, "docs/governance.md names it");
        assert_eq!(must_be_few_enough(VOTERS_MAX), Ok(()));
        let refused = must_be_few_enough(VOTERS_MAX + 1).unwrap_err();
        assert_eq!(refused, VotesError::TooManyVoters(VOTERS_MAX + 1));
        let CommandError::Refused(refusal) = refused.into() else {
            panic!("not refused");
        };
        assert_eq!(refusal.code, "too_many_addresses");
        for part in ["1000001", "at most 1000000"] {
            assert!(refusal.detail.contains(part), "{}", refusal.detail);
        }
    }

    /// Weights of so many addresses.
    fn table(addresses: usize) -> Arc<WeightTable> {
        Arc::new(WeightTable {
            addresses: vec![Address([1; 20]); addresses],
            weights: vec![1; addresses],
        })
    }

    fn known(cache: &VotesCache, hashes: &[&str]) -> Vec<String> {
        let found = hashes.iter().filter(|hash| cache.get(hash).is_some());
        found.map(|hash| (*hash).to_owned()).collect()
    }

    #[test]
    fn the_proposals_that_were_asked_for_last_stay_in_memory() {
        let cache = VotesCache::default();
        let names: Vec<String> = (0..=CACHED_PROPOSALS_MAX).map(|n| n.to_string()).collect();
        let (last, first) = names.split_last().unwrap();
        for name in first {
            cache.put(name, table(1));
        }
        // The oldest is asked for again, so the second oldest goes.
        assert!(cache.get("0").is_some());
        cache.put(last, table(1));
        assert_eq!(known(&cache, &["0", "1", "2", last]), ["0", "2", last]);
    }

    #[test]
    fn as_many_addresses_stay_in_memory_as_two_of_the_largest_proposals_have() {
        let cache = VotesCache::default();
        assert_eq!(CACHED_VOTERS_MAX, 2_000_000, "docs/governance.md names it");
        cache.put("one", table(VOTERS_MAX));
        cache.put("two", table(VOTERS_MAX));
        assert_eq!(known(&cache, &["one", "two"]), ["one", "two"]);
        cache.put("three", table(1));
        assert_eq!(known(&cache, &["one", "two", "three"]), ["two", "three"]);
        // A table by itself stays, however large it is.
        cache.put("large", table(CACHED_VOTERS_MAX + 1));
        assert_eq!(known(&cache, &["two", "three", "large"]), ["large"]);
    }
}
