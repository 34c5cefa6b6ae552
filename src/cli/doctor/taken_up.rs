//! Has every partition been taken up, and can it go on from where its tables stand?
//!
//! A task finds that out when it is loaded, which may take a while, or not happen at all. Until then
//! nothing halts, and nothing moves. So what a load compares first is compared here as well: whether
//! the tables are as new as the log. And no installation is well before its tasks are loaded, as far
//! as processes can be asked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::findings::{Cause, Findings, listed};
use crate::cli::client::Client;
use crate::cli::data::DataDir;
use crate::cli::output::Done;
use crate::cli::session::{Session, Workers};
use crate::domain::position::Offset;
use crate::ops::config::Config;
use crate::ops::health::TaskId;
use crate::pipeline::{self, Failure as Halt, HaltCode};

/// How long it may take to compare the tables with the log.
const COMPARED_WITHIN: Duration = Duration::from_secs(10);
/// How long tasks may take to be loaded before that is a finding: it is done within a moment, except
/// where a large duplicate window has to be read.
const LOADED_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether they are.
const LOOK: Duration = Duration::from_millis(100);

/// What a process says of one of its tasks.
#[derive(Default)]
pub(super) struct TaskState {
    /// The first record whose work is not done.
    pub(super) next: Option<Offset>,
    /// The code of its halt.
    pub(super) halted: Option<String>,
    /// Whether it is known to be able to go on.
    is_loaded: bool,
}

/// Looks.
pub(super) async fn look(session: &Session, config: &Config, findings: &mut Findings) -> Done {
    compare(session, config, findings).await?;
    let waiting = match session.workers {
        Workers::Nobody => Vec::new(),
        Workers::Up if findings.has(&Cause::UpSilent) => Vec::new(),
        Workers::Elsewhere => findings.not_loaded(),
        Workers::Up => wait_until_loaded(session, config, findings).await?,
    };
    if !waiting.is_empty() {
        findings.fault(
            Cause::NotTakenUp,
            format!(
                "Not taken up yet: {}. Whether they can go on is not known before that. It takes a moment after a start, minutes \
                 with a very large duplicate window; run `tidemark doctor` again. If it stays so, look at the log of the process",
                listed(&waiting)
            ),
        );
    }
    Ok(())
}

/// Compares the tables with the log, as a task does that is taken up.
async fn compare(session: &Session, config: &Config, findings: &mut Findings) -> Done {
    let ctx = session.worker_context(config)?;
    let unsure = "Could not compare the tables with the log";
    match tokio::time::timeout(COMPARED_WITHIN, pipeline::tables_behind_log(&ctx)).await {
        Ok(Ok(found)) => {
            for (task, what) in found {
                // What stops it before that is told already.
                if findings.stopped(task).is_none() {
                    findings.will_halt(Some(task), HaltCode::TablesBehindLog, &what);
                }
            }
        }
        // A damaged partition, say, which is a finding of its own.
        Ok(Err(failure)) => {
            let why = match failure {
                Halt::Reload(why) => why,
                Halt::Halt(_, what) => what,
                Halt::Account(fault) => fault.what,
            };
            findings.note(format!("{unsure}: {why}."));
        }
        Err(_) => findings.note(format!("{unsure} within {COMPARED_WITHIN:?}.")),
    }
    Ok(())
}

/// Waits a moment until a running `up` has loaded every task that nothing stops; those that it has
/// not.
async fn wait_until_loaded(
    session: &Session,
    config: &Config,
    findings: &mut Findings,
) -> Done<Vec<TaskId>> {
    let start = Instant::now();
    let partitions = &session.partitions;
    let all = pipeline::all_tasks(partitions.source, partitions.posting);
    loop {
        // That it does not answer is a finding of its own.
        let Some(told) = tasks_of_up(config).await else {
            return Ok(Vec::new());
        };
        let halts = told.values().filter(|state| state.halted.is_some());
        let is_known = |state: &TaskState| state.is_loaded || state.halted.is_some();
        let waiting = all.iter().copied().filter(|task| {
            let is_waiting = !told.get(task).is_some_and(is_known);
            is_waiting && findings.stopped(*task).is_none()
        });
        let waiting: Vec<TaskId> = waiting.collect();
        if waiting.is_empty() || start.elapsed() >= LOADED_WITHIN {
            if halts.count() > 0 {
                super::halts(session, config, findings).await?;
            }
            return Ok(waiting);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What `/healthz` says of the tasks.
#[derive(Deserialize)]
struct Alive {
    partitions: Vec<Told>,
}

/// What it says of one.
#[derive(Deserialize)]
struct Told {
    partition: String,
    next: Option<u64>,
    halted: Option<ToldHalt>,
    /// An older process does not say.
    loaded: Option<bool>,
}

#[derive(Deserialize)]
struct ToldHalt {
    code: String,
}

/// The tasks of the running `up`, as it tells them; `None`: it does not answer.
pub(super) async fn tasks_of_up(config: &Config) -> Option<BTreeMap<TaskId, TaskState>> {
    let client = Client::new(DataDir::new(&config.data));
    let asked = tokio::task::spawn_blocking(move || client.get("/healthz")).await;
    let answer = asked.ok()?.ok()?;
    let alive: Alive = serde_json::from_slice(&answer.body).ok()?;
    let task = |told: Told| {
        let state = TaskState {
            next: told.next.map(Offset),
            halted: told.halted.map(|halted| halted.code),
            is_loaded: told.loaded.unwrap_or(true),
        };
        Some((told.partition.parse().ok()?, state))
    };
    Some(alive.partitions.into_iter().filter_map(task).collect())
}
