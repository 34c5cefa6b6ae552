//! REVERSE: what a reversal takes back, or why it does not. Pure; a part of the fold.
//!
//! A reversal finds its original among the rows of this chunk, which are not written yet, or among
//! those that [`resolve`](super::resolve) has read. The row of the original is never changed. The
//! reversal has a row of its own beside it, which holds the position of the reversal that won: that
//! is how a second reversal is told from a rerun of the first.

use std::sync::Arc;

use super::candidate::{PendingReversal, Reject};
use super::chunk::ChunkState;
use super::originals::Original;
use super::usage_rows::{FoundRows, row_ahead};
use crate::domain::amount::Points;
use crate::domain::event::{BEHIND_MS_MAX, Reason, Rejection};
use crate::domain::ids::{Account, AccountKind, AccountRef};
use crate::domain::posting::Charge;
use crate::domain::rating::is_successful;
use crate::pipeline::failure::{Failure, HaltCode};
use crate::pipeline::follower::Chains;
use crate::pipeline::hashed::AccountHash;
use crate::store::db::{Attr, Item, Key, StoreError, Table};
use crate::store::losses::LostChunk;
use crate::store::usage::{self, RatedEvent, StoredReversal};

/// What becomes of a reversal.
enum Judgement {
    Accepted(Box<RatedEvent>),
    /// The same reversal came before.
    Repeat,
    Refused(Rejection),
}

impl<'r> ChunkState<'r> {
    /// The rows of the originals and of their reversals, as far as they must be looked up.
    pub(super) fn keys_of_originals(&self) -> Vec<Key> {
        let reversals = self.intake.reversals.iter();
        let asks = |pending: &&PendingReversal<'_>| self.rows.is_on && !is_too_old(pending);
        let keys = reversals.filter(asks).flat_map(|pending| {
            let original = &pending.original;
            [usage::reversal_key(original), original.clone()]
        });
        keys.collect()
    }

    /// Takes up the rows that were found. Rows of chunks that were lost before anything was counted say
    /// nothing.
    pub(super) fn take_originals(
        &mut self,
        rows: &FoundRows,
        lost: &[LostChunk],
    ) -> Result<(), StoreError> {
        for pending in &self.intake.reversals {
            let key = &pending.original;
            let reversal_key = usage::reversal_key(key);
            if let Some(item) = rows.get(key) {
                let rated = RatedEvent::of(key, item)?;
                let own = self.rows.position(pending.record.offset);
                let is_shown = self.protections.shows_row(rated.position, own);
                if is_shown
                    && !lost
                        .iter()
                        .any(|lost| lost.holds(rated.partition, rated.position))
                {
                    self.known.rated.insert(key.clone(), rated);
                }
            }
            if let Some(item) = rows.get(&reversal_key) {
                let found = StoredReversal::of(&reversal_key, item)?;
                if !lost
                    .iter()
                    .any(|lost| lost.holds(found.partition, found.position))
                {
                    self.known.reversals.insert(key.clone(), found);
                }
            }
        }
        Ok(())
    }

    /// The accounts whose referral chains must be known. Those of originals of this chunk are.
    pub(super) fn accounts_of_originals(&self) -> Vec<Account> {
        let reversals = self.intake.reversals.iter();
        let accounts = reversals.filter_map(|pending| {
            let rated = self.known.rated.get(&pending.original)?;
            let user = AccountRef {
                kind: AccountKind::User,
                id: &pending.reversal.user,
            };
            let parties = [Some(user), provider_of(rated)];
            Some(
                parties
                    .into_iter()
                    .flatten()
                    .map(|party| party.to_account()),
            )
        });
        accounts.flatten().collect()
    }

    /// Takes a reversal. Everything before it in the log is folded.
    pub(super) fn reverse(
        &mut self,
        pending: &PendingReversal<'r>,
        chains: &Chains,
    ) -> Result<(), Failure> {
        match self.judge_reversal(pending)? {
            Judgement::Accepted(rated) => self.accept_reversal(pending, &rated, chains)?,
            Judgement::Repeat => self.intake.duplicates += 1,
            Judgement::Refused(rejection) => {
                self.intake.rejects.push(Reject {
                    record: pending.record,
                    log_time: pending.log_time,
                    rejection,
                });
            }
        }
        Ok(())
    }

    fn judge_reversal(&mut self, pending: &PendingReversal<'_>) -> Result<Judgement, Failure> {
        let refused = |rejection| Ok(Judgement::Refused(rejection));
        if !self.rows.is_on {
            return refused(unknown_original(
                "usage rows are switched off, so that no request can be looked up",
            ));
        }
        if is_too_old(pending) {
            return refused(too_old(pending));
        }
        let key = &pending.original;
        let own = self.rows.position(pending.record.offset);
        let Some(rated) = self.original(key)?.filter(|rated| rated.position < own) else {
            return refused(unknown_original(
                "no accepted request has this user, source, id and time",
            ));
        };
        if !is_successful(rated.status) || earned_nothing(&rated) {
            return refused(nothing_to_reverse());
        }
        match self.reversal_of(key)? {
            Some(found) if found.position > own => Err(row_ahead(own, found.position)),
            Some(found) if found.position < own => match is_same(&found, pending) {
                true => Ok(Judgement::Repeat),
                false => refused(already_reversed(&found)),
            },
            _ => Ok(Judgement::Accepted(Box::new(rated))),
        }
    }

