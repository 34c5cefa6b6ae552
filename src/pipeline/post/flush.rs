//! Flushing: every changed account's rows, each under the fence that was last seen, then the
//! effects that they owe.

use super::account_cache::AccountCache;
use super::concurrency::{self, Turns};
use super::went_back::OwnCheckpoint;
use super::{Cached, Poster, ordered};
use crate::domain::ids::Account;
use crate::domain::ledger::MonthRow;
use crate::domain::position::Fence;
use crate::domain::time::Month;
use crate::ops::log_throttle::LogThrottle;
use crate::ops::retry::Retry;
use crate::pipeline::WorkerContext;
use crate::pipeline::failure::{AccountFault, Failure};
use crate::pipeline::retry::persist_within;
use crate::store::account_write::AccountWrite;
use crate::store::accounts::{self, HeadNow, StoredHead};
use crate::store::awards::apply_pointer_write;
use crate::store::conditional::{self, WriteOutcome};
use crate::store::db::{StoreError, Write};
use crate::store::set_aside::{FaultCode, Stood};

/// So many writes of a flush that are refused, and no other, halt the partition.
const REFUSED_TO_HALT: usize = 3;

static SATURATED: LogThrottle<()> = LogThrottle::new();

/// How often a head that contradicts what was seen is read again before the partition halts.
const CONTRADICTIONS_READ_MAX: u32 = 8;

impl Poster<'_> {
    /// Writes every changed account.
    pub(super) async fn flush_rows(&mut self) -> Result<(), Failure> {
        let protections = self.ctx.protections;
        let checkpoint = self.save_checkpoint();
        protections.checkpoint_after_rows(checkpoint).await?;
        self.write_dirty().await?;
        self.dirty_since = None;
        self.everything_is_written();
        Ok(())
    }

    async fn write_dirty(&mut self) -> Result<(), Failure> {
        let open_from = self.open_from();
        let ctx = self.ctx;
        let dirty = ordered(std::mem::take(&mut self.dirty));
        let (accounts, turns) = (&self.accounts, Turns::of(dirty.len()));
        let own = self.own_checkpoint();
        let writes = concurrency::all(ctx, &turns, |turns| {
            write_some(ctx, accounts, &dirty, turns, (open_from, own))
        });
        let done = writes.await?;
        let (mut written, mut faults) = (Vec::with_capacity(done.len()), Vec::new());
        for (number, result) in done {
            match result {
                Ok(stored) => written.push((number, stored)),
                Err(fault) => faults.push(fault),
            }
        }
        if written.is_empty() && are_refusals(&faults) {
            let fault = faults.swap_remove(0);
            return Err(fault.into());
        }
        ctx.metrics.flush_rows_total.inc_by(written.len() as u64);
        ctx.metrics.flush_accounts.observe(written.len() as f64);
        let mut numbers = Vec::with_capacity(written.len());
        for (number, stored) in written {
            if let Some(cached) = self.accounts.get_mut(number) {
                cached.stored = Some(stored);
                cached.dirty.clear();
                self.spent_pointers.append(&mut cached.awards);
            }
            numbers.push(number);
            self.progressed = true;
        }
        self.witness(&numbers);
        self.set_aside(faults).await
    }

    /// Months before this one are closed at every source partition, as far as this partition has
    /// seen.
    fn open_from(&self) -> Month {
        let slowest = self
            .sources
            .values()
            .map(|source| source.log_time)
            .min()
            .unwrap_or_default();
        let month = slowest.month();
        let before = Month(month.0 - 1);
        if slowest > before.closes() {
            month
        } else {
            before
        }
    }
}

/// Whether these are so many writes that were refused that it is not for the sake of single
/// accounts. One or two are: a flush may hold nothing but an account that was just released.
fn are_refusals(faults: &[AccountFault]) -> bool {
    let is_refusal = |fault: &AccountFault| fault.code == FaultCode::WriteRefused;
    faults.len() >= REFUSED_TO_HALT && faults.iter().all(is_refusal)
}

