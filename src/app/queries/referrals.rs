//! Referrals: an account's code, whom it referred, what that brought, and who referred it.

use std::ops::Range;

use futures::future::try_join_all;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Queries, QueryError, text};
use crate::domain::amount::Points;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::position::Control;
use crate::domain::posting::Cascade;
use crate::domain::time::{Millis, Month};
use crate::store::awards::{self, AwardKind};
use crate::store::referrals::{self, Code, Link, Milestone};
use crate::store::{accounts, heads, streaks};

/// Of how many referees it is looked up whether they were active.
const ACTIVITY_MAX: usize = 1_000;
/// Referees that are read for one answer, and awards: some pages of the store.
const REFEREES_MAX: usize = 20_000;
const AWARDS_MAX: usize = 2 * REFEREES_MAX;

/// An account in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Who {
    /// User or provider.
    #[schema(value_type = String)]
    pub kind: AccountKind,
    /// Who.
    pub id: String,
}

impl From<&Account> for Who {
    fn from(account: &Account) -> Who {
        Who {
            kind: account.kind,
            id: account.id().to_owned(),
        }
    }
}

/// A referral code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CodeView {
    /// `ALIC-7KQ2M`. Case does not matter where it is entered.
    pub code: String,
    /// Whose: `["user", "alice"]`.
    #[schema(value_type = Vec<String>)]
    pub owner: Account,
    /// Whether signups with it are accepted.
    pub active: bool,
    /// How many signed up with it.
    pub signups: u64,
    /// When it was made.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub created_at: Millis,
}

impl From<Code> for CodeView {
    fn from(code: Code) -> CodeView {
        CodeView {
            code: code.code,
            owner: code.owner,
            active: code.active,
            signups: code.signups,
            created_at: code.created_at,
        }
    }
}

/// How many, over all referees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Accounts that this one referred directly.
    pub referees: u64,
    /// Those of the first `activatedOf` of them that have had an active day.
    pub activated: u64,
    /// Of how many referees, oldest first, `activated` tells: at most 1,000, since each takes a
    /// read.
    pub activated_of: u64,
    /// Those of them whose milestone was paid to this account.
    pub milestones: u64,
}

/// What referring has brought, over all months.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReferralRewards)]
pub struct Rewards {
    /// The cascade: its shares of what its referees, theirs and theirs earned. What was booked late
    /// is not in it: it is in its month's `late`, with other late amounts.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub cascade: Points,
    /// The cascade by level: of its referees (the first), theirs (the second) and theirs (the
    /// third). Their sum is `cascade`, but for what a tidemark that did not tell levels yet has
    /// booked.
    #[serde(serialize_with = "texts")]
    #[schema(value_type = Vec<String>)]
    pub levels: Cascade,
    /// Awards for signups (level 1 only), also those that are not in a statement yet.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub signups: Points,
    /// Awards for milestones (level 1 only), also those that are not in a statement yet.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub milestones: Points,
    /// Their sum.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub total: Points,
}

fn texts<S: serde::Serializer>(levels: &Cascade, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(levels.0.iter().map(Points::to_string))
}

/// What became of a referee's milestone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MilestoneState {
    /// Not reached, or not paid yet.
    Owed,
    /// Paid.
    Granted,
    /// Another system pays for this referral.
    Elsewhere,
}

/// A referee.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefereeLine {
    /// User or provider.
    #[schema(value_type = String)]
    pub kind: AccountKind,
    /// Who.
    pub id: String,
    /// When it was referred.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub linked_at: Millis,
    /// Whether it has had an active day.
    pub activated: bool,
    /// Its milestone.
    pub milestone: MilestoneState,
}

/// A referee, and how far it is towards its milestone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefereeProgress {
    /// The referee.
    pub line: RefereeLine,
    /// Its successful requests, ever.
    pub successes: u64,
}

/// Everything about an account's referrals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReferralOverview {
    /// User or provider.
    #[schema(value_type = String)]
    pub kind: AccountKind,
    /// Whose.
    pub id: String,
    /// Its code; `null` if it has not asked for one.
    pub code: Option<CodeView>,
    /// Who referred it; `null` if no one did.
    pub referrer: Option<Who>,
    /// When it was referred.
    #[serde(skip)]
    pub linked_at: Option<Millis>,
    /// How many it referred.
    pub counts: Counts,
    /// What that brought.
    pub rewards: Rewards,
    /// Whom it referred, oldest first: some of them.
    pub referees: Vec<RefereeLine>,
    /// Give it as `after` for the next ones; `null` if there are none.
    pub next: Option<u64>,
    /// Whether everything was read. If not, this account has more than 20,000 referees or 40,000
    /// awards: counts and rewards cover only those, and not all referees are listed.
    pub whole: bool,
}

