//! What follows from account rows: streak snapshots, milestones, top-K lists; and the checkpoint that says that all of it is durable.
//!
//! Effects are level-triggered: computed from the row whenever the account is touched, by a replay too.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::book::Book;
use super::lanes::{self, Turns};
use super::top::{self, Top};
use super::{Cached, Poster, ordered};
use crate::domain::ids::{Account, AccountKind};
use crate::domain::ledger::MILESTONE_SUCCESSES;
use crate::domain::position::{Epoch, Position, WriteId};
use crate::domain::rules::Timeline;
use crate::domain::statement::{self, Streak};
use crate::domain::time::{Millis, Month};
use crate::ops::health::Role;
use crate::pipeline::WorkerContext;
use crate::pipeline::failure::Failure;
use crate::pipeline::supervise::persist;
use crate::pipeline::versioned;
use crate::store::checkpoints::{
    self, EARLIER_INTERVAL_MS, EarlierCheckpoint, PostCheckpoint, Versioned,
};
use crate::store::db::{
    ITEM_BYTES_MAX, StoreError, TRANSACTION_BYTES_MAX, TRANSACTION_ITEMS_MAX, Write,
};
use crate::store::referrals::Milestone;
use crate::store::set_aside::{self, FaultCode, Released};
use crate::store::{awards, referrals, streaks};

/// So many lists go into one transaction. DynamoDB takes 100 items, and 4 MB in all; a list has up to 400 KB.
const LISTS_PER_WRITE_MAX: usize = 8;
const _: () = assert!(LISTS_PER_WRITE_MAX < TRANSACTION_ITEMS_MAX);
const _: () = assert!((LISTS_PER_WRITE_MAX + 1) * ITEM_BYTES_MAX <= TRANSACTION_BYTES_MAX);

