//! docker-compose.yml, without Docker: what it says is looked at, and its own commands run as processes with its own environment, against
//! a real Kafka and a DynamoDB. Only addresses differ, and names get a prefix, because the servers are shared.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tidemark::ops::config::{Config, LogEngine, Sources, StoreEngine};

use super::broker;
use crate::process::site::get;
use crate::store::embedded_endpoint;

const FILE: &str = include_str!("../../../docker-compose.yml");
const PROMETHEUS: &str = include_str!("../../../prometheus/prometheus.yml");
const DATA_SOURCE: &str =
    include_str!("../../../dashboards/provisioning/datasources/prometheus.yml");
const OPEN: &str = include_str!("../../../docker-compose.open.yml");
const DOCKERFILE: &str = include_str!("../../../Dockerfile");
const EVENTS: u64 = 300;
/// Partitions of `usage.events`, as shipped.
const SOURCES: usize = 4;

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

fn service(name: &str) -> Value {
    let all = yaml(FILE);
    let service = &all["services"][name];
    assert!(service.is_object(), "no service {name}");
    service.clone()
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().expect("a list").iter();
    list.map(|text| text.as_str().expect("a text").to_owned())
        .collect()
}

fn environment(service: &Value) -> BTreeMap<String, String> {
    let map = service["environment"].as_object().expect("a map").iter();
    map.map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned()))
        .collect()
}

#[test]
fn the_environment_in_the_compose_file_is_a_valid_configuration_of_a_worker() {
    for name in ["init", "worker", "serve", "cli"] {
        let env = environment(&service(name)).into_iter();
        let sources = Sources {
            env: env
                .filter(|(name, _)| name.starts_with("TIDEMARK_"))
                .collect(),
            ..Sources::default()
        };
        let config = Config::read(&sources).unwrap();
        assert_eq!(config.log.engine, LogEngine::Kafka, "{name}");
        assert_eq!(config.store.engine, StoreEngine::DynamoDb, "{name}");
        assert_eq!(config.kafka.bootstrap, ["kafka:9092"], "{name}");
    }
    for name in ["worker", "serve"] {
        assert_eq!(service(name)["stop_grace_period"], "30s", "{name}");
    }
    assert!(Config::default().drain_timeout < Duration::from_secs(30));
}

/// Servers that ask nobody who they are must be reached by the other services alone.
#[test]
fn only_what_asks_for_a_key_or_shows_metrics_has_a_port_and_only_on_loopback() {
    let mut published = Vec::new();
    for (name, service) in yaml(FILE)["services"].as_object().unwrap() {
        for port in service["ports"].as_array().into_iter().flatten() {
            let port = port.as_str().expect("a text");
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port}");
            published.push(name.clone());
        }
    }
    published.sort();
    assert_eq!(published, ["grafana", "prometheus", "serve"]);
    for (name, service) in yaml(OPEN)["services"].as_object().unwrap() {
        let ports = texts(&service["ports"]);
        let is_loopback = ports.iter().all(|port| port.starts_with("127.0.0.1:"));
        assert!(is_loopback, "{name}: {ports:?}");
    }
}

#[test]
fn services_wait_for_what_they_need_and_everything_lasting_is_watched() {
    let all = yaml(FILE);
    let services = all["services"].as_object().unwrap();
    for (name, service) in services {
        for (needed, how) in service["depends_on"].as_object().into_iter().flatten() {
            let is_checked = services[needed]["healthcheck"]["test"].is_array();
            match how["condition"].as_str() {
                Some("service_healthy") => assert!(is_checked, "{name} waits for {needed}"),
                other => assert_eq!(other, Some("service_completed_successfully")),
            }
        }
        let is_one_shot = service["restart"] == "no" || service["profiles"].is_array();
        assert!(
            is_one_shot || service["healthcheck"]["test"].is_array(),
            "{name} has no health check"
        );
    }
    for name in ["worker", "serve"] {
        let needs = services[name]["depends_on"].as_object().unwrap();
        let needs: Vec<&String> = needs.keys().collect();
        assert_eq!(needs, ["dynamodb", "init", "kafka"], "{name}");
    }
}

