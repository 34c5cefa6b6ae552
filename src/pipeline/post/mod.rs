//! POST: one posting partition. Each stage has a file of its name.
//!
//! ```text
//! take (the next sequence only) ─▶ load (accounts) ─▶ apply (entries above the fence) ─▶ flush (rows) ─▶ derive (effects) ─▶ checkpoint
//!                                                       awards (pending pointers) ─┘
//! ```
//!
//! Rows are written under equality with the fence that this worker last saw, one write per account
//! at a time. Effects (streak snapshots, milestones, top-K lists) are derived from the rows, never
//! from noticing a change, and are owed for every account that a replayed range touches: a crash
//! between row and effect loses nothing. The checkpoint moves when all of it is durable.

mod account_cache;
mod apply;
mod aside;
mod awards;
mod badges;
mod catch_up_from;
mod checkpoint;
mod concurrency;
mod derive;
mod flush;
mod load_accounts;
mod release;
mod restore;
mod sweep;
mod take;
pub mod top;
mod went_back;
mod witness;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::Instrument as _;

use super::failure::Failure;
use super::follower::Follower;
use super::freshness::Freshness;
use super::installation::NextCheck;
use super::{Covers, WorkerContext, counters};
use crate::domain::amount::Points;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::ledger::{AccountRows, Activity, Months};
use crate::domain::position::{Control, Epoch, Offset, Partition, Position, WriteId};
use crate::domain::posting::EntryRef;
use crate::domain::rules::Timeline;
use crate::domain::statement::Streak;
use crate::domain::time::{Millis, Month};
use crate::log::{Fingerprint, Record, Topic};
use crate::ops::clock::Moment;
use crate::ops::health::{Role, TaskId};
use crate::store::accounts::StoredHead;
use crate::store::awards::Pointer;
use crate::store::checkpoints::{PostCheckpoint, SourceState, Witness};
use account_cache::AccountCache;
use aside::AsideBook;
pub use aside::SET_ASIDE_MAX;
use awards::FormerQueues;
use badges::MilestoneAwards;
use sweep::Sweeps;
use top::Top;

/// With a backlog, folding goes on for at most so long before rows are written.
const FOLDING_MAX: Duration = Duration::from_secs(10);

/// An account in memory.
#[derive(Debug)]
struct Cached {
    account: Account,
    rows: AccountRows,
    /// What stands in the store, as last seen; `None` if nothing does.
    stored: Option<StoredHead>,
    /// The newest posting that is in `rows`.
    position: Option<Position>,
    /// Months whose rows are not written yet, ascending.
    dirty: Months,
    /// Awards that are in `rows` and not written yet.
    awards: Vec<Pointer>,
    /// The streak snapshot that this session wrote or knows to be written.
    streak: Option<Streak>,
    /// Nothing is owed about this referee's milestone until a new link brings a check.
    milestone_is_done: bool,
    /// Effects are owed to it: it stands among [`Poster::touched`].
    touched: bool,
    /// The badges that it is known to have, by their places under [`Poster::badges_under`].
    badges: u128,
    /// When it was last used, by count of touches.
    used: u64,
}

impl Cached {
    /// An account of which nothing is stored.
    fn new(account: Account) -> Cached {
        Cached {
            account,
            rows: AccountRows::default(),
            stored: None,
            position: None,
            dirty: Months::new(),
            awards: Vec::new(),
            streak: None,
            milestone_is_done: false,
            touched: false,
            badges: 0,
            used: 0,
        }
    }

    fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Adds an entry of the block at `position`; what the account gets for first uses. The rows
    /// that it touches are in memory. Whoever calls this looks whether the account was dirty
    /// before.
    fn add(
        &mut self,
        entry: EntryRef<'_>,
        source_log_time: Millis,
        activity: Activity,
        position: Position,
    ) -> Points {
        let services = self.rows.lifetime.services_used;
        let kind = entry.account.kind;
        let changed = self.rows.apply(kind, entry, source_log_time, activity);
        self.position = Some(position);
        self.becomes_dirty(changed);
        match self.rows.lifetime.services_used == services {
            true => Points::ZERO,
            false => counters::first_uses(services, entry.firsts),
        }
    }

