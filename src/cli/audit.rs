//! `tidemark audit`: what the auditor has done and found, and dismissing that.

use super::args::AuditCommand;
use super::output::{Done, Out, counted};
use super::session::{Session, by};
use crate::app::queries::{ArchivedPart, AuditFinding, AuditProgress, AuditReport};

/// Findings that are read at a time.
const PAGE: usize = 500;

/// Runs `tidemark audit`.
pub async fn run(session: &Session, command: &AuditCommand) -> Done {
    match command {
        AuditCommand::Status(args) => status(&session.queries().audit_progress().await?, args.json),
        AuditCommand::Findings { json: true, .. } => all_findings(session).await,
        AuditCommand::Findings { limit, json: false } => {
            let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
            findings(&session.queries().audit_report(None, limit).await?)
        }
        AuditCommand::Dismiss { up_to, reason } => dismiss(session, *up_to, reason).await,
    }
}

async fn dismiss(session: &Session, up_to: u64, reason: &str) -> Done {
    let commands = session.commands();
    let dismissed = commands.dismiss_findings(up_to, reason, &by()).await?;
    let mut out = Out::new();
    out.line(format!(
        "removed {}; the audit trail keeps them",
        counted(dismissed as u64, "finding")
    ))?;
    out.finish()
}

fn status(progress: &[AuditProgress], is_json: bool) -> Done {
    let mut out = Out::new();
    if is_json {
        for progress in progress {
            out.json(progress)?;
        }
        return out.finish();
    }
    if progress.is_empty() {
        out.line(
            "nothing was audited yet; `tidemark up` audits, and `tidemark worker --roles audit`",
        )?;
        return out.finish();
    }
    let rows: Vec<_> = progress.iter().map(progress_row).collect();
    let titles = [
        "source",
        "epoch",
        "first chunk",
        "last chunk",
        "audited",
        "skipped",
        "findings",
        "archived",
        "archived up to",
        "gaps",
    ];
    out.table(&titles, &rows)?;
    out.finish()
}

fn progress_row(progress: &AuditProgress) -> Vec<String> {
    let chunk =
        |chunk: Option<u64>| chunk.map_or_else(|| "-".to_owned(), |chunk| chunk.to_string());
    let of_archive = |text: &dyn Fn(&ArchivedPart) -> String| {
        progress
            .archive
            .as_ref()
            .map_or_else(|| "-".to_owned(), text)
    };
    vec![
        progress.source_partition.to_string(),
        progress.epoch.to_string(),
        chunk(progress.first_chunk),
        chunk(progress.chunk),
        progress.audited.to_string(),
        progress.skipped.to_string(),
        progress.findings.to_string(),
        of_archive(&|part| part.records.to_string()),
        of_archive(&|part| part.log_time.clone()),
        of_archive(&|part| part.gaps.to_string()),
    ]
}

/// Prints every finding as a line of JSON, page by page.
async fn all_findings(session: &Session) -> Done {
    let (mut out, mut after) = (Out::new(), None::<String>);
    loop {
        let page = session
            .queries()
            .audit_report(after.as_deref(), PAGE)
            .await?;
        for finding in &page.findings {
            out.json(finding)?;
        }
        after = page.next;
        if after.is_none() {
            return out.finish();
        }
    }
}

fn findings(report: &AuditReport) -> Done {
    let mut out = Out::new();
    if report.findings.is_empty() {
        out.line("the auditor has found nothing")?;
        return out.finish();
    }
    let rows: Vec<_> = report.findings.iter().map(finding_row).collect();
    let titles = [
        "number", "source", "chunk", "kind", "block", "account", "found", "what",
    ];
    out.table(&titles, &rows)?;
    out.line(match report.next {
        None => format!(
            "\nonce they are explained: tidemark audit dismiss --up-to {} --reason '…'",
            report.up_to
        ),
        Some(_) => "\nthere are more: see --limit, or --json for all of them".to_owned(),
    })?;
    out.finish()
}

fn finding_row(finding: &AuditFinding) -> Vec<String> {
    let block = match (finding.posting_partition, finding.sequence) {
        (Some(q), Some(sequence)) => format!("{q}: {sequence}"),
        _ => "-".to_owned(),
    };
    vec![
        finding.number.to_string(),
        finding.source_partition.to_string(),
        finding.chunk.to_string(),
        finding.kind.to_owned(),
        block,
        finding.account.clone().unwrap_or_else(|| "-".to_owned()),
        finding.found_at.clone(),
        finding.what.clone(),
    ]
}
