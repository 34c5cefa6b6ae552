//! The simulated store: what DynamoDB promises, and nothing that it does not.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use tidemark::ops::clock::Clock;
use tidemark::store::db::{
    Attr, Condition, Db, Item, Key, Page, Query, RangeFilter, StoreError, TRANSACTION_ITEMS_MAX,
    Table, Write,
};

use super::faults::{Fate, fate_of_write, hop};
use super::world::{Inner, Owner, Slot, World};

/// Called after every write with what it changed; an `Err` fails the run.
pub type Hook = Box<dyn FnMut(&mut Inner, &[Key]) -> Result<(), String> + Send>;

/// What the store holds.
#[derive(Default)]
pub struct DbState {
    /// All items.
    pub items: BTreeMap<Key, Item>,
    /// What reads may still see in place of an item: until when, and what.
    torn: BTreeMap<Key, (i64, Option<Item>)>,
    /// What an index may still show in place of an item.
    lagging: BTreeMap<Key, (i64, Option<Item>)>,
    /// The checks of the run.
    pub hook: Option<Hook>,
    /// Writes that were done, by table.
    pub writes: BTreeMap<Table, u64>,
    /// Batches that were read of one table alone, by table.
    pub batch_reads: BTreeMap<Table, u64>,
    /// The most items that a query has shown at once.
    pub largest_page: usize,
    /// There are no tables: each request is refused.
    pub is_missing: bool,
}

/// The key of an item.
pub fn key_of(table: Table, item: &Item) -> Result<Key, StoreError> {
    let text = |name: &str| match item.get(name) {
        Some(Attr::S(text)) if !text.is_empty() => Ok(text.clone()),
        other => Err(StoreError::Refused(format!(
            "key attribute {name} of {table:?} is {other:?}"
        ))),
    };
    let (hash, range) = table.keys();
    Ok(Key::new(
        table,
        text(hash)?,
        range.map(text).transpose()?.unwrap_or_default(),
    ))
}

fn holds(condition: &Condition, item: Option<&Item>) -> bool {
    match (condition, item) {
        (Condition::Always, _) => true,
        (Condition::Absent, item) => item.is_none(),
        (Condition::Present, item) => item.is_some(),
        (Condition::Equals(name, value), item) => item.and_then(|i| i.get(*name)) == Some(value),
        (Condition::AbsentOrAtMost(..), None) => true,
        (Condition::AbsentOrAtMost(name, value), Some(item)) => match (item.get(*name), value) {
            (Some(Attr::S(is)), Attr::S(most)) => is <= most,
            (Some(Attr::N(is)), Attr::N(most)) => is <= most,
            _ => false,
        },
    }
}

fn target(write: &Write) -> Result<(Key, &Condition), StoreError> {
    Ok(match write {
        Write::Put {
            table,
            item,
            condition,
        } => (key_of(*table, item)?, condition),
        Write::Delete { key, condition } | Write::Check { key, condition } => {
            (key.clone(), condition)
        }
    })
}

/// DynamoDB's limits.
const ITEM_BYTES_MAX: usize = 400 << 10;
const TRANSACTION_BYTES_MAX: usize = 4 << 20;
const HASH_BYTES_MAX: usize = 2_048;
const RANGE_BYTES_MAX: usize = 1_024;

/// What DynamoDB counts of an item.
fn weight(item: &Item) -> usize {
    let of = |(name, value): (&tidemark::store::db::Name, &Attr)| {
        name.len()
            + match value {
                Attr::S(text) => text.len(),
                Attr::N(number) => number.to_string().len() / 2 + 2,
                Attr::B(bytes) => bytes.len(),
            }
    };
    item.iter().map(of).sum()
}

/// Refuses what DynamoDB refuses by its size.
fn fits(writes: &[Write]) -> Result<(), StoreError> {
    let mut sum = 0;
    for write in writes {
        let (key, _) = target(write)?;
        let bytes = match write {
            Write::Put { item, .. } => weight(item),
            Write::Delete { .. } | Write::Check { .. } => 0,
        };
        let is_long = key.hash.len() > HASH_BYTES_MAX || key.range.len() > RANGE_BYTES_MAX;
        if bytes > ITEM_BYTES_MAX || is_long {
            return Err(StoreError::Refused(format!("{key:?} is too large")));
        }
        sum += bytes;
    }
    match sum > TRANSACTION_BYTES_MAX {
        true => Err(StoreError::Refused("a transaction is too large".to_owned())),
        false => Ok(()),
    }
}

