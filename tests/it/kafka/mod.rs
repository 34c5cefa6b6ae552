//! Apache Kafka, the real one: see [`broker`] for where it comes from.

mod adapt;
pub mod broker;
mod chaos;
mod compose;
mod halts;
pub mod log;
mod looking;
mod more_partitions;
mod moving;
pub mod operators;
mod partitioners;
mod serve;
mod starting;
#[cfg(feature = "tls")]
mod tls;
mod topics;

use std::time::{Duration, Instant};

use tidemark::log::topics::{TopicSpec, shipped};

/// Waits for a condition, which must hold within a bound.
pub fn until(within: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The topics as shipped, for one broker.
fn specs() -> Vec<TopicSpec> {
    let mut specs = shipped();
    for spec in &mut specs {
        spec.replication_factor = 1;
        spec.min_insync_replicas = 1;
    }
    specs
}
