//! What a day earns beyond the amounts of its events.

use crate::domain::amount::{BP_ONE, Bp, Points, floor_div};
use crate::domain::ids::AccountKind;
use crate::domain::ledger::{Activity, Carry, DayStats, MonthRow};
use crate::domain::rules::{Rules, Timeline};
use crate::domain::time::Day;

/// One day of a month, with what it earns.
#[derive(Clone, Copy, Debug)]
pub(super) struct EarnedDay<'r> {
    pub day: Day,
    pub stats: &'r DayStats,
    /// Active days in a row that end on this day; 0 if it is not active.
    pub streak_length: u32,
    pub streak: Points,
    pub multiplier: Points,
}

impl EarnedDay<'_> {
    /// Everything of the day.
    pub fn points(&self) -> Points {
        self.stats
            .base
            .plus(self.multiplier)
            .plus(self.streak)
            .plus(self.stats.referral)
            .plus(self.stats.trial)
    }
}

/// The days of a row in order, each with what it earns.
pub(super) fn earned_days<'r>(
    kind: AccountKind,
    row: &'r MonthRow,
    timeline: &'r Timeline,
) -> impl Iterator<Item = EarnedDay<'r>> + 'r {
    let activity = timeline.activity();
    let mut carry = row.carry;
    row.days.iter().map(move |(of_month, stats)| {
        let day = row.month.day(*of_month);
        let streak_length = step(&mut carry, kind, day, stats, activity);
        let rules = timeline.at(day.start());
        EarnedDay {
            day,
            stats,
            streak_length,
            streak: streak_points(stats.base, streak_length, rules),
            multiplier: multiplier_points(kind, stats, rules),
        }
    })
}

/// Carries the streak over a day and gives its length there.
fn step(
    carry: &mut Carry,
    kind: AccountKind,
    day: Day,
    stats: &DayStats,
    activity: Activity,
) -> u32 {
    if !activity.is_active(kind, stats) {
        return 0;
    }
    *carry = carry.after_active(day);
    carry.length
}

/// `floor(base × (multiplier − 10,000) / 10,000)`. Steps are never below ×1, so the difference is
/// not negative.
fn streak_points(base: Points, length: u32, rules: &Rules) -> Points {
    streak_bonus(base, rules.streak(length))
}

fn streak_bonus(base: Points, multiplier: Bp) -> Points {
    let bonus = i128::from(multiplier.0) - i128::from(BP_ONE);
    Points::saturating(floor_div(i128::from(base.0) * bonus, i128::from(BP_ONE)))
}

/// What a day adds to the amounts of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayBonus {
    /// What its events earned.
    pub base: Points,
    /// What first uses of services earned; a user's.
    pub trial: Points,
    /// How well it was served; a provider's.
    pub quality: Option<DayQuality>,
    /// What quality adds to the base, or takes away.
    pub multiplier: Points,
    /// Active days in a row that end on this day; 0 if it is not active.
    pub streak_length: u32,
    /// What a day of so long a streak counts.
    pub streak_multiplier: Bp,
    /// What the streak adds to the base.
    pub streak: Points,
}

impl DayBonus {
    /// What quality and streak would add to a part of the base if it were all of it. The day is
    /// rounded once, so the parts of its events may differ from this in the last digit.
    pub fn of_part(&self, part: Points) -> Points {
        let quality = self.quality.as_ref();
        let multiplier = quality.map_or(Points::ZERO, |quality| multiplied(part, quality));
        multiplier.plus(streak_bonus(part, self.streak_multiplier))
    }
}

/// What a day of a month adds; `None`: nothing happened on it.
pub fn day_bonus(
    kind: AccountKind,
    row: &MonthRow,
    timeline: &Timeline,
    day: Day,
) -> Option<DayBonus> {
    let mut days = earned_days(kind, row, timeline);
    let earned = days.find(|earned| earned.day == day)?;
    let rules = timeline.at(day.start());
    let is_provider = kind == AccountKind::Provider;
    Some(DayBonus {
        base: earned.stats.base,
        trial: earned.stats.trial,
        quality: is_provider.then(|| day_quality(earned.stats, rules)),
        multiplier: earned.multiplier,
        streak_length: earned.streak_length,
        streak_multiplier: rules.streak(earned.streak_length),
        streak: earned.streak,
    })
}

/// How well a provider's day was served, and what that multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayQuality {
    /// Requests that count: successful and failed.
    pub requests: u64,
    /// The requests that a day must have for its quality to count.
    pub requests_min: u64,
    /// The share of successful requests, bp; `None` without any request.
    pub uptime_ratio: Option<u64>,
    /// Its multiplier; ×1 while there are too few requests.
    pub uptime: Bp,
    /// The latency as a share of its target, bp; `None` if no request carries one.
    pub latency_ratio: Option<u64>,
    /// Its multiplier; ×1 while there are too few requests.
    pub latency: Bp,
}

impl DayQuality {
    /// How many requests the day lacks for its quality to count.
    pub const fn missing(&self) -> u64 {
        self.requests_min.saturating_sub(self.requests)
    }
}

/// The quality of a provider's day under the rules in force at its start.
pub fn day_quality(stats: &DayStats, rules: &Rules) -> DayQuality {
    let requests = u128::from(stats.successful) + u128::from(stats.failed);
    let uptime_ratio = (requests > 0).then(|| ratio(stats.successful, requests));
    let latency_ratio =
        (stats.target_ms > 0).then(|| ratio(stats.latency_ms, u128::from(stats.target_ms)));
    let counts = requests >= u128::from(rules.quality_requests_min());
    let multiplier = |ratio: Option<u64>, of: &dyn Fn(u64) -> Bp| match ratio {
        Some(ratio) if counts => of(ratio),
        _ => Bp::ONE,
    };
    DayQuality {
        requests: u64::try_from(requests).unwrap_or(u64::MAX),
        requests_min: rules.quality_requests_min(),
        uptime_ratio,
        uptime: multiplier(uptime_ratio, &|ratio| rules.uptime(ratio)),
        latency_ratio,
        latency: multiplier(latency_ratio, &|ratio| rules.latency(ratio)),
    }
}

/// `floor(base × uptime × latency / 10^8) − base`, for providers whose day has requests enough; can
/// be negative.
fn multiplier_points(kind: AccountKind, stats: &DayStats, rules: &Rules) -> Points {
    if kind == AccountKind::User {
        return Points::ZERO;
    }
    multiplied(stats.base, &day_quality(stats, rules))
}

fn multiplied(base: Points, quality: &DayQuality) -> Points {
    // What most days of small providers have; and dividing 128 bits is slow.
    if (quality.uptime, quality.latency) == (Bp::ONE, Bp::ONE) {
        return Points::ZERO;
    }
    let base = i128::from(base.0);
    let scaled = base * i128::from(quality.uptime.0) * i128::from(quality.latency.0);
    Points::saturating(floor_div(scaled, i128::from(BP_ONE) * i128::from(BP_ONE)) - base)
}

/// `floor(part × 10,000 / whole)`, for a whole above zero. Beyond what 64 bits hold every curve is
/// flat.
fn ratio(part: u64, whole: u128) -> u64 {
    let ratio = u128::from(part) * u128::from(BP_ONE) / whole;
    u64::try_from(ratio).unwrap_or(u64::MAX)
}
