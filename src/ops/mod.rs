//! What every layer stands on: the clock, metrics, configuration, logging, shutdown.

pub mod clock;
pub mod metrics;
