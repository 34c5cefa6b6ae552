//! Awards: applying the pending pointers of this partition, and removing them when nothing hangs on them any more.

use super::{Cached, Poster, millis};
use crate::domain::ids::Account;
use crate::pipeline::Breakage;
use crate::pipeline::counters::issued;
use crate::pipeline::failure::Failure;
use crate::pipeline::supervise::persist;
use crate::store::accounts;
use crate::store::awards::{self, Award, Pointer, State, Task};
use crate::store::db::StoreError;

/// So many awards of one account are written in one transaction at the most. DynamoDB takes 100 writes in one, and each award is one, and may
/// open a row of a month of its own; the head, the account's item and the months of postings come to that.
const AWARDS_PER_WRITE_MAX: usize = 40;

impl Poster<'_> {
    /// Looks for pending pointers, and writes what they ask for.
    pub(super) async fn poll_awards(&mut self) -> Result<(), Failure> {
        let ctx = self.ctx;
        let partition = self.partition;
        let pointers = persist(ctx, || awards::list_pending(&*ctx.db, partition)).await?;
        let mut has_taken = false;
        for pointer in pointers {
            if !self
                .spent_pointers
                .iter()
                .any(|spent| spent.item == pointer.item)
            {
                self.take_pointer(pointer).await?;
                has_taken = true;
            }
        }
        // Without an award nothing is written early: postings wait for the flush interval.
        if has_taken && !self.touched.is_empty() {
            self.flush().await?;
        }
        self.next_awards = ctx.clock.now().plus(millis(ctx.settings.award_interval));
        Ok(())
    }

    async fn take_pointer(&mut self, pointer: Pointer) -> Result<(), Failure> {
        match pointer.task.clone() {
            Task::Award(award) => self.take_award(pointer, &award).await,
            Task::Check { referee } => {
                let number = self.know(&referee).await?;
                if let Some(cached) = self.accounts.get_mut(number) {
                    cached.milestone_settled = false;
                }
                self.touch(number);
                self.spent_pointers.push(pointer);
                Ok(())
            }
        }
    }

    /// Adds an award to its account's rows in memory; the flush writes them and the pointer's change in one transaction.
    async fn take_award(&mut self, listed: Pointer, award: &Award) -> Result<(), Failure> {
        let ctx = self.ctx;
        // The list may be behind; one item by itself is not.
        let state = persist(ctx, || awards::state_of(&*ctx.db, &listed)).await?;
        let Some(state) = state else { return Ok(()) };
        let known = self.accounts.number_of(&award.account);
        if state == State::Applied && !known.is_some_and(|number| self.has_unwritten(number)) {
            // Somebody else has applied it, maybe after the account was loaded here: its effects must come from the rows as they stand.
            if let Some(number) = known {
                self.accounts.remove(number);
            }
            // The rows are read by a query, which may be behind the transaction that the pointer shows; a read of the very row is not,
            // and no later query is behind it.
            persist(ctx, || {
                accounts::month(&*ctx.db, &award.account, award.month)
            })
            .await?;
        }
        let mut number = self.know(&award.account).await?;
        if self.waits(number, &listed) {
            return Ok(());
        }
        if self.is_full(number) {
            self.flush().await?;
            // The flush may have put it out of memory.
            number = self.know(&award.account).await?;
        }
        self.touch(number);
        // Also of one that is applied: a head that was read from before the award does not name the older month that the award opened, and
        // the month's leaderboard would go without the account for ever.
        self.load_back_to(number, award.month).await?;
        if state == State::Applied {
            self.spent_pointers.push(Pointer { state, ..listed });
            return Ok(());
        }
        let activity = self.activity;
        let (Some(cached), Some(activity)) = (self.accounts.get_mut(number), activity) else {
            return Err(Failure::reload(format!("{} was not loaded", award.account)));
        };
        let changed = cached
            .rows
            .award(award.account.kind, award.month, award.points, activity);
        if cached.becomes_dirty(changed) {
            self.dirty.push(number);
        }
        cached.awards.push(listed);
        self.ctx
            .metrics
            .awards_applied_total
            .with_label_values(&[award.kind.as_str()])
            .inc();
        issued(&self.ctx.metrics, award.kind.as_str(), award.points);
        Ok(())
    }

    /// Whether an award is in its account's rows in memory already, and waits to be written with them.
    fn waits(&self, number: u32, award: &Pointer) -> bool {
        let cached = self.accounts.get(number);
        cached.is_some_and(|cached| cached.awards.iter().any(|waits| waits.item == award.item))
    }

    /// Whether an account waits to be written with as many awards as one transaction takes.
    fn is_full(&self, number: u32) -> bool {
        let cached = self.accounts.get(number);
        cached.is_some_and(|cached| cached.awards.len() >= AWARDS_PER_WRITE_MAX)
            && !self.ctx.broken(Breakage::AwardsInOneTransaction)
    }

    /// Notes that effects are owed to an account. It may stand there from before it was loaded again; then it stands there twice.
    fn touch(&mut self, number: u32) {
        if let Some(cached) = self.accounts.get_mut(number) {
            cached.touched = true;
        }
        self.touched.push(number);
    }

    fn has_unwritten(&self, number: u32) -> bool {
        self.accounts.get(number).is_some_and(Cached::is_dirty)
    }

    /// The number of an account, which is loaded if it is not in memory.
    async fn know(&mut self, account: &Account) -> Result<u32, Failure> {
        self.know_activity().await?;
        if let Some(number) = self.accounts.number_of(account) {
            return Ok(number);
        }
        self.load_accounts(vec![account.clone()]).await?;
        let number = self.accounts.number_of(account);
        number.ok_or_else(|| Failure::reload(format!("{account} was not loaded")))
    }

    /// Removes the pointers whose awards are written and whose effects are durable.
    pub(super) async fn delete_spent_pointers(&mut self) -> Result<(), Failure> {
        let ctx = self.ctx;
        for pointer in std::mem::take(&mut self.spent_pointers) {
            let delete = || async {
                match ctx.db.write(awards::delete_pointer_write(&pointer)).await {
                    // It is gone already.
                    Err(StoreError::ConditionFailed) => Ok(()),
                    result => result,
                }
            };
            persist(ctx, delete).await?;
            self.progressed = true;
        }
        Ok(())
    }
}
