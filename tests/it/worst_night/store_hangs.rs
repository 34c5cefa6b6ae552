//! The store hangs, denies or is down under load: events are taken all the while, and on-call is told
//! within seconds.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::on_call::{doctor_says, floods_nobody, sums_equal_the_oracle};
use super::store_proxy::{Mode, StoreProxy};
use crate::kafka::broker::{self, Watchdog};
use crate::kafka::until;
use crate::process::site::{Cluster, Site};

const WITHIN: Duration = Duration::from_secs(60);

/// How long the store hangs: long enough that every key must be looked up again several times. Set
/// `TIDEMARK_HANG_SECONDS=60` for the full minute.
fn hang_seconds() -> u64 {
    let given = std::env::var("TIDEMARK_HANG_SECONDS").ok();
    given.map_or(12, |given| given.parse().expect("a number"))
}

struct Gateway {
    agent: ureq::Agent,
    key: String,
    url: String,
    sent: u32,
    /// Of the last answer.
    retry_after: Option<String>,
}

impl Gateway {
    fn new(site: &Site) -> Gateway {
        Gateway::to(site, site.url("/api/v1/events"))
    }

    fn to(site: &Site, url: String) -> Gateway {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(40)));
        let made = site.run(&["keys", "create", "gateway", "--scope", "ingest"]);
        Gateway {
            agent: config.build().into(),
            key: made.trim().to_owned(),
            url,
            sent: 0,
            retry_after: None,
        }
    }

    /// Sends one event: status, problem and how long it took.
    fn send(&mut self) -> (u16, Value, Duration) {
        let key = self.key.clone();
        self.send_with(&key)
    }

    fn send_with(&mut self, key: &str) -> (u16, Value, Duration) {
        self.sent += 1;
        let event = json!({
            "requestId": format!("r-{}", self.sent), "userId": "ada", "endpoint": "/v1/scrape",
            "timestamp": jiff::Timestamp::now().to_string(), "statusCode": 200,
        });
        let started = Instant::now();
        let request = self
            .agent
            .post(&self.url)
            .header("authorization", format!("Bearer {key}"))
            .content_type("application/json");
        let mut answer = request.send(event.to_string()).expect("an answer");
        let took = started.elapsed();
        self.retry_after = answer
            .headers()
            .get("retry-after")
            .map(|seconds| seconds.to_str().expect("text").to_owned());
        let said = answer.body_mut().read_to_string().unwrap_or_default();
        let said = serde_json::from_str(&said).unwrap_or_default();
        (answer.status().as_u16(), said, took)
    }
}

