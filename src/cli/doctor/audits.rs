//! How far the auditor is, and what it found.

use std::time::Duration;

use super::findings::{Backlog, Cause, Findings};
use crate::app::queries::{ArchivedPart, AuditProgress};
use crate::cli::engine;
use crate::cli::output::{Done, Failure, counted};
use crate::cli::session::Session;
use crate::domain::position::Partition;
use crate::domain::time::{MINUTE_MS, Millis};
use crate::log::{LogError, ReadLimit, Topic};
use crate::ops::config::Config;
use crate::ops::health::{Role, TaskId};
use crate::pipeline::progress;

/// Findings that are named one by one.
const NAMED_MAX: usize = 3;
/// A chunk that waits for longer than this is worth a note, as for the alert TidemarkNotAudited.
const BEHIND_MS: i64 = 15 * MINUTE_MS;
/// How long reading the next record may take.
const NEXT_WITHIN: Duration = Duration::from_secs(1);
/// How long the archive may take to list what it covers.
const ARCHIVE_WITHIN: Duration = Duration::from_secs(10);
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
    archive(config, &report.progress, findings).await;
    if report.progress.is_empty() {
        if !config.is_cluster() && config.pipeline.audit {
            findings.note("Nothing has been audited yet.");
        }
        return Ok(());
    }
    let skipped: u64 = report.progress.iter().map(|of| of.skipped).sum();
    let Some((waiting, oldest)) = waiting(session).await? else {
        return Ok(());
    };
    findings.note(format!(
        "{} to be audited yet{}; {} could not be audited.",
        counted(waiting.sum(), "chunk"),
        waiting.by_partition(),
        counted(skipped, "chunk")
    ));
    let is_off = !config.is_cluster() && !config.pipeline.audit;
    if let Some((since, partition)) = oldest.filter(|_| !is_off) {
        say_behind(session, since, partition, findings);
    }
    Ok(())
}

/// Looks whether the archive can be read, and what it holds.
async fn archive(config: &Config, progress: &[AuditProgress], findings: &mut Findings) {
    if config.archive.location.is_none() {
        return;
    }
    let read = async {
        let archive = engine::archive_to_read(config, None).await?;
        archive.coverages().await.map_err(Failure::failed)?;
        Ok::<_, Failure>(archive.place().to_owned())
    };
    let unread = match tokio::time::timeout(ARCHIVE_WITHIN, read).await {
        Ok(Ok(place)) => {
            findings.note(archived(&place, progress));
            return;
        }
        Ok(Err(Failure::Failed(why) | Failure::Refused(why))) => why,
        Ok(Err(failure)) => format!("{failure:?}"),
        Err(_) => format!("no answer within {} s", ARCHIVE_WITHIN.as_secs()),
    };
    findings.fault(
        Cause::Archive,
        format!(
            "The archive of requests cannot be read from here: {unread}. Amounts are not affected; \
             exports of requests, `tidemark verify` and `tidemark replay` need it \
             (docs/runbook.md#tidemarkarchivenotwritten)."
        ),
    );
}

fn archived(place: &str, progress: &[AuditProgress]) -> String {
    let parts: Vec<&ArchivedPart> = progress
        .iter()
        .filter_map(|of| of.archive.as_ref())
        .collect();
    let records: u64 = parts.iter().map(|part| part.records).sum();
    let gaps: usize = parts.iter().map(|part| part.gaps).sum();
    match parts.iter().map(|part| &part.log_time).min() {
        None => format!("The archive at {place} holds nothing of this epoch yet."),
        Some(oldest) => format!(
            "The archive at {place} holds {} of this epoch, up to {oldest} of every source partition, \
             with {}.",
            counted(records, "record"),
            counted(gaps as u64, "gap")
        ),
    }
}

/// Says that the audit has not gone on for a while. That is a note: amounts are not late, and
/// whoever has switched it off wants it so.
fn say_behind(session: &Session, since: Millis, partition: Partition, findings: &mut Findings) {
    if session.now().0.saturating_sub(since.0) > BEHIND_MS {
        findings.note(format!(
            "The audit of source partition {partition} is behind: its next chunk was rated at \
             {since}. Amounts are not late, but they are not checked. If no auditor runs, start one \
             (docs/runbook.md#tidemarknotaudited)."
        ));
    }
}

/// Chunks that are not audited yet, and since when the oldest of them waits; `None`: there is no
/// audit log.
async fn waiting(session: &Session) -> Done<Option<(Backlog, Option<(Millis, Partition)>)>> {
    let info = match session.log.topic(Topic::LedgerCuts).await {
        Err(LogError::NoTopic { .. }) => return Ok(None),
        info => info?,
    };
    let (mut waiting, mut oldest) = (Backlog::default(), None);
    for partition in (0..info.partitions).map(Partition) {
        let bounds = session.log.bounds(Topic::LedgerCuts, partition).await?;
        let task = TaskId::new(Role::Audit, partition);
        let stored = progress::standing(session.db(), task).await?;
        let next = stored.and_then(|stored| stored.next_in(session.log.epoch(), &info));
        let next = next.unwrap_or(bounds.start).max(bounds.start);
        let count = bounds.waiting(next);
        waiting.add(partition, count);
        if count > 0 {
            let (topic, one) = (Topic::LedgerCuts, ReadLimit::ONE);
            let read = session.log.read(topic, partition, next, one, NEXT_WITHIN);
            // One that cannot be read is told of elsewhere.
            let first = read.await.ok().and_then(|records| records.first().cloned());
            let first = first.map(|record| (record.append_time, partition));
            oldest = [oldest, first].into_iter().flatten().min();
        }
    }
    Ok(Some((waiting, oldest)))
}
