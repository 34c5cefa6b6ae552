//! What is known of the events that amendments are about: their rows, and those of their
//! completions and reversals. Pure.
//!
//! They are found among the rows of this chunk, which are not written yet, or among those that
//! [`resolve`](super::resolve) has read.

use std::sync::Arc;

use super::candidate::Amendment;
use super::chunk::ChunkState;
use super::originals::{provider_of, rows_of};
use super::usage_rows::FoundRows;
use crate::domain::ids::Account;
use crate::domain::position::{Control, Position};
use crate::domain::rules::Timeline;
use crate::store::db::{Attr, Item, Key, StoreError, Table};
use crate::store::losses::LostChunk;
use crate::store::usage::{self, RatedEvent, StoredReversal};

impl ChunkState<'_> {
    /// The rows of originals and of what amended them, as far as they must be looked up.
    pub(super) fn keys_of_originals(&self) -> Vec<Key> {
        let asks = |amendment: &&Amendment<'_>| self.rows.is_on && !amendment.is_too_old();
        let amendments = self.amendments.iter().filter(asks);
        amendments
            .flat_map(|amendment| rows_of(amendment.original()))
            .collect()
    }

    /// Takes up the rows that were found. Rows of chunks that were lost before anything was counted
    /// say nothing.
    pub(super) fn take_originals(
        &mut self,
        mut rows: FoundRows,
        lost: &[LostChunk],
    ) -> Result<(), StoreError> {
        for amendment in &self.amendments {
            let own = self.rows.position(amendment.offset());
            for key in rows_of(amendment.original()) {
                // Another amendment of the same original may have taken it up.
                let Some((key, item)) = rows.remove_entry(&key) else {
                    continue;
                };
                let (partition, position) = usage::winner(&key, &item)?;
                let is_void = lost.iter().any(|lost| lost.holds(partition, position));
                if !is_void && self.protections.shows_row(position, own) {
                    self.known.rows.insert(key, item);
                }
            }
        }
        Ok(())
    }

    /// The accounts whose referral chains must be known.
    pub(super) fn accounts_of_originals(&self) -> Result<Vec<Account>, StoreError> {
        let mut accounts = Vec::new();
        for amendment in &self.amendments {
            accounts.extend(amendment.parties().map(|party| party.to_account()));
            let key = amendment.original();
            for key in [key.clone(), usage::completion_key(key)] {
                if let Some(item) = self.known.rows.get(&key) {
                    let rated = RatedEvent::of(&key, item)?;
                    accounts.extend(provider_of(&rated).map(|party| party.to_account()));
                }
            }
        }
        Ok(accounts)
    }

    /// The rules as of the control position with which an original was rated.
    pub(super) fn rules_as_of(&self, control: Control) -> Arc<Timeline> {
        match self.known.timelines.get(&control) {
            Some(timeline) => Arc::clone(timeline),
            // It was rated in this chunk.
            None => self.fold.timeline(),
        }
    }

    /// The event of this key as it was rated before `own`, and the key of the row that says so:
    /// that of its completion, if it has one.
    pub(super) fn rated_before(
        &self,
        original: &Key,
        own: Position,
    ) -> Result<Option<(Key, RatedEvent)>, StoreError> {
        for key in [usage::completion_key(original), original.clone()] {
            if let Some(item) = self.row(&key) {
                let rated = RatedEvent::of(&key, item)?;
                if rated.position < own {
                    return Ok(Some((key, rated)));
                }
            }
        }
        Ok(None)
    }

    /// The reversal of the event of this key.
    pub(super) fn reversal_of(&self, original: &Key) -> Result<Option<StoredReversal>, StoreError> {
        let key = usage::reversal_key(original);
        let item = self.row(&key);
        item.map(|item| StoredReversal::of(&key, item)).transpose()
    }

    /// The row of this key, as it stands in the table or as this chunk will write it.
    pub(super) fn row(&self, key: &Key) -> Option<&Item> {
        let in_chunk = self.in_chunk.get(key);
        let in_chunk = in_chunk.and_then(|place| self.items.get(*place));
        in_chunk.or_else(|| self.known.rows.get(key))
    }

    /// Makes known which of the rows that this chunk has made so far the amendments may ask for.
    pub(super) fn index_rows(&mut self) {
        for (place, item) in self.items.iter().enumerate().skip(self.indexed) {
            if let Some((hash, range)) = key_of_item(item)
                && self.sought.contains(range)
            {
                let key = Key::new(Table::UsageTracking, hash, range);
                self.in_chunk.insert(key, place);
            }
        }
        self.indexed = self.items.len();
    }
}

fn key_of_item(item: &Item) -> Option<(&str, &str)> {
    let (hash, range) = Table::UsageTracking.keys();
    match (item.get(hash)?, item.get(range?)?) {
        (Attr::S(hash), Attr::S(range)) => Some((hash, range)),
        _ => None,
    }
}
