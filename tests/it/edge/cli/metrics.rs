//! `/healthz`, `/readyz` and `/metrics` of a running `up`.

use std::collections::BTreeSet;

use serde_json::Value;
use tidemark::ops::metrics::Metrics;

use super::{Place, Up, chat};

/// Only declared metrics with declared labels, and nothing in any line that names an account or a place on this machine.
pub(super) fn are_as_documented(up: &Up, secrets: &[&str]) {
    let text = up.metrics();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let declared = Metrics::DECLARED.iter().find(|metric| {
            let rest = name.strip_prefix(metric.name);
            rest.is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
        });
        let declared = declared.unwrap_or_else(|| panic!("{line} is no metric that is declared"));
        let labels = line
            .split_once('{')
            .map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
        let labels = labels.split(',').filter(|label| !label.is_empty());
        let labels: BTreeSet<&str> = labels
            .map(|label| label.split('=').next().unwrap())
            .collect();
        let known: BTreeSet<&str> = declared.labels.iter().copied().chain(["le"]).collect();
        assert!(labels.is_subset(&known), "{line}");
    }
    for secret in secrets {
        // Not within a word: "ada" is in "unreadable".
        let is_letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
        let is_shown = |line: &&str| {
            line.match_indices(secret).any(|(at, _)| {
                let (before, after) = (&line[..at], &line[at + secret.len()..]);
                !is_letter(before.chars().next_back()) && !is_letter(after.chars().next())
            })
        };
        let shown = text.lines().find(is_shown);
        assert_eq!(shown, None, "{secret} is in the metrics");
    }
}

#[test]
fn a_running_up_tells_its_health_and_its_metrics() {
    let place = Place::new();
    let up = place.up(&[]);
    let event = chat("1", "somebody-private");
    place.send(&[event.clone(), event]);
    place.wait();

    assert_eq!(up.get("/readyz").0, 200);
    let (status, health) = up.get("/healthz");
    let health: Value = serde_json::from_str(&health).unwrap();
    assert_eq!((status, &health["status"]), (200, &Value::from("alive")));
    let partitions = health["partitions"].as_array().unwrap();
    let names: Vec<&str> = partitions
        .iter()
        .map(|p| p["partition"].as_str().unwrap())
        .collect();
    let expected = [
        "rate/0", "rate/1", "rate/2", "rate/3", "post/0", "post/1", "post/2", "post/3", "audit/0",
        "audit/1", "audit/2", "audit/3",
    ];
    assert_eq!(names, expected);

    are_as_documented(&up, &["somebody-private", "AWS", "data/"]);
    let text = up.metrics();
    for line in [
        "tidemark_events_rated_total 1",
        "tidemark_events_duplicate_total 1",
        r#"tidemark_log_appended_records_total{topic="usage.events"} 2"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    up.stop();
}
