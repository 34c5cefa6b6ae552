//! Posting is taken over behind a backlog on Kafka: lag begins with the age of the first block that is not in rows.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidemark::domain::position::Partition;
use tidemark::log::{Log as _, Topic};

use super::on_call::sums_equal_the_oracle;
use super::store_proxy::{Mode, StoreProxy};
use crate::kafka::broker;
use crate::kafka::operators::site as on_a_broker;
use crate::kafka::until;
use crate::process::site::{Site, Up, get};

const WITHIN: Duration = Duration::from_secs(60);
/// How old the backlog is when posting is taken over.
const AGE: Duration = Duration::from_secs(7);

/// The longest lag of posting that a worker tells.
fn lag(worker: &Up) -> f64 {
    let text = get(&worker.url("/metrics")).unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("tidemark_lag_seconds{") && line.contains("role=\"post\""));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.fold(0.0, f64::max)
}

fn send(site: &Site, serve: &Up, count: u32) {
    let key = site.run(&["keys", "create", "gateway", "--scope", "ingest"]);
    let event = |number| {
        json!({"requestId": format!("r-{number}"), "userId": "ada", "endpoint": "/v1/scrape",
               "timestamp": jiff::Timestamp::now().to_string(), "statusCode": 200})
    };
    let events: Vec<Value> = (0..count).map(event).collect();
    let request = ureq::post(serve.url("/api/v1/events"))
        .header("authorization", format!("Bearer {}", key.trim()))
        .content_type("application/json");
    let answer = request.send(json!(events).to_string()).expect("an answer");
    assert_eq!(answer.status().as_u16(), 204);
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn posting_that_is_taken_over_behind_a_backlog_tells_how_old_it_is() {
    let Some(bootstrap) = broker::bootstrap() else {
        return;
    };
    let site = on_a_broker(bootstrap);
    let mut serve = site.serve("serve", &[]);
    serve.wait_ready();
    let mut rater = site.worker_with("rater", &["--roles", "rate"], &[]);
    rater.wait_ready();
    send(&site, &serve, 10);
    until(WITHIN, "rating", || {
        rater.metric("tidemark_events_rated_total").unwrap_or(0.0) >= 10.0
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let log = site.cluster().unwrap().log();
    until(WITHIN, "postings", || {
        let ends = (0..4).map(|p| log.bounds(Topic::LedgerPostings, Partition(p)));
        let ends = runtime.block_on(futures::future::try_join_all(ends));
        ends.unwrap().iter().any(|bounds| bounds.end.0 > 0)
    });
    let rated = Instant::now();
    // What makes the backlog old is time, nothing else.
    std::thread::sleep(AGE.saturating_sub(rated.elapsed()));

    let proxy = StoreProxy::start();
    proxy.set(Mode::HangsOnWrites);
    let endpoint = proxy.endpoint();
    let hung = [("TIDEMARK_STORE_ENDPOINT", endpoint.as_str())];
    let poster = site.worker_with("poster", &["--roles", "post"], &hung);
    let mut first = 0.0;
    until(WITHIN, "lag is told", || {
        first = lag(&poster);
        first > 0.0
    });
    let oldest = rated.elapsed().as_secs_f64() + 5.0;
    eprintln!(
        "lag at first: {first:.1} s, {:.1} s after rating",
        rated.elapsed().as_secs_f64()
    );
    assert!(
        (AGE.as_secs_f64()..oldest).contains(&first),
        "{first} s at first"
    );

    // It is not late yet, but it is said.
    let said = site.try_run(&["doctor"]).stdout;
    assert!(said.contains("waiting to be posted"), "{said}");
    assert!(!said.contains("0 posting blocks waiting"), "{said}");
    proxy.set(Mode::Works);
    site.run(&["wait", "--timeout", "60s"]);
    let statement = site.run(&["statement", "user", "ada", "--json"]);
    let statement: Value = serde_json::from_str(&statement).unwrap();
    assert_eq!(statement["requests"], 10, "{statement}");
    sums_equal_the_oracle(&site);
    until(WITHIN, "no lag is left", || lag(&poster) == 0.0);
    assert!(site.run(&["doctor"]).contains("All is well."));
    for process in [poster, rater, serve] {
        assert_eq!(process.stop().0.code(), Some(0));
    }
}
