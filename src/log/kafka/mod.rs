//! Apache Kafka as the log.
//!
//! Three kinds of librdkafka clients, each doing one thing:
//! - **producers** (one per topic) append, with all acknowledgements and idempotence;
//! - **readers** read given partitions from given offsets, which are part of the assignment itself;
//!   they join no group;
//! - **members** (one per role) belong to a consumer group, which shares the partitions out among
//!   workers; they read nothing.
//!
//! So a rebalance never moves a position, and beginning again at a checkpoint never disturbs the
//! group.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::BoxFuture;
use rdkafka::error::KafkaError;

use super::topics::TopicSpec;
use super::{Bounds, Log, LogError, NewRecord, ReadLimit, Record, Topic, TopicInfo};
use crate::domain::position::{Epoch, Offset, Partition};
use asker::Asker;
use producer::Appender;
use queue::Times;
use reader::{ReadFault, Readers};

pub mod admin;
mod asker;
mod context;
mod ffi_admin;
mod foreign;
mod group;
mod members;
pub mod plan;
mod producer;
mod queue;
mod reader;
mod settings;

pub use admin::{Admin, TopicState};
pub use foreign::KafkaForeign;
pub use group::{GroupEvent, Member};
pub use members::members;
pub use settings::KafkaSettings;

/// What went wrong between us and Kafka.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KafkaFault {
    /// The settings cannot be used. Mend them; trying again does not help. Holds no secrets.
    #[error("invalid Kafka settings: {0}")]
    Settings(String),
    /// No answer, or one that passes by itself. Safe to try again.
    #[error("Kafka did not answer ({0}); it is safe to retry")]
    Unavailable(String),
    /// Kafka refuses. Trying again does not help until somebody has changed what the text names.
    #[error("Kafka refused: {0}")]
    Refused(String),
}

/// Settings that librdkafka refuses, by name. Its own text would repeat the value, which may be a
/// secret.
fn refused_settings(error: &KafkaError) -> KafkaFault {
    KafkaFault::Settings(match error {
        KafkaError::ClientConfig(_, problem, key, _) => {
            format!(
                "kafka.properties.{key}: {problem}; librdkafka's documentation says what is allowed"
            )
        }
        other => other.to_string(),
    })
}

/// For so long it is believed that a topic is still the one that it was. A topic that is deleted
/// and created again under the same name in less time could be read from in between; see
/// `KafkaLog::still_the_same`.
const TOPIC_BELIEVED: Duration = Duration::from_secs(1);

/// Kafka as the log.
pub struct KafkaLog {
    epoch: Epoch,
    settings: KafkaSettings,
    specs: Vec<TopicSpec>,
    appenders: HashMap<Topic, Appender>,
    readers: Readers,
    admin: Admin,
    asker: Asker,
    /// What the topics were when somebody first asked, and when that was last confirmed.
    topics: Mutex<HashMap<Topic, (TopicInfo, Instant)>>,
    /// `None`: positions in the old topic say nothing about the new one, so it is refused.
    may_adopt: Option<MayAdopt>,
}

/// Decides whether a process may go on with a topic that was deleted and created again; the error
/// says why not.
pub type MayAdopt =
    Arc<dyn Fn(TopicInfo) -> BoxFuture<'static, Result<(), LogError>> + Send + Sync>;

impl KafkaLog {
    /// Connects. `specs` are what the topics should be; their largest records are the limit of
    /// [`Log::append`].
    pub fn connect(
        settings: KafkaSettings,
        specs: Vec<TopicSpec>,
        epoch: Epoch,
    ) -> Result<KafkaLog, KafkaFault> {
        let appender = |topic: Topic| Appender::new(settings.clone(), settings.topic_name(topic));
        let appenders: HashMap<_, _> = Topic::ALL.into_iter().map(|t| (t, appender(t))).collect();
        // Settings that contradict those of producers are to be refused now, not when something is
        // appended.
        appenders[&Topic::UsageEvents].connect()?;
        Ok(KafkaLog {
            epoch,
            appenders,
            readers: Readers::start(&settings, Times::Brokers)?,
            admin: Admin::connect(&settings)?,
            asker: Asker::start(&settings)?,
            topics: Mutex::default(),
            may_adopt: None,
            settings,
            specs,
        })
    }