    fn accept_reversal(
        &mut self,
        pending: &PendingReversal<'_>,
        rated: &RatedEvent,
        chains: &Chains,
    ) -> Result<(), Failure> {
        let control = self
            .protections
            .rules_of_original(rated.control, self.rows.control);
        let timeline = match self.known.timelines.get(&control) {
            Some(timeline) => Arc::clone(timeline),
            None => self.fold.timeline(),
        };
        let service = timeline.services().of_endpoint(&rated.endpoint);
        let service = service.ok_or_else(|| unknown_service(pending, rated))?;
        let chain_of = |account: AccountRef<'_>| {
            let known = chains.of(AccountHash::of(account), account, control);
            known.flatten()
        };
        let user = AccountRef {
            kind: AccountKind::User,
            id: &pending.reversal.user,
        };
        let original = Original {
            rated,
            service,
            timeline: &timeline,
            user,
            user_chain: chain_of(user),
            provider: provider_of(rated).map(|provider| (provider, chain_of(provider))),
        };
        let slot = self.fold.take_back(&original, pending.log_time);
        self.items.push(self.rows.reversal_item(pending, slot));
        self.tally.reversed += 1;
        Ok(())
    }

    /// The original of this key, if it was rated in this chunk or its row was found.
    fn original(&mut self, key: &Key) -> Result<Option<RatedEvent>, StoreError> {
        match self.item_of_chunk(key) {
            Some(item) => RatedEvent::of(key, item).map(Some),
            None => Ok(self.known.rated.get(key).cloned()),
        }
    }

    /// The reversal of the original of this key, likewise.
    fn reversal_of(&mut self, original: &Key) -> Result<Option<StoredReversal>, StoreError> {
        let key = usage::reversal_key(original);
        match self.item_of_chunk(&key) {
            Some(item) => StoredReversal::of(&key, item).map(Some),
            None => Ok(self.known.reversals.get(original).cloned()),
        }
    }

    /// The row of this key that the chunk will write, as far as it is folded.
    fn item_of_chunk(&mut self, key: &Key) -> Option<&Item> {
        for (place, item) in self.items.iter().enumerate().skip(self.indexed) {
            if let Some(key) = key_of_item(item) {
                self.in_chunk.insert(key, place);
            }
        }
        self.indexed = self.items.len();
        let place = *self.in_chunk.get(key)?;
        self.items.get(place)
    }
}

fn key_of_item(item: &Item) -> Option<Key> {
    let (hash, range) = Table::UsageTracking.keys();
    match (item.get(hash)?, item.get(range?)?) {
        (Attr::S(hash), Attr::S(range)) => Some(Key::new(Table::UsageTracking, hash, range)),
        _ => None,
    }
}

fn provider_of(rated: &RatedEvent) -> Option<AccountRef<'_>> {
    rated.provider.as_deref().map(|id| AccountRef {
        kind: AccountKind::Provider,
        id,
    })
}

/// Rows live longer than that, so that a rerun decides the same.
fn is_too_old(pending: &PendingReversal<'_>) -> bool {
    pending.reversal.original.time < pending.log_time.plus(-BEHIND_MS_MAX)
}

fn earned_nothing(rated: &RatedEvent) -> bool {
    let points = [rated.provider_points, rated.user_points];
    points == [Points::ZERO; 2] && rated.charge == Charge::default()
}

fn is_same(found: &StoredReversal, pending: &PendingReversal<'_>) -> bool {
    found.source == pending.reversal.source && found.id == pending.reversal.id
}

fn unknown_service(pending: &PendingReversal<'_>, rated: &RatedEvent) -> Failure {
    let key = &pending.original;
    let what = format!(
        "the usage row {}/{} has the endpoint '{}', which was no service's when it was rated",
        key.hash, key.range, rated.endpoint
    );
    Failure::halt(HaltCode::RowUnreadable, what)
}

fn refusal(reason: Reason, field: Option<&'static str>, detail: impl Into<String>) -> Rejection {
    Rejection {
        reason,
        field,
        detail: detail.into(),
    }
}

fn unknown_original(detail: &str) -> Rejection {
    refusal(Reason::UnknownOriginal, Some("data"), detail)
}

fn too_old(pending: &PendingReversal<'_>) -> Rejection {
    let (time, log_time) = (pending.reversal.original.time, pending.log_time);
    let detail = format!(
        "the request's time {time} is more than 35 days behind the log's, {log_time}; correct it by an adjustment"
    );
    refusal(Reason::TooOld, Some("data.time"), detail)
}

fn nothing_to_reverse() -> Rejection {
    let detail = "the request earned and cost nothing";
    refusal(Reason::NothingToReverse, Some("data"), detail)
}

fn already_reversed(found: &StoredReversal) -> Rejection {
    let detail = format!(
        "the request was reversed before, by '{}' of '{}'",
        found.id, found.source
    );
    refusal(Reason::AlreadyReversed, Some("data"), detail)
}
