//! The edges: metrics, configuration, HTTP, the command line, and the arrows between modules.

mod arrows;
mod cli;
mod config;
mod config_schema;
mod cycles;
mod docs;
mod http;
mod language;
pub mod memory_log;
mod metrics;
mod shutdown;
mod sources;
mod tiers;

/// A file of the repository.
fn repository(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