#[test]
fn prometheus_grafana_and_health_checks_look_where_processes_listen() {
    let jobs = yaml(PROMETHEUS)["scrape_configs"].clone();
    let jobs = jobs.as_array().unwrap();
    let rows = [
        ("worker", "TIDEMARK_WORKER_LISTEN", "/healthz"),
        ("serve", "TIDEMARK_SERVE_LISTEN", "/readyz"),
    ];
    for ((name, listen, path), job) in rows.into_iter().zip(jobs) {
        let service = service(name);
        let address = environment(&service)[listen].clone();
        let port = address.rsplit_once(':').unwrap().1;
        let check = texts(&service["healthcheck"]["test"]).concat();
        assert!(check.contains(&format!(":{port}{path}")), "{name}: {check}");
        let scraped = &job["dns_sd_configs"][0];
        assert_eq!(scraped["port"].to_string(), port);
        assert_eq!(texts(&scraped["names"]), [name]);
    }
    assert!(DOCKERFILE.contains("HEALTH_PORT=8788"));
    let source = &yaml(DATA_SOURCE)["datasources"][0];
    assert_eq!(source["url"], "http://prometheus:9090");
    // Every path that is mounted from here is here.
    for service in ["prometheus", "grafana"].map(service) {
        for mount in texts(&service["volumes"]) {
            if let Some(path) = mount
                .split(':')
                .next()
                .filter(|path| path.starts_with("./"))
            {
                assert!(Path::new(path).exists(), "{path}");
            }
        }
    }
}

/// The servers in place of those of the compose file, and a prefix of our own.
struct Stage {
    bootstrap: &'static str,
    store: String,
    prefix: String,
    dir: tempfile::TempDir,
}

/// Killed when dropped.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("{}:\n{log}", self.log.display());
        }
    }
}

impl Stage {
    /// A service's command, as Docker would run it but for the addresses.
    fn command(&self, name: &str, instead: &[&str], listen: &str) -> Command {
        let service = service(name);
        let mut line = match service["entrypoint"].is_array() {
            true => texts(&service["entrypoint"]),
            // As the Dockerfile has it.
            false => vec!["tidemark".to_owned()],
        };
        match instead {
            [] => line.extend(texts(&service["command"])),
            instead => line.extend(instead.iter().map(|arg| (*arg).to_owned())),
        }
        let binary = Path::new(env!("CARGO_BIN_EXE_tidemark"));
        let path = std::env::var("PATH").expect("a PATH");
        let path = format!("{}:{path}", binary.parent().expect("a directory").display());
        let program = if line[0] == "tidemark" {
            binary
        } else {
            Path::new(&line[0])
        };
        let mut command = Command::new(program);
        for (name, _) in std::env::vars() {
            if name.starts_with("TIDEMARK_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.args(&line[1..]).env("PATH", path);
        for (name, value) in environment(&service) {
            let value = value
                .replace("kafka:9092", self.bootstrap)
                .replace("http://dynamodb:8000", &self.store)
                .replace("0.0.0.0:8788", listen)
                .replace("0.0.0.0:8789", listen);
            command.env(name, value);
        }
        command
            .env("TIDEMARK_KAFKA_TOPIC_PREFIX", &self.prefix)
            .env("TIDEMARK_KAFKA_GROUP", &self.prefix)
            .env("TIDEMARK_STORE_TABLE_PREFIX", &self.prefix);
        command
    }

    /// Runs a command of the service `cli`, or of `init`, which must succeed.
    fn run(&self, service: &str, instead: &[&str]) -> String {
        let output: Output = self
            .command(service, instead, "127.0.0.1:0")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success(),
            "{service} {instead:?}\n{stdout}\n{stderr}"
        );
        stdout
    }

    /// Starts a service that goes on.
    fn start(&self, name: &str) -> (Running, String) {
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let listen = free.local_addr().expect("an address").to_string();
        drop(free);
        let log = self.dir.path().join(format!("{listen}.log"));
        let mut command = self.command(name, &[], &listen);
        let child = command
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log file"))
            .spawn()
            .expect("it starts");
        (Running { child, log }, format!("http://{listen}"))
    }

    /// Sends an event to the service, with a key from the command line.
    fn post(&self, url: &str) {
        let key = self.run("cli", &["keys", "create", "gateway", "--scope", "ingest"]);
        let now = jiff::Timestamp::now();
        let event = format!(
            r#"{{"requestId":"r-1","userId":"ada","endpoint":"/v1/scrape","timestamp":"{now}","statusCode":200}}"#
        );
        let post = |key: &str| {
            let agent = ureq::Agent::config_builder().http_status_as_error(false);
            let agent = ureq::Agent::from(agent.build());
            let request = agent.post(&format!("{url}/api/v1/events"));
            let request = request.content_type("application/json");
            let request = request.header("authorization", format!("Bearer {}", key.trim()));
            request.send(&event).unwrap().status().as_u16()
        };
        assert_eq!(post("tmk_000000000000_"), 401);
        assert_eq!(post(&key), 204);
    }

    /// Requests of all users of a month.
    fn requests(&self, month: &str) -> u64 {
        let all = ["statement", "--all", "--json", "--month", month];
        let lines = self.run("cli", &all);
        let statements = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let users = statements.filter(|statement| statement["kind"] == "user");
        users
            .map(|statement| statement["requests"].as_u64().unwrap())
            .sum()
    }
}

impl Stage {
    /// Waits until some worker has audited every source partition; nothing was found.
    fn wait_audited(&self) {
        until("every source partition is audited", || {
            let status = self.run("cli", &["audit", "status", "--json"]);
            let parts = status
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap());
            let is_audited = |part: &Value| part["audited"].as_u64().is_some_and(|n| n > 0);
            parts.filter(is_audited).count() == SOURCES
        });
        let found = self.run("cli", &["audit", "findings"]);
        assert!(found.contains("the auditor has found nothing"), "{found}");
    }
}

