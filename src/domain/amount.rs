//! Amounts. All of them are integers; arithmetic floors toward minus infinity, and never wraps.
//!
//! Sums that events can move saturate: they stay at the end of their range, and one account's
//! absurd number stops nobody else's. What people enter (credits, adjustments) is refused instead
//! ([`Points::checked_plus`], [`Money::checked_plus`]). The limits of rules and events keep the
//! ends far away: 2 × 10^10 micropoints and 2.2 × 10^24 nano-dollars for one event at most.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Micropoints in one point.
pub const MICROPOINTS_PER_POINT: i64 = 1_000_000;
/// Nano-dollars in one US dollar.
pub const NANOS_PER_DOLLAR: i128 = 1_000_000_000;
/// Basis points that mean "times one".
pub const BP_ONE: u32 = 10_000;

/// Points, in micropoints (1 point = 1,000,000).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Points(pub i64);

/// Money, in nano-dollars (1 USD = 10^9). Wide, because 2^40 tokens at the highest price would
/// overflow 64 bits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Money(pub i128);

/// A rate or multiplier in basis points (10,000 = ×1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bp(pub u32);

/// A sum left its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an amount is out of range")]
pub struct Overflow;

/// Why a decimal was not read as an amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not of the form `-12.345`.
    #[error("'{0}' is not a decimal number such as 12.5 or -0.25")]
    NotDecimal(String),
    /// More decimals than the unit has.
    #[error("'{text}' has more than {decimals} decimals")]
    TooFine {
        /// What was given.
        text: String,
        /// How many decimals the unit has.
        decimals: u32,
    },
    /// Outside the range of the unit.
    #[error("'{0}' is too large")]
    TooLarge(String),
}

impl Points {
    /// No points.
    pub const ZERO: Points = Points(0);

    /// Whole points.
    pub const fn whole(points: i64) -> Points {
        Points(points * MICROPOINTS_PER_POINT)
    }

    /// The sum; at the end of the range it stays there.
    #[must_use]
    pub const fn plus(self, other: Points) -> Points {
        Points(self.0.saturating_add(other.0))
    }

    /// The difference; at the end of the range it stays there.
    #[must_use]
    pub const fn minus(self, other: Points) -> Points {
        Points(self.0.saturating_sub(other.0))
    }

    /// The sum, or [`Overflow`].
    pub fn checked_plus(self, other: Points) -> Result<Points, Overflow> {
        self.0.checked_add(other.0).map(Points).ok_or(Overflow)
    }

    /// Of a wider number of micropoints; at the end of the range it stays there.
    pub fn saturating(micropoints: i128) -> Points {
        let end = if micropoints < 0 { i64::MIN } else { i64::MAX };
        Points(i64::try_from(micropoints).unwrap_or(end))
    }

    /// Whether it is at the end of the range, so that more may have been added than it says.
    pub const fn is_saturated(self) -> bool {
        self.0 == i64::MAX || self.0 == i64::MIN
    }

    /// `floor(self × bp / 10,000)`; at the end of the range it stays there.
    #[must_use]
    pub fn times(self, bp: Bp) -> Points {
        // 128-bit division is a slow library call; nearly every product fits 64 bits.
        if let Some(product) = self.0.checked_mul(i64::from(bp.0)) {
            return Points(product.div_euclid(i64::from(BP_ONE)));
        }
        let product = i128::from(self.0) * i128::from(bp.0);
        Points::saturating(floor_div(product, i128::from(BP_ONE)))
    }
}

impl Money {
    /// No money.
    pub const ZERO: Money = Money(0);

    /// The ends of the range: 38 digits, which is what DynamoDB's numbers hold.
    pub const MAX: Money = Money(10i128.pow(38) - 1);

    /// The sum; at the end of the range it stays there.
    #[must_use]
    pub fn plus(self, other: Money) -> Money {
        let sum = self.0.saturating_add(other.0);
        Money(sum.clamp(-Money::MAX.0, Money::MAX.0))
    }

    /// The difference; at the end of the range it stays there.
    #[must_use]
    pub fn minus(self, other: Money) -> Money {
        self.plus(Money(other.0.saturating_neg()))
    }

    /// The sum, or [`Overflow`].
    pub fn checked_plus(self, other: Money) -> Result<Money, Overflow> {
        let sum = self.0.checked_add(other.0).map(Money).ok_or(Overflow)?;
        match sum.is_saturated() {
            true => Err(Overflow),
            false => Ok(sum),
        }
    }

    /// Whether it is at the end of the range, so that more may have been added than it says.
    pub const fn is_saturated(self) -> bool {
        self.0 >= Money::MAX.0 || self.0 <= -Money::MAX.0
    }
}

impl Bp {
    /// Times one.
    pub const ONE: Bp = Bp(BP_ONE);
}

impl Sum for Points {
    fn sum<I: Iterator<Item = Points>>(iter: I) -> Points {
        iter.fold(Points::ZERO, Points::plus)
    }
}

/// `floor(a / b)` for positive `b`: toward minus infinity, also for negative `a`.
pub const fn floor_div(a: i128, b: i128) -> i128 {
    a.div_euclid(b)
}

/// Writes `value / 10^decimals` without trailing zeros.
fn write_decimal(f: &mut fmt::Formatter<'_>, value: i128, decimals: u32) -> fmt::Result {
    let unit = 10u128.pow(decimals);
    let magnitude = value.unsigned_abs();
    let sign = if value < 0 { "-" } else { "" };
    let (whole, fraction) = (magnitude / unit, magnitude % unit);
    if fraction == 0 {
        return write!(f, "{sign}{whole}");
    }
    let digits = format!("{fraction:0width$}", width = decimals as usize);
    write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
}

/// Reads a plain decimal exactly into units of `10^-decimals`.
fn parse_decimal(text: &str, decimals: u32) -> Result<i128, AmountError> {
    let bad = || AmountError::NotDecimal(text.to_owned());
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits
        .split_once('.')
        .map_or((digits, None), |(w, f)| (w, Some(f)));
    let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || fraction.is_some_and(|f| !all_digits(f)) {
        return Err(bad());
    }
    let fraction = fraction.unwrap_or("").trim_end_matches('0');
    if fraction.len() > decimals as usize {
        return Err(AmountError::TooFine {
            text: text.to_owned(),
            decimals,
        });
    }
    let padded = format!("{whole}{fraction:0<width$}", width = decimals as usize);
    let magnitude: i128 = padded
        .parse()
        .map_err(|_| AmountError::TooLarge(text.to_owned()))?;
    Ok(if negative { -magnitude } else { magnitude })
}

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, i128::from(self.0), 6)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.0, 9)
    }
}

/// A sum of points over many accounts, in micropoints, wider than any one account's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WidePoints(pub i128);

impl fmt::Display for WidePoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.0, 6)
    }
}

impl FromStr for WidePoints {
    type Err = AmountError;
    fn from_str(text: &str) -> Result<WidePoints, AmountError> {
        parse_decimal(text, 6).map(WidePoints)
    }
}

impl FromStr for Points {
    type Err = AmountError;
    fn from_str(text: &str) -> Result<Points, AmountError> {
        let micro = parse_decimal(text, 6)?;
        micro
            .try_into()
            .map(Points)
            .map_err(|_| AmountError::TooLarge(text.to_owned()))
    }
}

impl FromStr for Money {
    type Err = AmountError;
    fn from_str(text: &str) -> Result<Money, AmountError> {
        parse_decimal(text, 9).map(Money)
    }
}
