//! What a day earns beyond the amounts of its events.

use crate::domain::amount::{BP_ONE, Overflow, Points, floor_div};
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
    pub fn points(&self) -> Result<Points, Overflow> {
        self.stats
            .base
            .plus(self.multiplier)?
            .plus(self.streak)?
            .plus(self.stats.referral)?
            .plus(self.stats.trial)
    }
}

/// The days of a row in order, each with what it earns.
pub(super) fn earned_days<'r>(
    kind: AccountKind,
    row: &'r MonthRow,
    timeline: &'r Timeline,
) -> impl Iterator<Item = Result<EarnedDay<'r>, Overflow>> + 'r {
    let activity = timeline.activity();
    let mut carry = row.carry;
    row.days.iter().map(move |(of_month, stats)| {
        let day = row.month.day(*of_month);
        let streak_length = step(&mut carry, kind, day, stats, activity);
        let rules = timeline.at(day.start());
        Ok(EarnedDay {
            day,
            stats,
            streak_length,
            streak: streak_points(stats.base, streak_length, rules)?,
            multiplier: multiplier_points(kind, stats, rules)?,
        })
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

/// `floor(base × (multiplier − 10,000) / 10,000)`. Steps are never below ×1, so the difference is not negative.
fn streak_points(base: Points, length: u32, rules: &Rules) -> Result<Points, Overflow> {
    let bonus = i128::from(rules.streak(length).0) - i128::from(BP_ONE);
    narrow(floor_div(i128::from(base.0) * bonus, i128::from(BP_ONE)))
}

/// `floor(base × uptime × latency / 10^8) − base`, for providers whose day has requests enough; can be negative.
fn multiplier_points(
    kind: AccountKind,
    stats: &DayStats,
    rules: &Rules,
) -> Result<Points, Overflow> {
    let requests = u128::from(stats.successful) + u128::from(stats.failed);
    if kind == AccountKind::User || requests < u128::from(rules.quality_requests_min()) {
        return Ok(Points::ZERO);
    }
    let uptime = rules.uptime(ratio(stats.successful, requests));
    let latency = match stats.target_ms {
        0 => BP_ONE,
        target => rules.latency(ratio(stats.latency_ms, u128::from(target))).0,
    };
    let base = i128::from(stats.base.0);
    let scaled = base * i128::from(uptime.0) * i128::from(latency);
    narrow(floor_div(scaled, i128::from(BP_ONE) * i128::from(BP_ONE)) - base)
}

/// `floor(part × 10,000 / whole)`, for a whole above zero. Beyond what 64 bits hold every curve is flat.
fn ratio(part: u64, whole: u128) -> u64 {
    let ratio = u128::from(part) * u128::from(BP_ONE) / whole;
    u64::try_from(ratio).unwrap_or(u64::MAX)
}

fn narrow(micropoints: i128) -> Result<Points, Overflow> {
    i64::try_from(micropoints).map(Points).map_err(|_| Overflow)
}
