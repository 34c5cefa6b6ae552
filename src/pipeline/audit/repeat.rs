//! Rating a chunk again, and judging what comes of it.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::compare::{ComparedBlocks, Follows, WrongBlock, compare, differing_accounts};
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
use crate::pipeline::recorded_cut::LoggedChunk;
use crate::pipeline::retry::persist;
use crate::store::audits::{Finding, FindingKind};
use crate::store::checkpoints::RateCheckpoint;
use crate::store::control;

/// Accounts of one block that are named in findings of their own.
const ACCOUNTS_NAMED_MAX: usize = 20;

impl<'c> Auditor<'c> {
    /// Rates a chunk again and compares its blocks.
    pub(super) async fn judge(
        &mut self,
        chunk: &LoggedChunk,
        blocks: &LoggedBlocks,
        follows: Follows,
    ) -> Result<Verdict, Failure> {
        if Semantics::known(chunk.cut.semantics).is_none() {
            return Ok(Verdict::Skipped(SkipReason::OtherSemantics));
        }
        let output = match self.rate_again(chunk).await {
            Ok(output) => output,
            Err(failure) => {
                self.rater = None;
                return self.judge_failure(chunk, failure).await;
            }
        };
        let wrong = self.wrong_blocks(chunk, blocks, &output);
        if wrong.is_empty() && blocks.gaps.is_empty() {
            return Ok(Verdict::Equal);
        }
        let stored = self.checkpoint_of_rater(&chunk.cut).await?;
        if self.is_superseded(chunk, follows, &wrong, &stored).await? {
            return Ok(Verdict::Superseded);
        }
        let gone = blocks.gaps.iter().map(|(q, _)| *q);
        // A block that is there and differs has not expired.
        let missing = wrong.iter().filter(|wrong| wrong.logged.is_none());
        let concerned = gone.chain(missing.map(|wrong| wrong.posting)).collect();
        if let Some(reason) = self.excuse(chunk, &output, concerned).await? {
            return Ok(Verdict::Skipped(reason));
        }
        let mut findings = Vec::new();
        for (q, sequence) in &blocks.gaps {
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

    async fn rate_again(&mut self, chunk: &LoggedChunk) -> Result<Output, Failure> {
        let cut = &chunk.cut;
        let mut rater = match self.rater.take() {
            Some(mut rater) => {
                rater.follow_to(cut.control).await?;
                rater.continue_with(cut.clone()).await?;
                rater
            }
            None => Rater::auditing(self.ctx, self.source, cut.clone(), false).await?,
        };
        let output = rater.repeat().await?;
        self.rater = Some(rater);
        Ok(output)
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

    /// The rater's stored checkpoint. A cut is stored before its record is appended, so a checkpoint of an
    /// earlier chunk comes from tables that were restored: usage rows may be missing until
    /// `tidemark recover` has written them again, and until then nothing is found.
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

    /// Whether the records of a chunk were cut anew before it had sent anything. Then a later chunk begins
    /// before its end: the one that is being rated now, or one with a record in `ledger.cuts`.
    async fn is_superseded(
        &self,
        chunk: &LoggedChunk,
        follows: Follows,
        wrong: &[WrongBlock],
        stored: &RateCheckpoint,
    ) -> Result<bool, Failure> {
        let differs = |wrong: &WrongBlock| wrong.kind == FindingKind::BlockDiffers;
        if wrong.iter().any(differs) {
            return Ok(false);
        }
        if follows == Follows::CutAnew {
            // Its record may be a late copy.
            return Ok(true);
        }
        let cut = &chunk.cut;
        if stored.epoch == cut.epoch && stored.chunk > cut.chunk && stored.from < cut.to {
            return Ok(true);
        }
        let next = self.next_chunk(cut).await?;
        Ok(next.is_some_and(|next| next.from < cut.to))
    }

    /// The first later chunk that has a record in `ledger.cuts`.
    async fn next_chunk(&self, cut: &RateCheckpoint) -> Result<Option<RateCheckpoint>, Failure> {
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
            let mut later = cuts.map(|later| later.chunk.cut);
            let is_later =
                |later: &RateCheckpoint| later.epoch == cut.epoch && later.chunk > cut.chunk;
            if let Some(found) = later.find(is_later) {
                return Ok(Some(found));
            }
        }
        Ok(None)
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
        // A window that lacks its beginning tells copies of accepted events by their usage rows, but not
        // copies of a record that was itself rejected.
        if self.has_expired(chunk.cut.window.first).await? {
            return Ok(Some(SkipReason::EventsExpired));
        }
        if self.have_blocks_expired(concerned).await? {
            return Ok(Some(SkipReason::PostingsExpired));
        }
        // Entries of the control feed were lost with restored tables (`tidemark recover`).
        let lost = BTreeSet::from([cut.control, Control(cut.control.0 + 1)]);
        let void = persist(ctx, || control::void_among(&*ctx.db, &lost)).await?;
        Ok((void.len() == lost.len()).then_some(SkipReason::RulesLost))
    }

    /// Whether a record of `usage.events` has expired.
    async fn has_expired(&self, record: Offset) -> Result<bool, Failure> {
        let bounds = self.ctx.log.bounds(Topic::UsageEvents, self.source).await?;
        Ok(bounds.start > record)
    }

    /// Whether blocks that come after the passed chunk may have expired in these posting partitions.
    async fn have_blocks_expired(&self, concerned: BTreeSet<Partition>) -> Result<bool, Failure> {
        for q in concerned {
            let from = self.checkpoint.postings.get(q.0 as usize).copied();
            let start = self.ctx.log.bounds(Topic::LedgerPostings, q).await?.start;
            if start > from.unwrap_or_default() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What it says of a chunk that it cannot be rated again.
    async fn judge_failure(
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

/// The blocks for a posting partition.
fn given(output: &Output, q: Partition) -> &[Bytes] {
    let of = output.blocks.iter().find(|(of, _)| *of == q);
    of.map_or(&[], |(_, blocks)| blocks)
}
