//! Every value of a row that is changed by hand is found, by its name.

use std::collections::{BTreeMap, BTreeSet};

use tidemark::app::queries::verify::{
    Difference, ExpectedLifetime, ExpectedRows, Fiftieth, Scope, compare,
};
use tidemark::domain::amount::{Bp, Money, Points};
use tidemark::domain::event::Service;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::ledger::{
    Activity, Carry, DayStats, LateStats, Lifetime, MonthRow, Reversals, ServiceStats,
};
use tidemark::domain::position::{Epoch, Fence, Offset, Position, WriteId};
use tidemark::domain::posting::{Cascade, Charge};
use tidemark::domain::time::{Millis, Month};
use tidemark::store::accounts::StoredRow;

const ACTIVITY: Activity = Activity {
    provider_uptime: Bp(9_000),
};

fn month(text: &str) -> Month {
    text.parse().unwrap()
}

fn fence(offset: u64) -> Fence {
    Fence {
        position: Some(Position {
            epoch: Epoch(1),
            offset: Offset(offset),
        }),
        write: WriteId::default(),
    }
}

/// A month in which everything has happened.
fn row(month: Month, carry: Carry) -> MonthRow {
    let mut row = MonthRow::new(month, carry);
    let day = |times: i64| DayStats {
        base: Points(1_000_000 * times),
        referral: Points(20_000 * times),
        trial: Points(500 * times),
        requests: 40,
        successful: 30,
        failed: 2,
        latency_ms: 9_000,
        target_ms: 15_000,
    };
    row.days = vec![(3, day(1)), (17, day(2))];
    for (service, times) in [(Service::CHAT_COMPLETIONS, 1), (Service::EMBEDDINGS, 2)] {
        row.services[service] = ServiceStats {
            requests: 40 * times,
            successful: 30 * times,
            failed: 2 * times,
            points: Points(1_000_000),
            timed: 30,
            latency_ms: 9_000,
        };
    }
    row.late = LateStats {
        points: Points(77),
        requests: 5,
        successful: 4,
        failed: 1,
    };
    row.charge = Charge {
        cost: Money(123_000),
        shadow: Money(456_000),
    };
    row.cascade = Cascade([Points(30_000), Points(20_000), Points(10_000)]);
    row.bonus = Points(10_000_000);
    row.reversals = Some(Box::new(Reversals {
        days: vec![(3, 2), (17, 1)],
        services: vec![(Service::CHAT_COMPLETIONS, 3)],
        late: 1,
    }));
    row
}

const FIFTIETH: Millis = Millis(1_761_000_000_000);

fn lifetime() -> Lifetime {
    Lifetime {
        services_used: 3,
        successes: 120,
        spent: Money(246_000),
        fiftieth_at: Some(FIFTIETH),
    }
}

fn account() -> Account {
    Account::new(AccountKind::User, "u1").unwrap()
}

/// An account with two months, as it is stored.
fn stored() -> BTreeMap<Month, StoredRow> {
    let (october, november) = (month("2026-10"), month("2026-11"));
    let first = row(october, Carry::default());
    let second = row(november, first.carry_out(AccountKind::User, ACTIVITY));
    let older = BTreeMap::from([(october, fence(7))]);
    BTreeMap::from([
        (
            october,
            StoredRow {
                row: first,
                fence: fence(7),
                lifetime: Lifetime::default(),
                older: BTreeMap::new(),
                superseded_by: Some(november),
            },
        ),
        (
            november,
            StoredRow {
                row: second,
                fence: fence(9),
                lifetime: lifetime(),
                older,
                superseded_by: None,
            },
        ),
    ])
}

fn expected() -> ExpectedRows {
    let months = stored().into_iter();
    ExpectedRows {
        lifetime: Some(ExpectedLifetime {
            services_used: 3,
            successes: 120,
            spent: Money(246_000),
            fiftieth: Fiftieth::Known(Some(FIFTIETH)),
        }),
        months: months.map(|(month, stored)| (month, stored.row)).collect(),
    }
}

