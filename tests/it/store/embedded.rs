//! The embedded engine as a process holds it: its directory, its lock, its death.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tidemark::ops::retry::RetryPolicy;
use tidemark::store::db::{Condition, Db, Key, StoreError, Table};
use tidemark::store::dynamo::settings::RETRIES;
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};
use tidemark::store::embedded::{EmbeddedClient, EmbeddedError, EmbeddedStore};
use tidemark::store::tables::create_tables;

use super::laws::{item, key, n, put};
use super::{client, run};

/// Names the directory to the process that is to be killed.
const DIR: &str = "TIDEMARK_TEST_EMBEDDED_DIR";

fn open(dir: &Path) -> (EmbeddedStore, DynamoDb) {
    let store = EmbeddedStore::open(dir).unwrap();
    let db = client(&DynamoSettings {
        durability: Some(store.durability()),
        ..DynamoSettings::embedded(store.client())
    });
    (store, db)
}

#[test]
fn its_data_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let (store, db) = open(dir.path());
        create_tables(&db).await.unwrap();
        db.write(put(&key("p", "r"), 7, Condition::Absent))
            .await
            .unwrap();
        assert!(store.shutdown(Duration::from_secs(10)).await);
        let (store, db) = open(dir.path());
        assert!(create_tables(&db).await.unwrap().created.is_empty());
        let found = db.get(&key("p", "r")).await.unwrap().unwrap();
        assert_eq!(found.get("value"), Some(&n(7)));
        assert!(store.shutdown(Duration::from_secs(10)).await);
    });
}

/// The sockets of this process that listen, of whatever kind, but for Unix sockets.
fn listening() -> usize {
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().map(str::to_owned).collect::<Vec<_>>())
        // State 0A is LISTEN; the tenth column is the inode, which the process must hold to be the listener.
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            (columns.get(3) == Some(&"0A")).then(|| format!("socket:[{}]", columns[9]))
        })
        .filter(|socket| holds(socket))
        .count()
}

fn holds(socket: &str) -> bool {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let mut open = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    open.any(|target| target.to_str() == Some(socket))
}

/// Not a test of its own: a process in which nothing else opens sockets.
#[test]
#[ignore = "run by no_port_is_open_and_the_socket_is_for_its_user_alone"]
fn the_process_that_listens() {
    let Ok(dir) = std::env::var(DIR) else { return };
    run(async {
        let (mut store, db) = open(Path::new(&dir));
        store.listen().unwrap();
        create_tables(&db).await.unwrap();
        assert_eq!(listening(), 0);
        // It would be seen if there were one.
        let _one = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(listening(), 1);
        let over_socket = client(&DynamoSettings::embedded(EmbeddedClient::over_socket(
            Path::new(&dir),
        )));
        let write = put(&key("p", "r"), 7, Condition::Absent);
        over_socket.write(write.clone()).await.unwrap();
        let again = over_socket.write(write).await;
        assert_eq!(again, Err(StoreError::ConditionFailed));
        let found = db.get(&key("p", "r")).await.unwrap().unwrap();
        assert_eq!(found.get("value"), Some(&n(7)));
        let socket = std::fs::metadata(Path::new(&dir).join("store.sock")).unwrap();
        assert_eq!(socket.permissions().mode() & 0o777, 0o600);
        assert!(store.shutdown(Duration::from_secs(10)).await);
        assert!(!Path::new(&dir).join("store.sock").exists());
        let closed = over_socket.get(&key("p", "r")).await.unwrap_err();
        assert!(matches!(closed, StoreError::Unavailable(_)), "{closed}");
    });
    println!("the process that listens is done");
}

#[test]
fn no_port_is_open_and_the_socket_is_for_its_user_alone() {
    let dir = tempfile::tempdir().unwrap();
    // Longer than the address of a Unix socket may be.
    let long = dir.path().join("long".repeat(30));
    for dir in [dir.path().join("short"), long] {
        let ran = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::embedded::the_process_that_listens"])
            .args(["--ignored", "--nocapture", "--test-threads", "1"])
            .env(DIR, &dir)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        let is_done = said.contains("the process that listens is done");
        assert!(ran.status.success() && is_done, "{said}");
    }
}

#[test]
fn a_request_after_the_end_is_known_not_to_have_been_sent() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let (store, _) = open(dir.path());
        let db = client(&DynamoSettings {
            retries: RetryPolicy {
                attempts_max: 2,
                ..RETRIES
            },
            ..DynamoSettings::embedded(store.client())
        });
        create_tables(&db).await.unwrap();
        assert!(store.shutdown(Duration::from_secs(10)).await);
        let write = db.write(put(&key("p", "r"), 1, Condition::Absent)).await;
        // An unknown outcome would be `Unanswered`.
        assert!(
            matches!(write, Err(StoreError::Unavailable(_))),
            "{write:?}"
        );
    });
}

