//! What librdkafka says, as our log lines.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    /// What librdkafka writes about single connections is for whoever looks for it; what matters comes through `error` as well.
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
        let Some(kept_back) = said_lately(client, &error) else {
            return;
        };
        tracing::warn!(event = "kafka.unwell", client, %error, reason, kept_back, "librdkafka goes on trying by itself");
    }
}

/// The same of the same kind of client is said once in so long.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// When something was last said, and how often it was kept back since.
type Lately = BTreeMap<(&'static str, Option<i32>), (Instant, u64)>;

/// While brokers are away, every client tells so several times a second. `None`: this was said a moment ago; else how often it
/// was kept back.
fn said_lately(client: &'static str, error: &KafkaError) -> Option<u64> {
    static LATELY: Mutex<Lately> = Mutex::new(BTreeMap::new());
    let mut lately = LATELY.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (client, error.rdkafka_error_code().map(|code| code as i32));
    match lately.get_mut(&key) {
        Some((said, kept_back)) if said.elapsed() < SAY_AGAIN => {
            *kept_back += 1;
            None
        }
        before => {
            let kept_back = before.map_or(0, |(_, kept_back)| *kept_back);
            lately.insert(key, (Instant::now(), 0));
            Some(kept_back)
        }
    }
}

impl ConsumerContext for Says {}
