//! Append times that cannot be true.
//!
//! Log time is a running maximum, so one record whose append time is weeks ahead would make every
//! later event of its partition too old, for good. No chunk with such a record is cut. An operator
//! who knows that a clock was wrong says so ([`ClockCorrection`]), and the partition goes on.

use super::Rater;
use super::window::Window;
use crate::domain::event::AHEAD_MS_MAX;
use crate::domain::position::Partition;
use crate::domain::time::Millis;
use crate::log::{Record, Topic};
use crate::pipeline::failure::{Failure, HaltCode};
use crate::pipeline::retry::persist;
use crate::pipeline::versioned;
use crate::store::checkpoints::{self, ClockCorrection, UsageRows, WindowCut};

/// How far an append time may be ahead of this worker's clock.
const AHEAD_MAX_MS: i64 = 3_600_000;
/// How far log time may be. More, so that a worker whose clock is a little slow goes on from what
/// another one has let pass.
const LOG_TIME_AHEAD_MAX_MS: i64 = 2 * AHEAD_MAX_MS;

/// Whether log time is so far ahead of a clock that a rater halts on it.
pub fn is_log_time_ahead(log_time: Millis, now: Millis) -> bool {
    log_time > now.plus(LOG_TIME_AHEAD_MAX_MS)
}

impl Rater<'_> {
    /// What a record's append time counts as.
    pub(super) fn append_time(&self, record: &Record) -> Millis {
        match &self.checkpoint.clock {
            Some(correction) => correction.append_time(record),
            None => record.append_time,
        }
    }

    /// The records before the first one whose append time cannot be true. Halts, with nothing cut,
    /// if there are none.
    pub(super) async fn before_clock_jump<'r>(
        &mut self,
        records: &'r [Record],
    ) -> Result<&'r [Record], Failure> {
        let latest = self.ctx.clock.now().plus(AHEAD_MAX_MS);
        let is_ahead = |record: &Record| self.append_time(record) > latest;
        let jump = records.iter().position(is_ahead);
        let fine = match self.ctx.protections.clock_jump(jump) {
            Some(at) => &records[..at],
            None => return Ok(records),
        };
        let [] = fine else {
            return Ok(fine);
        };
        self.declare_done().await?;
        let (topic, partition, record) = (Topic::UsageEvents, self.partition, &records[0]);
        let what = format!("record {} of {topic}/{partition}", record.offset);
        Err(self.ahead(&what, record.append_time).await)
    }

    /// Halts if log time itself is far ahead: an older tidemark let such a record pass.
    pub(super) async fn check_log_time(&mut self) -> Result<(), Failure> {
        let log_time = self.after.log_time;
        let is_ahead = is_log_time_ahead(log_time, self.ctx.clock.now());
        if !self.ctx.protections.sees_log_time_ahead(is_ahead) {
            return Ok(());
        }
        self.declare_done().await?;
        let (topic, partition) = (Topic::UsageEvents, self.partition);
        let what = format!("an earlier record of {topic}/{partition}");
        Err(self.ahead(&what, log_time).await)
    }

    /// A worker that slept may not know that the clock was corrected meanwhile.
    async fn ahead(&self, what: &str, time: Millis) -> Failure {
        let (task, now) = (self.task(), self.ctx.clock.now());
        let what = format!(
            "{what} was appended at {time}, but this worker's clock says {now}; if that clock is right, run `tidemark correct-clock {task}`, then resume"
        );
        let halt = Failure::halt(HaltCode::ClockAhead, what);
        let key = checkpoints::checkpoint_key(task);
        versioned::confirm(self.ctx, &key, self.written, halt).await
    }

    /// Applies a correction that is new: log time goes on from the corrected moment. Everything
    /// before it is forgotten by the window, so whatever may have a copy there takes the slow lane.
    /// Nothing is stored before the next cut, which records all of it.
    pub(super) async fn correct_clock(&mut self) -> Result<(), Failure> {
        let (ctx, partition): (_, Partition) = (self.ctx, self.partition);
        let stored = persist(ctx, || checkpoints::clock_correction(&*ctx.db, partition)).await?;
        let in_force = self.checkpoint.clock;
        let Some(correction) = stored
            .filter(|stored| stored.epoch == self.checkpoint.epoch && in_force != Some(*stored))
        else {
            return Ok(());
        };
        self.declare_done().await?;
        tracing::warn!(
            event = "clock.corrected",
            task = %self.task(),
            until = correction.until.0,
            at = %correction.at,
            log_time = %self.after.log_time,
            "append times were declared wrong; log time continues from the corrected time"
        );
        self.window = Window::default();
        let checkpoint = &mut self.checkpoint;
        let latest_event = self.after.latest_event.unwrap_or_else(|| {
            let latest = latest_event_before(&checkpoint.window, self.after.log_time, &correction);
            ctx.protections.unknown_latest_event(latest, correction.at)
        });
        self.after.latest_event = Some(latest_event);
        checkpoint.latest_event = Some(latest_event);
        self.after.log_time = self.after.log_time.min(correction.at);
        checkpoint.log_time = self.after.log_time;
        let bound = ctx.protections.forgotten_event(latest_event, correction.at);
        checkpoint.window = corrected_window(&checkpoint.window, checkpoint.to, &correction, bound);
        checkpoint.clock = Some(correction);
        Ok(())
    }
}

