//! What a replay says.

use serde::{Serialize, Serializer};

use super::rerate::Worth;
use super::tally::{AccountChange, Pair};
use crate::domain::amount::{Money, Points, WidePoints};
use crate::domain::ids::AccountKind;
use crate::domain::time::{Millis, Month};

/// What a replay of a month found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayReport {
    /// The month.
    pub month: Month,
    /// The archive.
    pub archive: String,
    /// How many files were read.
    pub files: u64,
    /// Whether these are all of them, and nothing of the month is missing.
    pub is_whole: bool,
    /// What the archive lacks of the month, if it was replayed all the same.
    pub missing: Option<String>,
    /// The log time up to which the archive holds a month that is not final; `None`: it holds
    /// everything that has been rated.
    pub up_to: Option<Millis>,
    /// How many records.
    pub rows: RowCounts,
    /// Sums over everybody.
    pub totals: ReplayTotals,
    /// Accounts that have any points or charges of these requests.
    pub accounts: u64,
    /// How often the archive was read, because of the bound of memory.
    pub passes: u64,
    /// The accounts that change most.
    #[serde(flatten)]
    pub ranks: RankLists,
}

/// How many records there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RowCounts {
    /// First reports of requests.
    pub events: u64,
    /// Later reports that said more.
    pub completions: u64,
    /// Requests that were taken back.
    pub reversals: u64,
    /// Those of them that were booked late.
    pub late: u64,
    /// Those of them that would bring something else.
    pub changed: u64,
}

impl RowCounts {
    pub(super) fn add(&mut self, other: &RowCounts) {
        self.events += other.events;
        self.completions += other.completions;
        self.reversals += other.reversals;
        self.late += other.late;
        self.changed += other.changed;
    }

    /// All of them.
    pub fn sum(&self) -> u64 {
        self.events + self.completions + self.reversals
    }
}

/// Sums over everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayTotals {
    /// Points of users from their requests.
    #[serde(serialize_with = "texts")]
    pub user_points: Pair<WidePoints>,
    /// Points of providers from the requests that they served.
    #[serde(serialize_with = "texts")]
    pub provider_points: Pair<WidePoints>,
    /// Points of those who referred users.
    #[serde(serialize_with = "texts")]
    pub user_referral_points: Pair<WidePoints>,
    /// Points of those who referred providers.
    #[serde(serialize_with = "texts")]
    pub provider_referral_points: Pair<WidePoints>,
    /// Charged, USD.
    #[serde(serialize_with = "texts")]
    pub cost: Pair<Money>,
    /// What mainnet would charge, USD.
    #[serde(serialize_with = "texts")]
    pub shadow_cost: Pair<Money>,
}

impl ReplayTotals {
    pub(super) fn count(&mut self, before: &Worth, after: &Worth) {
        let sum = |points: [Points; 3]| points.iter().map(|points| i128::from(points.0)).sum();
        let add = |pair: &mut Pair<WidePoints>, before: i128, after: i128| {
            pair.before.0 += before;
            pair.after.0 += after;
        };
        add(
            &mut self.user_points,
            before.user.0.into(),
            after.user.0.into(),
        );
        add(
            &mut self.provider_points,
            before.provider.0.into(),
            after.provider.0.into(),
        );
        add(
            &mut self.user_referral_points,
            sum(before.user_referrals),
            sum(after.user_referrals),
        );
        add(
            &mut self.provider_referral_points,
            sum(before.provider_referrals),
            sum(after.provider_referrals),
        );
        self.cost.add(before.charge.cost, after.charge.cost);
        self.shadow_cost
            .add(before.charge.shadow, after.charge.shadow);
    }

    pub(super) fn add(&mut self, other: &ReplayTotals) {
        for (sum, more) in [
            (&mut self.user_points, other.user_points),
            (&mut self.provider_points, other.provider_points),
            (&mut self.user_referral_points, other.user_referral_points),
            (
                &mut self.provider_referral_points,
                other.provider_referral_points,
            ),
        ] {
            sum.before.0 += more.before.0;
            sum.after.0 += more.after.0;
        }
        self.cost.add(other.cost.before, other.cost.after);
        let shadow = other.shadow_cost;
        self.shadow_cost.add(shadow.before, shadow.after);
    }
}

/// An account that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedAccount {
    /// User or provider.
    pub kind: AccountKind,
    /// Which.
    pub id: String,
    /// Its points, from requests and referrals.
    #[serde(serialize_with = "texts")]
    pub points: Pair<Points>,
    /// What it is charged, USD.
    #[serde(serialize_with = "texts")]
    pub cost: Pair<Money>,
}

/// The accounts that change most, most first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RankLists {
    /// Those that gain points.
    pub gain_points: Vec<ChangedAccount>,
    /// Those that lose points.
    pub lose_points: Vec<ChangedAccount>,
    /// Those that pay more.
    pub pay_more: Vec<ChangedAccount>,
    /// Those that pay less.
    pub pay_less: Vec<ChangedAccount>,
}

/// The lists in the making.
pub(super) struct Ranks {
    top: usize,
    lists: [Vec<(i128, ChangedAccount)>; 4],
}

impl Ranks {
    pub(super) fn new(top: usize) -> Ranks {
        Ranks {
            top,
            lists: Default::default(),
        }
    }

    pub(super) fn add(&mut self, kind: AccountKind, id: &str, change: &AccountChange) {
        let (points, cost) = (change.points(), change.cost);
        let gain = i128::from(points.after.0) - i128::from(points.before.0);
        let rise = cost.after.0.saturating_sub(cost.before.0);
        for (list, by) in self
            .lists
            .iter_mut()
            .zip([gain, -gain, rise, rise.saturating_neg()])
        {
            let is_full = list.len() >= self.top;
            // Accounts come by kind and id within a part; between parts the order decides here.
            if by <= 0 || (is_full && list.last().is_some_and(|(least, _)| by < *least)) {
                continue;
            }
            let id = id.to_owned();
            let account = ChangedAccount {
                kind,
                id,
                points,
                cost,
            };
            list.push((by, account));
            list.sort_by(|(a, one), (b, other)| {
                let by_name = (one.kind, &one.id).cmp(&(other.kind, &other.id));
                b.cmp(a).then(by_name)
            });
            list.truncate(self.top);
        }
    }

    pub(super) fn into_lists(self) -> RankLists {
        let [gain_points, lose_points, pay_more, pay_less] = self
            .lists
            .map(|list| list.into_iter().map(|(_, account)| account).collect());
        RankLists {
            gain_points,
            lose_points,
            pay_more,
            pay_less,
        }
    }
}

#[derive(Serialize)]
struct Texts {
    before: String,
    after: String,
}

fn texts<T: std::fmt::Display, S: Serializer>(
    pair: &Pair<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let texts = Texts {
        before: pair.before.to_string(),
        after: pair.after.to_string(),
    };
    texts.serialize(serializer)
}
