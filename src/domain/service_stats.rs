//! What was used of each service in a month.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

use super::amount::Points;
use super::outcomes::Outcomes;
use super::service::Service;

/// The statistics of one service in one month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStats {
    /// Accepted events.
    pub requests: u64,
    /// Status 200–299.
    pub successful: u64,
    /// Status ≥ 500.
    pub failed: u64,
    /// Base or usage points.
    pub points: Points,
    /// Successful requests that carry a latency.
    pub timed: u64,
    /// Sum of their latencies, ms.
    pub latency_ms: u64,
}

impl ServiceStats {
    /// How its requests ended.
    pub const fn outcomes(&self) -> Outcomes {
        Outcomes {
            requests: self.requests,
            successful: self.successful,
            failed: self.failed,
        }
    }
}

/// Statistics by service. Nearly every account has only built-in ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByService {
    /// Of the built-in services.
    defaults: [ServiceStats; Service::DEFAULT_COUNT],
    /// Of the others, by number; only those with something in them.
    added: Vec<(Service, ServiceStats)>,
}

impl ByService {
    /// Statistics of built-in services, and of others. `None`: the others are out of order, or not
    /// others.
    pub fn new(
        defaults: [ServiceStats; Service::DEFAULT_COUNT],
        added: Vec<(Service, ServiceStats)>,
    ) -> Option<ByService> {
        let ascending = added.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let others = added.iter().all(|(service, _)| !service.is_default());
        (ascending && others).then_some(ByService { defaults, added })
    }

    /// Those of the built-in services.
    pub fn defaults(&self) -> &[ServiceStats; Service::DEFAULT_COUNT] {
        &self.defaults
    }

    /// Those of the others, by number.
    pub fn added(&self) -> &[(Service, ServiceStats)] {
        &self.added
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = (Service, &ServiceStats)> {
        let added = self.added.iter().map(|(service, stats)| (*service, stats));
        Service::DEFAULTS
            .into_iter()
            .zip(&self.defaults)
            .chain(added)
    }
}

impl Index<Service> for ByService {
    type Output = ServiceStats;

    fn index(&self, service: Service) -> &ServiceStats {
        const NONE: &ServiceStats = &ServiceStats {
            requests: 0,
            successful: 0,
            failed: 0,
            points: Points::ZERO,
            timed: 0,
            latency_ms: 0,
        };
        if let Some(stats) = self.defaults.get(service.index()) {
            return stats;
        }
        let place = self.added.binary_search_by_key(&service, |(of, _)| *of);
        place.map_or(NONE, |place| &self.added[place].1)
    }
}

impl IndexMut<Service> for ByService {
    fn index_mut(&mut self, service: Service) -> &mut ServiceStats {
        if service.is_default() {
            return &mut self.defaults[service.index()];
        }
        let place = self.added.binary_search_by_key(&service, |(of, _)| *of);
        let place = place.unwrap_or_else(|place| {
            self.added.insert(place, (service, ServiceStats::default()));
            place
        });
        &mut self.added[place].1
    }
}
