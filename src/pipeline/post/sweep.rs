//! SWEEP: looks through all accounts for badges that no flush would grant.
//!
//! It is due when badges were published, and when another month has become final: points and ranks
//! go by final months, and an account may never be touched again. What it was done for last is
//! stored, so it is level-triggered as well. How far it has come is stored, too, once everything
//! before it is granted: after a crash, or under a new owner of the partition, it goes on from
//! there. The poster of the first posting partition does it between two rounds, a page of a table
//! or a few grants each time, so that postings go on.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use hashbrown::HashSet;

use super::Poster;
use super::badges::{Earned, InForce, by_milestones, grant, standing};
use crate::domain::amount::Points;
use crate::domain::badges::{Evidence, Standing};
use crate::domain::ids::{Account, AccountKind};
use crate::domain::position::Partition;
use crate::domain::rules::Timeline;
use crate::domain::statement;
use crate::domain::time::{Millis, Month};
use crate::ops::clock::Moment;
use crate::pipeline::WorkerContext;
use crate::pipeline::failure::Failure;
use crate::pipeline::progress::Finality;
use crate::pipeline::retry::persist;
use crate::store::accounts;
use crate::store::badges::{self, SweepProgress, SweepStage, Swept};
use crate::store::checkpoints::Versioned;
use crate::store::conditional;
use crate::store::db::{Item, Key, StoreError, Table};
use crate::store::{layout, referrals, top};

/// The posting partition whose poster sweeps.
const SWEEPER: Partition = Partition(0);
/// Badges for ranks are granted for so many past months when they are published.
const RANKED_MONTHS_MAX: i32 = 36;
/// Badges that are looked up, and granted if they are missing, between two rounds. A page has
/// thousands of accounts; granting them all at once would hold up postings.
const GRANTS_MAX: usize = 50;
/// Referrers whose milestones are counted between two rounds.
const COUNTS_MAX: usize = 20;
/// Top lists that are read between two rounds; a leaderboard has one for each posting partition.
const LISTS_MAX: u32 = 64;
/// Accounts that could not be read are looked at again after this time.
const UNREADABLE_AGAIN: Duration = Duration::from_secs(6 * 3_600);
/// So many referrers are remembered whose milestones were counted in this sweep; beyond it some are
/// counted twice.
const REFERRERS_KNOWN_MAX: usize = 1_000_000;

/// When the next sweep may be due, and the one that is under way.
pub(super) struct Sweeps {
    next_look: Moment,
    running: Option<Sweep>,
}

impl Sweeps {
    /// Looks at once.
    pub(super) fn from(now: Moment) -> Sweeps {
        Sweeps {
            next_look: now,
            running: None,
        }
    }

    /// Whether a sweep is under way.
    pub(super) const fn is_running(&self) -> bool {
        self.running.is_some()
    }
}

/// A sweep that is under way.
struct Sweep {
    target: Swept,
    before: Option<Versioned<Swept>>,
    stage: Stage,
    /// The account whose rows are being read: a page may end among them.
    open: Option<OpenAccount>,
    /// The last row of the account before it.
    closed: Option<(Account, Month)>,
    /// What the last page has shown and is not granted yet.
    owed: VecDeque<Earned>,
    /// Referrers of the last page whose milestones are not counted yet.
    uncounted: VecDeque<Account>,
    /// Whether it has come further than is stored.
    is_unsaved: bool,
    /// Referrers whose milestones were counted, by hash.
    referrers: HashSet<u64>,
}

/// What comes next.
enum Stage {
    /// The rows of accounts of a kind, after this item.
    Accounts(AccountKind, Option<Item>),
    /// Referral links, after this item.
    Links(Option<Item>),
    /// Leaderboards of final months, from this one on.
    Ranks(Month, AccountKind),
    /// Nothing.
    Done,
}

