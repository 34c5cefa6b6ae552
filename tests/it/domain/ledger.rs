//! What an account holds: laws of the fold.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemark::domain::amount::{Bp, Money, Points};
use tidemark::domain::event::Service;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::ledger::{
    AccountRows, Activity, ByService, Carry, DayStats, MonthRow, ServiceStats, months_of,
};
use tidemark::domain::posting::{
    Cascade, Cell, Charge, Deduction, Deductions, Entry, FirstSuccess, Slot,
};
use tidemark::domain::statement::{statement, total};
use tidemark::domain::time::{Day, Millis, Month};

const ACTIVITY: Activity = Activity {
    provider_uptime: Bp(9_500),
};

/// One event as the rater books it.
#[derive(Clone, Debug, PartialEq)]
struct Booked {
    slot: Slot,
    service: Service,
    cell: Cell,
    referral: i64,
    cost: i128,
}

fn october() -> Month {
    "2026-10".parse().expect("a month")
}

prop_compose! {
    fn booked()(
        day in 0i32..61, late: bool, service in 0u8..6, outcome in 0u8..3, points in 0i64..100_000,
        latency in proptest::option::of(0u64..10_000), referral in 0i64..3, cost in 0i128..1_000,
    ) -> Booked {
        let day = Day(october().first_day().0 + day);
        let successful = u64::from(outcome == 0);
        let latency = latency.filter(|_| outcome == 0);
        Booked {
            slot: if late { Slot::Late(day.month()) } else { Slot::Day(day) },
            service: Service::numbered(service).expect("a number"),
            cell: Cell {
                requests: 1,
                successful,
                failed: u64::from(outcome == 1),
                points: Points(points * successful as i64),
                timed: u64::from(latency.is_some()),
                latency_ms: latency.unwrap_or(0),
                target_ms: latency.map_or(0, |_| 1_000),
            },
            referral,
            cost,
        }
    }
}

/// The entry of some events, as one block holds it.
fn entry(kind: AccountKind, events: &[Booked]) -> Entry {
    let mut cells: BTreeMap<(Slot, Service), Cell> = BTreeMap::new();
    let mut referral: BTreeMap<Slot, i64> = BTreeMap::new();
    let mut charges: BTreeMap<Month, Charge> = BTreeMap::new();
    let mut firsts: BTreeMap<Service, Slot> = BTreeMap::new();
    for event in events {
        cells
            .entry((event.slot, event.service))
            .or_default()
            .add(&event.cell);
        if event.referral > 0 {
            *referral.entry(event.slot).or_default() += event.referral;
        }
        let charge = Charge {
            cost: Money(event.cost),
            shadow: Money::ZERO,
        };
        charges.entry(event.slot.month()).or_default().add(&charge);
        if event.cell.successful > 0 {
            firsts.entry(event.service).or_insert(event.slot);
        }
    }
    Entry {
        cells: cells
            .into_iter()
            .map(|((slot, service), cell)| (slot, service, cell))
            .collect(),
        referral: referral
            .into_iter()
            .map(|(slot, points)| (slot, Cascade::at(1, Points(points))))
            .collect(),
        charges: charges.into_iter().collect(),
        firsts: firsts
            .into_iter()
            .map(|(service, slot)| FirstSuccess {
                service,
                slot,
                points: Points::whole(5),
            })
            .collect(),
        ..Entry::new(Account::new(kind, "a").expect("an id"))
    }
}

/// What happens in the log.
#[derive(Clone, Debug)]
enum Step {
    Event(Booked),
    /// The event is taken back.
    Reversal(Booked),
}

/// Events, and reversals of some of those that succeeded, each somewhere after its event.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = (booked(), any::<bool>(), any::<proptest::sample::Index>());
    proptest::collection::vec(event, 1..60).prop_map(|events| {
        let mut steps: Vec<(usize, usize, Step)> = Vec::new();
        let count = events.len();
        for (at, (event, is_reversed, later)) in events.into_iter().enumerate() {
            steps.push((at, 0, Step::Event(event.clone())));
            if is_reversed && event.cell.successful > 0 {
                steps.push((at + later.index(count - at), 1, Step::Reversal(event)));
            }
        }
        steps.sort_by_key(|(at, order, _)| (*at, *order));
        steps.into_iter().map(|(.., step)| step).collect()
    })
}

