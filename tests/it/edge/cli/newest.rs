//! `log cat` and `rejects list` from the end: `--last` and `--since`.

use serde_json::Value;

use super::{Place, chat, until};

fn ids(lines: &[Value]) -> Vec<&str> {
    let ids = lines.iter().map(|line| line["value"]["requestId"].as_str());
    ids.map(Option::unwrap).collect()
}

/// `first` to `last`, one batch each, so that log time goes on from one to the next.
fn send(place: &Place, numbers: std::ops::Range<u32>) {
    for n in numbers {
        let mut event = chat(&n.to_string(), &format!("user-{n}"));
        if n % 2 == 1 {
            event["endpoint"] = "/v1/horoscopes".into();
        }
        place.send(&[event]);
    }
}

#[test]
fn the_newest_are_shown_in_log_order_and_what_was_before_a_time_is_not() {
    let place = Place::new();
    let up = place.up(&[]);
    send(&place, 0..6);
    place.wait();
    let between = until("the clock moves on", || {
        let now = jiff::Timestamp::now();
        std::thread::sleep(std::time::Duration::from_millis(20));
        (jiff::Timestamp::now() > now).then(|| jiff::Timestamp::now().to_string())
    });
    send(&place, 6..10);
    place.wait();
    look(&place, &between);
    up.stop();
    // On the log itself as through `up`.
    look(&place, &between);
}

fn look(place: &Place, between: &str) {
    let cat = |args: &[&str]| {
        let args = [&["log", "cat", "usage.events"], args].concat();
        place.tidemark(&args).lines()
    };
    assert_eq!(ids(&cat(&["--last", "3"])), ["7", "8", "9"]);
    assert_eq!(cat(&["--last", "100"]).len(), 10);
    let numbers = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    assert_eq!(ids(&cat(&["--last", "100"])), numbers);

    let mut since = cat(&["--since", between]);
    since.sort_by_key(|line| line["appendTime"].to_string());
    assert_eq!(ids(&since), ["6", "7", "8", "9"]);
    assert_eq!(ids(&cat(&["--since", between, "--last", "2"])), ["8", "9"]);
    assert_eq!(
        cat(&["--since", between, "--last", "50"]).len(),
        4,
        "not more than there were"
    );
    assert_eq!(cat(&["--since", "1h"]).len(), 10);
    assert_eq!(cat(&["--since", "7d", "--last", "1"]).len(), 1);
    assert!(cat(&["--since", "0s"]).is_empty());
    let partition = cat(&["--last", "1"])[0]["partition"].to_string();
    let one = cat(&["--last", "1", "--partition", &partition]);
    assert_eq!(ids(&one), ["9"]);

    let rejects = |args: &[&str]| -> Vec<String> {
        let args = [&["rejects", "list", "--json"], args].concat();
        let lines = place.tidemark(&args).lines();
        let id = |line: &Value| {
            let event: Value = serde_json::from_str(line["value"].as_str().unwrap()).unwrap();
            event["requestId"].as_str().unwrap().to_owned()
        };
        // Partitions are rated side by side: in which order their rejects are appended is not told.
        let mut ids: Vec<String> = lines.iter().map(id).collect();
        ids.sort();
        ids
    };
    assert_eq!(rejects(&["--last", "2"]), ["7", "9"]);
    assert_eq!(rejects(&["--last", "9"]), ["1", "3", "5", "7", "9"]);
    let reason = ["--last", "2", "--reason", "unknown_service"];
    assert_eq!(rejects(&reason), ["7", "9"]);
    assert!(rejects(&["--last", "2", "--reason", "conflict"]).is_empty());
    assert_eq!(rejects(&["--since", between]), ["7", "9"]);
    let shown = place.tidemark(&["rejects", "list", "--last", "1"]).ok();
    assert_eq!(shown.matches("unknown_service").count(), 1, "{shown}");
}

#[test]
fn times_and_numbers_that_cannot_be_are_refused_with_what_can() {
    let place = Place::new();
    for command in [&["log", "cat", "usage.events"][..], &["rejects", "list"]] {
        let said = |args: &[&str]| place.tidemark(&[command, args].concat()).failed(2);
        for bad in ["yesterday", "1 fortnight", "2mo", "10"] {
            let said = said(&["--since", bad]);
            assert!(
                said.contains("such as 90s, 1h or 7d, or a time such as 2026-11-22T10:00:00Z"),
                "{said}"
            );
        }
        for bad in ["0", "100001", "many"] {
            let said = said(&["--last", bad]);
            assert!(said.contains("--last"), "{said}");
        }
        let said = said(&["--last", "1", "--limit", "1"]);
        assert!(said.contains("cannot be used with"), "{said}");
        let help = place.tidemark(&[command, &["--help"]].concat()).ok();
        assert!(help.contains("--since 1"), "{help}");
    }
    assert!(!place.path("data").exists());
}
