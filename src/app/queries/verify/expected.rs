//! What accounts should hold: the rows of the archive, folded per account. Pure.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Place;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::milestone::{Milestone, Rated};
use crate::archive::{ArchivedRequest, Posted};
use crate::domain::amount::Money;
use crate::domain::ids::{Account, AccountRef};
use crate::domain::ledger::MonthRow;
use crate::domain::position::{Epoch, Offset, Position};
use crate::domain::posting::{Entry, FirstSuccess};
use crate::domain::time::Month;
use crate::pipeline::hashed::AccountHash;

/// A share of all accounts: those whose hash leaves this remainder. The hash does not depend on the
/// process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Which.
    pub index: u64,
    /// Of how many.
    pub of: u64,
}

impl Share {
    /// All accounts.
    pub const ALL: Share = Share { index: 0, of: 1 };

    /// Whether an account is in it.
    pub fn holds(self, account: AccountRef<'_>) -> bool {
        if self.of == 1 {
            return true;
        }
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(account.id.as_bytes(), account.kind as u64);
        hash % self.of == self.index
    }

    /// Whether it is a part of another one, and not all of it.
    pub const fn is_within(self, whole: Share) -> bool {
        self.of > whole.of && self.index % whole.of == whole.index
    }

    /// Its halves.
    pub const fn split(self) -> [Share; 2] {
        let of = self.of * 2;
        [
            Share {
                index: self.index,
                of,
            },
            Share {
                index: self.index + self.of,
                of,
            },
        ]
    }
}

/// What the archive says of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedAccount {
    /// The account.
    pub account: Account,
    /// What is booked in each month. Nearly every account has one or two.
    pub months: SmallVec<[Box<MonthRow>; 1]>,
    /// Its successes, and its 50th.
    pub milestone: Milestone,
    /// Everything charged.
    pub spent: Money,
    /// Its first success with each service, by position.
    firsts: SmallVec<[((Epoch, Offset), FirstSuccess); 1]>,
}

impl ArchivedAccount {
    /// One of which it says nothing.
    pub fn new(account: AccountRef<'_>) -> ArchivedAccount {
        ArchivedAccount {
            account: account.to_account(),
            months: SmallVec::new(),
            milestone: Milestone::default(),
            spent: Money::ZERO,
            firsts: SmallVec::new(),
        }
    }

    fn month(&mut self, month: Month) -> &mut MonthRow {
        let place = self.months.iter().rposition(|row| row.month == month);
        let place = place.unwrap_or_else(|| {
            self.months
                .push(Box::new(MonthRow::new(month, Default::default())));
            self.months.len() - 1
        });
        &mut self.months[place]
    }

    fn add(&mut self, row: &ArchivedRequest<'_>, posted: &Posted) {
        match posted {
            Posted::Cell(slot, service, cell) => {
                self.month(slot.month()).add_cell(*slot, *service, cell);
                if cell.successful > 0 {
                    self.milestone.succeed(&rated(row), cell.successful);
                }
            }
            Posted::Deduction(slot, service, deduction) => {
                self.month(slot.month()).deduct(*slot, *service, deduction);
                if deduction.reversed > 0 {
                    self.milestone.take_back(&rated(row), deduction.reversed);
                }
            }
            Posted::Referral(slot, cascade) => {
                self.month(slot.month()).add_referral(*slot, cascade);
            }
            Posted::Charge(month, charge) => {
                self.month(*month).charge.add(charge);
                self.spent = self.spent.plus(charge.cost);
            }
            Posted::First(first) => self.first((row.epoch, row.offset), first),
        }
    }

    /// Adds what a posting block brings it that stands behind all rows of the archive.
    pub(super) fn add_entry(&mut self, entry: &Entry, position: Position, rated: &Rated) {
        let mut successes = 0u64;
        for (slot, service, cell) in &entry.cells {
            self.month(slot.month()).add_cell(*slot, *service, cell);
            successes = successes.saturating_add(cell.successful);
        }
        let mut reversed = 0u64;
        for (slot, service, deduction) in &entry.deductions.by_service {
            self.month(slot.month()).deduct(*slot, *service, deduction);
            reversed = reversed.saturating_add(deduction.reversed);
        }
        let peak = match entry.deductions.is_empty() {
            true => successes,
            false => entry.deductions.peak,
        };
        self.milestone.chunk(rated, successes, peak, reversed);
        for (slot, cascade) in &entry.referral {
            self.month(slot.month()).add_referral(*slot, cascade);
        }
        for (month, charge) in &entry.charges {
            self.month(*month).charge.add(charge);
            self.spent = self.spent.plus(charge.cost);
        }
        for first in &entry.firsts {
            self.first((position.epoch, Offset(u64::MAX)), first);
        }
    }

