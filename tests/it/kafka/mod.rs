//! Apache Kafka, the real one: see [`broker`] for where it comes from.

mod adapt;
pub mod broker;
mod chaos;
mod compose;
mod halts;
pub mod log;
mod moving;
mod partitioners;
mod starting;
#[cfg(feature = "tls")]
mod tls;
mod topics;
