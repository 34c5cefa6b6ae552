//! What every layer stands on: the clock, metrics, health, configuration, logging, traces,
//! shutdown.

pub mod clock;
pub mod config;
pub mod expiry_clock;
pub mod health;
pub mod log_throttle;
pub mod logging;
pub mod metrics;
mod outages;
pub mod retry;
pub mod shutdown;
pub mod traces;

/// A name that nobody else has drawn.
pub fn random_name() -> String {
    format!("{:032x}", rand::random::<u128>())
}
