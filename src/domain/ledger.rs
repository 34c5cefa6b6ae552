//! What an account holds: month rows with the sufficient statistics of their days, and lifetime
//! facts.
//!
//! Rows hold no totals. Streak bonus, quality and totals are computed from them by
//! [`super::statement`].

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::amount::{Bp, Money, Points};
use super::event::Service;
use super::ids::AccountKind;
use super::outcomes::Outcomes;
use super::posting::{Cascade, Cell, Charge, Deduction, EntryRef, Slot, add};
pub use super::service_stats::{ByService, ServiceStats};
use super::sorted::SortedMap;
use super::time::{Day, Millis, Month};

/// Successful requests in a life that make a referee's milestone.
pub const MILESTONE_SUCCESSES: u64 = 50;

/// The statistics of one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayStats {
    /// A provider's base, or a user's usage points.
    pub base: Points,
    /// From referrals.
    pub referral: Points,
    /// From first successes (users).
    pub trial: Points,
    /// Accepted events.
    pub requests: u64,
    /// Status 200–299.
    pub successful: u64,
    /// Status ≥ 500.
    pub failed: u64,
    /// Sum of latencies of the successful requests that carry one, ms.
    pub latency_ms: u64,
    /// Sum of their targets, ms; zero when none carries a latency.
    pub target_ms: u64,
}

impl DayStats {
    /// How its requests ended.
    pub const fn outcomes(&self) -> Outcomes {
        Outcomes {
            requests: self.requests,
            successful: self.successful,
            failed: self.failed,
        }
    }
}

/// What was booked late in a month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateStats {
    /// Every late amount: base or usage, referral, trial.
    pub points: Points,
    /// Accepted late events.
    pub requests: u64,
    /// Status 200–299.
    pub successful: u64,
    /// Status ≥ 500.
    pub failed: u64,
}

impl LateStats {
    /// How its requests ended.
    pub const fn outcomes(&self) -> Outcomes {
        Outcomes {
            requests: self.requests,
            successful: self.successful,
            failed: self.failed,
        }
    }
}

/// How many of a month's events were reversed. Nearly every month has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reversals {
    /// By day of month, ascending; only days with a reversed event.
    pub days: Vec<(u8, u64)>,
    /// By service, ascending; only services with a reversed event.
    pub services: Vec<(Service, u64)>,
    /// Reversals booked late: of events of months that had closed.
    pub late: u64,
}

impl Reversals {
    /// Whether nothing was reversed.
    pub fn is_empty(&self) -> bool {
        *self == Reversals::default()
    }

    /// Those of one day.
    pub fn of_day(&self, day: u8) -> u64 {
        count_of(&self.days, &day)
    }

    /// Those of one service.
    pub fn of_service(&self, service: Service) -> u64 {
        count_of(&self.services, &service)
    }

    /// All of the month.
    pub fn sum(&self) -> u64 {
        let days = self.days.iter().map(|(_, count)| *count);
        days.fold(self.late, u64::saturating_add)
    }

    fn add(&mut self, slot: Slot, service: Service, count: u64) {
        match slot {
            Slot::Late(_) => add(&mut self.late, count),
            Slot::Day(day) => {
                add_under(&mut self.days, day.of_month(), count);
                add_under(&mut self.services, service, count);
            }
        }
    }
}

fn count_of<K: Ord>(counts: &[(K, u64)], key: &K) -> u64 {
    let place = counts.binary_search_by(|(of, _)| of.cmp(key));
    place.map_or(0, |place| counts[place].1)
}

fn add_under<K: Ord>(counts: &mut Vec<(K, u64)>, key: K, count: u64) {
    match counts.binary_search_by(|(of, _)| of.cmp(&key)) {
        Ok(place) => add(&mut counts[place].1, count),
        Err(place) => counts.insert(place, (key, count)),
    }
}

/// The streak as it stood at a month's start: the last active day before it, how many active days
/// in a row end there, and the longest run so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carry {
    /// The last active day before the month.
    pub last_active: Option<Day>,
    /// Active days in a row that end at `last_active`.
    pub length: u32,
    /// The longest run that ended before the month (the current one included).
    pub longest: u32,
}

impl Carry {
    /// A carry of known parts.
    pub const fn new(last_active: Option<Day>, length: u32, longest: u32) -> Carry {
        Carry {
            last_active,
            length,
            longest,
        }
    }

