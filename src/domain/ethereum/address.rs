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
    /// The address of 40 hex digits, whatever their case: without the checksum, which takes a hash
    /// for each.
    pub fn of_digits(digits: &str) -> Option<Address> {
        let mut bytes = [0; 20];
        let read = base16ct::mixed::decode(digits, &mut bytes).ok()?;
        (read.len() == bytes.len()).then_some(Address(bytes))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 40];
        let digits = base16ct::lower::encode(&self.0, &mut digits)?;
        let hash = keccak256(digits).0;
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
        let address = Address::of_digits(digits).ok_or(AddressError::Form)?;
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
