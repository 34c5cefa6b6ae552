//! Killed with -9: what was acknowledged is there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

const DIR: &str = "TIDEMARK_TEST_CRASH_DIR";

/// What a record says, so that the reader can tell whether it is the right one.
fn content(partition: u32, offset: u64) -> String {
    format!(
        "{partition}/{offset}/{}",
        "x".repeat((offset % 700) as usize)
    )
}

/// Not a test by itself: the process that is killed. Appends to two partitions, one task each, and says what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let (log, _) = open(Path::new(&dir));
    let log = Arc::new(log);
    let writers = (0..2).map(|partition| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            loop {
                let end = log
                    .bounds(EVENTS, Partition(partition))
                    .await
                    .unwrap()
                    .end
                    .0;
                let records =
                    (end..end + 1 + end % 40).map(|offset| record(content(partition, offset)));
                let offsets = log
                    .append(EVENTS, Partition(partition), records.collect())
                    .await
                    .unwrap();
                let last = offsets.last().unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "ack {partition} {last}").unwrap();
                out.flush().unwrap();
            }
        })
    });
    futures::future::join_all(writers).await;
}

/// Runs the child for a while, kills it, and returns the last acknowledged offset of each partition.
fn run_and_kill(dir: &Path, after: Duration) -> BTreeMap<u32, u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "log::embedded::crash::child_that_appends_until_it_is_killed",
            "--nocapture",
        ])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut acknowledged = BTreeMap::new();
        for line in out.lines().map_while(Result::ok) {
            let words: Vec<&str> = line.split(' ').collect();
            // The test runner prints too; a line that the kill cut has fewer words.
            if let ["ack", partition, offset] = words[..]
                && let (Ok(partition), Ok(offset)) = (partition.parse(), offset.parse())
            {
                acknowledged.insert(partition, offset);
            }
        }
        acknowledged
    });
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[tokio::test]
async fn whatever_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut total = 0;
    for round in 0..6u64 {
        let acknowledged = run_and_kill(dir.path(), Duration::from_millis(250 + round * 97));
        let (log, report) = open(dir.path());
        assert_eq!(report.damaged().count(), 0, "{report}");
        for (partition, last) in acknowledged {
            let texts = texts(&log, partition, 0).await;
            assert!(
                texts.len() as u64 > last,
                "{partition}: {} records, {last} was acknowledged",
                texts.len()
            );
            for (offset, text) in (0..).zip(&texts) {
                assert_eq!(*text, content(partition, offset));
            }
            total = total.max(last);
        }
        log.close().await;
    }
    assert!(
        total > 500,
        "only {total} records were acknowledged: this run showed little"
    );
}

const FULL_DIR: &str = "TIDEMARK_TEST_FULL_DIR";

/// Not a test by itself: the process whose files may not grow beyond a limit, as on a full disk.
#[tokio::test]
async fn child_whose_disk_is_full() {
    let Some(dir) = std::env::var_os(FULL_DIR) else {
        return;
    };
    let (log, _) = open(Path::new(&dir));
    append(&log, 0, &["acknowledged"]).await;
    let large = NewRecord {
        value: vec![3; 1_000_000].into(),
        ..NewRecord::default()
    };
    let refused = log
        .append(Topic::LedgerPostings, Partition(0), vec![large; 100])
        .await;
    assert!(
        matches!(refused, Err(LogError::Unavailable(_))),
        "{refused:?}"
    );
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("a write failed") && message.contains("by itself"),
        "{message}"
    );
    // It is opened again in this process, and what fits is taken.
    let started = std::time::Instant::now();
    while let Err(error) = log
        .append(EVENTS, Partition(0), vec![record("after")])
        .await
    {
        assert!(matches!(error, LogError::Unavailable(_)), "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(20), "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(texts(&log, 0, 0).await, ["acknowledged", "after"]);
    assert!(log.check_appends().await.is_ok());
    log.close().await;
    println!("\nthe child came to its end");
}

#[tokio::test]
async fn a_write_that_fails_is_refused_and_the_log_opens_itself_again() {
    let dir = tempfile::tempdir().unwrap();
    // 80 MB a file: room for the journal as it is created, not for the large append.
    let script = "trap '' XFSZ; ulimit -f $((80000000 / 512)); exec \"$0\" \"$@\"";
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "log::embedded::crash::child_whose_disk_is_full",
            "--nocapture",
        ])
        .env(FULL_DIR, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        said.contains("the child came to its end"),
        "{said}{}",
        String::from_utf8_lossy(&child.stderr)
    );

    let (log, report) = open(dir.path());
    assert_eq!(report.damaged().count(), 0, "{report}");
    assert_eq!(report.cut.len(), 0, "it was cut then: {report}");
    assert_eq!(texts(&log, 0, 0).await, ["acknowledged", "after"]);
    append(&log, 0, &["there is room again"]).await;
}
