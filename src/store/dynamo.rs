//! [`Db`] on DynamoDB, by the AWS client: production and Amazon's DynamoDB Local alike, and the
//! embedded engine of another process. The engine of this process is called without the client
//! (`in_process`), under the same rules.
//!
//! The SDK's own retries are off, because they repeat conditional writes whose answer was lost.
//! Ours:
//!
//! | failure | reads, unconditional puts | conditional writes, transactions |
//! |---|---|---|
//! | throttled, transaction conflict | again, with back-off and full jitter | again |
//! | connection refused | again | again |
//! | 5xx, time-out, connection lost | again | [`StoreError::Unanswered`] at once |
//! | condition failed | | [`StoreError::ConditionFailed`] |
//! | no or expired credentials, no permission, a skewed clock | [`StoreError::Denied`] | [`StoreError::Denied`] |
//! | validation, missing table | [`StoreError::Refused`] | [`StoreError::Refused`] |
//!
//! "Again" is bounded by [`RetryPolicy`]; then [`StoreError::Unavailable`]. Answers that do not
//! come lower how many requests may be on their way at once (`in_flight`).

mod batches;
pub mod credentials;
mod denied;
mod engine;
mod error_text;
mod in_flight;
mod in_process;
pub mod items;
pub mod retry;
pub mod server_clock;
pub mod settings;

use std::future::Future;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    ConditionCheck, ConsumedCapacity, Delete, Put, ReturnConsumedCapacity, TransactWriteItem,
};
use governor::{DefaultDirectRateLimiter, Quota};

use super::db::{
    Condition, Db, Item, Key, Page, Query, StoreError, TRANSACTION_ITEMS_MAX, Table, Write,
};
use super::durability::Durability;
use super::meter::{Consumed, Operation, StoreMeter};
use crate::ops::clock::Clock;
use crate::ops::log_throttle::LogThrottle;
use crate::ops::retry::{Retry, RetryPolicy};
use engine::Engine;
use in_flight::{InFlight, Pass};
use items::{
    Expression, Wire, WireValue, expression, from_wire, is_expired, key_condition, key_wire,
    to_wire, write_units,
};
use retry::{Fault, Repeatable, fault, transaction_fault};
use server_clock::{DateReader, ServerClock};
pub use settings::DynamoSettings;

/// So many attempts to connect in vain, and the store counts as out of reach.
const REFUSED_MAX: u32 = 4;
/// The same after so long.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(2);
/// A store that is away is told of from this attempt on; a short throttling is not worth a line.
const ATTEMPTS_QUIET: u32 = 3;
/// And not by every request.
static BUSY: LogThrottle<()> = LogThrottle::new();

/// The store on DynamoDB. Cheap to clone.
#[derive(Clone)]
pub struct DynamoDb {
    client: Client,
    /// The store's engine, if it is in this process.
    engine: Option<Engine>,
    prefix: Arc<str>,
    retries: RetryPolicy,
    batch_concurrency: usize,
    limiter: Option<Arc<(DefaultDirectRateLimiter, NonZeroU32)>>,
    in_flight: Arc<InFlight>,
    meter: Arc<StoreMeter>,
    clock: Arc<dyn Clock>,
    server_clock: Arc<ServerClock>,
    durability: Option<Arc<Durability>>,
}

impl DynamoDb {
    /// A client. Nothing is sent yet.
    pub fn new(
        settings: &DynamoSettings,
        meter: Arc<StoreMeter>,
        clock: Arc<dyn Clock>,
    ) -> DynamoDb {
        let limiter = settings.write_units_per_second.map(|rate| {
            Arc::new((
                DefaultDirectRateLimiter::direct(Quota::per_second(rate)),
                rate,
            ))
        });
        let server_clock = Arc::new(ServerClock::default());
        let dates = DateReader {
            seen: server_clock.clone(),
            meter: meter.clone(),
            clock: clock.clone(),
        };
        meter.allows(in_flight::MOST);
        DynamoDb {
            client: Client::from_conf(settings::config(settings, dates)),
            engine: Engine::from_settings(settings),
            prefix: Arc::from(settings.prefix.as_str()),
            retries: settings.retries,
            batch_concurrency: settings.batch_concurrency.max(1),
            limiter,
            in_flight: Arc::new(InFlight::new(settings.request_timeout)),
            meter,
            clock,
            server_clock,
            durability: settings.durability.clone(),
        }
    }

    /// The meter of what is consumed.
    pub fn meter(&self) -> &Arc<StoreMeter> {
        &self.meter
    }

    /// The AWS client beneath, for the control plane (tables, backups).
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The store's own clock, as its answers show it.
    pub fn server_clock(&self) -> Arc<ServerClock> {
        self.server_clock.clone()
    }

    /// A table's full name.
    pub fn table_name(&self, table: Table) -> String {
        format!("{}{}", self.prefix, table.name())
    }