    /// The carry after one more active day.
    pub fn after_active(self, day: Day) -> Carry {
        let length = if self.last_active == Some(day.previous()) {
            self.length + 1
        } else {
            1
        };
        Carry::new(Some(day), length, self.longest.max(length))
    }
}

/// One month of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonthRow {
    /// The month.
    pub month: Month,
    /// The streak carried in.
    pub carry: Carry,
    /// By day of month (1–31), ascending; only days with something in them.
    pub days: Vec<(u8, DayStats)>,
    /// By service.
    pub services: ByService,
    /// Booked late.
    pub late: LateStats,
    /// Charged and shadow cost of the month (users).
    pub charge: Charge,
    /// The days' points from referrals, by level.
    pub cascade: Cascade,
    /// One-off awards.
    pub bonus: Points,
    /// What was reversed, if anything: a box, since nearly every row has none.
    pub reversals: Option<Box<Reversals>>,
}

/// The facts of an account's whole life; they stand in its head row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// A bit per [`Service`] with which the account has had a success.
    pub services_used: u64,
    /// Successful requests, late ones too.
    pub successes: u64,
    /// Everything charged.
    pub spent: Money,
    /// The source log time of the block that brought the 50th success.
    pub fiftieth_at: Option<Millis>,
}

/// When a day is active. Fixed when a marketplace opens: streaks carried from month to month depend
/// on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The least share of `ok` among `ok + failed` that makes a provider's day active.
    pub provider_uptime: Bp,
}

impl Activity {
    /// Whether a day with these statistics is active.
    pub fn is_active(self, kind: AccountKind, day: &DayStats) -> bool {
        if day.successful == 0 {
            return false;
        }
        match kind {
            AccountKind::User => true,
            AccountKind::Provider => {
                let served = u128::from(day.successful) + u128::from(day.failed);
                u128::from(day.successful) * 10_000 >= u128::from(self.provider_uptime.0) * served
            }
        }
    }
}

impl MonthRow {
    /// An empty month.
    pub fn new(month: Month, carry: Carry) -> MonthRow {
        MonthRow {
            month,
            carry,
            days: Vec::new(),
            services: ByService::default(),
            late: LateStats::default(),
            charge: Charge::default(),
            cascade: Cascade::default(),
            bonus: Points::ZERO,
            reversals: None,
        }
    }

    /// How many of its events were reversed.
    pub fn reversals(&self) -> &Reversals {
        const NONE: &Reversals = &Reversals {
            days: Vec::new(),
            services: Vec::new(),
            late: 0,
        };
        self.reversals.as_deref().unwrap_or(NONE)
    }

    /// The streak to carry into the next month.
    pub fn carry_out(&self, kind: AccountKind, activity: Activity) -> Carry {
        self.days
            .iter()
            .filter(|(_, stats)| activity.is_active(kind, stats))
            .fold(self.carry, |carry, (day, _)| {
                carry.after_active(self.month.day(*day))
            })
    }

    fn day_mut(&mut self, day: u8) -> &mut DayStats {
        let index = match self.days.last() {
            // Nearly everything is about the newest day.
            Some((last, _)) if *last == day => self.days.len() - 1,
            _ => match self.days.binary_search_by_key(&day, |(d, _)| *d) {
                Ok(index) => index,
                Err(index) => {
                    // Most accounts come on a day or two: no room for more before they do.
                    if self.days.len() < 2 {
                        self.days.reserve_exact(1);
                    }
                    self.days.insert(index, (day, DayStats::default()));
                    index
                }
            },
        };
        &mut self.days[index].1
    }

    /// Adds what requests of a service bring.
    pub fn add_cell(&mut self, slot: Slot, service: Service, cell: &Cell) {
        let Slot::Day(day) = slot else {
            self.late.points = self.late.points.plus(cell.points);
            add(&mut self.late.requests, cell.requests);
            add(&mut self.late.successful, cell.successful);
            add(&mut self.late.failed, cell.failed);
            return;
        };
        let stats = self.day_mut(day.of_month());
        stats.base = stats.base.plus(cell.points);
        add(&mut stats.requests, cell.requests);
        add(&mut stats.successful, cell.successful);
        add(&mut stats.failed, cell.failed);
        add(&mut stats.latency_ms, cell.latency_ms);
        add(&mut stats.target_ms, cell.target_ms);
        let of_service = &mut self.services[service];
        add(&mut of_service.requests, cell.requests);
        add(&mut of_service.successful, cell.successful);
        add(&mut of_service.failed, cell.failed);
        of_service.points = of_service.points.plus(cell.points);
        add(&mut of_service.timed, cell.timed);
        add(&mut of_service.latency_ms, cell.latency_ms);
    }

