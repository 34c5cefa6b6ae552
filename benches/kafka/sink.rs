//! The store of the benchmark: it takes the built items.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tidemark::ops::clock::{Clock, SystemClock};
use tidemark::store::db::{
    Attr, BATCH_GET_KEYS_MAX, BATCH_WRITE_ITEMS_MAX, Condition, Db, Item, Key, Page, Query,
    RangeFilter, StoreError, Table, Write,
};

/// How many batches the client of DynamoDB sends at once.
const BATCHES_AT_ONCE: usize = 4;

/// Keeps what the pipeline reads again (rules, checkpoints), takes account rows and forgets them. Every account is in memory, so none is
/// ever read twice.
#[derive(Default)]
pub struct Sink {
    items: Mutex<BTreeMap<Key, Item>>,
    rows: AtomicU64,
    /// How long every answer takes, as over a network.
    latency: Duration,
}

impl Sink {
    /// One whose answers take a while.
    #[allow(
        dead_code,
        reason = "each benchmark is compiled with a copy of its own"
    )]
    pub fn answering_after(latency: Duration) -> Sink {
        Sink {
            latency,
            ..Sink::default()
        }
    }

    /// Waits for so many answers, one after the other.
    async fn answers(&self, count: usize) {
        let wait = self.latency * u32::try_from(count).unwrap_or(u32::MAX);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_forgotten(&self, table: Table) -> bool {
        let rows = [
            Table::UserPoints,
            Table::ProviderRewards,
            Table::StreakTracking,
        ];
        rows.contains(&table)
    }

    /// How many rows and snapshots of accounts were taken.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    fn take(&self, write: Write) -> Result<(), StoreError> {
        let table = match &write {
            Write::Put { table, .. } => *table,
            Write::Delete { key, .. } | Write::Check { key, .. } => key.table,
        };
        if self.is_forgotten(table) {
            self.rows.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let (key, condition) = match &write {
            Write::Put {
                table,
                item,
                condition,
            } => (key_of(*table, item), condition),
            Write::Delete { key, condition } | Write::Check { key, condition } => {
                (key.clone(), condition)
            }
        };
        let mut items = self.lock();
        let found = items.get(&key);
        let holds = match condition {
            Condition::Always => true,
            Condition::Absent => found.is_none(),
            Condition::Present => found.is_some(),
            Condition::Equals(name, value) => {
                found.is_some_and(|item| item.get(*name) == Some(value))
            }
            Condition::AbsentOrAtMost(name, value) => {
                found.is_none_or(|item| is_at_most(item.get(*name), value))
            }
        };
        if !holds {
            return Err(StoreError::ConditionFailed);
        }
        match write {
            Write::Put { item, .. } => drop(items.insert(key, item)),
            Write::Delete { .. } => drop(items.remove(&key)),
            Write::Check { .. } => {}
        }
        Ok(())
    }
}

fn is_at_most(is: Option<&Attr>, value: &Attr) -> bool {
    match (is, value) {
        (Some(Attr::S(is)), Attr::S(value)) => is <= value,
        (Some(Attr::N(is)), Attr::N(value)) => is <= value,
        _ => true,
    }
}

fn key_of(table: Table, item: &Item) -> Key {
    let text = |name: &str| match item.get(name) {
        Some(Attr::S(text)) => text.clone(),
        other => panic!("{} has {other:?} as {name}", table.name()),
    };
    let (hash, range) = table.keys();
    Key::new(table, text(hash), range.map(text).unwrap_or_default())
}

#[async_trait]
impl Db for Sink {
    fn clock(&self) -> &dyn Clock {
        &SystemClock
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        self.answers(1).await;
        Ok(self.lock().get(key).cloned())
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let together = BATCH_GET_KEYS_MAX * BATCHES_AT_ONCE;
        self.answers(keys.len().div_ceil(together)).await;
        let items = self.lock();
        Ok(keys.iter().map(|key| items.get(key).cloned()).collect())
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        self.answers(1).await;
        let items = self.lock();
        let first = Key::new(query.table, query.hash.clone(), "");
        let of_hash = items
            .range(first..)
            .take_while(|(key, _)| key.table == query.table && key.hash == query.hash);
        let within = of_hash.filter(|(key, _)| match &query.range {
            RangeFilter::All => true,
            RangeFilter::Prefix(prefix) => key.range.starts_with(prefix.as_str()),
            RangeFilter::Between(from, to) => (from..=to).contains(&&key.range),
        });
        let mut items: Vec<Item> = within.map(|(_, item)| item.clone()).collect();
        if query.descending {
            items.reverse();
        }
        items.truncate(query.limit.map_or(usize::MAX, |limit| limit as usize));
        Ok(Page { items, next: None })
    }

    async fn scan(&self, table: Table, _after: Option<Item>) -> Result<Page, StoreError> {
        self.answers(1).await;
        let items = self.lock();
        let of_table = items.iter().filter(|(key, _)| key.table == table);
        let items = of_table.map(|(_, item)| item.clone()).collect();
        Ok(Page { items, next: None })
    }

    async fn write(&self, write: Write) -> Result<(), StoreError> {
        self.answers(1).await;
        self.take(write)
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.answers(1).await;
        writes.into_iter().try_for_each(|write| self.take(write))
    }

    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        self.answers(
            items
                .len()
                .div_ceil(BATCH_WRITE_ITEMS_MAX * BATCHES_AT_ONCE),
        )
        .await;
        let put = |item| Write::Put {
            table,
            item,
            condition: Condition::Always,
        };
        items.into_iter().try_for_each(|item| self.take(put(item)))
    }
}
