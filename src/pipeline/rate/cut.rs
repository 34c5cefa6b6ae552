//! Writing the cut.

use super::Rater;
use crate::domain::position::{Control, WriteId};
use crate::domain::time::Millis;
use crate::log::{Fingerprint, Record};
use crate::pipeline::SEMANTICS;
use crate::pipeline::failure::{Failure, HaltCode};
use crate::pipeline::settings::Settings;
use crate::pipeline::versioned;
use crate::store::checkpoints::{self, RateCheckpoint, UsageRows, WindowCut};
use crate::store::db::Write;

impl Rater<'_> {
    /// Writes the cut of the next chunk, which are these records: it is ours then, and everything
    /// before is done.
    pub(super) async fn cut(&mut self, records: &[Record]) -> Result<(), Failure> {
        self.follower.trim(self.ctx.settings.chains_cached_max);
        // The head is read after the chunk's last record was: whatever had returned before that
        // record was appended is in it.
        let control = match self.early_head.take() {
            Some(early) => early,
            None => self.follower.follow(self.ctx).await?,
        };
        if control < self.checkpoint.control {
            let known = self.checkpoint.control;
            let what = format!(
                "the control feed ends at {control}, but chunks were rated with entries up to {known}"
            );
            return Err(Failure::halt(HaltCode::RowRegressed, what));
        }
        let protections = self.ctx.protections;
        let control = protections.control_of_next(self.checkpoint.chunk, control);
        if self.follower.rules(control).is_none() {
            return Err(super::no_rules());
        }
        let first_time = records
            .first()
            .map_or(Millis(0), |record| self.append_time(record));
        // Before the first chunk ever there is no log time; its own first record is as good a
        // bound.
        let log_time = if self.after.log_time == Millis(0) {
            first_time
        } else {
            self.after.log_time
        };
        let to = records
            .last()
            .map_or(self.checkpoint.to, |record| record.offset.next());
        let fingerprint = records.last().map(Fingerprint::of);
        let window = self.next_window(log_time);
        let done = self.done(control);
        let from = protections.first_record(done.from, records);
        let mut next = RateCheckpoint {
            from,
            to,
            fingerprint,
            log_time: protections.log_time_before(log_time),
            window,
            ..done
        };
        if protections.notes_services() {
            let version = self.follower.services_version(control);
            next.services
                .rate_from(from, version, window.first.min(from));
        }
        self.save(next, Vec::new()).await
    }

    /// Says that the recorded chunk is done and that nothing is cut: other code may go on from
    /// here.
    pub(super) async fn declare_done(&mut self) -> Result<(), Failure> {
        if !self.checkpoint.is_cut() {
            return Ok(());
        }
        self.declare_done_with(Vec::new()).await
    }

    /// The same, with other writes in one transaction.
    pub(super) async fn declare_done_with(&mut self, others: Vec<Write>) -> Result<(), Failure> {
        let window = self.next_window(self.after.log_time);
        let next = RateCheckpoint {
            window,
            ..self.done(self.checkpoint.control)
        };
        self.save(next, others).await
    }

    /// The checkpoint that follows the recorded chunk, with nothing cut.
    fn done(&self, control: Control) -> RateCheckpoint {
        let (protections, recorded) = (self.ctx.protections, self.checkpoint.chunk);
        RateCheckpoint {
            chunk: protections.next_chunk(recorded),
            from: self.checkpoint.to,
            control,
            semantics: SEMANTICS,
            log_time: self.after.log_time,
            fingerprint: self.after.fingerprint,
            sequences: protections.sent_before(recorded, self.after.sequences.clone()),
            latest_event: protections.latest_event_before(self.after.latest_event),
            ..self.checkpoint.clone()
        }
    }

    fn next_window(&mut self, log_time: Millis) -> WindowCut {
        let settings = &self.ctx.settings;
        let before = WindowCut {
            age_ms: settings.window_age_ms,
            records_max: settings.window_records_max,
            usage_rows: usage_rows(settings, self.checkpoint.window.usage_rows, log_time),
            ..self.checkpoint.window
        };
        let (window, to) = (&mut self.window, self.checkpoint.to);
        let advance = |before: &WindowCut| window.advance(before, to, log_time);
        self.ctx.protections.advance(&before, advance)
    }

    async fn save(&mut self, next: RateCheckpoint, others: Vec<Write>) -> Result<(), Failure> {
        let key = checkpoints::checkpoint_key(self.task());
        let write: WriteId = self.ctx.next_write();
        let put = checkpoints::put(&key, &next, self.written, write);
        let mut writes = others;
        writes.push(put);
        if self.written.is_none() {
            writes.push(checkpoints::start(self.task()));
        }
        versioned::save(self.ctx, &key, &writes, self.written, write).await?;
        self.written = Some(write);
        self.checkpoint = next;
        self.progressed = true;
        Ok(())
    }
}

/// Switching usage rows on again makes them complete only from then on.
fn usage_rows(settings: &Settings, before: UsageRows, log_time: Millis) -> UsageRows {
    match (settings.usage_rows, before) {
        (false, _) => UsageRows::Off,
        (true, UsageRows::Off) => UsageRows::Since(Some(log_time)),
        (true, since) => since,
    }
}
