//! What everybody together does: referral conversion, active accounts per day, points by service,
//! who rises.
//!
//! No row holds it, so the tables are read whole, once in a while, by one process; the result is
//! kept in the store, says how old it is, and is what the HTTP service and the metrics tell. Points
//! by tier are counted while events are rated: rows do not have them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::Queries;
use crate::app::{CommandError, Refusal};
use crate::domain::amount::{Money, Points};
use crate::domain::event::Service;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::ledger::{Activity, Lifetime};
use crate::domain::service::Services;
use crate::domain::time::{Day, Millis, Month};
use crate::ops::metrics::Metrics;
use crate::store::accounts::StoredRow;
use crate::store::checkpoints::{self, Versioned};
use crate::store::db::{Db, Key, StoreError, Table};
use crate::store::{census, pricing};

mod keep;

pub use keep::keep;

/// Risers that are kept, per kind.
pub const MOVERS_MAX: usize = 10;
/// Days that are compared with as many before them.
const MOVING_DAYS: i32 = 7;
/// What everybody together does, as of a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Analytics {
    /// When the tables were read, which takes a while.
    pub computed_at: String,
    /// Milliseconds since 1970 of the same.
    pub computed_at_ms: i64,
    /// How far referrals come.
    pub referrals: Funnel,
    /// Users and providers that have ever been seen.
    pub accounts: PerKind,
    /// Users whose balance is below zero.
    pub credits_overdrawn: u64,
    /// Accounts that were active, by day (UTC), oldest first; this month and the last.
    pub active: Vec<ActiveDay>,
    /// Points and requests of this month, by service.
    pub services: Vec<ServiceSum>,
    /// Users whose points of the last seven whole days exceed those of the seven days before the
    /// most.
    pub rising_users: Vec<Mover>,
    /// Providers likewise.
    pub rising_providers: Vec<Mover>,
}

/// How far referrals come: each step is a part of the one before, but for codes, of which one may
/// bring many signups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Funnel {
    /// Codes that were made.
    pub codes: u64,
    /// Accounts that were referred.
    pub signups: u64,
    /// Of these: with at least one successful request.
    pub activated: u64,
    /// Of these: with fifty, so that the referrer has its milestone.
    pub milestones: u64,
}

/// A number of each kind of account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PerKind {
    /// Users.
    pub users: u64,
    /// Providers.
    pub providers: u64,
}

/// How many accounts were active on a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveDay {
    /// The day, such as `2026-11-22`.
    pub day: String,
    /// Users.
    pub users: u64,
    /// Providers.
    pub providers: u64,
}

/// What one service brought this month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSum {
    /// The service.
    pub service: String,
    /// Requests of users.
    pub requests: u64,
    /// Points of users, before multipliers.
    pub user_points: String,
    /// Points of providers, before multipliers.
    pub provider_points: String,
}

/// An account that rises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mover {
    /// Who.
    pub id: String,
    /// Points of the last seven whole days, before multipliers and without bonuses.
    pub points: String,
    /// Of the seven days before.
    pub before: String,
}

impl Queries {
    /// What is kept; refused before it was computed for the first time.
    pub async fn analytics(&self) -> Result<Analytics, CommandError> {
        let kept: Option<Versioned<Analytics>> = checkpoints::get(self.db(), &key()).await?;
        let none_yet = || {
            let detail = "nothing has been computed yet; retry in a minute";
            Refusal::not_found("no_analytics_yet", detail)
        };
        Ok(kept.ok_or_else(none_yet)?.value)
    }
}

impl Analytics {
    /// Only the newest `days` days and the first `movers` risers.
    pub fn bounded(mut self, days: usize, movers: usize) -> Analytics {
        self.active.drain(..self.active.len().saturating_sub(days));
        self.rising_users.truncate(movers);
        self.rising_providers.truncate(movers);
        self
    }

