//! The terms of a close: what is paid for points, to whom, and from which amount on.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::token::{TokenError, TokenUnits};
use crate::domain::ethereum::{NO_UNITS, U256};
use crate::domain::ids::AccountKind;

/// Most decimals of a token.
pub const DECIMALS_MAX: u8 = 36;

/// What points are paid with, in the token's smallest unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// This much for all points together, pro rata.
    Pool(U256),
    /// This much for each point.
    PerPoint(U256),
}

/// Which kinds of account take part; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinds(BTreeSet<AccountKind>);

/// Why a text names no kinds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' does not name kinds of account; write users, providers or both, separated by a comma"
)]
pub struct KindsError(String);

impl Kinds {
    /// Both.
    pub fn all() -> Kinds {
        Kinds(AccountKind::ALL.into_iter().collect())
    }

    /// Whether this kind takes part.
    pub fn has(&self, kind: AccountKind) -> bool {
        self.0.contains(&kind)
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(|kind| format!("{kind}s")).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Kinds {
    type Err = KindsError;

    /// `users`, `providers`, or both with a comma between.
    fn from_str(text: &str) -> Result<Kinds, KindsError> {
        let bad = || KindsError(text.to_owned());
        let kind = |name: &str| {
            let name = name.trim();
            let name = name.strip_suffix('s').unwrap_or(name);
            name.parse().map_err(|_| bad())
        };
        let kinds = text.split(',').map(kind).collect::<Result<_, _>>()?;
        Ok(Kinds(kinds))
    }
}

/// The terms of a close.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "TermsText", try_from = "TermsText")]
pub struct Terms {
    /// What is paid.
    pub share: Share,
    /// How many decimals a whole token has.
    pub decimals: u8,
    /// Who takes part.
    pub kinds: Kinds,
    /// An account that has less than this to get, in smallest units, waits for a later close.
    pub minimum: U256,
}

/// The terms as people write them, amounts in whole tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TermsText {
    /// For all points together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// For each point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_point: Option<String>,
    /// How many decimals a whole token has.
    pub decimals: u32,
    /// Who takes part; without it, users and providers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<String>,
    /// Least amount of a payment; without it, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<String>,
}

/// Why terms cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// Both or none of pool and tokens per point.
    #[error("give either a pool or tokens per point")]
    Share,
    /// Nothing would be paid.
    #[error("the {0} is 0, so nothing would be paid; give an amount above 0")]
    Zero(&'static str),
    /// More than any token has.
    #[error("a token has at most {DECIMALS_MAX} decimals, not {0}")]
    Decimals(u32),
    /// An amount that is none.
    #[error("{what}: {error}")]
    Amount {
        /// Which.
        what: &'static str,
        /// Why.
        error: TokenError,
    },
    /// Kinds that are none.
    #[error(transparent)]
    Kinds(#[from] KindsError),
}

impl TermsError {
    /// Stable: clients compare it.
    pub const fn code(&self) -> &'static str {
        match self {
            TermsError::Share => "pool_or_tokens_per_point",
            TermsError::Zero(_) => "amount_is_zero",
            TermsError::Decimals(_) => "decimals_out_of_range",
            TermsError::Amount { error, .. } => match error {
                TokenError::TooLarge(_) => "amount_out_of_range",
                TokenError::NotDecimal(_) | TokenError::TooFine { .. } => "invalid_amount",
            },
            TermsError::Kinds(_) => "invalid_kinds",
        }
    }
}

impl Terms {
    fn tokens(&self, units: U256) -> String {
        let decimals = self.decimals;
        TokenUnits { units, decimals }.to_string()
    }
}

impl From<Terms> for TermsText {
    fn from(terms: Terms) -> TermsText {
        let (pool, tokens_per_point) = match terms.share {
            Share::Pool(units) => (Some(terms.tokens(units)), None),
            Share::PerPoint(units) => (None, Some(terms.tokens(units))),
        };
        TermsText {
            pool,
            tokens_per_point,
            decimals: u32::from(terms.decimals),
            kinds: Some(terms.kinds.to_string()),
            minimum: Some(terms.tokens(terms.minimum)),
        }
    }
}

impl TryFrom<TermsText> for Terms {
    type Error = TermsError;

    fn try_from(text: TermsText) -> Result<Terms, TermsError> {
        let decimals = u8::try_from(text.decimals).ok();
        let decimals = decimals.filter(|decimals| *decimals <= DECIMALS_MAX);
        let decimals = decimals.ok_or(TermsError::Decimals(text.decimals))?;
        let units = |what, amount: &str| {
            let parsed = TokenUnits::parse(amount, decimals);
            let parsed = parsed.map_err(|error| TermsError::Amount { what, error })?;
            Ok::<U256, TermsError>(parsed.units)
        };
        let positive = |what, amount: &str| {
            let units = units(what, amount)?;
            match units == NO_UNITS {
                true => Err(TermsError::Zero(what)),
                false => Ok(units),
            }
        };
        let share = match (&text.pool, &text.tokens_per_point) {
            (Some(pool), None) => Share::Pool(positive("pool", pool)?),
            (None, Some(per_point)) => Share::PerPoint(positive("tokens per point", per_point)?),
            _ => return Err(TermsError::Share),
        };
        Ok(Terms {
            share,
            decimals,
            kinds: text.kinds.as_deref().map_or(Ok(Kinds::all()), str::parse)?,
            minimum: text
                .minimum
                .as_deref()
                .map_or(Ok(NO_UNITS), |minimum| units("minimum", minimum))?,
        })
    }
}
