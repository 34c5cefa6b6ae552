//! AUDIT: one source partition. Rates every chunk again, from `usage.events` and what `ledger.cuts`
//! says of how it was cut, by the rater's own functions, and compares the blocks byte for byte with
//! those in `ledger.postings`: invariant I6, checked in production.
//!
//! ```text
//! ledger.cuts ─▶ follow ─▶ take blocks ─▶ rate again ─▶ compare ─▶ findings, checkpoint
//! ```
//!
//! It writes nothing of the rater's or the poster's. A finding changes nothing, and the audit goes
//! on behind it. Work between two checkpoints may be done twice, also by two workers: a finding is
//! kept under a key that says what it is about.

mod archive;
mod begin;
mod blocks;
mod compare;
mod follow;
mod repeat;
mod report;
mod wait;

pub use archive::ArchiveSetup;
pub(super) use blocks::BlockReaders;
pub(super) use report::counters_at_zero;

use std::time::Duration;

use tokio::sync::watch;

use super::failure::Failure;
use super::recorded_cut::LoggedChunk;
use super::{Covers, WorkerContext, cut_record, lag, layout, versioned};
use crate::domain::position::{Chunk, Epoch, Offset, Partition, WriteId};
use crate::log::varint::FormatError;
use crate::log::{LogError, ReadLimit, Record, Topic};
use crate::ops::clock::Moment;
use crate::ops::health::{Role, TaskId};
use crate::pipeline::rate::ArchivedChunk;
use crate::pipeline::rate::Rater;
use crate::pipeline::retry::persist;
use crate::store::audits::coverage::Coverage;
use crate::store::audits::{AuditCheckpoint, Finding, FindingKind};
use crate::store::checkpoints::{self, Versioned};
use archive::{NOT_REPEATABLE, OpenFiles};
use begin::Begin;
use follow::{Contradiction, Follows, follow, may_repeat};
use repeat::EarlierRecord;
use report::{Kept, SkipReason};

/// How many records of `ledger.cuts` are read at a time.
const READ: ReadLimit = ReadLimit {
    records: 64,
    bytes: 1 << 20,
};
/// How much work may be repeated after a restart.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(2);

/// What became of a chunk.
enum Verdict {
    /// Its blocks are those that rating it again gives.
    Equal,
    /// It cannot be rated again as it was, because something of that is gone by right.
    Skipped(SkipReason),
    /// It was cut anew before it had sent anything: tables were restored, and `tidemark recover`
    /// found no block of it.
    Superseded,
    /// They are not.
    Found(Vec<Finding>),
}

/// The auditor of one source partition, between two loads.
pub(super) struct Auditor<'c> {
    ctx: &'c WorkerContext,
    source: Partition,
    posting_partitions: u32,
    checkpoint: AuditCheckpoint,
    written: Option<WriteId>,
    /// Stands behind the chunk that was rated again last; `None` if that is not the passed one.
    rater: Option<Rater<'c>>,
    /// Of the rater's duplicate window, what was before this record has expired.
    window_from: Offset,
    /// The last chunk of the epoch before that was passed there.
    earlier: Option<(Epoch, Chunk)>,
    /// How many findings are kept.
    kept: Kept,
    /// Whether the cursors know from where on blocks are wanted.
    is_begun: bool,
    saved: Moment,
    is_saved: bool,
    progressed: bool,
    /// The files of the archive that are being gathered, if there is an archive.
    open: Option<OpenFiles>,
    /// What is to be said of the archive of an epoch that has ended.
    ended: Option<Coverage>,
    /// Chunks that were audited before are being rated again for the archive.
    is_catching_up: bool,
    /// The rows of the chunk that was rated again last.
    archived: Option<ArchivedChunk>,
}

