//! Multipliers that depend on a ratio: straight lines between a few points, flat outside them.

use std::ops::RangeInclusive;

use serde::Serialize;

use super::fault::{Faults, Member};
use crate::domain::amount::Bp;

/// Most points of a curve.
const POINTS_MAX: usize = 16;

/// One point of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct CurvePoint {
    /// The ratio, bp.
    at: u32,
    /// The multiplier there.
    multiplier: Bp,
}

/// A curve: at least one point, by ascending ratio.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Curve(Vec<CurvePoint>);

impl Curve {
    pub(super) fn read(
        member: &Member<'_>,
        faults: &mut Faults,
        ratios: RangeInclusive<u32>,
        multipliers: RangeInclusive<u32>,
    ) -> Option<Curve> {
        let read: Vec<Option<CurvePoint>> = faults
            .list(member, POINTS_MAX)?
            .iter()
            .map(|point| {
                let [at, multiplier] = faults.members(point, ["at", "multiplier"]);
                let at = faults.integer(&at, ratios.clone());
                let multiplier = faults.integer(&multiplier, multipliers.clone());
                Some(CurvePoint {
                    at: at?,
                    multiplier: Bp(multiplier?),
                })
            })
            .collect();
        let points: Vec<CurvePoint> = read.into_iter().collect::<Option<_>>()?;
        if points.is_empty() || !points.windows(2).all(|pair| pair[0].at < pair[1].at) {
            faults.add(
                &member.key,
                "is empty or out of order",
                "at least one point, each at a greater ratio than the one before",
            );
            return None;
        }
        Some(Curve(points))
    }

    /// The first point with the highest multiplier: its ratio and that multiplier.
    pub fn first_peak(&self) -> (u32, Bp) {
        self.peak_of(self.0.iter())
    }

    /// The last point with the highest multiplier: its ratio and that multiplier.
    pub fn last_peak(&self) -> (u32, Bp) {
        self.peak_of(self.0.iter().rev())
    }

    fn peak_of<'p>(&self, points: impl Iterator<Item = &'p CurvePoint>) -> (u32, Bp) {
        // A curve has at least one point.
        let mut best = (self.0[0].at, Bp(0));
        for point in points {
            if point.multiplier > best.1 {
                best = (point.at, point.multiplier);
            }
        }
        best
    }

    /// The multiplier at a ratio (bp). Between two points the way covered from the first one is
    /// floored, whether the line rises or falls.
    pub fn at(&self, ratio: u64) -> Bp {
        let next = self.0.partition_point(|point| u64::from(point.at) < ratio);
        let Some(right) = self.0.get(next) else {
            return self.0[self.0.len() - 1].multiplier;
        };
        let Some(left) = next.checked_sub(1).map(|left| &self.0[left]) else {
            return right.multiplier;
        };
        let (from, to) = (left.multiplier.0, right.multiplier.0);
        let covered = (ratio - u64::from(left.at)) * u64::from(from.abs_diff(to))
            / u64::from(right.at - left.at);
        // At most the difference of two u32, so it fits.
        let covered = covered as u32;
        Bp(if to >= from {
            from + covered
        } else {
            from - covered
        })
    }
}
