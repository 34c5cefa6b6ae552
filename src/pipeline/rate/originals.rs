//! What amendments are about, as far as it is known: the rows of earlier events, of their completions
//! and of their reversals. Pure.
//!
//! They are found among the rows of this chunk, which are not written yet, or among those that
//! [`resolve`](super::resolve) has read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::candidate::Amendment;
use super::chunk::ChunkState;
use super::usage_rows::{FoundRows, row_ahead};
use crate::domain::event::Service;
use crate::domain::ids::{Account, AccountKind, AccountRef};
use crate::domain::position::{Control, Position};
use crate::domain::rules::Timeline;
use crate::pipeline::failure::{Failure, HaltCode};
use crate::pipeline::follower::{Chain, Chains};
use crate::pipeline::hashed::AccountHash;
use crate::store::db::{Attr, Item, Key, StoreError, Table};
use crate::store::losses::LostChunk;
use crate::store::usage::{self, RatedEvent, StoredReversal};

/// An event that is amended, with everything that decided what it earned.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// How it was rated.
    pub rated: &'a RatedEvent,
    /// Its service.
    pub service: Service,
    /// The rules as of the control position with which it was rated.
    pub timeline: &'a Timeline,
    /// Its user.
    pub user: Party<'a>,
    /// Its provider.
    pub provider: Option<Party<'a>>,
}

/// An account, and its referral chain as of a control position.
#[derive(Clone, Copy, Debug)]
pub struct Party<'a> {
    /// The account.
    pub account: AccountRef<'a>,
    /// Who referred it.
    pub chain: Option<&'a Chain>,
}

impl<'a> Party<'a> {
    /// An account whose chain is known, as of a control position.
    pub(super) fn of(account: AccountRef<'a>, chains: &'a Chains, as_of: Control) -> Party<'a> {
        let known = chains.of(AccountHash::of(account), account, as_of);
        Party {
            account,
            chain: known.flatten(),
        }
    }
}

/// What is known of originals.
#[derive(Default)]
pub(super) struct KnownOriginals {
    /// Their rows, and those of their completions and reversals.
    rows: FoundRows,
    timelines: BTreeMap<Control, Arc<Timeline>>,
}

impl KnownOriginals {
    /// The control positions with which they were rated.
    pub(super) fn controls(&self) -> Result<Vec<Control>, StoreError> {
        let rows = self.rows.iter();
        let events = rows.filter(|(key, _)| usage::reversed_range(&key.range).is_none());
        let controls = events.map(|(key, item)| Ok(RatedEvent::of(key, item)?.control));
        let mut controls: Vec<Control> = controls.collect::<Result<_, StoreError>>()?;
        controls.sort_unstable();
        controls.dedup();
        Ok(controls)
    }

    /// Takes the rules as of a control position.
    pub(super) fn learn_rules(&mut self, control: Control, timeline: Arc<Timeline>) {
        self.timelines.insert(control, timeline);
    }
}

impl ChunkState<'_> {
    /// The rows of originals and of what amended them, as far as they must be looked up.
    pub(super) fn keys_of_originals(&self) -> Vec<Key> {
        let asks = |amendment: &&Amendment<'_>| self.rows.is_on && !amendment.is_too_old();
        let keys = self.amendments.iter().filter(asks).flat_map(|amendment| {
            let original = amendment.original();
            [
                original.clone(),
                usage::completion_key(original),
                usage::reversal_key(original),
            ]
        });
        keys.collect()
    }

    /// Takes up the rows that were found. Rows of chunks that were lost before anything was counted say
    /// nothing.
    pub(super) fn take_originals(
        &mut self,
        mut rows: FoundRows,
        lost: &[LostChunk],
    ) -> Result<(), StoreError> {
        for amendment in &self.amendments {
            let own = self.rows.position(amendment.offset());
            let key = amendment.original();
            let keys = [
                key.clone(),
                usage::completion_key(key),
                usage::reversal_key(key),
            ];
            for key in keys {
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

    /// The event of this key as it was rated before `own`, with the key and the row that say so: those of
    /// its completion, if it has one.
    pub(super) fn rated_before(
        &self,
        original: &Key,
        own: Position,
    ) -> Result<Option<RatedEvent>, StoreError> {
        for key in [usage::completion_key(original), original.clone()] {
            if let Some(item) = self.row(&key) {
                let rated = RatedEvent::of(&key, item)?;
                if rated.position < own {
                    return Ok(Some(rated));
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

    /// Makes the rows known that this chunk has made so far.
    pub(super) fn index_rows(&mut self) {
        for (place, item) in self.items.iter().enumerate().skip(self.indexed) {
            if let Some(key) = key_of_item(item) {
                self.in_chunk.insert(key, place);
            }
        }
        self.indexed = self.items.len();
    }
}

fn key_of_item(item: &Item) -> Option<Key> {
    let (hash, range) = Table::UsageTracking.keys();
    match (item.get(hash)?, item.get(range?)?) {
        (Attr::S(hash), Attr::S(range)) => Some(Key::new(Table::UsageTracking, hash, range)),
        _ => None,
    }
}

/// Who served an event.
pub(super) fn provider_of(rated: &RatedEvent) -> Option<AccountRef<'_>> {
    rated.provider.as_deref().map(|id| AccountRef {
        kind: AccountKind::Provider,
        id,
    })
}

/// The service of an event, as of the rules by which it was rated.
pub(super) fn service_of(
    key: &Key,
    rated: &RatedEvent,
    timeline: &Timeline,
) -> Result<Service, Failure> {
    let service = timeline.services().of_endpoint(&rated.endpoint);
    service.ok_or_else(|| {
        let what = format!(
            "the usage row {}/{} has the endpoint '{}', which was no service's when it was rated",
            key.hash, key.range, rated.endpoint
        );
        Failure::halt(HaltCode::RowUnreadable, what)
    })
}

/// Where an amendment stands to the one that its event has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Turn {
    /// It is the one, and its chunk is rated again.
    Own,
    /// Another one came before.
    Later,
}

/// Compares an amendment with the one that won.
pub(super) fn turn(own: Position, won: Position) -> Result<Turn, Failure> {
    match won.cmp(&own) {
        std::cmp::Ordering::Greater => Err(row_ahead(own, won)),
        std::cmp::Ordering::Equal => Ok(Turn::Own),
        std::cmp::Ordering::Less => Ok(Turn::Later),
    }
}
