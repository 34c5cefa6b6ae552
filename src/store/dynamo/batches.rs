//! Batches: DynamoDB may answer for a part of one; the rest is asked again.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{
    KeysAndAttributes, PutRequest, ReturnConsumedCapacity, WriteRequest,
};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::items::{self, Wire, WireValue, key_wire, to_wire, write_units};
use super::retry::{Repeatable, fault};
use super::{DynamoDb, refused};
use crate::store::db::{BATCH_GET_KEYS_MAX, BATCH_WRITE_ITEMS_MAX, Item, Key, StoreError, Table};
use crate::store::meter::Operation;

impl DynamoDb {
    pub(super) async fn get_batches(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let chunks: Vec<Vec<Key>> = keys
            .chunks(BATCH_GET_KEYS_MAX)
            .map(<[Key]>::to_vec)
            .collect();
        let chunks: Vec<Vec<Option<Item>>> = stream::iter(chunks)
            .map(|chunk| self.get_batch(chunk))
            .buffered(self.batch_concurrency)
            .try_collect()
            .await?;
        Ok(chunks.into_iter().flatten().collect())
    }

    async fn get_batch(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
        let mut found: HashMap<Key, Item> = HashMap::with_capacity(keys.len());
        let mut wanted = self.wanted(&keys)?;
        let mut retry = self.retry();
        while !wanted.is_empty() {
            let request = self
                .client
                .batch_get_item()
                .set_request_items(Some(wanted))
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let send = || request.clone().send();
            let answer = self
                .run_within(&mut retry, Repeatable::Yes, fault, send)
                .await?;
            self.measure_all(Operation::BatchGet, answer.consumed_capacity());
            let before = found.len();
            self.collect(answer.responses.unwrap_or_default(), &mut found)?;
            wanted = answer.unprocessed_keys.unwrap_or_default();
            if !wanted.is_empty() {
                if found.len() > before {
                    retry.begin_anew();
                }
                self.meter.throttled();
                let why = "the store left keys unread".to_owned();
                self.wait(&mut retry, why).await?;
            }
        }
        Ok(keys.iter().map(|key| found.remove(key)).collect())
    }

    fn wanted(&self, keys: &[Key]) -> Result<HashMap<String, KeysAndAttributes>, StoreError> {
        let mut by_table: HashMap<String, Vec<Wire>> = HashMap::new();
        for key in keys {
            let name = self.table_name(key.table);
            by_table.entry(name).or_default().push(key_wire(key));
        }
        let request = |keys| {
            KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .consistent_read(true)
                .build()
                .map_err(refused)
        };
        by_table
            .into_iter()
            .map(|(name, keys)| Ok((name, request(keys)?)))
            .collect()
    }

    /// Takes the items of an answer about several tables.
    pub(super) fn collect<V: WireValue>(
        &self,
        responses: HashMap<String, Vec<Wire<V>>>,
        found: &mut HashMap<Key, Item>,
    ) -> Result<(), StoreError> {
        for (name, wires) in responses {
            let Some(table) = self.table_of(&name) else {
                continue;
            };
            for wire in wires {
                let item = items::from_wire(table, wire)?;
                let key = items::key_of(table, &item)
                    .ok_or_else(|| refused("the store answered with an item without its key"))?;
                found.insert(key, item);
            }
        }
        Ok(())
    }

    pub(super) async fn put_batches(
        &self,
        table: Table,
        items: Vec<Item>,
    ) -> Result<(), StoreError> {
        let mut items = items.into_iter().peekable();
        let mut chunks = Vec::new();
        while items.peek().is_some() {
            let chunk: Vec<Item> = items.by_ref().take(BATCH_WRITE_ITEMS_MAX).collect();
            chunks.push(chunk);
        }
        stream::iter(chunks)
            .map(|chunk| self.put_batch(table, chunk))
            .buffer_unordered(self.batch_concurrency)
            .try_collect()
            .await
    }

    async fn put_batch(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        self.admit(items.iter().map(write_units).sum()).await;
        let puts = items.into_iter().map(|item| {
            let put = PutRequest::builder().set_item(Some(to_wire(item)));
            let put = put.build().map_err(refused)?;
            Ok(WriteRequest::builder().put_request(put).build())
        });
        let puts: Vec<WriteRequest> = puts.collect::<Result<_, StoreError>>()?;
        let mut left = HashMap::from([(self.table_name(table), puts)]);
        let mut retry = self.retry();
        while !left.is_empty() {
            let before = count(&left);
            let request = self
                .client
                .batch_write_item()
                .set_request_items(Some(left))
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let send = || request.clone().send();
            let answer = self
                .run_within(&mut retry, Repeatable::Yes, fault, send)
                .await?;
            self.measure_all(Operation::BatchPut, answer.consumed_capacity());
            left = answer.unprocessed_items.unwrap_or_default();
            left.retain(|_, puts| !puts.is_empty());
            if !left.is_empty() {
                if count(&left) < before {
                    retry.begin_anew();
                }
                self.meter.throttled();
                let why = "the store left items unwritten".to_owned();
                self.wait(&mut retry, why).await?;
            }
        }
        Ok(())
    }
}

fn count(left: &HashMap<String, Vec<WriteRequest>>) -> usize {
    left.values().map(Vec::len).sum()
}
