//! What librdkafka says, as our log lines.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// Passes on what a client of librdkafka says.
#[derive(Clone, Debug)]
pub(super) struct Says {
    /// What the client is for: `producer`, `reader`, `group`, `admin`.
    pub(super) client: &'static str,
}

impl ClientContext for Says {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let client = self.client;
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => {
                tracing::error!(event = "kafka.client", client, facility, message);
            }
            RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
                tracing::warn!(event = "kafka.client", client, facility, message);
            }
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(event = "kafka.client", client, facility, message);
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let client = self.client;
        tracing::warn!(event = "kafka.unwell", client, %error, reason, "librdkafka goes on trying by itself");
    }
}

impl ConsumerContext for Says {}
