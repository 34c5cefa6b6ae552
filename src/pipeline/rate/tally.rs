//! Sums over the events of a chunk, for metrics. Pure.

use super::candidate::Candidate;
use super::fold::Rated;
use crate::domain::event::{Service, UsageEvent};
use crate::domain::service::Services;
use crate::domain::time::Millis;
use crate::pipeline::counters::UsageSums;

/// Sums over the rated events of a chunk.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) rated: u64,
    pub(super) unknown_usage: u64,
    /// Events that were taken back.
    pub(super) reversed: u64,
    /// Events that a later report completed.
    pub(super) completed: u64,
    /// Those of them whose usage it told.
    pub(super) usage_completed: u64,
    pub(super) sums: UsageSums,
    /// The time of the newest event.
    pub(super) newest: Option<Millis>,
}

impl Tally {
    /// Adds one rated event.
    pub(super) fn add(&mut self, candidate: &Candidate<'_>, rated: &Rated, services: &Services) {
        let event = &candidate.event;
        self.rated += 1;
        self.sums.add(
            candidate.service,
            rated.tier,
            &rated.amounts,
            event.provider.is_some(),
        );
        self.newest = self.newest.max(Some(event.time));
        let is_unknown = is_usage_unknown(&candidate.event, candidate.service, services);
        self.unknown_usage += u64::from(is_unknown);
    }

    /// Adds a completion: what was reported first, and what is known now.
    pub(super) fn complete(
        &mut self,
        (first, now): (&UsageEvent<'_>, &UsageEvent<'_>),
        service: Service,
        services: &Services,
    ) {
        self.completed += 1;
        let is_unknown = |event| is_usage_unknown(event, service, services);
        self.usage_completed += u64::from(is_unknown(first) && !is_unknown(now));
    }
}

/// A successful request without token counts, to a service that must have them: what it used is
/// unknown, not zero. Embeddings are not looked at, as ever.
fn is_usage_unknown(event: &UsageEvent<'_>, service: Service, services: &Services) -> bool {
    let is_token_service = !service.is_default() && services.counts_tokens(service);
    event.lacks_usage(service) || is_token_service && event.has_no_tokens()
}
