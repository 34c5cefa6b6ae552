//! The brokers that the other tests rely on.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::broker::{self, Broker};

/// How many brokers answer there, if any does.
fn brokers(bootstrap: &str, wait: Duration) -> Option<usize> {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .unwrap();
    let metadata = client.fetch_metadata(None, wait).ok()?;
    Some(metadata.brokers().len())
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn the_shared_broker_answers() {
    let Some(bootstrap) = broker::bootstrap() else {
        return;
    };
    assert!(brokers(bootstrap, Duration::from_secs(20)).is_some());
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn a_broker_of_ones_own_stops_hangs_dies_and_comes_back() {
    let Some(mut broker) = Broker::own() else {
        return;
    };
    let bootstrap = broker.bootstrap();
    let answers = |ms| brokers(&bootstrap, Duration::from_millis(ms)).is_some();
    assert!(answers(20_000), "started");
    broker.freeze();
    assert!(!answers(500), "frozen");
    broker.thaw();
    assert!(answers(20_000), "thawed");
    broker.kill();
    assert!(!answers(500), "killed");
    broker.start();
    assert!(answers(20_000), "started again");
    broker.stop();
    assert!(!answers(500), "stopped");
}
