//! Are all tables there, do they belong together, and do the topics have the partitions with which
//! the epoch began?

use std::collections::BTreeMap;
use std::sync::Arc;

use super::findings::{Cause, Findings};
use crate::cli::engine::connect;
use crate::cli::output::{Done, counted};
use crate::cli::session::Session;
use crate::domain::position::Partition;
use crate::log::Topic;
use crate::ops::config::Config;
use crate::ops::health::{Role, TaskId};
use crate::ops::metrics::Metrics;
use crate::pipeline::loss::{LossError, Losses};
use crate::pipeline::{self, Failure as Halt, HaltCode, progress};
use crate::store::db::{StoreError, Table};
use crate::store::{feed_rows, installation, layout, losses, protection, recovery};

/// Looks at the tables. False if one is missing: nothing else can be read then.
pub async fn look(session: &Session, findings: &mut Findings) -> Done<bool> {
    let missing = installation::missing_tables(session.db()).await?;
    for (table, why) in &missing {
        let what = format!("table {} cannot be read: {why}", table.name());
        everybody_halts(session, HaltCode::StoreRefused, &what, findings);
    }
    if !missing.is_empty() {
        return Ok(false);
    }
    let marks = installation::read(session.db()).await?;
    if let Some(what) = marks.contradiction() {
        everybody_halts(session, HaltCode::RowRegressed, &what, findings);
    }
    if recovery::is_begun(session.db()).await? {
        findings.fault(
            Cause::RecoveryBrokenOff,
            "`tidemark recover` was interrupted: usage rows, which identify resent events, may be \
             missing. Stop all workers and run it again",
        );
    }
    match feed_rows::glance(session.db()).await {
        Err(error @ StoreError::Apart(_)) => findings.fault(
            Cause::TablesApart,
            format!("Prices or referral links may be wrong, and changes of them may fail: {error}"),
        ),
        looked => looked?,
    }
    counts(session, findings).await?;
    Ok(true)
}

/// Compares the partition counts of the epoch with the topics.
async fn counts(session: &Session, findings: &mut Findings) -> Done {
    let Some(layout) = layout::get(session.db(), session.log.epoch()).await? else {
        return Ok(());
    };
    let partitions = &session.partitions;
    for (topic, known, found) in [
        (Topic::UsageEvents, layout.source, partitions.source),
        (Topic::LedgerPostings, layout.posting, partitions.posting),
    ] {
        if let Err(Halt::Halt(code, what)) = pipeline::same_count(topic, known, found) {
            everybody_halts(session, code, &what, findings);
        }
    }
    Ok(())
}

/// Log times that cannot be true: the raters halt when they are taken up.
pub async fn clocks(session: &Session, findings: &mut Findings) -> Done {
    for partition in (0..session.partitions.source).map(Partition) {
        let task = TaskId::new(Role::Rate, partition);
        let stored = progress::rate_checkpoint(session.db(), partition).await?;
        let Some(stored) = stored.filter(|_| findings.stopped(task).is_none()) else {
            continue;
        };
        if pipeline::is_log_time_ahead(stored.log_time, session.now()) {
            let what = format!(
                "log time of {task} is {}, but this machine's clock says {}",
                stored.log_time,
                session.now()
            );
            findings.will_halt(Some(task), HaltCode::ClockAhead, &what);
        }
    }
    Ok(())
}

/// Whether tables that are to be protected are.
pub async fn protection(config: &Config, findings: &mut Findings) -> Done {
    if !config.store.protects_tables() {
        return Ok(());
    }
    let db = connect(&config.store, None, Arc::new(Metrics::new())).await?;
    let mut unprotected: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for table in Table::ALL {
        let found = match protection::read(&db, table).await {
            Ok(found) => found,
            Err(error @ StoreError::Denied(_)) => {
                findings.note(format!(
                    "Could not check whether the tables are protected: {error} \
                     (dynamodb:DescribeContinuousBackups)."
                ));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for what in found.missing() {
            unprotected
                .entry(what)
                .or_default()
                .push(db.table_name(table));
        }
    }
    let list = |(what, tables): (&str, Vec<String>)| format!("no {what}: {}", tables.join(", "));
    let missing: Vec<String> = unprotected.into_iter().map(list).collect();
    if missing.is_empty() {
        findings.note("The tables have deletion protection and point-in-time recovery.");
        return Ok(());
    }
    findings.fault(
        Cause::Unprotected,
        format!(
            "Tables are not protected ({}). Protect them with `tidemark init`, or set \
             store.protect_tables = \"off\"",
            missing.join("; ")
        ),
    );
    Ok(())
}

/// Work that was in flight when an epoch ended: the configured one cannot begin.
pub async fn in_flight(session: &Session, findings: &mut Findings) -> Done {
    let given_up = losses::all(session.db()).await?.len() as u64;
    if given_up > 0 {
        findings.note(format!(
            "{} of lost logs were given up (audit entries loss.accept).",
            counted(given_up, "chunk")
        ));
    }
    let losses = match Losses::by_checkpoints(session.db(), session.log.epoch()).await {
        Ok(losses) => losses,
        Err(LossError::Store(error)) => return Err(error.into()),
        // There is no epoch before the configured one.
        Err(_) => return Ok(()),
    };
    let epoch = losses.epoch;
    let mut halts = |role, partition, what: String| {
        let task = TaskId::new(role, partition);
        findings.will_halt(Some(task), HaltCode::LogRecreated, &what);
    };
    for lost in &losses.chunks {
        let (source, chunk) = (lost.source, lost.chunk);
        let what = format!(
            "a new epoch is configured while chunk {chunk} of source partition {source} in epoch {epoch} is not done"
        );
        halts(Role::Rate, source, what);
    }
    for lost in &losses.blocks {
        let (source, posting, first, last) = (lost.source, lost.posting, lost.first, lost.last);
        let what = format!(
            "a new epoch is configured while blocks {first} to {last} of source partition {source} in epoch {epoch} are not posted"
        );
        halts(Role::Post, posting, what);
    }
    for late in &losses.late {
        let (source, posting, first, last) = (late.source, late.posting, late.first, late.last);
        let what = format!(
            "a new epoch is configured, and blocks {first} to {last} of source partition {source} \
             in epoch {epoch} were counted although its checkpoint does not cover them"
        );
        halts(Role::Post, posting, what);
    }
    Ok(())
}

fn everybody_halts(session: &Session, code: HaltCode, what: &str, findings: &mut Findings) {
    let partitions = &session.partitions;
    for task in pipeline::all_tasks(partitions.source, partitions.posting) {
        findings.will_halt(Some(task), code, what);
    }
}
