//! Keccak-256.

use std::fmt;

use sha3::{Digest, Keccak256};

/// 32 bytes, as Keccak-256 gives them. Displayed as `0x` and lowercase hex.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The hash that Ethereum uses: Keccak-256 as submitted, which pads otherwise than SHA3-256.
pub fn keccak256(bytes: &[u8]) -> Hash {
    Hash(Keccak256::digest(bytes).into())
}
