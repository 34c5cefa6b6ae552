//! All checkpoints of rating are deleted while there is nothing to do, and everything is started again. Nothing seems to be
//! wrong then, but that posting has accepted what rating does not remember.

use std::time::Duration;

use tidemark::domain::position::Partition;
use tidemark::ops::health::{Role, TaskId};
use tidemark::store::checkpoints::{self, checkpoint_key};
use tidemark::store::db::{Condition, Db, Write};
use tokio::runtime::Runtime;

use super::restored_cluster::Stage;
use crate::kafka::until;
use crate::process::books::{self, Books};
use crate::process::site::{Site, Up};

const WITHIN: Duration = Duration::from_secs(90);
const PARTITIONS: u32 = 4;
const EVENTS: &str = "150";

/// `up`, or a worker of a cluster.
fn start(site: &Site, name: &str) -> Up {
    let mut up = match site.cluster() {
        None => site.up(),
        Some(_) => site.worker(name, &[]),
    };
    up.wait_ready();
    up
}

fn emit(site: &Site, at: &str, seed: &str) {
    let what = [
        "emit", "--clean", "--events", EVENTS, "--seed", seed, "--at", at,
    ];
    site.run(&what);
}

fn wait(site: &Site) {
    site.run(&["wait", "--timeout", "90s"]);
}

fn requests(site: &Site) -> u64 {
    site.requests_of_users().values().sum()
}

async fn delete_rate_checkpoints(site: &Site) {
    let db = books::store(site);
    for p in 0..PARTITIONS {
        let delete = Write::Delete {
            key: checkpoint_key(TaskId::new(Role::Rate, Partition(p))),
            condition: Condition::Present,
        };
        db.write(delete).await.expect("a checkpoint that is there");
    }
}

/// Waits until just the raters have halted, each with the same code.
fn raters_halt(site: &Site, runtime: &Runtime) {
    let db = books::store(site);
    until(WITHIN, "all raters halt", || {
        let halts = runtime.block_on(checkpoints::halts(&db));
        let halts = halts.expect("readable halts");
        for halt in &halts {
            assert!(halt.task.starts_with("rate/"), "{halt:?}");
            assert_eq!(halt.code, "tables_behind_log", "{halt:?}");
        }
        halts.len() == PARTITIONS as usize
    });
}

fn all_are_noticed_and_mended(site: &Site, runtime: &Runtime) {
    let links = books::found(site);
    let at = jiff::Timestamp::now().to_string();
    let up = start(site, "first");
    emit(site, &at, "1");
    wait(site);
    let before = site.statements();
    let counted = requests(site);
    assert_eq!(counted.to_string(), EVENTS);
    runtime.block_on(delete_rate_checkpoints(site));
    up.kill();

    // New events come in: none is rated, and none is lost.
    let up = start(site, "second");
    emit(site, &at, "2");
    raters_halt(site, runtime);
    let doctor = site.try_run(&["doctor"]);
    assert_eq!(doctor.code, Some(1), "{}", doctor.stdout);
    for text in ["tables_behind_log", "tidemark recover"] {
        assert!(doctor.stdout.contains(text), "{text}: {}", doctor.stdout);
    }
    // The cause is still there.
    site.run(&["resume", "--all", "--reason", "a try"]);
    raters_halt(site, runtime);
    assert_eq!(site.statements(), before);
    assert_eq!(up.stop().0.code(), Some(0));

    let done = site.run(&["recover", "--yes", "--reason", "checkpoints were deleted"]);
    assert!(done.contains("rated again"), "{done}");
    let again = site.run(&["recover", "--yes"]);
    assert!(again.contains("nothing to recover"), "{again}");
    let up = start(site, "third");
    site.run(&["resume", "--all", "--reason", "recovered"]);
    wait(site);
    assert_eq!(requests(site), 2 * counted);
    // Gateways that send everything again are known.
    let recovered = site.statements();
    for seed in ["1", "2"] {
        emit(site, &at, seed);
    }
    wait(site);
    assert_eq!(site.statements(), recovered);
    let books = Books::read(site);
    books.equal_the_oracle_of_a_part(&links);
    site.run(&["doctor"]);
    eprintln!("{}", books.summary());
    assert_eq!(up.stop().0.code(), Some(0));
}

#[test]
fn all_rate_checkpoints_that_are_deleted_on_an_idle_system_halt_and_recover_loses_no_event() {
    let runtime = Runtime::new().expect("a runtime");
    all_are_noticed_and_mended(&Site::new(), &runtime);
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn on_kafka_and_dynamodb_deleted_rate_checkpoints_halt_and_recover_loses_no_event() {
    let Some(stage) = Stage::new() else {
        return;
    };
    all_are_noticed_and_mended(&stage.site, &stage.runtime);
}
