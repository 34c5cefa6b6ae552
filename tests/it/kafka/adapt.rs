//! Gateways' topics on a real broker: what stands there is counted once, while the workers that adapt it die, come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, SystemTime};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use tidemark::domain::position::{Offset, Partition};
use tidemark::log::{Log, MUST_BE_THERE, ReadLimit, Topic, usage, usage_partition};
use tidemark::ops::health::{Feed, Role, TaskId};
use tidemark::store::checkpoints::{AdaptCheckpoint, checkpoint_key, get as stored};
use tidemark::store::dynamo::DynamoSettings;

use super::broker;
use crate::process::site::{Cluster, Site, Up};
use crate::store::{client, embedded_endpoint};

const WAIT: Duration = Duration::from_secs(120);
const LIMIT: ReadLimit = ReadLimit {
    records: 10_000,
    bytes: 16 << 20,
};
/// Entries of each gateway.
const ENTRIES: u64 = 2_000;
/// Entries in a record of APISIX.
const BATCH: u64 = 20;
const KONG_PARTITIONS: u32 = 3;
const APISIX_PARTITIONS: u32 = 2;

/// A worker of the role adapt.
fn start(site: &Site, name: &str, adapters: &str) -> Up {
    let roles = ["--roles", "adapt"];
    let mut worker = site.worker_with(name, &roles, &[("TIDEMARK_ADAPTERS", adapters)]);
    worker.wait_ready();
    worker
}

/// The events that it has made so far.
fn adapted(worker: &Up) -> f64 {
    worker
        .metric("tidemark_adapter_events_total")
        .unwrap_or(0.0)
}

/// A polite stop, after which its log holds nothing bad.
fn stop(site: &Site, name: &str, worker: Up) {
    let (status, _) = worker.stop();
    let said = fs::read_to_string(site.file(&format!("{name}.log"))).expect("a log");
    assert_eq!(status.code(), Some(0), "{said}");
    for bad in ["ERROR", "panicked"] {
        assert!(!said.contains(bad), "{said}");
    }
}

fn until(what: &str, holds: impl FnMut() -> bool) {
    super::until(WAIT, what, holds);
}

fn user(number: u64) -> String {
    format!("user-{}", number % 40)
}

fn is_refused(number: u64) -> bool {
    number % 50 == 7
}

fn kong(number: u64, now: u64) -> Value {
    json!({
        "started_at": now - number, "latencies": {"request": 20},
        "request": {"id": format!("r{number}"), "uri": "/v1/chat/completions?key=SECRET", "headers": {"authorization": "Bearer SECRET"}},
        "response": {"status": 200}, "client_ip": "203.0.113.7",
        "consumer": if is_refused(number) { Value::Null } else { json!({"username": user(number)}) },
        "ai": {"proxy": {"meta": {"response_model": "gpt-4o", "provider_name": "openai"}, "usage": {"prompt_tokens": 5, "completion_tokens": 2},
                         "payload": {"request": "SECRET"}}},
    })
}

fn apisix(number: u64, now: u64) -> Value {
    json!({
        "start_time": now - number, "latency": 20.5, "client_ip": "203.0.113.7",
        "request": {"uri": "/v1/chat/completions", "headers": {"authorization": "Bearer SECRET"}}, "response": {"status": 200},
        "consumer": if is_refused(number) { Value::Null } else { json!({"username": user(number)}) },
        "llm_summary": {"model": "gpt-4o", "prompt_tokens": "5", "completion_tokens": "2"},
        "llm_request": {"messages": [{"content": "SECRET"}]},
    })
}

/// The gateways' side.
struct Gateways {
    kong: String,
    apisix: String,
    producer: FutureProducer,
    runtime: tokio::runtime::Runtime,
    now: u64,
}

impl Gateways {
    fn new(bootstrap: &str, prefix: &str) -> Gateways {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap);
        let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
        let (kong, apisix) = (format!("{prefix}kong-logs"), format!("{prefix}apisix-logs"));
        let one = || TopicReplication::Fixed(1);
        // As gateways' topics are: with their producers' times.
        let topics = [
            NewTopic::new(&kong, KONG_PARTITIONS as i32, one()),
            NewTopic::new(&apisix, APISIX_PARTITIONS as i32, one()),
        ];
        let made = runtime.block_on(admin.create_topics(&topics, &AdminOptions::new()));
        assert!(made.unwrap().iter().all(Result::is_ok));
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        Gateways {
            kong,
            apisix,
            producer: config.create().unwrap(),
            runtime,
            now: now.as_millis() as u64,
        }
    }

    fn adapters(&self) -> String {
        let Gateways { kong, apisix, .. } = self;
        format!(
            "[{{topic = '{kong}', format = 'kong', source = 'kong-eu'}}, {{topic = '{apisix}', format = 'apisix', source = 'apisix-eu'}}]"
        )
    }

    fn send(&self, topic: &str, number: u64, value: &Value) {
        let (value, key) = (value.to_string(), number.to_string());
        let record = FutureRecord::to(topic).payload(&value).key(&key);
        let sent = self.runtime.block_on(self.producer.send(record, WAIT));
        sent.expect("the broker takes it");
    }

    fn write(&self, numbers: std::ops::Range<u64>) {
        for number in numbers.clone() {
            self.send(&self.kong, number, &kong(number, self.now));
        }
        for first in numbers.step_by(BATCH as usize) {
            let batch: Value = (first..first + BATCH)
                .map(|number| apisix(number, self.now))
                .collect();
            self.send(&self.apisix, first, &batch);
        }
    }
}

