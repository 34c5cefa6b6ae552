//! `tidemark audit`: what the auditor has done and found, and dismissing that.

use super::args::AuditCommand;
use super::output::{Done, Out, counted};
use super::session::{Session, by};
use crate::app::queries::{AuditFinding, AuditProgress, AuditReport};

/// Runs `tidemark audit`.
pub async fn run(session: &Session, command: &AuditCommand) -> Done {
    let report = async || session.queries().audit_report(usize::MAX).await;
    match command {
        AuditCommand::Status(args) => status(&report().await?, args.json),
        AuditCommand::Findings(args) => findings(&report().await?, args.json),
        AuditCommand::Dismiss { reason } => dismiss(session, reason).await,
    }
}

async fn dismiss(session: &Session, reason: &str) -> Done {
    let dismissed = session.commands().dismiss_findings(reason, &by()).await?;
    let mut out = Out::new();
    out.line(format!(
        "removed {}; the audit trail keeps them",
        counted(dismissed as u64, "finding")
    ))?;
    out.finish()
}

fn status(report: &AuditReport, is_json: bool) -> Done {
    let mut out = Out::new();
    if is_json {
        for progress in &report.progress {
            out.json(progress)?;
        }
        return out.finish();
    }
    if report.progress.is_empty() {
        out.line(
            "nothing was audited yet; `tidemark up` audits, and `tidemark worker --roles audit`",
        )?;
        return out.finish();
    }
    let rows: Vec<_> = report.progress.iter().map(progress_row).collect();
    let titles = [
        "source",
        "epoch",
        "first chunk",
        "last chunk",
        "audited",
        "skipped",
        "findings",
    ];
    out.table(&titles, &rows)?;
    out.finish()
}

fn progress_row(progress: &AuditProgress) -> Vec<String> {
    let chunk =
        |chunk: Option<u64>| chunk.map_or_else(|| "-".to_owned(), |chunk| chunk.to_string());
    vec![
        progress.source_partition.to_string(),
        progress.epoch.to_string(),
        chunk(progress.first_chunk),
        chunk(progress.chunk),
        progress.audited.to_string(),
        progress.skipped.to_string(),
        progress.findings.to_string(),
    ]
}

fn findings(report: &AuditReport, is_json: bool) -> Done {
    let mut out = Out::new();
    if is_json {
        for finding in &report.findings {
            out.json(finding)?;
        }
    } else if report.findings.is_empty() {
        out.line("the auditor has found nothing")?;
    } else {
        let rows: Vec<_> = report.findings.iter().map(finding_row).collect();
        let titles = [
            "source", "chunk", "kind", "block", "account", "found", "what",
        ];
        out.table(&titles, &rows)?;
    }
    out.finish()
}

fn finding_row(finding: &AuditFinding) -> Vec<String> {
    let block = match (finding.posting_partition, finding.sequence) {
        (Some(q), Some(sequence)) => format!("{q}: {sequence}"),
        _ => "-".to_owned(),
    };
    vec![
        finding.source_partition.to_string(),
        finding.chunk.to_string(),
        finding.kind.to_owned(),
        block,
        finding.account.clone().unwrap_or_else(|| "-".to_owned()),
        finding.found_at.clone(),
        finding.what.clone(),
    ]
}