/// What became of the write of an account.
type Flushed = (u32, Result<StoredHead, AccountFault>);

/// Writes accounts while there are turns.
async fn write_some(
    ctx: &WorkerContext,
    accounts: &AccountCache,
    dirty: &[u32],
    turns: &Turns,
    at: (Month, OwnCheckpoint),
) -> Result<Vec<Flushed>, Failure> {
    let mut written = Vec::new();
    while let Some(turn) = turns.next() {
        let number = dirty[turn];
        if let Some(cached) = accounts.get(number) {
            tell_saturation(ctx, cached);
            match write(ctx, cached, at).await {
                Ok(stored) => written.push((number, Ok(stored))),
                Err(Failure::Account(fault)) => written.push((number, Err(*fault))),
                Err(failure) => return Err(failure),
            }
        }
    }
    Ok(written)
}

/// An account with a sum at the end of its range is named: its numbers are too low, and nobody
/// else's are touched.
fn tell_saturation(ctx: &WorkerContext, cached: &Cached) {
    let rows = &cached.rows;
    if !rows.lifetime.spent.is_saturated() && !rows.months.values().any(MonthRow::is_saturated) {
        return;
    }
    ctx.metrics.saturated_flushes_total.inc();
    if let Some(kept_back) = SATURATED.say(()) {
        let account = &cached.account;
        tracing::error!(event = "account.saturated", %account, kept_back, "a sum of this account has reached its limit and is lower than what was added");
    }
}

/// Writes one account's changed rows, and the awards that are in them, under the fence that was
/// last seen.
async fn write(
    ctx: &WorkerContext,
    cached: &Cached,
    (open_from, own): (Month, OwnCheckpoint),
) -> Result<StoredHead, Failure> {
    let account = &cached.account;
    let mut attempt = Attempt::new(ctx, cached, open_from)?;
    let mut retry = ctx.retry();
    loop {
        let writes = attempt.writes(ctx, cached, open_from)?;
        let send = |writes| conditional::send(&*ctx.db, writes);
        let sent = ctx.protections.one_in_flight(writes, send).await;
        let look = attempt.outcome_from_head(ctx, &mut retry, account, own);
        let outcome = match sent {
            // If the table is gone, this is refused as well, and the partition halts.
            Err(StoreError::Refused(what)) => match look.await? {
                WriteOutcome::NotYet => return Err(refused(cached, what)),
                other => other,
            },
            sent => conditional::outcome(sent, look).await?,
        };
        ctx.metrics
            .condition_outcomes_total
            .with_label_values(&[label(outcome)])
            .inc();
        match outcome {
            WriteOutcome::Written => return Ok(attempt.after),
            WriteOutcome::ByAnother => {
                return Err(Failure::reload(format!(
                    "another worker wrote the rows of {account}"
                )));
            }
            WriteOutcome::NotYet => {}
        }
        if !retry.again().await {
            return Err(Failure::reload(format!(
                "the rows of {account} could not be written"
            )));
        }
    }
}

/// As it stands in metrics.
const fn label(outcome: WriteOutcome) -> &'static str {
    match outcome {
        WriteOutcome::Written => "written",
        WriteOutcome::NotYet => "try_again",
        WriteOutcome::ByAnother => "somebody_else",
    }
}

/// The store takes requests, but not this one: it is about the account.
fn refused(cached: &Cached, what: String) -> Failure {
    let stored = cached.stored.as_ref();
    Failure::Account(Box::new(AccountFault {
        account: cached.account.clone(),
        code: FaultCode::WriteRefused,
        what: format!("the store refuses its rows: {what}"),
        stood: stored.map_or(Stood::Absent, |stored| Stood::At(stored.fence)),
    }))
}

/// One write of an account: what is sent, and what stands in the store before and after it.
struct Attempt {
    /// What is sent first. Nearly every write is sent once, so it is not kept for a second time,
    /// but built again.
    writes: Vec<Write>,
    before: Option<Fence>,
    after: StoredHead,
}

