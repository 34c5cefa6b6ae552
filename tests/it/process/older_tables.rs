//! Tables that are older than the log: restored from an earlier backup, or deleted.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::site::{Site, Up, get};

const HALT_MAX: Duration = Duration::from_secs(60);

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Sends events in a few requests, so that there are many chunks, and waits until they are visible.
fn work(site: &Site, seed: u32) {
    let mut up = site.up();
    up.wait_ready();
    let seed = seed.to_string();
    site.run(&[
        "emit", "--clean", "--events", "200", "--rate", "200", "--seed", &seed,
    ]);
    site.run(&["wait", "--timeout", "60s"]);
    up.stop();
}

fn leaderboard(site: &Site) -> String {
    site.run(&["leaderboard", "users", "--json"])
}

fn wait_halted(up: &mut Up, url: &str) {
    let start = Instant::now();
    let halted = |text: String| {
        let is_told =
            |line: &str| line.contains("reason=\"tables_behind_log\"") && line.ends_with(" 1");
        text.lines().any(is_told)
    };
    while !get(url).is_some_and(halted) {
        up.must_run();
        assert!(start.elapsed() < HALT_MAX, "no partition halted");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn tables_older_than_the_log_halt_instead_of_losing_events_and_the_newest_tables_go_on() {
    let site = Site::new();
    let (store, backup, newest) = (
        site.data().join("store"),
        site.file("backup"),
        site.file("newest"),
    );
    work(&site, 1);
    copy(&store, &backup);
    work(&site, 2);
    let before = leaderboard(&site);
    fs::rename(&store, &newest).expect("a move");
    for older in [Some(&backup), None] {
        if let Some(older) = older {
            copy(older, &store);
        }
        let mut up = site.up();
        up.wait_ready();
        wait_halted(&mut up, &site.url("/metrics"));
        let doctor = site.try_run(&["doctor"]);
        assert_eq!(doctor.code, Some(1), "{}", doctor.stdout);
        assert!(doctor.stdout.contains("newest tables"), "{}", doctor.stdout);
        up.stop();
        fs::remove_dir_all(&store).expect("a removal");
    }
    fs::rename(&newest, &store).expect("a move");
    let mut up = site.up();
    up.wait_ready();
    assert_eq!(leaderboard(&site), before);
    site.run(&["wait", "--timeout", "60s"]);
    site.run(&["doctor"]);
    up.stop();
}