fn this_month() -> String {
    jiff::Timestamp::now().strftime("%Y-%m").to_string()
}

fn until(what: &str, holds: impl FnMut() -> bool) {
    super::until(Duration::from_secs(60), what, holds);
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn the_commands_of_the_compose_file_make_statements_of_events() {
    let Some(bootstrap) = broker::bootstrap() else {
        return;
    };
    let store = std::env::var("DYNAMODB_ENDPOINT");
    let stage = Stage {
        bootstrap,
        store: store.unwrap_or_else(|_| embedded_endpoint().to_owned()),
        prefix: broker::prefix(),
        dir: tempfile::tempdir().unwrap(),
    };
    stage.run("init", &[]);
    // As at the next `docker compose up`.
    stage.run("init", &[]);
    let count = service("worker")["deploy"]["replicas"].as_u64().unwrap();
    let mut workers: Vec<_> = (0..count).map(|_| stage.start("worker")).collect();
    workers.push(stage.start("serve"));
    for (_, url) in &workers {
        until("a process is ready", || {
            get(&format!("{url}/readyz")).is_some()
        });
        assert!(get(&format!("{url}/healthz")).is_some());
        let metrics = get(&format!("{url}/metrics")).unwrap();
        assert!(metrics.contains("tidemark_"), "{metrics}");
    }
    let before = this_month();
    let events = EVENTS.to_string();
    stage.run(
        "cli",
        &["emit", "--clean", "--seed", "7", "--events", &events],
    );
    let (_, serve) = workers.last().unwrap();
    stage.post(serve);
    stage.run("cli", &["wait", "--timeout", "100s"]);
    let mut months = vec![before, this_month()];
    months.dedup();
    let requests: u64 = months.iter().map(|month| stage.requests(month)).sum();
    assert_eq!(requests, EVENTS + 1);
    stage.wait_audited();
    stage.run("cli", &[]);
    for (worker, _) in &mut workers {
        let term = Command::new("kill")
            .arg(worker.child.id().to_string())
            .status();
        assert!(term.unwrap().success());
    }
    for (worker, _) in &mut workers {
        let mut ended = None;
        until("a process stops", || {
            ended = worker.child.try_wait().unwrap();
            ended.is_some()
        });
        assert!(ended.unwrap().success(), "{ended:?}");
    }
}
