//! Partitions that were added to `usage.events` in place, and the documented way to more partitions (docs/kafka.md).

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tidemark::store::checkpoints;
use tokio::runtime::Runtime;

use super::partitioners::{event, send};
use super::{broker, until};
use crate::process::books;
use crate::process::more_partitions::topics;
use crate::process::site::{Cluster, Site};
use crate::store::{dynamodb_local, embedded_endpoint};

const WITHIN: Duration = Duration::from_secs(90);
/// So long may the broker take for one answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Partitions of `usage.events`, as shipped and as grown.
const BEFORE: i32 = 4;
const AFTER: i32 = 6;
/// Events that were counted before, and that came after.
const FIRST: u32 = 200;
const SECOND: u32 = 200;

fn grow(bootstrap: &str, topic: &str, runtime: &Runtime) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let more = [NewPartitions::new(topic, 6)];
    let made = runtime.block_on(admin.create_partitions(&more, &AdminOptions::new()));
    assert!(made.unwrap()[0].is_ok());
}

/// Where rating stands, as lag tools show it: the committed offsets of its group.
fn committed(bootstrap: &str, group: &str, topic: &str) -> BTreeMap<i32, i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .create()
        .unwrap();
    let mut asked = TopicPartitionList::new();
    for p in 0..BEFORE {
        asked.add_partition(topic, p);
    }
    let found = consumer.committed_offsets(asked, ANSWER).unwrap();
    let elements = found.elements();
    let offsets = elements.iter().filter_map(|of| match of.offset() {
        Offset::Offset(offset) => Some((of.partition(), offset)),
        _ => None,
    });
    offsets.collect()
}

/// The records of a topic from these offsets on; from the beginning where there is none.
fn values(bootstrap: &str, topic: &str, from: &BTreeMap<i32, i64>) -> Vec<String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", format!("{topic}.again"))
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut assigned = TopicPartitionList::new();
    let mut left = 0;
    for p in 0..AFTER {
        let (_, end) = consumer.fetch_watermarks(topic, p, ANSWER).unwrap();
        let from = from.get(&p).copied().unwrap_or(0);
        left += end - from;
        assigned
            .add_partition_offset(topic, p, Offset::Offset(from))
            .unwrap();
    }
    consumer.assign(&assigned).unwrap();
    let mut values = Vec::new();
    for _ in 0..left {
        let record = consumer.poll(ANSWER).expect("a record within the bound");
        let record = record.unwrap();
        // A heartbeat has no value.
        if let Some(value) = record.payload().filter(|value| !value.is_empty()) {
            values.push(String::from_utf8(value.to_vec()).unwrap());
        }
    }
    values
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn partitions_that_were_added_to_the_events_halt_and_a_new_epoch_counts_each_event_once() {
    let Some(bootstrap) = broker::bootstrap() else {
        return;
    };
    let store = dynamodb_local().unwrap_or_else(|| embedded_endpoint().to_owned());
    let cluster = Cluster {
        bootstrap: bootstrap.to_owned(),
        prefix: broker::prefix(),
        store: store.clone(),
        store_of_workers: store,
    };
    let topic = format!("{}usage.events", cluster.prefix);
    let group = format!("{}group-rate", cluster.prefix);
    let mut site = Site::on(cluster);
    site.run(&["pricing", "init", "testnet"]);
    let runtime = Runtime::new().unwrap();
    let db = books::store(&site);
    let first: Vec<_> = (0..FIRST).map(event).collect();
    let second: Vec<_> = (FIRST..FIRST + SECOND).map(event).collect();
    let send_all = |topic: &str, events: &[(String, String)]| {
        runtime.block_on(send(bootstrap, topic, "murmur2_random", events));
    };
    let requests = |site: &Site| site.requests_of_users().values().sum::<u64>();
    let wait = |site: &Site| site.run(&["wait", "--timeout", "90s"]);
    let mut worker = site.worker("before", &[]);
    worker.wait_ready();
    send_all(&topic, &first);
    wait(&site);
    assert_eq!(requests(&site), u64::from(FIRST));
    let before = site.statements();
    assert_eq!(worker.stop().0.code(), Some(0));

    // Clients that see six partitions send everything again, and more.
    grow(bootstrap, &topic, &runtime);
    send_all(&topic, &first);
    send_all(&topic, &second);
    let worker = site.worker("grown", &[]);
    let raters_halt = || {
        until(WITHIN, "every rater of before halts", || {
            let halts = runtime.block_on(checkpoints::halts(&db)).unwrap();
            let is_it = |halt: &checkpoints::HaltRecord| halt.code == "partitions_changed";
            assert!(halts.iter().all(is_it), "{halts:?}");
            (0..BEFORE).all(|p| halts.iter().any(|halt| halt.task == format!("rate/{p}")))
        });
    };
    raters_halt();
    let doctor = site.try_run(&["doctor"]);
    assert_eq!(doctor.code, Some(1), "{}", doctor.stdout);
    for text in ["partitions_changed", "docs/kafka.md#more-partitions"] {
        assert!(doctor.stdout.contains(text), "{text}: {}", doctor.stdout);
    }
    site.run(&["resume", "--all", "--reason", "a try"]);
    raters_halt();
    assert_eq!(site.statements(), before);
    assert_eq!(worker.stop().0.code(), Some(0));

    // What was not rated, from old partitions and added ones.
    let stands_at = committed(bootstrap, &group, &topic);
    let left = values(bootstrap, &topic, &stands_at);
    assert!(left.len() >= (FIRST + SECOND) as usize, "{stands_at:?}");
    let file = site.file("again.jsonl");
    std::fs::write(&file, left.join("\n")).unwrap();

    // New topics with as many partitions, in a new epoch.
    let prefix = broker::prefix();
    let specs = topics(&site, "topics", 6, 7);
    let epoch = [
        ("TIDEMARK_KAFKA_TOPIC_PREFIX", prefix.as_str()),
        ("TIDEMARK_LOG_EPOCH", "1"),
        ("TIDEMARK_LOG_TOPICS", specs.as_str()),
    ];
    site.set(&epoch);
    site.run(&["topics", "apply", "--replication-factor", "1"]);
    let mut worker = site.worker("epoch", &epoch);
    worker.wait_ready();
    site.run(&["resume", "--all", "--reason", "a new epoch"]);
    site.run(&["emit", "--file", file.to_str().unwrap()]);
    wait(&site);
    assert_eq!(requests(&site), u64::from(FIRST + SECOND));
    let counted = site.statements();
    assert!(
        runtime
            .block_on(checkpoints::halts(&db))
            .unwrap()
            .is_empty()
    );

    // Resent once more: each is known, and stands where its client and tidemark both look for it.
    let topic = format!("{prefix}usage.events");
    send_all(&topic, &first);
    send_all(&topic, &second);
    wait(&site);
    assert_eq!(site.statements(), counted);
    assert_eq!(worker.metric("tidemark_events_forwarded_total"), Some(0.0));
    site.run(&["doctor"]);
    assert_eq!(worker.stop().0.code(), Some(0));
}
