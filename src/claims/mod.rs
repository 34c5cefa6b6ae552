//! The files of a closed month, byte for byte: those from which people claim, those from which the
//! next close continues, and how each is checked.
//!
//! A file is a function of the close alone. Its entries are in order of addresses or accounts, and
//! the keys of its objects in a fixed order, so that the same close always gives the same bytes.
//! Nothing here knows where files lie.

mod accounts;
pub mod check;
mod close_file;
mod entries;
mod hex;
mod name;
mod openzeppelin;
mod sablier;
mod tree_file;
mod uniswap;

pub use accounts::{
    ACCOUNTS_PER_BLOCK, AccountRow, AccountsIndex, read_accounts, read_rows, write_accounts,
};
pub use close_file::{CloseFile, CloseTotals, FileEntry, Roots};
pub use entries::Claims;
pub use hex::{amount_hex, sha256_of};
pub use name::{FileKind, FileName};
pub use openzeppelin::write_openzeppelin;
pub use sablier::write_sablier;
pub use tree_file::{
    LEAF_BYTES, NODE_BYTES, TreeLeaf, TreePlaces, node_of_bytes, read_leaves, write_tree,
};
pub use uniswap::{CLAIMS_PER_FILE, write_uniswap};

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} cannot be read: {what}")]
pub struct FileError {
    /// Which.
    pub file: String,
    /// Why.
    pub what: String,
}
