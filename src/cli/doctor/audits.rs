//! How far the auditor is, and what it found.

use super::findings::{Backlog, Cause, Findings};
use crate::cli::output::{Done, counted};
use crate::cli::session::Session;
use crate::domain::position::Partition;
use crate::log::{LogError, Topic};
use crate::ops::config::Config;
use crate::ops::health::{Role, TaskId};
use crate::pipeline::progress;

/// Findings that are named one by one.
const NAMED_MAX: usize = 3;
/// Findings that are counted.
const COUNTED_MAX: usize = 100;

/// Looks how far the auditor is, and what it found.
pub async fn look(session: &Session, config: &Config, findings: &mut Findings) -> Done {
    let report = session.queries().audit_report(None, COUNTED_MAX).await?;
    if !report.findings.is_empty() {
        let more = if report.next.is_some() {
            " or more"
        } else {
            ""
        };
        findings.fault(
            Cause::AuditFindings,
            format!(
                "The auditor has {}{more} about rating: what stands in the log is not what rating the \
                 same events again gives, or a chunk does not follow the one before it. It changed \
                 nothing. See `tidemark audit findings` (docs/runbook.md#tidemarkauditfinding).",
                counted(report.findings.len() as u64, "finding")
            ),
        );
        for finding in report.findings.iter().take(NAMED_MAX) {
            let account = finding.account.as_deref().unwrap_or("no single account");
            findings.follows(
                &Cause::AuditFindings,
                format!(
                    "{} in chunk {} of source partition {} ({account}): {}.",
                    finding.kind, finding.chunk, finding.source_partition, finding.what
                ),
            );
        }
    }
    if report.progress.is_empty() {
        if !config.is_cluster() && config.pipeline.audit {
            findings.note("Nothing has been audited yet.");
        }
        return Ok(());
    }
    let skipped: u64 = report.progress.iter().map(|of| of.skipped).sum();
    let Some(waiting) = waiting(session).await? else {
        return Ok(());
    };
    findings.note(format!(
        "{} to be audited yet{}; {} could not be audited.",
        counted(waiting.sum(), "chunk"),
        waiting.by_partition(),
        counted(skipped, "chunk")
    ));
    Ok(())
}

/// Chunks that are not audited yet; `None`: there is no audit log.
async fn waiting(session: &Session) -> Done<Option<Backlog>> {
    let info = match session.log.topic(Topic::LedgerCuts).await {
        Err(LogError::NoTopic { .. }) => return Ok(None),
        info => info?,
    };
    let mut waiting = Backlog::default();
    for partition in (0..info.partitions).map(Partition) {
        let bounds = session.log.bounds(Topic::LedgerCuts, partition).await?;
        let task = TaskId::new(Role::Audit, partition);
        let stored = progress::standing(session.db(), task).await?;
        let next = stored.and_then(|stored| stored.next_in(session.log.epoch(), &info));
        waiting.add(partition, bounds.waiting(next.unwrap_or(bounds.start)));
    }
    Ok(Some(waiting))
}
