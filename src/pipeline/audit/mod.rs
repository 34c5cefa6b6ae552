//! AUDIT: one source partition. Rates every chunk again, from `usage.events` and what `ledger.cuts`
//! says of how it was cut, by the rater's own functions, and compares the blocks byte for byte with
//! those in `ledger.postings`: invariant I6, checked in production.
//!
//! ```text
//! ledger.cuts ─▶ follow ─▶ take blocks ─▶ rate again ─▶ compare ─▶ findings, checkpoint
//! ```
//!
//! It writes nothing of the rater's or the poster's. A finding changes nothing, and the audit goes on
//! behind it. Work between two checkpoints may be done twice, also by two workers: a finding is kept
//! under a key that says what it is about.

mod archive;
mod blocks;
mod compare;
mod repeat;
mod report;
mod wait;

pub use archive::Archiving;
pub(super) use blocks::BlockReaders;
pub(super) use report::counters_at_zero;

use std::time::Duration;

use tokio::sync::watch;

use super::failure::Failure;
use super::recorded_cut::LoggedChunk;
use super::{Covers, WorkerContext, cut_record, lag, layout, versioned};
use crate::domain::position::{Offset, Partition, WriteId};
use crate::log::{LogError, ReadLimit, Record, Topic, TopicInfo};
use crate::ops::clock::Moment;
use crate::ops::health::{Role, TaskId};
use crate::pipeline::rate::ArchivedChunk;
use crate::pipeline::rate::Rater;
use crate::pipeline::retry::persist;
use crate::store::audits::{AuditCheckpoint, Finding, FindingKind, PassedChunk};
use crate::store::checkpoints::{self, Versioned};
use archive::OpenFiles;
use compare::{Follows, follows};
use report::SkipReason;

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
    /// It was cut anew before it had sent anything: tables were restored, and `tidemark recover` found
    /// no block of it.
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
    /// Whether the cursors know from where on blocks are wanted.
    is_begun: bool,
    saved: Moment,
    is_saved: bool,
    progressed: bool,
    /// The files of the archive that are being gathered, if there is an archive.
    open: Option<OpenFiles>,
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
        let is_of_log =
            |at: &AuditCheckpoint| at.epoch == ctx.log.epoch() && at.topic_id == cuts.id;
        let checkpoint = match stored.map(|stored| stored.value).filter(is_of_log) {
            Some(checkpoint) => checkpoint,
            None => first(ctx, source, &cuts, &postings).await?,
        };
        lag::tell_backlog(ctx, task, Topic::LedgerCuts, checkpoint.next).await;
        Ok(Auditor {
            ctx,
            source,
            posting_partitions: postings.partitions,
            checkpoint,
            written,
            rater: None,
            is_begun: false,
            saved: ctx.clock.moment(),
            is_saved: true,
            progressed: false,
            open: None,
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
                if !self.take(record, shutdown).await? {
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
    async fn take(
        &mut self,
        record: &Record,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<bool, Failure> {
        let epoch = self.ctx.log.epoch();
        match cut_record::decode_cut(&record.value) {
            Err(error) => {
                let what = format!("record {} of ledger.cuts: {error}", record.offset);
                self.found(&[self.finding(FindingKind::CutUnreadable, what)])
                    .await?;
            }
            // The epoch before ended on the same topic, and this task has not got that far in time.
            Ok(cut) if cut.chunk.cut.epoch < epoch => self.skip(SkipReason::EarlierEpoch),
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
                if !self.chunk(&cut.chunk, shutdown).await? {
                    return Ok(false);
                }
            }
        }
        self.checkpoint.next = record.offset.next();
        (self.is_saved, self.progressed) = (false, true);
        Ok(true)
    }

    /// Audits the next chunk, unless it was passed already. False: it was not decided before shutdown.
    async fn chunk(
        &mut self,
        chunk: &LoggedChunk,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<bool, Failure> {
        let passed = self.checkpoint.passed.as_ref();
        let follows = follows(passed, chunk);
        match follows {
            Follows::Repeat => return Ok(true),
            Follows::Next => {}
            Follows::Gap => {
                self.skip(SkipReason::NoCut);
                self.rater = None;
            }
            Follows::CutAnew => self.rater = None,
        }
        let Some(blocks) = self.take_blocks(chunk, shutdown).await? else {
            return Ok(false);
        };
        let started = self.ctx.clock.moment();
        let verdict = self.judge(chunk, &blocks, follows).await?;
        self.archive(chunk, &verdict)?;
        match verdict {
            Verdict::Equal => self.equal(chunk, started),
            Verdict::Skipped(reason) => self.skip(reason),
            Verdict::Superseded => {
                self.skip(SkipReason::Superseded);
                // Its sequences are those of another chunk.
                (self.rater, self.is_begun) = (None, false);
                return Ok(true);
            }
            Verdict::Found(findings) => {
                self.checkpoint.audited += 1;
                self.found(&findings).await?;
            }
        }
        self.checkpoint.first_chunk.get_or_insert(chunk.cut.chunk);
        self.checkpoint.passed = Some(PassedChunk {
            chunk: chunk.cut.chunk,
            to: chunk.cut.to,
            sequences: chunk.end.sequences.clone(),
        });
        self.checkpoint.postings = blocks.read_to;
        Ok(true)
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

/// What stands before the first chunk of an epoch.
async fn first(
    ctx: &WorkerContext,
    source: Partition,
    cuts: &TopicInfo,
    postings: &TopicInfo,
) -> Result<AuditCheckpoint, Failure> {
    let next = ctx.log.bounds(Topic::LedgerCuts, source).await?.start;
    Ok(AuditCheckpoint {
        topic_id: cuts.id.clone(),
        epoch: ctx.log.epoch(),
        partitions: cuts.partitions,
        next,
        first_chunk: None,
        passed: None,
        // Not where they begin now: what they have dropped may have been of the first chunk.
        postings: vec![Offset(0); postings.partitions as usize],
        audited: 0,
        skipped: 0,
        findings: 0,
        archive: None,
    })
}
