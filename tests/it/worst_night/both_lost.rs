//! Tables and log are lost; there is a copy of each, the one of the tables older.

use std::fs;

use super::copies::run_the_documented_copy;
use super::on_call::{doctor_says, sums_equal_the_oracle};
use super::restored_tables::copy;
use crate::process::site::Site;

fn emit(site: &Site, at: &str, seed: &str) {
    let what = [
        "emit", "--clean", "--events", "400", "--seed", seed, "--at", at,
    ];
    site.run(&what);
    site.run(&["wait", "--timeout", "60s"]);
}

/// Copies while the process stands still, as docs/backup.md has it.
#[test]
fn a_log_and_older_tables_from_copies_go_on_and_what_is_sent_again_makes_them_whole() {
    let site = Site::new();
    let at = jiff::Timestamp::now().to_string();
    let (newer, store) = (site.file("backup"), site.file("store"));
    site.run(&["init"]);
    site.run(&["pricing", "init", "testnet"]);
    let mut up = site.up();
    up.wait_ready();
    emit(&site, &at, "1");
    up.signal("STOP");
    copy(&site.data().join("store"), &store);
    up.signal("CONT");
    emit(&site, &at, "2");
    run_the_documented_copy(&site);
    let copied = site.statements();
    emit(&site, &at, "3");
    let before = site.statements();
    assert_ne!(copied, before);
    up.kill();
    fs::remove_dir_all(site.data()).expect("a removal");

    // The newest copy of the log, and an older one of the tables.
    copy(&newer, &site.data());
    fs::remove_dir_all(site.data().join("store")).expect("a removal");
    copy(&store, &site.data().join("store"));
    doctor_says(&site, &["is not running", "records wait to be rated"]);
    let planned = site.run(&["recover", "--dry-run"]);
    assert!(planned.contains("to be rated again"), "{planned}");
    let done = site.run(&["recover", "--yes", "--reason", "the disk is lost"]);
    assert!(done.contains("rated again"), "{done}");
    let mut up = site.up();
    up.wait_ready();
    site.run(&["wait", "--timeout", "60s"]);
    assert_eq!(site.statements(), copied);
    // What came after the copy of the log is sent again, with all the rest.
    for seed in ["1", "2", "3"] {
        emit(&site, &at, seed);
    }
    assert_eq!(site.statements(), before);
    sums_equal_the_oracle(&site);
    site.run(&["doctor"]);
    up.stop();
}
