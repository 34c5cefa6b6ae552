//! What `deploy/` holds: systemd units and Kubernetes' manifests, against their schemas and against what our processes do.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tidemark::ops::config::Config;

use super::tools::{file, has, promtool, text};

const UNITS: [&str; 3] = ["tidemark-up", "tidemark-worker", "tidemark-serve"];
/// Manifests of Kubernetes' own kinds.
const MANIFESTS: [&str; 4] = ["configuration", "init", "worker", "serve"];

fn manifest(name: &str) -> String {
    format!("deploy/kubernetes/{name}.yaml")
}

/// Every document of every manifest.
fn documents() -> Vec<Value> {
    let names = MANIFESTS.iter().copied().chain(["worker-scaling"]);
    let read = |name: &str| {
        let text = text(&manifest(name));
        let documents = text.split("\n---\n").map(str::to_owned);
        documents.collect::<Vec<String>>()
    };
    let parse = |text: String| serde_saphyr::from_str(&text).expect(&text);
    names.flat_map(read).map(parse).collect()
}

fn of_kind(kind: &str) -> Vec<Value> {
    let mut documents = documents();
    documents.retain(|document| document["kind"] == kind);
    documents
}

fn is_installed() -> bool {
    let script = file("tests/servers/kubernetes-validate");
    let is_required = std::env::var_os("TIDEMARK_REQUIRE_KUBERNETES_VALIDATE").is_some();
    let command = if is_required { "fetch" } else { "ready" };
    let is_there = Command::new(script).arg(command).status();
    let is_there = is_there.expect("the script runs").success();
    assert!(
        is_there || !is_required,
        "kubernetes-validate cannot be installed"
    );
    if !is_there {
        eprintln!(
            "SKIPPED: `tests/servers/kubernetes-validate fetch` installs it, TIDEMARK_REQUIRE_KUBERNETES_VALIDATE=1 demands it"
        );
    }
    is_there
}

#[test]
fn every_manifest_is_what_kubernetes_says_it_must_be() {
    if !is_installed() {
        return;
    }
    let files: Vec<PathBuf> = MANIFESTS.iter().map(|name| file(&manifest(name))).collect();
    let output = Command::new(file("tests/servers/kubernetes-validate"))
        .arg("run")
        .args(&files)
        .output()
        .expect("the script runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}

#[test]
fn pods_run_without_rights_and_are_given_the_time_to_drain() {
    let config = Config::default();
    let closing = std::time::Duration::from_secs(10);
    let stopping = config.http.shutdown_delay + config.drain_timeout + closing;
    let pods = [of_kind("Deployment"), of_kind("Job")].concat();
    assert_eq!(pods.len(), 3);
    for pod in pods {
        let (is_job, spec) = (pod["kind"] == "Job", &pod["spec"]["template"]["spec"]);
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
        let grace = spec["terminationGracePeriodSeconds"].as_u64();
        assert!(
            is_job || grace.is_some_and(|grace| grace >= stopping.as_secs()),
            "{grace:?}"
        );
        let none = Vec::new();
        let of = |key: &str| spec[key].as_array().unwrap_or(&none);
        for container in of("containers").iter().chain(of("initContainers")) {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false);
            assert_eq!(security["readOnlyRootFilesystem"], true);
            assert_eq!(security["capabilities"]["drop"][0], "ALL");
            assert!(container["resources"]["limits"]["memory"].is_string());
            assert!(is_job || container["livenessProbe"]["httpGet"]["path"] == "/healthz");
            assert!(is_job || container["readinessProbe"]["httpGet"]["path"] == "/readyz");
        }
    }
}

#[test]
fn containers_run_commands_that_exist_with_a_configuration_that_is_read() {
    let maps = of_kind("ConfigMap");
    let configuration = maps[0]["data"]["tidemark.toml"].as_str().expect("a file");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("tidemark.toml");
    fs::write(&path, configuration).expect("a file");
    for pod in [of_kind("Deployment"), of_kind("Job")].concat() {
        let spec = &pod["spec"]["template"]["spec"];
        let none = Vec::new();
        let of = |key: &str| spec[key].as_array().unwrap_or(&none);
        for container in of("containers").iter().chain(of("initContainers")) {
            let args = container["args"].as_array().expect("arguments");
            let args: Vec<&str> = args
                .iter()
                .map(|arg| arg.as_str().expect("a text"))
                .collect();
            let help = Command::new(env!("CARGO_BIN_EXE_tidemark"))
                .args(&args)
                .arg("--help")
                .env("TIDEMARK_CONFIG", &path)
                .output()
                .expect("the binary runs");
            let said = String::from_utf8_lossy(&help.stderr).into_owned();
            assert!(help.status.success(), "{args:?}: {said}");
        }
    }
    // `doctor` reads the configuration, and then cannot reach that Kafka; a fault in the configuration it would name instead.
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_tidemark"));
    doctor.arg("doctor").env("TIDEMARK_CONFIG", &path);
    doctor.env("TIDEMARK_KAFKA_BOOTSTRAP", "127.0.0.1:1");
    doctor.env("TIDEMARK_STORE_ENDPOINT", "http://127.0.0.1:1");
    let said = doctor.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("The broker cannot be used"), "{said}");
}

