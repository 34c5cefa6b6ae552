//! Whom a chunk is about: its accounts, each once, with numbers to find them by.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::domain::ids::{AccountKind, AccountRef};

/// Accounts, each once, numbered 0, 1, 2, … as they came. An account is hashed once, and compared only with one of equal hash; ids
/// stand close together, so that looking at them again seldom misses the processor's caches.
#[derive(Debug, Default)]
pub struct Accounts {
    hasher: DefaultHashBuilder,
    numbers: HashTable<Numbered>,
    kinds_and_ends: Vec<(AccountKind, usize)>,
    /// All ids, one after the other.
    ids: String,
}

#[derive(Clone, Copy, Debug)]
struct Numbered {
    hash: u64,
    number: u32,
}

impl Accounts {
    /// The number of an account; the next one if it is new.
    pub fn number(&mut self, account: AccountRef<'_>) -> u32 {
        let hash = self.hasher.hash_one(account);
        let is_it = |of: &Numbered| of.hash == hash && self.get(of.number) == account;
        if let Some(found) = self.numbers.find(hash, is_it) {
            return found.number;
        }
        let number = u32::try_from(self.len()).expect("a chunk holds far fewer than 2^32 records");
        self.numbers
            .insert_unique(hash, Numbered { hash, number }, |of| of.hash);
        self.ids.push_str(account.id);
        self.kinds_and_ends.push((account.kind, self.ids.len()));
        number
    }

    /// The account of a number.
    pub fn get(&self, number: u32) -> AccountRef<'_> {
        let number = number as usize;
        let (kind, end) = self.kinds_and_ends[number];
        let start = match number.checked_sub(1) {
            Some(before) => self.kinds_and_ends[before].1,
            None => 0,
        };
        AccountRef {
            kind,
            id: &self.ids[start..end],
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.kinds_and_ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kinds_and_ends.is_empty()
    }

    /// Forgets all, and keeps the room that they took.
    pub fn clear(&mut self) {
        self.numbers.clear();
        self.kinds_and_ends.clear();
        self.ids.clear();
    }
}
