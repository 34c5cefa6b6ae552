//! The engine of this process, called without the AWS client: a request that is put into JSON, sent
//! and read back costs several times what the engine takes for it. Which failures may be tried
//! again, what is metered, and what an answered write promises is as for every other store.

use std::collections::{HashMap, HashSet};
use std::iter::Peekable;
use std::sync::Arc;

use dynoxide::actions::batch_get_item::{BatchGetItemRequest, KeysAndAttributes};
use dynoxide::actions::delete_item::DeleteItemRequest;
use dynoxide::actions::get_item::GetItemRequest;
use dynoxide::actions::put_item::PutItemRequest;
use dynoxide::actions::query::QueryRequest;
use dynoxide::actions::scan::ScanRequest;
use dynoxide::actions::transact_write_items::{
    TransactConditionCheck, TransactDelete, TransactPut, TransactWriteItem,
    TransactWriteItemsRequest,
};
use dynoxide::types::ConsumedCapacity;
use dynoxide::{AttributeValue, ImportOptions};

use super::engine::Engine;
use super::items::{self, Expression, expression, key_condition, key_wire, to_wire, write_units};
use super::retry::{Repeatable, engine_fault};
use super::{DynamoDb, refused, repeatable};
use crate::store::db::{
    BATCH_GET_KEYS_MAX, Condition, ITEM_BYTES_MAX, Item, Key, Page, Query, StoreError, Table, Write,
};
use crate::store::meter::{Consumed, Operation};

/// Most unconditional puts in one transaction of the engine, and most of their bytes. Other requests
/// wait while it runs.
const PUTS_TOGETHER: usize = 250;
const PUT_BYTES_TOGETHER: usize = 1 << 20;

/// The write units of an unconditional put, estimated, since the engine does not report them: an
/// index that holds the item too costs as much again.
fn units_of(table: Table, item: &Item) -> u32 {
    let is_indexed = table
        .index()
        .is_some_and(|(_, key)| item.get(key).is_some());
    write_units(item) * (1 + u32::from(is_indexed))
}

/// The next items of a batch that are put together. The engine neither looks at their sizes nor
/// minds two of one key, and DynamoDB would refuse both.
fn next_puts(
    table: Table,
    items: &mut Peekable<impl Iterator<Item = Item>>,
) -> Result<Vec<Item>, StoreError> {
    let (mut together, mut keys, mut bytes) = (Vec::new(), HashSet::new(), 0);
    let fits = |count: usize, bytes: usize| count < PUTS_TOGETHER && bytes < PUT_BYTES_TOGETHER;
    while fits(together.len(), bytes)
        && let Some(item) = items.next()
    {
        let size = items::bytes(&item);
        if size > ITEM_BYTES_MAX {
            return Err(refused("an item is larger than DynamoDB allows"));
        }
        if !keys.insert(items::key_of(table, &item)) {
            return Err(refused("a batch puts two items of one key"));
        }
        bytes += size;
        together.push(item);
    }
    Ok(together)
}

/// Asks that the answer report the units that were consumed.
fn total() -> Option<String> {
    Some("TOTAL".to_owned())
}

impl DynamoDb {
    pub(super) async fn engine_get(
        &self,
        engine: &Engine,
        key: &Key,
    ) -> Result<Option<Item>, StoreError> {
        let send = || {
            let request = GetItemRequest {
                table_name: self.table_name(key.table),
                key: key_wire(key),
                consistent_read: Some(true),
                return_consumed_capacity: total(),
                ..GetItemRequest::default()
            };
            engine.call(Operation::Get, move |db| db.get_item(request))
        };
        let answer = self.run(Repeatable::Yes, engine_fault, send).await?;
        self.engine_consumed(Operation::Get, answer.consumed_capacity.as_ref());
        match answer.item {
            Some(wire) => self.read_item(key.table, wire),
            None => Ok(None),
        }
    }

