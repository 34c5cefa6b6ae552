//! `/readyz` is 503, with cause and code, whenever events cannot be appended; it recovers by itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, header};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use serde_json::{Value, json};
use tidemark::domain::time::Millis;
use tidemark::http::{ApiState, Hosts, Partitions, Parts, router, watch_dependencies};
use tidemark::log::embedded::{Disk, EmbeddedLog, Options, Space};
use tidemark::log::{Log, topics};
use tidemark::ops::clock::{Clock, SystemClock, Uptime};
use tidemark::ops::health::Health;
use tidemark::ops::metrics::Metrics;
use tidemark::ops::shutdown;
use tidemark::store::tables::create_tables;
use tower::ServiceExt as _;

use super::on_call::{doctor_says, sums_equal_the_oracle};
use crate::kafka::broker::{self, Broker};
use crate::kafka::until;
use crate::process::site::{Cluster, Site, Up};
use crate::store::{client, embedded_endpoint, settings};

const WITHIN: Duration = Duration::from_secs(60);

/// A machine whose disk and clock a test sets.
#[derive(Default)]
struct Machine {
    free: AtomicU64,
    ahead_ms: AtomicI64,
}

impl Disk for Machine {
    fn space(&self) -> io::Result<Space> {
        Ok(Space {
            free: self.free.load(Ordering::SeqCst),
            total: 4 << 30,
        })
    }
}

#[async_trait]
impl Clock for Machine {
    fn now(&self) -> Millis {
        SystemClock.now().plus(self.ahead_ms.load(Ordering::SeqCst))
    }

    fn uptime(&self) -> Option<Uptime> {
        SystemClock.uptime()
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

async fn ready(service: &ApiState) -> (u16, Value) {
    let request = Request::get("/readyz").header(header::HOST, "localhost:8787");
    let request = request.body(Body::empty()).unwrap();
    let answer = router(service.clone(), Hosts::Loopback)
        .oneshot(request)
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await;
    (status, serde_json::from_slice(&body.unwrap()).unwrap())
}

/// Waits until `/readyz` answers so; what it says.
async fn becomes(service: &ApiState, status: u16, code: Option<&str>) -> Value {
    for _ in 0..200 {
        let (now, said) = ready(service).await;
        if now == status && code.is_none_or(|code| said["code"] == code) {
            return said;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never {status} {code:?}: {:?}", ready(service).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_and_a_clock_that_jumped_are_told_and_pass_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Arc::new(Machine::default());
    machine.free.store(3 << 30, Ordering::SeqCst);
    let options = Options {
        disk: Some(machine.clone()),
        ..Options::default()
    };
    let specs = topics::load(None).unwrap();
    let (log, _) = EmbeddedLog::open_with(dir.path(), &specs, machine.clone(), options).unwrap();
    let log: Arc<dyn Log> = Arc::new(log);
    let db = client(&settings(embedded_endpoint()));
    create_tables(&db).await.unwrap();
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::new(metrics.clone()));
    let service = ApiState::new(Parts {
        closing: None,
        partitions: Partitions::of(&*log).await.unwrap(),
        log: log.clone(),
        db: Arc::new(db.clone()),
        clock: Arc::new(SystemClock),
        metrics: metrics.clone(),
        health: health.clone(),
        config: tidemark::ops::config::Config::default().http,
        archive: None,
    });
    health.set_ready(true);
    let (trigger, shutdown) = shutdown::channel();
    let watch = watch_dependencies(log, Arc::new(db), health, shutdown);
    let watch = tokio::spawn(watch);
    becomes(&service, 200, None).await;

    machine.free.store(1 << 20, Ordering::SeqCst);
    let said = becomes(&service, 503, Some("log_disk_full")).await;
    let detail = said["detail"].as_str().unwrap();
    assert!(detail.contains("free some space"), "{detail}");
    let line = r#"tidemark_dependency_down{code="log_disk_full",dependency="log"}"#;
    assert!(metrics.render().contains(&format!("{line} 1")));
    machine.free.store(3 << 30, Ordering::SeqCst);
    becomes(&service, 200, None).await;
    assert!(metrics.render().contains(&format!("{line} 0")));

    machine.ahead_ms.store(60 * 86_400_000, Ordering::SeqCst);
    let said = becomes(&service, 503, Some("log_clock_ahead")).await;
    assert!(
        said["detail"].as_str().unwrap().contains("set the clock"),
        "{said}"
    );
    machine.ahead_ms.store(0, Ordering::SeqCst);
    becomes(&service, 200, None).await;
    trigger.shut_down();
    watch.await.unwrap();
}

pub fn probe(up: &Up) -> (u16, Value) {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)));
    let agent: ureq::Agent = config.build().into();
    let Ok(mut answer) = agent.get(up.url("/readyz")).call() else {
        return (0, Value::Null);
    };
    let said = answer.body_mut().read_to_string().unwrap_or_default();
    let said = serde_json::from_str(&said).unwrap_or_default();
    (answer.status().as_u16(), said)
}

