//! What an operator looks at on a cluster: the newest records of a topic, and what a worker lacks that is not ready.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;

use super::broker;
use crate::process::site::{Cluster, Site, Up};
use crate::store::embedded_endpoint;

const WAIT: Duration = Duration::from_secs(60);

fn site(bootstrap: &str) -> Site {
    let store = embedded_endpoint().to_owned();
    Site::on(Cluster {
        bootstrap: bootstrap.to_owned(),
        prefix: broker::prefix(),
        store: store.clone(),
        store_of_workers: store,
    })
}

fn lines(site: &Site, args: &[&str]) -> Vec<Value> {
    let printed = site.run(&[&["log", "cat", "usage.events"], args].concat());
    let line = |line: &str| serde_json::from_str(line).expect("JSON");
    printed.lines().map(line).collect()
}

fn ids(lines: &[Value]) -> Vec<&str> {
    let ids = lines.iter().map(|line| line["value"]["requestId"].as_str());
    ids.map(|id| id.expect("an id")).collect()
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn the_newest_records_of_kafka_are_shown_in_log_order() {
    let Some(bootstrap) = broker::bootstrap() else {
        return;
    };
    let site = site(bootstrap);
    let event = |n: u32| {
        let now = jiff::Timestamp::now();
        format!(
            "{{\"requestId\":\"{n}\",\"userId\":\"user-{n}\",\"providerId\":\"prov\",\"endpoint\":\"/v1/chat/completions\",\
             \"model\":\"llama-3-8b\",\"timestamp\":\"{now}\",\"statusCode\":200,\"latencyMs\":1}}"
        )
    };
    let mut between = String::new();
    for n in 0..8 {
        if n == 5 {
            std::thread::sleep(Duration::from_millis(20));
            between = jiff::Timestamp::now().to_string();
            std::thread::sleep(Duration::from_millis(20));
        }
        let file = site.file("event.jsonl");
        std::fs::write(&file, event(n)).expect("a file");
        site.run(&["emit", "--file", file.to_str().expect("UTF-8")]);
    }
    assert_eq!(ids(&lines(&site, &["--last", "3"])), ["5", "6", "7"]);
    assert_eq!(lines(&site, &["--last", "50"]).len(), 8);
    let since = ["--since", &between, "--last", "50"];
    assert_eq!(ids(&lines(&site, &since)), ["5", "6", "7"]);
    assert_eq!(lines(&site, &["--since", &between]).len(), 3);
    assert_eq!(lines(&site, &["--since", "1h"]).len(), 8);
    assert!(lines(&site, &["--since", "0s"]).is_empty());
}

fn ready(worker: &Up) -> Option<(u16, Value)> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer = agent.get(worker.url("/readyz")).call().ok()?;
    let body = answer.body_mut().read_to_string().ok()?;
    Some((answer.status().as_u16(), serde_json::from_str(&body).ok()?))
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn a_worker_whose_topic_is_missing_is_not_ready_and_names_it() {
    let Some(bootstrap) = broker::bootstrap() else {
        return;
    };
    let site = site(bootstrap);
    let prefix = &site.cluster().expect("a cluster").prefix;
    let topic = format!("{prefix}usage.events");
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .expect("a client");
    let delete = admin.delete_topics(&[&topic], &AdminOptions::new());
    tokio::runtime::Runtime::new()
        .expect("threads")
        .block_on(delete)
        .expect("an answer");
    // A broker deletes when it comes to it, and a worker that has seen the old topic takes no other.
    super::until(WAIT, "the topic is gone", || {
        let all = admin.inner().fetch_metadata(None, WAIT).expect("metadata");
        all.topics().iter().all(|found| found.name() != topic)
    });
    let mut worker = site.worker("worker", &[]);
    super::until(WAIT, "it says what it lacks", || {
        worker.must_run();
        let Some((status, body)) = ready(&worker) else {
            return false;
        };
        status == 503 && body["code"] == "missing"
    });
    let (_, body) = ready(&worker).expect("an answer");
    let detail = body["detail"].as_str().expect("a sentence");
    assert!(detail.contains(&format!("topic {topic}")), "{body}");
    assert!(!detail.contains("ledger.postings"), "{body}");
    assert!(detail.contains("tidemark topics apply"), "{body}");
    site.run(&["topics", "apply", "--replication-factor", "1"]);
    super::until(WAIT, "it is ready", || {
        ready(&worker).is_some_and(|(status, _)| status == 200)
    });
}