impl DbState {
    /// A store that holds these items.
    pub fn of(items: BTreeMap<Key, Item>) -> DbState {
        DbState {
            items,
            ..DbState::default()
        }
    }

    fn is_there(&self) -> Result<(), StoreError> {
        match self.is_missing {
            true => Err(StoreError::Refused("there is no such table".to_owned())),
            false => Ok(()),
        }
    }

    fn changed(&self, writes: &[Write]) -> Result<Vec<(Key, Option<Item>)>, StoreError> {
        let mut keys = BTreeSet::new();
        let mut changes = Vec::new();
        for write in writes {
            let (key, condition) = target(write)?;
            if !keys.insert(key.clone()) {
                return Err(StoreError::Refused(format!("{key:?} twice")));
            }
            if !holds(condition, self.items.get(&key)) {
                return Err(StoreError::ConditionFailed);
            }
            match write {
                Write::Put { item, .. } => changes.push((key, Some(item.clone()))),
                Write::Delete { .. } => changes.push((key, None)),
                Write::Check { .. } => {}
            }
        }
        Ok(changes)
    }

    fn set(&mut self, key: &Key, item: Option<Item>) -> Option<Item> {
        *self.writes.entry(key.table).or_default() += 1;
        self.torn.remove(key);
        match item {
            Some(item) => self.items.insert(key.clone(), item),
            None => self.items.remove(key),
        }
    }

    /// An item as a read sees it.
    pub fn plain(&self, key: &Key, now: i64) -> Option<&Item> {
        match self.torn.get(key) {
            Some((until, before)) if now < *until => before.as_ref(),
            _ => self.items.get(key),
        }
    }

    fn indexed(&self, key: &Key, now: i64) -> Option<&Item> {
        match self.lagging.get(key) {
            Some((until, before)) if now < *until => before.as_ref(),
            _ => self.items.get(key),
        }
    }

    /// All keys of a partition key, also of items that only a stale read still sees.
    fn keys(&self, table: Table, hash: Option<&str>) -> BTreeSet<Key> {
        let from = Key::new(table, hash.unwrap_or(""), "");
        let within = |key: &&Key| key.table == table && hash.is_none_or(|hash| key.hash == hash);
        let live = self
            .items
            .range(from.clone()..)
            .map(|(k, _)| k)
            .take_while(within);
        let torn = self
            .torn
            .range(from.clone()..)
            .map(|(k, _)| k)
            .take_while(within);
        let lagging = self
            .lagging
            .range(from..)
            .map(|(k, _)| k)
            .take_while(within);
        live.chain(torn).chain(lagging).cloned().collect()
    }
}

/// Does some writes, all or none, now.
fn apply(inner: &mut Inner, writes: &[Write], as_transaction: bool) -> Result<(), StoreError> {
    let result = inner.db.is_there().and_then(|()| fits(writes));
    let result = result.and_then(|()| inner.db.changed(writes));
    inner.note(|| match &result {
        Ok(changes) => format!("db writes {}", describe(changes)),
        Err(error) => format!("db refuses {:?}: {error}", targets(writes)),
    });
    let changes = result?;
    let mut keys = Vec::new();
    for (key, item) in changes {
        let torn = if as_transaction {
            let most = inner.faults.torn_ms_max;
            inner.between(0, most)
        } else {
            0
        };
        let lag = if key.table.index().is_some() {
            let most = inner.faults.index_ms_max;
            inner.between(0, most)
        } else {
            0
        };
        let now = inner.now;
        let before = inner.db.set(&key, item);
        if lag > 0 {
            inner
                .db
                .lagging
                .insert(key.clone(), (now + lag, before.clone()));
        }
        if torn > 0 {
            inner.db.torn.insert(key.clone(), (now + torn, before));
        }
        keys.push(key);
    }
    if let Some(mut hook) = inner.db.hook.take() {
        if let Err(what) = hook(inner, &keys) {
            inner.fail(what);
        }
        inner.db.hook = Some(hook);
    }
    Ok(())
}

