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

/// Whether a tool can be used. `TIDEMARK_REQUIRE_PROMETHEUS` demands Prometheus and promtool.
pub fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output();
    let is_there = found.is_ok_and(|output| output.status.success());
    let is_required = std::env::var_os("TIDEMARK_REQUIRE_PROMETHEUS").is_some();
    assert!(is_there || !is_required, "{tool} is not installed");
    if !is_there {
        eprintln!(
            "SKIPPED: {tool} is not installed (Debian: apt install prometheus); TIDEMARK_REQUIRE_PROMETHEUS=1 demands it"
        );
    }
    is_there
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

/// Whether a tool of `tests/servers` can be used. `TIDEMARK_REQUIRE_` and its name demand it.
pub fn is_installed(name: &str) -> bool {
    let variable = format!("TIDEMARK_REQUIRE_{}", name.to_uppercase().replace('-', "_"));
    let is_required = std::env::var_os(&variable).is_some();
    let command = if is_required { "fetch" } else { "ready" };
    let script = file("tests/servers").join(name);
    let is_there = Command::new(script).arg(command).status();
    let is_there = is_there.expect("the script runs").success();
    assert!(is_there || !is_required, "{name} cannot be installed");
    if !is_there {
        eprintln!("SKIPPED: `tests/servers/{name} fetch` installs it, {variable}=1 demands it");
    }
    is_there
}
