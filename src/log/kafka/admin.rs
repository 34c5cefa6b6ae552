//! What the topics are in the cluster: describing, creating, changing them. What they should be is
//! [`plan`](super::plan)'s.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};

use super::ffi_admin::{self, Refusal};
use super::settings::{KafkaSettings, REQUEST_TIMEOUT};
use super::{KafkaFault, refused_settings};
use crate::log::Topic;

pub use super::ffi_admin::TopicState;

/// How long to wait before a partition is asked for its leader once more.
const LEADER_POLL: Duration = Duration::from_millis(100);

/// A setting of a topic that decides whether numbers are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Setting {
    /// Whose time a record carries.
    TimestampType,
    /// How long records are kept.
    Retention,
    /// How many bytes of a partition are kept: a second way to lose records.
    RetentionBytes,
    /// What happens to records that are old.
    Cleanup,
    /// Copies that must have a record before it is acknowledged.
    MinInsync,
    /// The largest batch of records, as it is sent.
    MaxMessageBytes,
    /// Whether a copy may lead that has not all that was acknowledged.
    UncleanElection,
}

impl Setting {
    /// All of them.
    pub const ALL: [Setting; 7] = [
        Setting::TimestampType,
        Setting::Retention,
        Setting::RetentionBytes,
        Setting::Cleanup,
        Setting::MinInsync,
        Setting::MaxMessageBytes,
        Setting::UncleanElection,
    ];

    /// As Kafka calls it.
    pub const fn key(self) -> &'static str {
        match self {
            Setting::TimestampType => "message.timestamp.type",
            Setting::Retention => "retention.ms",
            Setting::RetentionBytes => "retention.bytes",
            Setting::Cleanup => "cleanup.policy",
            Setting::MinInsync => "min.insync.replicas",
            Setting::MaxMessageBytes => "max.message.bytes",
            Setting::UncleanElection => "unclean.leader.election.enable",
        }
    }
}

/// A setting of a topic, as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// Which.
    pub setting: Setting,
    /// Its value, as Kafka writes it.
    pub value: String,
    /// Whether it is set on the topic itself; else it is the cluster's default, which somebody may
    /// change.
    pub is_own: bool,
}

/// Remembers what librdkafka complained of last: a request that cannot reach a broker only says
/// that time ran out. The request's own error repeats it, so it is not said here as well;
/// librdkafka would say it twenty times a second.
#[derive(Default)]
struct Complaints(Mutex<Option<String>>);

impl Complaints {
    fn last(&self) -> Option<String> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }
}

impl ClientContext for Complaints {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(event = "kafka.client", client = "admin", facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(event = "kafka.unwell", client = "admin", %error, reason);
        // That all brokers are down is said after why.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some(reason.to_owned());
        }
    }
}

/// Nothing is ever produced.
impl ProducerContext for Complaints {
    type DeliveryOpaque = ();
    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Looks at topics and changes them. All its requests may be repeated.
pub struct Admin {
    // A producer is the lightest client, and this one polls itself.
    client: ThreadedProducer<Complaints>,
    settings: KafkaSettings,
}

impl Admin {
    /// Makes a client. Nothing is asked of a broker yet.
    pub fn connect(settings: &KafkaSettings) -> Result<Admin, KafkaFault> {
        let client = settings.admin().create_with_context(Complaints::default());
        Ok(Admin {
            client: client.map_err(|error| refused_settings(&error))?,
            settings: settings.clone(),
        })
    }

    /// The name of a topic in this cluster.
    pub(super) fn topic_name(&self, topic: Topic) -> String {
        self.settings.topic_name(topic)
    }

    /// A topic's id, partitions and copies, by its name in the cluster; `None` if there is no such
    /// topic.
    pub async fn describe(&self, name: &str) -> Result<Option<TopicState>, KafkaFault> {
        let state = self
            .ask("describing", name, |client, name| {
                ffi_admin::describe(client, name, REQUEST_TIMEOUT)
            })
            .await?;
        if state.as_ref().is_some_and(|state| state.id.is_empty()) {
            return Err(KafkaFault::Refused(format!(
                "topic {name} has no id, and without one a topic that was deleted and created again cannot be told from the old one; \
                 brokers give ids since Kafka 2.8"
            )));
        }
        Ok(state)
    }

