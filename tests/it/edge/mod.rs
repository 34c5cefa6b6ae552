//! The edges: metrics, configuration, HTTP, the command line, and the arrows between modules.

mod arrows;
mod cli;
mod config;
mod cycles;
mod http;
pub mod memory_log;
mod metrics;
mod shutdown;
mod sources;