fn differences(stored: &BTreeMap<Month, StoredRow>, expected: &ExpectedRows) -> Vec<Difference> {
    let scope = Scope {
        first: month("2026-10"),
        last: month("2026-11"),
        left_out: BTreeSet::new(),
        activity: ACTIVITY,
    };
    compare(&account(), stored, expected, &scope)
}

/// Changes one value of a row by an amount that is not 0.
type Change = fn(&mut StoredRow, u64);

fn signed(by: u64) -> i64 {
    i64::try_from(by).unwrap()
}

fn reversals(stored: &mut StoredRow) -> &mut Reversals {
    stored.row.reversals.as_mut().unwrap()
}

/// Every value of a row that something is computed from, by the name of its difference.
const CHANGES: &[(&str, Change)] = &[
    ("bonus", |s, by| s.row.bonus.0 += signed(by)),
    ("carry.lastActive", |s, _| {
        s.row.carry.last_active = Some(s.row.month.day(28));
    }),
    ("carry.length", |s, by| s.row.carry.length += by as u32),
    ("carry.longest", |s, by| s.row.carry.longest += by as u32),
    ("days.3", |s, _| s.row.days = s.row.days.split_off(1)),
    ("days.21", |s, _| s.row.days.push((21, DayStats::default()))),
    ("days.3.base", |s, by| s.row.days[0].1.base.0 -= signed(by)),
    ("days.17.referral", |s, by| {
        s.row.days[1].1.referral.0 += signed(by)
    }),
    ("days.3.trial", |s, by| {
        s.row.days[0].1.trial.0 += signed(by)
    }),
    ("days.17.requests", |s, by| s.row.days[1].1.requests += by),
    ("days.3.successful", |s, by| {
        s.row.days[0].1.successful += by
    }),
    ("days.3.failed", |s, by| s.row.days[0].1.failed += by),
    ("days.17.latencyMs", |s, by| {
        s.row.days[1].1.latency_ms += by
    }),
    ("days.17.targetMs", |s, by| s.row.days[1].1.target_ms += by),
    ("services.0.requests", |s, by| {
        s.row.services[Service::CHAT_COMPLETIONS].requests += by
    }),
    ("services.0.successful", |s, by| {
        s.row.services[Service::CHAT_COMPLETIONS].successful += by
    }),
    ("services.1.failed", |s, by| {
        s.row.services[Service::EMBEDDINGS].failed += by
    }),
    ("services.1.points", |s, by| {
        s.row.services[Service::EMBEDDINGS].points.0 -= signed(by)
    }),
    ("services.0.timed", |s, by| {
        s.row.services[Service::CHAT_COMPLETIONS].timed += by
    }),
    ("services.0.latencyMs", |s, by| {
        s.row.services[Service::CHAT_COMPLETIONS].latency_ms += by
    }),
    ("services.2.requests", |s, by| {
        s.row.services[Service::TTS].requests += by
    }),
    ("late.points", |s, by| s.row.late.points.0 -= signed(by)),
    ("late.requests", |s, by| s.row.late.requests += by),
    ("late.successful", |s, by| s.row.late.successful += by),
    ("late.failed", |s, by| s.row.late.failed += by),
    ("charge.cost", |s, by| s.row.charge.cost.0 += i128::from(by)),
    ("charge.shadow", |s, by| {
        s.row.charge.shadow.0 -= i128::from(by)
    }),
    ("cascade.1", |s, by| s.row.cascade.0[0].0 += signed(by)),
    ("cascade.2", |s, by| s.row.cascade.0[1].0 += signed(by)),
    ("cascade.3", |s, by| s.row.cascade.0[2].0 -= signed(by)),
    ("reversals.days.3", |s, by| reversals(s).days[0].1 += by),
    ("reversals.services.0", |s, by| {
        reversals(s).services[0].1 += by
    }),
    ("reversals.services.1", |s, by| {
        reversals(s).services.push((Service::EMBEDDINGS, by))
    }),
    ("reversals.late", |s, by| reversals(s).late += by),
];