    /// The settings of a topic that are in force, by its name in the cluster.
    pub async fn configs(&self, name: &str) -> Result<Vec<TopicConfig>, KafkaFault> {
        let entries = self
            .ask("reading the settings of", name, |client, name| {
                ffi_admin::settings(client, name, REQUEST_TIMEOUT)
            })
            .await?;
        let config = |setting: Setting| {
            let entry = entries.iter().find(|entry| entry.key == setting.key())?;
            Some(TopicConfig {
                setting,
                value: entry.value.clone()?,
                is_own: entry.is_own,
            })
        };
        Ok(Setting::ALL.into_iter().filter_map(config).collect())
    }

    /// Creates a topic. That somebody else created it in between is no fault.
    pub(super) async fn create(
        &self,
        name: &str,
        (partitions, copies): (u32, u16),
        settings: Vec<(Setting, String)>,
    ) -> Result<(), KafkaFault> {
        let settings = by_key(settings);
        self.ask("creating", name, move |client, name| {
            let size = (partitions, copies);
            match ffi_admin::create(client, name, size, &settings, REQUEST_TIMEOUT) {
                Err(refusal) if refusal.code == RDKafkaErrorCode::TopicAlreadyExists => Ok(()),
                Err(mut refusal) if refusal.code == RDKafkaErrorCode::InvalidReplicationFactor => {
                    refusal.reason.push_str(
                        " Start more brokers, or change replicationFactor and minInsyncReplicas in the topic's file \
                         (--replication-factor, --min-insync).",
                    );
                    Err(refusal)
                }
                created => created,
            }
        })
        .await
    }

    /// Sets some settings of a topic; the others stay as they are.
    pub(super) async fn set(
        &self,
        name: &str,
        settings: Vec<(Setting, String)>,
    ) -> Result<(), KafkaFault> {
        let settings = by_key(settings);
        self.ask("changing", name, move |client, name| {
            ffi_admin::set(client, name, &settings, REQUEST_TIMEOUT)
        })
        .await
    }

    /// Whether a topic has never held a record, in any partition.
    pub(super) async fn is_unused(&self, name: &str, partitions: u32) -> Result<bool, KafkaFault> {
        self.ask("reading the positions of", name, move |client, name| {
            let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
            let until = Instant::now() + REQUEST_TIMEOUT;
            for partition in 0..partitions {
                let end = loop {
                    match client.fetch_watermarks(name, partition, REQUEST_TIMEOUT) {
                        Ok((_, end)) => break end,
                        // A topic that has just been created has no leaders for a moment.
                        Err(error) if has_no_leader(&error) && Instant::now() < until => {
                            std::thread::sleep(LEADER_POLL);
                        }
                        Err(error) => return Err(Refusal::from(&error)),
                    }
                };
                if end > 0 {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }

    /// Asks where waiting is allowed.
    async fn ask<T: Send + 'static>(
        &self,
        doing: &str,
        name: &str,
        ask: impl FnOnce(&Client<Complaints>, &str) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, KafkaFault> {
        let (client, topic) = (self.client.clone(), name.to_owned());
        let asked = tokio::task::spawn_blocking(move || ask(client.client(), &topic)).await;
        asked
            .map_err(|error| KafkaFault::Unavailable(format!("{doing} topic {name}: {error}")))?
            .map_err(|refusal| self.fault(doing, name, &refusal))
    }

    fn fault(&self, doing: &str, name: &str, refusal: &Refusal) -> KafkaFault {
        let mut text = format!("{doing} topic {name}: {}", refusal.reason);
        if !passes(refusal.code) {
            return KafkaFault::Refused(text);
        }
        if let Some(complaint) = self.client.client().context().last() {
            text.push_str("; the client says: ");
            text.push_str(&complaint);
        }
        KafkaFault::Unavailable(text)
    }
}

fn by_key(settings: Vec<(Setting, String)>) -> Vec<(&'static str, String)> {
    let by_key = settings
        .into_iter()
        .map(|(setting, value)| (setting.key(), value));
    by_key.collect()
}

fn has_no_leader(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::NotLeaderForPartition | Code::LeaderNotAvailable)
    )
}

/// Whether an error passes by itself.
fn passes(code: RDKafkaErrorCode) -> bool {
    !matches!(
        code,
        RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::InvalidArgument
            | RDKafkaErrorCode::InvalidConfig
            | RDKafkaErrorCode::InvalidPartitions
            | RDKafkaErrorCode::InvalidReplicationFactor
            | RDKafkaErrorCode::InvalidRequest
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::UnsupportedFeature
            | RDKafkaErrorCode::UnsupportedVersion
    )
}