impl<'c> Auditor<'c> {
    /// Takes up a source partition.
    pub(super) async fn restore(
        ctx: &'c WorkerContext,
        source: Partition,
    ) -> Result<Auditor<'c>, Failure> {
        let cuts = ctx.log.topic(Topic::LedgerCuts).await?;
        let postings = ctx.log.topic(Topic::LedgerPostings).await?;
        layout::check_epoch(ctx).await?;
        let task = TaskId::new(Role::Audit, source);
        let key = checkpoints::checkpoint_key(task);
        let stored: Option<Versioned<AuditCheckpoint>> =
            persist(ctx, || checkpoints::get(&*ctx.db, &key)).await?;
        let written = stored.as_ref().map(|stored| stored.write);
        let stored = stored.map(|stored| stored.value);
        let ended = stored
            .as_ref()
            .filter(|stored| stored.epoch < ctx.log.epoch());
        let ended = ended.and_then(archive::not_archived);
        let Begin {
            checkpoint,
            earlier,
        } = begin::begin(ctx, source, (&cuts, &postings), stored).await?;
        lag::tell_backlog(ctx, task, Topic::LedgerCuts, checkpoint.next).await;
        Ok(Auditor {
            ctx,
            source,
            posting_partitions: postings.partitions,
            checkpoint,
            written,
            rater: None,
            window_from: Offset(0),
            earlier,
            kept: Kept::default(),
            is_begun: false,
            saved: ctx.clock.moment(),
            is_saved: true,
            progressed: false,
            open: None,
            ended,
            is_catching_up: false,
            archived: None,
        })
    }

    /// Whether anything was done since the load.
    pub(super) fn has_progressed(&self) -> bool {
        self.progressed
    }

    fn task(&self) -> TaskId {
        TaskId::new(Role::Audit, self.source)
    }

    /// Works until shutdown or a failure.
    pub(super) async fn work(&mut self, shutdown: &watch::Receiver<bool>) -> Result<(), Failure> {
        self.report().await?;
        self.begin_archive(shutdown).await?;
        self.catch_up(shutdown).await?;
        while !*shutdown.borrow() {
            let records = self.read().await?;
            for record in &records {
                if !self.audit_cut(record, shutdown).await? {
                    break;
                }
                self.end_files_if_due(self.checkpoint.next, shutdown)
                    .await?;
                self.save_if_due().await?;
            }
            if records.is_empty() {
                self.end_files_if_due(self.checkpoint.next, shutdown)
                    .await?;
                self.save().await?;
            }
            self.report().await?;
        }
        if !self.is_catching_up {
            self.end_files(self.checkpoint.next, shutdown).await?;
        }
        self.save().await?;
        for q in (0..self.posting_partitions).map(Partition) {
            self.ctx.audits.end((q, self.source)).await;
        }
        Ok(())
    }

    /// The next records of `ledger.cuts`; none if nothing came for a while.
    async fn read(&mut self) -> Result<Vec<Record>, Failure> {
        let (ctx, next) = (self.ctx, self.checkpoint.next);
        let wait = ctx.settings.idle_after;
        let read = ctx
            .log
            .read(Topic::LedgerCuts, self.source, next, READ, wait);
        match read.await {
            Err(LogError::OutOfRange { start, .. }) if start > next => {
                self.skip(SkipReason::CutsExpired);
                self.checkpoint.next = start;
                self.is_saved = false;
                Ok(Vec::new())
            }
            records => Ok(records?),
        }
    }

    /// Deals with the next record of `ledger.cuts`. False: it was not decided before shutdown.
    async fn audit_cut(
        &mut self,
        record: &Record,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<bool, Failure> {
        let epoch = self.ctx.log.epoch();
        match cut_record::decode_cut(&record.value) {
            Err(FormatError::Version { .. }) => self.skip(SkipReason::OtherVersion),
            Err(error) => {
                let what = format!("record {} of ledger.cuts: {error}", record.offset);
                self.found(&[self.finding(FindingKind::CutUnreadable, what)])
                    .await?;
            }
            // The epoch before ended on the same topic, and this task has not got that far in time.
            Ok(cut) if cut.chunk.cut.epoch < epoch => {
                let place = (cut.chunk.cut.epoch, cut.chunk.cut.chunk);
                if Some(place) > self.earlier {
                    self.earlier = Some(place);
                    self.skip(SkipReason::EarlierEpoch);
                }
            }
            Ok(cut) if cut.chunk.cut.epoch > epoch => {
                return Err(Failure::reload("a later epoch has begun"));
            }
            Ok(cut) if cut.source != self.source => {
                let what = format!(
                    "record {} of ledger.cuts is about source partition {}",
                    record.offset, cut.source
                );
                self.found(&[self.finding(FindingKind::CutUnreadable, what)])
                    .await?;
            }
            Ok(cut) => {
                if !self.chunk(record.offset, &cut.chunk, shutdown).await? {
                    return Ok(false);
                }
            }
        }
        self.checkpoint.next = record.offset.next();
        (self.is_saved, self.progressed) = (false, true);
        Ok(true)
    }

    /// Audits the next chunk, whose record stands at `at`, unless that repeats an earlier one.
    /// False: it was not decided before shutdown.
    async fn chunk(
        &mut self,
        at: Offset,
        chunk: &LoggedChunk,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<bool, Failure> {
        if may_repeat(self.checkpoint.passed.as_ref(), &chunk.cut) {
            match self.earlier_record(at, chunk).await? {
                EarlierRecord::None => {}
                EarlierRecord::Same => {
                    self.repeated(chunk);
                    return Ok(true);
                }
                EarlierRecord::OtherEnd(earlier) => {
                    self.finished_otherwise(&earlier, chunk).await?;
                    return Ok(true);
                }
            }
        }
        let following = follow(self.checkpoint.passed.as_ref(), &chunk.cut);
        if following.follows != Follows::Next {
            self.rater = None;
        }
        let mut contradictions = following.contradictions;
        if following.reuses_sequences {
            (self.rater, self.is_begun) = (None, false);
            self.checkpoint.audited += 1;
            let findings = self.findings_of_cut(chunk, contradictions);
            self.found(&findings).await?;
            self.leave_out(chunk, NOT_REPEATABLE)?;
            self.pass(chunk);
            return Ok(true);
        }
        let Some(blocks) = self.take_blocks(chunk, shutdown).await? else {
            return Ok(false);
        };
        let started = self.ctx.clock.moment();
        let verdict = self.judge(chunk, &blocks, &mut contradictions).await?;
        self.archive(chunk, &verdict)?;
        if matches!(verdict, Verdict::Superseded) {
            self.skip(SkipReason::Superseded);
            // Its sequences are those of another chunk.
            (self.rater, self.is_begun) = (None, false);
            return Ok(true);
        }
        let is_unknown = |of: &Contradiction| of.kind == FindingKind::RecordsNotRated;
        if following.follows == Follows::Gap && !contradictions.iter().any(is_unknown) {
            self.skip(SkipReason::NoCut);
        }
        let mut findings = self.findings_of_cut(chunk, contradictions);
        match verdict {
            Verdict::Equal if findings.is_empty() => self.equal(chunk, started),
            Verdict::Equal | Verdict::Superseded => self.checkpoint.audited += 1,
            Verdict::Skipped(reason) => self.skip(reason),
            Verdict::Found(of_blocks) => {
                self.checkpoint.audited += 1;
                findings.extend(of_blocks);
            }
        }
        self.found(&findings).await?;
        self.pass(chunk);
        self.checkpoint.postings = blocks.read_to;
        Ok(true)
    }

    /// Goes on behind a chunk.
    fn pass(&mut self, chunk: &LoggedChunk) {
        self.checkpoint.first_chunk.get_or_insert(chunk.cut.chunk);
        let before = self.checkpoint.passed.as_ref();
        self.checkpoint.passed = Some(follow::passed(before, chunk));
    }

    async fn save_if_due(&mut self) -> Result<(), Failure> {
        match self.ctx.clock.moment().since(self.saved) < CHECKPOINT_INTERVAL {
            true => Ok(()),
            false => self.save().await,
        }
    }

    /// Stores how far the audit is.
    async fn save(&mut self) -> Result<(), Failure> {
        if self.is_saved {
            return Ok(());
        }
        let key = checkpoints::checkpoint_key(self.task());
        let write = self.ctx.next_write();
        let put = checkpoints::put(&key, &self.checkpoint, self.written, write);
        versioned::save(self.ctx, &key, &[put], self.written, write).await?;
        self.written = Some(write);
        (self.saved, self.is_saved) = (self.ctx.clock.moment(), true);
        Ok(())
    }

    async fn report(&self) -> Result<(), Failure> {
        let (ctx, next) = (self.ctx, self.checkpoint.next);
        ctx.health.stands_at(self.task(), next.0);
        let end = ctx.log.end_seen(Topic::LedgerCuts, self.source).await?;
        ctx.health
            .progressed(self.task(), end.0.saturating_sub(next.0));
        if self.is_saved {
            ctx.tell_checkpoint(self.task(), next, Covers::Everything);
        }
        Ok(())
    }
}
