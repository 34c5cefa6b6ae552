//! Amounts as rules write them.

use std::ops::RangeInclusive;

use serde::{Serialize, Serializer};

use crate::domain::amount::Money;

/// A price per unit: up to a million dollars.
pub const PRICE: RangeInclusive<Money> = Money::ZERO..=Money(1_000_000_000_000_000);

/// An amount that is written as a decimal string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub struct Decimal<T>(pub T);

impl<T: std::fmt::Display> Serialize for Decimal<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