impl Queries {
    /// An account's referrals, with at most `limit` referees whose links come after the entry
    /// `after` of the control feed. Referees come from an index, which may be some moments behind.
    /// Links are read in few pages, up to a bound; whether a referee was active takes a read of its
    /// own, so that is looked up for those of the page and the first 1,000.
    pub async fn referral_overview(
        &self,
        account: &Account,
        after: u64,
        limit: usize,
    ) -> Result<ReferralOverview, QueryError> {
        let db = self.db();
        let code = referrals::code_of(db, account).await?;
        let own = referrals::link_of(db, account).await?;
        let referrals::Referees { links, is_whole } =
            referrals::referees(db, account, REFEREES_MAX).await?;
        let oldest = self.lines(&links[..links.len().min(ACTIVITY_MAX)]).await?;
        let granted = |link: &&Link| link.milestone == Milestone::Granted;
        let counts = Counts {
            referees: links.len() as u64,
            activated: oldest.iter().filter(|line| line.activated).count() as u64,
            activated_of: oldest.len() as u64,
            milestones: links.iter().filter(granted).count() as u64,
        };
        let (on_page, next) = page(&links, after, limit);
        let referees = match oldest.get(on_page.clone()) {
            Some(known) => known.to_vec(),
            None => self.lines(&links[on_page]).await?,
        };
        let (rewards, has_all_awards) = self.rewards(account).await?;
        Ok(ReferralOverview {
            whole: is_whole && has_all_awards,
            kind: account.kind,
            id: account.id().to_owned(),
            code: code.map(CodeView::from),
            linked_at: own.as_ref().map(|link| link.linked_at),
            referrer: own.and_then(|link| link.chain.first().map(Who::from)),
            counts,
            rewards,
            referees,
            next,
        })
    }

    /// How many accounts an account referred directly; it counts to 20,000 at the most.
    pub(super) async fn referee_count(&self, account: &Account) -> Result<u64, QueryError> {
        let referees = referrals::referees(self.db(), account, REFEREES_MAX).await?;
        Ok(referees.links.len().min(REFEREES_MAX) as u64)
    }

    /// How far referees are; a read for each.
    pub async fn referee_progress(
        &self,
        referees: &[RefereeLine],
    ) -> Result<Vec<RefereeProgress>, QueryError> {
        let progress = referees.iter().map(|line| async {
            let referee = Account::of_checked(line.kind, &line.id);
            let head = heads::newest(self.db(), &referee).await?;
            let successes = head.map_or(0, |head| head.lifetime.successes);
            let line = line.clone();
            Ok::<_, QueryError>(RefereeProgress { line, successes })
        });
        try_join_all(progress).await
    }

    async fn lines(&self, links: &[Link]) -> Result<Vec<RefereeLine>, QueryError> {
        let accounts: Vec<Account> = links.iter().map(|link| link.referee.clone()).collect();
        let streaks = streaks::of_all(self.db(), &accounts).await?;
        let line =
            |(link, streak): (&Link, Option<crate::domain::statement::Streak>)| RefereeLine {
                kind: link.referee.kind,
                id: link.referee.id().to_owned(),
                linked_at: link.linked_at,
                activated: streak.is_some_and(|streak| streak.last_active.is_some()),
                milestone: match link.milestone {
                    Milestone::Owed => MilestoneState::Owed,
                    Milestone::Granted => MilestoneState::Granted,
                    Milestone::Elsewhere => MilestoneState::Elsewhere,
                },
            };
        Ok(links.iter().zip(streaks).map(line).collect())
    }

    /// What referring has brought, and whether all awards were read.
    async fn rewards(&self, account: &Account) -> Result<(Rewards, bool), QueryError> {
        let mut rewards = Rewards::default();
        let (first, behind_all) = (Month(0), Month(i32::from(u16::MAX)));
        for stored in accounts::rows_between(self.db(), account, first, behind_all).await? {
            rewards.levels.add(&stored.row.cascade);
            for (_, day) in &stored.row.days {
                rewards.cascade = rewards.cascade.plus(day.referral);
            }
        }
        let (awards, is_whole) = awards::some_awards_of(self.db(), account, AWARDS_MAX).await?;
        for award in awards {
            match award.kind {
                AwardKind::Signup => rewards.signups = rewards.signups.plus(award.points),
                AwardKind::Milestone => rewards.milestones = rewards.milestones.plus(award.points),
                AwardKind::Adjustment => {}
            }
        }
        rewards.total = rewards.sum();
        Ok((rewards, is_whole))
    }
}

/// At most `limit` of the links that come after the entry `after`, and the entry after which the
/// next page begins.
fn page(links: &[Link], after: u64, limit: usize) -> (Range<usize>, Option<u64>) {
    let first = links.partition_point(|link| link.control <= Control(after));
    let end = links.len().min(first.saturating_add(limit));
    let has_more = end < links.len();
    let last = links[first..end].last().filter(|_| has_more);
    (first..end, last.map(|link| link.control.0))
}

impl Rewards {
    const fn sum(&self) -> Points {
        self.cascade.plus(self.signups).plus(self.milestones)
    }
}
