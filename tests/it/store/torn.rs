//! A store whose readers see transactions by parts: chosen items stay invisible for a while, as DynamoDB allows to every
//! read that is no transaction itself.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use tidemark::ops::clock::Clock;
use tidemark::store::db::{Attr, Db, Item, Key, Page, Query, StoreError, Table, Write};
use tidemark::store::dynamo::DynamoDb;

/// The store and, by key, how many looks an item stays invisible for.
pub struct Torn {
    db: DynamoDb,
    hidden: Mutex<BTreeMap<Key, usize>>,
}

impl Torn {
    /// Hides items of `db`.
    pub fn new(db: &DynamoDb, hidden: impl IntoIterator<Item = (Key, usize)>) -> Torn {
        Torn {
            db: db.clone(),
            hidden: Mutex::new(hidden.into_iter().collect()),
        }
    }

    fn visible(&self, key: &Key) -> bool {
        let mut hidden = self.hidden.lock().unwrap();
        match hidden.get_mut(key) {
            None | Some(0) => true,
            Some(looks) => {
                *looks -= 1;
                false
            }
        }
    }

    fn page(&self, table: Table, mut page: Page) -> Page {
        page.items.retain(|item| self.visible(&key_of(table, item)));
        page
    }
}

pub fn key_of(table: Table, item: &Item) -> Key {
    let (hash, range) = table.keys();
    let text = |name: &str| match item.get(name) {
        Some(Attr::S(text)) => text.clone(),
        other => panic!("{other:?}"),
    };
    Key::new(table, text(hash), range.map(text).unwrap_or_default())
}

#[async_trait]
impl Db for Torn {
    fn clock(&self) -> &dyn Clock {
        self.db.clock()
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        let item = self.db.get(key).await?;
        Ok(item.filter(|_| self.visible(key)))
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let items = self.db.batch_get(keys).await?;
        let looked = items.into_iter().zip(keys);
        Ok(looked
            .map(|(item, key)| item.filter(|_| self.visible(key)))
            .collect())
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        let page = self.db.query(query).await?;
        Ok(self.page(query.table, page))
    }

    async fn scan(&self, table: Table, after: Option<Item>) -> Result<Page, StoreError> {
        let page = self.db.scan(table, after).await?;
        Ok(self.page(table, page))
    }

    async fn write(&self, write: Write) -> Result<(), StoreError> {
        self.db.write(write).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.db.transact(writes).await
    }

    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        self.db.put_all(table, items).await
    }
}
