//! The few DynamoDB operations that tidemark uses, as a trait: absolute writes under conditions,
//! strongly consistent reads.
//!
//! Two things implement it: the client of DynamoDB and of the embedded engine (`dynamo.rs`), and the
//! simulator's store (tests).

use std::borrow::Cow;

use async_trait::async_trait;
use bytes::Bytes;

use crate::domain::sorted::SortedMap;
use crate::ops::clock::Clock;

/// Most items in one `TransactWriteItems`.
pub const TRANSACTION_ITEMS_MAX: usize = 100;
/// Most bytes of one `TransactWriteItems`, all items together.
pub const TRANSACTION_BYTES_MAX: usize = 4_000_000;
/// Most bytes of one item, names of attributes included.
pub const ITEM_BYTES_MAX: usize = 400 << 10;
/// Most items in one `BatchWriteItem`.
pub const BATCH_WRITE_ITEMS_MAX: usize = 25;
/// Most keys in one `BatchGetItem`.
pub const BATCH_GET_KEYS_MAX: usize = 100;

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Every version of every price and rule set.
    PricingConfig,
    /// Credits added.
    UserCredits,
    /// A provider's months.
    ProviderRewards,
    /// A user's months.
    UserPoints,
    /// Referral codes.
    ReferralCodes,
    /// Referral links.
    ReferralRelationships,
    /// Streak snapshots.
    StreakTracking,
    /// One row per request.
    UsageTracking,
    /// Machinery: cuts, sequences, fences, control feed, awards, top-K lists, halts.
    Checkpoints,
}

impl Table {
    /// All of them.
    pub const ALL: [Table; 9] = [
        Table::PricingConfig,
        Table::UserCredits,
        Table::ProviderRewards,
        Table::UserPoints,
        Table::ReferralCodes,
        Table::ReferralRelationships,
        Table::StreakTracking,
        Table::UsageTracking,
        Table::Checkpoints,
    ];

    /// The name without prefix.
    pub const fn name(self) -> &'static str {
        match self {
            Table::PricingConfig => "PricingConfig",
            Table::UserCredits => "UserCredits",
            Table::ProviderRewards => "ProviderRewards",
            Table::UserPoints => "UserPoints",
            Table::ReferralCodes => "ReferralCodes",
            Table::ReferralRelationships => "ReferralRelationships",
            Table::StreakTracking => "StreakTracking",
            Table::UsageTracking => "UsageTracking",
            Table::Checkpoints => "Checkpoints",
        }
    }

    /// Partition key and sort key attributes (both are strings).
    pub const fn keys(self) -> (&'static str, Option<&'static str>) {
        match self {
            Table::PricingConfig => ("configKey", Some("version")),
            Table::UserCredits => ("userId", Some("entry")),
            Table::ProviderRewards => ("providerId", Some("month")),
            Table::UserPoints => ("userId", Some("month")),
            Table::ReferralCodes => ("referralCode", None),
            Table::ReferralRelationships => ("refereeId", Some("userType")),
            Table::StreakTracking => ("userId", Some("userType")),
            Table::UsageTracking => ("userDay", Some("timeHash")),
            Table::Checkpoints => ("partition", Some("item")),
        }
    }

    /// The global secondary index, if it has one: its name and key attribute (a string); it
    /// projects everything.
    pub const fn index(self) -> Option<(&'static str, &'static str)> {
        match self {
            Table::ReferralCodes => Some(("owner-index", "owner")),
            Table::ReferralRelationships => Some(("referrer-index", "referrer")),
            _ => None,
        }
    }

    /// The attribute that holds the time to live (a number: seconds since 1970).
    pub const fn ttl(self) -> Option<&'static str> {
        match self {
            Table::UsageTracking => Some("expiresAt"),
            _ => None,
        }
    }
}

/// An attribute's value. Integers only: a float never touches money or points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attr {
    /// Text.
    S(String),
    /// An integer.
    N(i128),
    /// Bytes.
    B(Bytes),
}

/// An attribute's name: nearly always one that stands in the code, which takes no allocation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Cow<'static, str>);

impl Name {
    /// The name as a text of its own.
    pub fn into_string(self) -> String {
        self.0.into_owned()
    }
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Name {
    fn from(name: &'static str) -> Name {
        Name(Cow::Borrowed(name))
    }
}

impl From<String> for Name {
    fn from(name: String) -> Name {
        Name(Cow::Owned(name))
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&**self, f)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self)
    }
}

/// An item, with its keys among its attributes, by name.
pub type Item = SortedMap<Name, Attr>;

/// What most items have room for.
const ATTRIBUTES_USUAL: usize = 10;

/// The key of an item. `range` is empty where the table has none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The table.
    pub table: Table,
    /// Partition key.
    pub hash: String,
    /// Sort key.
    pub range: String,
}

impl Key {
    /// A key.
    pub fn new(table: Table, hash: impl Into<String>, range: impl Into<String>) -> Key {
        Key {
            table,
            hash: hash.into(),
            range: range.into(),
        }
    }

    /// An item that holds only this key.
    pub fn item(&self) -> Item {
        let (hash, range) = self.table.keys();
        let mut item = Item::with_capacity(2);
        item.insert(hash, Attr::S(self.hash.clone()));
        if let Some(range) = range {
            item.insert(range, Attr::S(self.range.clone()));
        }
        item
    }

