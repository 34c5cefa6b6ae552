//! SWEEP: looks through all accounts for badges that no flush would grant.
//!
//! It is due when badges were published, and when another month has become final: points and ranks go by
//! final months, and an account may never be touched again. What it was done for last is stored, so it
//! is level-triggered as well: a crash, or a new owner of the partition, begins it again. The poster of
//! the first posting partition does it, a page of a table between two rounds, so that postings go on.

use std::collections::BTreeSet;

use hashbrown::HashSet;

use super::Poster;
use super::badges::{Earned, InForce, by_milestones, grant, standing};
use crate::domain::amount::Points;
use crate::domain::badges::{Evidence, Standing};
use crate::domain::ids::{Account, AccountKind};
use crate::domain::position::Partition;
use crate::domain::rules::Timeline;
use crate::domain::statement;
use crate::domain::time::Month;
use crate::ops::clock::Moment;
use crate::pipeline::WorkerContext;
use crate::pipeline::failure::Failure;
use crate::pipeline::progress::Finality;
use crate::pipeline::retry::persist;
use crate::store::accounts;
use crate::store::badges::{self, Swept};
use crate::store::checkpoints::Versioned;
use crate::store::conditional;
use crate::store::db::{Item, StoreError, Table};
use crate::store::{layout, referrals, top};

/// The posting partition whose poster sweeps.
const SWEEPER: Partition = Partition(0);
/// Badges for ranks are granted for so many past months when they are published.
const RANKED_MONTHS_MAX: i32 = 36;
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
}

/// A sweep that is under way.
struct Sweep {
    target: Swept,
    before: Option<Versioned<Swept>>,
    stage: Stage,
    /// The account whose rows are being read: a page may end among them.
    open: Option<OpenAccount>,
    /// Referrers whose milestones were counted, by hash.
    referrers: HashSet<u64>,
}

/// What comes next.
enum Stage {
    /// The rows of accounts of a kind, after this item.
    Accounts(AccountKind, Option<Item>),
    /// Referral links, after this item.
    Links(Option<Item>),
    /// Leaderboards of final months.
    Ranks,
    /// Nothing.
    Done,
}

/// What the rows of an account say that were read so far.
struct OpenAccount {
    account: Account,
    standing: Standing,
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
        if matches!(sweep.stage, Stage::Done) {
            work.note(&sweep).await?;
            ctx.metrics.badge_sweep_due.set(0);
            tracing::info!(
                event = "badges.swept",
                rules = sweep.target.rules.0,
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
        let target = Swept {
            rules: in_force.control,
            month: month.max(last.and_then(|last| last.month)),
        };
        let is_due = last.is_none_or(|last| last.rules < target.rules || last.month < target.month);
        ctx.metrics.badge_sweep_due.set(i64::from(is_due));
        if is_due {
            self.sweeps.running = Some(Sweep {
                target,
                before,
                stage: Stage::Accounts(AccountKind::User, None),
                open: None,
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

/// What a sweep works with.
struct SweepWork<'s> {
    ctx: &'s WorkerContext,
    in_force: InForce<'s>,
    timeline: &'s Timeline,
    posting: u32,
}

impl SweepWork<'_> {
    /// A page of what comes next.
    async fn step(&self, sweep: &mut Sweep) -> Result<(), Failure> {
        sweep.stage = match std::mem::replace(&mut sweep.stage, Stage::Done) {
            Stage::Accounts(kind, after) => self.accounts(sweep, kind, after).await?,
            Stage::Links(_) if !self.in_force.badges.count_milestones() => Stage::Ranks,
            Stage::Links(after) => self.links(sweep, after).await?,
            Stage::Ranks => {
                self.ranks(sweep).await?;
                Stage::Done
            }
            Stage::Done => Stage::Done,
        };
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
        let mut earned = Vec::new();
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
                earned.extend(sweep.open.take().and_then(|open| self.earned(open)));
            }
            let open = sweep.open.get_or_insert_with(|| OpenAccount {
                account,
                standing: Standing::default(),
                totals: Vec::new(),
                is_damaged: false,
            });
            self.take_row(open, item, month, sweep.target.month)?;
        }
        let next = match (page.next, kind) {
            (Some(next), _) => Stage::Accounts(kind, Some(next)),
            (None, AccountKind::User) => Stage::Accounts(AccountKind::Provider, None),
            (None, AccountKind::Provider) => Stage::Links(None),
        };
        if !matches!(&next, Stage::Accounts(_, Some(_))) {
            earned.extend(sweep.open.take().and_then(|open| self.earned(open)));
        }
        grant(ctx, &earned, self.in_force).await?;
        Ok(next)
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
        let none = BTreeSet::new();
        let mut earned = Vec::new();
        for referrer in page.items.iter().filter_map(referrals::granted_to) {
            let hash = xxhash_rust::xxh3::xxh3_64(referrer.to_string().as_bytes());
            if sweep.referrers.len() >= REFERRERS_KNOWN_MAX {
                sweep.referrers.clear();
            }
            if sweep.referrers.insert(hash) {
                earned.extend(by_milestones(ctx, &referrer, &none, 0, self.in_force).await?);
            }
        }
        grant(ctx, &earned, self.in_force).await?;
        Ok(match page.next {
            Some(next) => Stage::Links(Some(next)),
            None => Stage::Ranks,
        })
    }

    async fn ranks(&self, sweep: &Sweep) -> Result<(), Failure> {
        let (Some(worst), Some(last)) = (self.in_force.badges.worst_rank(), sweep.target.month)
        else {
            return Ok(());
        };
        let before = sweep.before.as_ref().map(|before| before.value);
        let first = match before.filter(|before| before.rules == sweep.target.rules) {
            Some(before) => before.month.map(|month| month.0 + 1),
            None => None,
        };
        let first = first.unwrap_or(last.0 - RANKED_MONTHS_MAX + 1);
        for month in (first..=last.0).map(Month) {
            for kind in AccountKind::ALL {
                self.ranks_of(kind, month, worst).await?;
            }
        }
        Ok(())
    }

    async fn ranks_of(&self, kind: AccountKind, month: Month, worst: u32) -> Result<(), Failure> {
        let ctx = self.ctx;
        let list = || top::leaderboard(&*ctx.db, self.posting, kind, month);
        let ranked = persist(ctx, list).await?;
        let mut earned = Vec::new();
        for (rank, top::Ranked(_, id)) in (1..=worst).zip(&ranked) {
            let Ok(account) = Account::new(kind, id) else {
                continue;
            };
            let of_rank = |(place, badge): (usize, &crate::domain::badges::Badge)| {
                Some((place, badge.by_rank(month, rank)?))
            };
            let badges = self.in_force.open(&account, 0).filter_map(of_rank);
            earned.push(Earned {
                badges: badges.collect(),
                account,
                position: None,
            });
        }
        earned.retain(|earned| !earned.badges.is_empty());
        grant(ctx, &earned, self.in_force).await
    }

    /// Notes what it was done for. If another worker has noted anything meanwhile, whoever looks next
    /// compares again.
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
