//! Releasing an account that was set aside.
//!
//! Its rows say by their fence what they have counted. From a place at which everything before is
//! in them, the account's entries are taken again from the log, beside what the partition does
//! meanwhile. When both are at the same offset, the account takes part again; its record goes with
//! the next checkpoint, after its rows and effects are durable. A crash before that begins the same
//! release again, and the fence skips what is counted.

use std::collections::{BTreeMap, BTreeSet};

use super::catch_up_from::{begun_anew, catch_up_from};
use super::load_accounts::{load, load_older};
use super::{Cached, Poster};
use crate::domain::amount::Points;
use crate::domain::ids::{Account, AccountRef};
use crate::domain::ledger::Activity;
use crate::domain::position::{Epoch, Offset, Partition, Position, Sequence};
use crate::domain::time::Month;
use crate::log::posting::{self, BlockHeader, FormatError, ReadBlock};
use crate::log::{LogError, MUST_BE_THERE, ReadLimit, Topic};
use crate::pipeline::failure::{AccountFault, Failure, HaltCode};
use crate::pipeline::retry::persist;
use crate::pipeline::{WorkerContext, counters};
use crate::store::accounts;
use crate::store::awards::{self, Task};
use crate::store::checkpoints::SourceState;
use crate::store::set_aside::{self, Base, FaultCode, ReleaseRefusal, SetAside};

/// How often awards and rows are compared again before they count as different: a grant may be half
/// visible for a moment.
const AWARDS_READ_MAX: u32 = 6;

/// Waiting awards that are read at a time.
const PENDING_PAGE: u32 = 1_000;

/// Why an account is not released. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RefusalReason {
    /// The rows are older than those that were set aside, and the log does not tell what they lack.
    RowsTooOld,
    /// The log does not hold the missing postings any more.
    PostingsExpired,
    /// The log lacks blocks among those that must be taken again.
    BlocksMissing,
    /// The rows lack awards that were in them.
    AwardsMissing,
}

impl RefusalReason {
    const fn as_str(self) -> &'static str {
        match self {
            RefusalReason::RowsTooOld => "rows_too_old",
            RefusalReason::PostingsExpired => "postings_expired",
            RefusalReason::BlocksMissing => "blocks_missing",
            RefusalReason::AwardsMissing => "awards_missing",
        }
    }
}

/// An account that takes its missing postings from the log.
#[derive(Debug)]
pub(super) struct CatchUp {
    cached: Cached,
    /// The next offset to look at.
    next: Offset,
    sources: BTreeMap<u32, SourceState>,
    /// Postings may be missing in the log: an operator has accepted that.
    accept_missing: bool,
    first_uses: Points,
}

impl CatchUp {
    pub(super) fn account(&self) -> &Account {
        &self.cached.account
    }

    /// Whether a block is to be taken: the next one of its source in this epoch. An error says that
    /// one is missing.
    fn accepts(
        &mut self,
        epoch: Epoch,
        offset: Offset,
        header: &BlockHeader,
        sequence: Sequence,
    ) -> Result<bool, String> {
        if header.epoch < epoch {
            return Ok(false);
        }
        let source = self.sources.entry(header.source.0).or_default();
        let expected = source.sequence.0 + 1;
        if sequence.0 < expected {
            return Ok(false);
        }
        if sequence.0 > expected && !self.accept_missing {
            return Err(format!(
                "block {expected} from source partition {} is missing: offset {offset} holds block {}. Restore ledger.postings, or newer rows of the account",
                header.source, sequence
            ));
        }
        source.sequence = sequence;
        Ok(true)
    }

    /// Adds the account's entry of a block, if there is one that its rows have not counted.
    async fn take(
        &mut self,
        ctx: &WorkerContext,
        position: Position,
        block: &ReadBlock,
        activity: Activity,
    ) -> Result<(), Failure> {
        if self
            .cached
            .position
            .is_some_and(|counted| position <= counted)
        {
            return Ok(());
        }
        let account = AccountRef::from(&self.cached.account);
        let Some(entry) = block.entries.iter().find(|entry| entry.account == account) else {
            return Ok(());
        };
        if let Some(oldest) = entry.oldest_month() {
            load_older(ctx, &mut self.cached, oldest).await?;
        }
        let first_uses = self
            .cached
            .add(entry, block.header.source_log_time, activity, position);
        self.first_uses = Points(self.first_uses.0.saturating_add(first_uses.0));
        Ok(())
    }
}