    /// The attempts at one request.
    fn retry(&self) -> Retry<'_> {
        Retry::new(&*self.clock, self.retries)
    }

    /// Sends a request until it is answered, refused, lost or out of attempts.
    pub(super) async fn run<T, E, Fut>(
        &self,
        repeatable: Repeatable,
        sort: impl Fn(&E) -> Fault,
        send: impl Fn() -> Fut,
    ) -> Result<T, StoreError>
    where
        Fut: Future<Output = Result<T, E>> + Send,
    {
        let mut retry = self.retry();
        self.run_within(&mut retry, repeatable, sort, send).await
    }

    /// The same as a part of something that is tried again itself.
    async fn run_within<T, E, Fut>(
        &self,
        retry: &mut Retry<'_>,
        repeatable: Repeatable,
        sort: impl Fn(&E) -> Fault,
        send: impl Fn() -> Fut,
    ) -> Result<T, StoreError>
    where
        Fut: Future<Output = Result<T, E>> + Send,
    {
        let mut refused = 0;
        let started = self.clock.moment();
        loop {
            let Some(pass) = self.in_flight.admit(&*self.clock).await else {
                let why = "the store is slow to answer other requests".to_owned();
                self.wait(retry, why).await?;
                continue;
            };
            let answered = send().await.map_err(|error| sort(&error));
            self.take_note(&pass, answered.as_ref().err());
            drop(pass);
            let fault = match answered {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            let why = match fault {
                Fault::Final(error) => {
                    if matches!(error, StoreError::Denied(_)) {
                        self.meter.denied();
                    }
                    return Err(error);
                }
                Fault::Unknown(why) if repeatable == Repeatable::No => {
                    return Err(StoreError::Unanswered(why));
                }
                Fault::Throttled(why) => {
                    self.meter.throttled();
                    why
                }
                // A store that is down is down for a while. Whoever asked has someone waiting, or
                // tries again by a plan of its own.
                Fault::NotSent(why) => {
                    refused += 1;
                    let waited = self.clock.moment().since(started);
                    if refused >= REFUSED_MAX || waited >= UNREACHABLE_AFTER {
                        return Err(StoreError::Unavailable(why));
                    }
                    why
                }
                Fault::Unknown(why) => why,
            };
            self.wait(retry, why).await?;
        }
    }

    /// Learns from a request how many may be on their way at once.
    fn take_note(&self, pass: &Pass<'_>, fault: Option<&Fault>) {
        let changed = match fault {
            None => pass.answered(),
            Some(Fault::Unknown(why)) => pass.lost().inspect(|limit| {
                tracing::debug!(event = "store.slow", why, limit, "fewer requests at once");
            }),
            // It answered, but no more of them should come.
            Some(Fault::Throttled(_) | Fault::NotSent(_) | Fault::Final(_)) => None,
        };
        if let Some(limit) = changed {
            self.meter.allows(limit);
        }
    }

    /// Waits before the next attempt, or gives up.
    async fn wait(&self, retry: &mut Retry<'_>, why: String) -> Result<(), StoreError> {
        let attempt = retry.failed() + 1;
        if attempt >= ATTEMPTS_QUIET
            && let Some(kept_back) = BUSY.say(())
        {
            tracing::warn!(
                event = "store.busy",
                why,
                attempt,
                kept_back,
                "retrying the request to the store"
            );
        }
        if !retry.again().await {
            return Err(StoreError::Unavailable(format!(
                "after {attempt} attempts: {why}"
            )));
        }
        self.meter.retried();
        Ok(())
    }

    /// Waits until the configured write rate allows `units` more.
    async fn admit(&self, units: u32) {
        let Some(limiter) = &self.limiter else {
            return;
        };
        let (limiter, burst) = limiter.as_ref();
        let mut left = units;
        while let Some(some) = NonZeroU32::new(left.min(burst.get())) {
            // Never more than the burst at once, which is all that could be refused.
            let _ = limiter.until_n_ready(some).await;
            left -= some.get();
        }
    }

    /// Waits until what was answered is on disk. It is written in any case: a failure only means
    /// that nobody knows for how long.
    async fn sync_store(&self) -> Result<(), StoreError> {
        match &self.durability {
            Some(durability) => durability.settle().await.map_err(StoreError::Unanswered),
            None => Ok(()),
        }
    }

    fn measure(&self, table: Table, operation: Operation, consumed: Option<&ConsumedCapacity>) {
        if let Some(consumed) = consumed {
            self.meter.add(table, operation, read_consumed(consumed));
        }
    }

    /// The table of this name, if it is one of ours.
    fn table_of(&self, name: &str) -> Option<Table> {
        Table::ALL.into_iter().find(|t| self.table_name(*t) == name)
    }

    /// Measures an answer about several tables.
    fn measure_all(&self, operation: Operation, consumed: &[ConsumedCapacity]) {
        for part in consumed {
            if let Some(table) = self.table_of(part.table_name().unwrap_or_default()) {
                self.measure(table, operation, Some(part));
            }
        }
    }

    fn read_item<V: WireValue>(
        &self,
        table: Table,
        wire: Wire<V>,
    ) -> Result<Option<Item>, StoreError> {
        let item = from_wire(table, wire)?;
        Ok((!is_expired(table, &item, self.clock.now())).then_some(item))
    }

    fn read_page<V: WireValue>(
        &self,
        table: Table,
        wires: Vec<Wire<V>>,
        next: Option<Wire<V>>,
    ) -> Result<Page, StoreError> {
        let items = wires.into_iter().map(|wire| self.read_item(table, wire));
        Ok(Page {
            items: items
                .filter_map(Result::transpose)
                .collect::<Result<_, _>>()?,
            next: next.map(|wire| from_wire(table, wire)).transpose()?,
        })
    }

    async fn put(&self, table: Table, item: Item, condition: &Condition) -> Result<(), StoreError> {
        self.admit(write_units(&item)).await;
        if let Some(engine) = &self.engine {
            self.engine_put(engine, table, &item, condition).await?;
            return self.sync_store().await;
        }
        let wire = to_wire(item);
        let Expression {
            text,
            names,
            values,
        } = expression(table, condition, self.clock.now());
        let request = self
            .client
            .put_item()
            .table_name(self.table_name(table))
            .set_item(Some(wire))
            .set_condition_expression(text)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let send = || request.clone().send();
        let answer = self.run(repeatable(condition), fault, send).await?;
        self.measure(table, Operation::Put, answer.consumed_capacity());
        self.sync_store().await
    }

    async fn delete(&self, key: &Key, condition: &Condition) -> Result<(), StoreError> {
        self.admit(1).await;
        if let Some(engine) = &self.engine {
            self.engine_delete(engine, key, condition).await?;
            return self.sync_store().await;
        }
        let Expression {
            text,
            names,
            values,
        } = expression(key.table, condition, self.clock.now());
        let request = self
            .client
            .delete_item()
            .table_name(self.table_name(key.table))
            .set_key(Some(key_wire(key)))
            .set_condition_expression(text)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let send = || request.clone().send();
        let answer = self.run(repeatable(condition), fault, send).await?;
        self.measure(key.table, Operation::Delete, answer.consumed_capacity());
        self.sync_store().await
    }

    /// A write as a part of a transaction; `None` for a check of nothing.
    fn transact_item(&self, write: Write) -> Result<Option<TransactWriteItem>, StoreError> {
        let part = TransactWriteItem::builder();
        let part = match write {
            Write::Put {
                table,
                item,
                condition,
            } => part.put(self.transact_put(table, item, &condition)?),
            Write::Delete { key, condition } => {
                part.delete(self.transact_delete(&key, &condition)?)
            }
            Write::Check {
                condition: Condition::Always,
                ..
            } => return Ok(None),
            Write::Check { key, condition } => {
                part.condition_check(self.transact_check(&key, &condition)?)
            }
        };
        Ok(Some(part.build()))
    }

    fn transact_put(
        &self,
        table: Table,
        item: Item,
        condition: &Condition,
    ) -> Result<Put, StoreError> {
        let when = expression(table, condition, self.clock.now());
        Put::builder()
            .table_name(self.table_name(table))
            .set_item(Some(to_wire(item)))
            .set_condition_expression(when.text)
            .set_expression_attribute_names(when.names)
            .set_expression_attribute_values(when.values)
            .build()
            .map_err(refused)
    }

    fn transact_delete(&self, key: &Key, condition: &Condition) -> Result<Delete, StoreError> {
        let when = expression(key.table, condition, self.clock.now());
        Delete::builder()
            .table_name(self.table_name(key.table))
            .set_key(Some(key_wire(key)))
            .set_condition_expression(when.text)
            .set_expression_attribute_names(when.names)
            .set_expression_attribute_values(when.values)
            .build()
            .map_err(refused)
    }

    fn transact_check(
        &self,
        key: &Key,
        condition: &Condition,
    ) -> Result<ConditionCheck, StoreError> {
        let when = expression(key.table, condition, self.clock.now());
        ConditionCheck::builder()
            .table_name(self.table_name(key.table))
            .set_key(Some(key_wire(key)))
            .set_condition_expression(when.text)
            .set_expression_attribute_names(when.names)
            .set_expression_attribute_values(when.values)
            .build()
            .map_err(refused)
    }
}