    /// For a process that keeps no positions (`serve`): it goes on with a topic that was deleted
    /// and created again, if it may. Whoever rates or posts must not.
    pub fn adopting_recreated_topics(self, may_adopt: MayAdopt) -> KafkaLog {
        KafkaLog {
            may_adopt: Some(may_adopt),
            ..self
        }
    }

    /// Which topic it must be, before anything has been asked of the brokers.
    pub fn expect(&self, topic: Topic, info: TopicInfo) {
        let now = Instant::now();
        let long_ago = now.checked_sub(TOPIC_BELIEVED).unwrap_or(now);
        self.lock().insert(topic, (info, long_ago));
    }

    /// Whether a topic is still the one that was first seen. Before it is known that it is, nothing
    /// is read from it: the records of another topic of the same name must not be taken for those
    /// that follow.
    async fn still_the_same(&self, topic: Topic) -> Result<(), LogError> {
        let known = self.lock().get(&topic).cloned();
        if let Some((_, confirmed)) = &known
            && confirmed.elapsed() < TOPIC_BELIEVED
        {
            return Ok(());
        }
        let now = self.describe(topic).await?;
        match known {
            Some((before, _)) if before != now => {
                self.readers.forget(&self.settings.topic_name(topic)).await;
                if let Some(may_adopt) = &self.may_adopt
                    && before.partitions == now.partitions
                {
                    may_adopt(now.clone()).await?;
                    self.adopt(topic, now);
                    return Ok(());
                }
                Err(LogError::Unavailable(format!(
                    "topic {topic} is not what it was when this process began: {} partitions with id {}, before that {} with id {}",
                    now.partitions, now.id, before.partitions, before.id
                )))
            }
            _ => {
                self.lock().insert(topic, (now, Instant::now()));
                Ok(())
            }
        }
    }

    /// Goes on with another topic of the same name. The producer begins anew: it may still hold
    /// records and sequence numbers of the old topic.
    fn adopt(&self, topic: Topic, now: TopicInfo) {
        let mut topics = self.lock();
        let adopted = topics.insert(topic, (now.clone(), Instant::now()));
        if adopted.is_some_and(|(before, _)| before != now) {
            self.appenders[&topic].reset();
            let id = now.id;
            tracing::warn!(event = "kafka.topic.adopted", %topic, id, "the topic was deleted and created again; appending to the new one");
        }
    }

    async fn describe(&self, topic: Topic) -> Result<TopicInfo, LogError> {
        let name = self.settings.topic_name(topic);
        let state = self.admin.describe(&name).await.map_err(unavailable)?;
        let state = state.ok_or_else(|| {
            let what = match self.lock().contains_key(&topic) {
                true => format!(
                    "topic {name} is gone; bring it back, or see docs/runbook.md#a-topic-is-gone"
                ),
                false => format!(
                    "there is no topic {name}; on a new installation `tidemark topics apply` creates it, \
                     if it was there before, see docs/runbook.md#a-topic-is-gone"
                ),
            };
            LogError::NoTopic { topic, what }
        })?;
        Ok(TopicInfo {
            id: state.id,
            partitions: state.partitions,
        })
    }