impl Poster<'_> {
    /// Looks whether an operator wants to have an account released, and begins with one.
    pub(super) async fn poll_releases(&mut self) -> Result<(), Failure> {
        if self.aside.is_empty() || self.aside.catching_up.is_some() {
            return Ok(());
        }
        let ctx = self.ctx;
        let q = self.partition;
        let newest = persist(ctx, || set_aside::newest_request(&*ctx.db, q)).await?;
        if self.aside.is_look_due(newest, ctx.clock.moment()) {
            self.look_for_requests().await?;
        }
        let Some(record) = self.aside.next_to_release().cloned() else {
            return Ok(());
        };
        self.know_activity().await?;
        self.begin_release(record).await
    }

    async fn begin_release(&mut self, record: SetAside) -> Result<(), Failure> {
        let ctx = self.ctx;
        let cached = match load(ctx, &record.account).await {
            Err(Failure::Account(fault)) => return self.still_aside(record, *fault).await,
            // A row is gone, or a newer tidemark wrote it, but of an account that takes no part: no
            // reason to stop the partition.
            Err(Failure::Halt(code @ (HaltCode::RowRegressed | HaltCode::RowUnreadable), what)) => {
                return self.note_refusal(record, code.as_str(), what).await;
            }
            loaded => loaded?,
        };
        let accept_missing = record.release.as_ref().is_some_and(|of| of.accept_missing);
        let fence = cached.stored.as_ref().map(|stored| stored.fence);
        let bounds = ctx
            .log
            .bounds(Topic::LedgerPostings, self.partition)
            .await?;
        let chosen = catch_up_from(&record, fence, ctx.log.epoch(), bounds.start);
        let here = || Base {
            epoch: ctx.log.epoch(),
            next: self.next,
            sources: self.sources.clone(),
        };
        let since = || record.since.clone();
        let chosen = ctx.protections.catch_up_from(chosen, here, since);
        let base = match chosen {
            Some(base) if base.next >= bounds.start || base.next >= self.next => base,
            // From the place of the record in any case: before an earlier one, blocks that were
            // sent again could not be told from new ones.
            _ if accept_missing => {
                let since = begun_anew(&record.since, ctx.log.epoch());
                Base {
                    next: since.next.max(bounds.start),
                    ..since
                }
            }
            Some(base) => {
                let what = format!(
                    "its postings from offset {} on are missing, and {}/{} holds those from {} on only. If they cannot be brought back, release it with --accept-missing and add what is missing as an adjustment",
                    base.next,
                    Topic::LedgerPostings,
                    self.partition,
                    bounds.start
                );
                return self
                    .refuse(record, RefusalReason::PostingsExpired, what)
                    .await;
            }
            None => {
                let found = fence.map_or("missing".to_owned(), |fence| format!("at {fence}"));
                let what = format!(
                    "its rows are {found}, older than those that were set aside, and ledger.postings does not reach back to there. Restore newer rows; or release it with --accept-missing and add what is missing as an adjustment"
                );
                return self.refuse(record, RefusalReason::RowsTooOld, what).await;
            }
        };
        if ctx.protections.compares_awards(!accept_missing) {
            let lost = match self.lost_awards(&cached).await {
                Err(Failure::Account(fault)) => return self.still_aside(record, *fault).await,
                lost => lost?,
            };
            if let Some(what) = lost {
                return self
                    .refuse(record, RefusalReason::AwardsMissing, what)
                    .await;
            }
        }
        tracing::info!(event = "account.catch_up", task = %self.task(), account = %record.account, from = %base.position(), to = %self.next, "taking what the account misses");
        self.aside.catching_up = Some(Box::new(CatchUp {
            cached,
            next: base.next,
            sources: base.sources,
            accept_missing,
            first_uses: Points::ZERO,
        }));
        Ok(())
    }

    /// Takes a batch of what an account misses. When it is where the partition is, it takes part
    /// again.
    pub(super) async fn catch_up(&mut self) -> Result<(), Failure> {
        let Some(mut catching) = self.aside.catching_up.take() else {
            return Ok(());
        };
        if catching.next < self.next {
            match self.catch_up_some(&mut catching).await {
                Ok(Some((refused, what))) => {
                    let Some((record, _)) = self.aside.record(catching.account()) else {
                        return Ok(());
                    };
                    return self.refuse(record.clone(), refused, what).await;
                }
                Ok(None) => {}
                Err(Failure::Account(fault)) => {
                    let Some((record, _)) = self.aside.record(catching.account()) else {
                        return Ok(());
                    };
                    return self.still_aside(record.clone(), *fault).await;
                }
                Err(failure) => return Err(failure),
            }
        }
        match catching.next < self.next {
            true => self.aside.catching_up = Some(catching),
            false => self.take_part_again(*catching),
        }
        Ok(())
    }

    /// `Some`: the log does not hold what is missing.
    async fn catch_up_some(
        &self,
        catching: &mut CatchUp,
    ) -> Result<Option<(RefusalReason, String)>, Failure> {
        let ctx = self.ctx;
        let Some(activity) = self.activity else {
            return Err(Failure::reload("the rules were not loaded"));
        };
        let (topic, q) = (Topic::LedgerPostings, self.partition);
        let limit = ReadLimit {
            records: ctx.settings.blocks_read_max,
            bytes: super::take::READ_BYTES_MAX,
        };
        let read = ctx.log.read(topic, q, catching.next, limit, MUST_BE_THERE);
        let records = match read.await {
            Err(error @ LogError::OutOfRange { .. }) => {
                let what = format!("its missing postings have expired meanwhile: {error}");
                return Ok(Some((RefusalReason::PostingsExpired, what)));
            }
            Err(error @ LogError::Damaged { .. }) if catching.accept_missing => {
                self.gives_up(catching, catching.next, &error);
                return Ok(None);
            }
            Err(error @ LogError::Damaged { .. }) => {
                return Ok(Some((RefusalReason::BlocksMissing, error.to_string())));
            }
            records => records?,
        };
        let end = records.partition_point(|record| record.offset < self.next);
        if end == 0 {
            let what = format!("records of {topic}/{q} could not be read yet");
            return Err(Failure::reload(what));
        }
        for record in &records[..end] {
            let position = Position {
                epoch: ctx.log.epoch(),
                offset: record.offset,
            };
            let unreadable = |error: FormatError| {
                let offset = record.offset;
                let what = format!("offset {offset} of {topic}/{q} cannot be read: {error}");
                Ok(Some((RefusalReason::BlocksMissing, what)))
            };
            // A block of an earlier epoch need not be readable.
            let (header, sequence) = match posting::peek(&record.value) {
                Ok(head) => head,
                Err(error) if catching.accept_missing => {
                    self.gives_up(catching, record.offset, &error);
                    continue;
                }
                Err(error) => return unreadable(error),
            };
            match catching.accepts(position.epoch, record.offset, &header, sequence) {
                Ok(true) => match posting::decode_block(&record.value) {
                    Ok(block) => catching.take(ctx, position, &block, activity).await?,
                    Err(error) if catching.accept_missing => {
                        self.gives_up(catching, record.offset, &error);
                        continue;
                    }
                    Err(error) => return unreadable(error),
                },
                Ok(false) => {}
                Err(what) => return Ok(Some((RefusalReason::BlocksMissing, what))),
            }
            catching.next = record.offset.next();
        }
        Ok(None)
    }

    /// Goes past a record that cannot be read. An operator has accepted that something is missing.
    fn gives_up(&self, catching: &mut CatchUp, offset: Offset, error: &dyn std::fmt::Display) {
        tracing::warn!(event = "account.record_given_up", task = %self.task(), account = %catching.account(), %offset, %error, "what the account has in a record that cannot be read is given up");
        catching.next = offset.next();
    }

    /// The account is as far as the partition: from here on its postings are added as everybody's.
    fn take_part_again(&mut self, catching: CatchUp) {
        let account = catching.cached.account.clone();
        counters::issued(&self.ctx.metrics, counters::FIRST_USE, catching.first_uses);
        let mut cached = catching.cached;
        self.uses += 1;
        cached.used = self.uses;
        let is_dirty = cached.is_dirty();
        let number = self.accounts.insert(cached);
        if is_dirty {
            self.dirty.push(number);
        }
        // Its effects are owed, also if nothing was missing.
        self.touch(number);
        self.aside.released(&account);
        if self.dirty_since.is_none() {
            self.dirty_since = Some(self.ctx.clock.moment());
        }
    }

    /// An account is still not as it must be: the request is done with, and the record says why.
    async fn still_aside(&mut self, record: SetAside, fault: AccountFault) -> Result<(), Failure> {
        let (code, what) = (fault.code.as_str(), fault.what);
        self.note_refusal(record, code, what).await
    }

    async fn refuse(
        &mut self,
        record: SetAside,
        refused: RefusalReason,
        what: String,
    ) -> Result<(), Failure> {
        self.note_refusal(record, refused.as_str(), what).await
    }

    async fn note_refusal(
        &mut self,
        record: SetAside,
        code: &str,
        what: String,
    ) -> Result<(), Failure> {
        let (account, task) = (record.account.clone(), self.task());
        tracing::error!(event = "account.release_refused", %task, %account, code, what, "the account stays set aside");
        let record = SetAside {
            release: None,
            refused: Some(ReleaseRefusal {
                at: self.ctx.clock.now(),
                code: code.to_owned(),
                what,
            }),
            ..record
        };
        self.save_records(&[record]).await
    }

    /// Months whose rows do not hold the awards that were applied to them.
    async fn lost_awards(&self, cached: &Cached) -> Result<Option<String>, Failure> {
        let (ctx, account) = (self.ctx, &cached.account);
        let mut readings = ctx.readings(AWARDS_READ_MAX);
        loop {
            let must = applied_awards(ctx, account, self.partition).await?;
            let is = bonuses(ctx, cached).await?;
            let Some((month, must, is)) = first_difference(&must, &is) else {
                return Ok(None);
            };
            if !readings.again().await {
                return Ok(Some(format!(
                    "the row of {month} holds {is} points of awards, but {must} were applied to it. Restore the row as it was after the last of them; or release it with --accept-missing and add what is missing as an adjustment"
                )));
            }
        }
    }
}