    /// Notes months whose rows have changed; whether there were none before.
    fn becomes_dirty(&mut self, changed: Months) -> bool {
        let was_dirty = self.is_dirty();
        for month in changed {
            if let Err(place) = self.dirty.binary_search(&month) {
                self.dirty.insert(place, month);
            }
        }
        !was_dirty && self.is_dirty()
    }
}

/// In order, each once.
fn ordered(mut numbers: Vec<u32>) -> Vec<u32> {
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The poster of one posting partition, between two loads.
pub struct Poster<'c> {
    ctx: &'c WorkerContext,
    partition: Partition,
    partitions: u32,
    /// The epoch since which the accounts of this partition are the same: each such epoch has top-K
    /// lists of its own.
    lists_since: Epoch,
    /// The checkpoint as it stands in the store, and the id of its last write.
    checkpoint: PostCheckpoint,
    written: Option<WriteId>,
    /// This session has noted that the partition has had a checkpoint.
    is_noted: bool,
    /// In which interval of time a copy of it was kept last.
    kept_in: Option<i64>,
    /// How far blocks were taken into memory.
    next: Offset,
    fingerprint: Option<Fingerprint>,
    sources: BTreeMap<u32, SourceState>,
    witnesses: Vec<Witness>,
    next_check: NextCheck,
    follower: Follower,
    activity: Option<Activity>,
    accounts: AccountCache,
    /// Accounts that are not in memory any more, and the postings after the stored checkpoint that
    /// they had counted.
    forgotten: HashMap<Account, Position>,
    /// Numbers of the accounts with unwritten rows, as they came. Flags in [`Cached`] tell who
    /// stands here already; they are put in order when it is their turn.
    dirty: Vec<u32>,
    /// Accounts that are set aside.
    aside: AsideBook,
    /// Numbers of the accounts to which effects are owed, likewise.
    touched: Vec<u32>,
    tops: BTreeMap<(AccountKind, Month), Top>,
    /// The rules under which the totals in `tops` were computed.
    ranked_under: Option<Arc<Timeline>>,
    /// The change of the rules that brought the badges.
    badges_under: Option<Control>,
    /// Referees' milestones that were awarded since effects were last derived.
    milestone_awards: MilestoneAwards,
    sweeps: Sweeps,
    /// Pointers that may go once their effects are durable.
    spent_pointers: Vec<Pointer>,
    uses: u64,
    dirty_since: Option<Moment>,
    /// How long the last flush took.
    flush_took: Duration,
    /// There was a backlog in the log when it was last looked at.
    is_behind: bool,
    next_awards: Moment,
    /// Pointers up to this sort key had their turn.
    awards_after: Option<String>,
    former_queues: FormerQueues,
    next_tops: Moment,
    /// Every posting before it is in rows.
    written_to: Offset,
    /// The first block that is not, and when it was appended.
    first_unwritten: Option<(Offset, Millis)>,
    progressed: bool,
    /// The time of the newest event in what was taken.
    newest: Freshness,
}

