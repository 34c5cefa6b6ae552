//! The upgrade rehearsal: data of released versions, as a kill left it, under the program of today.
//!
//! `tests/fixtures/upgrade/make` writes a fixture with the program of a release. The one of 0.1.0 is
//! of the program of commit 7136952: rating semantics 3, no `ledger.cuts`, no reversals. So it stays
//! the past also while the version in Cargo.toml does not change.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::site::Site;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/upgrade");
/// The months in which the events of fixtures lie.
const MONTHS: [&str; 2] = ["2026-09", "2026-10"];
/// Events that are sent after the upgrade.
const MORE: usize = 40;

/// Every fixture, by its version.
fn versions() -> Vec<String> {
    let entries = fs::read_dir(FIXTURES).expect("the directory");
    let mut versions: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.expect("an entry").file_name();
            Some(name.to_str()?.strip_suffix(".tar.gz")?.to_owned())
        })
        .collect();
    versions.sort();
    assert!(!versions.is_empty(), "there are no fixtures");
    versions
}

/// A site with the data of a release, and the topics that it had.
fn site_of(version: &str) -> Site {
    let mut site = Site::new();
    let archive = Path::new(FIXTURES).join(format!("{version}.tar.gz"));
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("-C")
        .arg(site.file("."))
        .status();
    assert!(unpacked.expect("tar runs").success());
    let topics = site.file("topics").display().to_string();
    // Months have passed since the last record, and this machine may not have been up for as long.
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    site.set(&[
        ("TIDEMARK_LOG_TOPICS", &topics),
        ("TIDEMARK_LOG_CLOCK_CONFIRMED_UNTIL", &later.to_string()),
    ]);
    site
}

/// Statements by account and month, without what time alone changes; and credits by user.
fn by_account(lines: &str) -> BTreeMap<String, Value> {
    let parse = |line: &str| {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        let fields = line.as_object_mut().expect("an object");
        fields.remove("final");
        let name = match fields.get("userId") {
            Some(user) => format!("credits of {user}"),
            None => format!("{} {} {}", fields["kind"], fields["id"], fields["month"]),
        };
        (name, line)
    };
    lines.lines().map(parse).collect()
}

fn expected(version: &str) -> BTreeMap<String, Value> {
    let path: PathBuf = Path::new(FIXTURES).join(format!("{version}.expected.json"));
    by_account(&fs::read_to_string(path).expect("a file"))
}

fn found(site: &Site, expected: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut lines = String::new();
    for month in MONTHS {
        lines += &site.run(&["statement", "--all", "--json", "--month", month]);
    }
    let users = expected.values().filter_map(|line| line["userId"].as_str());
    for user in users {
        lines += &site.run(&["credits", "show", user, "--json"]);
    }
    by_account(&lines)
}

/// Events of this moment for one user who is known and one who is new.
fn more_events() -> String {
    let now = jiff::Timestamp::now();
    let event = |number: usize| {
        let user = ["user-1", "arrived-after-the-upgrade"][number % 2];
        serde_json::json!({
            "requestId": format!("after-{number}"), "userId": user, "providerId": "provider-1",
            "endpoint": "/v1/scrape", "timestamp": now.to_string(), "statusCode": 200,
        })
    };
    (0..MORE)
        .map(|number| format!("{}\n", event(number)))
        .collect()
}

fn requests(site: &Site, user: &str) -> u64 {
    let statement = site.run(&["statement", "user", user, "--json"]);
    let statement: Value = serde_json::from_str(&statement).expect("JSON");
    statement["requests"].as_u64().expect("a number")
}

#[test]
fn data_of_every_released_version_is_counted_on_to_the_same_statements() {
    for version in versions() {
        let site = site_of(&version);
        let expected = expected(&version);
        let mut up = site.up();
        up.wait_ready();
        site.run(&["wait", "--timeout", "60s"]);
        // The kill left events that had been taken and not rated: this program rated and posted them.
        let rated = up.metric("tidemark_events_rated_total").unwrap_or(0.0);
        assert!(
            rated >= 100.0,
            "{version}: {rated} events were left to rate"
        );
        assert_eq!(found(&site, &expected), expected, "{version}");

        let file = site.file("more.jsonl");
        fs::write(&file, more_events()).expect("a file");
        let file = file.display().to_string();
        // Twice: resends are recognised also after an upgrade.
        for _ in 0..2 {
            site.run(&["emit", "--file", &file]);
        }
        site.run(&["wait", "--timeout", "60s"]);
        for user in ["user-1", "arrived-after-the-upgrade"] {
            assert_eq!(requests(&site, user), MORE as u64 / 2, "{version}: {user}");
        }
        // Months that were counted before stay as they are. (Credits are no month's: requests cost.)
        let months = |lines: BTreeMap<String, Value>| -> BTreeMap<String, Value> {
            let is_month = |(_, line): &(String, Value)| line.get("month").is_some();
            lines.into_iter().filter(is_month).collect()
        };
        assert_eq!(
            months(found(&site, &expected)),
            months(expected.clone()),
            "{version}"
        );
        site.run(&["doctor"]);
        let (status, _) = up.stop();
        assert_eq!(status.code(), Some(0), "{version}");
        site.log_is_clean();
    }
}