fn entry_of(kind: AccountKind, steps: &[Step]) -> Entry {
    let is_event = |step: &Step| match step {
        Step::Event(event) => Some(event.clone()),
        Step::Reversal(_) => None,
    };
    let events: Vec<Booked> = steps.iter().filter_map(is_event).collect();
    let mut entry = entry(kind, &events);
    let mut deductions: BTreeMap<(Slot, Service), Deduction> = BTreeMap::new();
    let (mut net, mut peak) = (0i64, 0);
    for step in steps {
        let event = match step {
            Step::Event(event) => {
                net += event.cell.successful as i64;
                peak = peak.max(net);
                continue;
            }
            Step::Reversal(event) => event,
        };
        net -= 1;
        let deduction = Deduction {
            reversed: 1,
            points: event.cell.points,
            timed: event.cell.timed,
            latency_ms: event.cell.latency_ms,
            target_ms: event.cell.target_ms,
        };
        let place = deductions.entry((event.slot, event.service)).or_default();
        place.add(&deduction);
        let taken = Cascade::at(1, Points(-event.referral));
        entry.referral.push((event.slot, taken));
        let charge = Charge {
            cost: Money(-event.cost),
            shadow: Money::ZERO,
        };
        entry.charges.push((event.slot.month(), charge));
    }
    entry.deductions = Deductions {
        by_service: deductions
            .into_iter()
            .map(|((slot, service), deduction)| (slot, service, deduction))
            .collect(),
        peak: peak as u64,
    };
    if entry.deductions.is_empty() {
        entry.deductions = Deductions::default();
    }
    entry
}

fn fold_steps<'s>(kind: AccountKind, batches: impl Iterator<Item = &'s [Step]>) -> AccountRows {
    let mut rows = AccountRows::default();
    for (batch, log_time) in batches.zip(0..) {
        rows.apply(kind, &entry_of(kind, batch), Millis(log_time), ACTIVITY);
    }
    rows
}

/// The fold of batches, each with its log time.
fn fold<'e>(kind: AccountKind, batches: impl IntoIterator<Item = &'e [Booked]>) -> AccountRows {
    let mut rows = AccountRows::default();
    let mut log_time = 0;
    for batch in batches {
        rows.apply(kind, &entry(kind, batch), Millis(log_time), ACTIVITY);
        log_time += batch.len() as i64;
    }
    rows
}

