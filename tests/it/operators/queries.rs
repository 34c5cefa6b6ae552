//! Every query names metrics and labels that exist.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::parser::{self, Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;
use tidemark::ops::metrics::Metrics;

use super::tools::{dashboards, panels, queries, rules};

/// What Prometheus adds to whatever it reads; the last two in a cluster only.
const TARGET: [&str; 4] = ["job", "instance", "cluster", "namespace"];

/// Names of series, and the labels that each has.
struct Known(BTreeMap<String, BTreeSet<String>>);

impl Known {
    fn series() -> Known {
        let mut known = BTreeMap::new();
        let set = |labels: &[&str]| -> BTreeSet<String> {
            let labels = labels.iter().chain(&TARGET);
            labels.map(|label| (*label).to_owned()).collect()
        };
        for metric in Metrics::DECLARED {
            let labels = set(metric.labels);
            if metric.kind.starts_with("Histogram") {
                let buckets = labels.iter().cloned().chain(["le".to_owned()]).collect();
                known.insert(format!("{}_bucket", metric.name), buckets);
                known.insert(format!("{}_sum", metric.name), labels.clone());
                known.insert(format!("{}_count", metric.name), labels);
            } else {
                known.insert(metric.name.to_owned(), labels);
            }
        }
        known.insert("up".to_owned(), set(&[]));
        known.insert(
            "ALERTS".to_owned(),
            set(&["alertname", "alertstate", "severity"]),
        );
        let mut known = Known(known);
        for rule in rules() {
            if let Some(name) = rule.get("record").and_then(Value::as_str) {
                let query = rule["expr"].as_str().expect("a query");
                let asked = known.must_exist(name, query);
                known.0.insert(name.to_owned(), asked.grouped);
            }
        }
        known
    }

    /// What a query asks for, all of which must exist.
    fn must_exist(&self, place: &str, query: &str) -> Asked {
        let parsed =
            parser::parse(query).unwrap_or_else(|error| panic!("{place}: {query}: {error}"));
        let mut asked = Asked::default();
        walk_expr(&mut asked, &parsed).expect("a walk that cannot fail");
        for (name, labels) in &asked.selected {
            let Some(known) = self.0.get(name) else {
                panic!("{place}: there is no metric {name}");
            };
            assert!(
                labels.is_subset(known),
                "{place}: {name} has no labels {labels:?}, only {known:?}"
            );
        }
        for group in &asked.groups {
            let of = |name: &String| self.0[name].clone();
            let known: BTreeSet<String> = group.metrics.iter().flat_map(of).collect();
            let labels = &group.labels;
            assert!(
                labels.is_subset(&known),
                "{place}: grouped by {labels:?}, there are {known:?}"
            );
        }
        asked
    }
}

/// What a query asks for.
#[derive(Default)]
struct Asked {
    /// Metrics, each with the labels that it is selected by.
    selected: Vec<(String, BTreeSet<String>)>,
    groups: Vec<Group>,
    /// Every label that anything is grouped by.
    grouped: BTreeSet<String>,
}

/// What a part of a query is grouped by, and the metrics in that part.
struct Group {
    labels: BTreeSet<String>,
    metrics: Vec<String>,
}

impl Asked {
    fn select(&mut self, selector: &VectorSelector) {
        let name = selector
            .name
            .clone()
            .expect("every selector names its metric");
        let labels = selector
            .matchers
            .matchers
            .iter()
            .map(|matcher| matcher.name.clone());
        self.selected.push((name, labels.collect()));
    }
}

impl ExprVisitor for Asked {
    type Error = ();

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, ()> {
        match expr {
            Expr::VectorSelector(selector) => self.select(selector),
            Expr::MatrixSelector(selector) => self.select(&selector.vs),
            Expr::Aggregate(aggregate) => {
                let mut inner = Asked::default();
                walk_expr(&mut inner, &aggregate.expr)?;
                let labels: BTreeSet<String> = match &aggregate.modifier {
                    Some(modifier) => modifier.labels().labels.iter().cloned().collect(),
                    None => BTreeSet::new(),
                };
                let kept = labels.iter().filter(|label| *label != "le").cloned();
                self.grouped.extend(kept);
                let metrics = inner.selected.into_iter().map(|(name, _)| name).collect();
                self.groups.push(Group { labels, metrics });
            }
            _ => {}
        }
        Ok(true)
    }
}

