//! What the pipeline counts beside its work: sums that are kept per chunk and told once, and
//! counters that stand at zero from the start.

use crate::domain::amount::{MICROPOINTS_PER_POINT, Points};
use crate::domain::event::{Reason, Service};
use crate::domain::posting::FirstSuccess;
use crate::domain::rating::Amounts;
use crate::domain::service::Services;
use crate::domain::tier::Tier;
use crate::ops::metrics::Metrics;
use crate::store::awards::AwardKind;
use crate::store::set_aside::FaultCode;

/// Kinds of points that are not awards.
pub(super) const USER_USAGE: &str = "user_usage";
/// See [`USER_USAGE`].
pub(super) const PROVIDER_USAGE: &str = "provider_usage";
/// See [`USER_USAGE`].
pub(super) const REFERRAL: &str = "referral";
/// See [`USER_USAGE`].
pub(super) const FIRST_USE: &str = "first_use";

/// The tier of a service that has no models.
const NO_TIER: &str = "none";

/// What became of writes, and of looks for accounts in memory.
const OUTCOMES: [&str; 3] = ["written", "try_again", "somebody_else"];
/// An account was in memory.
pub(super) const HIT: &str = "hit";
/// An account had to be loaded.
pub(super) const MISS: &str = "miss";

/// Points as metrics have them: close enough for a graph, and never used for anything else.
pub(super) fn shown(points: Points) -> f64 {
    points.0 as f64 / MICROPOINTS_PER_POINT as f64
}

/// Lets every counter whose labels are known exist from the start: a graph of what has never
/// happened shows 0, and the first time is a rise.
pub(super) fn at_zero(metrics: &Metrics) {
    for reason in Reason::ALL {
        let rejected = &metrics.events_rejected_total;
        drop(rejected.with_label_values(&[reason.as_str()]));
    }
    for outcome in OUTCOMES {
        let outcomes = &metrics.condition_outcomes_total;
        drop(outcomes.with_label_values(&[outcome]));
    }
    for role in ["rate", "post", "audit"] {
        drop(metrics.reloads_total.with_label_values(&[role]));
        for event in ["assigned", "revoked", "lost"] {
            let events = &metrics.group_events_total;
            drop(events.with_label_values(&[role, event]));
        }
    }
    for code in FaultCode::ALL {
        let set_aside = &metrics.accounts_set_aside_total;
        drop(set_aside.with_label_values(&[code.as_str()]));
    }
    for result in [HIT, MISS] {
        drop(metrics.account_lookups_total.with_label_values(&[result]));
    }
    let kinds = [USER_USAGE, PROVIDER_USAGE, REFERRAL, FIRST_USE];
    for kind in kinds {
        drop(metrics.points_issued_total.with_label_values(&[kind]));
    }
    for kind in AwardKind::ALL.map(AwardKind::as_str) {
        drop(metrics.points_issued_total.with_label_values(&[kind]));
        drop(metrics.awards_applied_total.with_label_values(&[kind]));
    }
    let services = Services::default();
    for service in Service::DEFAULTS {
        for tier in Tier::ALL {
            let tier = services.is_tiered(service).then_some(tier);
            drop(ServiceCounters::of(metrics, &services.name(service), tier));
        }
    }
}

/// What first uses are worth that an account with these services (a bit per service) had not had.
pub(super) fn first_uses(services: u64, firsts: &[FirstSuccess]) -> Points {
    let new = firsts
        .iter()
        .filter(|first| services & first.service.bit() == 0);
    Points(new.fold(0, |sum, first| first.points.0.saturating_add(sum)))
}

/// What the events of a chunk have earned, by number of the service and tier.
#[derive(Default)]
pub(super) struct UsageSums(Vec<[Sum; Tier::ALL.len()]>);

#[derive(Clone, Copy, Default)]
struct Sum {
    events: u64,
    user: i64,
    provider: i64,
}

impl UsageSums {
    /// Adds an event. Sums that leave their range wrap: no number of ours depends on them.
    pub(super) fn add(&mut self, service: Service, tier: Tier, amounts: &Amounts, provided: bool) {
        if self.0.len() <= service.index() {
            self.0.resize_with(service.index() + 1, Default::default);
        }
        let sum = &mut self.0[service.index()][tier as usize];
        sum.events += 1;
        sum.user = sum.user.wrapping_add(amounts.user.0);
        if provided {
            sum.provider = sum.provider.wrapping_add(amounts.provider.0);
        }
    }

    /// Adds it to the counters.
    pub(super) fn tell(&self, metrics: &Metrics, services: &Services) {
        let (mut user, mut provider) = (0_i64, 0_i64);
        for (number, tiers) in (0..).zip(&self.0) {
            let Some(service) = Service::numbered(number) else {
                continue;
            };
            let name = services.name(service);
            let is_tiered = services.is_tiered(service);
            for (tier, sum) in Tier::ALL
                .iter()
                .zip(tiers)
                .filter(|(_, sum)| sum.events > 0)
            {
                ServiceCounters::of(metrics, &name, is_tiered.then_some(*tier)).add(sum);
                user = user.wrapping_add(sum.user);
                provider = provider.wrapping_add(sum.provider);
            }
        }
        for (kind, points) in [(USER_USAGE, user), (PROVIDER_USAGE, provider)] {
            issued(metrics, kind, Points(points));
        }
    }
}

/// The counters of a service and tier.
struct ServiceCounters {
    events: prometheus::IntCounter,
    user: prometheus::Counter,
    provider: prometheus::Counter,
}

impl ServiceCounters {
    fn of(metrics: &Metrics, service: &str, tier: Option<Tier>) -> ServiceCounters {
        let tier = tier.map_or(NO_TIER, Tier::as_str);
        let (events, points) = (&metrics.usage_events_total, &metrics.usage_points_total);
        let of = |earner| points.with_label_values(&[earner, service, tier]);
        ServiceCounters {
            events: events.with_label_values(&[service, tier]),
            user: of("user"),
            provider: of("provider"),
        }
    }

    fn add(&self, sum: &Sum) {
        self.events.inc_by(sum.events);
        self.user.inc_by(shown(Points(sum.user.max(0))));
        self.provider.inc_by(shown(Points(sum.provider.max(0))));
    }
}

/// Counts points that were issued; those that an adjustment took away by themselves, since a
/// counter never falls.
pub(super) fn issued(metrics: &Metrics, kind: &str, points: Points) {
    if points < Points::ZERO {
        metrics.points_deducted_total.inc_by(-shown(points));
    } else {
        let issued = &metrics.points_issued_total;
        issued.with_label_values(&[kind]).inc_by(shown(points));
    }
}