#[test]
fn writes_that_are_answered_together_are_synced_together() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let (store, db) = open(dir.path());
        create_tables(&db).await.unwrap();
        let durability = store.durability();
        assert!(dir.path().join("dynamodb.sqlite-wal").exists());
        let before = durability.syncs();
        let rows = (0..1_000).map(|i| item(&key(&format!("h{i}"), "r"), &[("value", n(i))]));
        db.put_all(Table::Checkpoints, rows.collect())
            .await
            .unwrap();
        assert_eq!(durability.syncs(), before + 1, "one batch, one sync");
        let writes =
            (0..64).map(|i| db.write(put(&key("p", &format!("{i}")), 1, Condition::Absent)));
        futures::future::try_join_all(writes).await.unwrap();
        let syncs = durability.syncs() - before - 1;
        assert!((1..=64).contains(&syncs), "{syncs}");
        db.put_all(Table::Checkpoints, Vec::new()).await.unwrap();
        assert!(store.shutdown(Duration::from_secs(10)).await);
    });
}

#[test]
fn a_write_that_cannot_be_synced_is_not_answered_as_written() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let store = EmbeddedStore::open(dir.path()).unwrap();
        let settings = DynamoSettings {
            durability: Some(EmbeddedStore::durability_of(&dir.path().join("elsewhere"))),
            ..DynamoSettings::embedded(store.client())
        };
        let db = client(&settings);
        create_tables(&db).await.unwrap();
        let write = || db.write(put(&key("p", "r"), 1, Condition::Always));
        for _ in 0..2 {
            let error = write().await.unwrap_err();
            assert!(matches!(&error, StoreError::Unanswered(why) if why.contains("synced")));
        }
        assert!(store.shutdown(Duration::from_secs(10)).await);
    });
}

#[test]
fn a_directory_is_open_in_one_place_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let second = EmbeddedStore::open(dir.path());
    assert!(matches!(second, Err(EmbeddedError::InUse(_))));
    assert!(run(store.shutdown(Duration::from_secs(10))));
    open(dir.path());
}

#[test]
fn a_file_that_is_no_database_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dynamodb.sqlite");
    std::fs::write(&file, "no database at all ".repeat(1_000)).unwrap();
    let error = EmbeddedStore::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("dynamodb.sqlite"), "{error}");
}

/// Not a test of its own: the process that the next one kills. Prints a number for every acknowledged write.
#[test]
#[ignore = "run by what_was_acknowledged_is_there_after_kill_9"]
fn the_process_that_is_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    run(async {
        let (_store, db) = open(Path::new(&dir));
        create_tables(&db).await.unwrap();
        let begin = db.scan(Table::Checkpoints, None).await.unwrap();
        let begin = begin.items.len() as u64 * 1_000;
        let writers = (0..4).map(|writer| {
            let db = &db;
            async move {
                for i in 0.. {
                    let number = begin + i * 4 + writer;
                    let at = |part: &str| key(&format!("w{writer}"), &format!("{number}{part}"));
                    let pair = vec![
                        put(&at("a"), 1, Condition::Absent),
                        put(&at("b"), 1, Condition::Absent),
                    ];
                    db.transact(pair).await.unwrap();
                    println!("acknowledged {writer} {number}");
                }
            }
        });
        futures::future::join_all(writers).await;
    });
}

#[test]
fn what_was_acknowledged_is_there_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::embedded::the_process_that_is_killed"])
            .args(["--ignored", "--nocapture", "--test-threads", "1"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut left = 100 * round;
        for line in lines {
            let line = line.unwrap_or_default();
            let mut words = line.split(' ').skip_while(|word| *word != "acknowledged");
            if let (Some(_), Some(writer), Some(number)) =
                (words.next(), words.next(), words.next())
            {
                acknowledged.push((writer.to_owned(), number.to_owned()));
                left -= 1;
            }
            // Killed in the middle of the load; what it printed before it died is read to the end.
            if left == 0 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(left <= 0, "the process died by itself");
    }
    run(async {
        let (_store, db) = open(dir.path());
        let keys: Vec<Key> = acknowledged
            .iter()
            .flat_map(|(writer, number)| {
                ["a", "b"].map(|part| key(&format!("w{writer}"), &format!("{number}{part}")))
            })
            .collect();
        assert!(keys.len() >= 1_200);
        let found = db.batch_get(&keys).await.unwrap();
        let lost = found.iter().filter(|item| item.is_none()).count();
        assert_eq!(lost, 0);
        // No half of a transaction either: the file holds pairs only.
        let (mut items, mut after) = (0, None);
        loop {
            let page = db.scan(Table::Checkpoints, after).await.unwrap();
            items += page.items.len();
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(items % 2, 0);
    });
}
