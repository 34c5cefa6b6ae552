//! What tidemark needs to know of Ethereum: addresses, messages that their owners sign, the hash,
//! and amounts of a token.

mod address;
mod keccak;
mod message;
mod signature;

pub use address::{Address, AddressError};
pub use keccak::{Hash, keccak256};
pub use message::{MESSAGE_BYTES_MAX, MessageError, MessageField, SignInMessage};
pub use signature::{MessageSignature, SignatureError, address_of, message_hash};

/// An unsigned integer of 256 bits: an amount in a token's smallest unit.
pub type U256 = bnum::types::U256;

/// Nothing of a token.
pub const NO_UNITS: U256 = U256::MIN;
