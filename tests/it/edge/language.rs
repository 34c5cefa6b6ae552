//! Texts that people read are plain English: none of the turns that docs/style.md rules out.

use regex::Regex;
use serde_json::Value;
use tidemark::ops::metrics::Metrics;

use super::docs::pages;
use super::repository;
use crate::http::stand::Stand;

/// Words and turns that are not used.
const RULED_OUT: &str =
    r"(?i)\b(whoever|whomever|nobody|somebody|so many|stands|told|tells? of|be done with|anew)\b";

fn look(place: &str, text: &str, found: &mut Vec<String>) {
    let ruled_out = Regex::new(RULED_OUT).expect("a pattern");
    for line in text.lines() {
        if let Some(hit) = ruled_out.find(line) {
            found.push(format!("{place}: \"{}\" in: {}", hit.as_str(), line.trim()));
        }
    }
}

/// Descriptions and summaries, wherever they are.
fn look_at_document(path: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if name == "description" || name == "summary" => {
                        look(path, text, found);
                    }
                    _ => look_at_document(&format!("{path}/{name}"), value, found),
                }
            }
        }
        Value::Array(all) => all
            .iter()
            .for_each(|value| look_at_document(path, value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn texts_that_people_read_have_no_riddles() {
    let mut found = Vec::new();
    for metric in Metrics::DECLARED {
        look(metric.name, metric.help, &mut found);
    }
    // What docs/style.md quotes as bad examples is not looked at.
    for name in pages().iter().filter(|name| *name != "docs/style.md") {
        look(name, &repository(name), &mut found);
    }
    look("README.md", &repository("README.md"), &mut found);
    let stand = Stand::new().await;
    let document = stand.get("/openapi.json").await.json();
    look_at_document("openapi.json", &document, &mut found);
    let directory = tempfile::tempdir().expect("a directory");
    let man = std::process::Command::new(env!("CARGO_BIN_EXE_tidemark"))
        .args(["man", "--dir"])
        .arg(directory.path())
        .status();
    assert!(man.expect("it runs").success());
    for page in std::fs::read_dir(directory.path()).expect("man pages") {
        let path = page.expect("a page").path();
        let text = std::fs::read_to_string(&path).expect("text");
        look(&path.display().to_string(), &text, &mut found);
    }
    assert!(
        found.is_empty(),
        "{} places:\n{}",
        found.len(),
        found.join("\n")
    );
}