    /// An item that holds only this key, with room for more.
    pub fn into_item(self) -> Item {
        let (hash, range) = self.table.keys();
        let mut item = Item::with_capacity(ATTRIBUTES_USUAL);
        item.insert(hash, Attr::S(self.hash));
        if let Some(range) = range {
            item.insert(range, Attr::S(self.range));
        }
        item
    }
}

/// What must hold of the item that stands at a write's key, for the write to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// There is no such item.
    Absent,
    /// There is such an item.
    Present,
    /// There is one, and this attribute has this value.
    Equals(&'static str, Attr),
    /// There is none, or this attribute is at most this value (both text, or both numbers).
    AbsentOrAtMost(&'static str, Attr),
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Puts the whole item.
    Put {
        /// The table.
        table: Table,
        /// The item, keys included.
        item: Item,
        /// When.
        condition: Condition,
    },
    /// Deletes the item. Deleting what is not there succeeds if the condition allows it.
    Delete {
        /// Which.
        key: Key,
        /// When.
        condition: Condition,
    },
    /// Changes nothing, but must hold (in transactions only).
    Check {
        /// Which.
        key: Key,
        /// What.
        condition: Condition,
    },
}

/// Which sort keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeFilter {
    /// Every one.
    All,
    /// Those that begin so.
    Prefix(String),
    /// From the first to the second, both included.
    Between(String, String),
}

/// A strongly consistent query of one partition key (or, with `index`, an eventually consistent one
/// of the table's index).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The table.
    pub table: Table,
    /// Ask the table's index ([`Table::index`]) in place of the table; `range` must be `All` then.
    pub index: bool,
    /// The partition key.
    pub hash: String,
    /// Sort keys.
    pub range: RangeFilter,
    /// Largest sort key first.
    pub descending: bool,
    /// At most so many items in this page.
    pub limit: Option<u32>,
    /// Go on after the page that ended with this key.
    pub after: Option<Item>,
}

/// A page of items, and the key to go on from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Items.
    pub items: Vec<Item>,
    /// `Some` if there is more.
    pub next: Option<Item>,
}

/// What went wrong with the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A condition did not hold; nothing was written. Retrying the same write is of no use.
    #[error("the row is not as expected; nothing was written")]
    ConditionFailed,
    /// The answer was lost: the write happened, did not, or still will. Read before writing again.
    #[error(
        "the store's answer was lost ({0}), and the write may have been applied; read the row to find out"
    )]
    Unanswered(String),
    /// Throttled or out of service; nothing was written. Try again later.
    #[error("the store is busy or unavailable ({0}); nothing was written; retry later")]
    Unavailable(String),
    /// No or expired credentials, a missing permission, a skewed clock; nothing was written. Passes
    /// when that is mended.
    #[error(
        "access to the store was denied: {0}. Nothing was written; retrying helps once this is fixed"
    )]
    Denied(String),
    /// The request itself is wrong, or the table is missing. Retrying is of no use.
    #[error("the store refused the request: {0}")]
    Refused(String),
    /// Tables were restored to different moments. Retrying is of no use.
    #[error(
        "the tables are not of the same moment: {0}; stop all workers and run `tidemark recover` (docs/backup.md)"
    )]
    Apart(String),
    /// A newer tidemark wrote a row. Retrying is of no use.
    #[error("row {key} cannot be read: {what}; a newer tidemark wrote it, so run that version")]
    Newer {
        /// Which.
        key: String,
        /// What is not known of it.
        what: String,
    },
    /// A row cannot be read. Retrying is of no use.
    #[error(
        "row {key} cannot be read: {what}; restore it from a backup, then `tidemark resume` the partition"
    )]
    Corrupt {
        /// Which.
        key: String,
        /// Why.
        what: String,
    },
}

impl StoreError {
    /// Whether the same read, or the same idempotent write, may succeed later.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            StoreError::Unanswered(_) | StoreError::Unavailable(_) | StoreError::Denied(_)
        )
    }
}

/// The store. Implementations retry what is surely not written (throttling) a bounded number of
/// times themselves; a conditional write whose answer is lost is never repeated by them.
#[async_trait]
pub trait Db: Send + Sync {
    /// The clock by which those wait who read or write again.
    fn clock(&self) -> &dyn Clock;

    /// One item, strongly consistent.
    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError>;

    /// Several items, in the order of the keys (no key twice); each strongly consistent by itself,
    /// all together not one moment. Items that have expired and are still there are among them:
    /// whether an event was counted before must not depend on a clock that may be wrong.
    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError>;

    /// A page of a query. May see a part of a transaction.
    async fn query(&self, query: &Query) -> Result<Page, StoreError>;

    /// A page of a whole table. May see a part of a transaction.
    async fn scan(&self, table: Table, after: Option<Item>) -> Result<Page, StoreError>;

    /// One write.
    async fn write(&self, write: Write) -> Result<(), StoreError>;

    /// All of the writes or none; at most [`TRANSACTION_ITEMS_MAX`], no key twice.
    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError>;

    /// Unconditional puts (any number, no key twice), each by itself; returns when all are written.
    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError>;
}
