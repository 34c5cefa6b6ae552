//! Alerts and the runbook.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::tools::{needs_prometheus, promtool, rules, text, yaml};

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
#[ignore = "needs Prometheus: .ci/run tools"]
fn promtool_is_content_with_rules_and_configuration_and_every_case_holds() {
    needs_prometheus();
    promtool(&[
        "check",
        "rules",
        "prometheus/alerts.yml",
        "prometheus/recording.yml",
    ]);
    promtool(&["check", "config", "prometheus/prometheus.yml"]);
    promtool(&["test", "rules", "prometheus/tests/alerts.yml"]);
    promtool(&["test", "rules", "prometheus/tests/traffic.yml"]);
    promtool(&["test", "rules", "prometheus/tests/clusters.yml"]);
}

/// Cases that prometheus/tests/clusters.yml has for two installations: the first has no series, and
/// the quiet one of the second becomes quiet only later.
const WRITTEN_BY_HAND: [&str; 2] = ["TidemarkAllDown", "TidemarkUsageLost"];

#[test]
#[ignore = "needs Prometheus: .ci/run tools"]
fn every_alert_fires_for_the_installation_that_is_ill_beside_a_healthy_one() {
    needs_prometheus();
    let mut file = yaml("prometheus/tests/alerts.yml");
    let tests = file["tests"].as_array().expect("tests").clone();
    let (firing, quiet): (Vec<Value>, Vec<Value>) = tests.into_iter().partition(fires);
    let two = firing.iter().filter_map(|test| {
        let name = alert_of(test);
        let is_healthy = |quiet: &&Value| {
            alert_of(quiet) == name && quiet["interval"] == test["interval"] && has_series(quiet)
        };
        let healthy = quiet.iter().find(is_healthy);
        match WRITTEN_BY_HAND.contains(&name) {
            true => None,
            false => Some(beside(test, healthy.unwrap_or_else(|| panic!("{name}")))),
        }
    });
    let two: Vec<Value> = two.collect();
    assert!(two.len() + WRITTEN_BY_HAND.len() >= alerts().len());
    file["tests"] = Value::Array(two);
    let rules = ["alerts", "recording"].map(|name| {
        let path = super::tools::file(&format!("prometheus/{name}.yml"));
        path.display().to_string()
    });
    file["rule_files"] = serde_json::json!(rules);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("two.yml");
    std::fs::write(&path, file.to_string()).expect("a file");
    promtool(&["test", "rules", &path.display().to_string()]);
}

fn fires(test: &Value) -> bool {
    let mut cases = test["alert_rule_test"].as_array().expect("cases").iter();
    cases.any(|case| case.get("exp_alerts").is_some())
}

fn has_series(test: &Value) -> bool {
    test["input_series"]
        .as_array()
        .is_some_and(|series| !series.is_empty())
}

fn alert_of(test: &Value) -> &str {
    let name = &test["alert_rule_test"][0]["alertname"];
    name.as_str().expect("a name")
}

/// A case that fires for one installation, with the series of another that is healthy.
fn beside(ill: &Value, healthy: &Value) -> Value {
    let labelled = |test: &Value, cluster: &str, namespace: &str| -> Vec<Value> {
        let label = |series: &Value| {
            let name = series["series"].as_str().expect("a series");
            let labels = format!("cluster=\"{cluster}\", namespace=\"{namespace}\"");
            let name = match name.split_once('{') {
                Some((name, rest)) => format!("{name}{{{labels}, {rest}"),
                None => format!("{name}{{{labels}}}"),
            };
            let mut series = series.clone();
            series["series"] = Value::String(name);
            series
        };
        let series = test["input_series"].as_array().expect("series");
        series.iter().map(label).collect()
    };
    let mut both = ill.clone();
    let series = [labelled(ill, "eu", "a"), labelled(healthy, "us", "b")];
    both["input_series"] = Value::Array(series.concat());
    let cases = both["alert_rule_test"].as_array_mut().expect("cases");
    for case in cases {
        let Some(expected) = case.get_mut("exp_alerts").and_then(Value::as_array_mut) else {
            continue;
        };
        for alert in expected {
            alert["exp_labels"]["cluster"] = "eu".into();
            alert["exp_labels"]["namespace"] = "a".into();
        }
    }
    both
}
