//! What every layer stands on: the clock, metrics, health, configuration, logging, shutdown.

pub mod clock;
pub mod health;
pub mod metrics;
