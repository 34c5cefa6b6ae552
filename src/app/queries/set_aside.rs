//! Accounts that are set aside.

use super::{Queries, QueryError};
use crate::domain::ids::Account;
use crate::store::set_aside;

pub use crate::store::set_aside::{ReleaseRefusal, SetAside, UnreadableRecord};

/// The accounts that are set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountsAside {
    /// Their records.
    pub records: Vec<SetAside>,
    /// Records that cannot be decoded: their accounts are set aside as well, and their posting
    /// partition halts when it is loaded.
    pub unreadable: Vec<UnreadableRecord>,
}

impl AccountsAside {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.records.len() + self.unreadable.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is one of them.
    pub fn has(&self, account: &Account) -> bool {
        let readable = self.records.iter().map(|record| &record.account);
        let unreadable = self.unreadable.iter();
        let mut all = readable.chain(unreadable.filter_map(|record| record.account.as_ref()));
        all.any(|aside| aside == account)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let readable = self.records.iter();
        let unreadable = self.unreadable.iter().map(UnreadableRecord::name);
        readable
            .map(|record| record.account.to_string())
            .chain(unreadable)
    }
}

impl Queries {
    /// Every account that is set aside.
    pub async fn set_aside(&self) -> Result<AccountsAside, QueryError> {
        let (records, unreadable) = set_aside::readable(self.db()).await?;
        let records = records.into_iter().map(|stored| stored.value).collect();
        Ok(AccountsAside {
            records,
            unreadable,
        })
    }
}
