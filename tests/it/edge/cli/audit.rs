//! `tidemark audit`: what a running `up` has audited, and what it found.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Place, chat};

/// Sums of a column of `tidemark audit status`.
fn sum(place: &Place, name: &str) -> u64 {
    let lines = place.tidemark(&["audit", "status", "--json"]).lines();
    lines.iter().filter_map(|line| line[name].as_u64()).sum()
}

/// Waits until so many chunks are audited.
fn until_audited(place: &Place, chunks: u64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while sum(place, "audited") < chunks {
        assert!(
            Instant::now() < deadline,
            "{} audited",
            sum(place, "audited")
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn what_up_rates_is_audited_also_after_a_restart() {
    let place = Place::new();
    let up = place.up(&[]);
    for (id, user) in [("1", "ann"), ("2", "bea"), ("3", "cleo"), ("4", "ann")] {
        place.send(&[chat(id, user)]);
        place.wait();
    }
    until_audited(&place, 3);
    let found = place.tidemark(&["audit", "findings"]).ok();
    assert!(found.contains("the auditor has found nothing"), "{found}");
    let told = place.tidemark(&["doctor"]).ok();
    assert!(told.contains("to be audited yet"), "{told}");
    assert!(told.contains("0 chunks could not be audited"), "{told}");
    let metrics = up.metrics();
    let is_zero = |line: &str| line == r#"tidemark_audit_findings_total{kind="block_differs"} 0"#;
    assert!(metrics.lines().any(is_zero), "{metrics}");
    up.stop();

    let before = sum(&place, "audited");
    let up = place.up(&[]);
    place.send(&[chat("5", "ann")]);
    place.wait();
    until_audited(&place, before + 1);
    let findings: Vec<Value> = place.tidemark(&["audit", "findings", "--json"]).lines();
    assert_eq!((findings, sum(&place, "skipped")), (vec![], 0));
    up.stop();
}

#[test]
fn an_up_that_does_not_audit_says_nothing_of_it() {
    let place = Place::new();
    let config = place.path("tidemark.toml");
    std::fs::write(&config, "[pipeline]\naudit = false\n").unwrap();
    let up = place.up(&["--config", config.to_str().unwrap()]);
    place.send(&[chat("1", "ann")]);
    place.wait();
    assert_eq!(sum(&place, "audited"), 0);
    let status = place.tidemark(&["audit", "status"]).ok();
    assert!(status.contains("nothing was audited yet"), "{status}");
    assert!(!up.metrics().contains(r#"role="audit",partition="#));
    up.stop();
}