/// Fails unless every metric and label of a query exists.
pub fn names_what_exists(place: &str, query: &str) {
    Known::series().must_exist(place, query);
}

#[test]
fn every_query_of_a_rule_names_metrics_and_labels_that_exist() {
    let known = Known::series();
    for rule in rules() {
        let name = rule.get("alert").or(rule.get("record")).expect("a name");
        known.must_exist(&name.to_string(), rule["expr"].as_str().expect("a query"));
    }
}

#[test]
fn rules_keep_the_labels_of_clusters_and_dashboards_select_by_them() {
    let known = Known::series();
    let both = |labels: &BTreeSet<String>| {
        ["cluster", "namespace"]
            .iter()
            .all(|label| labels.contains(*label))
    };
    for rule in rules() {
        let query = rule["expr"].as_str().expect("a query");
        for group in known.must_exist(query, query).groups {
            assert!(both(&group.labels), "{query}: {:?}", group.labels);
        }
    }
    for (name, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for query in queries(&dashboard, panel) {
                for (metric, labels) in known.must_exist(&name, &query).selected {
                    assert!(both(&labels), "{name}: {query}: {metric}");
                }
            }
        }
    }
}

#[test]
fn every_query_of_a_dashboard_names_metrics_and_labels_that_exist() {
    let known = Known::series();
    for (name, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            let place = format!("{name}: {}", panel["title"]);
            let targets = panel["targets"].as_array().expect("targets");
            for (query, target) in queries(&dashboard, panel).iter().zip(targets) {
                let asked = known.must_exist(&place, query);
                let of_recorded = asked.selected.iter().flat_map(|(name, _)| &known.0[name]);
                let told: BTreeSet<&String> = asked.grouped.iter().chain(of_recorded).collect();
                let legend = target["legendFormat"].as_str().expect("a legend");
                for label in legend
                    .split("{{")
                    .skip(1)
                    .filter_map(|rest| rest.split("}}").next())
                {
                    assert!(
                        told.iter().any(|told| *told == label),
                        "{place}: legend {label}"
                    );
                }
            }
        }
    }
}

#[test]
fn no_query_about_requests_counts_the_probes() {
    let ours = r#"route!~"/healthz|/readyz|/metrics"#;
    let mut found = 0;
    let mut look = |place: &str, query: &str| {
        for metric in ["http_requests_total", "http_request_seconds_bucket"] {
            for rest in query.split(&format!("tidemark_{metric}")).skip(1) {
                let labels = rest.split('}').next().expect("a first part");
                assert!(labels.contains(ours), "{place}: {query}");
                found += 1;
            }
        }
    };
    for (name, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for query in queries(&dashboard, panel) {
                look(&format!("{name}: {}", panel["title"]), &query);
            }
        }
    }
    for rule in rules() {
        look(&rule.to_string(), rule["expr"].as_str().expect("a query"));
    }
    assert!(found >= 9, "{found}");
}

#[test]
fn every_panel_has_a_title_a_description_and_a_unit_and_its_place() {
    let mut uids = BTreeSet::new();
    for (name, dashboard) in dashboards() {
        assert!(
            uids.insert(dashboard["uid"].to_string()),
            "{name}: its uid is taken"
        );
        assert!(
            dashboard["description"]
                .as_str()
                .is_some_and(|text| text.len() > 20),
            "{name}"
        );
        let (mut ids, mut titles, mut cells) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for panel in panels(&dashboard) {
            let place = format!("{name}: {}", panel["title"]);
            assert!(ids.insert(panel["id"].as_u64()), "{place}: its id is taken");
            assert!(
                titles.insert((panel["title"].to_string(), panel["type"].to_string())),
                "{place} twice"
            );
            let described = panel["description"].as_str();
            assert!(
                described.is_some_and(|text| text.ends_with('.')),
                "{place}: no description"
            );
            let unit = &panel["fieldConfig"]["defaults"]["unit"];
            assert!(
                unit.as_str().is_some_and(|unit| !unit.is_empty()),
                "{place}: no unit"
            );
            assert!(
                !panel["targets"].as_array().expect("targets").is_empty(),
                "{place}"
            );
            let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
            assert!(at("x") + at("w") <= 24, "{place}: beyond the edge");
            for cell in (at("x")..at("x") + at("w"))
                .flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
            {
                assert!(cells.insert(cell), "{place} stands over another panel");
            }
        }
    }
    assert!(uids.len() >= 5, "{uids:?}");
}