    fn first(&mut self, at: (Epoch, Offset), first: &FirstSuccess) {
        let known = self
            .firsts
            .iter_mut()
            .find(|(_, known)| known.service == first.service);
        match known {
            Some(known) if known.0 <= at => {}
            Some(known) => *known = (at, *first),
            None => self.firsts.push((at, *first)),
        }
    }

    /// Services with a success, a bit each.
    pub fn services_used(&self) -> u64 {
        let bits = self.firsts.iter().map(|(_, first)| first.service.bit());
        bits.fold(0, |all, bit| all | bit)
    }

    /// The month rows that it should have, without one-off awards. `used_before` are the services
    /// with which it had a success before the archive begins, a bit each.
    pub fn rows(&self, used_before: u64) -> BTreeMap<Month, MonthRow> {
        let mut rows: BTreeMap<Month, MonthRow> = self
            .months
            .iter()
            .map(|row| (row.month, (**row).clone()))
            .collect();
        for (_, first) in &self.firsts {
            if used_before & first.service.bit() == 0 {
                let month = first.slot.month();
                let row = rows.entry(month);
                let row = row.or_insert_with(|| MonthRow::new(month, Default::default()));
                row.add_trial(first.slot, first.points);
            }
        }
        rows
    }
}

fn rated(row: &ArchivedRequest<'_>) -> Rated {
    Rated {
        epoch: row.epoch,
        source: row.partition,
        chunk: row.chunk,
        chunk_log_time: row.chunk_log_time,
    }
}

/// What the archive says of a share of all accounts.
pub struct ArchivedAccounts {
    share: Share,
    places: HashTable<u32>,
    accounts: Vec<ArchivedAccount>,
    accounts_max: usize,
}

/// More accounts than may be held at a time: the share must be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyAccounts;

impl ArchivedAccounts {
    /// Of a share, at most so many.
    pub fn new(share: Share, accounts_max: usize) -> ArchivedAccounts {
        ArchivedAccounts {
            share,
            places: HashTable::new(),
            accounts: Vec::new(),
            accounts_max,
        }
    }

    /// The share.
    pub const fn share(&self) -> Share {
        self.share
    }

    /// Adds a row of the archive: what it posts to accounts of the share.
    ///
    /// # Errors
    /// There are more accounts than may be held.
    pub fn add(&mut self, row: &ArchivedRequest<'_>) -> Result<(), TooManyAccounts> {
        let mut result = Ok(());
        row.posted(|account, posted| {
            if result.is_err() || !self.share.holds(account) {
                return;
            }
            match self.account(account) {
                Some(known) => known.add(row, &posted),
                None => result = Err(TooManyAccounts),
            }
        });
        result
    }

    fn account(&mut self, account: AccountRef<'_>) -> Option<&mut ArchivedAccount> {
        let accounts = &mut self.accounts;
        let of = |place: &u32| AccountRef::from(&accounts[*place as usize].account);
        let hash = AccountHash::of(account).get();
        let found = self.places.entry(
            hash,
            |place| of(place) == account,
            |place| AccountHash::of(of(place)).get(),
        );
        let place = match found {
            Place::Occupied(known) => *known.get(),
            Place::Vacant(free) => {
                let place = u32::try_from(accounts.len()).ok()?;
                if accounts.len() == self.accounts_max {
                    return None;
                }
                free.insert(place);
                accounts.push(ArchivedAccount::new(account));
                place
            }
        };
        accounts.get_mut(place as usize)
    }

    /// Where an account stands among all of them.
    pub fn place_of(&self, account: AccountRef<'_>) -> Option<usize> {
        let of = |place: &u32| AccountRef::from(&self.accounts[*place as usize].account);
        let hash = AccountHash::of(account).get();
        let place = self.places.find(hash, |place| of(place) == account)?;
        Some(*place as usize)
    }

    /// The account at a place.
    pub fn at(&self, place: usize) -> Option<&ArchivedAccount> {
        self.accounts.get(place)
    }

    /// What it says of an account; `None`: nothing.
    pub fn get(&self, account: AccountRef<'_>) -> Option<&ArchivedAccount> {
        self.at(self.place_of(account)?)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &ArchivedAccount> {
        self.accounts.iter()
    }
}
