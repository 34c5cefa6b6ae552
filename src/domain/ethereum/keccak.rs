//! Keccak-256.

use std::fmt;

use sha3::{Digest, Keccak256};

/// 32 bytes, as Keccak-256 gives them. Displayed as `0x` and lowercase hex.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        f.write_str("0x")?;
        f.write_str(base16ct::lower::encode_str(&self.0, &mut digits)?)
    }
}

impl Hash {
    /// Reads `0x` and 64 lowercase digits.
    pub fn of_text(text: &str) -> Option<Hash> {
        let mut bytes = [0; 32];
        let read = base16ct::lower::decode(text.strip_prefix("0x")?, &mut bytes).ok()?;
        (read.len() == bytes.len()).then_some(Hash(bytes))
    }
}

/// The hash that Ethereum uses: Keccak-256 as submitted, which pads otherwise than SHA3-256.
pub fn keccak256(bytes: &[u8]) -> Hash {
    Hash(Keccak256::digest(bytes).into())
}
