//! `tidemark serve` on a real broker: what it has acknowledged counts once, through a broker that goes away and services that are killed.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use super::broker::{self, Broker};
use crate::operators::terraform::allows_what_was_counted;
use crate::process::site::{Cluster, Site, Up, get};
use crate::store::embedded_endpoint;

const WAIT: Duration = Duration::from_secs(90);

fn until(what: &str, holds: impl FnMut() -> bool) {
    super::until(WAIT, what, holds);
}

struct Gateway {
    key: String,
    agent: ureq::Agent,
}

impl Gateway {
    fn new(site: &Site) -> Gateway {
        let made = site.run(&["keys", "create", "gateway", "--scope", "ingest"]);
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)));
        Gateway {
            key: made.trim().to_owned(),
            agent: config.build().into(),
        }
    }

    /// The status, if there is an answer; and the code of the problem.
    fn post(&self, service: &Up, events: &[Value]) -> Option<(u16, String)> {
        let request = self.agent.post(service.url("/api/v1/events"));
        let request = request.header("authorization", format!("Bearer {}", self.key));
        let request = request.content_type("application/json");
        let mut answer = request.send(json!(events).to_string()).ok()?;
        let body = answer.body_mut().read_to_string().ok()?;
        let problem: Value = serde_json::from_str(&body).unwrap_or_default();
        let code = problem["code"].as_str().unwrap_or_default().to_owned();
        Some((answer.status().as_u16(), code))
    }

    /// Sends until it is acknowledged, as gateways do.
    fn insist(&self, service: &Up, events: &[Value]) {
        until("the events are acknowledged", || {
            matches!(self.post(service, events), Some((204, _)))
        });
    }
}

fn scrapes(numbers: std::ops::Range<u32>) -> Vec<Value> {
    let now = jiff::Timestamp::now().to_string();
    let event = |number| json!({"requestId": format!("r-{number}"), "userId": "ada", "endpoint": "/v1/scrape", "timestamp": now, "statusCode": 200});
    numbers.map(event).collect()
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn what_the_service_has_acknowledged_counts_once_while_broker_and_services_die() {
    let Some(mut broker) = Broker::own() else {
        return;
    };
    let store = embedded_endpoint().to_owned();
    let site = Site::on(Cluster {
        bootstrap: broker.bootstrap(),
        prefix: broker::prefix(),
        store: store.clone(),
        store_of_workers: store,
    });
    site.run(&["pricing", "init", "testnet"]);
    let mut worker = site.worker("worker", &[]);
    worker.wait_ready();
    let metrics = free_address();
    let own_metrics = [("TIDEMARK_SERVE_METRICS_LISTEN", metrics.as_str())];
    let (mut one, mut two) = (site.serve("one", &[]), site.serve("two", &own_metrics));
    one.wait_ready();
    two.wait_ready();
    let gateway = Gateway::new(&site);
    gateway.insist(&one, &scrapes(0..10));
    // The broker goes: nothing is acknowledged, and the answer says to come again, within its bound.
    broker.stop();
    let batch = scrapes(10..20);
    let answer = gateway.post(&one, &batch);
    assert_eq!(answer, Some((503, "log_unavailable".to_owned())));
    // A service that is killed with the batch on its way, and the same batch through another one.
    one.kill();
    broker.start();
    gateway.insist(&two, &batch);
    gateway.insist(&two, &scrapes(0..30));
    site.run(&["wait", "--timeout", "2m"]);
    let statement = site.run(&["statement", "user", "ada", "--json"]);
    let statement: Value = serde_json::from_str(&statement).unwrap();
    assert_eq!(statement["requests"], 30, "{statement}");
    people_change_things(&site, &two);
    metrics_are_read_elsewhere(&two, &metrics);
    // What they did with the tables is what their roles in AWS allow.
    let counted = get(&format!("http://{metrics}/metrics")).expect("metrics");
    allows_what_was_counted("serve", &counted);
    let counted = get(&worker.url("/metrics")).expect("metrics");
    allows_what_was_counted("worker", &counted);
    for process in [two, worker] {
        let said = process.said();
        assert!(
            !said.contains("panicked") && !said.contains(&gateway.key),
            "{said}"
        );
        let (status, _) = process.stop();
        assert_eq!(status.code(), Some(0), "{said}");
    }
}

fn free_address() -> String {
    let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    free.local_addr().expect("an address").to_string()
}

/// Whatever of the API writes to tables.
fn people_change_things(site: &Site, service: &Up) {
    let key = site.run(&["keys", "create", "office", "--scope", "admin:write"]);
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent: ureq::Agent = config.build().into();
    let post = |path: &str, body: Value| {
        let request = agent.post(service.url(path));
        let request = request.header("authorization", format!("Bearer {}", key.trim()));
        let request = request.header("idempotency-key", path.replace('/', "-"));
        let request = request.content_type("application/json");
        let mut answer = request.send(body.to_string()).expect("an answer");
        let text = answer.body_mut().read_to_string().expect("a body");
        assert_eq!(answer.status().as_u16() / 100, 2, "{path}: {text}");
        serde_json::from_str::<Value>(&text).unwrap_or_default()
    };
    let owner = json!({"userId": "ada", "userType": "user"});
    let code = post("/api/referrals/code", owner)["code"].clone();
    let signup = json!({"referralCode": code, "refereeId": "bob", "refereeType": "user"});
    post("/api/referrals/signup", signup);
    let credit = json!({"userId": "ada", "amount": "5", "reason": "welcome"});
    post("/api/admin/credits", credit);
    let points = json!({"kind": "user", "id": "ada", "points": "1", "reason": "welcome"});
    post("/api/admin/adjustments", points);
    let price = json!({"configKey": "tide_pool_input", "pricePerUnit": "0.0002", "unit": "1000_tokens",
                       "updatedBy": "office"});
    post("/api/admin/pricing", price);
}

/// A service whose metrics have a port of their own does not show them to clients.
fn metrics_are_read_elsewhere(service: &Up, metrics: &str) {
    assert_eq!(get(&service.url("/metrics")), None);
    for path in ["/healthz", "/readyz"] {
        assert!(get(&service.url(path)).is_some(), "{path}");
        assert!(get(&format!("http://{metrics}{path}")).is_some(), "{path}");
    }
    assert_eq!(get(&format!("http://{metrics}/docs")), None);
}

#[test]
fn what_serve_cannot_work_with_is_told_at_its_start() {
    let site = Site::new();
    let refused = site.try_run(&["serve"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("tidemark up"), "{}", refused.stderr);
}
