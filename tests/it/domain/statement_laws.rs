//! Laws of the statement, over made-up months.

use proptest::prelude::*;
use tidemark::domain::amount::Points;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::ledger::{Carry, DayStats, LateStats, MonthRow};
use tidemark::domain::rules::{Network, Timeline};
use tidemark::domain::statement::{statement, total};
use tidemark::domain::time::{Day, Month};

use super::helpers::timeline;

fn november() -> Month {
    "2026-11".parse().expect("a month")
}

fn account(kind: AccountKind) -> Account {
    Account::new(kind, "p").expect("an id")
}

prop_compose! {
    fn day_stats()(
        amounts in [0i64..10_000_000_000, 0..10_000_000, 0..10_000_000],
        successful in 0u64..100, failed in 0u64..20, refused in 0u64..20,
        latency_ms in 0u64..1_000_000, target_ms in 0u64..1_000_000,
    ) -> DayStats {
        let [base, referral, trial] = amounts.map(Points);
        DayStats { base, referral, trial, requests: successful + failed + refused, successful, failed, latency_ms, target_ms }
    }
}

prop_compose! {
    fn any_row(kind: AccountKind)(
        days in proptest::collection::btree_map(1u8..=30, day_stats(), 0..30),
        carry_length in 0u32..100, gap in 1i32..3,
        bonus in -1_000_000i64..1_000_000_000, late in 0i64..1_000_000_000,
        late_requests in 0u64..10,
    ) -> MonthRow {
        let last = Day(november().first_day().0 - gap);
        let carry = Carry::new((carry_length > 0).then_some(last), carry_length, carry_length);
        let without_trial = |mut stats: DayStats| {
            if kind == AccountKind::Provider {
                stats.trial = Points::ZERO;
            }
            stats
        };
        MonthRow {
            days: days.into_iter().map(|(day, stats)| (day, without_trial(stats))).collect(),
            bonus: Points(bonus),
            late: LateStats { points: Points(late), requests: late_requests, successful: 0, failed: 0 },
            ..MonthRow::new(november(), carry)
        }
    }
}

fn check_sums(kind: AccountKind, row: &MonthRow, timeline: &Timeline) -> Result<(), TestCaseError> {
    let statement = statement(&account(kind), row, timeline, false);
    let sum: Points = statement.parts().iter().map(|(_, points)| *points).sum();
    prop_assert_eq!(statement.total, sum);
    prop_assert_eq!(total(kind, row, timeline), sum);
    let days: Points = statement.days.iter().map(|(_, line)| line.points).sum();
    prop_assert_eq!(days.0 + statement.bonus.0 + statement.late.0, sum.0);
    let requests: u64 = statement
        .days
        .iter()
        .map(|(_, line)| line.outcomes.requests)
        .sum();
    prop_assert_eq!(statement.outcomes.requests, requests + row.late.requests);
    prop_assert!(
        statement.streak >= Points::ZERO && statement.streak.0 * 2 <= statement.parts()[0].1.0
    );
    Ok(())
}

proptest! {
    #[test]
    fn the_parts_sum_to_the_total_and_the_days_to_all_but_bonus_and_late(
        provider in any_row(AccountKind::Provider), user in any_row(AccountKind::User),
    ) {
        let timeline = timeline(Network::Testnet);
        check_sums(AccountKind::Provider, &provider, &timeline)?;
        check_sums(AccountKind::User, &user, &timeline)?;
    }

    #[test]
    fn a_longer_streak_carried_in_never_lowers_a_users_total(row in any_row(AccountKind::User), longer in 0u32..100) {
        let timeline = timeline(Network::Testnet);
        let mut more = row.clone();
        more.carry.length += longer;
        let of = |row: &MonthRow| total(AccountKind::User, row, &timeline);
        prop_assert!(of(&more) >= of(&row));
    }

    #[test]
    fn faster_answers_never_lower_a_providers_total(row in any_row(AccountKind::Provider), percent in 0u64..100) {
        let timeline = timeline(Network::Testnet);
        let mut faster = row.clone();
        for (_, stats) in &mut faster.days {
            stats.latency_ms = stats.latency_ms * percent / 100;
        }
        let of = |row: &MonthRow| total(AccountKind::Provider, row, &timeline);
        prop_assert!(of(&faster) >= of(&row));
    }

    #[test]
    fn a_days_multiplier_lies_between_what_the_curves_allow(stats in day_stats()) {
        let timeline = timeline(Network::Testnet);
        let row = MonthRow {
            days: vec![(22, DayStats { trial: Points::ZERO, ..stats })],
            ..MonthRow::new(november(), Carry::default())
        };
        let statement = statement(&account(AccountKind::Provider), &row, &timeline, false);
        let (base, multiplier) = (statement.parts()[0].1.0, statement.parts()[1].1.0);
        prop_assert!(multiplier >= base * 72 / 100 - base - 1 && multiplier <= base * 132 / 100 - base);
    }
}
