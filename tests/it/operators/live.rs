//! A real Prometheus that reads a running `up`.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::tools::{dashboards, file, needs_prometheus, panels, queries};
use crate::process::site::{Site, Up, get};

/// How long it may take until every query has something to tell: several scrapes, and rates over two of them.
const TOLD_WITHIN: Duration = Duration::from_secs(90);

/// A running Prometheus. Killed when dropped.
struct Prometheus {
    child: Child,
    port: u16,
}

impl Prometheus {
    fn start(site: &Site, up: &Up) -> Prometheus {
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let target = up.url("").replace("http://", "");
        let rules = file("prometheus");
        let rules = rules.display();
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: ['{rules}/recording.yml', '{rules}/alerts.yml']\n\
             scrape_configs:\n- job_name: tidemark-up\n  static_configs: [{{ targets: ['{target}'] }}]\n"
        );
        let path = site.file("prometheus.yml");
        fs::write(&path, config).expect("a file");
        let log = fs::File::create(site.file("prometheus.log")).expect("a file");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                site.file("tsdb").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus runs");
        Prometheus { child, port }
    }

    /// What `/api/v1/{path}` answers.
    fn api(&self, path: &str) -> Option<Value> {
        let body = get(&format!("http://127.0.0.1:{}/api/v1/{path}", self.port))?;
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        Some(answer["data"].clone())
    }

    /// Whether a query has a result, and no sample of it is NaN.
    fn tells(&self, query: &str) -> bool {
        let mut escaped = String::new();
        for byte in query.bytes() {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        let answer = self.api(&format!("query?query={escaped}"));
        let result = answer.as_ref().and_then(|data| data["result"].as_array());
        result.is_some_and(|samples| {
            !samples.is_empty() && samples.iter().all(|sample| sample["value"][1] != "NaN")
        })
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every query of every panel, with its place.
fn every_query() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (name, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for query in queries(&dashboard, panel) {
                all.push((format!("{name}: {}", panel["title"]), query));
            }
        }
    }
    all
}

#[test]
#[ignore = "needs Prometheus: .ci/run tools"]
fn every_panel_shows_something_of_a_running_up_and_no_alert_fires() {
    needs_prometheus();
    let site = Site::new();
    let mut up = site.up();
    up.wait_ready();
    let prometheus = Prometheus::start(&site, &up);
    let mut missing = every_query();
    assert!(missing.len() > 50, "{}", missing.len());
    let start = Instant::now();
    while !missing.is_empty() {
        up.must_run();
        site.run(&["emit", "--events", "300"]);
        missing.retain(|(_, query)| !prometheus.tells(query));
        if start.elapsed() > TOLD_WITHIN {
            site.show_logs();
            panic!("no data: {missing:#?}");
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    let metrics = get(&up.url("/metrics")).expect("metrics");
    promtool_finds_nothing(&metrics);
    let rules = prometheus.api("rules").expect("rules");
    for group in rules["groups"].as_array().expect("groups") {
        for rule in group["rules"].as_array().expect("rules") {
            assert_eq!(rule["health"], "ok", "{rule}");
            assert_ne!(rule["state"], "firing", "{rule}");
        }
    }
}

/// `promtool check metrics`: names, units, help texts.
fn promtool_finds_nothing(metrics: &str) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut stdin, metrics.as_bytes()).expect("a write");
    drop(stdin);
    let output = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}
