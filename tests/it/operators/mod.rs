//! What operators look at: alerts, runbook, dashboards; against the metrics that there are, and with a real Prometheus.

mod chart;
mod deploy;
mod grafana;
mod images;
mod kubernetes;
mod lines;
mod live;
mod queries;
mod rules;
pub mod terraform;
pub mod tools;
mod top;
#[cfg(feature = "otlp")]
mod traces;