impl Attempt {
    fn new(ctx: &WorkerContext, cached: &Cached, open_from: Month) -> Result<Attempt, Failure> {
        let fence = Fence {
            position: cached.position,
            write: ctx.protections.write_id(ctx.next_write()),
        };
        let (writes, after) = build(ctx, cached, fence, open_from)?;
        Ok(Attempt {
            writes,
            before: cached.stored.as_ref().map(|stored| stored.fence),
            after,
        })
    }

    /// What is to be sent: the same each time, under the same fence.
    fn writes(
        &mut self,
        ctx: &WorkerContext,
        cached: &Cached,
        open_from: Month,
    ) -> Result<Vec<Write>, Failure> {
        if !self.writes.is_empty() {
            return Ok(std::mem::take(&mut self.writes));
        }
        let (writes, _) = build(ctx, cached, self.after.fence, open_from)?;
        Ok(writes)
    }

    /// Reads the head to learn what became of a write whose condition failed or whose answer was
    /// lost.
    async fn outcome_from_head(
        &self,
        ctx: &WorkerContext,
        retry: &mut Retry<'_>,
        account: &Account,
        own: OwnCheckpoint,
    ) -> Result<WriteOutcome, Failure> {
        let mut readings = ctx.readings(CONTRADICTIONS_READ_MAX);
        loop {
            let now = persist_within(retry, || accounts::head_now(&*ctx.db, account)).await;
            let unreadable = |error| Failure::of_account(account, FaultCode::RowUnreadable, error);
            match self.judge(now.map_err(unreadable)?) {
                Ok(outcome) => return Ok(outcome),
                // A plain read may show a row as it was before a transaction that has just
                // happened: ask again before halting.
                Err(_) if readings.again().await => {}
                Err(found) => {
                    let before = self.before.unwrap_or_default();
                    let what = format!(
                        "the head of {account} is {found}, but this worker has seen {before}"
                    );
                    return Err(own.regressed(ctx, before.position, what).await);
                }
            }
        }
    }

    /// The three outcomes; an error says what was found that contradicts what was seen before.
    fn judge(&self, now: HeadNow) -> Result<WriteOutcome, String> {
        match (now, self.before) {
            (HeadNow::Fence(fence), _) if fence == self.after.fence => Ok(WriteOutcome::Written),
            (HeadNow::Fence(fence), Some(before)) if fence == before => Ok(WriteOutcome::NotYet),
            (HeadNow::Fence(fence), Some(before)) if fence.position < before.position => {
                Err(fence.to_string())
            }
            (HeadNow::Fence(_), _) => Ok(WriteOutcome::ByAnother),
            // Half of the first transaction may be seen for a moment; loading settles whose it was.
            (HeadNow::Bare, None) => Ok(WriteOutcome::ByAnother),
            (HeadNow::Absent, None) => Ok(WriteOutcome::NotYet),
            (HeadNow::Bare | HeadNow::Absent, Some(_)) => Err("gone".to_owned()),
        }
    }
}

/// The writes of an account's changed rows and awards, and what stands in the store after them.
fn build(
    ctx: &WorkerContext,
    cached: &Cached,
    fence: Fence,
    open_from: Month,
) -> Result<(Vec<Write>, StoredHead), Failure> {
    let plan = AccountWrite {
        account: &cached.account,
        stored: cached.stored.as_ref(),
        rows: &cached.rows,
        dirty: &cached.dirty,
        fence,
        open_from,
        omit: ctx.protections.omissions(),
    };
    let Some((mut writes, after)) = plan.build() else {
        let account = &cached.account;
        return Err(Failure::reload(format!("{account} has no row to write")));
    };
    let pointers = cached.awards.iter().map(apply_pointer_write);
    writes.extend(ctx.protections.award_pointers(pointers));
    Ok((writes, after))
}
