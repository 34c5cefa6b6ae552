//! Dashboards against Grafana's own types.

use std::fs;
use std::process::Command;

use super::tools::{dashboards, file, needs, panels, text, yaml};

/// What the compiler says of these files; `None`: nothing.
fn wrong(files: &[String]) -> Option<String> {
    let output = Command::new(file("tests/servers/grafana-schema"))
        .arg("check")
        .args(files)
        .output()
        .expect("the script runs");
    let said = [output.stdout, output.stderr].concat();
    (!output.status.success()).then(|| String::from_utf8_lossy(&said).into_owned())
}

#[test]
#[ignore = "needs Grafana's schema: .ci/run tools"]
fn every_dashboard_is_what_grafana_says_it_must_be() {
    needs("grafana-schema");
    let path = |name: &str| file(&format!("dashboards/{name}.json"));
    let names = dashboards().into_iter().map(|(name, _)| name);
    let files: Vec<String> = names
        .map(|name| path(&name).display().to_string())
        .collect();
    assert_eq!(wrong(&files), None);
    // It does find what is wrong.
    let dir = tempfile::tempdir().expect("a directory");
    let text = fs::read_to_string(path("http")).expect("a file");
    for (right, broken) in [
        (r#""displayMode": "list""#, r#""displayMode": "lst""#),
        (r#""unit": "reqps""#, r#""unt": "reqps""#),
        (r#""type": "stat""#, r#""type": "stats""#),
        (r#""gridPos": {"x": 0"#, r#""gridPos": {"x": "0""#),
    ] {
        assert!(text.contains(right), "{right}");
        let copy = dir.path().join("http.json");
        fs::write(&copy, text.replacen(right, broken, 1)).expect("a file");
        let said = wrong(&[copy.display().to_string()]);
        assert!(
            said.is_some_and(|said| said.contains("error TS")),
            "{broken}"
        );
    }
}

#[test]
fn what_grafana_is_given_fits_together() {
    let compose = yaml("docker-compose.yml");
    let grafana = &compose["services"]["grafana"];
    // Its types are those of its version.
    let image = grafana["image"].as_str().expect("an image");
    let version = image.strip_prefix("grafana/grafana:").expect("Grafana's");
    let version = version.split('@').next().unwrap_or_default();
    let script = text("tests/servers/grafana-schema");
    assert!(
        script.contains(&format!("\nversion={version}\n")),
        "{image}"
    );
    // The directories that it is given are where it looks.
    let mounts = grafana["volumes"].as_array().expect("mounts");
    let is_mounted = |from: &str, to: &str| {
        let mount = format!("{from}:{to}:ro");
        assert!(mounts.iter().any(|is| *is == mount.as_str()), "{mount}");
    };
    is_mounted("./dashboards/provisioning", "/etc/grafana/provisioning");
    let providers = yaml("dashboards/provisioning/dashboards/tidemark.yml");
    let path = providers["providers"][0]["options"]["path"].as_str();
    is_mounted("./dashboards", path.expect("a path"));
    // The data source is a service, and the one that dashboards begin with.
    let sources = yaml("dashboards/provisioning/datasources/prometheus.yml");
    let source = &sources["datasources"][0];
    assert_eq!(source["url"], "http://prometheus:9090");
    let port = &compose["services"]["prometheus"]["ports"][0];
    assert!(port.as_str().is_some_and(|port| port.ends_with(":9090")));
    for (name, dashboard) in dashboards() {
        let first = &dashboard["templating"]["list"][0];
        assert_eq!(first["type"], "datasource", "{name}");
        assert_eq!(first["query"], source["type"], "{name}");
        assert_eq!(first["current"]["value"], source["uid"], "{name}");
        let variable = format!("${{{}}}", first["name"].as_str().expect("a name"));
        for panel in panels(&dashboard) {
            assert_eq!(panel["datasource"]["uid"], variable.as_str(), "{name}");
            assert_eq!(panel["datasource"]["type"], source["type"], "{name}");
        }
    }
}
