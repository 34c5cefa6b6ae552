//! What became of the events of the last minutes, as gauges: `tidemark top` reads a process once or
//! twice, and counters alone would tell it nothing of what happened before.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::select;
use prometheus::IntCounterVec;
use prometheus::core::Collector;
use tokio::sync::watch;

use crate::ops::clock::{Clock, Moment};
use crate::ops::metrics::Metrics;

/// How far back "recent" goes.
const SPAN: Duration = Duration::from_secs(300);
/// How often the counters are noted.
const EVERY: Duration = Duration::from_secs(5);

/// Outcomes, as labels.
const OUTCOMES: [&str; 3] = ["rated", "rejected", "without_usage"];

type Counts = [u64; OUTCOMES.len()];

/// Keeps the gauges current until shutdown, for a process that runs no tasks: those that do have
/// [`super::watch_lag`].
pub async fn watch_recent(
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut recent = Recent::default();
    while !*shutdown.borrow() {
        recent.tell(clock.moment(), &metrics);
        let stop = std::pin::pin!(shutdown.wait_for(|stop| *stop));
        select(clock.sleep(EVERY), stop).await;
    }
}

/// The counters as they were, at most [`SPAN`] ago.
#[derive(Default)]
pub(super) struct Recent(VecDeque<(Moment, Counts)>);

impl Recent {
    /// Notes the counters, and sets the gauges to what they have grown by.
    pub(super) fn tell(&mut self, now: Moment, metrics: &Metrics) {
        let counts = counts(metrics);
        while self.0.len() > 1 && self.0.front().is_some_and(|(at, _)| now.since(*at) > SPAN) {
            self.0.pop_front();
        }
        if self.0.back().is_none_or(|(at, _)| now.since(*at) >= EVERY) {
            self.0.push_back((now, counts));
        }
        let before = self.0.front().map_or(counts, |(_, before)| *before);
        for ((outcome, now), before) in OUTCOMES.iter().zip(counts).zip(before) {
            let grown = i64::try_from(now.saturating_sub(before)).unwrap_or(i64::MAX);
            let recent = &metrics.recent_events;
            recent.with_label_values(&[outcome]).set(grown);
        }
    }
}

fn counts(metrics: &Metrics) -> Counts {
    let rejected = crate::domain::event::Reason::ALL.map(|reason| {
        let rejected = &metrics.events_rejected_total;
        rejected.with_label_values(&[reason.as_str()]).get()
    });
    // What was refused before it became an event is as lost as what rating rejects.
    let refused = [
        &metrics.ingest_refused_total,
        &metrics.adapter_refused_total,
    ]
    .map(sum);
    [
        metrics.events_rated_total.get(),
        rejected.iter().chain(&refused).sum(),
        metrics
            .unknown_usage_events_total
            .get()
            .saturating_sub(metrics.unknown_usage_completed_total.get()),
    ]
}

/// The sum over all labels.
fn sum(counters: &IntCounterVec) -> u64 {
    let families = counters.collect();
    let counted = families.iter().flat_map(|family| family.get_metric());
    counted
        .map(|metric| metric.get_counter().get_value() as u64)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_span_counts_no_more() {
        let (metrics, mut recent) = (Metrics::new(), Recent::default());
        let gauge = |outcome| metrics.recent_events.with_label_values(&[outcome]).get();
        recent.tell(Moment::from_millis(0), &metrics);
        let conflicts = metrics
            .events_rejected_total
            .with_label_values(&["conflict"]);
        conflicts.inc_by(7);
        metrics.events_rated_total.inc_by(2);
        for second in 1..=300 {
            recent.tell(Moment::from_millis(second * 1_000), &metrics);
            assert_eq!((gauge("rejected"), gauge("rated")), (7, 2), "{second} s");
        }
        metrics.events_rated_total.inc_by(3);
        for second in 301..=320 {
            recent.tell(Moment::from_millis(second * 1_000), &metrics);
        }
        assert_eq!((gauge("rejected"), gauge("rated")), (0, 3));
    }

    #[test]
    fn what_gateways_post_and_is_refused_counts_as_rejected() {
        let (metrics, mut recent) = (Metrics::new(), Recent::default());
        recent.tell(Moment::from_millis(0), &metrics);
        let refused = &metrics.ingest_refused_total;
        refused
            .with_label_values(&["litellm", "malformed"])
            .inc_by(4);
        refused.with_label_values(&["otlp", "missing_field"]).inc();
        let adapters = &metrics.adapter_refused_total;
        adapters
            .with_label_values(&["kong-logs", "malformed"])
            .inc_by(2);
        recent.tell(Moment::from_millis(1_000), &metrics);
        let rejected = metrics.recent_events.with_label_values(&["rejected"]);
        assert_eq!(rejected.get(), 7);
    }
}
