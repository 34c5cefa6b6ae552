//! Awards: applying the pending pointers of this partition, and removing them when nothing hangs on
//! them any more.

use super::concurrency::{self, Turns};
use super::{Cached, Poster};
use crate::domain::ids::Account;
use crate::domain::position::Partition;
use crate::pipeline::WorkerContext;
use crate::pipeline::counters::issued;
use crate::pipeline::failure::{self, AccountFault, Failure};
use crate::pipeline::retry::persist;
use crate::store::accounts;
use crate::store::awards::{self, Award, AwardKind, Pointer, State, Task, UnreadablePointer};
use crate::store::conditional;
use crate::store::db::StoreError;
use crate::store::referrals;
use crate::store::set_aside::{FaultCode, Stood};

/// So many awards of one account are written in one transaction at the most. DynamoDB takes 100
/// writes in one, and each award is one, and may open a row of a month of its own; the head, the
/// account's item and the months of postings come to that.
const AWARDS_PER_WRITE_MAX: usize = 40;

/// How often an account is read until its rows show what another worker has written.
const READINGS_MAX: u32 = 8;

/// The queues of pointers that posting partitions had which do not exist any more, since a later
/// epoch has fewer. Each belongs to one posting partition of today, which hands its pointers over
/// to the partitions of their accounts.
#[derive(Debug, Default)]
pub(super) struct FormerQueues {
    all: Vec<Partition>,
    /// Those that may hold something.
    left: Vec<Partition>,
}

impl FormerQueues {
    /// Those that fall to a posting partition, if there were `most` once and are `now`.
    pub(super) fn of(partition: Partition, now: u32, most: u32) -> FormerQueues {
        let step = now.max(1) as usize;
        let all: Vec<Partition> = (partition.0..most)
            .step_by(step)
            .skip(1)
            .map(Partition)
            .collect();
        FormerQueues {
            left: all.clone(),
            all,
        }
    }

    /// A process that still has the old configuration may leave pointers there at any time.
    pub(super) fn look_again(&mut self) {
        self.left.clone_from(&self.all);
    }
}

/// So many pointers are taken at a time. Then their rows and effects are written, the checkpoint
/// too, and blocks get their turn: a backlog of any length (imported links, for example) takes
/// bounded memory and does not hold up postings.
const BATCH_MAX: u32 = 500;

