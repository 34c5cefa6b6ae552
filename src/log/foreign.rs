//! Logs of others: the topics of gateways, which are only read.

use std::time::Duration;

use async_trait::async_trait;

use super::{Bounds, LogError, ReadLimit, Record, TopicInfo};
use crate::domain::position::{Offset, Partition};

/// What a read gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForeignRead {
    /// Records, in order; none: none came in time.
    Records(Vec<Record>),
    /// The position is not there (any more, or yet).
    OutOfRange,
}

/// Topics that others write. Their records may carry their producers' times, expire at any moment,
/// and be deleted and created again.
///
/// Every error is [`LogError::Unavailable`]: try again.
#[async_trait]
pub trait ForeignLog: Send + Sync {
    /// Id and partition count of a topic as they are now.
    async fn topic(&self, topic: &str) -> Result<TopicInfo, LogError>;

    /// Reads from `from` on. If nothing is there yet, waits up to `wait` for the first record.
    async fn read(
        &self,
        topic: &str,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
        wait: Duration,
    ) -> Result<ForeignRead, LogError>;

    /// What a partition holds.
    async fn bounds(&self, topic: &str, partition: Partition) -> Result<Bounds, LogError>;

    /// The end of a partition as whoever reads it last heard of it, without asking.
    fn end_seen(&self, topic: &str, partition: Partition) -> Option<Offset>;
}
