//! Second half of rating a chunk: price, cascade, and fold into one entry per account. Pure.

use std::sync::Arc;

use hashbrown::HashMap;

use super::examine::Candidate;
use crate::domain::amount::{Bp, Overflow, Points};
use crate::domain::event::Service;
use crate::domain::ids::{AccountKind, AccountRef};
use crate::domain::position::Control;
use crate::domain::posting::{Cell, Charge, Entry, FirstSuccess, Slot};
use crate::domain::rating::{Amounts, rate};
use crate::domain::rules::{Rules, Timeline};
use crate::domain::tier::Tier;
use crate::domain::time::{Day, Millis, Month};
use crate::pipeline::follower::Chains;

/// Levels of the referral cascade.
const LEVELS: usize = 3;
/// Model names that are remembered at the most; a flood of invented names must not grow the process.
const MODELS_MAX: usize = 100_000;

/// Tiers of model names under one set of rules.
#[derive(Debug, Default)]
pub struct Tiers {
    rules: u64,
    known: HashMap<Box<str>, Tier>,
    /// Names that nothing recognised since the last call of [`Tiers::take_unrecognised`], each once.
    unrecognised: Vec<String>,
}

impl Tiers {
    fn of(&mut self, model: &str, rules: &Rules) -> Tier {
        if self.rules != rules.id() || self.known.len() >= MODELS_MAX {
            self.known.clear();
            self.rules = rules.id();
        }
        if let Some(tier) = self.known.get(model) {
            return *tier;
        }
        let detection = rules.detect(model);
        if !detection.recognised {
            self.unrecognised.push(model.to_owned());
        }
        self.known.insert(model.into(), detection.tier);
        detection.tier
    }

    /// Names that were new and that nothing recognised.
    pub fn take_unrecognised(&mut self) -> Vec<String> {
        std::mem::take(&mut self.unrecognised)
    }
}

/// How one event was rated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rated {
    /// The tier of its model.
    pub tier: Tier,
    /// What it is worth.
    pub amounts: Amounts,
    /// Where it is booked.
    pub slot: Slot,
}

/// What a chunk adds to one account, in the making.
struct Gathered<'a> {
    account: AccountRef<'a>,
    /// Whether `referrers` is known: an account that only refers others needs none.
    chained: bool,
    /// Places of the accounts up its chain, nearest first.
    referrers: [Option<u32>; LEVELS],
    cells: Vec<(Slot, Service, Cell)>,
    referral: Vec<(Slot, Points)>,
    charges: Vec<(Month, Charge)>,
    firsts: Vec<FirstSuccess>,
    firsts_seen: u8,
}

/// The fold of one chunk.
pub struct Fold<'a> {
    timeline: &'a Timeline,
    chains: &'a Chains,
    control: Control,
    indices: HashMap<AccountRef<'a>, u32>,
    gathered: Vec<Gathered<'a>>,
    day: Option<(Day, Month)>,
}

impl<'a> Fold<'a> {
    /// A fold under the rules and links as of `control`. The chains must be known of every account of the chunk.
    pub fn new(timeline: &'a Timeline, chains: &'a Chains, control: Control) -> Fold<'a> {
        Fold {
            timeline,
            chains,
            control,
            indices: HashMap::new(),
            gathered: Vec::new(),
            day: None,
        }
    }

    /// Rates one accepted event and adds it.
    pub fn add(
        &mut self,
        candidate: &'a Candidate<'_>,
        tiers: &mut Tiers,
    ) -> Result<Rated, Overflow> {
        let event = &candidate.event;
        let rules: &Arc<Rules> = self.timeline.at(event.time);
        let tier = match (candidate.service, &event.model) {
            (Service::ChatCompletions, Some(model)) => tiers.of(model, rules),
            _ => Tier::TidePool,
        };
        let amounts = rate(event, candidate.service, tier, rules)?;
        let slot = self.slot(event.time, candidate.log_time);
        let cell = cell_of(candidate, &amounts);
        let cascade = rules.cascade();
        if let Some(provider) = &event.provider {
            let provider = AccountRef {
                kind: AccountKind::Provider,
                id: provider,
            };
            let index = self.index(provider);
            self.credit(
                index,
                slot,
                candidate.service,
                &cell,
                amounts.provider,
                cascade,
            )?;
        }
        let user = self.index(AccountRef {
            kind: AccountKind::User,
            id: &event.user,
        });
        self.credit(user, slot, candidate.service, &cell, amounts.user, cascade)?;
        self.charge(user, slot.month(), &amounts.charge)?;
        if cell.successful > 0 {
            let trial = self.timeline.at(event.time.day().start()).trial();
            self.gathered[user as usize].first(candidate.service, slot, trial);
        }
        Ok(Rated {
            tier,
            amounts,
            slot,
        })
    }

    /// The entries, by account.
    pub fn entries(mut self) -> Vec<Entry> {
        // What is sorted is small, and most comparisons are decided without a look at the id.
        let is_owed = |(_, gathered): &(u32, &Gathered<'_>)| !gathered.is_empty();
        let places = (0..).zip(&self.gathered).filter(is_owed);
        let mut order: Vec<(AccountKind, u128, u32)> = places
            .map(|(place, gathered)| (gathered.account.kind, beginning(gathered.account.id), place))
            .collect();
        order.sort_unstable_by(|a, b| {
            let id = |place: u32| self.gathered[place as usize].account.id;
            (a.0, a.1)
                .cmp(&(b.0, b.1))
                .then_with(|| id(a.2).cmp(id(b.2)))
        });
        let entry = |(_, _, place): (AccountKind, u128, u32)| self.gathered[place as usize].entry();
        order.into_iter().map(entry).collect()
    }

    fn slot(&mut self, time: Millis, log_time: Millis) -> Slot {
        let day = time.day();
        let month = match self.day {
            Some((known, month)) if known == day => month,
            _ => day.month(),
        };
        self.day = Some((day, month));
        if log_time > month.closes() {
            Slot::Late(log_time.month())
        } else {
            Slot::Day(day)
        }
    }

    /// The place of an account that an event names, with its chain.
    fn index(&mut self, account: AccountRef<'a>) -> u32 {
        let index = self.open(account);
        if self.gathered[index as usize].chained {
            return index;
        }
        let chains = self.chains;
        let chain = chains
            .of(&account, self.control)
            .map_or(&[][..], |chain| &chain.accounts);
        let mut referrers = [None; LEVELS];
        for (place, referrer) in referrers.iter_mut().zip(chain.iter()) {
            *place = Some(self.open(AccountRef::from(referrer)));
        }
        let gathered = &mut self.gathered[index as usize];
        gathered.referrers = referrers;
        gathered.chained = true;
        index
    }

    /// The place of an account; a new one if it has none.
    fn open(&mut self, account: AccountRef<'a>) -> u32 {
        let next =
            u32::try_from(self.gathered.len()).expect("a chunk holds far fewer than 2^32 records");
        let index = *self.indices.entry(account).or_insert(next);
        if index == next {
            self.gathered.push(Gathered::new(account));
        }
        index
    }

    fn credit(
        &mut self,
        index: u32,
        slot: Slot,
        service: Service,
        cell: &Cell,
        points: Points,
        cascade: [Bp; LEVELS],
    ) -> Result<(), Overflow> {
        let gathered = &mut self.gathered[index as usize];
        gathered
            .cell(slot, service)
            .add(&Cell { points, ..*cell })?;
        let referrers = gathered.referrers;
        for (referrer, share) in referrers.into_iter().zip(cascade) {
            let Some(referrer) = referrer else { break };
            let points = points.times(share)?;
            if points != Points::ZERO {
                self.gathered[referrer as usize].refer(slot, points)?;
            }
        }
        Ok(())
    }

    fn charge(&mut self, index: u32, month: Month, charge: &Charge) -> Result<(), Overflow> {
        if *charge == Charge::default() {
            return Ok(());
        }
        let charges = &mut self.gathered[index as usize].charges;
        match charges.iter_mut().find(|(of, _)| *of == month) {
            Some((_, sum)) => sum.add(charge),
            None => {
                charges.push((month, *charge));
                Ok(())
            }
        }
    }
}

