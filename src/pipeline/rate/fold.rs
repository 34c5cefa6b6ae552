//! FOLD: price, cascade, and one entry per account. Pure.

mod amend;

use std::sync::Arc;

use smallvec::SmallVec;

use super::accounts::Accounts;
use super::candidate::Candidate;
use super::tiers::Tiers;
use crate::domain::amount::{Bp, Points};
use crate::domain::event::{Service, UsageEvent};
use crate::domain::ids::{Account, AccountKind, AccountRef, account_partition};
use crate::domain::position::{Control, Partition};
use crate::domain::posting::{
    Cascade, Cell, Charge, Deduction, Deductions, EntryRef, FirstSuccess, LEVELS, Slot,
};
use crate::domain::rating::{Amounts, rate};
use crate::domain::rules::{Rules, Timeline};
use crate::domain::tier::{Detection, Tier};
use crate::domain::time::{Day, Millis, Month};
use crate::pipeline::follower::{Chain, Chains};
use crate::pipeline::hashed::AccountHash;
use crate::pipeline::protections::Protections;

pub(super) use amend::{Completed, referral_changes, target_of_original};

/// How one event was rated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rated {
    /// The tier of its model.
    pub tier: Tier,
    /// What it is worth.
    pub amounts: Amounts,
    /// Where it is booked.
    pub slot: Slot,
    /// What a trial is worth, if it is the user's first success with the service in this chunk.
    pub trial: Option<Points>,
}

/// Who referred an account, nearest first, and the points that each gets.
type ReferralPoints<'a> = [(Option<AccountRef<'a>>, Points); LEVELS];

/// Who referred the accounts of an event, and what each gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Referrals<'a> {
    pub(super) user: ReferralPoints<'a>,
    pub(super) provider: ReferralPoints<'a>,
}

/// What a chunk adds to one account, in the making. Nearly every list has one element, which takes
/// no allocation.
struct Gathered {
    cells: SmallVec<[(Slot, Service, Cell); 1]>,
    charges: SmallVec<[(Month, Charge); 1]>,
    firsts: SmallVec<[FirstSuccess; 1]>,
    /// Numbers of the accounts up its chain, nearest first, and [`NOBODY`] behind them.
    referrers: [u32; LEVELS],
    /// Which of [`Room::referrals`] is its own, or [`NOBODY`].
    referral: u32,
    firsts_seen: u64,
    /// What reversals take back from it. Nearly no account has any.
    taken: Option<Box<Deducted>>,
}

/// What reversals take back from one account.
#[derive(Default)]
struct Deducted {
    deductions: Deductions,
    /// How many successes the chunk has brought so far, less those that it took back.
    net: i64,
}

impl Deducted {
    fn succeed(&mut self, successes: u64) {
        self.net = self.net.saturating_add_unsigned(successes);
        let peak = u64::try_from(self.net).unwrap_or(0);
        self.deductions.peak = self.deductions.peak.max(peak);
    }

    fn take(&mut self, slot: Slot, service: Service, deduction: &Deduction) {
        let by_service = &mut self.deductions.by_service;
        match by_service.binary_search_by_key(&(slot, service), |(s, of, _)| (*s, *of)) {
            Ok(place) => by_service[place].2.add(deduction),
            Err(place) => by_service.insert(place, (slot, service, *deduction)),
        }
        self.net = self.net.saturating_sub_unsigned(deduction.reversed);
    }
}

/// No account, and no list: chunks hold far fewer.
const NOBODY: u32 = u32::MAX;

/// What the referees of one account brought, by slot.
type Referral = SmallVec<[(Slot, Cascade); 1]>;

/// The accounts that one event names, by their numbers.
#[derive(Clone, Copy, Debug)]
pub struct Party {
    user: u32,
    provider: Option<u32>,
}

/// The fold of one chunk. Piece by piece: [`Fold::meet`] its events, [`Fold::link`] their accounts,
/// [`Fold::add`] each.
pub struct Fold {
    timeline: Arc<Timeline>,
    control: Control,
    room: Room,
    /// Accounts whose chains are not known yet.
    unlinked: Vec<(AccountHash, u32)>,
    day: Option<(Day, Month)>,
    /// What went to referrers, for telling; it wraps rather than fail.
    referred: i64,
    protections: Protections,
}

/// What a fold gathers in. It goes from one fold to the next: memory that is given back and asked
/// for again must be cleared by the system each time, which takes longer than filling it.
#[derive(Default)]
pub struct Room {
    accounts: Accounts,
    /// Whether an event has named it, by number of the account: one that only refers others needs
    /// no chain.
    named: Vec<bool>,
    /// By number of the account.
    gathered: Vec<Gathered>,
    /// Few accounts refer others: what that brings them stands apart.
    referrals: Vec<Referral>,
}

