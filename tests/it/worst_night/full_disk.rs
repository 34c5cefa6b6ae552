//! A disk that is really full: a small file system in memory, filled to its last byte under `up`.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::on_call::{doctor_says, floods_nobody, sums_equal_the_oracle};
use super::readiness::{probe, send};
use crate::kafka::until;
use crate::process::books::{self, Books};
use crate::process::load::Load;
use crate::process::site::Site;

const WITHIN: Duration = Duration::from_secs(60);

/// A file system in memory. Unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(at: &Path, size: &str) -> Mount {
        fs::create_dir_all(at).expect("a directory");
        let options = format!("size={size},mode=700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at)
            .status();
        let is_mounted = mounted.is_ok_and(|status| status.success());
        assert!(is_mounted, "this test needs to mount a file system (root)");
        Mount(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a failed test may leave a process that is just being killed.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Takes every byte that is left.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("a file");
    let block = [0_u8; 64 << 10];
    while file.write_all(&block).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
}

#[test]
#[ignore = "needs root, to mount a file system: .ci/run kafka"]
fn a_full_disk_refuses_new_events_loses_none_and_goes_on_by_itself_when_there_is_space() {
    let mut site = Site::new();
    site.set(&[("TIDEMARK_LOGGING_FORMAT", "json")]);
    let _mount = Mount::new(&site.data(), "384m");
    let links = books::found(&site);
    let mut up = site.up();
    up.wait_ready();
    let key = fs::read_to_string(site.data().join("key")).expect("a key");
    let mut load = Load::start(&site, 20_261_203);
    until(WITHIN, "rating", || {
        up.metric("tidemark_events_rated_total").unwrap_or(0.0) > 600.0
    });
    let ballast = site.data().join("ballast");
    fill(&ballast);
    until(WITHIN, "it is told", || {
        let (status, said) = probe(&up);
        status == 503 && said["code"] == "log_disk_full"
    });
    assert_eq!(send(&up, &key, 2), 507);
    doctor_says(&site, &["log_disk_full", "free some space"]);
    // For a while, and also what was under way finds no byte.
    until(WITHIN, "reloads", || {
        let reloads = up.metric("tidemark_reloads_total").unwrap_or(0.0);
        fill(&site.data().join("more"));
        reloads > 0.0 || up.metric("tidemark_lag_records") == Some(0.0)
    });
    up.must_run();

    fs::remove_file(site.data().join("more")).expect("a file");
    fs::remove_file(ballast).expect("a file");
    until(WITHIN, "it is ready again", || probe(&up).0 == 200);
    load.finish();
    site.run(&["wait", "--timeout", "2m"]);
    let books = Books::read(&site);
    load.everything_is_in(&books.records);
    books.equal_the_oracle_of_a_part(&links);
    site.run(&["doctor"]);
    eprintln!("{} lines of trouble", floods_nobody(&up.said()));
    assert_eq!(up.stop().0.code(), Some(0));
}

/// Not full, but worse: every write fails for a while, in the middle of everything, log and store alike.
#[test]
fn a_disk_that_takes_no_write_for_a_while_is_told_and_passes_without_a_restart() {
    let mut site = Site::new();
    site.set(&[("TIDEMARK_LOGGING_FORMAT", "json")]);
    let links = books::found(&site);
    let mut up = site.up_with_limited_files();
    up.wait_ready();
    let key = fs::read_to_string(site.data().join("key")).expect("a key");
    let mut load = Load::start(&site, 20_261_204);
    until(WITHIN, "rating", || {
        up.metric("tidemark_events_rated_total").unwrap_or(0.0) > 600.0
    });
    up.limit_files("0");
    until(WITHIN, "it is told", || {
        let (status, said) = probe(&up);
        status == 503 && said["code"] == "log_unavailable"
    });
    assert_eq!(send(&up, &key, 2), 503);
    doctor_says(&site, &["New events are refused (503 log_unavailable)"]);
    until(WITHIN, "tasks that begin again", || {
        up.metric("tidemark_reloads_total").unwrap_or(0.0) >= 3.0
    });
    up.must_run();

    up.limit_files("unlimited");
    until(WITHIN, "it is ready again", || probe(&up).0 == 200);
    load.finish();
    site.run(&["wait", "--timeout", "2m"]);
    let books = Books::read(&site);
    load.everything_is_in(&books.records);
    books.equal_the_oracle_of_a_part(&links);
    assert!(site.run(&["doctor"]).contains("All is well."));
    let said = up.said();
    assert!(
        said.contains("log.append_failed") && said.contains("log.reopened"),
        "{said}"
    );
    eprintln!("{} lines of trouble", floods_nobody(&said));
    assert_eq!(up.stop().0.code(), Some(0));
}

/// SQLite must not go on, nor be closed, when its log could not be synced: the process ends, and what restarts it goes on.
#[test]
fn a_store_that_cannot_be_synced_ends_the_process_with_1_and_the_next_start_loses_nothing() {
    let site = Site::new();
    let mut up = site.up();
    up.wait_ready();
    let at = jiff::Timestamp::now().to_string();
    let emit = |seed: &'static str| {
        let what = [
            "emit", "--clean", "--events", "200", "--seed", seed, "--at", &at,
        ];
        [&what[..], &["--patience", "2s"]].concat().join(" ")
    };
    let run = |line: &str| site.try_run(&line.split(' ').collect::<Vec<_>>());
    assert_eq!(run(&emit("1")).code, Some(0));
    site.run(&["wait", "--timeout", "60s"]);
    let count = |site: &Site| site.requests_of_users().values().sum::<u64>();
    let before = count(&site);
    assert_eq!(before, 200);
    // The file that is to be synced is not found, nor is the database.
    let (store, aside) = (site.data().join("store"), site.file("aside"));
    fs::create_dir(&aside).expect("a directory");
    let files = ["dynamodb.sqlite", "dynamodb.sqlite-wal"];
    for file in files {
        fs::rename(store.join(file), aside.join(file)).expect("a move");
    }
    // Taken or refused: whoever sends it sends it again.
    run(&emit("2"));
    let said = site.file("up.log");
    assert_eq!(up.ended(WITHIN).code(), Some(1));
    let said = fs::read_to_string(said).expect("a log");
    assert!(
        said.contains("store.unsynced") && said.contains("process.failed"),
        "{said}"
    );
    assert!(
        said.contains("check the disk, then restart tidemark"),
        "{said}"
    );
    doctor_says_nothing_runs(&site, &aside, &store, &files);

    let mut up = site.up();
    up.wait_ready();
    assert_eq!(run(&emit("2")).code, Some(0));
    site.run(&["wait", "--timeout", "60s"]);
    assert_eq!(count(&site), 400);
    sums_equal_the_oracle(&site);
    assert!(site.run(&["doctor"]).contains("All is well."));
    assert_eq!(up.stop().0.code(), Some(0));
}

fn doctor_says_nothing_runs(site: &Site, aside: &Path, store: &Path, files: &[&str]) {
    for file in files {
        fs::rename(aside.join(file), store.join(file)).expect("a move");
    }
    doctor_says(site, &["`tidemark up` is not running on this data"]);
}
