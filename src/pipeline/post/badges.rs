//! BADGES: an effect like the others, level-triggered: what an account has earned follows from its
//! rows, so it is owed to every account that a flush or a replay touches. A grant is an item that
//! is written once and never deleted: repeats, zombies and new epochs find it there.
//!
//! What goes by final months, and accounts that nobody touches after new badges were published, are
//! the matter of the sweep.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Poster;
use super::concurrency::{self, Turns};
use crate::domain::badges::{Badge, Badges, Criterion, Evidence, Standing};
use crate::domain::ids::Account;
use crate::domain::ledger::{Activity, Lifetime, MonthRow};
use crate::domain::position::{Control, Position};
use crate::domain::rules::Timeline;
use crate::domain::service::Services;
use crate::domain::statement;
use crate::pipeline::WorkerContext;
use crate::pipeline::failure::Failure;
use crate::pipeline::retry::persist;
use crate::store::awards::{self, AwardKind};
use crate::store::badges::{self, Grant};
use crate::store::conditional::{self, WriteOutcome};

/// Milestones of referees that an account was just awarded, by the ids of the awards.
pub(super) type MilestoneAwards = BTreeMap<Account, BTreeSet<String>>;

/// What an account has earned, whether or not it was granted before.
#[derive(Debug)]
pub(super) struct Earned {
    pub(super) account: Account,
    /// Places of badges among the rules, and what earned them.
    pub(super) badges: Vec<(usize, Evidence)>,
    /// The newest posting in the rows that show it.
    pub(super) position: Option<Position>,
}

/// The badges that are granted.
#[derive(Clone, Copy)]
pub(super) struct InForce<'t> {
    pub(super) control: Control,
    pub(super) badges: &'t Badges,
    pub(super) services: &'t Services,
}