    pub(super) async fn engine_get_all(
        &self,
        engine: &Engine,
        keys: &[Key],
    ) -> Result<Vec<Option<Item>>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(BATCH_GET_KEYS_MAX) {
            found.extend(self.engine_get_batch(engine, keys).await?);
        }
        Ok(found)
    }

    async fn engine_get_batch(
        &self,
        engine: &Engine,
        keys: &[Key],
    ) -> Result<Vec<Option<Item>>, StoreError> {
        let mut found: HashMap<Key, Item> = HashMap::with_capacity(keys.len());
        let mut wanted = keys.to_vec();
        // An answer has a bounded size, and may leave keys for another one. Those that are absent are
        // asked for again with them, which costs a look-up.
        while !wanted.is_empty() {
            let send = || {
                let request = BatchGetItemRequest {
                    request_items: self.engine_wanted(&wanted),
                    return_consumed_capacity: total(),
                };
                engine.call(Operation::BatchGet, move |db| db.batch_get_item(request))
            };
            let answer = self.run(Repeatable::Yes, engine_fault, send).await?;
            for consumed in answer.consumed_capacity.iter().flatten() {
                self.engine_consumed(Operation::BatchGet, Some(consumed));
            }
            let is_whole = answer.unprocessed_keys.is_empty();
            let before = found.len();
            self.collect(answer.responses, &mut found)?;
            if is_whole {
                break;
            }
            if found.len() == before {
                return Err(StoreError::Unavailable(
                    "the store left keys unread".to_owned(),
                ));
            }
            wanted.retain(|key| !found.contains_key(key));
        }
        Ok(keys.iter().map(|key| found.remove(key)).collect())
    }

    fn engine_wanted(&self, keys: &[Key]) -> HashMap<String, KeysAndAttributes> {
        let mut by_table: HashMap<String, KeysAndAttributes> = HashMap::new();
        for key in keys {
            let wanted = by_table.entry(self.table_name(key.table)).or_default();
            wanted.consistent_read = Some(true);
            wanted.keys.push(key_wire(key));
        }
        by_table
    }

    pub(super) async fn engine_query(
        &self,
        engine: &Engine,
        query: &Query,
    ) -> Result<Page, StoreError> {
        let key: Expression<AttributeValue> = key_condition(query)?;
        let index = query.index.then(|| query.table.index()).flatten();
        let send = || {
            let key = key.clone();
            let request = QueryRequest {
                table_name: self.table_name(query.table),
                index_name: index.map(|(name, _)| name.to_owned()),
                consistent_read: Some(!query.index),
                key_condition_expression: key.text,
                expression_attribute_names: key.names,
                expression_attribute_values: key.values,
                scan_index_forward: !query.descending,
                limit: query.limit.map(|most| most as usize),
                exclusive_start_key: query.after.clone().map(to_wire),
                return_consumed_capacity: total(),
                ..QueryRequest::default()
            };
            engine.call(Operation::Query, move |db| db.query(request))
        };
        let answer = self.run(Repeatable::Yes, engine_fault, send).await?;
        self.engine_consumed(Operation::Query, answer.consumed_capacity.as_ref());
        let items = answer.items.unwrap_or_default();
        self.read_page(query.table, items, answer.last_evaluated_key)
    }

    pub(super) async fn engine_scan(
        &self,
        engine: &Engine,
        table: Table,
        after: Option<Item>,
    ) -> Result<Page, StoreError> {
        let send = || {
            let request = ScanRequest {
                table_name: self.table_name(table),
                consistent_read: Some(true),
                exclusive_start_key: after.clone().map(to_wire),
                return_consumed_capacity: total(),
                ..ScanRequest::default()
            };
            engine.call(Operation::Scan, move |db| db.scan(request))
        };
        let answer = self.run(Repeatable::Yes, engine_fault, send).await?;
        self.engine_consumed(Operation::Scan, answer.consumed_capacity.as_ref());
        let items = answer.items.unwrap_or_default();
        self.read_page(table, items, answer.last_evaluated_key)
    }

    pub(super) async fn engine_put(
        &self,
        engine: &Engine,
        table: Table,
        item: &Item,
        condition: &Condition,
    ) -> Result<(), StoreError> {
        self.admit(write_units(item)).await;
        let when: Expression<AttributeValue> = expression(table, condition, self.clock.now());
        let send = || {
            let when = when.clone();
            let request = PutItemRequest {
                table_name: self.table_name(table),
                item: to_wire(item.clone()),
                condition_expression: when.text,
                expression_attribute_names: when.names,
                expression_attribute_values: when.values,
                return_consumed_capacity: total(),
                ..PutItemRequest::default()
            };
            engine.call(Operation::Put, move |db| db.put_item(request))
        };
        let answer = self.run(repeatable(condition), engine_fault, send).await?;
        self.engine_consumed(Operation::Put, answer.consumed_capacity.as_ref());
        Ok(())
    }

    pub(super) async fn engine_delete(
        &self,
        engine: &Engine,
        key: &Key,
        condition: &Condition,
    ) -> Result<(), StoreError> {
        self.admit(1).await;
        let when: Expression<AttributeValue> = expression(key.table, condition, self.clock.now());
        let send = || {
            let when = when.clone();
            let request = DeleteItemRequest {
                table_name: self.table_name(key.table),
                key: key_wire(key),
                condition_expression: when.text,
                expression_attribute_names: when.names,
                expression_attribute_values: when.values,
                return_consumed_capacity: total(),
                ..DeleteItemRequest::default()
            };
            engine.call(Operation::Delete, move |db| db.delete_item(request))
        };
        let answer = self.run(repeatable(condition), engine_fault, send).await?;
        self.engine_consumed(Operation::Delete, answer.consumed_capacity.as_ref());
        Ok(())
    }

    pub(super) async fn engine_transact(
        &self,
        engine: &Engine,
        writes: &[Write],
    ) -> Result<(), StoreError> {
        let parts = writes.iter().filter_map(|write| self.engine_part(write));
        let parts: Vec<TransactWriteItem> = parts.collect();
        if parts.is_empty() {
            return Ok(());
        }
        let send = || {
            let request = TransactWriteItemsRequest {
                transact_items: parts.clone(),
                return_consumed_capacity: total(),
                ..TransactWriteItemsRequest::default()
            };
            engine.call(Operation::Transact, move |db| {
                db.transact_write_items(request)
            })
        };
        let answer = self.run(Repeatable::No, engine_fault, send).await?;
        for consumed in answer.consumed_capacity.iter().flatten() {
            self.engine_consumed(Operation::Transact, Some(consumed));
        }
        Ok(())
    }

    /// A write as a part of a transaction; `None` for a check of nothing.
    fn engine_part(&self, write: &Write) -> Option<TransactWriteItem> {
        let mut part = TransactWriteItem::default();
        match write {
            Write::Put {
                table,
                item,
                condition,
            } => {
                let when = expression(*table, condition, self.clock.now());
                part.put = Some(TransactPut {
                    table_name: self.table_name(*table),
                    item: to_wire(item.clone()),
                    condition_expression: when.text,
                    expression_attribute_names: when.names,
                    expression_attribute_values: when.values,
                    ..TransactPut::default()
                });
            }
            Write::Delete { key, condition } => {
                let when = expression(key.table, condition, self.clock.now());
                part.delete = Some(TransactDelete {
                    table_name: self.table_name(key.table),
                    key: key_wire(key),
                    condition_expression: when.text,
                    expression_attribute_names: when.names,
                    expression_attribute_values: when.values,
                    ..TransactDelete::default()
                });
            }
            Write::Check { key, condition } => {
                let when = expression(key.table, condition, self.clock.now());
                part.condition_check = Some(TransactConditionCheck {
                    table_name: self.table_name(key.table),
                    key: key_wire(key),
                    condition_expression: when.text?,
                    expression_attribute_names: when.names,
                    expression_attribute_values: when.values,
                    ..TransactConditionCheck::default()
                });
            }
        }
        Some(part)
    }

    /// Unconditional puts, many in one transaction of the engine: a batch of DynamoDB's takes one
    /// for each.
    pub(super) async fn engine_put_all(
        &self,
        engine: &Engine,
        table: Table,
        items: Vec<Item>,
    ) -> Result<(), StoreError> {
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let together: Arc<[Item]> = next_puts(table, &mut items)?.into();
            self.admit(together.iter().map(write_units).sum()).await;
            let name = self.table_name(table);
            let send = || {
                let (name, items) = (name.clone(), Arc::clone(&together));
                engine.call(Operation::BatchPut, move |db| {
                    let items = items.iter().cloned().map(to_wire).collect();
                    db.import_items(&name, items, ImportOptions::default())
                })
            };
            self.run(Repeatable::Yes, engine_fault, send).await?;
            let units: u32 = together.iter().map(|item| units_of(table, item)).sum();
            let consumed = Consumed {
                write: Some(f64::from(units)),
                ..Consumed::default()
            };
            self.meter.add(table, Operation::BatchPut, consumed);
        }
        Ok(())
    }

    fn engine_consumed(&self, operation: Operation, consumed: Option<&ConsumedCapacity>) {
        let Some(consumed) = consumed else {
            return;
        };
        if let Some(table) = self.table_of(&consumed.table_name) {
            let consumed = Consumed {
                total: Some(consumed.capacity_units),
                write: consumed.write_capacity_units,
                read: consumed.read_capacity_units,
            };
            self.meter.add(table, operation, consumed);
        }
    }
}
