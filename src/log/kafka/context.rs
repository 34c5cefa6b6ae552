//! What librdkafka says, as our log lines.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::ops::log_throttle::LogThrottle;

/// Passes on what a client of librdkafka says.
#[derive(Clone, Debug)]
pub(super) struct Says {
    /// What the client is for: `producer`, `reader`, `group`, `admin`.
    pub(super) client: &'static str,
}

impl ClientContext for Says {
    /// What librdkafka writes about single connections is for whoever looks for it; what matters
    /// comes through `error` as well.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let client = self.client;
        if facility == "FATAL" {
            tracing::error!(event = "kafka.client", client, facility, message);
        } else {
            tracing::debug!(event = "kafka.client", client, facility, ?level, message);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let client = self.client;
        let code = error.rdkafka_error_code();
        let Some(kept_back) = LATELY.say((client, code.map(|code| code as i32))) else {
            return;
        };
        match code.and_then(advice) {
            None => {
                tracing::warn!(event = "kafka.unwell", client, %error, reason, kept_back, "librdkafka keeps retrying");
            }
            Some(Advice::Perhaps(advice)) => {
                tracing::warn!(event = "kafka.unwell", client, %error, reason, kept_back, advice, "librdkafka keeps retrying");
            }
            Some(Advice::Surely(advice)) => {
                tracing::error!(event = "kafka.refused", client, %error, reason, kept_back, advice, "work is paused until this is fixed");
            }
        }
    }
}

/// The same of the same kind of client is said once in a while: while brokers are away, every
/// client tells so several times a second.
static LATELY: LogThrottle<(&str, Option<i32>)> = LogThrottle::new();

/// What to do about an error.
enum Advice {
    /// If it does not pass by itself (a topic that was just created, a broker that is starting).
    Perhaps(&'static str),
    /// It does not pass by itself.
    Surely(&'static str),
}

fn advice(code: RDKafkaErrorCode) -> Option<Advice> {
    use RDKafkaErrorCode as Code;
    Some(match code {
        Code::UnknownTopic | Code::UnknownTopicOrPartition => Advice::Perhaps(
            "restore the topic if it held records (docs/runbook.md#a-topic-is-gone); if it is new, \
             create it (tidemark's own with `tidemark topics apply`)",
        ),
        Code::SSL => Advice::Perhaps("check ssl.* and security.protocol in [kafka.properties]"),
        Code::InvalidSessionTimeout => Advice::Surely(
            "set kafka.session_timeout to what the brokers allow: group.min.session.timeout.ms to group.max.session.timeout.ms",
        ),
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            Advice::Surely(
                "the brokers rejected the credentials; check sasl.* in [kafka.properties]",
            )
        }
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed => Advice::Surely(
            "access denied; the ACLs must allow tidemark's topics and consumer groups",
        ),
        _ => return None,
    })
}

impl ConsumerContext for Says {}
