//! How often one address, and one caller, may ask.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::problem::Problem;
use crate::ops::config::HttpConfig;

/// After so many requests those who have not asked for a while are forgotten.
const SWEEP_EVERY: u32 = 10_000;

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock>;

/// The limits of this process.
pub(super) struct Limits {
    addresses: Option<Keyed<IpAddr>>,
    callers: Option<Keyed<String>>,
    reads: Option<Keyed<String>>,
}

/// What a request costs, roughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Costs {
    /// One item of the store, or a record of the log.
    Little,
    /// Many items, maybe.
    Reads,
}

/// What gateways ask before every request that they serve: one item.
const BALANCE: &str = "/api/v1/credits/{userId}";
/// The log as commands read it, some records at a time.
const LOG: &str = "/internal/";

impl Costs {
    pub fn of(request: &Request) -> Costs {
        let route = request.extensions().get::<MatchedPath>();
        let is_little = |route: &str| route == BALANCE || route.starts_with(LOG);
        if route.is_some_and(|route| is_little(route.as_str())) {
            return Costs::Little;
        }
        Costs::of_method(request.method())
    }

    pub fn of_method(method: &Method) -> Costs {
        match *method {
            Method::GET | Method::HEAD => Costs::Reads,
            _ => Costs::Little,
        }
    }
}

struct Keyed<K: Hash + Eq + Clone> {
    limiter: Limiter<K>,
    asked: AtomicU32,
}

impl Limits {
    pub fn new(config: &HttpConfig) -> Limits {
        Limits {
            addresses: Keyed::new(config.requests_per_second_per_address),
            callers: Keyed::new(config.requests_per_second_per_key),
            reads: Keyed::new(config.reads_per_second_per_key),
        }
    }

    /// Counts a request of an address; before its key is looked at.
    pub fn of_address(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        match (&self.addresses, address) {
            (Some(limits), Some(address)) => limits.charge(&network(address), "this address"),
            _ => Ok(()),
        }
    }

    /// Counts a request of a caller.
    pub fn of_caller(&self, by: &str, costs: Costs) -> Result<(), Problem> {
        let by = by.to_owned();
        if let Some(limits) = &self.callers {
            limits.charge(&by, "this key")?;
        }
        match (&self.reads, costs) {
            (Some(limits), Costs::Reads) => limits.charge(&by, "this key that read"),
            _ => Ok(()),
        }
    }
}

/// One household of IPv6 has a /64 at least.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

impl<K: Hash + Eq + Clone> Keyed<K> {
    /// A second's worth of requests may come at once.
    fn new(per_second: Option<NonZeroU32>) -> Option<Keyed<K>> {
        per_second.map(|per_second| Keyed {
            limiter: RateLimiter::hashmap(Quota::per_second(per_second)),
            asked: AtomicU32::new(0),
        })
    }

    fn charge(&self, who: &K, whose: &str) -> Result<(), Problem> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(who).map_err(|not_yet| {
            let wait = not_yet.wait_time_from(DefaultClock::default().now());
            let secs = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
            Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                format!("too many requests from {whose}; send larger batches, or slow down"),
            )
            .retry_after(secs.saturating_add(1))
        })
    }
}
