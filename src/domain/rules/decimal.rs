//! Amounts as rules write them, and the limits that several rules have in common.

use std::ops::RangeInclusive;

use serde::{Serialize, Serializer};

use crate::domain::amount::{Money, Points};

/// A price per unit: up to a million dollars.
pub const PRICE: RangeInclusive<Money> = Money::ZERO..=Money(1_000_000_000_000_000);

/// Base points of one event.
pub const BASE_POINTS: RangeInclusive<Points> = Points::ZERO..=Points::whole(1_000);
/// Demand multipliers.
pub const DEMAND_BP: RangeInclusive<u32> = 5_000..=20_000;
/// Latency targets.
pub const TARGET_MS: RangeInclusive<u32> = 1..=3_600_000;

/// An amount that is written as a decimal string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub struct Decimal<T>(pub T);

impl<T: std::fmt::Display> Serialize for Decimal<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
