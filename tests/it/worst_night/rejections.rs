//! Most recent events are rejected, or have no token counts: no lag shows that, so it is looked for.

use serde_json::{Value, json};

use super::on_call::sums_equal_the_oracle;
use crate::process::site::{Printed, Site};

pub(super) fn send(site: &Site, events: &[Value]) {
    let key = std::fs::read_to_string(site.data().join("key")).unwrap();
    let request = ureq::post(site.url("/api/v1/events"))
        .header("authorization", format!("Bearer {}", key.trim()))
        .content_type("application/json");
    let answer = request.send(json!(events).to_string()).unwrap();
    // 200: chat without token counts is taken, and the answer says so.
    assert!([200, 204].contains(&answer.status().as_u16()));
}

pub(super) fn events(from: u32, count: u32, endpoint: &str, days_old: i64) -> Vec<Value> {
    let at = jiff::Timestamp::now().as_millisecond() - days_old * 86_400_000;
    let at = jiff::Timestamp::from_millisecond(at).unwrap().to_string();
    let event = |number| {
        json!({"requestId": format!("r-{number}"), "userId": "ada", "providerId": "prov-1", "endpoint": endpoint,
               "model": "llama-3-70b", "timestamp": at, "statusCode": 200})
    };
    (from..from + count).map(event).collect()
}

fn all_three_say(site: &Site, in_doctor: &str, in_top: &str) {
    let has = |printed: &Printed, text: &str| {
        assert_eq!(
            printed.code,
            Some(1),
            "{} {}",
            printed.stdout,
            printed.stderr
        );
        let all = format!("{}{}", printed.stdout, printed.stderr);
        assert!(all.contains(text), "{all}");
        assert!(!all.contains("All is well"), "{all}");
    };
    has(&site.try_run(&["wait"]), in_doctor);
    has(&site.try_run(&["doctor"]), in_doctor);
    let top = site.try_run(&["top", "--once"]);
    has(&top, in_top);
    assert!(top.stdout.starts_with("ATTENTION: "), "{}", top.stdout);
}

#[test]
fn rejected_events_are_noticed_by_wait_doctor_and_top_until_good_ones_prevail() {
    let site = Site::new();
    let mut up = site.up();
    up.wait_ready();
    send(&site, &events(0, 8, "/v1/scrape", 0));
    site.run(&["wait"]);
    assert!(site.run(&["doctor"]).contains("All is well."));
    // Their clock is 40 days behind.
    send(&site, &events(100, 30, "/v1/scrape", 40));
    all_three_say(
        &site,
        "30 of the newest 38 (too_old: 30)",
        "most recent events were rejected: 30 of 38",
    );
    send(&site, &events(200, 60, "/v1/scrape", 0));
    // Now it is less than half: said, but no failure.
    let waited = site.try_run(&["wait"]);
    assert_eq!(waited.code, Some(0), "{}", waited.stderr);
    assert!(
        waited.stderr.contains("30 of the newest 98"),
        "{}",
        waited.stderr
    );
    assert!(site.run(&["doctor"]).contains("All is well."));
    assert_eq!(sums_equal_the_oracle(&site).events(), 98);
    up.stop();
}

#[test]
fn completions_without_token_counts_are_noticed() {
    let site = Site::new();
    let mut up = site.up();
    up.wait_ready();
    send(&site, &events(0, 20, "/v1/chat/completions", 0));
    all_three_say(
        &site,
        "20 of the newest 20 successful completions",
        "most recent events have no token counts: 20 of 20",
    );
    assert_eq!(sums_equal_the_oracle(&site).events(), 20);
    up.stop();
}