impl Poster<'_> {
    /// Looks for pending pointers, and writes what they ask for; a batch at a time.
    pub(super) async fn poll_awards(&mut self) -> Result<(), Failure> {
        let ctx = self.ctx;
        let partition = self.partition;
        self.poll_releases().await?;
        self.empty_former_queue().await?;
        let after = self.awards_after.take();
        let most = ctx.protections.awards_per_batch(BATCH_MAX);
        let page = persist(ctx, || {
            awards::oldest_pending(&*ctx.db, partition, after.as_deref(), most)
        })
        .await?;
        let has_more = page.next.is_some();
        // What cannot be done yet stays, and must not hold up what comes behind it.
        self.awards_after = page.next;
        let awards::Pending {
            pointers,
            unreadable,
        } = page.pending;
        self.set_unreadable_aside(unreadable).await?;
        let is_spent = |pointer: &Pointer| {
            let mut spent = self.spent_pointers.iter();
            spent.any(|spent| spent.item == pointer.item)
        };
        let new = pointers.into_iter().filter(|p| !is_spent(p));
        let (new, strays): (Vec<Pointer>, Vec<Pointer>) =
            new.partition(|pointer| pointer.account().partition(self.partitions) == partition);
        let mut has_taken = !strays.is_empty();
        self.hand_over(&strays).await?;
        self.know_all(&new).await?;
        for pointer in new {
            let taken = self.take_pointer(pointer).await;
            has_taken |= self.without(taken).await?;
        }
        // Without an award nothing is written early: postings wait for the flush interval.
        if has_taken && !self.touched.is_empty() {
            self.flush().await?;
        }
        if has_more {
            // What is done must go before the next batch can be seen.
            if self.dirty_since.is_some() {
                self.flush().await?;
            }
            self.write_checkpoint().await?;
        }
        let is_pressing = has_more && has_taken || !self.former_queues.left.is_empty();
        self.next_awards = match is_pressing {
            true => ctx.clock.moment(),
            false => ctx.clock.moment().plus(ctx.settings.award_interval),
        };
        Ok(())
    }

    /// Sets the accounts aside whose pointers cannot be decoded.
    async fn set_unreadable_aside(
        &mut self,
        unreadable: Vec<UnreadablePointer>,
    ) -> Result<(), Failure> {
        let mut faults = Vec::new();
        for UnreadablePointer { account, error } in unreadable {
            let Some(account) = account else {
                return Err(error.into());
            };
            if account.partition(self.partitions) == self.partition {
                faults.push(AccountFault {
                    account,
                    code: FaultCode::AwardUnreadable,
                    what: failure::unreadable(&error),
                    stood: Stood::Unknown,
                });
            }
        }
        self.set_aside(faults).await
    }

    /// Hands over a batch of the pointers that were left for a posting partition of an earlier
    /// epoch.
    async fn empty_former_queue(&mut self) -> Result<(), Failure> {
        let ctx = self.ctx;
        let Some(former) = self.former_queues.left.last().copied() else {
            return Ok(());
        };
        let page = persist(ctx, || {
            awards::oldest_pending(&*ctx.db, former, None, BATCH_MAX)
        })
        .await?;
        self.hand_over(&page.pending.pointers).await?;
        if let Some(unreadable) = page.pending.unreadable.into_iter().next() {
            // Its account may be another partition's, which does not look here.
            return Err(unreadable.error.into());
        }
        if page.next.is_none() {
            self.former_queues.left.pop();
        }
        Ok(())
    }

    /// Hands pointers over to the posting partitions that their accounts have now. Besides earlier
    /// epochs, a process with old partition counts leaves some in the wrong place.
    async fn hand_over(&self, strays: &[Pointer]) -> Result<(), Failure> {
        for pointer in strays {
            let to = pointer.account().partition(self.partitions);
            let moving = awards::move_pointer_writes(pointer, to);
            match conditional::write_once(&*self.ctx.db, moving).await {
                // Or another task has moved or applied it meanwhile.
                Ok(_) => {}
                Err(error) if error.is_transient() => {
                    let what = format!("an award could not be moved: {error}");
                    return Err(Failure::reload(what));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Loads the accounts of a batch that are not in memory, several at a time.
    async fn know_all(&mut self, pointers: &[Pointer]) -> Result<(), Failure> {
        let accounts = pointers.iter().map(|pointer| pointer.account().clone());
        let mut unknown: Vec<Account> = accounts.collect();
        unknown.retain(|account| {
            self.accounts.number_of(account).is_none() && !self.aside.is_waiting(account)
        });
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.is_empty() {
            return Ok(());
        }
        self.know_activity().await?;
        self.load_accounts(unknown).await
    }

    /// Takes what a pointer asks for into memory; false if it stays as it is for now.
    async fn take_pointer(&mut self, pointer: Pointer) -> Result<bool, Failure> {
        if self.aside.is_waiting(pointer.account()) {
            return Ok(false);
        }
        match pointer.task.clone() {
            Task::Award(award) => self.take_award(pointer, &award).await,
            Task::Check { referee } => self.take_check(pointer, &referee).await,
        }
    }

    /// A check is written in one transaction with the link that it is about, but may become visible
    /// before it. Then it stays: without the link it would look as if nothing were owed.
    async fn take_check(&mut self, pointer: Pointer, referee: &Account) -> Result<bool, Failure> {
        let ctx = self.ctx;
        let link = persist(ctx, || referrals::link_of(&*ctx.db, referee)).await;
        let unreadable = |error| Failure::of_account(referee, FaultCode::LinkUnreadable, error);
        let is_missing = link.map_err(unreadable)?.is_none();
        if ctx.protections.sees_missing_link(is_missing) {
            return Ok(false);
        }
        let Some(number) = self.know(referee).await? else {
            return Ok(false);
        };
        if let Some(cached) = self.accounts.get_mut(number) {
            cached.milestone_is_done = false;
        }
        self.touch(number);
        self.spent_pointers.push(pointer);
        Ok(true)
    }

    /// Adds an award to its account's rows in memory; the flush writes them and the pointer's
    /// change in one transaction. False if the account is set aside.
    async fn take_award(&mut self, listed: Pointer, award: &Award) -> Result<bool, Failure> {
        let ctx = self.ctx;
        let unreadable = |code| move |error| Failure::of_account(&award.account, code, error);
        // The list may be behind; one item by itself is not.
        let state = persist(ctx, || awards::state_of(&*ctx.db, &listed)).await;
        let state = state.map_err(unreadable(FaultCode::AwardUnreadable))?;
        let Some(state) = state else { return Ok(true) };
        let known = self.accounts.number_of(&award.account);
        if state == State::Applied && !known.is_some_and(|number| self.has_unwritten(number)) {
            // Another worker has applied it, maybe after the account was loaded here: its effects
            // must come from the rows as they stand.
            if !self.know_as_it_stands(&award.account).await? {
                return Ok(false);
            }
        }
        let Some(mut number) = self.know(&award.account).await? else {
            return Ok(false);
        };
        if self.waits(number, &listed) {
            return Ok(true);
        }
        if self.is_full(number) {
            self.flush().await?;
            // The flush may have put it out of memory.
            match self.know(&award.account).await? {
                Some(known) => number = known,
                None => return Ok(false),
            }
        }
        self.touch(number);
        if award.kind == AwardKind::Milestone {
            let of_account = self.milestone_awards.entry(award.account.clone());
            of_account.or_default().insert(award.id.clone());
        }
        // Also of one that is applied: a head that was read from before the award does not name the
        // older month that the award opened, and the month's leaderboard would go without the
        // account for ever.
        self.load_back_to(number, award.month).await?;
        if state == State::Applied {
            self.spent_pointers.push(Pointer { state, ..listed });
            return Ok(true);
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
        Ok(true)
    }

    /// Loads an account again whose rows may be older in memory than in the store. False: it is set
    /// aside.
    ///
    /// What a read shows may be older than a transaction of which another item is visible already.
    /// A condition is checked against what was written last, so that a check of the head that was
    /// read tells whether it is the newest.
    async fn know_as_it_stands(&mut self, account: &Account) -> Result<bool, Failure> {
        let ctx = self.ctx;
        let mut readings = ctx.readings(READINGS_MAX);
        loop {
            if let Some(number) = self.accounts.number_of(account) {
                self.forget(number);
            }
            let Some(number) = self.know(account).await? else {
                return Ok(false);
            };
            let cached = self.accounts.get(number);
            let stored = cached.and_then(|cached| cached.stored.as_ref());
            let check = async {
                let head = stored.ok_or(StoreError::ConditionFailed)?;
                let check = accounts::head_check(account, head.month, head.fence);
                persist(ctx, || ctx.db.transact(vec![check.clone()])).await
            };
            match ctx.protections.applied_awards(check).await {
                Ok(()) => return Ok(true),
                Err(StoreError::ConditionFailed) => {}
                Err(error) => return Err(error.into()),
            }
            if !readings.again().await {
                return Err(Failure::reload(format!(
                    "the rows of {account} do not show an award that was applied to them"
                )));
            }
        }
    }

    /// Whether an award is in its account's rows in memory already, and waits to be written with
    /// them.
    fn waits(&self, number: u32, award: &Pointer) -> bool {
        let cached = self.accounts.get(number);
        cached.is_some_and(|cached| cached.awards.iter().any(|waits| waits.item == award.item))
    }

    /// Whether an account waits to be written with as many awards as one transaction takes.
    fn is_full(&self, number: u32) -> bool {
        let cached = self.accounts.get(number);
        let most = self.ctx.protections.awards_per_write(AWARDS_PER_WRITE_MAX);
        cached.is_some_and(|cached| cached.awards.len() >= most)
    }

    /// Notes that effects are owed to an account. It may stand there from before it was loaded
    /// again; then it stands there twice.
    pub(super) fn touch(&mut self, number: u32) {
        if let Some(cached) = self.accounts.get_mut(number) {
            cached.touched = true;
        }
        self.touched.push(number);
    }

    fn has_unwritten(&self, number: u32) -> bool {
        self.accounts.get(number).is_some_and(Cached::is_dirty)
    }

    /// The number of an account, which is loaded if it is not in memory. `None`: it is set aside.
    async fn know(&mut self, account: &Account) -> Result<Option<u32>, Failure> {
        self.know_activity().await?;
        if let Some(number) = self.accounts.number_of(account) {
            return Ok(Some(number));
        }
        if !self.aside.is_waiting(account) {
            self.load_accounts(vec![account.clone()]).await?;
        }
        match self.accounts.number_of(account) {
            Some(number) => Ok(Some(number)),
            None if self.aside.is_waiting(account) => Ok(None),
            None => Err(Failure::reload(format!("{account} was not loaded"))),
        }
    }

    /// Removes the pointers whose awards are written and whose effects are durable.
    pub(super) async fn delete_spent_pointers(&mut self) -> Result<(), Failure> {
        if self.spent_pointers.is_empty() {
            return Ok(());
        }
        let (ctx, spent) = (self.ctx, std::mem::take(&mut self.spent_pointers));
        let turns = Turns::of(spent.len());
        concurrency::all(ctx, &turns, |turns| delete_some(ctx, &spent, turns)).await?;
        self.progressed = true;
        Ok(())
    }
}

/// Deletes pointers while there are turns.
async fn delete_some(
    ctx: &WorkerContext,
    spent: &[Pointer],
    turns: &Turns,
) -> Result<Vec<()>, Failure> {
    while let Some(turn) = turns.next() {
        let delete = || {
            let write = awards::delete_pointer_write(&spent[turn]);
            conditional::write_once(&*ctx.db, vec![write])
        };
        persist(ctx, delete).await?;
    }
    Ok(Vec::new())
}