impl<'t> InForce<'t> {
    /// `None` if nothing is granted.
    pub(super) fn of(timeline: &'t Timeline) -> Option<InForce<'t>> {
        let (control, badges) = timeline.badges()?;
        let in_force = InForce {
            control,
            badges,
            services: timeline.services(),
        };
        (!badges.are_none_granted()).then_some(in_force)
    }

    /// The badges of an account's kind that are not in a set of places.
    pub(super) fn open(
        self,
        account: &Account,
        done: u128,
    ) -> impl Iterator<Item = (usize, &'t Badge)> + use<'t> {
        let kind = account.kind;
        let all = self.badges.all().iter().enumerate();
        all.filter(move |(place, badge)| done & bit(*place) == 0 && badge.is_for(kind))
    }
}

/// The place of a badge in a set. There are at most as many as there are bits.
const fn bit(place: usize) -> u128 {
    1 << place
}

/// How an account stands.
pub(super) fn standing(
    account: &Account,
    head: &MonthRow,
    lifetime: &Lifetime,
    activity: Activity,
) -> Standing {
    Standing {
        longest_streak: statement::streak(account.kind, head, activity).longest,
        services_used: lifetime.services_used,
    }
}

impl Poster<'_> {
    /// Grants the touched accounts what they have earned.
    pub(super) async fn grant_badges(
        &mut self,
        touched: &[u32],
        timeline: Option<&Arc<Timeline>>,
    ) -> Result<(), Failure> {
        let milestones = std::mem::take(&mut self.milestone_awards);
        let in_force = timeline.and_then(|timeline| InForce::of(timeline));
        let (Some(in_force), Some(activity)) = (in_force, self.activity) else {
            return Ok(());
        };
        self.know_badges(in_force.control);
        let mut earned: Vec<Earned> = Vec::new();
        for number in touched {
            earned.extend(self.earned_by_rows(*number, in_force, activity));
        }
        for (account, ids) in &milestones {
            earned.extend(self.earned_by_milestones(account, ids, in_force).await?);
        }
        grant(self.ctx, &earned, in_force).await?;
        for Earned {
            account, badges, ..
        } in earned
        {
            let number = self.accounts.number_of(&account);
            if let Some(cached) = number.and_then(|number| self.accounts.get_mut(number)) {
                let places = badges.iter().map(|(place, _)| bit(*place));
                cached.badges |= places.fold(0, |set, bit| set | bit);
            }
        }
        Ok(())
    }

    /// Other badges: what is known of accounts goes by places among the earlier ones.
    fn know_badges(&mut self, control: Control) {
        if self.badges_under == Some(control) {
            return;
        }
        self.badges_under = Some(control);
        let numbers: Vec<u32> = self.accounts.iter().map(|(number, _)| number).collect();
        for number in numbers {
            if let Some(cached) = self.accounts.get_mut(number) {
                cached.badges = 0;
            }
        }
    }

    fn earned_by_rows(
        &self,
        number: u32,
        in_force: InForce<'_>,
        activity: Activity,
    ) -> Option<Earned> {
        let cached = self.accounts.get(number)?;
        let writer = cached.stored.as_ref()?.fence.write.worker;
        let protections = self.ctx.protections;
        if !protections.owes_badges(|| writer == self.ctx.worker) {
            return None;
        }
        let mut open = in_force.open(&cached.account, cached.badges);
        if !open.any(|(_, badge)| badge.goes_by_standing()) {
            return None;
        }
        let head = cached.rows.months.last_key_value()?.1;
        let standing = standing(&cached.account, head, &cached.rows.lifetime, activity);
        let badges: Vec<(usize, Evidence)> = in_force
            .open(&cached.account, cached.badges)
            .filter_map(|(place, badge)| {
                Some((place, badge.by_standing(standing, in_force.services)?))
            })
            .collect();
        (!badges.is_empty()).then(|| Earned {
            account: cached.account.clone(),
            badges,
            position: cached.position,
        })
    }

    async fn earned_by_milestones(
        &self,
        account: &Account,
        ids: &BTreeSet<String>,
        in_force: InForce<'_>,
    ) -> Result<Option<Earned>, Failure> {
        let number = self.accounts.number_of(account);
        let cached = number.and_then(|number| self.accounts.get(number));
        let done = cached.map_or(0, |cached| cached.badges);
        by_milestones(self.ctx, account, ids, done, in_force).await
    }
}

/// What an account has earned by the milestones of its referees, those of these awards included.
pub(super) async fn by_milestones(
    ctx: &WorkerContext,
    account: &Account,
    ids: &BTreeSet<String>,
    done: u128,
    in_force: InForce<'_>,
) -> Result<Option<Earned>, Failure> {
    let counts = in_force
        .open(account, done)
        .filter_map(|(_, badge)| match badge.criterion {
            Criterion::Milestones(count) => Some(count),
            _ => None,
        });
    let Some(most) = counts.max() else {
        return Ok(None);
    };
    let count = || awards::count_granted(&*ctx.db, account, AwardKind::Milestone, ids, most);
    let count = persist(ctx, count).await?;
    let badges: Vec<(usize, Evidence)> = in_force
        .open(account, done)
        .filter_map(|(place, badge)| Some((place, badge.by_milestones(count)?)))
        .collect();
    Ok((!badges.is_empty()).then(|| Earned {
        account: account.clone(),
        badges,
        position: None,
    }))
}

/// Grants what was earned and not granted before.
pub(super) async fn grant(
    ctx: &WorkerContext,
    earned: &[Earned],
    in_force: InForce<'_>,
) -> Result<(), Failure> {
    let turns = Turns::of(earned.len());
    let grants = concurrency::all(ctx, &turns, |turns| {
        grant_some(ctx, earned, in_force, turns)
    });
    grants.await?;
    Ok(())
}

/// Grants while there are turns.
async fn grant_some(
    ctx: &WorkerContext,
    earned: &[Earned],
    in_force: InForce<'_>,
    turns: &Turns,
) -> Result<Vec<()>, Failure> {
    while let Some(turn) = turns.next() {
        grant_to(ctx, &earned[turn], in_force).await?;
    }
    Ok(Vec::new())
}

async fn grant_to(
    ctx: &WorkerContext,
    earned: &Earned,
    in_force: InForce<'_>,
) -> Result<(), Failure> {
    let all = in_force.badges.all();
    let wanted: Vec<(&Badge, Evidence)> = earned
        .badges
        .iter()
        .filter_map(|(place, evidence)| Some((all.get(*place)?, *evidence)))
        .collect();
    let ids: Vec<_> = wanted.iter().map(|(badge, _)| &badge.id).collect();
    let account = &earned.account;
    let known = persist(ctx, || badges::are_granted(&*ctx.db, account, &ids)).await?;
    let missing = wanted.iter().zip(known).filter(|(_, known)| !known);
    for ((badge, evidence), _) in missing {
        let id = badge.id.clone();
        let mut grant = Grant::new(account.clone(), id, *evidence, ctx.next_write());
        grant.granted_at = ctx.clock.now();
        grant.position = earned.position;
        grant.rules = in_force.control;
        // What another worker granted meanwhile, or an attempt of ours without an answer, stays.
        let write = || conditional::write_once(&*ctx.db, badges::grant_writes(&grant));
        if persist(ctx, write).await? == WriteOutcome::Written {
            let granted = &ctx.metrics.badges_granted_total;
            granted.with_label_values(&[badge.id.as_str()]).inc();
        }
    }
    Ok(())
}
