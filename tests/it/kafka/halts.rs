//! What contradicts itself halts by its own name, touches nothing, and goes on once the cause is gone and it is resumed.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::topic_partition_list::TopicPartitionList;
use tidemark::store::checkpoints;
use tidemark::store::db::{Attr, Condition, Db, Item, Key, Table, Write};
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};

use super::broker;
use crate::process::site::{Cluster, Site, Up};
use crate::store::{client, embedded_endpoint};

const WAIT: Duration = Duration::from_secs(90);

fn until(what: &str, holds: impl FnMut() -> bool) {
    super::until(WAIT, what, holds);
}

/// A cluster with some work done.
struct Stage {
    site: Site,
    cluster: Cluster,
    db: DynamoDb,
    runtime: tokio::runtime::Runtime,
}

impl Stage {
    fn new() -> Option<(Stage, Up)> {
        let bootstrap = broker::bootstrap()?;
        let store = embedded_endpoint().to_owned();
        let cluster = Cluster {
            bootstrap: bootstrap.to_owned(),
            prefix: broker::prefix(),
            store: store.clone(),
            store_of_workers: store.clone(),
        };
        let site = Site::on(cluster.clone());
        site.run(&["pricing", "init", "testnet"]);
        let settings = DynamoSettings {
            prefix: cluster.prefix.clone(),
            ..DynamoSettings::local(&store)
        };
        let stage = Stage {
            site,
            cluster,
            db: client(&settings),
            runtime: tokio::runtime::Runtime::new().unwrap(),
        };
        let mut worker = stage.site.worker("worker", &[]);
        worker.wait_ready();
        stage.emit(1);
        stage.site.run(&["wait", "--timeout", "90s"]);
        Some((stage, worker))
    }

    fn emit(&self, seed: u32) {
        self.emit_many(300, seed);
    }

    fn emit_many(&self, events: u32, seed: u32) {
        let (events, seed) = (events.to_string(), seed.to_string());
        self.site
            .run(&["emit", "--clean", "--events", &events, "--seed", &seed]);
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", &self.cluster.bootstrap);
        config.create().unwrap()
    }

    fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.cluster.prefix)
    }

    fn halts(&self) -> Vec<checkpoints::HaltRecord> {
        let found = self.runtime.block_on(checkpoints::halts(&self.db));
        found.unwrap()
    }

    /// Waits until just these tasks have halted with this code; what they say.
    fn halted(&self, code: &str, tasks: &[&str]) -> String {
        let wanted: BTreeSet<&str> = tasks.iter().copied().collect();
        until(&format!("{tasks:?} halt with {code}"), || {
            let halts = self.halts();
            let is: BTreeSet<&str> = halts.iter().map(|halt| halt.task.as_str()).collect();
            let codes = halts.iter().all(|halt| halt.code == code);
            assert!(codes, "{halts:?}");
            is == wanted
        });
        let printed = self.site.try_run(&["doctor"]);
        assert_eq!(printed.code, Some(1), "{}", printed.stdout);
        assert!(printed.stdout.contains(code), "{}", printed.stdout);
        printed.stdout
    }

    fn resume(&self, tasks: &[&str]) {
        for task in tasks {
            let resume = ["resume", task, "--reason", "a test"];
            self.site.run(&resume);
        }
    }

    fn statements(&self) -> String {
        self.site.statements().join("\n")
    }

    fn totals(&self) -> u64 {
        let all = self.statements();
        let count = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["requests"].as_u64().unwrap_or(0)
        };
        all.lines()
            .filter(|line| line.contains("\"user\""))
            .map(count)
            .sum()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.site.show_logs();
        }
    }
}

