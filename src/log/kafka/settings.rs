//! From configuration to librdkafka's settings.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::KafkaFault;
use crate::log::Topic;
use crate::ops::config::{KafkaConfig, Secret};

/// How long a request to a broker may take before it counts as unanswered.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes that are read ahead, per partition and reader, KiB. Reading stops there until
/// somebody takes them.
const READ_AHEAD_KIB: u32 = 16 * 1024;
/// Most records that are read ahead, per partition and reader.
const READ_AHEAD_RECORDS: u32 = 50_000;
/// The least time that a rebalance waits for a member that is draining.
const REBALANCE_TIMEOUT_MIN: Duration = Duration::from_secs(300);

/// How Kafka is reached, secrets included. Never shown.
#[derive(Clone)]
pub struct KafkaSettings {
    base: ClientConfig,
    topic_prefix: String,
    group: String,
    instance: Option<String>,
    session_timeout: Duration,
    compression: &'static str,
}

impl KafkaSettings {
    /// Reads the secrets that the configuration names. Environment variables come through `env`.
    pub fn resolve(
        config: &KafkaConfig,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<KafkaSettings, KafkaFault> {
        let mut base = ClientConfig::new();
        base.set("bootstrap.servers", config.bootstrap.join(","));
        base.set("client.id", "tidemark");
        // Errors of single brokers are told by the errors of requests; this is for people who look
        // at a log.
        base.set_log_level(RDKafkaLogLevel::Warning);
        for (name, value) in &config.properties {
            base.set(name, value);
        }
        for (name, secret) in &config.secrets {
            base.set(name, read_secret(name, secret, env)?);
        }
        Ok(KafkaSettings {
            base,
            topic_prefix: config.topic_prefix.clone(),
            group: config.group.clone(),
            instance: config.instance.clone(),
            session_timeout: config.session_timeout,
            compression: config.compression,
        })
    }

    /// The name of a topic in this cluster.
    pub fn topic_name(&self, topic: Topic) -> String {
        format!("{}{topic}", self.topic_prefix)
    }

    /// The name of the consumer group whose members share out the partitions of a role.
    pub fn group_of(&self, role: &str) -> String {
        format!("{}-{role}", self.group)
    }

    /// For administration: topics, positions.
    pub(super) fn admin(&self) -> ClientConfig {
        let mut config = self.base.clone();
        // While a broker refuses connections, librdkafka (2.12) looks for it again at every change
        // of the broker's state, and with connections on demand each look is such a change: a
        // request that waits for its broker keeps two threads busy. A worker used 1.8 processors
        // that way while Kafka was down. Connections to all brokers are few here: one client asks
        // at a time.
        config.set("enable.sparse.connections", "false");
        config
    }

    /// For reading given partitions from given positions. It joins no group; the group's name is
    /// only there because librdkafka asks for one.
    pub(super) fn reader(&self) -> ClientConfig {
        let mut config = self.base.clone();
        config
            .set("group.id", format!("{}-reader", self.group))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // A position that is not there is an error for us to judge, never a reason to jump.
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            // The defaults wait half a second for a first record, and a second after the read-ahead
            // was full.
            .set("fetch.wait.max.ms", "100")
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.error.backoff.ms", "200")
            .set("queued.min.messages", READ_AHEAD_RECORDS.to_string())
            .set("queued.max.messages.kbytes", READ_AHEAD_KIB.to_string());
        config
    }

    /// For appending to one topic.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.base.clone();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // A record that failed for good must not be overtaken by those behind it: then the
            // producer stops, and we begin a new one.
            .set("enable.gapless.guarantee", "true")
            // No silent time-out: what was handed over is tried until it is answered or the
            // producer is given up.
            .set("message.timeout.ms", "0")
            .set("message.max.bytes", "67108864")
            .set("compression.type", self.compression)
            .set("linger.ms", "2")
            .set("batch.size", "1048576")
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", "262144");
        config
    }

    /// For membership in the group of a role. `drain` is how long a member may take to let go of a
    /// partition.
    pub(super) fn member(&self, role: &str, drain: Duration) -> ClientConfig {
        let rebalance = (drain * 2)
            .max(REBALANCE_TIMEOUT_MIN)
            .max(self.session_timeout);
        let mut config = self.base.clone();
        config
            .set("group.id", self.group_of(role))
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set(
                "session.timeout.ms",
                self.session_timeout.as_millis().to_string(),
            )
            .set(
                "heartbeat.interval.ms",
                (self.session_timeout.as_millis() / 4).max(250).to_string(),
            )
            .set("max.poll.interval.ms", rebalance.as_millis().to_string())
            // It owns partitions and reads none.
            .set("queued.max.messages.kbytes", "1")
            .set("fetch.queue.backoff.ms", "1000");
        if let Some(instance) = &self.instance {
            config.set("group.instance.id", format!("{instance}-{role}"));
        }
        config
    }
}

/// Says where it leads, never what it holds.
impl std::fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSettings")
            .field("brokers", &self.base.get("bootstrap.servers"))
            .field("topic_prefix", &self.topic_prefix)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

fn read_secret(
    name: &str,
    secret: &Secret,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, KafkaFault> {
    let missing = |source: String| KafkaFault::Settings(format!("{name}: {source}"));
    match secret {
        Secret::Env(variable) => env(variable)
            .ok_or_else(|| missing(format!("environment variable {variable} is not set"))),
        Secret::File(path) => std::fs::read_to_string(path)
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            .map_err(|error| missing(format!("cannot read {}: {error}", path.display()))),
    }
}