/// The distinct (user, source, id) of `usage.events`; each stands in its user's partition.
async fn events(cluster: &Cluster) -> BTreeSet<(String, String, String)> {
    let log = cluster.log();
    let partitions = log.topic(Topic::UsageEvents).await.unwrap().partitions;
    let mut all = BTreeSet::new();
    for partition in (0..partitions).map(Partition) {
        let end = log.bounds(Topic::UsageEvents, partition).await.unwrap().end;
        let mut next = Offset(0);
        while next < end {
            let read = log.read(Topic::UsageEvents, partition, next, LIMIT, MUST_BE_THERE);
            for record in read.await.unwrap() {
                next = record.offset.next();
                // Raters append ticks, which are no events.
                let Ok(event) = usage::decode(&record.value, &record.headers) else {
                    continue;
                };
                assert_eq!(partition, usage_partition(&event.user, partitions));
                assert!(!String::from_utf8_lossy(&record.value).contains("SECRET"));
                all.insert((
                    event.user.into_owned(),
                    event.source.into_owned(),
                    event.id.into_owned(),
                ));
            }
        }
    }
    all
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn what_gateways_log_is_counted_once_while_the_workers_that_adapt_it_die() {
    let Some(bootstrap) = broker::bootstrap() else {
        return;
    };
    let cluster = Cluster {
        bootstrap: bootstrap.to_owned(),
        prefix: broker::prefix(),
        store: embedded_endpoint().to_owned(),
        store_of_workers: embedded_endpoint().to_owned(),
    };
    let site = Site::on(cluster.clone());
    site.run(&["pricing", "init", "mainnet"]);
    let gateways = Gateways::new(bootstrap, &cluster.prefix);
    let adapters = gateways.adapters();
    let mut rater = site.worker("rater", &[]);
    rater.wait_ready();

    let (one, two) = (
        start(&site, "one", &adapters),
        start(&site, "two", &adapters),
    );
    gateways.write(0..ENTRIES / 2);
    until("some of it is adapted", || {
        adapted(&one) + adapted(&two) > 300.0
    });
    one.kill();
    let three = start(&site, "three", &adapters);
    gateways.write(ENTRIES / 2..ENTRIES);

    let good = (0..ENTRIES).filter(|number| !is_refused(*number)).count();
    until("everything has arrived", || {
        gateways.runtime.block_on(events(&cluster)).len() >= 2 * good
    });
    let events = gateways.runtime.block_on(events(&cluster));
    let ids = |of: &'static str| events.iter().filter(move |(_, source, _)| source == of);
    let kong: BTreeSet<&str> = ids("kong-eu").map(|(_, _, id)| id.as_str()).collect();
    let expected: Vec<String> = (0..ENTRIES)
        .filter(|n| !is_refused(*n))
        .map(|n| format!("r{n}"))
        .collect();
    assert_eq!(kong, expected.iter().map(String::as_str).collect());
    assert_eq!(ids("apisix-eu").count(), good, "no entry has two ids");

    stop(&site, "two", two);
    stop(&site, "three", three);
    site.run(&["wait", "--timeout", "2m"]);
    let mut must: BTreeMap<String, u64> = BTreeMap::new();
    for number in (0..ENTRIES).filter(|number| !is_refused(*number)) {
        *must.entry(user(number)).or_default() += 2;
    }
    assert_eq!(site.requests_of_users(), must);
    rejects_hold_places_only(&site);
    gateways
        .runtime
        .block_on(positions_are_at_the_ends(&cluster, &gateways));
    let (status, _) = rater.stop();
    assert_eq!(status.code(), Some(0));
}

fn rejects_hold_places_only(site: &Site) {
    let text = site.run(&["rejects", "list", "--json"]);
    let for_people = site.run(&["rejects", "list", "--reason", "missing_field"]);
    assert!(!text.contains("SECRET") && !for_people.contains("SECRET"));
    assert!(
        for_people.contains("consumer.username is missing"),
        "{for_people}"
    );
    let places: BTreeSet<String> = text
        .lines()
        .map(|line| {
            let reject: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(reject["field"], "consumer.username", "{line}");
            let part = |name: &str| reject[name].to_string();
            [
                "foreignTopic",
                "foreignPartition",
                "foreignOffset",
                "foreignIndex",
            ]
            .map(part)
            .join("/")
        })
        .collect();
    let refused = (0..ENTRIES).filter(|number| is_refused(*number)).count();
    assert_eq!(places.len(), 2 * refused);
}

async fn positions_are_at_the_ends(cluster: &Cluster, gateways: &Gateways) {
    let db = client(&DynamoSettings {
        prefix: cluster.prefix.clone(),
        ..DynamoSettings::local(&cluster.store)
    });
    let topics = [
        (&gateways.kong, KONG_PARTITIONS, ENTRIES),
        (&gateways.apisix, APISIX_PARTITIONS, ENTRIES / BATCH),
    ];
    for (topic, partitions, records) in topics {
        let mut sum = 0;
        for partition in (0..partitions).map(Partition) {
            let key = checkpoint_key(TaskId::new(Role::Adapt(Feed::of(topic)), partition));
            let at = stored::<AdaptCheckpoint>(&db, &key).await.unwrap();
            let at = at.expect("a position").value;
            assert!(!at.topic_id.is_empty(), "brokers give ids since Kafka 2.8");
            sum += at.next.0;
        }
        assert_eq!(sum, records, "{topic}");
    }
}