const RATE: [&str; 4] = ["rate/0", "rate/1", "rate/2", "rate/3"];
const POST: [&str; 4] = ["post/0", "post/1", "post/2", "post/3"];

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn a_topic_that_was_deleted_and_created_again_halts_and_a_new_epoch_goes_on_with_every_account() {
    let Some((stage, worker)) = Stage::new() else {
        return;
    };
    let before = stage.statements();
    let name = stage.topic("usage.events");
    let gone = stage.admin();
    let deleted = stage
        .runtime
        .block_on(gone.delete_topics(&[&name], &AdminOptions::new()));
    assert!(deleted.unwrap()[0].is_ok());
    until("the topic is created again", || {
        let apply = [
            "topics",
            "apply",
            "--replication-factor",
            "1",
            "--recreate-lost",
        ];
        stage.site.try_run(&apply).code == Some(0)
    });
    stage.halted("log_recreated", &RATE);
    // Another number than in the first epoch: its blocks stand in the topic that was kept.
    stage.emit_many(500, 2);
    // The cause is still there: what is resumed halts again, and nothing has changed.
    stage.resume(&RATE[..1]);
    stage.halted("log_recreated", &RATE);
    assert_eq!(stage.statements(), before);
    let counted = stage.totals();

    // Both roles are drained, so the new topic may be a new epoch.
    let (status, _) = worker.stop();
    assert_eq!(status.code(), Some(0));
    let resumed = stage.site.run(&["resume", "--all", "--reason", "a test"]);
    for task in RATE {
        assert!(resumed.contains(&format!("{task} continues")), "{resumed}");
    }
    let none = stage.site.try_run(&["resume", "--all"]);
    assert_eq!(none.code, Some(2), "{}", none.stderr);
    let mut worker = stage.site.worker("next", &[("TIDEMARK_LOG_EPOCH", "1")]);
    worker.wait_ready();
    until("the events of the new epoch are counted", || {
        stage.totals() == counted + 500
    });
    assert!(stage.halts().is_empty(), "{:?}", stage.halts());
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn a_changed_partition_count_halts_every_task_and_nothing_is_counted_meanwhile() {
    let Some((stage, _worker)) = Stage::new() else {
        return;
    };
    let before = stage.statements();
    let name = stage.topic("ledger.postings");
    let more = [NewPartitions::new(&name, 6)];
    let admin = stage.admin();
    let made = stage
        .runtime
        .block_on(admin.create_partitions(&more, &AdminOptions::new()));
    assert!(made.unwrap()[0].is_ok());
    // A topic is believed to be what it was for a second. What is rated within it is right, but would be counted.
    stage.halted("partitions_changed", &POST);
    stage.emit(2);
    let all = [RATE, POST].concat();
    let said = stage.halted("partitions_changed", &all);
    assert!(said.contains("had 4 partitions and now has 6"), "{said}");
    stage.resume(&["post/0"]);
    stage.halted("partitions_changed", &all);
    assert_eq!(stage.statements(), before);
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn records_that_were_cut_off_before_they_were_rated_halt_their_partition_alone() {
    let Some((stage, worker)) = Stage::new() else {
        return;
    };
    worker.kill();
    stage.emit(2);
    let counted = stage.totals();
    let mut cut = TopicPartitionList::new();
    cut.add_partition_offset(&stage.topic("usage.events"), 2, rdkafka::Offset::End)
        .unwrap();
    let admin = stage.admin();
    let done = stage
        .runtime
        .block_on(admin.delete_records(&cut, &AdminOptions::new()));
    done.unwrap();
    let mut worker = stage.site.worker("next", &[]);
    worker.wait_ready();
    stage.halted("log_truncated", &["rate/2"]);
    until("the other partitions go on", || {
        stage.totals() > counted && worker.metric("tidemark_events_rated_total") > Some(100.0)
    });
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn a_row_that_is_deleted_under_a_running_worker_halts_its_partition_until_it_is_back() {
    let Some((stage, _worker)) = Stage::new() else {
        return;
    };
    let head = stage.runtime.block_on(any_row(&stage.db));
    let user = match head.get("userId") {
        Some(Attr::S(user)) => user.clone(),
        other => panic!("no user: {other:?}"),
    };
    let before = stage.statements();
    stage.runtime.block_on(delete(&stage, &head));
    let event = serde_json::json!({
        "requestId": "after-the-row-was-deleted", "userId": user, "endpoint": "/v1/scrape",
        "timestamp": jiff::Timestamp::now().to_string(), "statusCode": 200,
    });
    let file = stage.site.file("one.jsonl");
    std::fs::write(&file, format!("{event}\n")).unwrap();
    let file = file.to_str().unwrap();
    stage.site.run(&["emit", "--file", file]);
    until("a posting partition halts", || !stage.halts().is_empty());
    let halts = stage.halts();
    assert_eq!(halts.len(), 1, "{halts:?}");
    assert_eq!(halts[0].code, "row_regressed", "{halts:?}");
    let task = halts[0].task.clone();

    stage
        .runtime
        .block_on(stage.db.put_all(Table::UserPoints, vec![head]))
        .unwrap();
    stage.resume(&[&task]);
    stage.site.run(&["wait", "--timeout", "90s"]);
    assert_ne!(stage.statements(), before, "the event is counted now");
    assert!(stage.halts().is_empty());
    stage.site.run(&["doctor"]);
}

/// A row of an account, as it stands.
async fn any_row(db: &DynamoDb) -> Item {
    let page = db.scan(Table::UserPoints, None).await.unwrap();
    page.items
        .into_iter()
        .find(|item| item.contains_key("fence"))
        .expect("an account has a row")
}

/// Deletes a row past tidemark.
async fn delete(stage: &Stage, row: &Item) {
    let text = |name: &str| match row.get(name) {
        Some(Attr::S(text)) => text.clone(),
        other => panic!("{name}: {other:?}"),
    };
    let key = Key {
        table: Table::UserPoints,
        hash: text("userId"),
        range: text("month"),
    };
    let condition = Condition::Present;
    let deleted = stage.db.write(Write::Delete { key, condition }).await;
    deleted.unwrap();
}