#[test]
fn ports_names_and_queries_fit_together() {
    for deployment in of_kind("Deployment") {
        let template = &deployment["spec"]["template"];
        let container = &template["spec"]["containers"][0];
        let port = container["ports"][0]["containerPort"].to_string();
        assert_eq!(
            template["metadata"]["annotations"]["prometheus.io/port"],
            port.as_str()
        );
        let map = &of_kind("ConfigMap")[0]["data"]["tidemark.toml"];
        assert!(
            map.as_str()
                .expect("a file")
                .contains(&format!("0.0.0.0:{port}"))
        );
    }
    let scaled = &of_kind("ScaledObject")[0]["spec"];
    let targets = of_kind("Deployment");
    let names: Vec<&Value> = targets
        .iter()
        .map(|target| &target["metadata"]["name"])
        .collect();
    assert!(names.contains(&&scaled["scaleTargetRef"]["name"]));
    let query = scaled["triggers"][0]["metadata"]["query"]
        .as_str()
        .expect("a query");
    super::queries::names_what_exists("worker-scaling", query);
    // KEDA refuses a fallback with any other type.
    assert!(scaled["fallback"]["replicas"].is_u64());
    assert_eq!(scaled["triggers"][0]["metricType"], "AverageValue");
}

/// What promtool says the query of the autoscaler comes to.
fn scaled_by(series: &[(&str, u32)], expected: u32) {
    let query = of_kind("ScaledObject")[0]["spec"]["triggers"][0]["metadata"]["query"].clone();
    let series: Vec<Value> = series
        .iter()
        .map(|(name, value)| json!({"series": name, "values": format!("{value}x5")}))
        .collect();
    let expected = json!([{"labels": "{}", "value": expected}]);
    let test = json!({"expr": query, "eval_time": "2m", "exp_samples": expected});
    let test = json!({"interval": "1m", "input_series": series, "promql_expr_test": [test]});
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("scaling.yml");
    fs::write(&path, json!({"tests": [test]}).to_string()).expect("a file");
    promtool(&["test", "rules", &path.display().to_string()]);
}

#[test]
fn the_autoscaler_compares_the_age_of_the_oldest_record_that_a_worker_can_help_with() {
    if !has("promtool") {
        return;
    }
    // 50 s, times three workers: Kubernetes divides by them. What is halted does not count.
    let busy = [
        (
            r#"tidemark_lag_seconds{role="rate", partition="0", instance="a"}"#,
            50,
        ),
        (
            r#"tidemark_lag_seconds{role="post", partition="0", instance="b"}"#,
            10,
        ),
        (
            r#"tidemark_lag_seconds{role="rate", partition="1", instance="c"}"#,
            900,
        ),
        (
            r#"tidemark_halted{role="rate", partition="1", reason="x", instance="c"}"#,
            1,
        ),
    ];
    scaled_by(&busy, 150);
    scaled_by(&busy[1..2], 10);
    scaled_by(&[], 0);
}

#[test]
fn every_version_has_an_image_and_a_job_of_its_own() {
    let version = env!("CARGO_PKG_VERSION");
    for pod in [of_kind("Deployment"), of_kind("Job")].concat() {
        let spec = &pod["spec"]["template"]["spec"];
        let none = Vec::new();
        let of = |key: &str| spec[key].as_array().unwrap_or(&none);
        for container in of("containers").iter().chain(of("initContainers")) {
            assert_eq!(container["image"], format!("tidemark:{version}").as_str());
        }
    }
    let job = &of_kind("Job")[0];
    let name = format!("tidemark-init-{}", version.replace('.', "-"));
    assert_eq!(job["metadata"]["name"], name.as_str());
    let kept = job["spec"]["ttlSecondsAfterFinished"].as_u64();
    assert!(kept.is_some_and(|kept| kept <= 600), "{kept:?}");
    assert!(text("deploy/README.md").contains(&name));
}

#[test]
fn systemd_is_content_with_the_units() {
    let found = Command::new("systemd-analyze").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: there is no systemd-analyze");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    for unit in UNITS {
        let name = format!("deploy/systemd/{unit}.service");
        // It is looked whether the program is there.
        let text = text(&name).replace("/usr/local/bin/tidemark", env!("CARGO_BIN_EXE_tidemark"));
        let path = dir.path().join(format!("{unit}.service"));
        fs::write(&path, text).expect("a file");
        let output = Command::new("systemd-analyze")
            .arg("verify")
            .arg(&path)
            .output();
        let output = output.expect("systemd-analyze runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let ours: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("tidemark"))
            .collect();
        assert!(ours.is_empty(), "{unit}: {ours:#?}");
    }
}

#[test]
fn units_protect_the_machine_and_give_time_to_drain() {
    let drain = Config::default().drain_timeout.as_secs();
    for unit in UNITS {
        let text = text(&format!("deploy/systemd/{unit}.service"));
        let value = |key: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("{unit}: {key}")).to_owned()
        };
        assert_eq!(value("DynamicUser"), "yes");
        assert_eq!(value("ProtectSystem"), "strict");
        assert_eq!(value("NoNewPrivileges"), "yes");
        assert_eq!(value("CapabilityBoundingSet"), "");
        let stop = value("TimeoutStopSec");
        let stop: u64 = stop.trim_end_matches('s').parse().expect("seconds");
        assert!(stop > drain, "{unit}: {stop}");
        // A store that is away for an hour must not leave it stopped for good.
        assert_eq!(value("Restart"), "always");
        assert_eq!(value("StartLimitIntervalSec"), "0");
        assert_eq!(value("RestartSec"), "5s");
        let run = value("ExecStart");
        let command = run
            .split(' ')
            .find(|word| ["up", "worker", "serve"].contains(word));
        assert_eq!(command, unit.strip_prefix("tidemark-"), "{run}");
    }
}
