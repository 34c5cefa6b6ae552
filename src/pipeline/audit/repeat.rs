//! Rating a chunk again, and judging what comes of it.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::compare::{ComparedBlocks, WrongBlock, compare, differing_accounts};
use super::follow::{Contradiction, compare_ends, is_cut_over, is_same_cut};
use super::report::SkipReason;
use super::wait::LoggedBlocks;
use super::{Auditor, READ, Verdict};
use crate::domain::ids::Account;
use crate::domain::position::{Control, Offset, Partition};
use crate::domain::semantics::Semantics;
use crate::log::{MUST_BE_THERE, ReadLimit, Topic, posting};
use crate::pipeline::cut_record::decode_cut;
use crate::pipeline::failure::{Failure, HaltCode};
use crate::pipeline::progress;
use crate::pipeline::rate::{Output, Rater};
use crate::pipeline::recorded_cut::{ChunkEnd, LoggedChunk};
use crate::pipeline::retry::persist;
use crate::store::audits::{Finding, FindingKind};
use crate::store::checkpoints::RateCheckpoint;
use crate::store::control;

/// Accounts of one block that are named in findings of their own.
const ACCOUNTS_NAMED_MAX: usize = 20;
/// How many records of `ledger.cuts` are looked through for an earlier one of the same chunk.
const LOOKED_BACK_MAX: u64 = 65_536;
/// The first step back: a rerun's record stands right behind.
const LOOKED_BACK_FIRST: u64 = 256;

/// What `ledger.cuts` holds of a chunk before a record of it.
pub(super) enum EarlierRecord {
    /// No record of that chunk.
    None,
    /// One that says the same.
    Same,
    /// One of the same cut, by which rating it ended elsewhere.
    OtherEnd(Box<LoggedChunk>),
}

impl<'c> Auditor<'c> {
    /// Rates a chunk again and compares its blocks. Adds what contradicts the chunk before it, or
    /// the end that its record gives.
    pub(super) async fn judge(
        &mut self,
        chunk: &LoggedChunk,
        blocks: &LoggedBlocks,
        contradictions: &mut Vec<Contradiction>,
    ) -> Result<Verdict, Failure> {
        if Semantics::known(chunk.cut.semantics).is_none() {
            self.rater = None;
            return Ok(Verdict::Skipped(SkipReason::OtherSemantics));
        }
        let output = match self.rate_again(chunk, contradictions).await {
            Ok(output) => output,
            Err(failure) => {
                self.rater = None;
                return self.judge_failure(chunk, failure).await;
            }
        };
        let wrong = self.wrong_blocks(chunk, blocks, &output);
        let end = compare_ends(&chunk.end, &given_end(&output));
        let (owners, gaps) = (blocks.owners(chunk), &blocks.gaps);
        let is_equal = wrong.is_empty() && gaps.is_empty() && end.is_none();
        if is_equal && !owners.has_others {
            return Ok(Verdict::Equal);
        }
        let stored = self.checkpoint_of_rater(&chunk.cut).await?;
        if !owners.has_own && self.is_superseded(&chunk.cut, &stored).await? {
            return Ok(Verdict::Superseded);
        }
        if is_equal {
            return Ok(Verdict::Equal);
        }
        let gone = gaps.iter().map(|(q, _)| *q);
        // A block that is there and differs has not expired.
        let missing = wrong.iter().filter(|wrong| wrong.logged.is_none());
        let concerned = gone.chain(missing.map(|wrong| wrong.posting)).collect();
        if let Some(reason) = self.excuse(chunk, &output, concerned).await? {
            return Ok(Verdict::Skipped(reason));
        }
        contradictions.extend(end);
        let mut findings = Vec::new();
        for (q, sequence) in gaps {
            let what =
                "the log does not hold this block, of a chunk that has no record in ledger.cuts";
            findings.push(Finding {
                posting: Some(*q),
                sequence: Some(*sequence),
                ..self.finding_of(chunk, FindingKind::SequenceMissing, what.to_owned())
            });
        }
        for wrong in &wrong {
            findings.extend(self.findings_of(chunk, wrong, &output).await?);
        }
        Ok(Verdict::Found(findings))
    }

    pub(super) async fn rate_again(
        &mut self,
        chunk: &LoggedChunk,
        contradictions: &mut Vec<Contradiction>,
    ) -> Result<Output, Failure> {
        let cut = &chunk.cut;
        self.archived = None;
        let mut rater = match self.rater.take() {
            Some(mut rater) => {
                rater.follow_to(cut.control).await?;
                // Only with its whole window does it know what the next one must be.
                if self.has_whole_window() {
                    let found = rater.contradictions(cut).into_iter();
                    contradictions.extend(found.map(Contradiction::of_cut));
                }
                rater.continue_with(cut.clone()).await?;
                rater
            }
            None => {
                let rater =
                    Rater::auditing(self.ctx, self.source, cut.clone(), self.archives()).await?;
                self.window_from = rater.window_first();
                rater
            }
        };
        let mut output = rater.repeat().await?;
        self.archived = output.archived.take();
        self.rater = Some(rater);
        Ok(output)
    }

