//! `deploy/kubernetes`: the manifests, which are the chart's, against Kubernetes' schemas and against
//! what our processes do.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tidemark::ops::config::{Config, Sources};

use super::tools::{file, needs, text};

pub const PLAIN: &str = "deploy/kubernetes/tidemark.yaml";

/// Every document of a manifest.
pub fn documents(text: &str) -> Vec<Value> {
    let is_content = |line: &str| !line.trim().is_empty() && !line.starts_with(['#', '-']);
    let documents = text.split("\n---\n");
    let documents = documents.filter(|document| document.lines().any(is_content));
    documents
        .map(|text| serde_saphyr::from_str(text.trim_start_matches("---\n")).expect(text))
        .collect()
}

pub fn of_kinds(documents: &[Value], kinds: &[&str]) -> Vec<Value> {
    let is_wanted = |document: &&Value| kinds.iter().any(|kind| document["kind"] == *kind);
    documents.iter().filter(is_wanted).cloned().collect()
}

fn plain() -> Vec<Value> {
    documents(&text(PLAIN))
}

/// Everything that makes pods.
pub fn pods(documents: &[Value]) -> Vec<Value> {
    of_kinds(documents, &["StatefulSet", "Deployment", "Job"])
}

pub fn containers(pod: &Value) -> Vec<Value> {
    let spec = &pod["spec"]["template"]["spec"];
    let of = |key: &str| spec[key].as_array().cloned().unwrap_or_default();
    [of("initContainers"), of("containers")].concat()
}

/// The configuration that pods get.
pub fn configuration(documents: &[Value]) -> BTreeMap<String, String> {
    let maps = of_kinds(documents, &["ConfigMap"]);
    let data = maps.iter().find_map(|map| {
        let data = map["data"].as_object()?;
        data.contains_key("tidemark.toml").then(|| data.clone())
    });
    let text = |value: Value| value.as_str().expect("a text").to_owned();
    let data = data.expect("a configuration").into_iter();
    data.map(|(name, value)| (name, text(value))).collect()
}

