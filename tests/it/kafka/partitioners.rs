//! Producers that choose partitions their own way: what they put into a wrong one is forwarded, and everything counts once.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};

use super::broker;
use crate::process::site::{Cluster, Site};
use crate::store::embedded_endpoint;

const USERS: u32 = 40;
const EVENTS: u32 = 400;
const HUGE: usize = 8 << 20;

/// An event, and its user.
pub(super) fn event(number: u32) -> (String, String) {
    let user = format!("user-{}", number % USERS);
    let event = json!({
        "requestId": format!("r-{number}"), "userId": user, "endpoint": "/v1/scrape",
        "timestamp": jiff::Timestamp::now().to_string(), "statusCode": 200,
    });
    (user, event.to_string())
}

/// Sends every event as a client with this partitioner does.
pub(super) async fn send(
    bootstrap: &str,
    topic: &str,
    partitioner: &str,
    events: &[(String, String)],
) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("partitioner", partitioner)
        .create()
        .unwrap();
    let sent = events.iter().map(|(user, event)| {
        let record = FutureRecord::to(topic).key(user).payload(event);
        producer.send(record, Duration::from_secs(30))
    });
    for result in futures::future::join_all(sent).await {
        result.map_err(|(error, _)| error).unwrap();
    }
}

async fn send_huge(bootstrap: &str, topic: &str) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("message.max.bytes", "100000000")
        .set("compression.type", "gzip")
        .create()
        .unwrap();
    let value = vec![b' '; HUGE];
    let record = FutureRecord::to(topic)
        .key("user-0")
        .payload(&value)
        .partition(0);
    let sent = producer.send(record, Duration::from_secs(30)).await;
    sent.map_err(|(error, _)| error).unwrap();
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn whatever_partitioner_a_gateway_has_each_event_counts_once_and_the_right_one_is_never_forwarded()
{
    let Some(bootstrap) = broker::bootstrap() else {
        return;
    };
    let store = embedded_endpoint().to_owned();
    let cluster = Cluster {
        bootstrap: bootstrap.to_owned(),
        prefix: broker::prefix(),
        store: store.clone(),
        store_of_workers: store,
    };
    let topic = format!("{}usage.events", cluster.prefix);
    let site = Site::on(cluster);
    site.run(&["pricing", "init", "testnet"]);
    let mut worker = site.worker("worker", &[]);
    worker.wait_ready();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let events: Vec<(String, String)> = (0..EVENTS).map(event).collect();

    // Java's default, as librdkafka has it: in the right place at once.
    runtime.block_on(send(bootstrap, &topic, "murmur2_random", &events));
    site.run(&["wait", "--timeout", "90s"]);
    assert_eq!(worker.metric("tidemark_events_forwarded_total"), Some(0.0));
    assert_eq!(
        worker.metric("tidemark_events_rated_total"),
        Some(f64::from(EVENTS))
    );
    let counted = site.run(&["statement", "--all", "--json"]);

    // The same events again by librdkafka's own default, and by murmur2 without a look at the key: many go astray, none counts twice.
    for partitioner in ["consistent_random", "fnv1a_random", "murmur2"] {
        runtime.block_on(send(bootstrap, &topic, partitioner, &events));
    }
    site.run(&["wait", "--timeout", "90s"]);
    // What was forwarded is behind the end that `wait` looked at first.
    site.run(&["wait", "--timeout", "90s"]);
    let forwarded = worker.metric("tidemark_events_forwarded_total").unwrap();
    assert!(forwarded > f64::from(EVENTS), "{forwarded} forwarded");
    assert_eq!(
        worker.metric("tidemark_events_rated_total"),
        Some(f64::from(EVENTS))
    );
    let same = |text: &str| -> Vec<(String, u64)> {
        let mut all: Vec<(String, u64)> = text
            .lines()
            .map(|line| {
                let line: Value = serde_json::from_str(line).unwrap();
                (line["id"].to_string(), line["requests"].as_u64().unwrap())
            })
            .collect();
        all.sort();
        all
    };
    // A broker looks at the size of compressed batches: a record larger than any topic should hold must not stop its partition.
    runtime.block_on(send_huge(bootstrap, &topic));
    runtime.block_on(send(bootstrap, &topic, "murmur2_random", &events[..1]));
    site.run(&["wait", "--timeout", "90s"]);
    let rejects = site.run(&["rejects", "list", "--json"]);
    let reject: Value = serde_json::from_str(rejects.trim()).unwrap();
    assert_eq!(reject["reason"], "too_large");
    assert!(reject["wholeBytes"].as_u64() > Some(HUGE as u64));

    let now = site.run(&["statement", "--all", "--json"]);
    assert_eq!(same(&now), same(&counted));
    assert_eq!(same(&now).len(), USERS as usize);
    assert_eq!(worker.stop().0.code(), Some(0));
}
