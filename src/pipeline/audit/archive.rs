//! ARCHIVE: the rows of audited chunks, gathered into files.
//!
//! Files of a source partition hold a range of its chunks. They end once they have enough rows, or
//! after a while, or with a graceful stop. Where they end is stored with the audit's checkpoint
//! before the first of them is written, and the position of the archive moves behind them once all
//! are written. So whoever begins again, after a crash too, rates the same chunks again and writes
//! the same bytes under the same names. Rows that are not in files yet are in memory only: they are
//! rated again.
//!
//! A file that is there stays as it is, and so does what was said of its coverage. A worker that
//! slept for days, or begins again after days, may find that a chunk cannot be rated again any
//! more: then the coverage has a gap, and rows of that chunk in a file that was written before are
//! ignored.
//!
//! What is archived is what rating again gave, also where the audit found another block in the log.
//! A chunk that cannot be rated again is a gap with its reason.
//!
//! While files cannot be written, the audit waits. Rows in memory are bounded by that, nothing that
//! people wait for depends on the audit, and what it reads is kept for days.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::report::SkipReason;
use super::{Auditor, READ, Verdict};
use crate::archive::{ArchiveError, ArchiveStore, ArchiveWriter, FileName, Folder};
use crate::domain::position::Offset;
use crate::log::{LogError, MUST_BE_THERE, Record, Topic};
use crate::ops::clock::Moment;
use crate::ops::log_throttle::LogThrottle;
use crate::pipeline::cut_record::decode_cut;
use crate::pipeline::failure::Failure;
use crate::pipeline::rate::ArchivedChunk;
use crate::pipeline::recorded_cut::LoggedChunk;
use crate::pipeline::retry::pause;
use crate::store::audits::AuditCheckpoint;
use crate::store::audits::coverage::{ArchiveProgress, Coverage, Gap, LeftOut};

/// More chunks without rows are not noted with one position of the archive.
const LEFT_OUT_MAX: usize = 64;

static FAILED: LogThrottle<()> = LogThrottle::new();

/// Where the archive is, and how large its files are.
#[derive(Clone, Debug)]
pub struct ArchiveSetup {
    /// Its files.
    pub files: ArchiveStore,
    /// Files end once they have so many rows.
    pub file_rows_max: u64,
    /// Files end after so long.
    pub file_age_max: Duration,
}

/// The files that are being gathered.
pub(super) struct OpenFiles {
    /// Where they begin; `None`: no chunk has come since the last ones.
    from: Option<Offset>,
    by_folder: BTreeMap<Folder, ArchiveWriter>,
    rows: u64,
    since: Moment,
    /// With everything that was gathered.
    coverage: Coverage,
}