/// What the rows of an account say that were read so far.
struct OpenAccount {
    account: Account,
    standing: Standing,
    /// The month of the last row.
    last: Month,
    /// The totals of final months, ascending.
    totals: Vec<(Month, Points)>,
    /// A row cannot be decoded: nothing is said of its points.
    is_damaged: bool,
}

impl Poster<'_> {
    /// Goes on with the sweep that is under way, or looks whether one is due.
    pub(super) async fn sweep(&mut self) -> Result<(), Failure> {
        let ctx = self.ctx;
        if self.partition != SWEEPER {
            return Ok(());
        }
        if self.sweeps.running.is_none() {
            if ctx.clock.moment() < self.sweeps.next_look {
                return Ok(());
            }
            self.sweeps.next_look = ctx.clock.moment().plus(ctx.settings.sweep_interval);
            self.begin_sweep().await?;
        }
        let Some(mut sweep) = self.sweeps.running.take() else {
            return Ok(());
        };
        let head = self.follower.follow(ctx).await?;
        let Some(timeline) = self.follower.rules(head) else {
            return Ok(());
        };
        let in_force = InForce::of(&timeline);
        let Some(in_force) = in_force.filter(|in_force| in_force.control == sweep.target.rules)
        else {
            // Others were published meanwhile: it begins anew for these.
            self.sweeps.next_look = ctx.clock.moment();
            return Ok(());
        };
        let work = SweepWork {
            ctx,
            in_force,
            timeline: &timeline,
            posting: self.partitions,
        };
        work.step(&mut sweep).await?;
        if sweep.is_done() {
            sweep.target.at = ctx.clock.now();
            work.note(&sweep).await?;
            ctx.metrics.badge_sweep_due.set(0);
            tracing::info!(
                event = "badges.swept",
                rules = sweep.target.rules.0,
                unreadable = sweep.target.unreadable,
                "looked through all accounts for badges"
            );
        } else {
            self.sweeps.running = Some(sweep);
        }
        Ok(())
    }

    async fn begin_sweep(&mut self) -> Result<(), Failure> {
        let ctx = self.ctx;
        let head = self.follower.follow(ctx).await?;
        let Some(timeline) = self.follower.rules(head) else {
            return Ok(());
        };
        let Some(in_force) = InForce::of(&timeline) else {
            ctx.metrics.badge_sweep_due.set(0);
            return Ok(());
        };
        let before = persist(ctx, || badges::swept(&*ctx.db)).await?;
        let last = before.as_ref().map(|before| before.value);
        let month = self.final_month().await?;
        let mut target = Swept {
            rules: in_force.control,
            month: month.max(last.and_then(|last| last.month)),
            unreadable: 0,
            at: Millis::default(),
        };
        let again = |last: &Swept| {
            let since = ctx.clock.now().0.saturating_sub(last.at.0);
            last.unreadable > 0
                && u128::try_from(since).is_ok_and(|since| since >= UNREADABLE_AGAIN.as_millis())
        };
        let is_new = last.is_none_or(|last| !last.covers(&target));
        ctx.metrics.badge_sweep_due.set(i64::from(is_new));
        if is_new || last.as_ref().is_some_and(again) {
            let progress = persist(ctx, || badges::sweep_progress(&*ctx.db)).await?;
            let progress = progress.filter(|progress| {
                is_new && (progress.rules, progress.month) == (target.rules, target.month)
            });
            let (stage, closed) = match progress {
                Some(progress) => {
                    target.unreadable = progress.unreadable;
                    Stage::of(progress.stage)
                }
                None => (Stage::Accounts(AccountKind::User, None), None),
            };
            self.sweeps.running = Some(Sweep {
                target,
                before,
                stage,
                open: None,
                closed,
                owed: VecDeque::new(),
                uncounted: VecDeque::new(),
                is_unsaved: false,
                referrers: HashSet::new(),
            });
        }
        Ok(())
    }

    /// The newest month up to which all are final.
    async fn final_month(&self) -> Result<Option<Month>, Failure> {
        let ctx = self.ctx;
        let Some(layout) = persist(ctx, || layout::newest(&*ctx.db)).await? else {
            return Ok(None);
        };
        let read = || Finality::read(&*ctx.db, layout.source, layout.posting);
        Ok(persist(ctx, read).await?.all_up_to())
    }
}

