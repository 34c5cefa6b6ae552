//! How to reach Kafka.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::kinds::{choice, duration, hosts, name, plain};
use super::reader::Reader;
use super::{LogEngine, secs};

/// Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Brokers to begin with, `host:port`.
    pub bootstrap: Vec<String>,
    /// What every topic's name begins with.
    pub topic_prefix: String,
    /// What the names of the consumer groups begin with.
    pub group: String,
    /// The static member's id of this worker; `None` for dynamic membership.
    pub instance: Option<String>,
    /// How long a member may be silent before its partitions go to others.
    pub session_timeout: Duration,
    /// How batches are compressed: a name that librdkafka knows.
    pub compression: &'static str,
    /// Further settings for librdkafka, as its documentation names them.
    pub properties: BTreeMap<String, String>,
    /// Further settings that are secrets, by name.
    pub secrets: BTreeMap<String, Secret>,
}

/// Where a secret is to be read. The secret itself is never part of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// An environment variable.
    Env(String),
    /// A file; a line break at its end is not part of the secret.
    File(PathBuf),
}

/// Settings on which correctness depends; tidemark sets them itself.
const OURS: &[(&str, &str)] = &[
    (
        "acks",
        "every record must be acknowledged by all in-sync replicas",
    ),
    (
        "auto.offset.reset",
        "a missing position must be reported, never skipped",
    ),
    ("bootstrap.servers", "use kafka.bootstrap"),
    ("enable.auto.commit", "positions are stored in the tables"),
    (
        "enable.auto.offset.store",
        "positions are stored in the tables",
    ),
    (
        "enable.gapless.guarantee",
        "blocks must not overtake each other",
    ),
    (
        "enable.idempotence",
        "a retried batch must not be appended twice",
    ),
    ("enable.partition.eof", "tidemark sets it"),
    ("group.id", "it is derived from kafka.group and the role"),
    ("group.instance.id", "use kafka.instance"),
    ("group.protocol", "only the classic protocol is tested"),
    ("isolation.level", "tidemark sets it"),
    ("max.in.flight", "blocks must stay in order"),
    (
        "max.in.flight.requests.per.connection",
        "blocks must stay in order",
    ),
    ("max.poll.interval.ms", "it is derived from drain_timeout"),
    (
        "message.timeout.ms",
        "a record must never be dropped silently",
    ),
    (
        "delivery.timeout.ms",
        "a record must never be dropped silently",
    ),
    ("metadata.broker.list", "use kafka.bootstrap"),
    (
        "partition.assignment.strategy",
        "only cooperative-sticky is tested",
    ),
    ("partitioner", "tidemark computes partitions itself"),
    (
        "request.required.acks",
        "every record must be acknowledged by all in-sync replicas",
    ),
    ("session.timeout.ms", "use kafka.session_timeout"),
    (
        "transactional.id",
        "tidemark does not use Kafka transactions",
    ),
];

/// What a property's name ends with if its value is a secret, or holds one.
const SECRET_ENDINGS: [&str; 6] = [
    "password",
    "passphrase",
    "secret",
    "key.pem",
    "private.key",
    "oauthbearer.config",
];

impl KafkaConfig {
    pub(super) fn read(reader: &mut Reader) -> KafkaConfig {
        const COMPRESSIONS: &[(&str, &str)] = &[
            ("none", "none"),
            ("lz4", "lz4"),
            ("zstd", "zstd"),
            ("gzip", "gzip"),
            ("snappy", "snappy"),
        ];
        let instance = reader.get("kafka.instance", String::new(), name(200, "-_."));
        let session = duration(secs(1)..=secs(1800));
        let mut config = KafkaConfig {
            bootstrap: reader.get("kafka.bootstrap", Vec::new(), hosts()),
            topic_prefix: reader.get("kafka.topic_prefix", String::new(), name(100, "-_.")),
            group: reader.get("kafka.group", "tidemark".to_owned(), name(100, "-_.")),
            instance: (!instance.is_empty()).then_some(instance),
            session_timeout: reader.get("kafka.session_timeout", secs(10), session),
            compression: reader.get("kafka.compression", "lz4", choice(COMPRESSIONS)),
            properties: reader.free("kafka.properties", &plain()),
            secrets: BTreeMap::new(),
        };
        config.take_secrets(reader);
        config
    }

    /// Moves the secrets out of the properties.
    fn take_secrets(&mut self, reader: &mut Reader) {
        for (key, value) in std::mem::take(&mut self.properties) {
            let full = format!("kafka.properties.{key}");
            if let Some((_, why)) = OURS.iter().find(|(ours, _)| *ours == key) {
                reader.must(
                    false,
                    &full,
                    "cannot be set",
                    format!("nothing; remove it ({why})"),
                );
            } else if !SECRET_ENDINGS.iter().any(|ending| key.ends_with(ending)) {
                self.properties.insert(key, value);
            } else if let Some(secret) = Secret::parse(&value) {
                self.secrets.insert(key, secret);
            } else {
                // The value is not repeated: it may be the secret itself.
                let allowed = "env:NAME (an environment variable) or file:PATH".to_owned();
                reader.must(
                    false,
                    &full,
                    "is a secret, and secrets are not allowed in a configuration",
                    allowed,
                );
            }
        }
    }

    pub(super) fn check(&self, reader: &mut Reader, engine: LogEngine) {
        let is_given = !self.bootstrap.is_empty();
        let allowed = "at least one broker, such as kafka-1:9092".to_owned();
        reader.must(
            is_given || engine != LogEngine::Kafka,
            "kafka.bootstrap",
            "is required when log.engine is \"kafka\"",
            allowed,
        );
    }
}

impl Secret {
    fn parse(text: &str) -> Option<Secret> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Some(Secret::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Some(Secret::File(PathBuf::from(path))),
            _ => None,
        }
    }
}
