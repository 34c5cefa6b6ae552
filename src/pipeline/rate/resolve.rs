//! RESOLVE: everything that rating a chunk needs from the store, asked once per chunk.
//!
//! Most chunks need nothing: the window knows all their duplicates, and the follower all their
//! chains. What a chunk does need is looked up for all its waiting events together. What the
//! answers mean is decided by pure functions of [`ChunkState`].

use std::cmp::Ordering;

use super::candidate::{Amendment, Candidate};
use super::chunk::{ChunkState, later_report};
use super::usage_rows::{FoundRows, row_ahead};
use super::{Rater, no_rules};
use crate::domain::completion::{Comparison, compare};
use crate::domain::ids::Account;
use crate::domain::position::Position;
use crate::domain::time::Millis;
use crate::ops::health::Role;
use crate::pipeline::failure::Failure;
use crate::pipeline::hashed::AccountHash;
use crate::pipeline::retry::persist;
use crate::store::db::{Item, Key, StoreError};
use crate::store::losses::LostChunk;
use crate::store::usage;

/// How many rows are asked for together. A request that fails is repeated with all rows that were
/// asked for together with its own.
const ROWS_TOGETHER: usize = 1_000;

impl Rater<'_> {
    /// Resolves the waiting events: drops those whose usage row says that a copy came before, and
    /// learns the referral chains of the accounts of the others.
    pub(super) async fn resolve(&mut self, chunk: &mut ChunkState<'_>) -> Result<(), Failure> {
        if chunk.waiting.is_empty() && chunk.amendments.is_empty() {
            return Ok(());
        }
        let slow = chunk.keys_to_look_up();
        if self.role == Role::Rate {
            let looked_up = &self.ctx.metrics.slow_lane_events_total;
            looked_up.inc_by(slow.len() as u64);
        }
        chunk.oldest_lookup = chunk.oldest_looked_up();
        let rows = self.usage_rows(slow).await?;
        chunk.drop_forgotten_copies(&rows, &self.void)?;
        self.learn_originals(chunk, rows).await?;
        chunk.meet_waiting();
        chunk.fold.link(self.follower.chains());
        self.learn_chains(chunk.fold.unlinked()).await?;
        chunk.fold.link(self.follower.chains());
        Ok(())
    }

    /// Reads usage rows, strongly consistent.
    async fn usage_rows(&self, mut keys: Vec<Key>) -> Result<FoundRows, Failure> {
        keys.sort_unstable();
        keys.dedup();
        let mut found = FoundRows::new();
        for keys in keys.chunks(ROWS_TOGETHER) {
            let items = persist(self.ctx, || self.ctx.db.batch_get(keys)).await?;
            let rows = keys.iter().cloned().zip(items);
            found.extend(rows.filter_map(|(key, item)| Some((key, item?))));
        }
        Ok(found)
    }

    /// Takes up what amendments are about, with the rules by which it was rated and the chains of
    /// its accounts.
    async fn learn_originals(
        &mut self,
        chunk: &mut ChunkState<'_>,
        mut rows: FoundRows,
    ) -> Result<(), Failure> {
        if chunk.amendments.is_empty() {
            return Ok(());
        }
        chunk.amendments.sort_by_key(Amendment::offset);
        let mut keys = chunk.keys_of_originals();
        keys.retain(|key| !rows.contains_key(key));
        rows.extend(self.usage_rows(keys).await?);
        chunk.take_originals(rows, &self.void)?;
        for control in chunk.known.controls()? {
            let timeline = self.follower.rules(control).ok_or_else(no_rules)?;
            chunk.known.learn_rules(control, timeline);
        }
        let chains = self.follower.chains();
        let mut accounts = chunk.accounts_of_originals()?;
        accounts.retain(|account| {
            let account = account.into();
            let known = chains.of(AccountHash::of(account), account, self.checkpoint.control);
            known.is_none()
        });
        accounts.sort_unstable();
        accounts.dedup();
        self.learn_chains(accounts).await
    }

    /// Reads the referral chains of accounts, each named once.
    async fn learn_chains(&mut self, mut accounts: Vec<Account>) -> Result<(), Failure> {
        accounts.sort_unstable();
        for accounts in accounts.chunks(ROWS_TOGETHER) {
            self.follower.learn(self.ctx, accounts).await?;
        }
        Ok(())
    }
}

impl ChunkState<'_> {
    /// The time of the oldest event whose usage row is looked up, also of those that amendments are
    /// about.
    fn oldest_looked_up(&self) -> Option<Millis> {
        let slow = self.waiting.iter().filter(|waiting| waiting.is_slow());
        let originals = self.amendments.iter().map(Amendment::time);
        slow.map(|waiting| waiting.event.time)
            .chain(originals)
            .min()
    }

    /// The usage rows that must be looked up.
    fn keys_to_look_up(&self) -> Vec<Key> {
        let slow = self.waiting.iter().filter(|waiting| waiting.is_slow());
        slow.map(|candidate| self.rows.key(candidate)).collect()
    }

    /// Drops the waiting events that a copy precedes which the window has forgotten; those that may
    /// complete it become amendments. Rows of chunks that were lost before anything was counted say
    /// nothing.
    fn drop_forgotten_copies(
        &mut self,
        rows: &FoundRows,
        lost: &[LostChunk],
    ) -> Result<(), Failure> {
        let waiting = std::mem::take(&mut self.waiting);
        for candidate in waiting {
            let Some((won, key, row)) = self.winner_of(&candidate, rows, lost)? else {
                self.waiting.push(candidate);
                continue;
            };
            let own = self.rows.position(candidate.record.offset);
            match won.cmp(&own) {
                Ordering::Equal => self.waiting.push(candidate),
                Ordering::Greater => return Err(row_ahead(own, won)),
                Ordering::Less if self.may_complete() && adds(&candidate, &key, row)? => {
                    let report = later_report(candidate, &self.rows);
                    self.amendments.push(report);
                }
                Ordering::Less => self.intake.duplicates += 1,
            }
        }
        Ok(())
    }

    /// The position that won an event, and the row that says so, if it was looked up and exists.
    fn winner_of<'f>(
        &self,
        candidate: &Candidate<'_>,
        rows: &'f FoundRows,
        lost: &[LostChunk],
    ) -> Result<Option<(Position, Key, &'f Item)>, StoreError> {
        if !candidate.is_slow() {
            return Ok(None);
        }
        let key = self.rows.key(candidate);
        let Some(row) = rows.get(&key) else {
            return Ok(None);
        };
        let (source, won) = usage::winner(&key, row)?;
        let is_void = lost.iter().any(|lost| lost.holds(source, won));
        Ok((!is_void).then_some((won, key, row)))
    }
}

/// Whether an event says more than the one of this row, and nothing else.
fn adds(candidate: &Candidate<'_>, key: &Key, row: &Item) -> Result<bool, StoreError> {
    let earlier = usage::event_of(key, row)?;
    let comparison = compare(&earlier, &candidate.event);
    Ok(matches!(comparison, Comparison::More(_)))
}