impl Fold {
    /// A fold under the rules and links as of `control`, in the room of the one before.
    pub fn new(timeline: Arc<Timeline>, control: Control, mut room: Room) -> Fold {
        room.accounts.clear();
        room.named.clear();
        room.gathered.clear();
        room.referrals.clear();
        Fold {
            timeline,
            control,
            room,
            unlinked: Vec::new(),
            day: None,
            referred: 0,
            protections: Protections::default(),
        }
    }

    /// The same with these protections.
    pub fn with(self, protections: Protections) -> Fold {
        Fold {
            protections,
            ..self
        }
    }

    /// The rules as of the chunk's control position.
    pub fn timeline(&self) -> Arc<Timeline> {
        Arc::clone(&self.timeline)
    }

    /// What has gone to referrers so far.
    pub fn referred(&self) -> Points {
        Points(self.referred)
    }

    /// Takes up the accounts of events that are to be added; those of each event, in order.
    pub fn meet(&mut self, candidates: &[Candidate<'_>]) -> Vec<Party> {
        // All hashes first: the looks into the table then stand close together, and the processor
        // waits for several at once.
        type Hashes = (AccountHash, Option<AccountHash>);
        let hash = |candidate: &Candidate<'_>| {
            let provider = candidate.provider();
            (
                AccountHash::of(candidate.user()),
                provider.map(AccountHash::of),
            )
        };
        let hashes: Vec<Hashes> = candidates.iter().map(hash).collect();
        let party = |(candidate, (user, provider)): (&Candidate<'_>, Hashes)| Party {
            user: self.name(user, candidate.user()),
            provider: provider
                .zip(candidate.provider())
                .map(|(hash, provider)| self.name(hash, provider)),
        };
        candidates.iter().zip(hashes).map(party).collect()
    }

    fn name(&mut self, hash: AccountHash, account: AccountRef<'_>) -> u32 {
        let number = self.room.number(hash, account);
        let named = &mut self.room.named[number as usize];
        if !*named {
            *named = true;
            self.unlinked.push((hash, number));
        }
        number
    }

    /// Looks up the chains of the accounts that were met; afterwards [`Fold::unlinked`] are those
    /// of which nothing is known.
    pub fn link(&mut self, chains: &Chains) {
        // First all looks into the large table of chains, one after the other, then what follows
        // from them.
        let mut linked = Vec::new();
        let (accounts, control) = (&self.room.accounts, self.control);
        self.unlinked.retain(|(hash, number)| {
            let chain = chains.of(*hash, accounts.get(*number), control);
            linked.extend(chain.flatten().map(|chain| (*number, chain)));
            chain.is_none()
        });
        for (number, chain) in linked {
            self.refer(number, chain);
        }
    }

    fn refer(&mut self, number: u32, chain: &Chain) {
        let mut referrers = [NOBODY; LEVELS];
        for (place, referrer) in referrers.iter_mut().zip(chain.accounts.iter()) {
            let referrer = AccountRef::from(referrer);
            *place = self.room.number(AccountHash::of(referrer), referrer);
        }
        self.room.gathered[number as usize].referrers = referrers;
    }

    /// Whether the chains of all accounts that were met are known.
    pub fn is_linked(&self) -> bool {
        self.unlinked.is_empty()
    }

    /// The accounts whose chains must be learnt, each once.
    pub fn unlinked(&self) -> Vec<Account> {
        let account =
            |(_, number): &(AccountHash, u32)| self.room.accounts.get(*number).to_account();
        self.unlinked.iter().map(account).collect()
    }

    /// Rates one accepted event and adds it. `party` are its accounts, met and linked.
    pub fn add(&mut self, candidate: &Candidate<'_>, party: Party, tiers: &mut Tiers) -> Rated {
        assert!(self.is_linked(), "every account must be linked");
        let event = &candidate.event;
        let service = candidate.service;
        let rules: &Arc<Rules> = self.timeline.at(event.time);
        let model = detect(event, service, rules, tiers);
        let amounts = rate(event, service, &model, rules);
        let amounts = self.protections.amounts(amounts);
        let cell = Cell::of_event(event.status, event.latency_ms, amounts.target_ms);
        let cascade = rules.cascade();
        let slot = self.slot(event.time, candidate.log_time);
        if let Some(provider) = party.provider {
            self.credit(provider, slot, service, &cell, amounts.provider, cascade);
        }
        self.credit(party.user, slot, service, &cell, amounts.user, cascade);
        let user = &mut self.room.gathered[party.user as usize];
        user.charge(slot.month(), &amounts.charge);
        let mut trial = None;
        if cell.successful > 0 && user.is_first(service) {
            let points = self.timeline.at(event.time.day().start()).trial();
            user.firsts.push(FirstSuccess {
                service,
                slot,
                points,
            });
            trial = Some(points);
        }
        Rated {
            tier: model.tier,
            amounts,
            slot,
            trial,
        }
    }

