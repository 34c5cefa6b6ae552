//! Postings: what a chunk of usage events adds to each account.

use serde::{Deserialize, Serialize};

use super::amount::{Money, Points};
use super::event::Service;
use super::ids::{Account, AccountRef};
use super::outcomes::{is_failed, is_successful};
use super::position::{Chunk, Control, Epoch, Partition, Sequence};
use super::time::{Day, Millis, Month};

/// Where an amount is booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// On the event's own day; its month was open.
    Day(Day),
    /// In the late part of the month of the log time; the event's own month had closed.
    Late(Month),
}

impl Slot {
    /// Where an event of this day (and month) is booked that came at this log time.
    pub fn of(day: Day, month: Month, log_time: Millis) -> Slot {
        if log_time > month.closes() {
            Slot::Late(log_time.month())
        } else {
            Slot::Day(day)
        }
    }

    /// The month whose row holds it.
    pub const fn month(self) -> Month {
        match self {
            Slot::Day(day) => day.month(),
            Slot::Late(month) => month,
        }
    }
}

/// What the events of one account, slot and service add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// Accepted events.
    pub requests: u64,
    /// Those with status 200–299.
    pub successful: u64,
    /// Those with status ≥ 500.
    pub failed: u64,
    /// A provider's base, or a user's usage points.
    pub points: Points,
    /// Successful requests that carry a latency.
    pub timed: u64,
    /// Sum of their latencies, ms.
    pub latency_ms: u64,
    /// Sum of their target latencies, ms.
    pub target_ms: u64,
}

/// What is taken back of what the events of one account, slot and service have added before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deduction {
    /// Successful events that were reversed: the slot has so many fewer successes.
    pub reversed: u64,
    /// A provider's base, or a user's usage points.
    pub points: Points,
    /// Events among those deducted that carry a latency.
    pub timed: u64,
    /// Sum of their latencies, ms.
    pub latency_ms: u64,
    /// Sum of their target latencies, ms.
    pub target_ms: u64,
}

impl Deduction {
    /// Adds another deduction.
    pub fn add(&mut self, other: &Deduction) {
        add(&mut self.reversed, other.reversed);
        self.points = self.points.plus(other.points);
        add(&mut self.timed, other.timed);
        add(&mut self.latency_ms, other.latency_ms);
        add(&mut self.target_ms, other.target_ms);
    }
}

/// Everything that one block takes back from one account. Nearly every entry has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deductions {
    /// By slot and service, sorted; each once.
    pub by_service: Vec<(Slot, Service, Deduction)>,
    /// How many more successes than before the block the account had at most while it was rated.
    /// Without deductions that is their number; with them it depends on their order in the log, and
    /// decides whether the account reached its milestone.
    pub peak: u64,
}

impl Deductions {
    /// Whether nothing is taken back.
    pub fn is_empty(&self) -> bool {
        self.by_service.is_empty()
    }

    /// None at all.
    pub const NONE: &'static Deductions = &Deductions {
        by_service: Vec::new(),
        peak: 0,
    };
}

/// What a user is charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Charge {
    /// Charged (mainnet).
    pub cost: Money,
    /// What mainnet would have charged (testnet).
    pub shadow: Money,
}

/// The first success with a service within a chunk, in log order. Only the poster knows whether it
/// is the first of the account's life; if it is, `points` are granted on `slot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FirstSuccess {
    /// The service.
    pub service: Service,
    /// Where a trial is booked.
    pub slot: Slot,
    /// What a trial is worth: the rules in force at the start of the event's day.
    pub points: Points,
}

/// Levels of the referral cascade: the referrer, theirs, and theirs.
pub const LEVELS: usize = 3;

/// Points from referrals, by level: of what an account's referees earned (level 1), theirs (level
/// 2), and theirs (level 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cascade(pub [Points; LEVELS]);

impl Cascade {
    /// Points at one level; the nearest is 0.
    pub fn at(level: usize, points: Points) -> Cascade {
        let mut cascade = Cascade::default();
        cascade.0[level] = points;
        cascade
    }

    /// Whether there are none.
    pub fn is_zero(&self) -> bool {
        *self == Cascade::default()
    }

    /// Their sum.
    pub const fn sum(&self) -> Points {
        let [first, second, third] = self.0;
        first.plus(second).plus(third)
    }

    /// Adds others, level by level.
    pub fn add(&mut self, other: &Cascade) {
        for (sum, points) in self.0.iter_mut().zip(other.0) {
            *sum = sum.plus(points);
        }
    }
}

/// Everything that one block adds to one account. All lists are sorted by their key and hold it
/// once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The account.
    pub account: Account,
    /// By slot and service.
    pub cells: Vec<(Slot, Service, Cell)>,
    /// Points from referrals, by slot.
    pub referral: Vec<(Slot, Cascade)>,
    /// Charges, by the month in which they are booked (users only).
    pub charges: Vec<(Month, Charge)>,
    /// First successes, by service (users only).
    pub firsts: Vec<FirstSuccess>,
    /// What is taken back.
    #[serde(default, skip_serializing_if = "Deductions::is_empty")]
    pub deductions: Deductions,
}

