//! Numbers as hexadecimal digits.

use std::io::{self, Write};

use base16ct::lower::{encode, encode_string};
use ring::digest::{SHA256, digest};

use crate::domain::ethereum::{Hash, U256};

/// Writes a hash as it is displayed. Trees have millions of them, so this does not go through
/// formatting.
pub(super) fn write_hash(out: &mut dyn Write, hash: &Hash) -> io::Result<()> {
    let mut digits = [0; 64];
    out.write_all(b"0x")?;
    out.write_all(encode(&hash.0, &mut digits).map_err(io::Error::other)?)
}

/// An amount as Uniswap's files have it: whole bytes, without leading ones that are zero.
pub fn amount_hex(amount: U256) -> String {
    let bytes: [u8; 32] = amount.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    format!("0x{}", encode_string(&bytes[zeros.min(31)..]))
}

/// The SHA-256 of bytes as 64 digits, as `sha256sum` prints it.
pub fn sha256_of(bytes: &[u8]) -> String {
    encode_string(digest(&SHA256, bytes).as_ref())
}
