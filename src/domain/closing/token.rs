//! Amounts of a token: whole tokens as people write them, smallest units as contracts count them.

use std::fmt;

use crate::domain::ethereum::U256;

/// Why a decimal is no amount of a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not of the form `12.345`.
    #[error("'{0}' is not a decimal number such as 100000 or 0.25")]
    NotDecimal(String),
    /// More decimals than the token has.
    #[error("'{text}' has more than {decimals} decimals, which is what the token has")]
    TooFine {
        /// What was given.
        text: String,
        /// How many decimals the token has.
        decimals: u8,
    },
    /// 2^256 smallest units or more.
    #[error("'{0}' is 2^256 or more of the token's smallest unit")]
    TooLarge(String),
}

/// An amount in smallest units, shown in whole tokens of so many decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenUnits {
    /// In smallest units.
    pub units: U256,
    /// How many decimals a whole token has.
    pub decimals: u8,
}

impl TokenUnits {
    /// Reads whole tokens, such as `100000` or `0.25`.
    ///
    /// # Errors
    /// It is no decimal number, too fine for the token, or too large.
    pub fn parse(text: &str, decimals: u8) -> Result<TokenUnits, TokenError> {
        let bad = || TokenError::NotDecimal(text.to_owned());
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text, None),
        };
        let is_digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || fraction.is_some_and(|fraction| !is_digits(fraction)) {
            return Err(bad());
        }
        let fraction = fraction.unwrap_or_default().trim_end_matches('0');
        if fraction.len() > usize::from(decimals) {
            return Err(TokenError::TooFine {
                text: text.to_owned(),
                decimals,
            });
        }
        let digits = format!("{whole}{fraction:0<width$}", width = usize::from(decimals));
        let too_large = |_| TokenError::TooLarge(text.to_owned());
        let units = U256::from_str_radix(&digits, 10).map_err(too_large)?;
        Ok(TokenUnits { units, decimals })
    }
}

impl fmt::Display for TokenUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = usize::from(self.decimals);
        let digits = format!("{:0>width$}", self.units.to_string(), width = decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        f.write_str(whole)?;
        match fraction.trim_end_matches('0') {
            "" => Ok(()),
            fraction => write!(f, ".{fraction}"),
        }
    }
}
