//! The statement of a month: one pure function that the API, the leaderboard, the month close and the audit share.

use super::amount::{Overflow, Points};
use super::ids::AccountKind;
use super::ledger::{Activity, MonthRow};
use super::rules::Timeline;
use super::time::Day;

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

/// The total of a month: the sum of a statement's parts.
pub fn total(
    _kind: AccountKind,
    _row: &MonthRow,
    _timeline: &Timeline,
) -> Result<Points, Overflow> {
    todo!()
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