/// The latest time that an event may have which was accepted before the correction, where an older
/// tidemark did not keep it: as late as log time allowed. Without usage rows everything up to then
/// would be rejected, for as long as the clock was ahead; there it is taken that gateways' clocks
/// were right.
fn latest_event_before(
    window: &WindowCut,
    log_time: Millis,
    correction: &ClockCorrection,
) -> Millis {
    let log_time = match window.usage_rows {
        UsageRows::Since(_) => log_time,
        UsageRows::Off => log_time.min(correction.at.plus(AHEAD_MAX_MS)),
    };
    log_time.plus(AHEAD_MS_MAX)
}

/// A window that has forgotten everything before `from`. What was appended before the clock jumped
/// may have been an hour ahead of it, and events may be dated later than that if their gateway's
/// clock was ahead as well.
fn corrected_window(
    window: &WindowCut,
    from: crate::domain::position::Offset,
    correction: &ClockCorrection,
    latest_event: Millis,
) -> WindowCut {
    let appended = correction.at.plus(AHEAD_MAX_MS);
    let forgotten = appended.max(WindowCut::forgets_up_to(latest_event));
    let usage_rows = match window.usage_rows {
        UsageRows::Since(Some(since)) => UsageRows::Since(Some(since.min(appended))),
        other => other,
    };
    WindowCut {
        first: from,
        first_log_time: correction.at,
        forgotten: window.forgotten.max(Some(forgotten)),
        usage_rows,
        ..*window
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::position::{Epoch, Offset};
    use crate::pipeline::rate::window::{Lane, lane};

    const HOUR: i64 = 3_600_000;
    const AT: Millis = Millis(1_000 * HOUR);

    fn corrected(
        usage_rows: UsageRows,
        latest_event: Option<Millis>,
        log_time: Millis,
    ) -> WindowCut {
        let window = WindowCut {
            age_ms: HOUR,
            records_max: 1_000,
            usage_rows,
            first: Offset(0),
            first_log_time: Millis(0),
            forgotten: None,
        };
        let correction = ClockCorrection {
            epoch: Epoch(0),
            until: Offset(9),
            at: AT,
        };
        let latest =
            latest_event.unwrap_or_else(|| latest_event_before(&window, log_time, &correction));
        corrected_window(&window, Offset(9), &correction, latest)
    }

    /// An event that was accepted while gateway and log were three hours ahead comes again when its
    /// time has really come.
    #[test]
    fn an_event_dated_ahead_by_the_same_wrong_clock_is_still_looked_up() {
        let rows = UsageRows::Since(None);
        let (time, log_time) = (AT.plus(3 * HOUR), AT.plus(3 * HOUR));
        for latest in [Some(time), None] {
            let window = corrected(rows, latest, log_time);
            assert_eq!(lane(&window, time, AHEAD_MS_MAX), Lane::Slow, "{latest:?}");
            let later = log_time.plus(2 * AHEAD_MS_MAX);
            assert_eq!(lane(&window, later, AHEAD_MS_MAX), Lane::Fast, "{latest:?}");
        }
        // Without rows, events are counted again an hour later, not when the wrong time has come.
        let window = corrected(UsageRows::Off, None, AT.plus(60 * 24 * HOUR));
        assert_eq!(lane(&window, AT.plus(2 * HOUR), AHEAD_MS_MAX), Lane::Fast);
        assert_eq!(lane(&window, AT, AHEAD_MS_MAX), Lane::Closed);
    }
}
