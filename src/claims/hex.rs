//! Numbers as hexadecimal digits.

use std::io::{self, Write};

use crate::domain::ethereum::{Hash, U256};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Writes `0x` and the digits of bytes. Trees have millions of hashes, so this does not go through
/// formatting.
pub(super) fn write_hex(out: &mut dyn Write, bytes: &[u8; 32]) -> io::Result<()> {
    let mut text = *b"0x0000000000000000000000000000000000000000000000000000000000000000";
    for (pair, byte) in text[2..].chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    out.write_all(&text)
}

/// An amount as Uniswap's files have it: whole bytes, without leading ones that are zero.
pub fn amount_hex(amount: U256) -> String {
    let bytes: [u8; 32] = amount.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = &bytes[zeros.min(31)..];
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{}", digits.concat())
}

/// Reads a hash: `0x` and 64 lowercase digits.
pub fn parse_hash(text: &str) -> Option<Hash> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(Hash(bytes))
}

/// A SHA-256 as 64 digits, as `sha256sum` prints it.
pub fn sha256_text(digest: &[u8]) -> String {
    let digits: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}
