//! The edges: metrics, configuration, HTTP, the command line, and the arrows between modules.

mod metrics;
