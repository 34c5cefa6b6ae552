//! Commands on a log of which a part is damaged.

use std::path::Path;

use serde_json::Value;
use tidemark::domain::position::Partition;
use tidemark::log::usage_partition;

use super::{Place, chat};

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The log goes back to an older copy, but for the file that remembers how far it had come.
fn lose_the_newest_records(place: &Place) {
    let (log, old) = (place.path("data/log"), place.path("old"));
    let up = place.up(&[]);
    place.send(&[chat("1", "ann")]);
    place.wait();
    up.stop();
    copy(&log, &old);
    let up = place.up(&[]);
    place.send(&[chat("2", "ann"), chat("3", "ann")]);
    place.wait();
    up.stop();
    std::fs::copy(log.join("acknowledged"), old.join("acknowledged")).unwrap();
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::rename(old, log).unwrap();
}

#[test]
fn a_damaged_partition_is_named_and_keeps_nobody_from_the_tables() {
    let place = Place::new();
    lose_the_newest_records(&place);
    let Partition(partition) = usage_partition("ann", 4);
    named(&place, partition);
    let up = place.up(&[]);
    named(&place, partition);
    assert_eq!(place.statement("user", "ann")["requests"], 3);
    assert!(
        place
            .tidemark(&["leaderboard", "users"])
            .ok()
            .contains("ann")
    );
    assert_eq!(place.tidemark(&["rejects", "list"]).ok(), "");
    let resumed = place.tidemark(&["resume", &format!("rate/{partition}")]);
    assert!(!resumed.err.contains("usage.events"), "{}", resumed.err);
    up.stop();
}

/// By `doctor` in a sentence, and by who needs it; nobody is told to try again.
fn named(place: &Place, partition: u32) {
    let damaged = format!("usage.events/{partition} is damaged: ");
    let found = place.tidemark(&["doctor", "--json"]);
    assert_eq!(found.code, Some(1), "{}", found.err);
    let found: Value = serde_json::from_str(&found.out).unwrap();
    let faults: Vec<&str> = found["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault.as_str().unwrap())
        .filter(|fault| fault.contains(&damaged) && fault.starts_with("The log is damaged"))
        .collect();
    assert_eq!(faults.len(), 1, "{found}");
    assert!(
        faults[0].contains("restore the data directory from a backup"),
        "{found}"
    );
    let said = place.tidemark(&["log", "cat", "usage.events"]).failed(1);
    assert!(said.contains(&damaged) && !said.contains("retry"), "{said}");
}
