//! What each account gains and loses, within a bound of memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_64;

use super::rerate::Worth;
use crate::archive::{ArchivedRequest, RequestKind};
use crate::domain::amount::{Money, Points};
use crate::domain::ids::{AccountKind, AccountRef};

/// Maps that threads fill at the same time.
const SHARDS: usize = 64;
/// What the allocator keeps beside a small text.
const ALLOCATION_BYTES: usize = 16;

/// Before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair<T> {
    /// As it was posted.
    pub before: T,
    /// Under the other rules.
    pub after: T,
}

impl Pair<Points> {
    pub(super) fn add(&mut self, before: Points, after: Points) {
        self.before = self.before.plus(before);
        self.after = self.after.plus(after);
    }
}

impl Pair<Money> {
    pub(super) fn add(&mut self, before: Money, after: Money) {
        self.before = self.before.plus(before);
        self.after = self.after.plus(after);
    }
}

/// What an account has under either rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountChange {
    /// Its requests; completions and reversals are not counted.
    pub requests: u64,
    /// Points from its own requests.
    pub earned: Pair<Points>,
    /// Points from referrals.
    pub referral: Pair<Points>,
    /// What it is charged.
    pub cost: Pair<Money>,
    /// What mainnet would charge.
    pub shadow_cost: Pair<Money>,
}

impl AccountChange {
    /// All its points.
    pub fn points(&self) -> Pair<Points> {
        Pair {
            before: self.earned.before.plus(self.referral.before),
            after: self.earned.after.plus(self.referral.after),
        }
    }

    fn join(&mut self, other: &AccountChange) {
        self.requests += other.requests;
        self.earned.add(other.earned.before, other.earned.after);
        self.referral
            .add(other.referral.before, other.referral.after);
        self.cost.add(other.cost.before, other.cost.after);
        let shadow = other.shadow_cost;
        self.shadow_cost.add(shadow.before, shadow.after);
    }
}

/// The part of the accounts that one pass looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) number: u64,
    pub(super) of: u64,
}

impl Part {
    fn holds(self, hash: u64) -> bool {
        // The lowest bits choose the shard.
        self.of == 1 || (hash >> 32) % self.of == self.number
    }
}

type Shard = [HashMap<Box<str>, AccountChange>; 2];

/// The accounts of a part, which threads fill together.
pub(super) struct Tally {
    part: Part,
    bytes_max: usize,
    bytes: AtomicUsize,
    shards: Vec<Mutex<Shard>>,
}

impl Tally {
    pub(super) fn new(part: Part, bytes_max: usize) -> Tally {
        Tally {
            part,
            bytes_max,
            bytes: AtomicUsize::new(0),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Whether it holds more than it may. Then it is worth nothing.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.bytes_max
    }

    /// Adds what a batch of rows has brought together.
    pub(super) fn join(&self, gathered: &Gathered<'_>) {
        for ((kind, id), change) in &gathered.0 {
            let hash = xxh3_64(id.as_bytes()) ^ (*kind as u64);
            if !self.part.holds(hash) {
                continue;
            }
            let shard = &self.shards[hash as usize % SHARDS];
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let accounts = &mut shard[*kind as usize];
            if let Some(known) = accounts.get_mut(*id) {
                known.join(change);
                continue;
            }
            let before = accounts.capacity();
            accounts.insert((*id).into(), *change);
            let grown = accounts.capacity() - before;
            // The allocation of a table has a power of two of places, of which 7 in 8 are its
            // capacity.
            let table = grown * (size_of::<(Box<str>, AccountChange)>() + 1) * 8 / 7;
            let bytes = table + id.len() + ALLOCATION_BYTES;
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Every account of it, in order.
    pub(super) fn into_accounts(self) -> Vec<(AccountKind, Box<str>, AccountChange)> {
        let mut all = Vec::new();
        for shard in self.shards {
            let shard = shard.into_inner().unwrap_or_else(PoisonError::into_inner);
            for (kind, accounts) in AccountKind::ALL.into_iter().zip(shard) {
                all.extend(accounts.into_iter().map(|(id, change)| (kind, id, change)));
            }
        }
        all.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        all
    }
}

/// What a batch of rows brings to each account, before it goes to the tally.
#[derive(Default)]
pub(super) struct Gathered<'b>(HashMap<(AccountKind, &'b str), AccountChange>);

impl<'b> Gathered<'b> {
    /// Adds a row.
    pub(super) fn add(&mut self, row: &ArchivedRequest<'b>, before: &Worth, after: &Worth) {
        let counted = u64::from(row.kind == RequestKind::Event);
        let user = self.of(AccountRef::user(row.user));
        user.requests += counted;
        user.earned.add(before.user, after.user);
        user.cost.add(before.charge.cost, after.charge.cost);
        user.shadow_cost
            .add(before.charge.shadow, after.charge.shadow);
        if let Some(provider) = row.provider {
            let provider = self.of(AccountRef::provider(provider));
            provider.requests += counted;
            provider.earned.add(before.provider, after.provider);
        }
        for (referrers, before, after) in [
            (
                row.user_referrals(),
                before.user_referrals,
                after.user_referrals,
            ),
            (
                row.provider_referrals(),
                before.provider_referrals,
                after.provider_referrals,
            ),
        ] {
            for (level, (referrer, _)) in referrers.into_iter().enumerate() {
                let Some(referrer) = referrer else { break };
                let change = self.of(referrer);
                change.referral.add(before[level], after[level]);
            }
        }
    }

    fn of(&mut self, account: AccountRef<'b>) -> &mut AccountChange {
        self.0.entry((account.kind, account.id)).or_default()
    }
}
