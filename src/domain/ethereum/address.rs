//! Addresses with their checksum (EIP-55).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::keccak::keccak256;

/// An Ethereum address. As text: `0x` and 40 hex digits, whose upper and lower case is a checksum
/// (EIP-55).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Address(pub [u8; 20]);

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not `0x` and 40 hex digits.
    #[error("an address is 0x followed by 40 hexadecimal digits")]
    Form,
    /// Upper and lower case mixed, but not as the checksum has it.
    #[error(
        "the address has a wrong checksum (EIP-55): a digit was changed, or its upper and lower case; copy it again"
    )]
    Checksum,
}

impl Address {
    /// The digits in lower case, without `0x`.
    fn digits(self) -> [u8; 40] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 40];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        digits
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.digits();
        let hash = keccak256(&digits).0;
        f.write_str("0x")?;
        digits.iter().enumerate().try_for_each(|(i, digit)| {
            let nibble = (hash[i / 2] >> (4 * (1 - i % 2))) & 15;
            let digit = match nibble {
                8.. => digit.to_ascii_uppercase(),
                _ => *digit,
            };
            fmt::Write::write_char(f, char::from(digit))
        })
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Takes digits all in lower or all in upper case, which carry no checksum, or mixed as the
    /// checksum has them.
    fn from_str(text: &str) -> Result<Address, AddressError> {
        let digits = text.strip_prefix("0x").ok_or(AddressError::Form)?;
        if digits.len() != 40 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(AddressError::Form);
        }
        let mut bytes = [0; 20];
        for (byte, at) in bytes.iter_mut().zip((0..40).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| AddressError::Form)?;
        }
        let address = Address(bytes);
        let is_mixed = digits.bytes().any(|byte| byte.is_ascii_lowercase())
            && digits.bytes().any(|byte| byte.is_ascii_uppercase());
        match is_mixed && address.to_string() != text {
            true => Err(AddressError::Checksum),
            false => Ok(address),
        }
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.to_string()
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Address, AddressError> {
        text.parse()
    }
}
