//! SIGTERM of a process that others send to: first not ready while it still serves, then it stops.

use std::time::{Duration, Instant};

use serde_json::json;

use super::on_call::{doctor_says, sums_equal_the_oracle};
use crate::kafka::until;
use crate::process::site::{Site, Up, get};

const WITHIN: Duration = Duration::from_secs(20);

fn up_with_delay(delay: &str) -> (Site, Up) {
    let mut site = Site::new();
    site.set(&[("TIDEMARK_HTTP_SHUTDOWN_DELAY", delay)]);
    let mut up = site.up();
    up.wait_ready();
    (site, up)
}

/// The status of one event that is sent.
fn send(site: &Site, number: u32) -> Option<u16> {
    let key = std::fs::read_to_string(site.data().join("key")).ok()?;
    let event = json!({
        "requestId": format!("r-{number}"), "userId": "ada", "endpoint": "/v1/scrape",
        "timestamp": jiff::Timestamp::now().to_string(), "statusCode": 200,
    });
    let request = ureq::post(site.url("/api/v1/events"))
        .header("authorization", format!("Bearer {}", key.trim()))
        .content_type("application/json");
    Some(request.send(event.to_string()).ok()?.status().as_u16())
}

#[test]
fn a_process_that_is_asked_to_stop_is_not_ready_but_serves_on_for_a_while() {
    let (site, up) = up_with_delay("3s");
    let asked = Instant::now();
    up.signal("TERM");
    until(WITHIN, "it is not ready", || {
        get(&up.url("/readyz")).is_none()
    });
    assert_eq!(send(&site, 1), Some(204), "it still takes events");
    assert!(up.said().contains("process.leaving") || up.said().contains("not ready from now on"));
    let status = up.ended(WITHIN);
    assert_eq!(status.code(), Some(0));
    assert!(
        asked.elapsed() >= Duration::from_secs(3),
        "{:?}",
        asked.elapsed()
    );
    doctor_says(&site, &["`tidemark up` is not running on this data"]);
    // What was taken while it was leaving counts.
    let mut up = site.up();
    up.wait_ready();
    site.run(&["wait"]);
    let statement = site.run(&["statement", "user", "ada", "--json"]);
    assert!(statement.contains("\"requests\":1"), "{statement}");
    sums_equal_the_oracle(&site);
    up.signal("INT");
    let asked = Instant::now();
    assert_eq!(up.ended(WITHIN).code(), Some(0));
    assert!(
        asked.elapsed() < Duration::from_secs(3),
        "Ctrl-C does not wait"
    );
}

#[test]
fn a_second_signal_ends_the_wait_and_the_stop_is_orderly() {
    let (_site, up) = up_with_delay("5m");
    up.signal("TERM");
    until(WITHIN, "it is not ready", || {
        get(&up.url("/readyz")).is_none()
    });
    up.signal("TERM");
    assert_eq!(up.ended(WITHIN).code(), Some(0));
}
