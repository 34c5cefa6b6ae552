//! A measurement: referral links that were imported in thousands before the first start.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kafka::until;
use crate::process::site::Site;

/// How many links, unless `TIDEMARK_AWARDS` says otherwise. Without optimisation both parts take
/// about 10 ms per link; 100,000 are for an optimised build (docs/performance.md).
const LINKS: u32 = 10_000;
/// Who made them.
const REFERRERS: u32 = 1_000;
/// What each signup is worth to its referrer, in points.
const POINTS_PER_SIGNUP: usize = 100;
/// How long working them off may take.
const WITHIN: Duration = Duration::from_secs(1_800);
/// Memory of the whole process.
const MEMORY_MAX: u64 = 1 << 30;

fn links() -> u32 {
    let given = std::env::var("TIDEMARK_AWARDS").ok();
    given.map_or(LINKS, |given| given.parse().expect("a number"))
}

#[test]
#[ignore = "a measurement of minutes: cargo test --test it -- --ignored --nocapture many_awards"]
fn links_imported_before_the_first_start_are_worked_off_in_bounded_memory_beside_events() {
    let site = Site::new();
    site.run(&["init"]);
    site.run(&["pricing", "init", "testnet"]);
    let count = links();
    let line = |number: u32| {
        json!({"referee": ["user", format!("u-{number}")], "referrer": ["user", format!("boss-{}", number % REFERRERS)]})
            .to_string()
    };
    let file = site.file("links.jsonl");
    fs::write(&file, (0..count).map(line).collect::<Vec<_>>().join("\n")).expect("a file");
    let started = Instant::now();
    site.run(&["referral", "import", file.to_str().expect("UTF-8")]);
    eprintln!(
        "{count} links imported in {:.0} s",
        started.elapsed().as_secs_f64()
    );

    let started = Instant::now();
    let mut up = site.up();
    up.wait_ready();
    site.run(&["emit", "--clean", "--events", "100", "--seed", "1"]);
    // Events do not wait for all the awards.
    until(WITHIN, "events are posted", || {
        let rated = up.metric("tidemark_events_rated_total").unwrap_or(0.0);
        rated >= 100.0 && up.metric("tidemark_lag_records") == Some(0.0)
    });
    let posted = started.elapsed();
    let patience = format!("{}s", WITHIN.as_secs());
    site.run(&["wait", "--timeout", &patience]);
    let done = started.elapsed();
    let peak = up.memory_peak();
    eprintln!(
        "100 events posted after {:.0} s, {count} awards applied after {:.0} s, memory at most {} MiB",
        posted.as_secs_f64(),
        done.as_secs_f64(),
        peak >> 20
    );
    assert!(peak < MEMORY_MAX, "{peak} bytes");
    for boss in [0, REFERRERS / 2, REFERRERS - 1] {
        let statement = site.run(&["statement", "user", &format!("boss-{boss}"), "--json"]);
        let statement: Value = serde_json::from_str(&statement).expect("JSON");
        let referees = (0..count).filter(|number| number % REFERRERS == boss);
        let points = referees.count() * POINTS_PER_SIGNUP;
        assert_eq!(statement["bonus"], points.to_string(), "{statement}");
    }
    assert!(site.run(&["doctor"]).contains("All is well."));
    assert_eq!(up.stop().0.code(), Some(0));
}
