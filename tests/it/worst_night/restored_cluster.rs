//! Real Kafka and, where there is one, DynamoDB Local: all tables go back to an earlier moment, each
//! to one of its own, while the log goes on.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use tidemark::store::db::{Item, Key, Table};
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};

use crate::kafka::broker;
use crate::kafka::until;
use crate::process::books::{self, Books};
use crate::process::site::{Cluster, Site, Up};
use crate::store::feed_rows::{items_of, restore};
use crate::store::{client, dynamodb_local, embedded_endpoint};

const WITHIN: Duration = Duration::from_secs(60);
/// Between two tables of a restore.
const APART: Duration = Duration::from_millis(200);

type Tables = BTreeMap<Table, BTreeMap<Key, Item>>;

/// A cluster, and its tables.
pub(super) struct Stage {
    pub(super) site: Site,
    pub(super) db: DynamoDb,
    pub(super) runtime: tokio::runtime::Runtime,
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.site.show_logs();
        }
    }
}

impl Stage {
    /// `None`: there is no broker.
    pub(super) fn new() -> Option<Stage> {
        let bootstrap = broker::bootstrap()?;
        let store = dynamodb_local().unwrap_or_else(|| embedded_endpoint().to_owned());
        let cluster = Cluster {
            bootstrap: bootstrap.to_owned(),
            prefix: broker::prefix(),
            store: store.clone(),
            store_of_workers: store.clone(),
        };
        let settings = DynamoSettings {
            prefix: cluster.prefix.clone(),
            ..DynamoSettings::local(&store)
        };
        Some(Stage {
            site: Site::on(cluster),
            db: client(&settings),
            runtime: tokio::runtime::Runtime::new().unwrap(),
        })
    }

    pub(super) fn workers(&self) -> [Up; 2] {
        ["one", "two"].map(|name| {
            let mut worker = self.site.worker(name, &[]);
            worker.wait_ready();
            worker
        })
    }

    /// Copies one table after the other while everybody works.
    fn copy(&self) -> Tables {
        // Rows are older than the checkpoints, codes and links newer.
        let order = [
            Table::UserPoints,
            Table::UsageTracking,
            Table::StreakTracking,
            Table::Checkpoints,
            Table::ProviderRewards,
            Table::UserCredits,
            Table::PricingConfig,
            Table::ReferralCodes,
            Table::ReferralRelationships,
        ];
        let mut tables = Tables::new();
        for table in order {
            let items = self.runtime.block_on(items_of(&self.db, table));
            tables.insert(table, items);
            if table == Table::Checkpoints {
                // Lost with what is older; its row is not.
                link(&self.site, ["user-9001", "user-9002"]);
            }
            std::thread::sleep(APART);
        }
        tables
    }

    fn put_back(&self, tables: &Tables) {
        self.runtime.block_on(async {
            for (table, items) in tables {
                restore(&self.db, *table, items).await;
            }
        });
    }
}

fn link(site: &Site, [referee, referrer]: [&str; 2]) {
    let file = site.file("link.jsonl");
    let line = json!({"referee": ["user", referee], "referrer": ["user", referrer]});
    std::fs::write(&file, line.to_string()).unwrap();
    site.run(&["referral", "import", file.to_str().expect("UTF-8")]);
}

pub(super) fn sum(workers: &[Up], metric: &str) -> f64 {
    let values = workers.iter().filter_map(|worker| worker.metric(metric));
    values.sum()
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn on_kafka_and_dynamodb_tables_of_several_moments_are_recovered_and_every_sum_is_the_oracles() {
    let Some(stage) = Stage::new() else {
        return;
    };
    let site = &stage.site;
    let links = books::found(site);
    let workers = stage.workers();
    // No award is on its way when the copy is taken: those are not reconciled.
    site.run(&["wait", "--timeout", "60s"]);
    let start = Instant::now();
    // Little, because DynamoDB Local takes little.
    let what = ["emit", "--events", "1200", "--seed", "20261201"];
    let send = [&what[..], &["--rate", "60", "--patience", "10m"]].concat();
    let mut load = site.command(&send);
    let mut load = load.stdout(Stdio::null()).spawn().unwrap();
    let chunks = || sum(&workers, "tidemark_chunks_total");
    let rated = |more: f64| {
        let before = chunks();
        until(2 * WITHIN, "rating", || chunks() >= before + more);
    };
    rated(4.0);
    let tables = stage.copy();
    rated(8.0);
    let [one, two] = workers;
    one.kill();
    two.stop();
    stage.put_back(&tables);
    eprintln!("tables are back after {:?}", start.elapsed());

    let workers = stage.workers();
    let is_halted = |worker: &Up| {
        let is_told = |line: &str| line.contains("\"tables_behind_log\"") && line.ends_with(" 1");
        let metrics = crate::process::site::get(&worker.url("/metrics"));
        metrics.is_some_and(|text| text.lines().any(is_told))
    };
    until(WITHIN, "a halt", || workers.iter().any(is_halted));
    // A restart cures no halt, so the processes stay ready.
    for worker in &workers {
        assert_eq!(super::readiness::probe(worker).0, 200);
    }
    let doctor = site.try_run(&["doctor"]);
    assert_eq!(doctor.code, Some(1), "{}", doctor.stdout);
    for text in ["tables_behind_log", "tidemark recover"] {
        assert!(doctor.stdout.contains(text), "{text}: {}", doctor.stdout);
    }
    let beside = site.try_run(&["recover", "--yes"]);
    assert_eq!(beside.code, Some(1), "{}", beside.stdout);
    assert!(beside.stderr.contains("stop every"), "{}", beside.stderr);
    for worker in workers {
        assert_eq!(worker.stop().0.code(), Some(0));
    }
    let done = site.run(&["recover", "--yes", "--reason", "a test"]);
    assert!(done.contains("rated again"), "{done}");
    for text in [
        "newer than the control feed",
        "ReferralRelationships/user-9001/user",
        "could not be verified",
    ] {
        assert!(done.contains(text), "{text}: {done}");
    }
    let again = site.run(&["recover", "--yes"]);
    assert!(again.contains("nothing to recover"), "{again}");

    let workers = stage.workers();
    site.run(&["resume", "--all", "--reason", "recovered"]);
    assert!(load.wait().unwrap().success());
    site.run(&["wait", "--timeout", "2m"]);
    let books = Books::read(site);
    books.equal_the_oracle_of_a_part(&links);
    site.run(&["doctor"]);
    for worker in workers {
        assert_eq!(worker.stop().0.code(), Some(0));
    }
    eprintln!("{}; {:?} in all", books.summary(), start.elapsed());
}