    fn tell(&self, metrics: &Metrics) {
        let Funnel {
            codes,
            signups,
            activated,
            milestones,
        } = self.referrals;
        for (step, count) in [
            ("codes", codes),
            ("signups", signups),
            ("activated", activated),
            ("milestones", milestones),
        ] {
            let funnel = &metrics.referral_accounts;
            funnel.with_label_values(&[step]).set(shown(count));
        }
        let known = &metrics.known_accounts;
        known
            .with_label_values(&["user"])
            .set(shown(self.accounts.users));
        known
            .with_label_values(&["provider"])
            .set(shown(self.accounts.providers));
        let at = Millis(self.computed_at_ms);
        for (label, day) in [("today", at.day()), ("yesterday", at.day().previous())] {
            let day = day.to_string();
            let found = self.active.iter().find(|active| active.day == day);
            let (users, providers) = found.map_or((0, 0), |found| (found.users, found.providers));
            let active = &metrics.active_accounts;
            active.with_label_values(&["user", label]).set(shown(users));
            active
                .with_label_values(&["provider", label])
                .set(shown(providers));
        }
        metrics
            .credits_overdrawn_accounts
            .set(shown(self.credits_overdrawn));
        metrics
            .analytics_timestamp_seconds
            .set(self.computed_at_ms as f64 / 1_000.0);
    }
}