    /// What those who referred its accounts get of an event that was added.
    pub(super) fn referrals(&self, time: Millis, party: Party, rated: &Rated) -> Referrals<'_> {
        let cascade = self.timeline.at(time).cascade();
        let of = |number: Option<u32>, points: Points| {
            let referrers = number.map_or([NOBODY; LEVELS], |number| {
                self.room.gathered[number as usize].referrers
            });
            let mut referrals = [(None, Points::ZERO); LEVELS];
            for (level, referrer) in referrers.into_iter().enumerate() {
                if referrer == NOBODY {
                    break;
                }
                let account = self.room.accounts.get(referrer);
                referrals[level] = (Some(account), points.times(cascade[level]));
            }
            referrals
        };
        Referrals {
            user: of(Some(party.user), rated.amounts.user),
            provider: of(party.provider, rated.amounts.provider),
        }
    }

    /// Ends the fold: the entries of each of `partitions` posting partitions.
    pub fn postings(self, partitions: u32) -> Postings {
        let mut room = self.room;
        let mut order = vec![Vec::new(); partitions as usize];
        for referral in &mut room.referrals {
            referral.sort_unstable_by_key(|(slot, _)| *slot);
        }
        for (number, gathered) in (0..).zip(&mut room.gathered) {
            if !gathered.is_empty() {
                gathered.sort();
                let AccountRef { kind, id } = room.accounts.get(number);
                let q = account_partition(kind, id, partitions);
                order[q.0 as usize].push((kind, beginning(id), number));
            }
        }
        for order in &mut order {
            sort(order, &room.accounts);
        }
        Postings { room, order }
    }

    fn slot(&mut self, time: Millis, log_time: Millis) -> Slot {
        let day = time.day();
        let month = match self.day {
            Some((known, month)) if known == day => month,
            _ => day.month(),
        };
        self.day = Some((day, month));
        Slot::of(day, month, log_time)
    }

    fn credit(
        &mut self,
        number: u32,
        slot: Slot,
        service: Service,
        cell: &Cell,
        points: Points,
        cascade: [Bp; LEVELS],
    ) {
        let gathered = &mut self.room.gathered[number as usize];
        gathered.add(slot, service, &Cell { points, ..*cell });
        let referrers = gathered.referrers;
        for (level, referrer) in referrers.into_iter().enumerate() {
            if referrer == NOBODY {
                break;
            }
            let points = points.times(cascade[level]);
            if points != Points::ZERO {
                self.referred = self.referred.wrapping_add(points.0);
                let brought = Cascade::at(level, points);
                self.room.refer(referrer, slot, &brought);
            }
        }
    }
}

impl Room {
    fn number(&mut self, hash: AccountHash, account: AccountRef<'_>) -> u32 {
        let number = self.accounts.number_of(hash, account);
        if self.gathered.len() < self.accounts.len() {
            self.named.push(false);
            self.gathered.push(Gathered::default());
        }
        number
    }

    fn refer(&mut self, number: u32, slot: Slot, brought: &Cascade) {
        let place = &mut self.gathered[number as usize].referral;
        if *place == NOBODY {
            *place = u32::try_from(self.referrals.len())
                .expect("a chunk holds far fewer than 2^32 records");
            self.referrals.push(Referral::new());
        }
        let referral = &mut self.referrals[*place as usize];
        let new = || (slot, Cascade::default());
        let (_, sum) = find_or_add(referral, |(of, _)| *of == slot, new);
        sum.add(brought);
    }

    fn entry(&self, number: u32) -> EntryRef<'_> {
        let gathered = &self.gathered[number as usize];
        let referral = self.referrals.get(gathered.referral as usize);
        EntryRef {
            account: self.accounts.get(number),
            cells: &gathered.cells,
            referral: referral.map_or(&[], |referral| referral),
            charges: &gathered.charges,
            firsts: &gathered.firsts,
            deductions: gathered.deductions(),
        }
    }
}

/// What a chunk adds to the accounts of each posting partition.
pub struct Postings {
    room: Room,
    /// The accounts of each partition, in order.
    order: Vec<Vec<Ordered>>,
}

impl Postings {
    /// The entries of a posting partition, by account.
    pub fn entries(&self, partition: Partition) -> impl ExactSizeIterator<Item = EntryRef<'_>> {
        let order = self.order[partition.0 as usize].iter();
        order.map(|(_, _, number)| self.room.entry(*number))
    }

    /// Whether nothing is added to any account.
    pub(super) fn is_empty(&self) -> bool {
        self.order.iter().all(Vec::is_empty)
    }

    /// The room, for the next fold.
    pub fn into_room(self) -> Room {
        self.room
    }
}

