//! Topics of gateways, read by the same kind of readers as our own; but nothing is expected of
//! them.

use std::time::Duration;

use super::KafkaFault;
use super::admin::Admin;
use super::asker::Asker;
use super::queue::Times;
use super::reader::{ReadFault, Readers};
use super::settings::KafkaSettings;
use crate::domain::position::{Offset, Partition};
use crate::log::foreign::{ForeignLog, ForeignRead};
use crate::log::{Bounds, LogError, ReadLimit, TopicInfo};
use async_trait::async_trait;

/// The topics of gateways in the same cluster, by their own names (without our prefix).
pub struct KafkaForeign {
    readers: Readers,
    admin: Admin,
    asker: Asker,
    settings: KafkaSettings,
}

impl KafkaForeign {
    /// Connects.
    pub fn connect(settings: &KafkaSettings) -> Result<KafkaForeign, KafkaFault> {
        Ok(KafkaForeign {
            readers: Readers::start(settings, Times::Any)?,
            admin: Admin::connect(settings)?,
            asker: Asker::start(settings)?,
            settings: settings.clone(),
        })
    }

    /// How many processes are members of the consumer group of a role.
    pub async fn members_of(&self, role: &str) -> Result<usize, LogError> {
        self.asker.members(&self.settings.group_of(role)).await
    }

    /// Whether the cluster has a topic of this name.
    pub async fn has_topic(&self, name: &str) -> Result<bool, LogError> {
        let state = self.admin.describe(name).await.map_err(unavailable)?;
        Ok(state.is_some())
    }
}

fn unavailable(why: impl std::fmt::Display) -> LogError {
    LogError::Unavailable(why.to_string())
}

#[async_trait]
impl ForeignLog for KafkaForeign {
    async fn topic(&self, topic: &str) -> Result<TopicInfo, LogError> {
        let state = self.admin.describe(topic).await.map_err(unavailable)?;
        let state = state.ok_or_else(|| unavailable(format!("topic {topic} does not exist")))?;
        Ok(TopicInfo {
            id: state.id,
            partitions: state.partitions,
        })
    }

    async fn read(
        &self,
        topic: &str,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
        wait: Duration,
    ) -> Result<ForeignRead, LogError> {
        match self.readers.read(topic, partition, from, limit, wait).await {
            Ok(records) => Ok(ForeignRead::Records(records)),
            Err(ReadFault::OutOfRange) => Ok(ForeignRead::OutOfRange),
            Err(ReadFault::Unknown(what) | ReadFault::Unavailable(what)) => Err(unavailable(what)),
            Err(ReadFault::ProducersTime(offset)) => {
                Err(unavailable(format!("record {offset} has no time")))
            }
        }
    }

    async fn bounds(&self, topic: &str, partition: Partition) -> Result<Bounds, LogError> {
        self.asker.bounds(topic, partition).await
    }

    fn end_seen(&self, topic: &str, partition: Partition) -> Option<Offset> {
        self.readers.end_seen(topic, partition)
    }
}