/// Values of the head alone.
const CHANGES_OF_HEAD: &[(&str, Change)] = &[
    ("services", |s, by| s.lifetime.services_used ^= by),
    ("successes", |s, by| s.lifetime.successes += by),
    ("spent", |s, by| s.lifetime.spent.0 += i128::from(by)),
    ("fiftiethAt", |s, by| {
        s.lifetime.fiftieth_at = Some(FIFTIETH.plus(signed(by)))
    }),
    ("fiftiethAt", |s, _| s.lifetime.fiftieth_at = None),
    ("supersededBy", |s, _| s.superseded_by = Some(s.row.month)),
    ("fence", |s, by| {
        let older = s.older.values_mut().next().unwrap();
        *older = fence(by + 7);
    }),
];

#[test]
fn what_is_as_it_should_be_shows_no_difference() {
    assert_eq!(differences(&stored(), &expected()), []);
}

#[test]
fn each_of_2_000_values_changed_by_hand_is_found_and_named() {
    let (october, november) = (month("2026-10"), month("2026-11"));
    let both = [october, november];
    let all = CHANGES
        .iter()
        .flat_map(|change| both.map(|of| (of, change)));
    let head = CHANGES_OF_HEAD.iter().map(|change| (november, change));
    let amounts = (0..25).map(|n| 1 + n * n * n);
    let mut tried = 0;
    for (of, (field, change)) in all.chain(head) {
        for by in amounts.clone() {
            let mut stored = stored();
            change(stored.get_mut(&of).unwrap(), by);
            let found = differences(&stored, &expected());
            let is_named = found.iter().any(|difference| difference.field == *field);
            assert!(is_named, "{field} of {of} by {by}: {found:?}");
            tried += 1;
        }
    }
    assert!(tried > 1_800, "{tried}");
}

#[test]
fn a_row_that_is_missing_and_one_that_should_not_be_there_are_found() {
    let october = month("2026-10");
    let mut gone = stored();
    gone.remove(&october);
    let found = differences(&gone, &expected());
    assert!(
        found.iter().any(|d| d.field == "row" && d.month == october),
        "{found:?}"
    );

    let mut expected = expected();
    expected.months.remove(&october);
    let found = differences(&stored(), &expected);
    assert!(
        found
            .iter()
            .any(|d| d.month == october && d.field == "days.3"),
        "{found:?}"
    );

    let mut empty = stored();
    let entry = empty.get_mut(&october).unwrap();
    entry.row = MonthRow::new(october, Carry::default());
    let found = differences(&empty, &expected);
    assert!(found.iter().any(|d| d.field == "row"), "{found:?}");
}

#[test]
fn months_outside_of_the_scope_are_not_compared() {
    let mut changed = stored();
    changed.get_mut(&month("2026-10")).unwrap().row.bonus = Points(1);
    let november = Scope {
        first: month("2026-11"),
        last: month("2026-11"),
        left_out: BTreeSet::new(),
        activity: ACTIVITY,
    };
    assert_eq!(compare(&account(), &changed, &expected(), &november), []);
}

/// What the newest row says of the account's whole life, and of older rows, is not October's.
#[test]
fn of_one_month_only_its_own_row_is_compared() {
    let of = |first: &str, last: &str| Scope {
        first: month(first),
        last: month(last),
        left_out: BTreeSet::new(),
        activity: ACTIVITY,
    };
    let mut changed = stored();
    let newest = changed.get_mut(&month("2026-11")).unwrap();
    newest.lifetime.spent = Money(1);
    newest.superseded_by = Some(month("2026-10"));
    let found = |scope: &Scope| {
        let found = compare(&account(), &changed, &expected(), scope);
        let found = found.into_iter().map(|of| (of.month, of.field));
        found.collect::<Vec<_>>()
    };
    let november = [
        (month("2026-11"), "supersededBy".to_owned()),
        (month("2026-11"), "spent".to_owned()),
    ];
    assert_eq!(found(&of("2026-10", "2026-10")), []);
    assert_eq!(found(&of("2026-11", "2026-11")), november);
    // Of all months, also if the archive lacks some of them.
    let mut all = of("2026-10", "2026-11");
    assert_eq!(found(&all), november);
    all.left_out = BTreeSet::from([month("2026-11")]);
    assert_eq!(found(&all), november);
}
