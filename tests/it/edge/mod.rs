//! The edges: metrics, configuration, HTTP, the command line, and the arrows between modules.

mod config;
mod metrics;
mod shutdown;