    /// Before the next read it is asked again whether the topic is still the same.
    fn doubt(&self, topic: Topic) {
        if let Some((_, confirmed)) = self.lock().get_mut(&topic)
            && let Some(long_ago) = Instant::now().checked_sub(TOPIC_BELIEVED)
        {
            *confirmed = long_ago;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Topic, (TopicInfo, Instant)>> {
        // A panic elsewhere does not make the map wrong.
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topic's largest record; what is larger is refused before it is sent.
    fn check_sizes(&self, topic: Topic, records: &[NewRecord]) -> Result<(), LogError> {
        let spec = self.specs.iter().find(|spec| spec.topic == topic);
        let max = spec.map_or(usize::MAX, |spec| plan::largest_batch(spec, &self.specs));
        let too_large = records
            .iter()
            .enumerate()
            .map(|(index, record)| (index, record.size()))
            .find(|(_, bytes)| *bytes > max);
        too_large.map_or(Ok(()), |(index, bytes)| {
            Err(LogError::TooLarge {
                index,
                bytes,
                max,
                topic,
            })
        })
    }

    async fn of_read(
        &self,
        fault: ReadFault,
        topic: Topic,
        partition: Partition,
        wanted: Offset,
    ) -> LogError {
        match fault {
            ReadFault::OutOfRange => self.out_of_range(topic, partition, wanted).await,
            ReadFault::ProducersTime(offset) => LogError::Damaged {
                topic,
                partition,
                what: format!(
                    "record {offset} carries its producer's time, because {} was not LogAppendTime (message.timestamp.type) when it was appended",
                    self.settings.topic_name(topic)
                ),
            },
            ReadFault::Unknown(what) => {
                // Whether it is gone or another one is told when it is asked for next.
                self.doubt(topic);
                LogError::Unavailable(what)
            }
            ReadFault::Unavailable(what) => LogError::Unavailable(what),
        }
    }

    /// Out of range is final only if this is still the same topic, and if the bounds say so too: a
    /// broker that has just taken over may not know its end yet.
    async fn out_of_range(&self, topic: Topic, partition: Partition, wanted: Offset) -> LogError {
        self.doubt(topic);
        if let Err(error) = self.still_the_same(topic).await {
            return error;
        }
        match self.bounds(topic, partition).await {
            Err(error) => error,
            Ok(Bounds { start, end }) if start <= wanted && wanted <= end => {
                LogError::Unavailable(format!("{topic}/{partition} had no {wanted} for a moment"))
            }
            Ok(Bounds { start, end }) => LogError::OutOfRange {
                topic,
                partition,
                wanted,
                start,
                end,
            },
        }
    }
}

fn unavailable(fault: KafkaFault) -> LogError {
    match fault {
        KafkaFault::Unavailable(why) => LogError::Unavailable(why),
        other => LogError::Unavailable(other.to_string()),
    }
}

#[async_trait]
impl Log for KafkaLog {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    async fn topic(&self, topic: Topic) -> Result<TopicInfo, LogError> {
        let info = self.describe(topic).await?;
        // The first answer is what this process reads for the rest of its life. Whoever asks
        // compares with what they have recorded.
        self.lock()
            .entry(topic)
            .or_insert_with(|| (info.clone(), Instant::now()));
        Ok(info)
    }

    async fn append(
        &self,
        topic: Topic,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Result<Vec<Offset>, LogError> {
        self.check_sizes(topic, &records)?;
        // What belongs to one topic must not go into another of its name.
        self.still_the_same(topic).await?;
        let appender = &self.appenders[&topic];
        appender
            .append(partition, records)
            .await
            .map_err(unavailable)
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
        wait: Duration,
    ) -> Result<Vec<Record>, LogError> {
        self.still_the_same(topic).await?;
        let name = self.settings.topic_name(topic);
        match self.readers.read(&name, partition, from, limit, wait).await {
            Ok(records) => Ok(records),
            Err(fault) => Err(self.of_read(fault, topic, partition, from).await),
        }
    }

    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, LogError> {
        let name = self.settings.topic_name(topic);
        self.asker.bounds(&name, partition).await
    }

    async fn check_appends(&self) -> Result<(), LogError> {
        // A topic that has just gone may have been confirmed a moment ago.
        self.doubt(Topic::UsageEvents);
        self.still_the_same(Topic::UsageEvents).await
    }

    async fn end_seen(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError> {
        let name = self.settings.topic_name(topic);
        match self.readers.end_seen(&name, partition) {
            Some(end) => Ok(end),
            None => Ok(self.bounds(topic, partition).await?.end),
        }
    }
}
