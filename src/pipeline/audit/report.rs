//! How the audit says what it did: metrics, log lines, and findings that are kept.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Auditor;
use super::follow::Contradiction;
use crate::domain::position::Chunk;
use crate::ops::clock::Moment;
use crate::ops::health::Role;
use crate::ops::log_throttle::LogThrottle;
use crate::ops::metrics::Metrics;
use crate::pipeline::failure::Failure;
use crate::pipeline::recorded_cut::LoggedChunk;
use crate::pipeline::retry::persist;
use crate::store::audits::{self, Finding, FindingKind};

/// Findings of one source partition and epoch that are kept in the store at a time; all are
/// counted.
const FINDINGS_KEPT_MAX: usize = 1_000;
/// How often it is looked whether some of them were dismissed, once there are as many.
const COUNTED_AGAIN: Duration = Duration::from_secs(60);

/// How many findings of the source partition and epoch are kept, as far as this process knows.
#[derive(Debug, Default)]
pub(super) struct Kept {
    counted: Option<Moment>,
    count: usize,
}

/// A systematic difference is one in every chunk.
static FOUND: LogThrottle<&'static str> = LogThrottle::new();
static SKIPPED: LogThrottle<&'static str> = LogThrottle::new();

/// Why a chunk was not audited. The names are labels of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SkipReason {
    /// Records of `ledger.cuts` have expired before they were read.
    CutsExpired,
    /// Records of `usage.events` that it was rated with have expired.
    EventsExpired,
    /// Its posting blocks have expired.
    PostingsExpired,
    /// Usage rows that decided what is a duplicate, or what a reversal takes back, have expired.
    RowsExpired,
    /// Rules or referral links that it was rated with were lost with restored tables.
    RulesLost,
    /// It has no record in `ledger.cuts`.
    NoCut,
    /// Its records were cut anew before it had sent anything, because tables were restored.
    Superseded,
    /// It is of an epoch that has ended.
    EarlierEpoch,
    /// It was rated by semantics that this program does not implement.
    OtherSemantics,
    /// Its record, or one of its posting blocks, is in a format that this program does not read.
    OtherVersion,
}

impl SkipReason {
    const ALL: [SkipReason; 10] = [
        SkipReason::CutsExpired,
        SkipReason::EventsExpired,
        SkipReason::PostingsExpired,
        SkipReason::RowsExpired,
        SkipReason::RulesLost,
        SkipReason::NoCut,
        SkipReason::Superseded,
        SkipReason::EarlierEpoch,
        SkipReason::OtherSemantics,
        SkipReason::OtherVersion,
    ];

    /// The one of that name.
    pub(super) fn named(name: &str) -> Option<SkipReason> {
        SkipReason::ALL
            .into_iter()
            .find(|reason| reason.as_str() == name)
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            SkipReason::CutsExpired => "cuts_expired",
            SkipReason::EventsExpired => "events_expired",
            SkipReason::PostingsExpired => "postings_expired",
            SkipReason::RowsExpired => "rows_expired",
            SkipReason::RulesLost => "rules_lost",
            SkipReason::NoCut => "no_cut",
            SkipReason::Superseded => "superseded",
            SkipReason::EarlierEpoch => "earlier_epoch",
            SkipReason::OtherSemantics => "other_semantics",
            SkipReason::OtherVersion => "other_version",
        }
    }
}

/// Alerts compare with what was before, so every series begins at zero.
pub(in crate::pipeline) fn counters_at_zero(metrics: &Metrics) {
    for kind in FindingKind::ALL {
        let findings = &metrics.audit_findings_total;
        drop(findings.with_label_values(&[kind.as_str()]));
    }
    for reason in SkipReason::ALL {
        let skipped = &metrics.audit_skipped_total;
        drop(skipped.with_label_values(&[reason.as_str()]));
    }
}

