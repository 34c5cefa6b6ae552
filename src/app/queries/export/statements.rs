//! A month's statements as tables: one row per account, per account and service, per account and
//! day.

use super::table::{Cell, Column, ColumnKind};
use crate::domain::outcomes::Outcomes;
use crate::domain::statement::{Earned, Statement};

use ColumnKind::{Count, Day, Flag, Money, Points, Text};

/// One row per account.
pub(super) const STATEMENTS: &[Column] = &[
    Column::new("kind", Text),
    Column::new("id", Text),
    Column::new("month", Text),
    Column::new("final", Flag),
    Column::summed("usage_points", Points),
    Column::summed("base_points", Points),
    Column::summed("multiplier_points", Points),
    Column::summed("trial_points", Points),
    Column::summed("streak_points", Points),
    Column::summed("referral_points", Points),
    Column::summed("bonus_points", Points),
    Column::summed("late_points", Points),
    Column::summed("total_points", Points),
    Column::summed("cost_usd", Money),
    Column::summed("shadow_cost_usd", Money),
    Column::summed("requests", Count),
    Column::summed("successful", Count),
    Column::summed("failed", Count),
    Column::summed("reversed", Count),
];

/// One row per account and service that was used.
pub(super) const SERVICES: &[Column] = &[
    Column::new("kind", Text),
    Column::new("id", Text),
    Column::new("month", Text),
    Column::new("final", Flag),
    Column::new("service", Text),
    Column::summed("points", Points),
    Column::summed("requests", Count),
    Column::summed("successful", Count),
    Column::summed("failed", Count),
    Column::summed("reversed", Count),
    Column::new("mean_latency_ms", Count),
];

/// One row per account and day on which something happened.
pub(super) const DAYS: &[Column] = &[
    Column::new("kind", Text),
    Column::new("id", Text),
    Column::new("month", Text),
    Column::new("final", Flag),
    Column::new("day", Day),
    Column::summed("points", Points),
    Column::summed("requests", Count),
    Column::summed("successful", Count),
    Column::summed("failed", Count),
    Column::summed("reversed", Count),
    Column::new("streak_days", Count),
];

/// The first columns of each table.
fn whose(statement: &Statement) -> [Cell<'_>; 4] {
    [
        Cell::Text(statement.account.kind.as_str()),
        Cell::Text(statement.account.id()),
        Cell::Month(statement.month),
        Cell::Flag(statement.is_final),
    ]
}

fn count(count: u64) -> Cell<'static> {
    Cell::Count(i128::from(count))
}

/// The row of [`STATEMENTS`].
pub(super) fn statement_row(statement: &Statement, each: &mut dyn FnMut(&[Cell<'_>])) {
    let (usage, base, multiplier, trial, cost, shadow) = match statement.earned {
        Earned::User {
            usage,
            trial,
            charge,
        } => (
            Cell::Points(usage),
            Cell::Empty,
            Cell::Empty,
            Cell::Points(trial),
            Cell::Money(charge.cost),
            Cell::Money(charge.shadow),
        ),
        Earned::Provider { base, multiplier } => (
            Cell::Empty,
            Cell::Points(base),
            Cell::Points(multiplier),
            Cell::Empty,
            Cell::Empty,
            Cell::Empty,
        ),
    };
    let [kind, id, month, is_final] = whose(statement);
    each(&[
        kind,
        id,
        month,
        is_final,
        usage,
        base,
        multiplier,
        trial,
        Cell::Points(statement.streak),
        Cell::Points(statement.referral),
        Cell::Points(statement.bonus),
        Cell::Points(statement.late),
        Cell::Points(statement.total),
        cost,
        shadow,
        count(statement.outcomes.requests),
        Cell::Count(statement.successful()),
        count(statement.outcomes.failed),
        count(statement.reversed),
    ]);
}

fn outcomes(outcomes: Outcomes, reversed: u64) -> [Cell<'static>; 4] {
    [
        count(outcomes.requests),
        count(outcomes.successful),
        count(outcomes.failed),
        count(reversed),
    ]
}

/// The rows of [`SERVICES`].
pub(super) fn service_rows(statement: &Statement, each: &mut dyn FnMut(&[Cell<'_>])) {
    let [kind, id, month, is_final] = whose(statement);
    for (service, line) in &statement.services {
        let [requests, successful, failed, reversed] = outcomes(line.outcomes, line.reversed);
        each(&[
            kind,
            id,
            month,
            is_final,
            Cell::Text(service),
            Cell::Points(line.points),
            requests,
            successful,
            failed,
            reversed,
            Cell::count(line.mean_latency_ms),
        ]);
    }
}

/// The rows of [`DAYS`].
pub(super) fn day_rows(statement: &Statement, each: &mut dyn FnMut(&[Cell<'_>])) {
    let [kind, id, month, is_final] = whose(statement);
    for (day, line) in &statement.days {
        let [requests, successful, failed, reversed] = outcomes(line.outcomes, line.reversed);
        each(&[
            kind,
            id,
            month,
            is_final,
            Cell::Day(*day),
            Cell::Points(line.points),
            requests,
            successful,
            failed,
            reversed,
            count(u64::from(line.streak)),
        ]);
    }
}
