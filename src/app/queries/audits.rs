//! What the auditor has done and found.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Queries, QueryError};
use crate::domain::position::Partition;
use crate::pipeline::progress;
use crate::store::audits::{self, Finding};

/// What the auditor has done and found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditReport {
    /// How far it is, by source partition. One that is missing has not been audited in any epoch.
    pub progress: Vec<AuditProgress>,
    /// What it found, by epoch, source partition and chunk. At most 1,000 of each source partition and
    /// epoch are kept.
    pub findings: Vec<AuditFinding>,
    /// How many findings are kept, also those beyond `limit`.
    pub total: usize,
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
    /// The last chunk that was audited or skipped.
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
}

/// A difference between the log and what rating it again gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditFinding {
    /// The epoch of the log.
    pub epoch: u32,
    /// The partition of `usage.events`.
    pub source_partition: u32,
    /// The chunk.
    pub chunk: u64,
    /// `block_differs`, `block_missing`, `block_extra`, `sequence_missing`, `records_gone`,
    /// `not_repeatable` or `cut_unreadable`.
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

impl From<Finding> for AuditFinding {
    fn from(finding: Finding) -> AuditFinding {
        AuditFinding {
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
    /// What the auditor has done and found: the first `limit` findings.
    pub async fn audit_report(&self, limit: usize) -> Result<AuditReport, QueryError> {
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
                });
            }
        }
        let findings = audits::findings(self.db()).await?;
        Ok(AuditReport {
            progress,
            total: findings.len(),
            findings: findings
                .into_iter()
                .take(limit)
                .map(AuditFinding::from)
                .collect(),
        })
    }
}
