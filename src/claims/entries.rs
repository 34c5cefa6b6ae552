//! What a tree is made of: addresses and amounts.

use crate::domain::closing::{
    ClosedMonth, LeafHash, Shape, Tree, TreeError, standard_leaf, uniswap_leaf,
};
use crate::domain::ethereum::{Address, Hash, NO_UNITS, U256};

/// Addresses, each once and in order, with amounts above zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(Vec<(Address, U256)>);

impl Claims {
    /// What a close pays.
    pub fn of_close(close: &ClosedMonth) -> Claims {
        let paid = close.payouts.iter();
        let paid = paid.filter(|payout| payout.amount != NO_UNITS);
        Claims(paid.map(|payout| (payout.address, payout.amount)).collect())
    }

    /// What all closes so far have paid.
    pub fn cumulative(close: &ClosedMonth) -> Claims {
        let paid = close.payouts.iter();
        Claims(
            paid.map(|payout| (payout.address, payout.cumulative))
                .collect(),
        )
    }

    /// These; `None`: they are out of order, or one has no amount.
    pub fn sorted(entries: Vec<(Address, U256)>) -> Option<Claims> {
        let in_order = entries.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let all_paid = entries.iter().all(|(_, amount)| *amount != NO_UNITS);
        (in_order && all_paid).then_some(Claims(entries))
    }

    /// Each with its amount.
    pub fn entries(&self) -> &[(Address, U256)] {
        &self.0
    }

    /// The number of an address among them.
    pub fn number(&self, address: &Address) -> Option<usize> {
        self.0.binary_search_by_key(address, |entry| entry.0).ok()
    }

    /// The sum; `None`: it is 2^256 or more.
    pub fn total(&self) -> Option<U256> {
        sum(self.0.iter().map(|(_, amount)| *amount))
    }

    /// OpenZeppelin's tree of them; `None`: there are none.
    ///
    /// # Errors
    /// There are too many.
    pub fn standard_tree(&self) -> Result<Option<Tree>, TreeError> {
        Tree::of(Shape::Standard, &self.leaves(standard_leaf))
    }

    /// Uniswap's tree of them; `None`: there are none.
    ///
    /// # Errors
    /// There are too many.
    pub fn uniswap_tree(&self) -> Result<Option<Tree>, TreeError> {
        Tree::of(Shape::Layers, &self.leaves(uniswap_leaf))
    }

    fn leaves(&self, hash: LeafHash) -> Vec<Hash> {
        let numbered = (0..).zip(&self.0);
        let leaf =
            |(number, (address, amount)): (u64, &(Address, U256))| hash(number, *address, *amount);
        numbered.map(leaf).collect()
    }
}

/// The sum of amounts; `None`: it is 2^256 or more.
pub(super) fn sum(mut amounts: impl Iterator<Item = U256>) -> Option<U256> {
    amounts.try_fold(NO_UNITS, U256::checked_add)
}