proptest! {
    #[test]
    fn how_reversals_are_batched_changes_no_row(steps in steps(), size in 1usize..9) {
        for kind in AccountKind::ALL {
            let single = fold_steps(kind, steps.chunks(1));
            for batched in [fold_steps(kind, steps.chunks(size)), fold_steps(kind, [&steps[..]].into_iter())] {
                prop_assert_eq!(&single.months, &batched.months);
                prop_assert_eq!(single.lifetime.successes, batched.lifetime.successes);
                prop_assert_eq!(single.lifetime.spent, batched.lifetime.spent);
                prop_assert_eq!(single.lifetime.fiftieth_at.is_some(), batched.lifetime.fiftieth_at.is_some());
            }
        }
    }

    #[test]
    fn what_is_taken_back_leaves_what_was_there_without_it(steps in steps()) {
        for kind in AccountKind::ALL {
            let taken: Vec<&Booked> = steps.iter().filter_map(|step| match step {
                Step::Reversal(event) => Some(event),
                Step::Event(_) => None,
            }).collect();
            let mut rows = fold_steps(kind, steps.chunks(3));
            let mut left = taken.clone();
            let kept: Vec<Step> = steps.iter().filter(|step| match step {
                Step::Reversal(_) => false,
                Step::Event(event) => match left.iter().position(|taken| *taken == event) {
                    Some(place) => {
                        left.remove(place);
                        false
                    }
                    None => true,
                },
            }).cloned().collect();
            let without = fold_steps(kind, kept.chunks(3));
            let reversed: u64 = rows.months.iter().map(|(_, row)| row.reversals().sum()).sum();
            prop_assert_eq!(reversed, taken.len() as u64);
            prop_assert_eq!(rows.lifetime.successes, without.lifetime.successes);
            prop_assert_eq!(rows.lifetime.spent, without.lifetime.spent);
            // Requests stay, and first uses, which are awards.
            for event in &taken {
                let row = rows.months.get_mut(&event.slot.month()).expect("it was booked there");
                match event.slot {
                    Slot::Late(_) => {
                        row.late.requests -= 1;
                        row.late.successful -= 1;
                    }
                    Slot::Day(day) => {
                        let day = row.days.iter_mut().find(|(of, _)| *of == day.of_month());
                        day.expect("it was booked there").1.requests -= 1;
                        row.services[event.service].requests -= 1;
                    }
                }
            }
            for row in rows.months.values_mut() {
                row.reversals = None;
                let empty = MonthRow::new(row.month, Carry::default());
                let must = without.months.get(&row.month).unwrap_or(&empty);
                let plain = |row: &MonthRow| {
                    let mut row = row.clone();
                    row.days.retain_mut(|(_, stats)| {
                        stats.trial = Points::ZERO;
                        *stats != DayStats::default()
                    });
                    let added = row.services.added().iter();
                    let used = added.filter(|(_, stats)| *stats != ServiceStats::default());
                    let used = used.copied().collect();
                    row.services = ByService::new(*row.services.defaults(), used).expect("in order");
                    row.late.points = Points::ZERO;
                    row.carry = Carry::default();
                    row
                };
                prop_assert_eq!(plain(row), plain(must));
            }
        }
    }

    #[test]
    fn how_events_are_batched_changes_no_row(events in proptest::collection::vec(booked(), 1..80), sizes in proptest::collection::vec(1usize..9, 80)) {
        for kind in AccountKind::ALL {
            let whole = fold(kind, [&events[..]]);
            let single = fold(kind, events.chunks(1));
            let mut rest = &events[..];
            let mut batches = Vec::new();
            for size in &sizes {
                let (batch, after) = rest.split_at((*size).min(rest.len()));
                batches.push(batch);
                rest = after;
            }
            let mixed = fold(kind, batches.into_iter().filter(|batch| !batch.is_empty()));
            for other in [&single, &mixed] {
                prop_assert_eq!(&whole.months, &other.months);
                prop_assert_eq!(whole.lifetime.services_used, other.lifetime.services_used);
                prop_assert_eq!(whole.lifetime.successes, other.lifetime.successes);
                prop_assert_eq!(whole.lifetime.spent, other.lifetime.spent);
                prop_assert_eq!(whole.lifetime.fiftieth_at.is_some(), other.lifetime.fiftieth_at.is_some());
            }
        }
    }

    #[test]
    fn the_order_of_events_matters_to_nothing_but_which_success_was_first(events in proptest::collection::vec(booked(), 1..40)) {
        let mut backwards = events.clone();
        backwards.reverse();
        let without_trials = |rows: AccountRows| {
            let mut months = rows.months;
            for row in months.values_mut() {
                row.late.points = Points::ZERO;
                for (_, stats) in &mut row.days {
                    stats.trial = Points::ZERO;
                }
            }
            (months, rows.lifetime.services_used, rows.lifetime.spent)
        };
        let kind = AccountKind::User;
        prop_assert_eq!(
            without_trials(fold(kind, events.chunks(3))),
            without_trials(fold(kind, backwards.chunks(3)))
        );
    }

    #[test]
    fn the_carry_into_each_month_is_the_streak_of_all_days_before_it(events in proptest::collection::vec(booked(), 1..80)) {
        for kind in AccountKind::ALL {
            let rows = fold(kind, events.chunks(2));
            let mut days: BTreeMap<Day, bool> = BTreeMap::new();
            for row in rows.months.values() {
                for (of_month, stats) in &row.days {
                    days.insert(row.month.day(*of_month), ACTIVITY.is_active(kind, stats));
                }
            }
            for row in rows.months.values() {
                let mut length = 0;
                let mut day = row.month.first_day().previous();
                let before: Vec<Day> = days.iter().filter(|(d, active)| **active && d.month() < row.month).map(|(d, _)| *d).collect();
                if let Some(last) = before.last() {
                    day = *last;
                    while before.contains(&day) {
                        length += 1;
                        day = day.previous();
                    }
                }
                prop_assert_eq!(row.carry.length, length, "{:?}", day);
                prop_assert_eq!(row.carry.last_active, before.last().copied());
            }
        }
    }

    #[test]
    fn an_entry_names_its_months_once_in_order(events in proptest::collection::vec(booked(), 1..40)) {
        let months = months_of(&entry(AccountKind::User, &events));
        prop_assert!(months.windows(2).all(|pair| pair[0] < pair[1]));
        for event in &events {
            prop_assert!(months.contains(&event.slot.month()));
        }
    }
}

#[test]
fn the_fiftieth_success_is_noted_once_with_its_blocks_log_time() {
    let event = Booked {
        slot: Slot::Day(october().first_day()),
        service: Service::TTS,
        cell: Cell {
            requests: 1,
            successful: 1,
            ..Cell::default()
        },
        referral: 0,
        cost: 0,
    };
    let kind = AccountKind::User;
    let mut rows = AccountRows::default();
    for log_time in 1..=49 {
        rows.apply(
            kind,
            &entry(kind, std::slice::from_ref(&event)),
            Millis(log_time),
            ACTIVITY,
        );
    }
    assert_eq!(rows.lifetime.fiftieth_at, None);
    for log_time in 50..60 {
        rows.apply(
            kind,
            &entry(kind, std::slice::from_ref(&event)),
            Millis(log_time),
            ACTIVITY,
        );
    }
    assert_eq!(rows.lifetime.fiftieth_at, Some(Millis(50)));
}