#[async_trait]
impl Db for DynamoDb {
    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        if let Some(engine) = &self.engine {
            return self.engine_get(engine, key).await;
        }
        let request = self
            .client
            .get_item()
            .table_name(self.table_name(key.table))
            .set_key(Some(key_wire(key)))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let send = || request.clone().send();
        let mut answer = self.run(Repeatable::Yes, fault, send).await?;
        self.measure(key.table, Operation::Get, answer.consumed_capacity());
        match answer.item.take() {
            Some(wire) => self.read_item(key.table, wire),
            None => Ok(None),
        }
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        if let Some(engine) = &self.engine {
            return self.engine_get_all(engine, keys).await;
        }
        self.get_batches(keys).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        if let Some(engine) = &self.engine {
            return self.engine_query(engine, query).await;
        }
        let key = key_condition(query)?;
        let index = query.index.then(|| query.table.index()).flatten();
        let request = self
            .client
            .query()
            .table_name(self.table_name(query.table))
            .set_index_name(index.map(|(name, _)| name.to_owned()))
            .consistent_read(!query.index)
            .set_key_condition_expression(key.text)
            .set_expression_attribute_names(key.names)
            .set_expression_attribute_values(key.values)
            .scan_index_forward(!query.descending)
            .set_limit(query.limit.map(|n| i32::try_from(n).unwrap_or(i32::MAX)))
            .set_exclusive_start_key(query.after.clone().map(to_wire))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let send = || request.clone().send();
        let answer = self.run(Repeatable::Yes, fault, send).await?;
        self.measure(query.table, Operation::Query, answer.consumed_capacity());
        let items = answer.items.unwrap_or_default();
        self.read_page(query.table, items, answer.last_evaluated_key)
    }

    async fn scan(&self, table: Table, after: Option<Item>) -> Result<Page, StoreError> {
        if let Some(engine) = &self.engine {
            return self.engine_scan(engine, table, after).await;
        }
        let request = self
            .client
            .scan()
            .table_name(self.table_name(table))
            .consistent_read(true)
            .set_exclusive_start_key(after.map(to_wire))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let send = || request.clone().send();
        let answer = self.run(Repeatable::Yes, fault, send).await?;
        self.measure(table, Operation::Scan, answer.consumed_capacity());
        let items = answer.items.unwrap_or_default();
        self.read_page(table, items, answer.last_evaluated_key)
    }

    async fn write(&self, write: Write) -> Result<(), StoreError> {
        match write {
            Write::Put {
                table,
                item,
                condition,
            } => self.put(table, item, &condition).await,
            Write::Delete { key, condition } => self.delete(&key, &condition).await,
            Write::Check { .. } => Err(refused("a check belongs into a transaction")),
        }
    }

    async fn transact(&self, mut writes: Vec<Write>) -> Result<(), StoreError> {
        // A single write is all or nothing by itself, at half the price.
        if writes.len() == 1 && !matches!(writes[0], Write::Check { .. }) {
            return self.write(writes.remove(0)).await;
        }
        if writes.len() > TRANSACTION_ITEMS_MAX {
            return Err(refused(format!(
                "{} writes in one transaction; at most {TRANSACTION_ITEMS_MAX}",
                writes.len()
            )));
        }
        self.admit(writes.iter().map(transaction_units).sum()).await;
        if let Some(engine) = &self.engine {
            self.engine_transact(engine, &writes).await?;
            return self.sync_store().await;
        }
        let parts: Vec<TransactWriteItem> = writes
            .into_iter()
            .map(|write| self.transact_item(write))
            .filter_map(Result::transpose)
            .collect::<Result<_, _>>()?;
        if parts.is_empty() {
            return Ok(());
        }
        let request = self
            .client
            .transact_write_items()
            .set_transact_items(Some(parts))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let send = || request.clone().send();
        let answer = self.run(Repeatable::No, transaction_fault, send).await?;
        self.measure_all(Operation::Transact, answer.consumed_capacity());
        self.sync_store().await
    }

    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        if items.is_empty() {
            return Ok(());
        }
        match &self.engine {
            Some(engine) => self.engine_put_all(engine, table, items).await?,
            None => self.put_batches(table, items).await?,
        }
        self.sync_store().await
    }
}

/// An unconditional write is the same when it is done twice.
fn repeatable(condition: &Condition) -> Repeatable {
    match condition {
        Condition::Always => Repeatable::Yes,
        _ => Repeatable::No,
    }
}

fn transaction_units(write: &Write) -> u32 {
    match write {
        Write::Put { item, .. } => write_units(item).saturating_mul(2),
        Write::Delete { .. } | Write::Check { .. } => 2,
    }
}

fn refused(why: impl ToString) -> StoreError {
    StoreError::Refused(why.to_string())
}

fn read_consumed(consumed: &ConsumedCapacity) -> Consumed {
    Consumed {
        total: consumed.capacity_units(),
        write: consumed.write_capacity_units(),
        read: consumed.read_capacity_units(),
    }
}