impl Stage {
    /// As it was stored, and the last row of the account that was read last.
    fn of(stored: SweepStage) -> (Stage, Option<(Account, Month)>) {
        match stored {
            SweepStage::Accounts(kind, after) => {
                let closed =
                    after.and_then(|(id, month)| Some((Account::new(kind, &id).ok()?, month)));
                let after = closed.as_ref();
                let after = after.map(|(account, month)| accounts::row_key(account, *month));
                (Stage::Accounts(kind, after.map(Key::into_item)), closed)
            }
            SweepStage::Links => (Stage::Links(None), None),
            SweepStage::Ranks(month, kind) => (Stage::Ranks(month, kind), None),
        }
    }
}

impl Sweep {
    fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done) && self.is_granted()
    }

    /// Whether everything that was read is granted.
    fn is_granted(&self) -> bool {
        self.owed.is_empty() && self.uncounted.is_empty()
    }

    /// Some of what is owed.
    fn take_owed(&mut self) -> Vec<Earned> {
        let (mut some, mut badges) = (Vec::new(), 0);
        while badges < GRANTS_MAX
            && let Some(earned) = self.owed.pop_front()
        {
            badges += earned.badges.len();
            some.push(earned);
        }
        some
    }

    /// How far it has come, if everything before that is granted; `None`: nothing is worth to be
    /// kept.
    fn progress(&self) -> Option<SweepProgress> {
        let stage = match &self.stage {
            // Rows of an account that were read alone would say nothing of its other months, so it
            // is read again from its first row on.
            Stage::Accounts(kind, _) => {
                let closed = self.closed.as_ref();
                let closed = closed.filter(|(account, _)| account.kind == *kind);
                let after = closed.map(|(account, month)| (account.id().to_owned(), *month));
                SweepStage::Accounts(*kind, after)
            }
            Stage::Links(_) => SweepStage::Links,
            Stage::Ranks(month, kind) => SweepStage::Ranks(*month, *kind),
            Stage::Done => return None,
        };
        Some(SweepProgress {
            rules: self.target.rules,
            month: self.target.month,
            unreadable: self.target.unreadable,
            stage,
        })
    }
}

/// What a sweep works with.
struct SweepWork<'s> {
    ctx: &'s WorkerContext,
    in_force: InForce<'s>,
    timeline: &'s Timeline,
    posting: u32,
}