pub fn send(up: &Up, key: &str, number: u32) -> u16 {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)));
    let agent: ureq::Agent = config.build().into();
    let event = json!({
        "requestId": format!("r-{number}"), "userId": "ada", "endpoint": "/v1/scrape",
        "timestamp": jiff::Timestamp::now().to_string(), "statusCode": 200,
    });
    let request = agent
        .post(up.url("/api/v1/events"))
        .header("authorization", format!("Bearer {}", key.trim()))
        .content_type("application/json");
    let answer = request.send(event.to_string());
    answer.map_or(0, |answer| answer.status().as_u16())
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn a_silent_broker_and_a_topic_that_was_created_again_are_told_and_pass_without_a_restart() {
    let Some(mut broker) = Broker::own() else {
        return;
    };
    let store = embedded_endpoint().to_owned();
    let cluster = Cluster {
        bootstrap: broker.bootstrap(),
        prefix: broker::prefix(),
        store: store.clone(),
        store_of_workers: store,
    };
    let site = Site::on(cluster.clone());
    let delay = [("TIDEMARK_HTTP_SHUTDOWN_DELAY", "3s")];
    let mut serve = site.serve("serve", &delay);
    serve.wait_ready();
    let key = site.run(&["keys", "create", "gateway", "--scope", "ingest"]);
    until(WITHIN, "it takes events", || send(&serve, &key, 1) == 204);

    broker.freeze();
    until(WITHIN, "a silent broker is told", || {
        let (status, said) = probe(&serve);
        status == 503 && said["code"] == "log_unavailable"
    });
    doctor_says(&site, &["The broker cannot be reached"]);
    broker.thaw();
    until(WITHIN, "it is ready again", || probe(&serve).0 == 200);

    let topic = format!("{}usage.events", cluster.prefix);
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", &cluster.bootstrap);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let deleted = runtime.block_on(admin.delete_topics(&[&topic], &AdminOptions::new()));
    deleted.unwrap();
    until(WITHIN, "a missing topic is told", || {
        let (status, said) = probe(&serve);
        let detail = said["detail"].as_str().unwrap_or_default();
        assert!(!detail.contains("topics apply"), "no cure: {detail}");
        status == 503 && detail.contains("is gone")
    });
    assert_eq!(send(&serve, &key, 2), 503);
    doctor_says(&site, &[&format!("Topic {topic} does not exist yet")]);
    site.run(&["topics", "apply", "--replication-factor", "1"]);
    until(WITHIN, "it is ready again", || probe(&serve).0 == 200);
    until(WITHIN, "it takes events", || send(&serve, &key, 3) == 204);
    serve.must_run();
    assert!(
        serve.said().contains("kafka.topic.adopted"),
        "{}",
        serve.said()
    );
    // A stop: not ready, still serving, then gone.
    serve.signal("TERM");
    until(WITHIN, "it is not ready", || {
        let (status, said) = probe(&serve);
        status == 503 && said["code"] == "not_ready"
    });
    assert_eq!(send(&serve, &key, 4), 204);
    assert_eq!(serve.ended(WITHIN).code(), Some(0));
    // What was taken since the topic is there again counts.
    site.run(&["pricing", "init", "testnet"]);
    let mut worker = site.worker("worker", &[]);
    worker.wait_ready();
    site.run(&["wait", "--timeout", "60s"]);
    sums_equal_the_oracle(&site);
    let statement = site.run(&["statement", "user", "ada", "--json"]);
    assert!(statement.contains("\"requests\":2"), "{statement}");
    assert_eq!(worker.stop().0.code(), Some(0));
}
