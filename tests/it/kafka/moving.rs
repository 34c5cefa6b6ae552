//! From the embedded log to Kafka, and from the embedded store to DynamoDB: every account goes along.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::broker;
use crate::process::site::{Cluster, Site};
use crate::store::embedded_endpoint;

/// What each account has, but for what changes with time alone.
fn accounts(site: &Site) -> BTreeMap<String, (String, u64)> {
    let all = site.run(&["statement", "--all", "--json"]);
    let lines = all.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let text = |name: &str| line[name].as_str().expect("a text").to_owned();
        let requests = line["requests"].as_u64().unwrap_or(0);
        (
            format!("{} {}", text("kind"), text("id")),
            (text("total"), requests),
        )
    });
    lines.collect()
}

fn requests(accounts: &BTreeMap<String, (String, u64)>) -> u64 {
    let users = accounts.iter().filter(|(id, _)| id.starts_with("user "));
    users.map(|(_, (_, requests))| requests).sum()
}

fn emit(site: &Site, seed: &str, at: &str) {
    let what = [
        "emit", "--clean", "--events", "300", "--seed", seed, "--at", at,
    ];
    site.run(&what);
    site.run(&["wait", "--timeout", "90s"]);
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn a_move_to_kafka_and_dynamodb_takes_every_account_along_and_still_knows_what_was_counted() {
    let Some(bootstrap) = broker::bootstrap() else {
        return;
    };
    let prefix = broker::prefix();
    let at = jiff::Timestamp::now().to_string();
    let mut site = Site::new();
    site.run(&["init"]);
    site.run(&["pricing", "init", "testnet"]);
    let mut up = site.up();
    up.wait_ready();
    emit(&site, "1", &at);
    let first = accounts(&site);
    assert_eq!(requests(&first), 300);
    // Stopped right after more was sent: a polite stop leaves nothing on the way.
    let more = [
        "emit", "--clean", "--events", "200", "--seed", "2", "--at", &at,
    ];
    site.run(&more);
    let (status, _) = up.stop();
    assert_eq!(status.code(), Some(0));

    // What was sent and not rated yet is still to be rated on the old log.
    let mut up = site.up();
    up.wait_ready();
    site.run(&["wait", "--timeout", "90s"]);
    let before = accounts(&site);
    assert_eq!(requests(&before), 500);
    up.stop();

    // The log moves: a new epoch on Kafka, the same store.
    site.set(&[
        ("TIDEMARK_LOG_ENGINE", "kafka"),
        ("TIDEMARK_LOG_EPOCH", "1"),
        ("TIDEMARK_KAFKA_BOOTSTRAP", bootstrap),
        ("TIDEMARK_KAFKA_TOPIC_PREFIX", &prefix),
    ]);
    site.run(&["topics", "apply", "--replication-factor", "1"]);
    let mut up = site.up();
    up.wait_ready();
    emit(&site, "3", &at);
    let after = accounts(&site);
    assert_eq!(requests(&after), 800);
    // Gateways that send again what the old log had are known.
    emit(&site, "1", &at);
    assert_eq!(accounts(&site), after);
    site.run(&["doctor"]);
    let (status, _) = up.stop();
    assert_eq!(status.code(), Some(0));

    // The store moves, too; from here on any number of workers may share the work.
    let store = embedded_endpoint().to_owned();
    let cluster = Cluster {
        bootstrap: bootstrap.to_owned(),
        prefix,
        store: store.clone(),
        store_of_workers: store,
    };
    let file = site.file("cluster.toml");
    fs::write(&file, cluster.config(&cluster.store)).expect("a file");
    let file = file.to_str().expect("UTF-8").to_owned();
    site.run(&["tables", "copy", "--into", &file]);
    let again = site.try_run(&["tables", "copy", "--into", &file]);
    assert_eq!(again.code, Some(2), "{}", again.stderr);
    assert!(again.stderr.contains("is not empty"), "{}", again.stderr);
    let mut site = Site::on(cluster);
    let epoch = [("TIDEMARK_LOG_EPOCH", "1")];
    site.set(&epoch);
    assert_eq!(accounts(&site), after);
    let mut worker = site.worker("worker", &epoch);
    worker.wait_ready();
    emit(&site, "4", &at);
    let end = accounts(&site);
    assert_eq!(requests(&end), 1_100);
    assert!(after.keys().all(|account| end.contains_key(account)));
    site.run(&["doctor"]);
    assert_eq!(worker.stop().0.code(), Some(0));
}
