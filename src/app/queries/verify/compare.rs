//! How the stored rows of an account differ from what they should hold. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::milestone::Fiftieth;
use crate::domain::amount::Money;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::ledger::{
    Activity, Carry, DayStats, LateStats, Lifetime, MonthRow, Reversals, ServiceStats,
};
use crate::domain::posting::{Cascade, Charge, LEVELS};
use crate::domain::service::Service;
use crate::domain::time::Month;
use crate::store::accounts::StoredRow;

/// One value of a row that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Whose row.
    pub account: Account,
    /// Of which month.
    pub month: Month,
    /// Which value: `days.17.base`, `charge.cost`, `row`.
    pub field: String,
    /// What the row holds.
    pub stored: String,
    /// What the archive and the awards come to.
    pub expected: String,
}

/// What the rows of an account should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedRows {
    /// Lifetime facts; known only where the archive goes back to the first request of all.
    pub lifetime: Option<ExpectedLifetime>,
    /// Month rows. What is carried into them is computed from the rows themselves.
    pub months: BTreeMap<Month, MonthRow>,
}

/// What the head of an account should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedLifetime {
    /// A bit per service with which it has had a success.
    pub services_used: u64,
    /// Successes less reversed ones.
    pub successes: u64,
    /// Everything charged.
    pub spent: Money,
    /// When it had its 50th success.
    pub fiftieth: Fiftieth,
}

impl ExpectedLifetime {
    /// Of an account without a request.
    pub const NONE: ExpectedLifetime = ExpectedLifetime {
        services_used: 0,
        successes: 0,
        spent: Money::ZERO,
        fiftieth: Fiftieth::Known(None),
    };
}

/// Which rows are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The first month.
    pub first: Month,
    /// The last month.
    pub last: Month,
    /// Months between them that are not.
    pub left_out: BTreeSet<Month>,
    /// When a day is active.
    pub activity: Activity,
}

impl Scope {
    /// Whether one month alone is compared: then rows of others are not looked at.
    pub fn is_one_month(&self) -> bool {
        self.first == self.last
    }

    /// Whether what a row of this month says beside its own sums is compared: what it says of other
    /// rows and of the account's whole life. None of that depends on what the archive covers of the
    /// month.
    fn holds_facts(&self, month: Month) -> bool {
        !self.is_one_month() || self.holds(month)
    }

    /// Whether rows of this month are compared.
    pub fn holds(&self, month: Month) -> bool {
        self.first <= month && month <= self.last && !self.left_out.contains(&month)
    }
}

/// Every difference between the stored rows of an account, all of them, and the expected ones.
pub fn compare(
    account: &Account,
    stored: &BTreeMap<Month, StoredRow>,
    expected: &ExpectedRows,
    scope: &Scope,
) -> Vec<Difference> {
    let mut found = Found {
        account,
        differences: Vec::new(),
    };
    let months: BTreeSet<Month> = stored
        .keys()
        .chain(expected.months.keys())
        .copied()
        .collect();
    for month in months.into_iter().filter(|month| scope.holds(*month)) {
        match (stored.get(&month), expected.months.get(&month)) {
            (Some(stored), Some(expected)) => found.rows(&stored.row, expected),
            (Some(stored), None) => found.row_of_nothing(&stored.row),
            (None, Some(_)) => found.note(month, "row", "none", "a row"),
            (None, None) => {}
        }
    }
    found.carries(stored, scope);
    found.heads(stored, scope);
    let newest = stored.last_key_value().map(|(month, _)| *month);
    if let Some(expected) = &expected.lifetime
        && newest.is_some_and(|newest| scope.holds_facts(newest))
    {
        found.lifetime(stored, expected);
    }
    found.differences
}

struct Found<'a> {
    account: &'a Account,
    differences: Vec<Difference>,
}

