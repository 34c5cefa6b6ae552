//! Hashes of accounts, for the tables of this process.

use std::hash::BuildHasher;
use std::sync::LazyLock;

use hashbrown::DefaultHashBuilder;

use crate::domain::ids::AccountRef;

/// One for all tables: what a chunk has hashed for its own table, it need not hash again for the
/// next. Random in each process, since ids come from outside; nothing that is written depends on
/// it.
static HASHER: LazyLock<DefaultHashBuilder> = LazyLock::new(DefaultHashBuilder::default);

/// The hash of an account in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountHash(u64);

impl AccountHash {
    /// Of an account.
    pub fn of(account: AccountRef<'_>) -> AccountHash {
        // A user and a provider of one id are rare enough to share a place; bits that tables do not
        // use tell them apart.
        AccountHash(HASHER.hash_one(account.id) ^ (account.kind as u64) << 40)
    }

    /// As a table wants it.
    pub const fn get(self) -> u64 {
        self.0
    }
}