impl<'a> Gathered<'a> {
    fn new(account: AccountRef<'a>) -> Gathered<'a> {
        Gathered {
            account,
            chained: false,
            referrers: [None; LEVELS],
            cells: Vec::new(),
            referral: Vec::new(),
            charges: Vec::new(),
            firsts: Vec::new(),
            firsts_seen: 0,
        }
    }

    /// A referrer that was only looked up: everything it could have got was rounded down to nothing.
    fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.referral.is_empty()
    }

    fn cell(&mut self, slot: Slot, service: Service) -> &mut Cell {
        let found = self
            .cells
            .iter()
            .rposition(|(s, of, _)| *s == slot && *of == service);
        let index = found.unwrap_or_else(|| {
            self.cells.push((slot, service, Cell::default()));
            self.cells.len() - 1
        });
        &mut self.cells[index].2
    }

    fn refer(&mut self, slot: Slot, points: Points) -> Result<(), Overflow> {
        match self.referral.iter_mut().rev().find(|(of, _)| *of == slot) {
            Some((_, sum)) => *sum = sum.plus(points)?,
            None => self.referral.push((slot, points)),
        }
        Ok(())
    }

    fn first(&mut self, service: Service, slot: Slot, points: Points) {
        let bit = 1 << service as u8;
        if self.firsts_seen & bit == 0 {
            self.firsts_seen |= bit;
            self.firsts.push(FirstSuccess {
                service,
                slot,
                points,
            });
        }
    }

    /// Takes what was gathered out as an entry.
    fn entry(&mut self) -> Entry {
        let mut entry = Entry {
            account: self.account.to_account(),
            cells: std::mem::take(&mut self.cells),
            referral: std::mem::take(&mut self.referral),
            charges: std::mem::take(&mut self.charges),
            firsts: std::mem::take(&mut self.firsts),
        };
        entry
            .cells
            .sort_unstable_by_key(|(slot, service, _)| (*slot, *service));
        entry.referral.sort_unstable_by_key(|(slot, _)| *slot);
        entry.charges.sort_unstable_by_key(|(month, _)| *month);
        entry.firsts.sort_unstable_by_key(|first| first.service);
        entry
    }
}

/// The first 16 bytes of an id, as a number that orders as they do. Ids hold no NUL, so a shorter one orders before its continuations.
fn beginning(id: &str) -> u128 {
    let mut bytes = [0; 16];
    let taken = id.len().min(bytes.len());
    bytes[..taken].copy_from_slice(&id.as_bytes()[..taken]);
    u128::from_be_bytes(bytes)
}

/// One event as a cell, without points.
fn cell_of(candidate: &Candidate<'_>, amounts: &Amounts) -> Cell {
    let event = &candidate.event;
    let mut cell = Cell {
        requests: 1,
        ..Cell::default()
    };
    if (200..300).contains(&event.status) {
        cell.successful = 1;
        if let Some(latency_ms) = event.latency_ms {
            cell.timed = 1;
            cell.latency_ms = latency_ms;
            cell.target_ms = amounts.target_ms;
        }
    } else if event.status >= 500 {
        cell.failed = 1;
    }
    cell
}
