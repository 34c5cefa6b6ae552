//! The files, and the tools that read them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A file of the repository.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub fn text(name: &str) -> String {
    let path = file(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every dashboard, by the name of its file.
pub fn dashboards() -> Vec<(String, Value)> {
    let entries = fs::read_dir(file("dashboards")).expect("the directory");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
    paths.sort();
    let read = |path: PathBuf| {
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path).expect("a file");
        let value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        (name, value)
    };
    paths.into_iter().map(read).collect()
}

/// The panels of a dashboard that show something.
pub fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = dashboard["panels"].as_array().expect("panels");
    panels.iter().filter(|panel| panel["type"] != "row")
}

/// The queries of a panel, with the dashboard's variables filled in.
pub fn queries(dashboard: &Value, panel: &Value) -> Vec<String> {
    let variables = dashboard["templating"]["list"].as_array().expect("a list");
    let targets = panel["targets"].as_array().expect("targets");
    let filled = |target: &Value| {
        let query = target["expr"].as_str().expect("a query").to_owned();
        variables.iter().fold(query, |query, variable| {
            let name = variable["name"].as_str().expect("a name");
            let value = match variable["current"]["value"].as_str() {
                Some("$__all") => variable["allValue"].as_str(),
                chosen => chosen,
            };
            let value = value.expect("a value");
            query.replace(&format!("${name}"), value)
        })
    };
    targets.iter().map(filled).collect()
}

/// The rules of both files: of the alerts, and the recorded ones.
pub fn rules() -> Vec<Value> {
    let of = |name: &str| -> Vec<Value> {
        let file = yaml(name);
        let groups = file["groups"].as_array().expect("groups");
        let rules = groups
            .iter()
            .map(|group| group["rules"].as_array().expect("rules"));
        rules.flatten().cloned().collect()
    };
    [of("prometheus/alerts.yml"), of("prometheus/recording.yml")].concat()
}

/// Fails the test if Prometheus or promtool is missing.
pub fn needs_prometheus() {
    for tool in ["prometheus", "promtool"] {
        needs_program(tool);
    }
}

fn needs_program(tool: &str) {
    let found = Command::new(tool).arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        crate::needs::missing(tool, "Debian: apt install prometheus");
    }
}

/// Runs promtool, which must be content.
pub fn promtool(args: &[&str]) {
    let output = Command::new("promtool")
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("promtool runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "promtool {args:?}\n{said}");
}

/// Fails the test if a tool of `tests/servers` is missing.
pub fn needs(name: &str) {
    let script = file("tests/servers").join(name);
    let is_ready = Command::new(script).arg("ready").status();
    if !is_ready.expect("the script runs").success() {
        crate::needs::missing(name, &format!("tests/servers/{name} fetch"));
    }
}