    /// Whether nothing has expired of the passed chunk's duplicate window.
    fn has_whole_window(&self) -> bool {
        let passed = self.checkpoint.passed.as_ref();
        let state = passed.and_then(|passed| passed.state.as_ref());
        state.is_some_and(|state| state.window.first >= self.window_from)
    }

    fn wrong_blocks(
        &self,
        chunk: &LoggedChunk,
        blocks: &LoggedBlocks,
        output: &Output,
    ) -> Vec<WrongBlock> {
        let of = |(q, logged): (Partition, &Vec<_>)| {
            let compared = ComparedBlocks {
                posting: q,
                before: chunk
                    .cut
                    .sequences
                    .get(q.0 as usize)
                    .copied()
                    .unwrap_or_default(),
                given: given(output, q),
                logged,
            };
            compare(chunk, &compared)
        };
        let by_partition = (0..).map(Partition).zip(&blocks.by_partition);
        by_partition.flat_map(of).collect()
    }

    /// The rater's stored checkpoint. A cut is stored before its record is appended, so a
    /// checkpoint of an earlier chunk comes from tables that were restored: usage rows may be
    /// missing until `tidemark recover` has written them again, and until then nothing is found.
    async fn checkpoint_of_rater(&self, cut: &RateCheckpoint) -> Result<RateCheckpoint, Failure> {
        let ctx = self.ctx;
        let stored = persist(ctx, || progress::rate_checkpoint(&*ctx.db, self.source)).await?;
        let is_behind =
            |stored: &RateCheckpoint| (stored.epoch, stored.chunk) < (cut.epoch, cut.chunk);
        stored.filter(|stored| !is_behind(stored)).ok_or_else(|| {
            let (source, chunk) = (self.source, cut.chunk);
            Failure::reload(format!(
                "ledger.cuts/{source} holds chunk {chunk}, which the tables do not know: they are \
                 older than the log; see `tidemark doctor`"
            ))
        })
    }