/// What there is of a chunk.
enum Gathered<'r> {
    Rows(&'r ArchivedChunk),
    /// No rows, for this reason.
    Nothing(&'static str),
}

impl OpenFiles {
    fn behind(progress: &ArchiveProgress, since: Moment) -> OpenFiles {
        OpenFiles {
            from: None,
            by_folder: BTreeMap::new(),
            rows: 0,
            since,
            coverage: progress.coverage.clone(),
        }
    }

    fn gather(
        &mut self,
        chunk: &LoggedChunk,
        gathered: &Gathered<'_>,
        now: Moment,
    ) -> Result<(), ArchiveError> {
        let (cut, end) = (&chunk.cut, &chunk.end);
        if is_covered(&self.coverage, chunk) {
            // It is in files: tables were restored to an earlier moment since.
            return Ok(());
        }
        if self.from.is_none() {
            (self.from, self.since) = (Some(cut.from), now);
        }
        let gap = |(from, to), log_time_from, log_time_to, reason: &str| Gap {
            from,
            to,
            reason: reason.to_owned(),
            log_time_from,
            log_time_to,
        };
        let coverage = &mut self.coverage;
        if coverage.chunk.is_none() {
            (coverage.from, coverage.to) = (cut.from, cut.from);
            coverage.log_time_from = cut.log_time;
            coverage.is_from_start = cut.sequences.iter().all(|sent| sent.0 == 0);
        } else if cut.from > coverage.to {
            let before = (coverage.to, cut.from);
            let reason = SkipReason::NoCut.as_str();
            coverage.add_gap(gap(before, coverage.log_time, cut.log_time, reason));
        }
        match gathered {
            Gathered::Rows(rows) => {
                for (folder, rows) in rows.folders() {
                    let file = match self.by_folder.entry(*folder) {
                        std::collections::btree_map::Entry::Occupied(of) => of.into_mut(),
                        std::collections::btree_map::Entry::Vacant(of) => {
                            of.insert(ArchiveWriter::new()?)
                        }
                    };
                    file.append(rows)?;
                    self.rows += rows.len() as u64;
                    coverage.rows += rows.len() as u64;
                    *coverage.rows_of_month.entry(folder.month).or_default() += rows.len() as u64;
                }
            }
            Gathered::Nothing(reason) => {
                let own = (cut.from, cut.to);
                coverage.add_gap(gap(own, cut.log_time, end.log_time, reason));
            }
        }
        coverage.to = cut.to;
        coverage.chunk = Some(cut.chunk);
        coverage.log_time = end.log_time;
        coverage.sequences.clone_from(&end.sequences);
        Ok(())
    }
}

impl Auditor<'_> {
    /// Whether there is an archive to write.
    pub(super) fn archives(&self) -> bool {
        self.open.is_some()
    }

    /// Begins the archive where it ended, or, if there is none yet, where the audit stands.
    ///
    /// The files themselves know better than a checkpoint that was restored to an earlier moment.
    pub(super) async fn begin_archive(
        &mut self,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        if self.ctx.archive.is_none() {
            return Ok(());
        }
        // Before the checkpoint of this epoch takes the place of that one.
        if let Some(ended) = self.ended.take()
            && self.write_coverage(&ended, shutdown).await?.is_none()
        {
            self.ended = Some(ended);
            return Ok(());
        }
        let Some(found) = self.read_coverage(shutdown).await? else {
            return Ok(());
        };
        let checkpoint = &mut self.checkpoint;
        let (topic_id, epoch) = (&checkpoint.topic_id, checkpoint.epoch);
        let new = |coverage| ArchiveProgress {
            ending: None,
            left_out: Vec::new(),
            coverage,
        };
        let begin = || Coverage::beginning(topic_id, epoch, self.source, checkpoint.next);
        let mut progress = checkpoint.archive.take().unwrap_or_else(|| new(begin()));
        if let Some(found) = found {
            let end = self
                .ctx
                .log
                .bounds(Topic::LedgerCuts, self.source)
                .await?
                .end;
            if found.topic_id != *topic_id || found.next_cut > end {
                let place = self
                    .ctx
                    .archive
                    .as_ref()
                    .map(|archive| archive.files.place());
                let place = place.unwrap_or_default();
                return Err(Failure::reload(format!(
                    "the archive in {place} has files of source partition {} in epoch {epoch} that \
                     are not of this log; name an empty place in archive.location",
                    self.source
                )));
            }
            if found.next_cut > progress.coverage.next_cut {
                progress = new(found);
            }
        }
        self.open = Some(OpenFiles::behind(&progress, self.ctx.clock.moment()));
        self.checkpoint.archive = Some(progress);
        Ok(())
    }

    /// What files say that they cover; the outer `None`: that cannot be read before shutdown.
    async fn read_coverage(
        &self,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<Option<Option<Coverage>>, Failure> {
        let (epoch, source) = (self.checkpoint.epoch, self.source);
        let Some(archiving) = &self.ctx.archive else {
            return Ok(None);
        };
        let read = || archiving.files.coverage(epoch, source);
        self.ask_files("_coverage", shutdown, read).await
    }

    /// Rates again what was audited before this task began and is not in files.
    pub(super) async fn catch_up(
        &mut self,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let Some(progress) = self.checkpoint.archive.as_ref().filter(|_| self.archives()) else {
            return Ok(());
        };
        let (mut next, end) = (progress.coverage.next_cut, self.checkpoint.next);
        self.is_catching_up = true;
        while next < end {
            if *shutdown.borrow() {
                return Ok(());
            }
            let log = &self.ctx.log;
            let read = log.read(Topic::LedgerCuts, self.source, next, READ, MUST_BE_THERE);
            let records = match read.await {
                // The next chunk shows what is missing.
                Err(LogError::OutOfRange { start, .. }) if start > next => {
                    next = start.min(end);
                    continue;
                }
                records => records?,
            };
            if records.is_empty() {
                break;
            }
            for record in records.iter().take_while(|record| record.offset < end) {
                self.gather_again(record).await?;
                next = record.offset.next();
                self.end_files_if_due(next, shutdown).await?;
            }
            self.report().await?;
        }
        self.is_catching_up = false;
        Ok(())
    }

    async fn gather_again(&mut self, record: &Record) -> Result<(), Failure> {
        let epoch = self.ctx.log.epoch();
        let chunk = match decode_cut(&record.value) {
            Ok(cut) if cut.chunk.cut.epoch == epoch && cut.source == self.source => cut.chunk,
            _ => return Ok(()),
        };
        let Some(coverage) = self.open.as_ref().map(|open| &open.coverage) else {
            return Ok(());
        };
        if is_covered(coverage, &chunk) {
            return Ok(());
        }
        if chunk.cut.from != coverage.to || chunk.cut.sequences != coverage.sequences {
            self.rater = None;
        }
        let progress = self.checkpoint.archive.as_ref();
        let mut left_out = progress.into_iter().flat_map(|progress| &progress.left_out);
        if let Some(left_out) = left_out.find(|left_out| left_out.chunk == chunk.cut.chunk) {
            self.rater = None;
            return match SkipReason::named(&left_out.reason) {
                Some(SkipReason::Superseded) => Ok(()),
                Some(reason) => self.gather(&chunk, &Gathered::Nothing(reason.as_str())),
                None => self.gather(&chunk, &Gathered::Nothing(NOT_REPEATABLE)),
            };
        }
        match self.rate_again(&chunk, &mut Vec::new()).await {
            Ok(_) => self.gather_rows(&chunk, NOT_REPEATABLE),
            Err(failure) => {
                self.rater = None;
                match self.judge_failure(&chunk, failure).await? {
                    Verdict::Skipped(reason) => {
                        self.gather(&chunk, &Gathered::Nothing(reason.as_str()))
                    }
                    _ => self.gather(&chunk, &Gathered::Nothing(NOT_REPEATABLE)),
                }
            }
        }
    }

    /// Gathers the rows of the chunk that was rated again; without any it is a gap.
    fn gather_rows(&mut self, chunk: &LoggedChunk, otherwise: &'static str) -> Result<(), Failure> {
        match self.archived.take() {
            Some(rows) => self.gather(chunk, &Gathered::Rows(&rows)),
            None => self.leave_out(chunk, otherwise),
        }
    }

    /// Takes up what became of a chunk.
    pub(super) fn archive(
        &mut self,
        chunk: &LoggedChunk,
        verdict: &Verdict,
    ) -> Result<(), Failure> {
        if !self.archives() {
            return Ok(());
        }
        match verdict {
            Verdict::Equal | Verdict::Found(_) => self.gather_rows(chunk, NOT_REPEATABLE),
            Verdict::Skipped(reason) => {
                self.archived = None;
                self.leave_out(chunk, reason.as_str())
            }
            Verdict::Superseded => {
                self.archived = None;
                self.note_left_out(chunk, SkipReason::Superseded.as_str());
                Ok(())
            }
        }
    }

    pub(super) fn leave_out(
        &mut self,
        chunk: &LoggedChunk,
        reason: &'static str,
    ) -> Result<(), Failure> {
        self.note_left_out(chunk, reason);
        self.gather(chunk, &Gathered::Nothing(reason))
    }

    fn note_left_out(&mut self, chunk: &LoggedChunk, reason: &str) {
        if let Some(progress) = &mut self.checkpoint.archive {
            progress.left_out.push(LeftOut {
                chunk: chunk.cut.chunk,
                reason: reason.to_owned(),
            });
        }
    }

    fn gather(&mut self, chunk: &LoggedChunk, gathered: &Gathered<'_>) -> Result<(), Failure> {
        let now = self.ctx.clock.moment();
        match &mut self.open {
            Some(open) => open.gather(chunk, gathered, now).map_err(unwritable),
            None => Ok(()),
        }
    }

    /// Ends the files before this record of `ledger.cuts` if they are large or old enough.
    pub(super) async fn end_files_if_due(
        &mut self,
        next: Offset,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let (Some(open), Some(archiving)) = (&mut self.open, &self.ctx.archive) else {
            return Ok(());
        };
        let Some(progress) = &mut self.checkpoint.archive else {
            return Ok(());
        };
        if open.from.is_none() && progress.coverage.next_cut < next {
            // Only repeats, and chunks that were cut anew.
            progress.coverage.next_cut = next;
            open.coverage.next_cut = next;
            progress.left_out.clear();
            if progress.ending.is_some_and(|ending| ending <= next) {
                progress.ending = None;
            }
            self.is_saved = false;
            return Ok(());
        }
        let is_due = match progress.ending {
            Some(ending) => next >= ending,
            None => {
                let age = self.ctx.clock.moment().since(open.since);
                let is_old = open.from.is_some() && age >= archiving.file_age_max;
                is_old
                    || open.rows >= archiving.file_rows_max
                    || progress.left_out.len() >= LEFT_OUT_MAX
            }
        };
        match is_due {
            true => self.end_files(next, shutdown).await,
            false => Ok(()),
        }
    }

    /// Ends the files before this record of `ledger.cuts`, and writes them.
    pub(super) async fn end_files(
        &mut self,
        next: Offset,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let is_empty = self.open.as_ref().is_none_or(|open| open.from.is_none());
        let Some(progress) = self.checkpoint.archive.as_mut().filter(|_| !is_empty) else {
            return Ok(());
        };
        if progress.ending != Some(next) {
            progress.ending = Some(next);
            self.is_saved = false;
            self.save().await?;
        }
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        // While it catches up, those of the audit are ahead of the archive.
        let postings = match self.is_catching_up {
            true => open.coverage.postings.clone(),
            false => self.checkpoint.postings.clone(),
        };
        let coverage = Coverage {
            next_cut: next,
            postings,
            ..open.coverage
        };
        let name = FileName {
            epoch: coverage.epoch,
            source: coverage.source,
            from: open.from.unwrap_or(coverage.to),
            to: coverage.to,
        };
        for (folder, file) in open.by_folder {
            let bytes = file.finish().map_err(unwritable)?;
            let path = name.path_in(folder);
            if !self.write_file(&path, &bytes, shutdown).await? {
                return Ok(());
            }
            self.ctx.metrics.archive_files_total.inc();
            self.ctx
                .metrics
                .archive_bytes_total
                .inc_by(bytes.len() as u64);
        }
        self.ctx.metrics.archive_rows_total.inc_by(open.rows);
        let Some(coverage) = self.write_coverage(&coverage, shutdown).await? else {
            return Ok(());
        };
        let partition = self.source.to_string();
        let covered = &self.ctx.metrics.archive_covered_timestamp_seconds;
        let covered = covered.with_label_values(&[&partition]);
        covered.set(coverage.log_time.0 as f64 / 1_000.0);
        let progress = ArchiveProgress {
            ending: None,
            left_out: Vec::new(),
            coverage,
        };
        self.open = Some(OpenFiles::behind(&progress, self.ctx.clock.moment()));
        self.checkpoint.archive = Some(progress);
        self.is_saved = false;
        self.save().await
    }
}

/// What must be said of an epoch that has ended: what was audited and is not in files never will
/// be.
pub(super) fn not_archived(stored: &AuditCheckpoint) -> Option<Coverage> {
    let coverage = &stored.archive.as_ref()?.coverage;
    let passed = stored.passed.as_ref()?;
    let log_time = passed.state.as_ref().map(|state| state.log_time);
    let log_time = log_time.unwrap_or(coverage.log_time);
    let mut ended = Coverage {
        next_cut: stored.next,
        to: passed.to,
        chunk: Some(passed.chunk),
        log_time,
        sequences: passed.sequences.clone(),
        ..coverage.clone()
    };
    ended.add_gap(Gap {
        from: coverage.to,
        to: passed.to,
        reason: SkipReason::EarlierEpoch.as_str().to_owned(),
        log_time_from: coverage.log_time,
        log_time_to: log_time,
    });
    (passed.to > coverage.to).then_some(ended)
}

/// Whether a chunk is in the archive already. Its record may be a late copy, or tables were
/// restored to an earlier moment.
fn is_covered(coverage: &Coverage, chunk: &LoggedChunk) -> bool {
    let mut sequences = chunk.end.sequences.iter().zip(&coverage.sequences);
    coverage.chunk.is_some_and(|last| chunk.cut.chunk <= last)
        && sequences.all(|(own, covered)| own <= covered)
}

/// Why there is no row of a chunk that was found to be wrong.
pub(super) const NOT_REPEATABLE: &str = "not_repeatable";

fn unwritable(error: ArchiveError) -> Failure {
    Failure::reload(format!("rows cannot be archived: {error}"))
}

impl Auditor<'_> {
    /// Asks for something of the files, however long that takes. `None`: there is no answer before
    /// shutdown.
    async fn ask_files<T, A: Future<Output = Result<T, ArchiveError>>>(
        &self,
        path: &str,
        shutdown: &watch::Receiver<bool>,
        ask: impl Fn() -> A,
    ) -> Result<Option<T>, Failure> {
        let mut failed = 0;
        loop {
            match ask().await {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) => failed = self.tell_failed(failed, path, &error).await?,
            }
            if *shutdown.borrow() {
                return Ok(None);
            }
            let pause_for = self.ctx.pause_after(failed);
            pause(self.ctx, &mut shutdown.clone(), pause_for).await;
        }
    }

    /// Writes a file. False: it is not written before shutdown.
    async fn write_file(
        &self,
        path: &str,
        bytes: &Bytes,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<bool, Failure> {
        let Some(archiving) = &self.ctx.archive else {
            return Ok(false);
        };
        let write = || archiving.files.put(path, bytes.clone());
        Ok(self.ask_files(path, shutdown, write).await?.is_some())
    }

    /// Says what is covered; what holds of it. `None`: it is not said before shutdown.
    async fn write_coverage(
        &self,
        coverage: &Coverage,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<Option<Coverage>, Failure> {
        let Some(archiving) = &self.ctx.archive else {
            return Ok(None);
        };
        let write = || archiving.files.put_coverage(coverage);
        self.ask_files("_coverage", shutdown, write).await
    }

    async fn tell_failed(
        &self,
        failed: u32,
        path: &str,
        error: &ArchiveError,
    ) -> Result<u32, Failure> {
        self.ctx.metrics.archive_write_failures_total.inc();
        if let Some(kept_back) = FAILED.say(()) {
            tracing::warn!(event = "archive.write_failed", task = %self.task(), path, %error, kept_back, "a file of the archive cannot be written; the audit waits and tries again; see docs/runbook.md#tidemarkarchivenotwritten");
        }
        self.report().await?;
        Ok(failed + 1)
    }
}
