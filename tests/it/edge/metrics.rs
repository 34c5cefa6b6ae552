use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemark::domain::position::Partition;
use tidemark::ops::health::{Health, Role, TaskId};
use tidemark::ops::metrics::Metrics;

#[test]
fn metric_names_labels_and_help_texts_change_only_on_purpose() {
    let lines: Vec<String> = Metrics::DECLARED
        .iter()
        .map(|metric| {
            let (name, help) = (metric.name, metric.help.trim());
            format!(
                "{name}{{{}}} {}\n  {help}",
                metric.labels.join(","),
                metric.kind
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn every_metric_has_its_own_name_and_a_help_text_in_sentences() {
    let names: BTreeSet<_> = Metrics::DECLARED.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), Metrics::DECLARED.len());
    for metric in Metrics::DECLARED {
        assert!(metric.name.starts_with("tidemark_"));
        assert!(metric.help.trim().ends_with('.'), "{}", metric.name);
    }
}

#[test]
fn metrics_render_as_prometheus_text() {
    let metrics = Metrics::new();
    metrics.events_rated_total.inc_by(3);
    metrics
        .events_rejected_total
        .with_label_values(&["malformed"])
        .inc();
    let text = metrics.render();
    for line in [
        "# HELP tidemark_events_rated_total Events that rating accepted and counted. A chunk that is rated again after a crash counts again, here and below.",
        "# TYPE tidemark_events_rated_total counter",
        "tidemark_events_rated_total 3",
        r#"tidemark_events_rejected_total{reason="malformed"} 1"#,
        concat!(
            "tidemark_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1"
        ),
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

/// Lag is told from outside of the tasks, which may be let go at any moment.
#[test]
fn no_lag_is_left_of_a_task_that_was_let_go() {
    let metrics = Arc::new(Metrics::new());
    let health = Health::new(metrics.clone());
    let task = TaskId::new(Role::Rate, Partition(2));
    let is_over = AtomicBool::new(false);
    let left = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                health.lags(task, 7, Duration::from_secs(3));
            }
        });
        let left = (0..20_000).find(|_| {
            health.progressed(task, 7);
            health.gone(task);
            let labels = ["rate", "2"];
            let is_told = metrics.lag_seconds.remove_label_values(&labels).is_ok()
                | metrics.lag_records.remove_label_values(&labels).is_ok();
            is_told || !health.tasks().is_empty()
        });
        is_over.store(true, Ordering::Relaxed);
        left
    });
    assert_eq!(left, None, "a task that is gone has lag");
}