/// The first month of which two sums differ, and what they are.
fn first_difference(
    must: &BTreeMap<Month, Points>,
    is: &BTreeMap<Month, Points>,
) -> Option<(Month, Points, Points)> {
    let of =
        |sums: &BTreeMap<Month, Points>, month| sums.get(month).copied().unwrap_or(Points::ZERO);
    must.keys()
        .chain(is.keys())
        .map(|month| (*month, of(must, month), of(is, month)))
        .find(|(_, must, is)| must != is)
}

/// What the awards of an account that are not pending come to, by month.
async fn applied_awards(
    ctx: &WorkerContext,
    account: &Account,
    partition: Partition,
) -> Result<BTreeMap<Month, Points>, Failure> {
    let granted = persist(ctx, || awards::awards_of(&*ctx.db, account)).await;
    let code = FaultCode::AwardUnreadable;
    let granted = granted.map_err(|error| Failure::of_account(account, code, error))?;
    // After the awards: one that was granted in between is in this list only.
    let waiting = pending_awards(ctx, account, partition).await?;
    let mut sums: BTreeMap<Month, Points> = BTreeMap::new();
    for award in granted.iter().filter(|award| !waiting.contains(&award.id)) {
        let sum = sums.entry(award.month).or_insert(Points::ZERO);
        *sum = sum.plus(award.points);
    }
    Ok(sums)
}

