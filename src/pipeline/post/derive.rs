//! DERIVE: what follows from account rows: streak snapshots, milestones, badges, top-K lists.
//!
//! Effects are level-triggered: computed from the row whenever the account is touched, by a replay
//! too.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::account_cache::AccountCache;
use super::concurrency::{self, Turns};
use super::top::Top;
use super::{Cached, Poster, ordered};
use crate::domain::ids::{Account, AccountKind};
use crate::domain::ledger::MILESTONE_SUCCESSES;
use crate::domain::position::{Epoch, Position};
use crate::domain::rules::Timeline;
use crate::domain::statement::{self, Streak};
use crate::domain::time::{Millis, Month};
use crate::pipeline::WorkerContext;
use crate::pipeline::failure::Failure;
use crate::pipeline::retry::{persist, persist_within};
use crate::store::checkpoints;
use crate::store::conditional::{self, WriteOutcome};
use crate::store::db::StoreError;
use crate::store::referrals::Milestone;
use crate::store::set_aside::FaultCode;
use crate::store::{awards, referrals, streaks};

impl Poster<'_> {
    /// Brings everything that is derived from the touched accounts' rows up to date, as far as it
    /// can be at once; top-K lists are brought up to date in memory, and written by
    /// [`Poster::write_checkpoint`].
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
        // After the rows were written: whoever looks through all rows for new badges has seen what
        // was written before these were published, and here they are known for what was written
        // after.
        let head = self.follower.follow(self.ctx).await?;
        let timeline = self.follower.rules(head);
        self.grant_badges(&touched, timeline.as_ref()).await?;
        self.rank(&touched, timeline).await
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
            // Failures can take a provider's only active day away, and reversals anybody's: then
            // there may be a snapshot to take back.
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
        let saves = concurrency::all(ctx, &turns, |turns| save_some(ctx, accounts, &due, turns));
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
            if cached.milestone_is_done || cached.rows.lifetime.successes < MILESTONE_SUCCESSES {
                continue;
            }
            let fiftieth_at = cached.rows.lifetime.fiftieth_at;
            let referee = cached.account.clone();
            let granted = self.grant_milestone(&referee, fiftieth_at).await;
            self.without(granted).await?;
            if let Some(cached) = self.accounts.get_mut(*number) {
                cached.milestone_is_done = true;
            }
        }
        Ok(())
    }

    /// Grants the referrer of an account that has its 50 successes what is owed. Without a link
    /// nothing is: a link that is made later leaves a check.
    async fn grant_milestone(
        &mut self,
        referee: &Account,
        fiftieth_at: Option<Millis>,
    ) -> Result<(), Failure> {
        let ctx = self.ctx;
        let mut retry = ctx.retry();
        loop {
            let link = persist_within(&mut retry, || referrals::link_of(&*ctx.db, referee)).await;
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
            let sent = ctx.db.transact(writes).await;
            let is_refused = sent == Err(StoreError::ConditionFailed);
            let look = async {
                Ok::<_, Failure>(match is_refused && self.mark_granted(&link).await? {
                    true => WriteOutcome::Written,
                    // The link, which is read again, tells whether the grant happened.
                    false => WriteOutcome::NotYet,
                })
            };
            if conditional::outcome(sent, look).await? == WriteOutcome::Written {
                return Ok(());
            }
            if !retry.again().await {
                return Err(Failure::reload(format!(
                    "the milestone of {referee} could not be granted"
                )));
            }
        }
    }

    /// Marks the milestone of a link as granted if its award exists: the link's table was restored
    /// to an earlier moment than the award's. False: there is no award, or the link has changed.
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
    async fn rank(
        &mut self,
        touched: &[u32],
        timeline: Option<Arc<Timeline>>,
    ) -> Result<(), Failure> {
        let Some(timeline) = timeline else {
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

    /// Whose totals may have changed: the touched, and with new rules everybody in memory. Rules
    /// take effect no earlier than they are written, and an event may be five minutes ahead of its
    /// log time: so a day to which new rules apply may have been ranked under the old ones only
    /// around their first midnight, and those accounts were used just now.
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
}

/// Saves snapshots while there are turns.
async fn save_some(
    ctx: &WorkerContext,
    accounts: &AccountCache,
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
    // If a snapshot of a later position is there already, that one stays.
    let write =
        || conditional::write_once(&*ctx.db, vec![streaks::put(account, &streak, position)]);
    persist(ctx, write).await?;
    Ok(())
}
