//! `deploy/helm/tidemark`, rendered by Helm itself: for its default values and for those in `ci/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::kubernetes::{
    PLAIN, configuration, containers, documents, of_kinds, pods, read_configuration,
    run_without_rights, validate,
};
use super::tools::{file, needs, needs_prometheus, promtool, text, yaml};

const CHART: &str = "deploy/helm/tidemark";
/// Kinds that are not Kubernetes' own.
const FOREIGN: [&str; 3] = ["ScaledObject", "PodMonitor", "PrometheusRule"];

fn helm(args: &[&str]) -> Output {
    Command::new(file("tests/servers/helm"))
        .arg("run")
        .args(args)
        .current_dir(file("."))
        .output()
        .expect("the script runs")
}

fn template(args: &[&str]) -> Output {
    let base = [
        "template",
        "tidemark",
        CHART,
        "--namespace",
        "tidemark",
        "--kube-version",
        "1.32.0",
    ];
    helm(&[&base[..], args].concat())
}

fn rendered(args: &[&str]) -> String {
    let output = template(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The files in `ci/`.
fn value_sets() -> Vec<String> {
    let entries = fs::read_dir(file(CHART).join("ci")).expect("the directory");
    let path = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        path.display().to_string()
    };
    let mut sets: Vec<String> = entries.map(path).collect();
    sets.sort();
    assert_eq!(sets.len(), 3);
    sets
}

/// What each set of values comes to, the default first.
fn renderings() -> Vec<(String, String)> {
    needs("helm");
    let mut all = vec![("default".to_owned(), rendered(&[]))];
    let of = |set: String| {
        let rendered = rendered(&["-f", &set]);
        (set, rendered)
    };
    all.extend(value_sets().into_iter().map(of));
    all
}

fn with_values(name: &str) -> Vec<Value> {
    let set = format!("{CHART}/ci/{name}-values.yaml");
    needs("helm");
    documents(&rendered(&["-f", &set]))
}

fn written(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).expect("a file");
    path
}

#[test]
#[ignore = "needs Helm: .ci/run tools"]
fn the_plain_manifests_are_the_charts() {
    needs("helm");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("tidemark.yaml");
    let status = Command::new(file("deploy/kubernetes/render"))
        .arg(&path)
        .output();
    assert!(status.expect("the script runs").status.success());
    let new = fs::read_to_string(path).expect("a file");
    assert_eq!(
        text(PLAIN),
        new,
        "run deploy/kubernetes/render after a change of the chart, of topics/ or of its values"
    );
}

#[test]
#[ignore = "needs Helm: .ci/run tools"]
fn helm_finds_nothing_to_complain_about() {
    needs("helm");
    for set in value_sets() {
        let linted = helm(&[
            "lint",
            "--strict",
            "--kube-version",
            "1.32.0",
            CHART,
            "-f",
            &set,
        ]);
        let said = [linted.stdout, linted.stderr].concat();
        assert!(
            linted.status.success(),
            "{set}: {}",
            String::from_utf8_lossy(&said)
        );
    }
}

#[test]
#[ignore = "needs Helm: .ci/run tools"]
fn whatever_the_values_manifests_fit_the_schemas_of_their_kinds() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut own = Vec::new();
    let mut foreign = Vec::new();
    for (number, (_, rendered)) in renderings().iter().enumerate() {
        own.push(written(&dir, &format!("{number}.yaml"), rendered));
        foreign.extend(of_kinds(&documents(rendered), &FOREIGN));
    }
    for kind in FOREIGN {
        assert!(!of_kinds(&foreign, &[kind]).is_empty(), "no {kind}");
    }
    needs("kubernetes-validate");
    let own: Vec<&Path> = own.iter().map(PathBuf::as_path).collect();
    validate(&own);
    needs("kubernetes-models");
    let path = written(&dir, "foreign.json", &json!(foreign).to_string());
    let check = Command::new(file("tests/servers/kubernetes-models"))
        .arg("check")
        .arg(path)
        .output()
        .expect("the script runs");
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(check.status.success(), "{said}");
}

