//! The accounts in memory.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Cached;
use crate::domain::ids::{Account, AccountRef};

/// Accounts stand in pages of so many: a cache that grows never moves what it holds.
const PAGE: usize = 512;

/// Accounts in memory, each with a number that it keeps while it is here. Everything that is kept
/// about accounts elsewhere (who is changed, to whom effects are owed) are such numbers: small to
/// keep, to sort, and to find the account by.
#[derive(Default)]
pub(super) struct AccountCache {
    hasher: DefaultHashBuilder,
    numbers: HashTable<Numbered>,
    pages: Vec<Box<[Option<Cached>]>>,
    /// Numbers below `used` that nobody has.
    free: Vec<u32>,
    used: u32,
}

#[derive(Clone, Copy)]
struct Numbered {
    hash: u64,
    number: u32,
}

impl AccountCache {
    /// How many accounts there are.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The hash of an account, for [`AccountCache::find`].
    pub(super) fn hash(&self, account: AccountRef<'_>) -> u64 {
        self.hasher.hash_one(account)
    }

    /// The number of an account of this hash, if it is here.
    pub(super) fn find(&self, hash: u64, account: AccountRef<'_>) -> Option<u32> {
        let is_it = |numbered: &Numbered| {
            numbered.hash == hash
                && self
                    .get(numbered.number)
                    .is_some_and(|cached| AccountRef::from(&cached.account) == account)
        };
        let found = self.numbers.find(hash, is_it)?;
        Some(found.number)
    }

    /// The number of an account, if it is here.
    pub(super) fn number_of(&self, account: &Account) -> Option<u32> {
        let account = AccountRef::from(account);
        self.find(self.hash(account), account)
    }

    /// The account of a number. `None` if it has gone.
    pub(super) fn get(&self, number: u32) -> Option<&Cached> {
        let (page, place) = place(number);
        self.pages.get(page)?[place].as_ref()
    }

    /// The account of a number, to be changed. `None` if it has gone.
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Cached> {
        let (page, place) = place(number);
        self.pages.get_mut(page)?[place].as_mut()
    }

    /// Takes up an account that is not here; its number.
    pub(super) fn insert(&mut self, cached: Cached) -> u32 {
        let hash = self.hash(AccountRef::from(&cached.account));
        let number = self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        });
        let (page, place) = place(number);
        if page == self.pages.len() {
            self.pages.push((0..PAGE).map(|_| None).collect());
        }
        self.pages[page][place] = Some(cached);
        let numbered = Numbered { hash, number };
        self.numbers.insert_unique(hash, numbered, |of| of.hash);
        number
    }

    /// Forgets an account. Its number may become another's.
    pub(super) fn remove(&mut self, number: u32) {
        let (page, place) = place(number);
        let Some(cached) = self.pages[page][place].take() else {
            return;
        };
        let hash = self.hash(AccountRef::from(&cached.account));
        let is_it = |of: &Numbered| of.number == number;
        if let Ok(found) = self.numbers.find_entry(hash, is_it) {
            found.remove();
        }
        self.free.push(number);
    }

    /// All numbers with their accounts, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Cached)> {
        let places = self.pages.iter().flat_map(|page| page.iter());
        (0..)
            .zip(places)
            .filter_map(|(number, cached)| Some((number, cached.as_ref()?)))
    }
}

fn place(number: u32) -> (usize, usize) {
    (number as usize / PAGE, number as usize % PAGE)
}
