//! Apache Kafka, the real one: see [`broker`] for where it comes from.

mod adapt;
pub mod broker;
mod chaos;
mod compose;
pub mod log;
mod starting;
#[cfg(feature = "tls")]
mod tls;
mod topics;