#[test]
#[ignore = "needs Helm and a Kubernetes API server: .ci/run tools"]
fn a_real_api_server_takes_the_manifests_whatever_the_values() {
    needs("kube-apiserver");
    let renderings = renderings();
    let dir = tempfile::tempdir().expect("a directory");
    let mut paths = Vec::new();
    for (number, (_, rendered)) in renderings.iter().enumerate() {
        let mut own = documents(rendered);
        // It does not know these: they come with KEDA and the Prometheus Operator.
        own.retain(|document| !FOREIGN.iter().any(|kind| document["kind"] == *kind));
        let list = json!({"apiVersion": "v1", "kind": "List", "items": own});
        paths.push(written(&dir, &format!("{number}.json"), &list.to_string()));
    }
    let check = |paths: &[PathBuf]| {
        Command::new(file("tests/servers/kube-apiserver"))
            .arg("check")
            .args(paths)
            .output()
            .expect("the script runs")
    };
    let taken = check(&paths);
    let said = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(taken.status.success(), "{said}");
    // It does refuse what is wrong.
    let wrong = fs::read_to_string(&paths[0]).expect("a file");
    let wrong = wrong.replace("\"DoNotSchedule\"", "\"Never\"");
    let wrong = wrong.replace("\"ScheduleAnyway\"", "\"Never\"");
    let refused = check(&[written(&dir, "wrong.json", &wrong)]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("whenUnsatisfiable"),
        "{said}"
    );
}

