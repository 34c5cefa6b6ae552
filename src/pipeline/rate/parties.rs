//! Whom a chunk is about: its accounts, each once, with numbers to find them by.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::examine::Candidate;
use crate::domain::ids::{AccountKind, AccountRef};

/// Accounts, each once, numbered 0, 1, 2, … as they came. An account is hashed once, and compared only with one of equal hash.
#[derive(Debug, Default)]
pub struct Accounts<'a> {
    hasher: DefaultHashBuilder,
    numbers: HashTable<Numbered>,
    accounts: Vec<AccountRef<'a>>,
}

#[derive(Clone, Copy, Debug)]
struct Numbered {
    hash: u64,
    number: u32,
}

impl<'a> Accounts<'a> {
    /// The number of an account; the next one if it is new.
    pub fn number(&mut self, account: AccountRef<'a>) -> u32 {
        let hash = self.hasher.hash_one(account);
        let accounts = &self.accounts;
        let is_it = |of: &Numbered| of.hash == hash && accounts[of.number as usize] == account;
        if let Some(found) = self.numbers.find(hash, is_it) {
            return found.number;
        }
        let number =
            u32::try_from(accounts.len()).expect("a chunk holds far fewer than 2^32 records");
        self.numbers
            .insert_unique(hash, Numbered { hash, number }, |of| of.hash);
        self.accounts.push(account);
        number
    }

    /// The accounts, by number.
    pub fn as_slice(&self) -> &[AccountRef<'a>] {
        &self.accounts
    }
}

/// The accounts that one event names.
#[derive(Clone, Copy, Debug)]
pub struct Party {
    /// The user's number.
    pub user: u32,
    /// The provider's.
    pub provider: Option<u32>,
}

/// The accounts that the events of a chunk name.
#[derive(Debug)]
pub struct Parties<'a> {
    /// Each once.
    pub accounts: Accounts<'a>,
    /// Those of each candidate, in order.
    pub of_events: Vec<Party>,
}

impl<'a> Parties<'a> {
    /// The accounts of these candidates.
    pub fn of(candidates: &'a [Candidate<'_>]) -> Parties<'a> {
        let mut accounts = Accounts::default();
        let mut number = |kind, id| accounts.number(AccountRef { kind, id });
        let party = |candidate: &'a Candidate<'_>| Party {
            user: number(AccountKind::User, &candidate.event.user),
            provider: candidate
                .event
                .provider
                .as_deref()
                .map(|id| number(AccountKind::Provider, id)),
        };
        let of_events = candidates.iter().map(party).collect();
        Parties {
            accounts,
            of_events,
        }
    }
}
