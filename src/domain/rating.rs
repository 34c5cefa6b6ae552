//! Rating: what one event earns and costs.

use super::amount::{Overflow, Points};
use super::event::{Service, UsageEvent};
use super::posting::Charge;
use super::rules::Rules;
use super::tier::Tier;

/// What an event is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// To the provider.
    pub provider: Points,
    /// To the user.
    pub user: Points,
    /// To be paid by the user.
    pub charge: Charge,
    /// The latency that is expected of such a request, ms.
    pub target_ms: u64,
}

/// The service of an endpoint.
pub fn service_of(_endpoint: &str) -> Option<Service> {
    todo!()
}

/// Rates one event. An event that is not successful earns and costs nothing.
pub fn rate(
    _event: &UsageEvent<'_>,
    _service: Service,
    _tier: Tier,
    _rules: &Rules,
) -> Result<Amounts, Overflow> {
    todo!()
}