impl Poster<'_> {
    /// Whether anything was done since the load.
    pub fn has_progressed(&self) -> bool {
        self.progressed
    }

    fn task(&self) -> TaskId {
        TaskId::new(Role::Post, self.partition)
    }

    /// Works until shutdown or a failure.
    pub async fn work(&mut self, shutdown: &watch::Receiver<bool>) -> Result<(), Failure> {
        self.stands();
        self.ctx.health.loaded(self.task());
        self.tell_aside();
        while !*shutdown.borrow() {
            self.catch_up().await?;
            self.round().await?;
            self.report().await?;
            self.check_tables().await?;
        }
        self.flush().await?;
        self.write_checkpoint().await
    }

    /// Each stage as far as it is due.
    async fn round(&mut self) -> Result<(), Failure> {
        let records = self.read().await?;
        self.post(&records).await?;
        if self.flush_is_due() {
            let (task, accounts) = (self.task(), self.dirty.len());
            let span = tracing::info_span!("post.flush", %task, accounts);
            self.flush().instrument(span).await?;
        }
        if self.ctx.clock.moment() >= self.next_awards {
            self.poll_awards().await?;
        }
        if self.checkpoint_is_due() {
            self.write_checkpoint().await?;
        }
        self.sweep().await
    }

    /// Takes records into memory.
    async fn post(&mut self, records: &[Record]) -> Result<(), Failure> {
        let Some(last) = records.last() else {
            return Ok(());
        };
        let started = self.ctx.clock.moment();
        let mut blocks = self.accept_blocks(records).await?;
        self.load(&mut blocks).await?;
        let loaded = self.ctx.stage(Role::Post, "load", started);
        self.apply(&blocks).await?;
        self.ctx.stage(Role::Post, "apply", loaded);
        self.newest.take(records);
        self.next = last.offset.next();
        self.fingerprint = Some(Fingerprint::of(last));
        if self.dirty_since.is_none() && !(self.dirty.is_empty() && self.touched.is_empty()) {
            self.dirty_since = Some(self.ctx.clock.moment());
        }
        if self.dirty_since.is_none() {
            self.everything_is_written();
        }
        Ok(())
    }

    /// Writes what has changed, and what follows from it.
    async fn flush(&mut self) -> Result<(), Failure> {
        let started = self.ctx.clock.moment();
        self.flush_rows().await?;
        let written = self.ctx.stage(Role::Post, "write", started);
        self.newest.tell(self.ctx, self.partition);
        self.derive().await?;
        self.ctx.stage(Role::Post, "effects", written);
        self.evict();
        self.flush_took = self.ctx.clock.moment().since(started);
        let took = self.flush_took.as_secs_f64();
        self.ctx.metrics.flush_seconds.observe(took);
        Ok(())
    }

    fn flush_is_due(&self) -> bool {
        // Accounts to which only effects are owed stay in memory until then too.
        let most = self.ctx.settings.flush_accounts_max;
        let is_full = self.dirty.len() >= most || self.touched.len() >= most;
        let is_due = |due| self.ctx.clock.moment() >= due;
        is_full || self.flush_at().is_some_and(is_due)
    }

    /// When the changed accounts are to be written, if there are any.
    ///
    /// With a backlog, folding goes on for as long as the last flush took: the slower the store, the
    /// more events share the write of an account. That leaves the store idle for half of the time,
    /// which pays as soon as accounts come again. Without a backlog nothing waits longer than the
    /// interval.
    fn flush_at(&self) -> Option<Moment> {
        let interval = self.ctx.settings.flush_interval;
        let wait = match self.is_behind {
            true => interval.max(self.flush_took.min(FOLDING_MAX)),
            false => interval,
        };
        Some(self.dirty_since?.plus(wait))
    }

    /// Whether more waits in the log than is read at a time. A few blocks always do while others
    /// are taken.
    fn is_backlog(&self, end: Offset) -> bool {
        end.0.saturating_sub(self.next.0) > self.ctx.settings.blocks_read_max as u64
    }

    /// Whether there is something that the stored checkpoint does not cover yet.
    fn is_uncovered(&self) -> bool {
        self.next != self.checkpoint.next
            || !self.spent_pointers.is_empty()
            || !self.aside.done().is_empty()
            || self.tops.values().any(Top::is_changed)
    }

    fn checkpoint_is_due(&self) -> bool {
        self.dirty_since.is_none()
            && self.is_uncovered()
            && self.ctx.clock.moment() >= self.next_tops
    }

    async fn report(&mut self) -> Result<(), Failure> {
        let end = self
            .ctx
            .log
            .end_seen(Topic::LedgerPostings, self.partition)
            .await?;
        self.is_behind = self.is_backlog(end);
        self.stands();
        self.ctx
            .health
            .progressed(self.task(), end.0.saturating_sub(self.written_to.0));
        let covers = match self.is_uncovered() {
            true => Covers::Part,
            false => Covers::Everything,
        };
        self.ctx
            .tell_checkpoint(self.task(), self.checkpoint.next, covers);
        let metrics = &self.ctx.metrics;
        let partition = self.partition.to_string();
        metrics
            .accounts_cached
            .with_label_values(&[&partition])
            .set(self.accounts.len() as i64);
        metrics
            .accounts_dirty
            .with_label_values(&[&partition])
            .set(self.dirty.len() as i64);
        Ok(())
    }

    /// Says how far the rows are: what is only in memory is not done.
    fn stands(&self) {
        let (task, health) = (self.task(), &self.ctx.health);
        health.stands_at(task, self.written_to.0);
        if let Some((offset, append_time)) = self.first_unwritten {
            health.first_waiting(task, offset.0, append_time);
        }
    }

    fn everything_is_written(&mut self) {
        self.written_to = self.next;
        self.first_unwritten = None;
    }
}