impl SweepWork<'_> {
    /// Some grants of what was read; or a page of what comes next.
    async fn step(&self, sweep: &mut Sweep) -> Result<(), Failure> {
        if sweep.is_granted() {
            if sweep.is_unsaved {
                self.save(sweep).await?;
            }
            sweep.stage = match std::mem::replace(&mut sweep.stage, Stage::Done) {
                Stage::Accounts(kind, after) => self.accounts(sweep, kind, after).await?,
                Stage::Links(_) if !self.in_force.badges.count_milestones() => self.ranks(sweep),
                Stage::Links(after) => self.links(sweep, after).await?,
                ranks @ Stage::Ranks(..) => self.some_ranks(sweep, ranks).await?,
                Stage::Done => Stage::Done,
            };
            sweep.is_unsaved = true;
        }
        self.count(sweep).await?;
        grant(self.ctx, &sweep.take_owed(), self.in_force).await
    }

    /// Stores how far it has come.
    async fn save(&self, sweep: &mut Sweep) -> Result<(), Failure> {
        sweep.is_unsaved = false;
        let Some(progress) = sweep.progress() else {
            return Ok(());
        };
        let ctx = self.ctx;
        let write = badges::sweep_progress_write(&progress);
        persist(ctx, || ctx.db.write(write.clone())).await?;
        Ok(())
    }

    /// Counts the milestones of some referrers.
    async fn count(&self, sweep: &mut Sweep) -> Result<(), Failure> {
        let none = BTreeSet::new();
        for _ in 0..COUNTS_MAX {
            let Some(referrer) = sweep.uncounted.pop_front() else {
                break;
            };
            let earned = by_milestones(self.ctx, &referrer, &none, 0, self.in_force).await?;
            sweep.owed.extend(earned);
        }
        Ok(())
    }

    async fn accounts(
        &self,
        sweep: &mut Sweep,
        kind: AccountKind,
        after: Option<Item>,
    ) -> Result<Stage, Failure> {
        let ctx = self.ctx;
        let page = persist(ctx, || ctx.db.scan(accounts::table(kind), after.clone())).await?;
        for item in &page.items {
            // What is no month row of anybody is passed over.
            let Ok(Some((account, month))) = accounts::whose(kind, item) else {
                continue;
            };
            if sweep
                .open
                .as_ref()
                .is_none_or(|open| open.account != account)
            {
                self.close(sweep);
            }
            let open = sweep.open.get_or_insert_with(|| OpenAccount {
                account,
                standing: Standing::default(),
                last: month,
                totals: Vec::new(),
                is_damaged: false,
            });
            open.last = month;
            self.take_row(open, item, month, sweep.target.month)?;
        }
        let next = match (page.next, kind) {
            (Some(next), _) => Stage::Accounts(kind, Some(next)),
            (None, AccountKind::User) => Stage::Accounts(AccountKind::Provider, None),
            (None, AccountKind::Provider) => Stage::Links(None),
        };
        if !matches!(&next, Stage::Accounts(_, Some(_))) {
            self.close(sweep);
        }
        Ok(next)
    }

    /// All rows of the account were read.
    fn close(&self, sweep: &mut Sweep) {
        let Some(open) = sweep.open.take() else {
            return;
        };
        sweep.closed = Some((open.account.clone(), open.last));
        sweep.target.unreadable += u64::from(open.is_damaged);
        sweep.owed.extend(self.earned(open));
    }

    /// Adds a row of an account. Rows of one account come together, the oldest first.
    fn take_row(
        &self,
        open: &mut OpenAccount,
        item: &Item,
        month: Month,
        final_month: Option<Month>,
    ) -> Result<(), Failure> {
        let kind = open.account.kind;
        let stored = match accounts::account_of(kind, item) {
            Ok(Some((_, stored))) => stored,
            Ok(None) => return Ok(()),
            // Its partition sets the account aside when it meets the row.
            Err(StoreError::Corrupt { .. }) => {
                open.is_damaged = true;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let activity = self.timeline.activity();
        let row_standing = standing(&open.account, &stored.row, &stored.lifetime, activity);
        open.standing.longest_streak = open
            .standing
            .longest_streak
            .max(row_standing.longest_streak);
        open.standing.services_used |= row_standing.services_used;
        if Some(month) <= final_month {
            let total = statement::total(kind, &stored.row, self.timeline);
            open.totals.push((month, total));
        }
        Ok(())
    }

    fn earned(&self, open: OpenAccount) -> Option<Earned> {
        let of_badge = |(place, badge): (usize, &crate::domain::badges::Badge)| {
            let by_standing = badge.by_standing(open.standing, self.in_force.services);
            let by_months = || badge.by_months(&open.totals).filter(|_| !open.is_damaged);
            Some((place, by_standing.or_else(by_months)?))
        };
        let badges: Vec<(usize, Evidence)> = self
            .in_force
            .open(&open.account, 0)
            .filter_map(of_badge)
            .collect();
        (!badges.is_empty()).then_some(Earned {
            account: open.account,
            badges,
            position: None,
        })
    }

    async fn links(&self, sweep: &mut Sweep, after: Option<Item>) -> Result<Stage, Failure> {
        let ctx = self.ctx;
        let scan = || ctx.db.scan(Table::ReferralRelationships, after.clone());
        let page = persist(ctx, scan).await?;
        for referrer in page.items.iter().filter_map(referrals::granted_to) {
            let hash = xxhash_rust::xxh3::xxh3_64(referrer.to_string().as_bytes());
            if sweep.referrers.len() >= REFERRERS_KNOWN_MAX {
                sweep.referrers.clear();
            }
            if sweep.referrers.insert(hash) {
                sweep.uncounted.push_back(referrer);
            }
        }
        Ok(match page.next {
            Some(next) => Stage::Links(Some(next)),
            None => self.ranks(sweep),
        })
    }

    /// The first leaderboard that is looked at.
    fn ranks(&self, sweep: &Sweep) -> Stage {
        let Some(last) = sweep.target.month else {
            return Stage::Done;
        };
        let before = sweep.before.as_ref().map(|before| before.value);
        let first = match before.filter(|before| before.rules == sweep.target.rules) {
            Some(before) => before.month.map(|month| month.0 + 1),
            None => None,
        };
        let first = Month(first.unwrap_or(last.0 - RANKED_MONTHS_MAX + 1));
        match self.in_force.badges.worst_rank() {
            Some(_) if first <= last => Stage::Ranks(first, AccountKind::User),
            _ => Stage::Done,
        }
    }

    /// Some leaderboards, up to one by which anything was earned: most are empty.
    async fn some_ranks(&self, sweep: &mut Sweep, mut stage: Stage) -> Result<Stage, Failure> {
        for _ in 0..(LISTS_MAX / self.posting).max(1) {
            let Stage::Ranks(month, kind) = stage else {
                break;
            };
            stage = self.ranks_of(sweep, kind, month).await?;
            if !sweep.owed.is_empty() {
                break;
            }
        }
        Ok(stage)
    }

    async fn ranks_of(
        &self,
        sweep: &mut Sweep,
        kind: AccountKind,
        month: Month,
    ) -> Result<Stage, Failure> {
        let (Some(worst), Some(last)) = (self.in_force.badges.worst_rank(), sweep.target.month)
        else {
            return Ok(Stage::Done);
        };
        let ctx = self.ctx;
        let list = || top::leaderboard(&*ctx.db, self.posting, kind, month);
        let ranked = persist(ctx, list).await?;
        for (rank, top::Ranked(points, id)) in (1..=worst).zip(&ranked) {
            // Whoever lost more than it earned has achieved nothing, however few others there are.
            if *points <= Points::ZERO {
                break;
            }
            let Ok(account) = Account::new(kind, id) else {
                continue;
            };
            let of_rank = |(place, badge): (usize, &crate::domain::badges::Badge)| {
                Some((place, badge.by_rank(month, rank)?))
            };
            let badges = self.in_force.open(&account, 0).filter_map(of_rank);
            let badges: Vec<(usize, Evidence)> = badges.collect();
            if !badges.is_empty() {
                sweep.owed.push_back(Earned {
                    badges,
                    account,
                    position: None,
                });
            }
        }
        Ok(match kind {
            AccountKind::User => Stage::Ranks(month, AccountKind::Provider),
            AccountKind::Provider if month < last => {
                Stage::Ranks(Month(month.0 + 1), AccountKind::User)
            }
            AccountKind::Provider => Stage::Done,
        })
    }

    /// Notes what it was done for. If another worker has noted anything meanwhile, whoever looks
    /// next compares again.
    async fn note(&self, sweep: &Sweep) -> Result<(), Failure> {
        let ctx = self.ctx;
        let before = sweep.before.as_ref().map(|before| before.write);
        let write = badges::swept_write(&sweep.target, before, ctx.next_write());
        persist(ctx, || {
            conditional::write_once(&*ctx.db, vec![write.clone()])
        })
        .await?;
        Ok(())
    }
}
