//! Apache Kafka, the real one: see [`broker`] for where it comes from.

pub mod broker;
mod log;
mod starting;
mod topics;
