//! Placeholder until the branch `ops` is merged.
use super::KafkaFault;
use super::context::Says;
use super::settings::{KafkaSettings, REQUEST_TIMEOUT};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::sync::Arc;

/// What a topic is in the cluster.
#[derive(Clone, Debug)]
pub struct TopicState {
    /// Its id.
    pub id: String,
    /// Partitions.
    pub partitions: u32,
}

/// Administration.
pub struct Admin {
    client: Arc<BaseConsumer<Says>>,
}

impl Admin {
    /// Connects.
    pub fn connect(settings: &KafkaSettings) -> Result<Admin, KafkaFault> {
        let client = settings
            .admin()
            .create_with_context(Says { client: "admin" })
            .map_err(|e| KafkaFault::Settings(e.to_string()))?;
        Ok(Admin {
            client: Arc::new(client),
        })
    }
    /// Describes.
    pub async fn describe(&self, name: &str) -> Result<Option<TopicState>, KafkaFault> {
        let (client, name) = (self.client.clone(), name.to_owned());
        let m = tokio::task::spawn_blocking(move || {
            client.fetch_metadata(Some(&name), REQUEST_TIMEOUT)
        })
        .await
        .map_err(|e| KafkaFault::Unavailable(e.to_string()))?
        .map_err(|e| KafkaFault::Unavailable(e.to_string()))?;
        let t = &m.topics()[0];
        if t.error().is_some() {
            return Ok(None);
        }
        Ok(Some(TopicState {
            id: "placeholder".into(),
            partitions: t.partitions().len() as u32,
        }))
    }
}