impl Auditor<'_> {
    /// Counts a chunk whose blocks are as they should be.
    pub(super) fn equal(&mut self, chunk: &LoggedChunk, started: Moment) {
        self.checkpoint.audited += 1;
        let metrics = &self.ctx.metrics;
        metrics.audit_chunks_total.inc();
        let records = chunk.cut.to.0.saturating_sub(chunk.cut.from.0);
        metrics.audit_records_total.inc_by(records);
        self.ctx.stage(Role::Audit, "audit", started);
        tracing::debug!(event = "audit.chunk", task = %self.task(), chunk = chunk.cut.chunk.0, records);
    }

    /// Counts a chunk, or some that nothing is known of, which cannot be audited.
    pub(super) fn skip(&mut self, reason: SkipReason) {
        self.checkpoint.skipped += 1;
        let reason = reason.as_str();
        let skipped = &self.ctx.metrics.audit_skipped_total;
        skipped.with_label_values(&[reason]).inc();
        if let Some(kept_back) = SKIPPED.say(reason) {
            tracing::warn!(event = "audit.skipped", task = %self.task(), reason, kept_back, "a chunk cannot be audited");
        }
    }

    /// A finding that is not about a chunk that could be read.
    pub(super) fn finding(&self, kind: FindingKind, what: String) -> Finding {
        let passed = self.checkpoint.passed.as_ref();
        Finding {
            epoch: self.checkpoint.epoch,
            source: self.source,
            chunk: passed.map_or(Chunk(0), |passed| passed.chunk),
            kind,
            posting: None,
            sequence: None,
            account: None,
            what,
            at: self.ctx.clock.now(),
        }
    }

    /// A finding about a chunk.
    pub(super) fn finding_of(
        &self,
        chunk: &LoggedChunk,
        kind: FindingKind,
        what: String,
    ) -> Finding {
        Finding {
            chunk: chunk.cut.chunk,
            ..self.finding(kind, what)
        }
    }

    /// What contradicts a chunk's place, one finding for each kind.
    pub(super) fn findings_of_cut(
        &self,
        chunk: &LoggedChunk,
        contradictions: Vec<Contradiction>,
    ) -> Vec<Finding> {
        let mut by_kind: BTreeMap<FindingKind, String> = BTreeMap::new();
        for Contradiction { kind, what } in contradictions {
            let text = by_kind.entry(kind).or_default();
            if !text.is_empty() {
                text.push_str("; ");
            }
            text.push_str(&what);
        }
        let found = by_kind.into_iter();
        found
            .map(|(kind, what)| self.finding_of(chunk, kind, what))
            .collect()
    }

    /// Whether another finding may be kept. Those that were dismissed count no more.
    async fn may_keep(&mut self) -> Result<bool, Failure> {
        let (ctx, now) = (self.ctx, self.ctx.clock.moment());
        let is_due = match self.kept.counted {
            None => true,
            Some(at) => self.kept.count >= FINDINGS_KEPT_MAX && now.since(at) >= COUNTED_AGAIN,
        };
        if is_due {
            let (epoch, source) = (self.checkpoint.epoch, self.source);
            let count = || audits::count_kept(&*ctx.db, epoch, source, FINDINGS_KEPT_MAX);
            self.kept = Kept {
                count: persist(ctx, count).await?,
                counted: Some(now),
            };
        }
        Ok(self.kept.count < FINDINGS_KEPT_MAX)
    }

    /// Counts findings and keeps them. They are durable before the checkpoint passes the chunk.
    pub(super) async fn found(&mut self, findings: &[Finding]) -> Result<(), Failure> {
        let ctx = self.ctx;
        for finding in findings {
            let (kind, what) = (finding.kind.as_str(), &finding.what);
            ctx.metrics
                .audit_findings_total
                .with_label_values(&[kind])
                .inc();
            if let Some(kept_back) = FOUND.say(kind) {
                let (chunk, account) = (finding.chunk.0, &finding.account);
                let (posting, sequence) = (&finding.posting, &finding.sequence);
                tracing::error!(event = "audit.finding", task = %self.task(), chunk, kind, ?posting, ?sequence, ?account, what, kept_back, "rating cannot be confirmed; see docs/runbook.md#tidemarkauditfinding");
            }
            self.checkpoint.findings += 1;
            if self.may_keep().await? {
                persist(ctx, || audits::keep(&*ctx.db, finding)).await?;
                self.kept.count += 1;
            }
        }
        Ok(())
    }
}
