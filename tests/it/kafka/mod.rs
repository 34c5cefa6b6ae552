//! Apache Kafka, the real one: see [`broker`] for where it comes from.

mod adapt;
pub mod broker;
mod chaos;
pub mod log;
mod starting;
mod topics;