pub fn read_configuration(text: &str) -> Config {
    let sources = Sources {
        file: Some(("tidemark.toml".to_owned(), text.to_owned())),
        ..Sources::default()
    };
    Config::read(&sources).unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

#[test]
#[ignore = "needs kubernetes-validate: .ci/run tools"]
fn every_manifest_is_what_kubernetes_says_it_must_be() {
    needs("kubernetes-validate");
    validate(&[&file(PLAIN)]);
}

/// Kubernetes' own schemas.
pub fn validate(files: &[&Path]) {
    let output = Command::new(file("tests/servers/kubernetes-validate"))
        .arg("run")
        .args(files)
        .output()
        .expect("the script runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}

#[test]
fn pods_run_without_rights_and_get_the_time_to_drain() {
    let pods = pods(&plain());
    assert_eq!(pods.len(), 3);
    for pod in pods {
        run_without_rights(&pod);
    }
}

/// Whether the pods of one object have no rights, bounded memory, probes, and the time to drain.
pub fn run_without_rights(pod: &Value) {
    let drain = Config::default().drain_timeout.as_secs();
    let (is_job, spec) = (pod["kind"] == "Job", &pod["spec"]["template"]["spec"]);
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        spec["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    assert_eq!(spec["automountServiceAccountToken"], false);
    // Kubernetes would make TIDEMARK_SERVE_PORT of a Service, and no such setting exists.
    assert_eq!(spec["enableServiceLinks"], false);
    let grace = spec["terminationGracePeriodSeconds"].as_u64();
    assert!(
        is_job || grace.is_some_and(|grace| grace >= drain + 15),
        "{grace:?}"
    );
    for container in containers(pod) {
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["capabilities"]["drop"][0], "ALL");
        assert!(container["resources"]["limits"]["memory"].is_string());
        assert!(is_job || container["livenessProbe"]["httpGet"]["path"] == "/healthz");
        assert!(is_job || container["readinessProbe"]["httpGet"]["path"] == "/readyz");
    }
}

#[test]
fn containers_run_commands_that_exist_with_a_configuration_that_is_read() {
    let plain = plain();
    let dir = tempfile::tempdir().expect("a directory");
    let mut path = dir.path().to_owned();
    for (name, text) in configuration(&plain) {
        let text = text.replace("/etc/tidemark/topics", &dir.path().display().to_string());
        fs::write(dir.path().join(&name), text).expect("a file");
    }
    path.push("tidemark.toml");
    for container in pods(&plain).iter().flat_map(containers) {
        let args = container["args"].as_array().expect("arguments").iter();
        let args: Vec<&str> = args.map(|arg| arg.as_str().expect("a text")).collect();
        let help = Command::new(env!("CARGO_BIN_EXE_tidemark"))
            .args(&args)
            .arg("--help")
            .env("TIDEMARK_CONFIG", &path)
            .output()
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&help.stderr).into_owned();
        assert!(help.status.success(), "{args:?}: {said}");
    }
    // `doctor` reads the configuration and the topic files, and then cannot reach that Kafka; a fault in
    // either it would name instead.
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_tidemark"));
    doctor.arg("doctor").env("TIDEMARK_CONFIG", &path);
    doctor.env("TIDEMARK_KAFKA_BOOTSTRAP", "127.0.0.1:1");
    doctor.env("TIDEMARK_STORE_ENDPOINT", "http://127.0.0.1:1");
    let output = doctor.output().expect("the binary runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(!said.contains("tidemark.toml"), "{said}");
    assert!(!said.contains(".yaml"), "{said}");
    assert!(said.contains("The broker cannot be reached"), "{said}");
}

#[test]
fn ports_and_names_fit_together() {
    let plain = plain();
    let config = read_configuration(&configuration(&plain)["tidemark.toml"]);
    let metrics = config.serve.metrics_listen.expect("a port for metrics");
    let expected = [
        ("StatefulSet", config.worker.listen.port(), None),
        (
            "Deployment",
            metrics.port(),
            Some(config.serve.listen.port()),
        ),
    ];
    for (kind, metrics, http) in expected {
        let pod = &of_kinds(&plain, &[kind])[0];
        let template = &pod["spec"]["template"];
        assert_eq!(
            template["metadata"]["annotations"]["prometheus.io/port"],
            metrics.to_string().as_str()
        );
        let ports = template["spec"]["containers"][0]["ports"].as_array();
        let port = |name: &str| {
            let ports = ports.expect("ports").iter();
            let mut ports = ports.filter(|port| port["name"] == name);
            Some(ports.next()?["containerPort"].as_u64().expect("a port"))
        };
        assert_eq!(port("metrics"), Some(u64::from(metrics)));
        assert_eq!(port("http"), http.map(u64::from));
        // Each pod runs as an account that is there.
        let account = &template["spec"]["serviceAccountName"];
        let accounts = of_kinds(&plain, &["ServiceAccount"]);
        assert!(
            accounts
                .iter()
                .any(|known| known["metadata"]["name"] == *account)
        );
        // A change of the configuration rolls it.
        assert!(template["metadata"]["annotations"]["checksum/configuration"].is_string());
    }
}

#[test]
fn each_worker_keeps_its_name_for_kafka() {
    let worker = &of_kinds(&plain(), &["StatefulSet"])[0];
    let env = containers(worker)[0]["env"].clone();
    let env = env.as_array().expect("a list").iter();
    let mut instance = env.filter(|entry| entry["name"] == "TIDEMARK_KAFKA_INSTANCE");
    let from = &instance.next().expect("the instance")["valueFrom"]["fieldRef"]["fieldPath"];
    assert_eq!(from, "metadata.name");
}

#[test]
fn every_version_has_an_image_of_its_own() {
    let version = env!("CARGO_PKG_VERSION");
    for container in pods(&plain()).iter().flat_map(containers) {
        assert_eq!(container["image"], format!("tidemark:{version}").as_str());
    }
    let chart: Value = super::tools::yaml("deploy/helm/tidemark/Chart.yaml");
    assert_eq!(chart["appVersion"], version);
}
