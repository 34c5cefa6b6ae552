//! Apache Kafka as the log.
//!
//! Three kinds of librdkafka clients, each doing one thing:
//! - **producers** (one per topic) append, with all acknowledgements and idempotence;
//! - **readers** read given partitions from given offsets, which are part of the assignment itself; they join no group;
//! - **members** (one per role) belong to a consumer group, which shares the partitions out among workers; they read nothing.
//!
//! So a rebalance never moves a position, and beginning again at a checkpoint never disturbs the group.

pub mod admin;
mod context;
mod ffi_admin;
pub mod plan;
mod settings;

pub use admin::{Admin, TopicState};
pub use settings::KafkaSettings;

/// What went wrong between us and Kafka.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KafkaFault {
    /// The settings cannot be used. Mend them; trying again does not help. Holds no secrets.
    #[error("the Kafka settings cannot be used: {0}")]
    Settings(String),
    /// No answer, or one that passes by itself. Safe to try again.
    #[error("Kafka did not answer ({0}); it is safe to try again")]
    Unavailable(String),
    /// Kafka refuses. Trying again does not help until somebody has changed what the text names.
    #[error("Kafka refused: {0}")]
    Refused(String),
}