    /// Takes back what was added before, so no sum falls below zero, but for points.
    pub fn deduct(&mut self, slot: Slot, service: Service, deduction: &Deduction) {
        if deduction.reversed > 0 {
            let reversals = self.reversals.get_or_insert_default();
            reversals.add(slot, service, deduction.reversed);
        }
        let Slot::Day(day) = slot else {
            // The late part has no latencies. Its successes are not reduced here: the month whose
            // event is reversed may be an earlier one, and a count of rows is never negative.
            self.late.points = self.late.points.minus(deduction.points);
            return;
        };
        let stats = self.day_mut(day.of_month());
        stats.base = stats.base.minus(deduction.points);
        subtract(&mut stats.successful, deduction.reversed);
        subtract(&mut stats.latency_ms, deduction.latency_ms);
        subtract(&mut stats.target_ms, deduction.target_ms);
        let of_service = &mut self.services[service];
        of_service.points = of_service.points.minus(deduction.points);
        subtract(&mut of_service.successful, deduction.reversed);
        subtract(&mut of_service.timed, deduction.timed);
        subtract(&mut of_service.latency_ms, deduction.latency_ms);
    }

    /// Adds points from a referral.
    pub fn add_referral(&mut self, slot: Slot, cascade: &Cascade) {
        let sum = match slot {
            Slot::Day(day) => {
                self.cascade.add(cascade);
                &mut self.day_mut(day.of_month()).referral
            }
            Slot::Late(_) => &mut self.late.points,
        };
        *sum = sum.plus(cascade.sum());
    }

    /// Adds the points of a first success.
    pub fn add_trial(&mut self, slot: Slot, points: Points) {
        let sum = match slot {
            Slot::Day(day) => &mut self.day_mut(day.of_month()).trial,
            Slot::Late(_) => &mut self.late.points,
        };
        *sum = sum.plus(points);
    }

    /// Whether a sum is at the end of its range, so that the row may say less than was added.
    pub fn is_saturated(&self) -> bool {
        let sums = |points: &[Points]| points.iter().any(|points| points.is_saturated());
        let day = |(_, day): &(u8, DayStats)| {
            sums(&[day.base, day.referral, day.trial])
                || day.requests.max(day.latency_ms).max(day.target_ms) == u64::MAX
        };
        let service = |service: &ServiceStats| {
            service.points.is_saturated() || service.requests.max(service.latency_ms) == u64::MAX
        };
        self.days.iter().any(day)
            || self.services.iter().any(|(_, stats)| service(stats))
            || sums(&self.cascade.0)
            || sums(&[self.bonus, self.late.points])
            || self.charge.cost.is_saturated()
            || self.charge.shadow.is_saturated()
    }
}

/// A sum that is at the end of its range stays there: what it should be is not known.
const fn subtract(sum: &mut u64, less: u64) {
    if *sum != u64::MAX {
        *sum = sum.saturating_sub(less);
    }
}

/// Months, ascending, each once. An entry nearly always books into one.
pub type Months = SmallVec<[Month; 2]>;

/// An account's lifetime facts and those of its month rows that are in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountRows {
    /// Lifetime facts.
    pub lifetime: Lifetime,
    /// Month rows; the newest is the head.
    pub months: SortedMap<Month, MonthRow>,
}

/// The months that an entry books into, ascending, each once.
pub fn months_of<'e>(entry: impl Into<EntryRef<'e>>) -> Months {
    let entry = entry.into();
    let mut months = Months::new();
    let mut see = |month| {
        if months.last() != Some(&month) {
            months.push(month);
        }
    };
    entry.cells.iter().for_each(|(slot, ..)| see(slot.month()));
    entry
        .referral
        .iter()
        .for_each(|(slot, _)| see(slot.month()));
    entry.charges.iter().for_each(|(month, _)| see(*month));
    entry
        .firsts
        .iter()
        .for_each(|first| see(first.slot.month()));
    let deductions = entry.deductions.by_service.iter();
    deductions.for_each(|(slot, ..)| see(slot.month()));
    if months.len() > 1 {
        months.sort_unstable();
        months.dedup();
    }
    months
}

