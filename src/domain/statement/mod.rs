//! The statement of a month: one pure function that the API, the leaderboard, the month close and
//! the audit share.
//!
//! A month row holds sufficient statistics; everything that is paid by the day (streak bonus,
//! quality multiplier) is computed here, by the rules in force at the start of that day, floored
//! per day.

mod day;
mod form;
mod text;

pub use day::{DayBonus, DayQuality, day_bonus, day_quality};
pub use form::{DayLine, Earned, ServiceLine, Statement};

use super::amount::Points;
use super::ids::{Account, AccountKind};
use super::ledger::{Activity, DayStats, MonthRow, ServiceStats};
use super::outcomes::Outcomes;
use super::rules::Timeline;
use super::service::Services;
use super::time::Day;
use day::{EarnedDay, earned_days};

/// A streak as StreakTracking shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    /// Active days in a row that end at `last_active`.
    pub current: u32,
    /// The longest ever.
    pub longest: u32,
    /// The first day of the current run.
    pub start: Option<Day>,
    /// The last active day.
    pub last_active: Option<Day>,
}

/// The statement of a month of an account. `is_final`: the month has closed and nothing of it can
/// change any more.
pub fn statement(
    account: &Account,
    row: &MonthRow,
    timeline: &Timeline,
    is_final: bool,
) -> Statement {
    let mut sums = Sums::default();
    let mut days = Vec::new();
    for earned in earned_days(account.kind, row, timeline) {
        sums.add(&earned);
        if *earned.stats != DayStats::default() {
            let reversed = row.reversals().of_day(earned.day.of_month());
            days.push((earned.day, day_line(&earned, reversed)));
        }
    }
    Statement {
        account: account.clone(),
        month: row.month,
        is_final,
        paused_since: None,
        earned: match account.kind {
            AccountKind::Provider => Earned::Provider {
                base: sums.base,
                multiplier: sums.multiplier,
            },
            AccountKind::User => Earned::User {
                usage: sums.base,
                trial: sums.trial,
                charge: row.charge,
            },
        },
        streak: sums.streak,
        referral: sums.referral,
        bonus: row.bonus,
        late: row.late.points,
        total: sums.total(row),
        outcomes: sums.outcomes.plus(row.late.outcomes()),
        reversed: row.reversals().sum(),
        reversed_late: row.reversals().late,
        services: service_lines(row, timeline.services()),
        days,
    }
}

/// The total of a month: the sum of a statement's parts, without building the statement.
pub fn total(kind: AccountKind, row: &MonthRow, timeline: &Timeline) -> Points {
    let mut sums = Sums::default();
    for earned in earned_days(kind, row, timeline) {
        sums.add(&earned);
    }
    sums.total(row)
}

/// The streak as of the head row.
pub fn streak(kind: AccountKind, head: &MonthRow, activity: Activity) -> Streak {
    let carry = head.carry_out(kind, activity);
    Streak {
        current: carry.length,
        longest: carry.longest,
        start: carry
            .last_active
            .map(|last| Day(last.0 - carry.length as i32 + 1)),
        last_active: carry.last_active,
    }
}

/// The days of a month, added up.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    base: Points,
    multiplier: Points,
    trial: Points,
    streak: Points,
    referral: Points,
    outcomes: Outcomes,
}

impl Sums {
    fn add(&mut self, day: &EarnedDay<'_>) {
        self.base = self.base.plus(day.stats.base);
        self.multiplier = self.multiplier.plus(day.multiplier);
        self.trial = self.trial.plus(day.stats.trial);
        self.streak = self.streak.plus(day.streak);
        self.referral = self.referral.plus(day.stats.referral);
        self.outcomes.add(day.stats.outcomes());
    }

    fn total(&self, row: &MonthRow) -> Points {
        self.base
            .plus(self.multiplier)
            .plus(self.trial)
            .plus(self.streak)
            .plus(self.referral)
            .plus(row.bonus)
            .plus(row.late.points)
    }
}

fn day_line(day: &EarnedDay<'_>, reversed: u64) -> DayLine {
    DayLine {
        points: day.points(),
        outcomes: day.stats.outcomes(),
        reversed,
        streak: day.streak_length,
    }
}

fn service_lines(row: &MonthRow, services: &Services) -> Vec<(String, ServiceLine)> {
    row.services
        .iter()
        .filter(|(_, stats)| **stats != ServiceStats::default())
        .map(|(service, stats)| {
            let line = ServiceLine {
                outcomes: stats.outcomes(),
                reversed: row.reversals().of_service(service),
                points: stats.points,
                mean_latency_ms: stats.latency_ms.checked_div(stats.timed),
            };
            (services.name(service).into_owned(), line)
        })
        .collect()
}
