//! Alerts and the runbook.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::tools::{has, promtool, rules, text, yaml};

const RUNBOOK: &str = "docs/runbook.md";
const SEVERITIES: [&str; 3] = ["page", "warning", "info"];

fn alerts() -> Vec<Value> {
    let mut alerts = rules();
    alerts.retain(|rule| rule.get("alert").is_some());
    alerts
}

/// The sections of the runbook that are about an alert: anchor and text.
fn sections() -> Vec<(String, String)> {
    let text = text(RUNBOOK);
    let sections = text.split("\n### ").skip(1);
    let section = |section: &str| {
        let (heading, body) = section.split_once('\n').expect("a body");
        let body = body.split("\n## ").next().expect("a first part");
        (heading.to_lowercase(), body.to_owned())
    };
    sections.map(section).collect()
}

#[test]
fn every_alert_says_what_is_wrong_how_urgent_it_is_and_where_to_read_on() {
    let sections: BTreeSet<String> = sections().into_iter().map(|(anchor, _)| anchor).collect();
    let runbook = "https://example.invalid/tidemark/docs/runbook.md#";
    for alert in alerts() {
        let name = alert["alert"].as_str().expect("a name");
        let severity = alert["labels"]["severity"].as_str().expect("a severity");
        assert!(SEVERITIES.contains(&severity), "{name}: {severity}");
        for annotation in ["summary", "description"] {
            let text = alert["annotations"][annotation].as_str();
            assert!(
                text.is_some_and(|text| text.len() > 10),
                "{name}: {annotation}"
            );
        }
        let url = alert["annotations"]["runbook_url"].as_str().expect("a URL");
        let anchor = url
            .strip_prefix(runbook)
            .unwrap_or_else(|| panic!("{name}: {url}"));
        assert!(
            sections.contains(anchor),
            "{name}: {RUNBOOK} has no #{anchor}"
        );
    }
}

#[test]
fn every_section_of_the_runbook_has_an_alert_a_cause_a_check_and_a_cure() {
    let alerts: BTreeSet<String> = alerts()
        .iter()
        .map(|alert| alert["alert"].as_str().expect("a name").to_lowercase())
        .collect();
    let sections = sections();
    assert_eq!(sections.len(), alerts.len());
    for (anchor, body) in sections {
        assert!(alerts.contains(&anchor), "{anchor}: there is no such alert");
        for part in ["- **Cause:** ", "- **Check:** ", "- **Cure:** "] {
            let found = body.lines().filter_map(|line| line.strip_prefix(part));
            let found: Vec<&str> = found.collect();
            assert!(
                matches!(&found[..], [text] if text.len() > 15),
                "{anchor}: {part}"
            );
        }
    }
}

#[test]
fn every_link_inside_of_the_runbook_leads_somewhere() {
    let text = text(RUNBOOK);
    let own = anchors(&text);
    for link in text.split("](#").skip(1) {
        let (to, _) = link.split_once(')').expect("a closing parenthesis");
        assert!(own.contains(to), "#{to}");
    }
    for link in text
        .split("](")
        .skip(1)
        .filter(|link| !link.starts_with(['#', 'h']))
    {
        let (to, _) = link.split_once(')').expect("a closing parenthesis");
        let (file, anchor) = to.split_once('#').unwrap_or((to, ""));
        let other = std::fs::read_to_string(super::tools::file("docs").join(file));
        let other = other.unwrap_or_else(|error| panic!("{to}: {error}"));
        assert!(
            anchor.is_empty() || anchors(&other).contains(anchor),
            "{to}"
        );
    }
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let anchor = |line: &str| {
        let heading = line.strip_prefix("## ").or(line.strip_prefix("### "))?;
        let kept = |letter: &char| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter);
        let heading: String = heading.to_lowercase().chars().filter(kept).collect();
        Some(heading.replace(' ', "-"))
    };
    text.lines().filter_map(anchor).collect()
}

#[test]
fn every_command_that_the_runbook_names_exists() {
    let text = text(RUNBOOK);
    let commands: BTreeSet<Vec<&str>> = text
        .split('`')
        .filter_map(|code| code.strip_prefix("tidemark "))
        .map(|line| {
            let is_name = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
            line.split(' ').take_while(is_name).collect()
        })
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        let help = Command::new(env!("CARGO_BIN_EXE_tidemark"))
            .args(&command)
            .arg("--help")
            .output()
            .expect("the binary runs");
        assert!(help.status.success(), "tidemark {}", command.join(" "));
    }
}

#[test]
fn the_runbook_knows_every_reason_for_a_halt() {
    let text = text(RUNBOOK);
    for code in tidemark::pipeline::HaltCode::ALL {
        let code = code.as_str();
        assert!(text.contains(&format!("`{code}`")), "{code}");
    }
}

#[test]
fn every_alert_is_tested_where_it_fires_and_where_it_does_not() {
    let file = yaml("prometheus/tests/alerts.yml");
    let tests = file["tests"].as_array().expect("tests");
    let cases = tests
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_array().expect("cases"));
    let cases: Vec<(&str, bool)> = cases
        .map(|case| {
            let expected = case.get("exp_alerts").and_then(Value::as_array);
            let fires = expected.is_some_and(|alerts| !alerts.is_empty());
            (case["alertname"].as_str().expect("a name"), fires)
        })
        .collect();
    for alert in alerts() {
        let name = alert["alert"].as_str().expect("a name");
        for fires in [true, false] {
            assert!(
                cases.contains(&(name, fires)),
                "{name}: no case with fires = {fires}"
            );
        }
    }
}

#[test]
fn promtool_is_content_with_rules_and_configuration_and_every_case_holds() {
    if !has("promtool") {
        return;
    }
    promtool(&[
        "check",
        "rules",
        "prometheus/alerts.yml",
        "prometheus/recording.yml",
    ]);
    promtool(&["check", "config", "prometheus/prometheus.yml"]);
    promtool(&["test", "rules", "prometheus/tests/alerts.yml"]);
    promtool(&["test", "rules", "prometheus/tests/traffic.yml"]);
}