impl AccountRows {
    /// The newest month.
    pub fn head(&self) -> Option<Month> {
        self.months.last_key_value().map(|(month, _)| *month)
    }

    /// The row of `month`, opened if need be. Every existing row between it and the head must be in
    /// memory.
    fn open(&mut self, kind: AccountKind, month: Month, activity: Activity) -> &mut MonthRow {
        if !self.months.contains_key(&month) {
            let before = self.months.last_before(&month);
            let carry = before.map(|(_, row)| row.carry_out(kind, activity));
            self.months
                .insert(month, MonthRow::new(month, carry.unwrap_or_default()));
        }
        self.months
            .get_or_insert_with(month, || MonthRow::new(month, Carry::default()))
    }

    /// Adds an entry. `source_log_time` is its block's. Returns the months whose rows changed,
    /// ascending.
    ///
    /// Every existing row from the nearest one before the entry's oldest month up to the head must
    /// be in memory: a change of an older month's active days moves the streaks carried into the
    /// later ones.
    pub fn apply<'e>(
        &mut self,
        kind: AccountKind,
        entry: impl Into<EntryRef<'e>>,
        source_log_time: Millis,
        activity: Activity,
    ) -> Months {
        let entry = entry.into();
        let mut changed = months_of(entry);
        for month in &changed {
            self.open(kind, *month, activity);
        }
        let before = self.lifetime.successes;
        for (slot, service, cell) in entry.cells {
            self.open(kind, slot.month(), activity)
                .add_cell(*slot, *service, cell);
            add(&mut self.lifetime.successes, cell.successful);
        }
        let most = match entry.deductions.is_empty() {
            true => self.lifetime.successes,
            false => before.saturating_add(entry.deductions.peak),
        };
        if most >= MILESTONE_SUCCESSES && self.lifetime.fiftieth_at.is_none() {
            self.lifetime.fiftieth_at = Some(source_log_time);
        }
        for (slot, service, deduction) in &entry.deductions.by_service {
            self.open(kind, slot.month(), activity)
                .deduct(*slot, *service, deduction);
            subtract(&mut self.lifetime.successes, deduction.reversed);
        }
        for (slot, cascade) in entry.referral {
            self.open(kind, slot.month(), activity)
                .add_referral(*slot, cascade);
        }
        for (month, charge) in entry.charges {
            self.open(kind, *month, activity).charge.add(charge);
            self.lifetime.spent = self.lifetime.spent.plus(charge.cost);
        }
        for first in entry.firsts {
            let bit = first.service.bit();
            if self.lifetime.services_used & bit == 0 {
                self.lifetime.services_used |= bit;
                self.open(kind, first.slot.month(), activity)
                    .add_trial(first.slot, first.points);
            }
        }
        self.carry_forward(kind, activity, &mut changed);
        changed
    }

    /// Adds a one-off award to the month it belongs to; returns the months whose rows changed.
    pub fn award(
        &mut self,
        kind: AccountKind,
        month: Month,
        points: Points,
        activity: Activity,
    ) -> Months {
        let row = self.open(kind, month, activity);
        row.bonus = row.bonus.plus(points);
        let mut changed = Months::from_slice(&[month]);
        self.carry_forward(kind, activity, &mut changed);
        changed
    }

    /// Recomputes the streak carried into each row from the row before it; the oldest keeps its
    /// own. Adds the months of rows that this changed.
    fn carry_forward(&mut self, kind: AccountKind, activity: Activity, changed: &mut Months) {
        let Some(oldest) = changed.first().copied() else {
            return;
        };
        // The streak that is carried into a row does not depend on the row itself.
        if self.months.len() == 1 {
            return;
        }
        let mut carry = None;
        let from = self
            .months
            .last_before(&oldest)
            .map_or(oldest, |(month, _)| *month);
        for (_, row) in self.months.from_mut(&from) {
            if let Some(carry) = carry
                && row.carry != carry
            {
                row.carry = carry;
                changed.push(row.month);
            }
            carry = Some(row.carry_out(kind, activity));
        }
        changed.sort_unstable();
        changed.dedup();
    }
}