/// The awards of an account that are not in its rows yet.
async fn pending_awards(
    ctx: &WorkerContext,
    account: &Account,
    partition: Partition,
) -> Result<BTreeSet<String>, Failure> {
    let mut ids = BTreeSet::new();
    let mut after: Option<String> = None;
    loop {
        let page = persist(ctx, || {
            awards::oldest_pending(&*ctx.db, partition, after.as_deref(), PENDING_PAGE)
        })
        .await?;
        // An award whose pointer cannot be read would be taken for one that is in the rows.
        let mut unreadable = page.pending.unreadable.into_iter();
        if let Some(own) = unreadable.find(|of| of.account.as_ref() == Some(account)) {
            let code = FaultCode::AwardUnreadable;
            return Err(Failure::of_account(account, code, own.error));
        }
        let pending = page.pending.pointers.into_iter();
        for pointer in pending.filter(|pointer| pointer.state == awards::State::Pending) {
            if let Task::Award(award) = pointer.task
                && award.account == *account
            {
                ids.insert(award.id);
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(ids);
        }
    }
}

/// What the account's rows hold of awards, by month.
async fn bonuses(ctx: &WorkerContext, cached: &Cached) -> Result<BTreeMap<Month, Points>, Failure> {
    let account = &cached.account;
    let rows = persist(ctx, || accounts::all_rows(&*ctx.db, account)).await;
    let code = FaultCode::RowUnreadable;
    let rows = rows.map_err(|error| Failure::of_account(account, code, error))?;
    let bonus = |stored: accounts::StoredRow| (stored.row.month, stored.row.bonus);
    Ok(rows.into_iter().map(bonus).collect())
}
