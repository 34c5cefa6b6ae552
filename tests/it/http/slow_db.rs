//! A store that counts what it is asked, and one whose caller is killed at a given step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use tidemark::http::{ApiState, Parts};
use tidemark::ops::clock::Clock;
use tidemark::store::db::{Db, Item, Key, Page, Query, StoreError, Table, Write};
use tidemark::store::dynamo::DynamoDb;
use tokio::sync::Notify;

use super::stand::Stand;

/// Another process of the same service, on another way to the same store.
pub fn service_on(stand: &Stand, db: Arc<dyn Db>) -> ApiState {
    ApiState::new(Parts {
        closing: None,
        log: stand.log.clone(),
        partitions: stand.service.partitions,
        db,
        clock: stand.clock.clone(),
        metrics: stand.metrics.clone(),
        health: stand.health.clone(),
        config: stand.service.config.clone(),
        archive: stand.service.archive.clone(),
    })
}

/// Where its caller is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killed {
    /// Before the step.
    Before(u64),
    /// After the step was done, before its answer came.
    After(u64),
}

/// Counts its requests; at the step where the caller is killed it never answers.
pub struct Counted {
    db: DynamoDb,
    asked: AtomicU64,
    rows: AtomicU64,
    killed: Option<Killed>,
    /// Told when the step is reached.
    pub reached: Notify,
}

impl Counted {
    pub fn new(db: DynamoDb) -> Counted {
        Counted {
            db,
            asked: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            killed: None,
            reached: Notify::new(),
        }
    }

    pub fn killed(db: DynamoDb, killed: Killed) -> Counted {
        Counted {
            killed: Some(killed),
            ..Counted::new(db)
        }
    }

    pub fn count(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// How many rows were read so far.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    fn read(&self, page: Page) -> Page {
        self.rows
            .fetch_add(page.items.len() as u64, Ordering::Relaxed);
        page
    }

    async fn step<T>(
        &self,
        ask: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        if self.killed == Some(Killed::Before(number)) {
            self.die().await;
        }
        let answer = ask.await;
        if self.killed == Some(Killed::After(number)) {
            self.die().await;
        }
        answer
    }

    async fn die(&self) {
        self.reached.notify_one();
        std::future::pending::<()>().await;
    }
}

#[async_trait]
impl Db for Counted {
    fn clock(&self) -> &dyn Clock {
        self.db.clock()
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        let item = self.step(self.db.get(key)).await?;
        self.rows
            .fetch_add(item.iter().len() as u64, Ordering::Relaxed);
        Ok(item)
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let items = self.step(self.db.batch_get(keys)).await?;
        let found = items.iter().flatten().count() as u64;
        self.rows.fetch_add(found, Ordering::Relaxed);
        Ok(items)
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        let page = self.step(self.db.query(query)).await?;
        Ok(self.read(page))
    }

    async fn scan(&self, table: Table, after: Option<Item>) -> Result<Page, StoreError> {
        let page = self.step(self.db.scan(table, after)).await?;
        Ok(self.read(page))
    }

    async fn write(&self, write: Write) -> Result<(), StoreError> {
        self.step(self.db.write(write)).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.step(self.db.transact(writes)).await
    }

    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        self.step(self.db.put_all(table, items)).await
    }
}

/// A store that stops answering when it is told to, as a process that was stopped by SIGSTOP does.
pub struct Hanging {
    db: DynamoDb,
    pub hangs: AtomicBool,
    /// Asking it is a bug of ours that ends in a panic.
    pub panics: AtomicBool,
    hanging: AtomicU64,
    woken: Notify,
}

impl Hanging {
    pub fn new(db: DynamoDb) -> Hanging {
        Hanging {
            db,
            hangs: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            hanging: AtomicU64::new(0),
            woken: Notify::new(),
        }
    }

    /// How many requests wait for an answer.
    pub fn hanging(&self) -> u64 {
        self.hanging.load(Ordering::Relaxed)
    }

    /// Lets those that wait be answered.
    pub fn wake(&self) {
        self.woken.notify_waiters();
    }

    async fn hang(&self) {
        assert!(!self.panics.load(Ordering::Relaxed), "on purpose");
        if self.hangs.load(Ordering::Relaxed) {
            let woken = self.woken.notified();
            self.hanging.fetch_add(1, Ordering::Relaxed);
            woken.await;
        }
    }
}

#[async_trait]
impl Db for Hanging {
    fn clock(&self) -> &dyn Clock {
        self.db.clock()
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        self.hang().await;
        self.db.get(key).await
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.hang().await;
        self.db.batch_get(keys).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        self.hang().await;
        self.db.query(query).await
    }

    async fn scan(&self, table: Table, after: Option<Item>) -> Result<Page, StoreError> {
        self.hang().await;
        self.db.scan(table, after).await
    }

    async fn write(&self, write: Write) -> Result<(), StoreError> {
        self.hang().await;
        self.db.write(write).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.hang().await;
        self.db.transact(writes).await
    }

    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        self.hang().await;
        self.db.put_all(table, items).await
    }
}