fn describe(changes: &[(Key, Option<Item>)]) -> String {
    let one = |(key, item): &(Key, Option<Item>)| {
        let rest: Vec<String> = item
            .iter()
            .flatten()
            .map(|(name, value)| format!("{name}={}", brief(value)))
            .collect();
        let what = if item.is_some() {
            rest.join(" ")
        } else {
            "deleted".to_owned()
        };
        format!("{:?}/{}/{} {{{what}}}", key.table, key.hash, key.range)
    };
    changes.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn brief(value: &Attr) -> String {
    let text = match value {
        Attr::S(text) => text.clone(),
        Attr::N(number) => number.to_string(),
        Attr::B(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    };
    text.chars().take(160).collect()
}

fn targets(writes: &[Write]) -> Vec<String> {
    writes
        .iter()
        .filter_map(|w| target(w).ok())
        .map(|(key, _)| format!("{:?}/{}/{}", key.table, key.hash, key.range))
        .collect()
}

fn unanswered() -> StoreError {
    StoreError::Unanswered("simulated".to_owned())
}

fn throttled() -> StoreError {
    StoreError::Unavailable("simulated".to_owned())
}

/// A write on its way: draws its fate, applies it at its moment, answers at a later one.
fn send(
    inner: &mut Inner,
    owner: Owner,
    writes: Vec<Write>,
    as_transaction: bool,
    slot: Slot<Result<(), StoreError>>,
) {
    let (there, back, fate) = (hop(inner), hop(inner), fate_of_write(inner));
    // A transaction is half visible at most until its answer: from then on every read sees all of it.
    let back = if as_transaction {
        back.max(inner.faults.torn_ms_max)
    } else {
        back
    };
    let answer = move |inner: &mut Inner, ms: i64, result| {
        inner.after(ms, move |_| slot.put(result));
    };
    match fate {
        Fate::Throttled => answer(inner, there + back, Err(throttled())),
        Fate::LostBefore => answer(inner, there + back, Err(unanswered())),
        Fate::Late(ms) => {
            inner.note(|| format!("a write will land {ms} ms late: {:?}", targets(&writes)));
            inner.after_if_sent(owner, there + back + ms, move |inner| {
                let _ = apply(inner, &writes, as_transaction);
            });
            answer(inner, there + back, Err(unanswered()));
        }
        Fate::Answered | Fate::LostAfter => {
            inner.after_if_sent(owner, there, move |inner| {
                let result = apply(inner, &writes, as_transaction);
                let told = match fate {
                    Fate::LostAfter => {
                        inner.note(|| format!("answer lost: {:?}", targets(&writes)));
                        Err(unanswered())
                    }
                    _ => result,
                };
                answer(inner, back, told);
            });
        }
    }
}

/// One worker's way to the store.
#[derive(Clone)]
pub struct SimDb {
    /// The world.
    pub world: World,
}

impl SimDb {
    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let answer = self.world.operation(|inner, slot: Slot<Result<T, _>>| {
            let (there, back) = (hop(inner), hop(inner));
            let rate = inner.faults.read_failed;
            if inner.chance(rate) {
                let error = if inner.chance(500) {
                    throttled()
                } else {
                    unanswered()
                };
                return inner.after(there + back, move |_| slot.put(Err(error)));
            }
            inner.after(there, move |inner| {
                let result = inner.db.is_there().and_then(|()| look(inner));
                inner.after(back, move |_| slot.put(result));
            });
        });
        answer.await
    }

    async fn send(&self, writes: Vec<Write>, as_transaction: bool) -> Result<(), StoreError> {
        let answer = self.world.operation(|inner, slot| {
            let owner = inner.owner;
            send(inner, owner, writes, as_transaction, slot);
        });
        answer.await
    }
}

pub fn in_range(range: &RangeFilter, key: &str) -> bool {
    match range {
        RangeFilter::All => true,
        RangeFilter::Prefix(prefix) => key.starts_with(prefix),
        RangeFilter::Between(from, to) => from.as_str() <= key && key <= to.as_str(),
    }
}

fn page(
    inner: &mut Inner,
    mut items: Vec<(Key, Item)>,
    after: Option<&Item>,
    limit: Option<u32>,
) -> Result<Page, StoreError> {
    if let Some(after) = after {
        let table = items.first().map(|(key, _)| key.table);
        if let Some(table) = table {
            let after = key_of(table, after)?;
            if let Some(at) = items.iter().position(|(key, _)| *key == after) {
                items.drain(..=at);
            } else {
                // The item that ended the last page is gone: go on behind where it stood.
                let descending = items.len() > 1 && items[0].0 > items[1].0;
                items.retain(|(key, _)| {
                    if descending {
                        *key < after
                    } else {
                        *key > after
                    }
                });
            }
        }
    }
    let most = inner.faults.page_items_max as i64;
    let most = inner.between(1, most) as usize;
    let take = limit.map_or(most, |limit| most.min(limit as usize)).max(1);
    let more = items.len() > take;
    items.truncate(take);
    let next = items.last().filter(|_| more).map(|(key, _)| key.item());
    Ok(Page {
        items: items.into_iter().map(|(_, item)| item).collect(),
        next,
    })
}

fn run_query(inner: &mut Inner, query: &Query) -> Result<Page, StoreError> {
    let now = inner.now;
    let mut found = Vec::new();
    if query.index {
        let Some((_, name)) = query.table.index() else {
            return Err(StoreError::Refused(format!(
                "{:?} has no index",
                query.table
            )));
        };
        for key in inner.db.keys(query.table, None) {
            let item = inner.db.indexed(&key, now);
            if let Some(item) = item.filter(|i| i.get(name) == Some(&Attr::S(query.hash.clone()))) {
                found.push((key, item.clone()));
            }
        }
    } else {
        for key in inner.db.keys(query.table, Some(&query.hash)) {
            if !in_range(&query.range, &key.range) {
                continue;
            }
            if let Some(item) = inner.db.plain(&key, now) {
                found.push((key, item.clone()));
            }
        }
    }
    if query.descending {
        found.reverse();
    }
    let page = page(inner, found, query.after.as_ref(), query.limit)?;
    inner.db.largest_page = inner.db.largest_page.max(page.items.len());
    Ok(page)
}

#[async_trait]
impl Db for SimDb {
    fn clock(&self) -> &dyn Clock {
        &self.world
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        let key = key.clone();
        // The items of a transaction become visible one after another, to every kind of read.
        self.read(move |inner| Ok(inner.db.plain(&key, inner.now).cloned()))
            .await
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let keys = keys.to_vec();
        if keys.iter().collect::<BTreeSet<_>>().len() != keys.len() {
            return Err(StoreError::Refused("a key twice in batch_get".to_owned()));
        }
        self.read(move |inner| {
            let now = inner.now;
            let tables: BTreeSet<Table> = keys.iter().map(|key| key.table).collect();
            if let [table] = tables.into_iter().collect::<Vec<_>>()[..] {
                *inner.db.batch_reads.entry(table).or_default() += 1;
            }
            Ok(keys
                .iter()
                .map(|key| inner.db.plain(key, now).cloned())
                .collect())
        })
        .await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        let query = query.clone();
        self.read(move |inner| run_query(inner, &query)).await
    }

    async fn scan(&self, table: Table, after: Option<Item>) -> Result<Page, StoreError> {
        self.read(move |inner| {
            let now = inner.now;
            let found = inner
                .db
                .keys(table, None)
                .into_iter()
                .filter_map(|key| inner.db.plain(&key, now).cloned().map(|item| (key, item)))
                .collect();
            page(inner, found, after.as_ref(), None)
        })
        .await
    }

    async fn write(&self, write: Write) -> Result<(), StoreError> {
        if matches!(write, Write::Check { .. }) {
            return Err(StoreError::Refused("a check outside a transaction".into()));
        }
        self.send(vec![write], false).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        if writes.is_empty() || writes.len() > TRANSACTION_ITEMS_MAX {
            return Err(StoreError::Refused(format!("{} writes", writes.len())));
        }
        self.send(writes, true).await
    }

    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        let puts = items.into_iter().map(|item| {
            let put = Write::Put {
                table,
                item,
                condition: Condition::Always,
            };
            self.send(vec![put], false)
        });
        for result in futures::future::join_all(puts).await {
            result?;
        }
        Ok(())
    }
}