impl Default for Gathered {
    fn default() -> Gathered {
        Gathered {
            cells: SmallVec::new(),
            charges: SmallVec::new(),
            firsts: SmallVec::new(),
            referrers: [NOBODY; LEVELS],
            referral: NOBODY,
            firsts_seen: 0,
            taken: None,
        }
    }
}

impl Gathered {
    /// A referrer that was only looked up: everything it could have got was rounded down to
    /// nothing.
    fn is_empty(&self) -> bool {
        self.cells.is_empty()
            && self.charges.is_empty()
            && self.referral == NOBODY
            && self.taken.is_none()
    }

    fn deductions(&self) -> &Deductions {
        let taken = self.taken.as_ref();
        taken.map_or(Deductions::NONE, |taken| &taken.deductions)
    }

    fn take_back(&mut self, slot: Slot, service: Service, deduction: &Deduction) {
        let successes = self.cells.iter().map(|(_, _, cell)| cell.successful).sum();
        let taken = self.taken.get_or_insert_with(|| {
            let mut taken = Box::<Deducted>::default();
            taken.succeed(successes);
            taken
        });
        taken.take(slot, service, deduction);
    }

    #[inline]
    fn add(&mut self, slot: Slot, service: Service, cell: &Cell) {
        self.cell(slot, service).add(cell);
        if let Some(taken) = &mut self.taken {
            taken.succeed(cell.successful);
        }
    }

    fn cell(&mut self, slot: Slot, service: Service) -> &mut Cell {
        let is_it = |(s, of, _): &(Slot, Service, Cell)| *s == slot && *of == service;
        let new = || (slot, service, Cell::default());
        &mut find_or_add(&mut self.cells, is_it, new).2
    }

    fn charge(&mut self, month: Month, charge: &Charge) {
        if *charge == Charge::default() {
            return;
        }
        let new = || (month, Charge::default());
        let (_, sum) = find_or_add(&mut self.charges, |(of, _)| *of == month, new);
        sum.add(charge);
    }

    /// Whether this is asked for the first time of a service.
    fn is_first(&mut self, service: Service) -> bool {
        let bit = service.bit();
        let first = self.firsts_seen & bit == 0;
        self.firsts_seen |= bit;
        first
    }

    /// Brings every list into the order of its key.
    fn sort(&mut self) {
        self.cells
            .sort_unstable_by_key(|(slot, service, _)| (*slot, *service));
        self.charges.sort_unstable_by_key(|(month, _)| *month);
        self.firsts.sort_unstable_by_key(|first| first.service);
    }
}

/// The newest element that is the wanted one; a new one if none is.
fn find_or_add<T>(
    list: &mut SmallVec<[T; 1]>,
    is_it: impl Fn(&T) -> bool,
    new: impl FnOnce() -> T,
) -> &mut T {
    let index = list.iter().rposition(is_it).unwrap_or_else(|| {
        list.push(new());
        list.len() - 1
    });
    &mut list[index]
}

/// Kind, beginning of the id, and number of an account: small to sort, and most comparisons are
/// decided without a look at the id.
type Ordered = (AccountKind, u128, u32);

fn sort(order: &mut [Ordered], accounts: &Accounts) {
    let id = |number: u32| accounts.get(number).id;
    order.sort_unstable_by(|a, b| {
        (a.0, a.1)
            .cmp(&(b.0, b.1))
            .then_with(|| id(a.2).cmp(id(b.2)))
    });
}

/// The first 16 bytes of an id, as a number that orders as they do. Ids hold no NUL, so a shorter
/// one orders before its continuations.
fn beginning(id: &str) -> u128 {
    let mut bytes = [0; 16];
    let taken = id.len().min(bytes.len());
    bytes[..taken].copy_from_slice(&id.as_bytes()[..taken]);
    u128::from_be_bytes(bytes)
}

/// What is known of the model of an event, as far as it decides an amount.
#[inline]
fn detect(event: &UsageEvent<'_>, service: Service, rules: &Rules, tiers: &mut Tiers) -> Detection {
    match (service, &event.model) {
        (Service::CHAT_COMPLETIONS, Some(model)) => tiers.of_chat(model, rules),
        (service, Some(model)) if rules.depends_on_tier(service) => tiers.of_chat(model, rules),
        (service, Some(model)) if rules.depends_on_model_prices(service) => tiers.of(model, rules),
        _ => Detection::of_tier(Tier::TidePool),
    }
}