impl Entry {
    /// An entry that adds nothing yet.
    pub fn new(account: Account) -> Entry {
        Entry {
            account,
            cells: Vec::new(),
            referral: Vec::new(),
            charges: Vec::new(),
            firsts: Vec::new(),
            deductions: Deductions::default(),
        }
    }
}

/// An [`Entry`] whose parts are borrowed: what a fold gives to be encoded, without a copy of
/// everything first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// The account.
    pub account: AccountRef<'a>,
    /// By slot and service.
    pub cells: &'a [(Slot, Service, Cell)],
    /// Points from referrals, by slot.
    pub referral: &'a [(Slot, Cascade)],
    /// Charges, by month.
    pub charges: &'a [(Month, Charge)],
    /// First successes, by service.
    pub firsts: &'a [FirstSuccess],
    /// What is taken back.
    pub deductions: &'a Deductions,
}

impl EntryRef<'_> {
    /// The oldest month that it books into.
    pub fn oldest_month(&self) -> Option<Month> {
        let cells = self.cells.iter().map(|(slot, ..)| slot.month());
        let referral = self.referral.iter().map(|(slot, _)| slot.month());
        let charges = self.charges.iter().map(|(month, _)| *month);
        let firsts = self.firsts.iter().map(|first| first.slot.month());
        let deductions = self.deductions.by_service.iter();
        let deducted = deductions.map(|(slot, ..)| slot.month());
        let booked = cells.chain(referral).chain(charges).chain(firsts);
        booked.chain(deducted).min()
    }

    /// An entry of its own.
    pub fn to_entry(&self) -> Entry {
        Entry {
            account: self.account.to_account(),
            cells: self.cells.to_vec(),
            referral: self.referral.to_vec(),
            charges: self.charges.to_vec(),
            firsts: self.firsts.to_vec(),
            deductions: self.deductions.clone(),
        }
    }
}

impl<'a> From<&'a Entry> for EntryRef<'a> {
    fn from(entry: &'a Entry) -> EntryRef<'a> {
        EntryRef {
            account: AccountRef::from(&entry.account),
            cells: &entry.cells,
            referral: &entry.referral,
            charges: &entry.charges,
            firsts: &entry.firsts,
            deductions: &entry.deductions,
        }
    }
}

/// One posting block: a part of what chunk `chunk` of source partition `source` adds to accounts of
/// one posting partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// The epoch of the source log.
    pub epoch: Epoch,
    /// The partition of `usage.events`.
    pub source: Partition,
    /// The chunk.
    pub chunk: Chunk,
    /// 1, 2, 3, … from this source partition to this posting partition.
    pub sequence: Sequence,
    /// The control position with which the chunk was rated.
    pub control: Control,
    /// The source's log time just before the chunk: everything that follows is at or after it.
    pub source_log_time: Millis,
    /// Entries, by account.
    pub entries: Vec<Entry>,
}

impl Cell {
    /// What one event counts, without points: `target_ms` is the latency that is expected of a
    /// successful one.
    #[inline]
    pub fn of_event(status: u16, latency_ms: Option<u64>, target_ms: u64) -> Cell {
        let mut cell = Cell {
            requests: 1,
            ..Cell::default()
        };
        if is_successful(status) {
            cell.successful = 1;
            if let Some(latency_ms) = latency_ms {
                cell.timed = 1;
                cell.latency_ms = latency_ms;
                cell.target_ms = target_ms;
            }
        } else if is_failed(status) {
            cell.failed = 1;
        }
        cell
    }

    /// What it counts beyond an earlier cell of the same event; no points.
    #[must_use]
    pub fn beyond(&self, before: &Cell) -> Cell {
        Cell {
            requests: self.requests.saturating_sub(before.requests),
            successful: self.successful.saturating_sub(before.successful),
            failed: self.failed.saturating_sub(before.failed),
            points: Points::ZERO,
            timed: self.timed.saturating_sub(before.timed),
            latency_ms: self.latency_ms.saturating_sub(before.latency_ms),
            target_ms: self.target_ms.saturating_sub(before.target_ms),
        }
    }

    /// Adds another cell.
    pub fn add(&mut self, other: &Cell) {
        add(&mut self.requests, other.requests);
        add(&mut self.successful, other.successful);
        add(&mut self.failed, other.failed);
        self.points = self.points.plus(other.points);
        add(&mut self.timed, other.timed);
        add(&mut self.latency_ms, other.latency_ms);
        add(&mut self.target_ms, other.target_ms);
    }
}

impl Charge {
    /// The difference.
    #[must_use]
    pub fn less(&self, other: &Charge) -> Charge {
        Charge {
            cost: self.cost.minus(other.cost),
            shadow: self.shadow.minus(other.shadow),
        }
    }

    /// Adds another charge.
    pub fn add(&mut self, other: &Charge) {
        self.cost = self.cost.plus(other.cost);
        self.shadow = self.shadow.plus(other.shadow);
    }
}

/// Adds to a count, or to a sum of milliseconds; at the end of the range it stays there.
pub(super) const fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}