fn shown(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn key() -> Key {
    Key::new(Table::Checkpoints, "analytics", "kept")
}

/// Reads the tables whole.
pub async fn compute(db: &dyn Db, now: Millis) -> Result<Analytics, StoreError> {
    let mut census = Census::new(now);
    census.referrals.codes = census::codes(db).await?;
    census::links(db, |link| {
        census.referees.insert(hash(&link.referee));
    })
    .await?;
    census::credits(db, |user, added| {
        census.added.insert(xxh3_64(user.as_bytes()), added);
    })
    .await?;
    // Before there are rules nothing is rated, and nobody is active.
    let head = crate::store::control::head(db).await?;
    let mut book = pricing::load_rules(db, head).await?;
    if let Some(rules) = book.as_of(head) {
        census.names = Arc::clone(rules.services());
        for kind in [AccountKind::User, AccountKind::Provider] {
            let activity = rules.activity();
            let unreadable = census::rows(db, kind, |account, row| {
                census.take(account, &row, activity);
            })
            .await?;
            if unreadable > 0 {
                tracing::warn!(
                    event = "analytics.rows_unreadable", %kind, rows = unreadable,
                    "month rows cannot be read and are missing in the analytics; `tidemark \
                     set-aside list` and `tidemark statement` name their accounts"
                );
            }
            census.end_account();
        }
    }
    Ok(census.done())
}

fn hash(account: &Account) -> u128 {
    xxh3_128(account.to_string().as_bytes())
}

/// The sums in the making.
struct Census {
    now: Millis,
    referrals: Funnel,
    /// Hashes of the accounts that were referred.
    referees: HashSet<u128>,
    /// What was added to users' credits, by hash of the user.
    added: HashMap<u64, Money>,
    accounts: PerKind,
    overdrawn: u64,
    days: BTreeMap<Day, (u64, u64)>,
    services: BTreeMap<Service, (u64, i128, i128)>,
    /// What they are called.
    names: Arc<Services>,
    /// The account whose rows come.
    current: Option<Current>,
    risers: [Vec<Riser>; 2],
}

/// One account, while its rows come.
struct Current {
    account: Account,
    lifetime: Lifetime,
    points: i128,
    before: i128,
}

/// By how much, and who.
struct Riser {
    rise: i128,
    id: String,
    points: i128,
    before: i128,
}

impl Census {
    fn new(now: Millis) -> Census {
        Census {
            now,
            referrals: Funnel::default(),
            referees: HashSet::new(),
            added: HashMap::new(),
            accounts: PerKind::default(),
            overdrawn: 0,
            days: BTreeMap::new(),
            services: Service::DEFAULTS.map(|service| (service, (0, 0, 0))).into(),
            names: Arc::default(),
            current: None,
            risers: Default::default(),
        }
    }

    fn take(&mut self, account: Account, stored: &StoredRow, activity: Activity) {
        if self
            .current
            .as_ref()
            .is_none_or(|current| current.account != account)
        {
            self.end_account();
            self.current = Some(Current {
                account: account.clone(),
                lifetime: Lifetime::default(),
                points: 0,
                before: 0,
            });
        }
        let this_month = self.now.month();
        let row = &stored.row;
        if row.month == this_month {
            self.add_services(account.kind, stored);
        }
        let is_recent = row.month >= Month(this_month.0 - 1);
        let recent = row.days.iter().filter(|_| is_recent);
        for (of_month, stats) in recent.clone() {
            if activity.is_active(account.kind, stats) {
                let (users, providers) = self.days.entry(row.month.day(*of_month)).or_default();
                match account.kind {
                    AccountKind::User => *users += 1,
                    AccountKind::Provider => *providers += 1,
                }
            }
        }
        let today = self.now.day();
        let Some(current) = &mut self.current else {
            return;
        };
        if stored.superseded_by.is_none() {
            current.lifetime = stored.lifetime;
        }
        for (of_month, stats) in recent {
            let points: i128 = [stats.base, stats.referral, stats.trial]
                .iter()
                .map(|points| i128::from(points.0))
                .sum();
            match today.0 - row.month.day(*of_month).0 {
                ago if (1..=MOVING_DAYS).contains(&ago) => current.points += points,
                ago if (MOVING_DAYS + 1..=2 * MOVING_DAYS).contains(&ago) => {
                    current.before += points;
                }
                _ => {}
            }
        }
    }

    fn add_services(&mut self, kind: AccountKind, stored: &StoredRow) {
        for (service, stats) in stored.row.services.iter() {
            let sum = self.services.entry(service).or_default();
            match kind {
                AccountKind::User => {
                    sum.0 += stats.requests;
                    sum.1 += i128::from(stats.points.0);
                }
                AccountKind::Provider => sum.2 += i128::from(stats.points.0),
            }
        }
    }

    fn end_account(&mut self) {
        let Some(current) = self.current.take() else {
            return;
        };
        let Current {
            account, lifetime, ..
        } = &current;
        let is_user = account.kind == AccountKind::User;
        match is_user {
            true => self.accounts.users += 1,
            false => self.accounts.providers += 1,
        }
        if self.referees.contains(&hash(account)) {
            self.referrals.activated += u64::from(lifetime.successes > 0);
            self.referrals.milestones += u64::from(lifetime.fiftieth_at.is_some());
        }
        if is_user {
            let added = self.added.get(&xxh3_64(account.id().as_bytes()));
            let added = added.copied().unwrap_or(Money::ZERO);
            self.overdrawn += u64::from(lifetime.spent > added);
        }
        self.rank(&current);
    }

    /// Keeps the best few.
    fn rank(&mut self, current: &Current) {
        let rise = current.points - current.before;
        let risers = &mut self.risers[current.account.kind as usize];
        let is_full = risers.len() >= MOVERS_MAX;
        if rise <= 0 || (is_full && risers.last().is_some_and(|last| rise <= last.rise)) {
            return;
        }
        risers.push(Riser {
            rise,
            id: current.account.id().to_owned(),
            points: current.points,
            before: current.before,
        });
        risers.sort_by(|a, b| b.rise.cmp(&a.rise).then_with(|| a.id.cmp(&b.id)));
        risers.truncate(MOVERS_MAX);
    }

    fn done(self) -> Analytics {
        let active = self
            .days
            .into_iter()
            .map(|(day, (users, providers))| ActiveDay {
                day: day.to_string(),
                users,
                providers,
            });
        let names = self.names;
        let sums = self.services.into_iter();
        let services = sums.map(|(service, (requests, user, provider))| ServiceSum {
            service: names.name(service).into_owned(),
            requests,
            user_points: points(user),
            provider_points: points(provider),
        });
        let [users, providers] = self.risers.map(|risers| {
            let mover = |riser: Riser| Mover {
                id: riser.id,
                points: points(riser.points),
                before: points(riser.before),
            };
            risers.into_iter().map(mover).collect()
        });
        Analytics {
            computed_at: self.now.to_string(),
            computed_at_ms: self.now.0,
            referrals: Funnel {
                signups: self.referees.len() as u64,
                ..self.referrals
            },
            accounts: self.accounts,
            credits_overdrawn: self.overdrawn,
            active: active.collect(),
            services: services.collect(),
            rising_users: users,
            rising_providers: providers,
        }
    }
}

/// Points as text. A sum over everybody that leaves the range of one account's is shown at its
/// bound.
fn points(micropoints: i128) -> String {
    let bounded = micropoints.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    Points(i64::try_from(bounded).unwrap_or(i64::MAX)).to_string()
}