impl Found<'_> {
    fn note(
        &mut self,
        month: Month,
        field: impl Into<String>,
        stored: impl Display,
        expected: impl Display,
    ) {
        self.differences.push(Difference {
            account: self.account.clone(),
            month,
            field: field.into(),
            stored: stored.to_string(),
            expected: expected.to_string(),
        });
    }

    fn differ<T: PartialEq + Display>(
        &mut self,
        month: Month,
        field: impl FnOnce() -> String,
        stored: T,
        expected: T,
    ) {
        if stored != expected {
            self.note(month, field(), stored, expected);
        }
    }

    /// A row that nothing was booked into. One that a streak or an award opened holds nothing else.
    fn row_of_nothing(&mut self, stored: &MonthRow) {
        let month = stored.month;
        let before = self.differences.len();
        self.rows(stored, &MonthRow::new(month, stored.carry));
        if self.differences.len() == before {
            self.note(month, "row", "an empty row", "none");
        }
    }

    /// All values but what is carried in, see [`Found::carries`]. Taken apart, so that a new one is
    /// not forgotten here.
    fn rows(&mut self, stored: &MonthRow, expected: &MonthRow) {
        let MonthRow {
            month,
            carry: _,
            days,
            services,
            late,
            charge,
            cascade,
            bonus,
            reversals: _,
        } = stored;
        let month = *month;
        self.days(month, days, &expected.days);
        let all: BTreeSet<Service> = services
            .iter()
            .chain(expected.services.iter())
            .map(|(service, _)| service)
            .collect();
        for service in all {
            self.service(
                month,
                service,
                services[service],
                expected.services[service],
            );
        }
        self.late(month, *late, expected.late);
        self.charge(month, *charge, expected.charge);
        self.cascade(month, *cascade, expected.cascade);
        self.differ(month, || "bonus".to_owned(), *bonus, expected.bonus);
        self.reversals(month, stored.reversals(), expected.reversals());
    }

    fn days(&mut self, month: Month, stored: &[(u8, DayStats)], expected: &[(u8, DayStats)]) {
        let of = |days: &[(u8, DayStats)], day: u8| {
            let found = days.iter().find(|(of, _)| *of == day);
            found.map(|(_, stats)| *stats)
        };
        let all: BTreeSet<u8> = stored.iter().chain(expected).map(|(day, _)| *day).collect();
        for day in all {
            match (of(stored, day), of(expected, day)) {
                (Some(stored), Some(expected)) => self.day(month, day, stored, expected),
                // A day on which everything was rounded down to nothing is there all the same.
                (Some(_), None) => self.note(month, format!("days.{day}"), "a day", "none"),
                (None, _) => self.note(month, format!("days.{day}"), "none", "a day"),
            }
        }
    }

    fn day(&mut self, month: Month, day: u8, stored: DayStats, expected: DayStats) {
        let DayStats {
            base,
            referral,
            trial,
            requests,
            successful,
            failed,
            latency_ms,
            target_ms,
        } = stored;
        for (name, stored, expected) in [
            ("base", base, expected.base),
            ("referral", referral, expected.referral),
            ("trial", trial, expected.trial),
        ] {
            self.differ(month, || format!("days.{day}.{name}"), stored, expected);
        }
        for (name, stored, expected) in [
            ("requests", requests, expected.requests),
            ("successful", successful, expected.successful),
            ("failed", failed, expected.failed),
            ("latencyMs", latency_ms, expected.latency_ms),
            ("targetMs", target_ms, expected.target_ms),
        ] {
            self.differ(month, || format!("days.{day}.{name}"), stored, expected);
        }
    }

    fn service(
        &mut self,
        month: Month,
        service: Service,
        stored: ServiceStats,
        expected: ServiceStats,
    ) {
        let ServiceStats {
            requests,
            successful,
            failed,
            points,
            timed,
            latency_ms,
        } = stored;
        let number = service.number();
        let field = |name: &str| format!("services.{number}.{name}");
        self.differ(month, || field("points"), points, expected.points);
        for (name, stored, expected) in [
            ("requests", requests, expected.requests),
            ("successful", successful, expected.successful),
            ("failed", failed, expected.failed),
            ("timed", timed, expected.timed),
            ("latencyMs", latency_ms, expected.latency_ms),
        ] {
            self.differ(month, || field(name), stored, expected);
        }
    }

    fn late(&mut self, month: Month, stored: LateStats, expected: LateStats) {
        let LateStats {
            points,
            requests,
            successful,
            failed,
        } = stored;
        self.differ(month, || "late.points".to_owned(), points, expected.points);
        for (name, stored, expected) in [
            ("requests", requests, expected.requests),
            ("successful", successful, expected.successful),
            ("failed", failed, expected.failed),
        ] {
            self.differ(month, || format!("late.{name}"), stored, expected);
        }
    }

    fn charge(&mut self, month: Month, stored: Charge, expected: Charge) {
        let Charge { cost, shadow } = stored;
        self.differ(month, || "charge.cost".to_owned(), cost, expected.cost);
        self.differ(
            month,
            || "charge.shadow".to_owned(),
            shadow,
            expected.shadow,
        );
    }

    fn cascade(&mut self, month: Month, stored: Cascade, expected: Cascade) {
        for level in 0..LEVELS {
            let field = || format!("cascade.{}", level + 1);
            self.differ(month, field, stored.0[level], expected.0[level]);
        }
    }

    fn reversals(&mut self, month: Month, stored: &Reversals, expected: &Reversals) {
        let Reversals {
            days,
            services,
            late,
        } = stored;
        let all: BTreeSet<u8> = days
            .iter()
            .chain(&expected.days)
            .map(|(day, _)| *day)
            .collect();
        for day in all {
            let field = || format!("reversals.days.{day}");
            self.differ(month, field, stored.of_day(day), expected.of_day(day));
        }
        let all: BTreeSet<Service> = services
            .iter()
            .chain(&expected.services)
            .map(|(of, _)| *of)
            .collect();
        for service in all {
            let field = || format!("reversals.services.{}", service.number());
            let (stored, expected) = (stored.of_service(service), expected.of_service(service));
            self.differ(month, field, stored, expected);
        }
        self.differ(month, || "reversals.late".to_owned(), *late, expected.late);
    }

    /// The streak carried into each row must follow from the row before it. Into the first row of
    /// all nothing is carried; what is before the compared months is taken as it is.
    fn carries(&mut self, stored: &BTreeMap<Month, StoredRow>, scope: &Scope) {
        let kind = self.account.kind;
        let mut before: Option<Carry> = None;
        for (month, row) in stored {
            let expected = before.unwrap_or_default();
            if scope.holds(*month) && row.row.carry != expected {
                let Carry {
                    last_active,
                    length,
                    longest,
                } = row.row.carry;
                let day = |day: Option<crate::domain::time::Day>| {
                    day.map_or("none".to_owned(), |day| day.to_string())
                };
                let field = |name: &str| format!("carry.{name}");
                self.differ(
                    *month,
                    || field("lastActive"),
                    day(last_active),
                    day(expected.last_active),
                );
                self.differ(*month, || field("length"), length, expected.length);
                self.differ(*month, || field("longest"), longest, expected.longest);
            }
            before = Some(row.row.carry_out(kind, scope.activity));
        }
    }

    /// What the rows say of each other: each but the newest names a newer one that is there, and
    /// the older ones that the newest names are there as they were when they were written together.
    fn heads(&mut self, stored: &BTreeMap<Month, StoredRow>, scope: &Scope) {
        let Some((newest, head)) = stored.last_key_value() else {
            return;
        };
        for (month, row) in stored.iter().filter(|(of, _)| scope.holds_facts(**of)) {
            let by = row.superseded_by;
            let is_right = match by {
                None => month == newest,
                Some(by) => by > *month && stored.contains_key(&by),
            };
            if !is_right {
                let shown = by.map_or("none".to_owned(), |by| by.to_string());
                let expected = match month == newest {
                    true => "none",
                    false => "a later month that has a row",
                };
                self.note(*month, "supersededBy", shown, expected);
            }
            if month != newest && row.fence.position > head.fence.position {
                let position = |position: Option<crate::domain::position::Position>| {
                    position.map_or("-".to_owned(), |position| position.to_string())
                };
                let expected = format!("at most {}", position(head.fence.position));
                self.note(*month, "fence", position(row.fence.position), expected);
            }
        }
        for (month, named) in head.older.iter().filter(|(of, _)| scope.holds_facts(**of)) {
            let found = stored.get(month).map(|row| row.fence);
            if found != Some(*named) {
                let shown = found.map_or("no row".to_owned(), |fence| fence.to_string());
                self.note(*month, "fence", shown, named);
            }
        }
    }

    fn lifetime(&mut self, stored: &BTreeMap<Month, StoredRow>, expected: &ExpectedLifetime) {
        let Some((month, head)) = stored.last_key_value() else {
            return;
        };
        let Lifetime {
            services_used,
            successes,
            spent,
            fiftieth_at,
        } = head.lifetime;
        let month = *month;
        if self.account.kind == AccountKind::User {
            let used = expected.services_used;
            self.differ(month, || "services".to_owned(), services_used, used);
            self.differ(month, || "spent".to_owned(), spent, expected.spent);
        }
        self.differ(
            month,
            || "successes".to_owned(),
            successes,
            expected.successes,
        );
        if !expected.fiftieth.allows(fiftieth_at) {
            let stored = fiftieth_at.map_or("none".to_owned(), |at| at.to_string());
            self.note(month, "fiftiethAt", stored, &expected.fiftieth);
        }
    }
}
