//! What the auditor has done and found.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Queries, QueryError};
use crate::domain::position::Partition;
use crate::pipeline::progress;
use crate::store::audits::coverage::Coverage;
use crate::store::audits::{self, KeptFinding};

/// What the auditor has done and found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditReport {
    /// How far it is, by source partition. One that is missing has not been audited in any epoch.
    pub progress: Vec<AuditProgress>,
    /// What it found, by epoch, source partition and chunk. At most 1,000 of each source partition
    /// and epoch are kept at a time.
    pub findings: Vec<AuditFinding>,
    /// The number of the newest finding at the time of the answer: `tidemark audit dismiss --up-to`
    /// this removes none that came later. 0: there was none with a number.
    pub up_to: u64,
    /// Ask with `after=` this for the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// How far the audit of a source partition is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditProgress {
    /// The partition of `usage.events`.
    pub source_partition: u32,
    /// The epoch of the log.
    pub epoch: u32,
    /// The first chunk that the audit log holds: what was rated before is not audited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_chunk: Option<u64>,
    /// The last chunk that was audited or skipped. Numbers have gaps: a partition that becomes idle
    /// takes one without a chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<u64>,
    /// The offset of `usage.events` before which everything was audited or skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Chunks that were audited in this epoch.
    pub audited: u64,
    /// Chunks that could not be, because what it takes to rate them again is gone.
    pub skipped: u64,
    /// Findings in this epoch.
    pub findings: u64,
    /// What the archive holds of this epoch; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchivedPart>,
}

/// What the archive holds of a source partition and epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchivedPart {
    /// Archived records.
    pub records: u64,
    /// The offset of `usage.events` before which everything is archived or named as a gap.
    pub offset: u64,
    /// The log time up to which that is.
    pub log_time: String,
    /// Gaps: runs of chunks that could not be archived. At most 200 are listed.
    pub gaps: usize,
}

impl ArchivedPart {
    /// `None`: there is an archive, but no file has been written yet.
    fn of(coverage: &Coverage) -> Option<ArchivedPart> {
        coverage.chunk.map(|_| ArchivedPart {
            records: coverage.rows,
            offset: coverage.to.0,
            log_time: coverage.log_time.to_string(),
            gaps: coverage.gaps.len(),
        })
    }
}

/// A difference between the log and what rating it again gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditFinding {
    /// Findings are numbered in the order in which they were kept. 0: an older version kept it.
    pub number: u64,
    /// The epoch of the log.
    pub epoch: u32,
    /// The partition of `usage.events`.
    pub source_partition: u32,
    /// The chunk.
    pub chunk: u64,
    /// `block_differs`, `block_missing`, `block_extra`, `sequence_missing`, `records_gone`,
    /// `not_repeatable`, `cut_unreadable`, `records_rated_twice`, `records_not_rated`,
    /// `cut_contradicts` or `end_differs`.
    pub kind: &'static str,
    /// The partition of `ledger.postings`, if it is about a posting block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub posting_partition: Option<u32>,
    /// The posting block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The account whose amounts differ: `user:alice`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// What is wrong.
    pub what: String,
    /// When it was found.
    pub found_at: String,
}

impl From<KeptFinding> for AuditFinding {
    fn from(KeptFinding { number, finding }: KeptFinding) -> AuditFinding {
        AuditFinding {
            number,
            epoch: finding.epoch.0,
            source_partition: finding.source.0,
            chunk: finding.chunk.0,
            kind: finding.kind.as_str(),
            posting_partition: finding.posting.map(|q| q.0),
            sequence: finding.sequence.map(|sequence| sequence.0),
            account: finding.account.map(|account| account.to_string()),
            what: finding.what,
            found_at: finding.at.to_string(),
        }
    }
}

impl Queries {
    /// How far the audit of each source partition is.
    pub async fn audit_progress(&self) -> Result<Vec<AuditProgress>, QueryError> {
        let mut progress = Vec::new();
        for source in (0..self.partitions().source).map(Partition) {
            if let Some(stored) = progress::audit_checkpoint(self.db(), source).await? {
                let passed = stored.passed.as_ref();
                progress.push(AuditProgress {
                    source_partition: source.0,
                    epoch: stored.epoch.0,
                    first_chunk: stored.first_chunk.map(|chunk| chunk.0),
                    chunk: passed.map(|passed| passed.chunk.0),
                    offset: passed.map(|passed| passed.to.0),
                    audited: stored.audited,
                    skipped: stored.skipped,
                    findings: stored.findings,
                    archive: stored
                        .archive
                        .and_then(|archive| ArchivedPart::of(&archive.coverage)),
                });
            }
        }
        Ok(progress)
    }

    /// What the auditor has done, and a page of what it found: at most `limit` findings after
    /// `after` (the `next` of the page before; `None`: the first ones).
    pub async fn audit_report(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<AuditReport, QueryError> {
        let progress = self.audit_progress().await?;
        // Read first: every finding up to there is in the pages.
        let up_to = audits::last_number(self.db()).await?;
        let page = audits::page(self.db(), after, limit).await?;
        Ok(AuditReport {
            progress,
            findings: page.findings.into_iter().map(AuditFinding::from).collect(),
            up_to,
            next: page.next,
        })
    }
}