#[test]
fn late_events_touch_no_day_no_service_and_no_streak() {
    let late = Booked {
        slot: Slot::Late(october()),
        service: Service::SCRAPE,
        cell: Cell {
            requests: 1,
            successful: 1,
            points: Points(50),
            timed: 1,
            latency_ms: 9,
            target_ms: 5,
            ..Cell::default()
        },
        referral: 7,
        cost: 3,
    };
    let rows = fold(AccountKind::User, [&[late][..]]);
    let row = &rows.months[&october()];
    assert!(row.days.is_empty());
    assert!(row.services.iter().all(|(_, stats)| stats.requests == 0));
    assert_eq!(
        (row.late.requests, row.late.successful, row.late.failed),
        (1, 1, 0)
    );
    assert_eq!(row.late.points, Points(50 + 7 + 5_000_000));
    assert_eq!(
        (
            row.charge.cost,
            rows.lifetime.spent,
            rows.lifetime.successes
        ),
        (Money(3), Money(3), 1)
    );
    assert_eq!(row.carry_out(AccountKind::User, ACTIVITY), row.carry);
}

#[test]
fn an_award_alone_opens_a_month() {
    let mut rows = AccountRows::default();
    rows.award(AccountKind::User, october(), Points(5), ACTIVITY);
    rows.award(AccountKind::User, october(), Points(-7), ACTIVITY);
    assert_eq!(rows.months[&october()].bonus, Points(-2));
    assert_eq!(rows.head(), Some(october()));
}

/// Numbers near the ends of their range, as only absurd events and rules, or a damaged block, could bring them.
fn any_extreme() -> impl Strategy<Value = u64> {
    prop_oneof![Just(u64::MAX), Just(u64::MAX - 1), Just(1), 0..=u64::MAX]
}

fn any_extreme_points() -> impl Strategy<Value = Points> {
    prop_oneof![
        Just(i64::MAX),
        Just(i64::MIN),
        Just(-1),
        i64::MIN..=i64::MAX
    ]
    .prop_map(Points)
}

prop_compose! {
    fn extreme_entry()(
        counts in [any_extreme(), any_extreme(), any_extreme(), any_extreme(), any_extreme(), any_extreme()],
        points in [any_extreme_points(), any_extreme_points(), any_extreme_points(), any_extreme_points(), any_extreme_points()],
        costs in [any::<i128>(), any::<i128>()],
        day in 0..31i32,
        late: bool,
    ) -> Entry {
        let mut entry = Entry::new(Account::new(AccountKind::User, "ann").expect("an id"));
        let slot = match late {
            true => Slot::Late(october()),
            false => Slot::Day(Day(october().first_day().0 + day)),
        };
        let [requests, successful, failed, timed, latency_ms, target_ms] = counts;
        let [of_cell, first, second, third, trial] = points;
        let cell = Cell { requests, successful, failed, points: of_cell, timed, latency_ms, target_ms };
        entry.cells.push((slot, Service::TTS, cell));
        entry.referral.push((slot, Cascade([first, second, third])));
        let [cost, shadow] = costs.map(Money);
        entry.charges.push((slot.month(), Charge { cost, shadow }));
        entry.firsts.push(FirstSuccess { service: Service::TTS, slot, points: trial });
        entry
    }
}

proptest! {
    #[test]
    fn no_entry_however_absurd_stops_an_account_or_what_is_computed_of_it(
        entries in proptest::collection::vec(extreme_entry(), 1..8),
        award in any_extreme_points(),
        provider: bool,
    ) {
        let kind = if provider { AccountKind::Provider } else { AccountKind::User };
        let timeline = super::helpers::timeline(tidemark::domain::rules::Network::Mainnet);
        let account = Account::new(kind, "ann").expect("an id");
        let mut rows = AccountRows::default();
        for (log_time, entry) in (0i64..).zip(&entries) {
            rows.apply(kind, entry, Millis(log_time), ACTIVITY);
            rows.award(kind, october(), award, ACTIVITY);
            let row = &rows.months[&october()];
            let statement = statement(&account, row, &timeline, false);
            prop_assert_eq!(statement.total, total(kind, row, &timeline));
            for money in [row.charge.cost, row.charge.shadow, rows.lifetime.spent] {
                prop_assert!(money.0.unsigned_abs() <= Money::MAX.0.unsigned_abs());
            }
        }
        // Counts never fall, whatever is added.
        let row = &rows.months[&october()];
        let most = entries.iter().map(|entry| entry.cells[0].2.requests).max();
        let held = row.days.iter().map(|(_, day)| day.requests).max().max(Some(row.late.requests));
        prop_assert!(held >= most);
    }
}