    /// Whether the records of a chunk of which the log holds no block were cut anew: by the chunk
    /// that is being rated now, or by one with a later record in `ledger.cuts`.
    async fn is_superseded(
        &self,
        cut: &RateCheckpoint,
        stored: &RateCheckpoint,
    ) -> Result<bool, Failure> {
        if is_cut_over(cut, stored) {
            return Ok(true);
        }
        let (log, topic) = (&self.ctx.log, Topic::LedgerCuts);
        let end = log.bounds(topic, self.source).await?.end;
        let mut next = self.checkpoint.next;
        while next < end {
            let read = log.read(topic, self.source, next, READ, MUST_BE_THERE);
            let records = read.await?;
            let Some(last) = records.last() else {
                break;
            };
            next = last.offset.next();
            let cuts = records
                .iter()
                .filter_map(|record| decode_cut(&record.value).ok());
            for later in cuts.map(|later| later.chunk.cut) {
                if is_cut_over(cut, &later) {
                    return Ok(true);
                }
                // Rating has gone on behind it.
                if later.epoch == cut.epoch && later.chunk > cut.chunk && later.from >= cut.to {
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    /// Looks back in `ledger.cuts` for a record of this chunk, whose own stands at `at`.
    pub(super) async fn earlier_record(
        &self,
        at: Offset,
        chunk: &LoggedChunk,
    ) -> Result<EarlierRecord, Failure> {
        let (log, topic) = (&self.ctx.log, Topic::LedgerCuts);
        let start = log.bounds(topic, self.source).await?.start.0;
        let least = start.max(at.0.saturating_sub(LOOKED_BACK_MAX));
        let (mut to, mut step) = (at.0, LOOKED_BACK_FIRST);
        let mut found = EarlierRecord::None;
        while to > least {
            let from = to.saturating_sub(step).max(least);
            let mut next = Offset(from);
            while next.0 < to {
                let read = log.read(topic, self.source, next, READ, MUST_BE_THERE);
                let records = read.await?;
                let Some(last) = records.last() else {
                    return Err(Failure::reload(format!(
                        "record {next} of {topic}/{} could not be read yet",
                        self.source
                    )));
                };
                next = last.offset.next();
                let before = records.iter().filter(|record| record.offset.0 < to);
                let cuts = before.filter_map(|record| decode_cut(&record.value).ok());
                for earlier in cuts.filter(|earlier| earlier.source == self.source) {
                    if !is_same_cut(&earlier.chunk.cut, &chunk.cut) {
                        continue;
                    }
                    if earlier.chunk.end == chunk.end {
                        return Ok(EarlierRecord::Same);
                    }
                    found = EarlierRecord::OtherEnd(Box::new(earlier.chunk));
                }
            }
            (to, step) = (from, step * 4);
        }
        Ok(found)
    }

    /// A record that repeats an earlier one: its chunk was run again. The next chunk goes on from
    /// the duplicate window that was found then, of which a part may have expired.
    pub(super) fn repeated(&mut self, chunk: &LoggedChunk) {
        let Some(passed) = &mut self.checkpoint.passed else {
            return;
        };
        if passed.chunk == chunk.cut.chunk
            && passed.to == chunk.cut.to
            && let Some(state) = &mut passed.state
            && state.window.first < chunk.cut.window.first
        {
            state.window = chunk.cut.window;
            self.rater = None;
        }
    }

    /// A chunk was run again and ended elsewhere. `tidemark recover` finishes a chunk so that was
    /// rated with rules or links that are lost, and the next chunk goes on from there; anything
    /// else is a finding.
    pub(super) async fn finished_otherwise(
        &mut self,
        earlier: &LoggedChunk,
        chunk: &LoggedChunk,
    ) -> Result<(), Failure> {
        let window = earlier.cut.window.first.min(chunk.cut.window.first);
        let is_excused = self.are_rules_lost(&chunk.cut).await? || self.has_expired(window).await?;
        if !is_excused {
            let contradiction = compare_ends(&earlier.end, &chunk.end);
            let what = "the chunk was run again, and ended elsewhere";
            let contradictions = contradiction.into_iter().map(|of| Contradiction {
                what: format!("{what}: {}", of.what),
                ..of
            });
            let findings = self.findings_of_cut(chunk, contradictions.collect());
            return self.found(&findings).await;
        }
        let passed = self.checkpoint.passed.as_ref();
        if passed.is_some_and(|passed| passed.chunk == chunk.cut.chunk) {
            (self.rater, self.is_begun) = (None, false);
            self.pass(chunk);
        }
        Ok(())
    }

    /// Why a chunk need not give what it gave, although nothing is wrong; `None`: it must.
    async fn excuse(
        &self,
        chunk: &LoggedChunk,
        output: &Output,
        concerned: BTreeSet<Partition>,
    ) -> Result<Option<SkipReason>, Failure> {
        let (ctx, cut) = (self.ctx, &chunk.cut);
        let life_ms = i64::try_from(ctx.settings.usage_row_life.as_millis()).unwrap_or(i64::MAX);
        let now = ctx.clock.now();
        if output
            .oldest_lookup
            .is_some_and(|time| time.plus(life_ms) <= now)
        {
            return Ok(Some(SkipReason::RowsExpired));
        }
        // A window that lacks its beginning tells copies of accepted events by their usage rows,
        // but not copies of a record that was itself rejected.
        if self.has_expired(chunk.cut.window.first).await? {
            return Ok(Some(SkipReason::EventsExpired));
        }
        if self.have_blocks_expired(&concerned).await? {
            return Ok(Some(SkipReason::PostingsExpired));
        }
        if self.are_blocks_unreadable(&concerned).await {
            return Ok(Some(SkipReason::OtherVersion));
        }
        let is_lost = self.are_rules_lost(cut).await?;
        Ok(is_lost.then_some(SkipReason::RulesLost))
    }

    /// Whether entries of the control feed that a chunk was rated with were lost with restored
    /// tables (`tidemark recover`).
    async fn are_rules_lost(&self, cut: &RateCheckpoint) -> Result<bool, Failure> {
        let ctx = self.ctx;
        let lost = BTreeSet::from([cut.control, Control(cut.control.0 + 1)]);
        let void = persist(ctx, || control::void_among(&*ctx.db, &lost)).await?;
        Ok(void.len() == lost.len())
    }

    /// Whether blocks that come after the passed chunk may be in a format that this program does
    /// not read.
    async fn are_blocks_unreadable(&self, concerned: &BTreeSet<Partition>) -> bool {
        for q in concerned {
            let from = self.checkpoint.postings.get(q.0 as usize).copied();
            let unreadable = self.ctx.audits.other_version(*q).await;
            if unreadable.is_some_and(|at| at >= from.unwrap_or_default()) {
                return true;
            }
        }
        false
    }

    /// Whether a record of `usage.events` has expired.
    async fn has_expired(&self, record: Offset) -> Result<bool, Failure> {
        let bounds = self.ctx.log.bounds(Topic::UsageEvents, self.source).await?;
        Ok(bounds.start > record)
    }

    /// Whether blocks that come after the passed chunk may have expired in these posting
    /// partitions.
    async fn have_blocks_expired(&self, concerned: &BTreeSet<Partition>) -> Result<bool, Failure> {
        for q in concerned {
            let from = self.checkpoint.postings.get(q.0 as usize).copied();
            let bounds = self.ctx.log.bounds(Topic::LedgerPostings, *q);
            let start = bounds.await?.start;
            if start > from.unwrap_or_default() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What it says of a chunk that it cannot be rated again.
    pub(super) async fn judge_failure(
        &self,
        chunk: &LoggedChunk,
        failure: Failure,
    ) -> Result<Verdict, Failure> {
        let found = |kind, what| Ok(Verdict::Found(vec![self.finding_of(chunk, kind, what)]));
        match failure {
            Failure::Halt(HaltCode::LogTruncated, _) => {
                Ok(Verdict::Skipped(SkipReason::EventsExpired))
            }
            Failure::Halt(HaltCode::FingerprintMismatch, what) => {
                found(FindingKind::RecordsGone, what)
            }
            Failure::Halt(HaltCode::UsageRowAhead | HaltCode::RowUnreadable, what) => {
                // Usage rows that name what was lost cannot be used.
                if self.are_rules_lost(&chunk.cut).await? {
                    return Ok(Verdict::Skipped(SkipReason::RulesLost));
                }
                // Until `tidemark recover` has run, rows may be of an earlier moment.
                self.checkpoint_of_rater(&chunk.cut).await?;
                found(FindingKind::NotRepeatable, what)
            }
            other if self.has_expired(chunk.cut.from).await? => {
                tracing::debug!(event = "audit.expired", failure = ?other);
                Ok(Verdict::Skipped(SkipReason::EventsExpired))
            }
            other => Err(other),
        }
    }

    async fn findings_of(
        &self,
        chunk: &LoggedChunk,
        wrong: &WrongBlock,
        output: &Output,
    ) -> Result<Vec<Finding>, Failure> {
        let what = match wrong.kind {
            FindingKind::BlockDiffers => "rating the chunk again gives other bytes",
            FindingKind::BlockMissing => {
                "rating the chunk again gives this block, but the log does not hold it"
            }
            FindingKind::BlockExtra => {
                "the log holds this block, but rating the chunk again does not give it"
            }
            _ => "the rater sent this block, but the log does not hold it",
        };
        let block = |what: &str| Finding {
            posting: Some(wrong.posting),
            sequence: Some(wrong.sequence),
            ..self.finding_of(chunk, wrong.kind, what.to_owned())
        };
        let accounts = match wrong.kind {
            FindingKind::BlockDiffers => self.differing(wrong, output).await?,
            _ => Vec::new(),
        };
        if accounts.is_empty() {
            return Ok(vec![block(what)]);
        }
        let (all, named) = (
            accounts.len(),
            accounts.into_iter().take(ACCOUNTS_NAMED_MAX),
        );
        let what = match all {
            0..=ACCOUNTS_NAMED_MAX => "rating the chunk again gives other amounts".to_owned(),
            _ => format!("rating the chunk again gives other amounts for {all} accounts"),
        };
        let of_account = |account| Finding {
            account: Some(account),
            ..block(&what)
        };
        Ok(named.map(of_account).collect())
    }

    /// The accounts for which a block says something else; none if it cannot be decoded.
    async fn differing(
        &self,
        wrong: &WrongBlock,
        output: &Output,
    ) -> Result<Vec<Account>, Failure> {
        let (Some(given), Some(logged)) =
            (given(output, wrong.posting).get(wrong.place), wrong.logged)
        else {
            return Ok(Vec::new());
        };
        let (topic, q, offset) = (Topic::LedgerPostings, wrong.posting, logged.offset);
        let read = self
            .ctx
            .log
            .read(topic, q, offset, ReadLimit::ONE, MUST_BE_THERE);
        let records = read.await?;
        let held = records
            .first()
            .and_then(|held| posting::decode(&held.value).ok());
        Ok(match (posting::decode(given), held) {
            (Ok(given), Some(held)) => differing_accounts(&given, &held),
            _ => Vec::new(),
        })
    }
}

/// Where rating a chunk again ends.
fn given_end(output: &Output) -> ChunkEnd {
    ChunkEnd {
        log_time: output.after.log_time,
        latest_event: output.after.latest_event,
        sequences: output.after.sequences.clone(),
    }
}

/// The blocks for a posting partition.
fn given(output: &Output, q: Partition) -> &[Bytes] {
    let of = output.blocks.iter().find(|(of, _)| *of == q);
    of.map_or(&[], |(_, blocks)| blocks)
}
