use std::collections::BTreeSet;

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
        "# HELP tidemark_events_rated_total Events that were accepted by rating and counted. A chunk that is rated again after a crash counts again, here and below.",
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