impl Poster<'_> {
    /// Brings everything that is derived from the touched accounts' rows up to date, as far as it can be at once;
    /// top-K lists are brought up to date in memory, and written by [`Poster::settle`].
    pub(super) async fn derive(&mut self) -> Result<(), Failure> {
        if self.touched.is_empty() {
            return Ok(());
        }
        let touched = ordered(std::mem::take(&mut self.touched));
        for number in &touched {
            if let Some(cached) = self.accounts.get_mut(*number) {
                cached.touched = false;
            }
        }
        self.snapshot_streaks(&touched).await?;
        self.grant_milestones(&touched).await?;
        self.rank(&touched).await
    }

    async fn snapshot_streaks(&mut self, touched: &[u32]) -> Result<(), Failure> {
        let (ctx, Some(activity)) = (self.ctx, self.activity) else {
            return Ok(());
        };
        let due = touched.iter().filter_map(|number| {
            let cached = self.accounts.get(*number)?;
            let kind = cached.account.kind;
            let head = cached.rows.months.last_key_value()?.1;
            let streak = statement::streak(kind, head, activity);
            // Failures can take a provider's only active day away, and reversals anybody's: then there may be a snapshot to take
            // back.
            let has_reversals = || {
                cached
                    .rows
                    .months
                    .values()
                    .any(|row| row.reversals.is_some())
            };
            let is_told =
                streak != Streak::default() || kind == AccountKind::Provider || has_reversals();
            let changed = cached.streak != Some(streak) && is_told;
            changed.then_some((*number, streak))
        });
        let due: Vec<(u32, Streak)> = due.collect();
        let (accounts, turns) = (&self.accounts, Turns::of(due.len()));
        let saves = lanes::all(ctx, &turns, |turns| save_some(ctx, accounts, &due, turns));
        saves.await?;
        for (number, streak) in due {
            if let Some(cached) = self.accounts.get_mut(number) {
                cached.streak = Some(streak);
            }
        }
        Ok(())
    }

    async fn grant_milestones(&mut self, touched: &[u32]) -> Result<(), Failure> {
        for number in touched {
            let Some(cached) = self.accounts.get(*number) else {
                continue;
            };
            if cached.milestone_settled || cached.rows.lifetime.successes < MILESTONE_SUCCESSES {
                continue;
            }
            let fiftieth_at = cached.rows.lifetime.fiftieth_at;
            let referee = cached.account.clone();
            let granted = self.grant_milestone(&referee, fiftieth_at).await;
            self.without(granted).await?;
            if let Some(cached) = self.accounts.get_mut(*number) {
                cached.milestone_settled = true;
            }
        }
        Ok(())
    }

    /// Grants the referrer of an account that has its 50 successes what is owed. Without a link nothing is: a link that
    /// is made later leaves a check.
    async fn grant_milestone(
        &mut self,
        referee: &Account,
        fiftieth_at: Option<Millis>,
    ) -> Result<(), Failure> {
        let ctx = self.ctx;
        let mut tries = 0;
        loop {
            let link = persist(ctx, || referrals::link_of(&*ctx.db, referee)).await;
            let unreadable = |error| Failure::of_account(referee, FaultCode::LinkUnreadable, error);
            let Some(link) = link.map_err(unreadable)? else {
                return Ok(());
            };
            if link.milestone != Milestone::Owed {
                return Ok(());
            }
            let Some(fiftieth_at) = fiftieth_at else {
                let what = format!(
                    "{referee} has {MILESTONE_SUCCESSES} successes, but the time of the last one is \
                     missing"
                );
                return Err(Failure::account(referee, FaultCode::RowUnreadable, what));
            };
            let points = self
                .milestone_points(fiftieth_at.max(link.linked_at))
                .await?;
            let now = ctx.clock.now();
            let writes =
                referrals::grant_milestone_writes(&link, fiftieth_at, points, now, self.partitions);
            match ctx.db.transact(writes).await {
                Ok(()) => return Ok(()),
                Err(StoreError::ConditionFailed) if self.mark_granted(&link).await? => {
                    return Ok(());
                }
                // Read the link again: it tells whether the grant happened.
                Err(error) if error == StoreError::ConditionFailed || error.is_transient() => {}
                Err(error) => return Err(error.into()),
            }
            tries += 1;
            if tries > ctx.settings.tries_max {
                return Err(Failure::reload(format!(
                    "the milestone of {referee} could not be granted"
                )));
            }
            ctx.clock
                .sleep(crate::pipeline::supervise::backoff(ctx, tries))
                .await;
        }
    }

    /// Marks the milestone of a link as granted if its award exists: the link's table was restored to
    /// an earlier moment than the award's. False: there is no award, or the link has changed.
    async fn mark_granted(&self, link: &referrals::Link) -> Result<bool, Failure> {
        let ctx = self.ctx;
        let Some(referrer) = link.chain.first() else {
            return Ok(false);
        };
        let id = awards::milestone_id(&link.referee);
        let is_granted = persist(ctx, || awards::is_granted(&*ctx.db, referrer, &id)).await?;
        if !is_granted {
            return Ok(false);
        }
        let write = referrals::milestone_granted_write(link);
        Ok(ctx.db.write(write).await.is_ok())
    }

    async fn milestone_points(
        &mut self,
        at: Millis,
    ) -> Result<crate::domain::amount::Points, Failure> {
        let head = self.follower.follow(self.ctx).await?;
        match self.follower.rules(head) {
            Some(timeline) => Ok(timeline.at(at).milestone()),
            None => Err(Failure::reload(
                "no rules are published; run `tidemark pricing init testnet` (or mainnet)",
            )),
        }
    }

    /// Offers the touched accounts to the top-K lists of the months that are in memory.
    async fn rank(&mut self, touched: &[u32]) -> Result<(), Failure> {
        let head = self.follower.follow(self.ctx).await?;
        let Some(timeline) = self.follower.rules(head) else {
            return Ok(());
        };
        let mut totals = Vec::with_capacity(touched.len());
        let mut lists = BTreeSet::new();
        for number in self.to_rank(touched, &timeline) {
            let Some(cached) = self.accounts.get(number) else {
                continue;
            };
            let kind = cached.account.kind;
            for (month, row) in &cached.rows.months {
                lists.insert((kind, *month));
                totals.push((number, *month, statement::total(kind, row, &timeline)));
            }
        }
        for (kind, month) in lists {
            self.top(kind, month).await?;
        }
        for (number, month, total) in totals {
            if let Some(Cached { account, .. }) = self.accounts.get(number)
                && let Some(top) = self.tops.get_mut(&(account.kind, month))
            {
                top.offer(total, account.id());
            }
        }
        self.ranked_under = Some(timeline);
        Ok(())
    }

    /// Whose totals may have changed: the touched, and with new rules everybody in memory. Rules take effect no earlier than
    /// they are written, and an event may be five minutes ahead of its log time: so a day to which new rules apply may have
    /// been ranked under the old ones only around their first midnight, and those accounts were used just now.
    fn to_rank(&self, touched: &[u32], timeline: &Arc<Timeline>) -> Vec<u32> {
        match &self.ranked_under {
            Some(before) if !Arc::ptr_eq(before, timeline) => {
                self.accounts.iter().map(|(number, _)| number).collect()
            }
            _ => touched.to_vec(),
        }
    }

    /// The list of a kind and month, loaded when it is first needed.
    async fn top(&mut self, kind: AccountKind, month: Month) -> Result<&mut Top, Failure> {
        use std::collections::btree_map::Entry;
        match self.tops.entry((kind, month)) {
            Entry::Occupied(found) => Ok(found.into_mut()),
            Entry::Vacant(place) => {
                let ctx = self.ctx;
                let key = checkpoints::top_key(self.partition, kind, month, self.lists_since);
                let stored = persist(ctx, || checkpoints::get(&*ctx.db, &key)).await?;
                // The rows of this month may be older than the lists.
                let is_built = stored.is_some() || self.lists_since == Epoch(0);
                let mut top = Top::new(ctx.settings.leaderboard_size, stored);
                if ctx.protections.sees_unbuilt_list(!is_built) {
                    top.must_be_built();
                }
                Ok(place.insert(top))
            }
        }
    }

    /// Makes what is owed durable and says how far this partition is done, in one transaction: a rival that has ranked from
    /// rows of the past cannot put its lists over this worker's without losing the checkpoint, and neither the other way round.
    pub(super) async fn settle(&mut self) -> Result<(), Failure> {
        if !self.is_unsettled() {
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

    /// Moves the checkpoint, and writes these lists with it, the last ones. Records of accounts that
    /// take part again end with it.
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

    /// Builds a list anew from every account of this partition: the ones in memory as they are, the others as they stand.
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

/// Saves snapshots while there are turns.
async fn save_some(
    ctx: &WorkerContext,
    accounts: &Book,
    due: &[(u32, Streak)],
    turns: &Turns,
) -> Result<Vec<()>, Failure> {
    while let Some(turn) = turns.next() {
        let (number, streak) = due[turn];
        if let Some(cached) = accounts.get(number) {
            let position = cached.position.unwrap_or_default();
            save_streak(ctx, &cached.account, streak, position).await?;
        }
    }
    Ok(Vec::new())
}

async fn save_streak(
    ctx: &WorkerContext,
    account: &Account,
    streak: Streak,
    position: Position,
) -> Result<(), Failure> {
    let write = || async {
        match ctx.db.write(streaks::put(account, &streak, position)).await {
            // A snapshot of a later position stands there already.
            Err(StoreError::ConditionFailed) => Ok(()),
            result => result,
        }
    };
    Ok(persist(ctx, write).await?)
}

/// A list as it is read from the store.
pub(super) type StoredTop = Versioned<checkpoints::TopList>;
