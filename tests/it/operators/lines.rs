//! Log lines: names that can be searched for, and where each line belongs.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::tools::file;
use crate::process::site::Site;

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else {
            into.push(path);
        }
    }
}

#[test]
fn every_line_that_is_logged_has_a_dotted_name() {
    let mut paths = Vec::new();
    sources(&file("src"), &mut paths);
    let mut found = 0;
    for path in paths {
        let text = fs::read_to_string(&path).expect("a file");
        for level in ["error", "warn", "info", "debug"] {
            for call in text.split(&format!("tracing::{level}!(")).skip(1) {
                let place = format!("{}: {:.80}", path.display(), call);
                let name = call.trim_start().strip_prefix("event = \"");
                let name = name.and_then(|rest| rest.split('"').next());
                let name = name.unwrap_or_else(|| panic!("{place}: no event"));
                assert!(
                    name.contains('.')
                        && name
                            .bytes()
                            .all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'_'),
                    "{place}"
                );
                found += 1;
            }
        }
    }
    assert!(found > 40, "{found}");
}

/// The one line that a command that fails says, as JSON.
fn failed(site: &Site, args: &[&str]) -> Value {
    let printed = site.try_run(args);
    let line: Value = serde_json::from_str(&printed.stderr)
        .unwrap_or_else(|e| panic!("{args:?}: {e}: {}", printed.stderr));
    assert_eq!(line["event"], "process.failed", "{line}");
    assert_eq!(line["level"], "ERROR", "{line}");
    assert!(line["timestamp"].is_string(), "{line}");
    assert_eq!(line["exit_code"].as_i64(), printed.code.map(i64::from));
    line
}

#[test]
fn why_a_process_ends_is_a_line_like_all_others() {
    let mut site = Site::new();
    let mut up = site.up();
    up.wait_ready();
    // For people.
    let second = site.try_run(&["up"]);
    let last = second.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("tidemark: "), "{}", second.stderr);
    assert!(
        second.stderr.contains("is already running on"),
        "{}",
        second.stderr
    );
    // For machines, also with a filter that lets nothing through.
    site.set(&[
        ("TIDEMARK_LOGGING_FORMAT", "json"),
        ("TIDEMARK_LOGGING_FILTER", "off"),
    ]);
    let message = failed(&site, &["up"])["message"].to_string();
    assert!(message.contains("is already running on"), "{message}");
    up.stop();
    // A configuration that cannot be read, where the form is all that can be known of it; several lines are one.
    site.set(&[
        ("TIDEMARK_LOGGING_FORMAT", "json"),
        ("TIDEMARK_LOGGING_FILTER", "info,,=="),
        ("TIDEMARK_DRAIN_TIMEOUT", "soon"),
    ]);
    for args in [&["up"][..], &["worker"], &["serve"], &["doctor"]] {
        let message = failed(&site, args)["message"].to_string();
        let names = ["drain_timeout", "logging.filter"];
        assert!(names.iter().all(|name| message.contains(name)), "{message}");
    }
    site.set(&[("TIDEMARK_LOGGING_FORMAT", "json")]);
    let path = site.file("nowhere.toml");
    let path = path.to_str().expect("UTF-8");
    let message = failed(&site, &["--config", path, "up"])["message"].to_string();
    assert!(message.contains("cannot read"), "{message}");
    std::fs::write(path, "[logging]\nformat = 'json'\nnonsense = 1\n").expect("a file");
    site.set(&[]);
    let message = failed(&site, &["--config", path, "up"])["message"].to_string();
    assert!(message.contains("is not a setting"), "{message}");
}

#[test]
fn json_lines_are_json_and_say_to_which_chunk_and_request_they_belong() {
    let mut site = Site::new();
    site.set(&[
        ("TIDEMARK_LOGGING_FORMAT", "json"),
        ("TIDEMARK_LOGGING_FILTER", "debug"),
    ]);
    let mut up = site.up();
    up.wait_ready();
    site.run(&["emit", "--events", "50"]);
    site.run(&["wait"]);
    let said = up.said();
    up.stop();
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    assert!(lines.iter().all(|line| line["level"].is_string()));
    let rated = lines.iter().find(|line| line["event"] == "chunk.rated");
    let rated = rated.expect("a chunk was rated");
    assert_eq!(rated["span"]["name"], "rate.chunk", "{rated}");
    assert_eq!(rated["span"]["task"], rated["task"], "{rated}");
    assert!(rated["span"]["chunk"].is_number(), "{rated}");
}
