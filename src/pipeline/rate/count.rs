//! What a chunk is counted as in metrics.

use std::time::Duration;

use super::Rater;
use super::chunk::ChunkState;
use crate::log::Record;
use crate::ops::health::Role;
use crate::ops::log_throttle::LogThrottle;
use crate::pipeline::counters::{REFERRAL, issued};

impl Rater<'_> {
    /// Counts a chunk that is rated. An audit counts its own.
    pub(super) fn count(&mut self, chunk: &ChunkState<'_>, records: &[Record]) {
        if self.role != Role::Rate {
            return;
        }
        let (metrics, intake, tally) = (&self.ctx.metrics, &chunk.intake, &chunk.tally);
        metrics.chunks_total.inc();
        metrics.chunk_events.observe(records.len() as f64);
        let bytes: usize = records.iter().map(Record::size).sum();
        metrics.chunk_bytes.observe(bytes as f64);
        tally.sums.tell(metrics, chunk.services());
        issued(metrics, REFERRAL, chunk.fold.referred());
        metrics.events_rated_total.inc_by(tally.rated);
        metrics.events_duplicate_total.inc_by(intake.duplicates);
        metrics.events_reversed_total.inc_by(tally.reversed);
        metrics.events_completed_total.inc_by(tally.completed);
        let forwarded = intake.forwards.len() as u64;
        metrics.events_forwarded_total.inc_by(forwarded);
        for reject in &intake.rejects {
            metrics
                .events_rejected_total
                .with_label_values(&[reject.rejection.reason.as_str()])
                .inc();
        }
        metrics
            .unknown_usage_events_total
            .inc_by(tally.unknown_usage);
        metrics
            .unknown_usage_completed_total
            .inc_by(tally.usage_completed);
        self.count_unrecognised_models();
    }

    fn count_unrecognised_models(&mut self) {
        let events = self.tiers.take_defaults();
        self.ctx.metrics.default_tier_events_total.inc_by(events);
        let models = self.tiers.take_unrecognised();
        if let Some((model, others)) = unrecognised_line(&UNRECOGNISED, &models) {
            tracing::info!(
                event = "model.unrecognised",
                model,
                others,
                "model has no catalogue entry and no size in its name; using the lowest tier"
            );
        }
    }
}

/// Of all partitions of this process. Clients can make up names: one line a minute, whatever they
/// send.
static UNRECOGNISED: LogThrottle<()> = LogThrottle::every(UNRECOGNISED_EVERY);
const UNRECOGNISED_EVERY: Duration = Duration::from_secs(60);

/// What to log of names that nothing recognised, if anything: one of them, and how many others
/// there were since the last line.
fn unrecognised_line<'a>(lately: &LogThrottle<()>, models: &'a [String]) -> Option<(&'a str, u64)> {
    let [model, others @ ..] = models else {
        return None;
    };
    let kept_back = lately.say_of((), models.len() as u64)?;
    Some((model, others.len() as u64 + kept_back))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_model_names_are_logged_once_a_minute_whatever_they_are() {
        let lately = LogThrottle::every(UNRECOGNISED_EVERY);
        let chunk =
            |n: u64| -> Vec<String> { (0..3).map(|i| format!("made-up-{n}-{i}")).collect() };
        assert_eq!(unrecognised_line(&lately, &[]), None);
        let lines = (0..1_000).filter(|n| unrecognised_line(&lately, &chunk(*n)).is_some());
        assert_eq!(lines.count(), 1);
        assert!(UNRECOGNISED_EVERY >= Duration::from_secs(60));
        // The next line says how many it stands for.
        let lately = LogThrottle::every(Duration::from_millis(1));
        let first =
            unrecognised_line(&lately, &chunk(0)).map(|(model, others)| (model.to_owned(), others));
        assert_eq!(first, Some(("made-up-0-0".to_owned(), 2)));
    }
}
