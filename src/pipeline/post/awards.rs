//! Awards: applying the pending pointers of this partition, and removing them when nothing hangs on them any more.

use super::{Cached, Poster, millis};
use crate::domain::ids::Account;
use crate::pipeline::failure::Failure;
use crate::pipeline::supervise::persist;
use crate::store::accounts;
use crate::store::awards::{self, Award, Pointer, State, Task};
use crate::store::db::StoreError;

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
                self.know(&referee).await?;
                if let Some(cached) = self.accounts.get_mut(&referee) {
                    cached.milestone_settled = false;
                }
                self.touch(referee);
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
        if state == State::Applied && !self.has_unwritten(&award.account) {
            // Somebody else has applied it, maybe after the account was loaded here: its effects must come from the rows as they stand.
            self.accounts.remove(&award.account);
            // The rows are read by a query, which may be behind the transaction that the pointer shows; a read of the very row is not,
            // and no later query is behind it.
            persist(ctx, || {
                accounts::month(&*ctx.db, &award.account, award.month)
            })
            .await?;
        }
        self.know(&award.account).await?;
        self.touch(award.account.clone());
        if state == State::Applied {
            self.spent_pointers.push(Pointer { state, ..listed });
            return Ok(());
        }
        self.load_back_to(&award.account, award.month).await?;
        let activity = self.activity;
        let (Some(cached), Some(activity)) = (self.accounts.get_mut(&award.account), activity)
        else {
            return Err(Failure::reload(format!("{} was not loaded", award.account)));
        };
        if cached
            .awards
            .iter()
            .any(|pending| pending.item == listed.item)
        {
            return Ok(());
        }
        let changed = cached
            .rows
            .award(award.account.kind, award.month, award.points, activity)?;
        if cached.becomes_dirty(changed) {
            self.dirty.push(award.account.clone());
        }
        cached.awards.push(listed);
        self.ctx
            .metrics
            .awards_applied_total
            .with_label_values(&[award.kind.as_str()])
            .inc();
        Ok(())
    }

    /// Notes that effects are owed to an account. It may have stood there before it was loaded again; then it stands there twice.
    fn touch(&mut self, account: Account) {
        if let Some(cached) = self.accounts.get_mut(&account) {
            cached.touched = true;
        }
        self.touched.push(account);
    }

    fn has_unwritten(&self, account: &Account) -> bool {
        self.accounts.get(account).is_some_and(Cached::is_dirty)
    }

    /// Loads an account if it is not in memory.
    async fn know(&mut self, account: &Account) -> Result<(), Failure> {
        self.know_activity().await?;
        if self.accounts.contains_key(account) {
            return Ok(());
        }
        self.load_accounts(vec![account]).await
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