#[test]
#[ignore = "needs Helm: .ci/run tools"]
fn whatever_the_values_configuration_is_read_and_pods_are_as_safe() {
    for (name, rendered) in renderings() {
        let documents = documents(&rendered);
        let config = read_configuration(&configuration(&documents)["tidemark.toml"]);
        assert!(config.is_cluster(), "{name}");
        for pod in pods(&documents) {
            run_without_rights(&pod);
            let grace = pod["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64();
            let drain = config.drain_timeout.as_secs();
            assert!(
                grace.is_none_or(|grace| grace >= drain + 15),
                "{name}: {grace:?}"
            );
        }
    }
}

#[test]
#[ignore = "needs Helm: .ci/run tools"]
fn what_the_values_say_of_topics_is_what_topics_are_made_of() {
    let documents = with_values("eks");
    let data = configuration(&documents);
    let partitions = |topic: &str| {
        let spec: Value = serde_saphyr::from_str(&data[topic]).expect("YAML");
        spec["partitions"].as_u64()
    };
    assert_eq!(partitions("usage.events.yaml"), Some(32));
    assert_eq!(partitions("ledger.postings.yaml"), Some(24));
    // The same topics as the program's.
    let entries = fs::read_dir(file("topics")).expect("the directory");
    for entry in entries {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        assert!(data.contains_key(&*name), "files/topics has no {name}");
    }
    // More workers than partitions would have nothing to do: 64 were asked for.
    let scaled = &of_kinds(&documents, &["ScaledObject"])[0]["spec"];
    assert_eq!(scaled["maxReplicaCount"], 32);
}

#[test]
#[ignore = "needs Helm: .ci/run tools"]
fn each_pod_has_the_role_of_its_work() {
    let documents = with_values("eks");
    let accounts = of_kinds(&documents, &["ServiceAccount"]);
    for pod in pods(&documents) {
        let name = &pod["spec"]["template"]["spec"]["serviceAccountName"];
        let component = pod["metadata"]["labels"]["app.kubernetes.io/component"].as_str();
        let component = component.expect("a component");
        let mut account = accounts
            .iter()
            .filter(|account| account["metadata"]["name"] == *name);
        let account = account.next().expect("the account");
        let role = &account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"];
        let role = role.as_str().expect("a role");
        assert!(role.ends_with(&format!("role/tidemark-{component}")));
        assert!(file(&format!("deploy/iam/{component}.json")).exists());
    }
}

#[test]
#[ignore = "needs Helm: .ci/run tools"]
fn gateways_topics_make_workers_adapt() {
    let documents = with_values("gateways");
    let config = read_configuration(&configuration(&documents)["tidemark.toml"]);
    assert_eq!(config.adapters.len(), 2);
    // Without a proxy, limits per address stay on.
    assert!(config.http.connections_per_address_max.is_some());
    let worker = &of_kinds(&documents, &["StatefulSet"])[0];
    assert_eq!(containers(worker)[0]["args"][2], "rate,post,adapt");
}

#[test]
#[ignore = "needs Helm: .ci/run tools"]
fn behind_a_proxy_addresses_have_no_limits() {
    let Some((_, default)) = renderings().into_iter().next() else {
        return;
    };
    let config = read_configuration(&configuration(&documents(&default))["tidemark.toml"]);
    assert_eq!(config.http.connections_per_address_max, None);
    assert_eq!(config.http.requests_per_second_per_address, None);
}

#[test]
#[ignore = "needs Helm: .ci/run tools"]
fn values_that_cannot_work_are_refused_with_a_reason() {
    needs("helm");
    let refused = [
        (
            "config.pipeline.cached_accounts_max=200000",
            "raise the limit",
        ),
        ("topics.usageEventsPartitions=64", "raise the limit"),
        ("worker.resources.limits.memory=1.5Gi", "whole number"),
        ("worker.replica=3", "replica"),
        ("config.kafka.bootstrap=", "bootstrap"),
        ("config.kafka.instance=me", "instance"),
        ("serviceAccounts.worker.create=false", "name"),
        ("init.rules=devnet", "rules"),
        ("serve.ingress.enabled=true", "serve.ingress.host"),
        ("image.digest=latest", "digest"),
    ];
    for (value, reason) in refused {
        let output = template(&["--set", value]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{value}");
        assert!(said.contains(reason), "{value}: {said}");
    }
}

#[test]
#[ignore = "needs Helm: .ci/run tools"]
fn another_configuration_makes_another_job_and_rolls_the_pods() {
    needs("helm");
    let of = |args: &[&str]| {
        let documents = documents(&rendered(args));
        let job = of_kinds(&documents, &["Job"])[0]["metadata"]["name"].clone();
        let worker = &of_kinds(&documents, &["StatefulSet"])[0];
        let annotations = &worker["spec"]["template"]["metadata"]["annotations"];
        (job, annotations["checksum/configuration"].clone())
    };
    let before = of(&[]);
    let after = of(&["--set", "config.store.table_prefix=other-"]);
    assert_ne!(before.0, after.0);
    assert_ne!(before.1, after.1);
    // A Job cannot be changed: another image must make another one.
    assert_ne!(before.0, of(&["--set", "image.tag=other"]).0);
    assert_eq!(before, of(&["--set", "worker.replicas=4"]));
}

#[test]
#[ignore = "needs Helm: .ci/run tools"]
fn the_chart_brings_the_rules_and_dashboards_of_this_repository() {
    let documents = with_values("eks");
    let rule = &of_kinds(&documents, &["PrometheusRule"])[0];
    let groups = |name: &str| yaml(name)["groups"].as_array().expect("groups").clone();
    let expected = [
        groups("prometheus/recording.yml"),
        groups("prometheus/alerts.yml"),
    ]
    .concat();
    let mut found = rule["spec"]["groups"].as_array().expect("groups").clone();
    let rules = found
        .iter_mut()
        .flat_map(|group| group["rules"].as_array_mut().expect("rules"));
    let mut links = 0;
    for rule in rules {
        let Some(link) = rule["annotations"]["runbook_url"].as_str() else {
            continue;
        };
        let ours = "https://runbooks.example.com/tidemark/docs/runbook.md#";
        let anchor = link.strip_prefix(ours).expect(link);
        let known = expected.iter().flat_map(|group| group["rules"].as_array());
        let mut known = known
            .flatten()
            .filter(|known| known["alert"] == rule["alert"]);
        let known = known.next().expect("the alert")["annotations"]["runbook_url"].clone();
        assert!(
            known
                .as_str()
                .expect("a link")
                .ends_with(&format!("#{anchor}"))
        );
        rule["annotations"]["runbook_url"] = known;
        links += 1;
    }
    assert!(links > 10);
    assert_eq!(found, expected);
    for (name, dashboard) in super::tools::dashboards() {
        let maps = of_kinds(&documents, &["ConfigMap"]);
        let key = format!("tidemark-{name}.json");
        let text = maps.iter().find_map(|map| map["data"][&key].as_str());
        let text = text.unwrap_or_else(|| panic!("files/dashboards has no {name}"));
        let found: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(found, dashboard, "{name}");
    }
}

fn scaling_query(documents: &[Value]) -> String {
    let scaled = &of_kinds(documents, &["ScaledObject"])[0]["spec"];
    // KEDA refuses a fallback with any other type.
    assert!(scaled["fallback"]["replicas"].is_u64());
    assert_eq!(scaled["triggers"][0]["metricType"], "AverageValue");
    let target = &scaled["scaleTargetRef"];
    let mut targets = pods(documents);
    targets
        .retain(|pod| pod["kind"] == target["kind"] && pod["metadata"]["name"] == target["name"]);
    assert_eq!(targets.len(), 1);
    let query = scaled["triggers"][0]["metadata"]["query"].as_str();
    query.expect("a query").to_owned()
}

/// What promtool says a query comes to.
fn comes_to(query: &str, series: &[(&str, u32)], expected: u32) {
    let series: Vec<Value> = series
        .iter()
        .map(|(name, value)| json!({"series": name, "values": format!("{value}x5")}))
        .collect();
    let expected = json!([{"labels": "{}", "value": expected}]);
    let test = json!({"expr": query, "eval_time": "2m", "exp_samples": expected});
    let test = json!({"interval": "1m", "input_series": series, "promql_expr_test": [test]});
    let dir = tempfile::tempdir().expect("a directory");
    let path = written(&dir, "scaling.yml", &json!({"tests": [test]}).to_string());
    promtool(&["test", "rules", &path.display().to_string()]);
}

#[test]
#[ignore = "needs Helm: .ci/run tools"]
fn the_autoscaler_goes_by_the_age_of_the_oldest_record_that_a_worker_can_help_with() {
    let documents = with_values("eks");
    let query = scaling_query(&documents);
    super::queries::names_what_exists("worker-scaling", &query);
    needs_prometheus();
    // 50 s, times three workers: Kubernetes divides by them. What is halted does not count, nor does
    // another installation.
    let busy = [
        (
            r#"tidemark_lag_seconds{role="rate", partition="0", instance="a", namespace="tidemark"}"#,
            50,
        ),
        (
            r#"tidemark_lag_seconds{role="post", partition="0", instance="b", namespace="tidemark"}"#,
            10,
        ),
        (
            r#"tidemark_lag_seconds{role="rate", partition="1", instance="c", namespace="tidemark"}"#,
            900,
        ),
        (
            r#"tidemark_halted{role="rate", partition="1", reason="x", instance="c", namespace="tidemark"}"#,
            1,
        ),
        (
            r#"tidemark_lag_seconds{role="rate", partition="0", instance="d", namespace="other"}"#,
            700,
        ),
    ];
    comes_to(&query, &busy, 150);
    comes_to(&query, &busy[1..2], 10);
    comes_to(&query, &[], 0);
    // Without a selector the labels of a cluster are not needed.
    let args = ["--set", "worker.autoscaling.enabled=true"];
    let query = scaling_query(&super::kubernetes::documents(&rendered(&args)));
    comes_to(
        &query,
        &[(
            r#"tidemark_lag_seconds{role="rate", partition="0", instance="a"}"#,
            30,
        )],
        30,
    );
}
