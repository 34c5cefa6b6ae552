//! CHECKPOINT: says how far all of it is durable, together with the top-K lists.

use super::Poster;
use super::top::{self, Top};
use crate::domain::ids::AccountKind;
use crate::domain::position::WriteId;
use crate::domain::time::{Millis, Month};
use crate::ops::health::Role;
use crate::pipeline::failure::Failure;
use crate::pipeline::retry::persist;
use crate::pipeline::versioned;
use crate::store::checkpoints::{self, EARLIER_INTERVAL_MS, EarlierCheckpoint, PostCheckpoint};
use crate::store::db::{ITEM_BYTES_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_ITEMS_MAX, Write};
use crate::store::set_aside::{self, Released};

/// So many lists go into one transaction. DynamoDB takes 100 items, and 4 MB in all; a list has up
/// to 400 KB.
const LISTS_PER_WRITE_MAX: usize = 8;
const _: () = assert!(LISTS_PER_WRITE_MAX < TRANSACTION_ITEMS_MAX);
const _: () = assert!((LISTS_PER_WRITE_MAX + 1) * ITEM_BYTES_MAX <= TRANSACTION_BYTES_MAX);

impl Poster<'_> {
    /// Makes what is owed durable and says how far this partition is done, in one transaction: a
    /// rival that has ranked from rows of the past cannot put its lists over this worker's without
    /// losing the checkpoint, and neither the other way round.
    pub(super) async fn write_checkpoint(&mut self) -> Result<(), Failure> {
        if !self.is_uncovered() {
            return Ok(());
        }
        let started = self.ctx.clock.moment();
        for (kind, month) in self.changed_tops() {
            if self.tops.get(&(kind, month)).is_some_and(Top::is_exhausted) {
                self.rescan(kind, month).await?;
            }
        }
        if self.next != self.checkpoint.next {
            // If all tables were restored to where this checkpoint is the newest one, its condition
            // would still hold, but rows that were written after it are gone.
            let witnesses = self.witnesses.clone();
            self.check_witnesses(&witnesses).await?;
        }
        // Every transaction moves the checkpoint's write id; only the last moves its position.
        let changed = self.changed_tops();
        let groups: Vec<&[(AccountKind, Month)]> = changed.chunks(LISTS_PER_WRITE_MAX).collect();
        let last = groups.len().saturating_sub(1);
        for (i, group) in groups.iter().enumerate() {
            if i == last {
                self.save_tops(group).await?;
            } else {
                let (write, next) = (self.ctx.next_write(), self.checkpoint.clone());
                self.save_with(group, next, write, Vec::new()).await?;
            }
        }
        if self.next != self.checkpoint.next || !self.aside.done().is_empty() {
            self.save_checkpoint().await?;
        }
        self.delete_spent_pointers().await?;
        self.ctx.stage(Role::Post, "checkpoint", started);
        let interval = self.ctx.settings.leaderboard_interval;
        self.next_tops = self.ctx.clock.moment().plus(interval);
        Ok(())
    }

    fn changed_tops(&self) -> Vec<(AccountKind, Month)> {
        let changed = self.tops.iter().filter(|(_, top)| top.is_changed());
        changed.map(|(of, _)| *of).collect()
    }

    /// Moves the checkpoint, and writes these lists with it, the last ones. Records of accounts
    /// that take part again end with it.
    async fn save_tops(&mut self, tops: &[(AccountKind, Month)]) -> Result<(), Failure> {
        let (write, next) = (self.ctx.next_write(), self.next_checkpoint());
        // Their rows and effects are durable by now.
        let released = self.aside.done();
        let ends = self.aside.ends(&released, self.ctx.clock.now(), &next);
        self.save_with(tops, next, write, ends).await?;
        for account in &released {
            self.aside.remove(account);
            tracing::info!(event = "account.released", task = %self.task(), %account, "the account has everything and is counted as before");
        }
        if !released.is_empty() {
            self.tell_aside();
        }
        Ok(())
    }

    /// Writes the checkpoint, these lists with it, and records of accounts that are set aside.
    pub(super) async fn save_with(
        &mut self,
        tops: &[(AccountKind, Month)],
        next: PostCheckpoint,
        write: WriteId,
        records: Vec<Write>,
    ) -> Result<(), Failure> {
        let key = checkpoints::checkpoint_key(self.task());
        let mut writes = vec![checkpoints::put(&key, &next, self.written, write)];
        writes.extend(records);
        for (kind, month) in tops {
            if let Some(top) = self.tops.get(&(*kind, *month)) {
                let key = checkpoints::top_key(self.partition, *kind, *month, self.lists_since);
                writes.push(checkpoints::put(&key, &top.list(), top.written(), write));
            }
        }
        if !self.is_noted {
            // With the first write of each session: an older tidemark did not note it.
            writes.push(checkpoints::start(self.task()));
        }
        versioned::save(self.ctx, &key, &writes, self.written, write).await?;
        self.is_noted = true;
        for of in tops {
            if let Some(top) = self.tops.get_mut(of) {
                top.saved(write);
            }
        }
        self.written = Some(write);
        self.checkpoint = next;
        let next = self.checkpoint.next;
        self.forgotten.retain(|_, counted| counted.offset >= next);
        self.progressed = true;
        self.keep_earlier().await
    }

    /// Keeps a copy of the checkpoint now and then: when tables are restored that are some seconds
    /// apart, postings are taken again from one of them.
    async fn keep_earlier(&mut self) -> Result<(), Failure> {
        let (ctx, at) = (self.ctx, self.ctx.clock.now());
        let interval = at.0.div_euclid(EARLIER_INTERVAL_MS);
        if self.kept_in == Some(interval) {
            return Ok(());
        }
        let checkpoint = self.checkpoint.clone();
        let keep = checkpoints::keep_earlier(self.partition, &EarlierCheckpoint { at, checkpoint });
        persist(ctx, || ctx.db.write(keep.clone())).await?;
        self.kept_in = Some(interval);
        self.forget_released(at).await
    }

    /// No checkpoint that is kept is older than this.
    async fn forget_released(&self, now: Millis) -> Result<(), Failure> {
        let (ctx, q, partitions) = (self.ctx, self.partition, self.partitions);
        let kept = persist(ctx, || set_aside::released_of(&*ctx.db, q, partitions)).await?;
        let is_old = |released: &&Released| now.0 - released.at.0 > checkpoints::EARLIER_REACH_MS;
        for released in kept.iter().filter(is_old) {
            let forget = set_aside::forget_released(&released.record.account);
            persist(ctx, || ctx.db.write(forget.clone())).await?;
        }
        Ok(())
    }

    /// Builds a list anew from every account of this partition: the ones in memory as they are, the
    /// others as they stand.
    async fn rescan(&mut self, kind: AccountKind, month: Month) -> Result<(), Failure> {
        tracing::info!(event = "leaderboard.rescan", task = %self.task(), %kind, %month, "too many totals fell; rebuilding the leaderboard from the tables");
        let head = self.follower.follow(self.ctx).await?;
        let Some(timeline) = self.follower.rules(head) else {
            return Ok(());
        };
        let of = (self.partition, self.partitions, kind, month);
        let scanned = top::scan(self.ctx, of, &timeline).await?;
        self.set_aside(scanned.faults).await?;
        let ranked = scanned.ranked;
        if let Some(top) = self.tops.get_mut(&(kind, month)) {
            top.restart(ranked);
        }
        Ok(())
    }

    fn next_checkpoint(&self) -> PostCheckpoint {
        PostCheckpoint {
            next: self.next,
            fingerprint: self.fingerprint,
            sources: self.sources.clone(),
            witnesses: self.witnesses.clone(),
            ..self.checkpoint.clone()
        }
    }

    pub(super) async fn save_checkpoint(&mut self) -> Result<(), Failure> {
        self.save_tops(&[]).await
    }
}
