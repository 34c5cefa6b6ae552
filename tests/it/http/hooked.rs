//! A store that lets a test do something before it is asked.

use async_trait::async_trait;
use tidemark::ops::clock::Clock;
use tidemark::store::db::{Db, Item, Key, Page, Query, StoreError, Table, Write};
use tidemark::store::dynamo::DynamoDb;

/// What happens first.
#[async_trait]
pub trait Hook: Send + Sync {
    /// Before an item is read.
    async fn before_get(&self, _key: &Key) {}

    /// Before a transaction.
    async fn before_transact(&self) {}
}

/// The store behind a hook.
pub struct Hooked<H> {
    pub db: DynamoDb,
    pub hook: H,
}

#[async_trait]
impl<H: Hook> Db for Hooked<H> {
    fn clock(&self) -> &dyn Clock {
        self.db.clock()
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        self.hook.before_get(key).await;
        self.db.get(key).await
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.db.batch_get(keys).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        self.db.query(query).await
    }

    async fn scan(&self, table: Table, after: Option<Item>) -> Result<Page, StoreError> {
        self.db.scan(table, after).await
    }

    async fn write(&self, write: Write) -> Result<(), StoreError> {
        self.db.write(write).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.hook.before_transact().await;
        self.db.transact(writes).await
    }

    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        self.db.put_all(table, items).await
    }
}
