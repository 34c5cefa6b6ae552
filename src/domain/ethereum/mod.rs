//! What tidemark needs to know of Ethereum: addresses, the hash, and amounts of a token.

mod address;
mod keccak;

pub use address::{Address, AddressError};
pub use keccak::{Hash, keccak256};

/// An unsigned integer of 256 bits: an amount in a token's smallest unit.
pub type U256 = bnum::types::U256;

/// Nothing of a token.
pub const NO_UNITS: U256 = U256::MIN;
