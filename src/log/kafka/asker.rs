//! Asking for the bounds of partitions.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::context::Says;
use super::members::list_group;
use super::settings::{KafkaSettings, REQUEST_TIMEOUT};
use super::{KafkaFault, refused_settings};
use crate::domain::position::{Offset, Partition};
use crate::log::{Bounds, LogError};

/// Asks for the bounds of partitions, with a client that is replaced when it has learned something
/// wrong.
pub(super) struct Asker {
    settings: KafkaSettings,
    client: Mutex<Arc<BaseConsumer<Says>>>,
}

impl Asker {
    /// Connects.
    pub(super) fn start(settings: &KafkaSettings) -> Result<Asker, KafkaFault> {
        Ok(Asker {
            client: Mutex::new(connect(settings)?),
            settings: settings.clone(),
        })
    }

    /// What a partition holds; the topic by its name in the cluster.
    pub(super) async fn bounds(
        &self,
        topic: &str,
        partition: Partition,
    ) -> Result<Bounds, LogError> {
        let number = i32::try_from(partition.0).unwrap_or(i32::MAX);
        let client = self.client();
        let ask = {
            let (client, topic) = (client.clone(), topic.to_owned());
            move || client.fetch_watermarks(&topic, number, REQUEST_TIMEOUT)
        };
        let asked = tokio::task::spawn_blocking(ask).await;
        let (start, end) = asked
            .map_err(|error| LogError::Unavailable(error.to_string()))?
            .map_err(|error| self.failed(&error, &client))?;
        let offset = |raw: i64| Offset(u64::try_from(raw).unwrap_or(0));
        Ok(Bounds {
            start: offset(start),
            end: offset(end),
        })
    }

    /// How many members a consumer group has.
    pub(super) async fn members(&self, group: &str) -> Result<usize, LogError> {
        let (client, group) = (self.client(), group.to_owned());
        let ask = move || {
            let list = list_group(&client, &group)?;
            let members = list.groups().iter().map(|group| group.members().len());
            Ok::<usize, KafkaError>(members.sum())
        };
        let asked = tokio::task::spawn_blocking(ask).await;
        asked
            .map_err(|error| LogError::Unavailable(error.to_string()))?
            .map_err(|error| LogError::Unavailable(error.to_string()))
    }

    fn client(&self) -> Arc<BaseConsumer<Says>> {
        // A panic elsewhere does not make the place wrong.
        let place = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        place.clone()
    }

    /// A client that asked for bounds while the brokers were away remembers that there is no such
    /// partition, and says so for minutes after they are back. A new one knows better.
    fn failed(&self, error: &KafkaError, asked: &Arc<BaseConsumer<Says>>) -> LogError {
        use RDKafkaErrorCode as Code;
        let is_outdated = matches!(
            error.rdkafka_error_code(),
            Some(
                Code::UnknownPartition
                    | Code::UnknownTopic
                    | Code::UnknownTopicOrPartition
                    | Code::NotLeaderForPartition
                    | Code::LeaderNotAvailable
            )
        );
        if is_outdated && let Ok(fresh) = connect(&self.settings) {
            let mut place = self.client.lock().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&place, asked) {
                *place = fresh;
            }
        }
        LogError::Unavailable(error.to_string())
    }
}

fn connect(settings: &KafkaSettings) -> Result<Arc<BaseConsumer<Says>>, KafkaFault> {
    let created = settings
        .admin()
        .create_with_context(Says { client: "asker" });
    created
        .map(Arc::new)
        .map_err(|error| refused_settings(&error))
}
