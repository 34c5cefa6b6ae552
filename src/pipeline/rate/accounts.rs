//! Whom a chunk is about: its accounts, each once, with numbers to find them by.

use std::ops::Range;

use hashbrown::HashTable;

use crate::domain::ids::{AccountKind, AccountRef};
use crate::pipeline::hashed::AccountHash;

/// Accounts, each once, numbered 0, 1, 2, … as they came. What is looked at for every event stands
/// close together, so that it seldom misses the processor's caches: an account is hashed once, and
/// its id compared only where hashes are equal.
#[derive(Debug, Default)]
pub struct Accounts {
    table: HashTable<Numbered>,
    by_number: Vec<Text>,
    /// All ids, one after the other.
    ids: String,
}

#[derive(Clone, Copy, Debug)]
struct Numbered {
    hash: AccountHash,
    number: u32,
    text: Text,
}

/// The kind, and where the id stands.
#[derive(Clone, Copy, Debug)]
struct Text {
    kind: AccountKind,
    /// Ids are short.
    len: u16,
    start: u32,
}

impl Text {
    fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + usize::from(self.len)
    }
}

impl Accounts {
    /// The number of an account, whose hash this is; the next one if it is new.
    pub fn number_of(&mut self, hash: AccountHash, account: AccountRef<'_>) -> u32 {
        let ids = self.ids.as_bytes();
        let is_it = |of: &Numbered| {
            of.hash == hash
                && of.text.kind == account.kind
                && ids[of.text.range()] == *account.id.as_bytes()
        };
        if let Some(found) = self.table.find(hash.get(), is_it) {
            return found.number;
        }
        let number = u32::try_from(self.len()).expect("a chunk holds far fewer than 2^32 records");
        let text = Text {
            kind: account.kind,
            len: u16::try_from(account.id.len()).expect("an id has at most 512 bytes"),
            start: u32::try_from(self.ids.len()).expect("a chunk's ids fill far less than 4 GiB"),
        };
        let new = Numbered { hash, number, text };
        self.table
            .insert_unique(hash.get(), new, |of| of.hash.get());
        self.ids.push_str(account.id);
        self.by_number.push(text);
        number
    }

    /// The account of a number.
    pub fn get(&self, number: u32) -> AccountRef<'_> {
        let text = self.by_number[number as usize];
        AccountRef {
            kind: text.kind,
            id: &self.ids[text.range()],
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_number.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// Forgets all, and keeps the room that they took.
    pub fn clear(&mut self) {
        self.table.clear();
        self.by_number.clear();
        self.ids.clear();
    }
}