impl Gateway {
    /// Every event is taken, at once, for as long as the store hangs; and on-call is told soon.
    fn sends_while_it_hangs(&mut self, is_told: impl Fn() -> bool) {
        let hung = Instant::now();
        let (mut times, mut told, mut taken) = (Vec::new(), None, 0);
        while hung.elapsed() < Duration::from_secs(hang_seconds()) {
            let (status, said, took) = self.send();
            if status != 204 {
                eprintln!("{status} after {:?}: {said}", hung.elapsed());
            }
            taken += usize::from(status == 204);
            times.push(took);
            if told.is_none() && is_told() {
                told = Some(hung.elapsed());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let p99 = percentile(&mut times, 99);
        eprintln!(
            "{} events in {} s of a hanging store: {taken} answered 204, p50 {:?}, p99 {p99:?}, longest {:?}; told after {told:?}",
            times.len(),
            hang_seconds(),
            percentile(&mut times, 50),
            percentile(&mut times, 100),
        );
        assert_eq!(taken, times.len());
        assert!(p99 < Duration::from_millis(100), "p99 {p99:?}");
        let told = told.expect("the outage is told");
        assert!(told < Duration::from_secs(8), "told after {told:?}");
    }
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

#[test]
fn while_the_store_hangs_every_event_is_taken_at_once_and_on_call_is_told() {
    let store = StoreProxy::start();
    let site = store.site_with(&[("TIDEMARK_LOGGING_FORMAT", "json")]);
    let mut up = site.up();
    up.wait_ready();
    let mut gateway = Gateway::new(&site);
    assert_eq!(gateway.send().0, 204);
    site.run(&["wait"]);
    assert!(site.run(&["doctor"]).contains("All is well."));

    store.set(Mode::Hangs);
    gateway.sends_while_it_hangs(|| up.metric("tidemark_dependency_down") == Some(1.0));

    // What is taken and not in rows counts as lag, although the workers cannot tell themselves.
    let waiting = up.metric("tidemark_lag_records").unwrap();
    assert!(waiting > 0.0, "{waiting}");
    let top = site.try_run(&["top", "--once"]);
    assert_eq!(top.code, Some(1), "{}", top.stdout);
    assert!(top.stdout.starts_with("OUTAGE: "), "{}", top.stdout);
    assert!(top.stdout.contains("store_unavailable"), "{}", top.stdout);
    assert!(top.stdout.contains("records waiting"), "{}", top.stdout);
    let started = Instant::now();
    doctor_says(&site, &["! The store cannot be used", "not in rows yet"]);
    assert!(started.elapsed() < Duration::from_secs(20));
    let lines = floods_nobody(&up.said());
    eprintln!("{lines} lines of trouble");

    store.set(Mode::Works);
    site.run(&["wait", "--timeout", "2m"]);
    let statement = site.run(&["statement", "user", "ada", "--json"]);
    let statement: Value = serde_json::from_str(&statement).unwrap();
    assert_eq!(statement["requests"], gateway.sent, "{statement}");
    sums_equal_the_oracle(&site);
    until(WITHIN, "all is well again", || {
        site.try_run(&["doctor"]).stdout.contains("All is well.")
    });
    until(WITHIN, "top is content again", || {
        site.try_run(&["top", "--once"])
            .stdout
            .starts_with("FINE: ")
    });
    assert_eq!(up.stop().0.code(), Some(0));
}

#[test]
fn a_store_that_is_down_or_denies_costs_no_request_seconds_and_nothing_halts() {
    let mut store = StoreProxy::start();
    let site = store.site();
    let mut up = site.up();
    up.wait_ready();
    let mut gateway = Gateway::new(&site);
    assert_eq!(gateway.send().0, 204);
    // A key that no process has seen.
    let unseen = site.run(&["keys", "create", "another", "--scope", "ingest"]);

    store.down();
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let (status, said, took) = gateway.send();
        assert_eq!(status, 204, "{said}");
        longest = longest.max(took);
    }
    let (status, said, took) = gateway.send_with(unseen.trim());
    assert_eq!((status, &said["code"]), (503, &json!("store_unavailable")));
    assert_eq!(gateway.retry_after.as_deref(), Some("1"));
    doctor_says(&site, &["! The store cannot be used"]);
    let detail = said["detail"].as_str().unwrap();
    assert!(
        detail.contains("Resending the same events is safe"),
        "{detail}"
    );
    eprintln!("refused connections: known key at most {longest:?}, unseen key {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    store.listen();

    for code in [
        "ExpiredTokenException",
        "AccessDeniedException",
        "RequestTimeTooSkewed",
    ] {
        store.set(Mode::Denies(code));
        until(WITHIN, "denied access is told", || {
            assert_eq!(gateway.send().0, 204, "{code}");
            up.metric("tidemark_dependency_down") == Some(1.0)
        });
        let top = site.try_run(&["top", "--once"]).stdout;
        assert!(
            top.contains("store_denied") && !top.contains("HALTED"),
            "{top}"
        );
        doctor_says(&site, &["! The store cannot be used"]);
        store.set(Mode::Works);
        until(WITHIN, "it is over", || {
            up.metric("tidemark_dependency_down") == Some(0.0)
        });
    }
    site.run(&["wait", "--timeout", "2m"]);
    let statement = site.run(&["statement", "user", "ada", "--json"]);
    let statement: Value = serde_json::from_str(&statement).unwrap();
    // The one of the key that could not be looked up was not taken.
    assert_eq!(statement["requests"], gateway.sent - 1, "{statement}");
    sums_equal_the_oracle(&site);
    assert_eq!(up.metric("tidemark_halted").unwrap_or(0.0), 0.0);
    // One line per cause, not one per request or attempt.
    let said = up.said();
    let lines = |event: &str| said.lines().filter(|line| line.contains(event)).count();
    assert!(
        lines("http.failed") + lines("a request failed") <= 2,
        "{said}"
    );
    assert!(said.lines().count() < 300, "{} lines", said.lines().count());
    assert_eq!(up.stop().0.code(), Some(0));
}

/// Amazon's DynamoDB Local as a process of this test's own, to freeze it.
struct FrozenStore {
    port: String,
    endpoint: String,
    _watchdog: Watchdog,
}

impl FrozenStore {
    fn start() -> FrozenStore {
        let starter = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/dynamodb");
        let port = broker::free_ports().to_string();
        let watchdog = Watchdog::new(&format!("exec '{starter}' wipe \"$1\""), &port);
        let up = Command::new(starter)
            .args(["up", &port])
            .env("DYNAMODB_IN_MEMORY", "1")
            .output();
        let said = String::from_utf8(up.expect("it runs").stdout).expect("UTF-8");
        let endpoint = said.trim().strip_prefix("DYNAMODB_ENDPOINT=");
        FrozenStore {
            endpoint: endpoint.expect("an endpoint").to_owned(),
            port,
            _watchdog: watchdog,
        }
    }

    fn signal(&self, name: &str) {
        let starter = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/dynamodb");
        let script = format!("kill -{name} \"$('{starter}' pid {})\"", self.port);
        let sent = Command::new("sh").args(["-c", &script]).status();
        assert!(sent.expect("sh").success());
    }
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn while_dynamodb_is_frozen_kafka_takes_every_event_and_on_call_is_told() {
    let Some(bootstrap) = broker::bootstrap() else {
        return;
    };
    let store = FrozenStore::start();
    let site = Site::on(Cluster {
        bootstrap: bootstrap.to_owned(),
        prefix: broker::prefix(),
        store: store.endpoint.clone(),
        store_of_workers: store.endpoint.clone(),
    });
    site.run(&["pricing", "init", "testnet"]);
    let json = [("TIDEMARK_LOGGING_FORMAT", "json")];
    let (mut serve, mut worker) = (site.serve("serve", &json), site.worker("worker", &json));
    serve.wait_ready();
    worker.wait_ready();
    let mut gateway = Gateway::to(&site, serve.url("/api/v1/events"));
    assert_eq!(gateway.send().0, 204);
    site.run(&["wait"]);

    store.signal("STOP");
    gateway.sends_while_it_hangs(|| {
        [&serve, &worker]
            .iter()
            .all(|process| process.metric("tidemark_dependency_down") == Some(1.0))
    });
    assert!(worker.metric("tidemark_lag_records") > Some(0.0));
    doctor_says(&site, &["! The store cannot be used"]);
    for process in [&serve, &worker] {
        eprintln!("{} lines of trouble", floods_nobody(&process.said()));
    }

    store.signal("CONT");
    site.run(&["wait", "--timeout", "2m"]);
    let statement = site.run(&["statement", "user", "ada", "--json"]);
    let statement: Value = serde_json::from_str(&statement).unwrap();
    assert_eq!(statement["requests"], gateway.sent, "{statement}");
    sums_equal_the_oracle(&site);
    until(WITHIN, "all is well again", || {
        site.try_run(&["doctor"]).stdout.contains("All is well.")
    });
    for process in [serve, worker] {
        assert_eq!(process.stop().0.code(), Some(0));
    }
}
