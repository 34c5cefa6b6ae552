//! Closing a month: what each account is paid of a pool of tokens, what is carried on, and the
//! Merkle trees from which it is claimed.
//!
//! A close is a function of the month's final statements, of what the close before carried over, of
//! the wallets as of a control position, and of its terms. So the same bytes come out whoever
//! closes.

mod month;
mod terms;
mod token;
mod tree;

pub use month::{
    AccountOutcome, CarriedAccount, CarriedOver, ClaimStatus, CloseError, ClosedMonth, Payout,
    Totals, close_month,
};
pub use terms::{DECIMALS_MAX, Kinds, KindsError, Share, Terms, TermsError, TermsText};
pub use token::{TokenError, TokenUnits};
pub use tree::{
    LEAVES_MAX, LeafHash, Shape, Tree, TreeError, node_hash, proof_root, standard_leaf,
    uniswap_leaf,
};
