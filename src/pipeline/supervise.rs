//! A task's life: load, work, and after a failure reload with back-off, or halt until it is
//! resumed.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

use super::failure::{Failure, HaltCode};
use super::retry::pause;
use super::{WorkerContext, adapt, audit, post, rate};
use crate::ops::clock::Moment;
use crate::ops::health::{Role, TaskId};
use crate::store::checkpoints::{self, HaltRecord};

/// The same reason is said once in so long.
const SAID_AGAIN: Duration = Duration::from_secs(30);

/// Runs a task until shutdown.
pub(super) async fn run(ctx: &WorkerContext, task: TaskId, mut shutdown: watch::Receiver<bool>) {
    let (mut failures, mut said) = (0, LastReasons::default());
    while !*shutdown.borrow() {
        match session(ctx, task, &shutdown).await {
            Ok(End::Stopped) => return,
            Ok(End::FoundHalted(record)) => {
                let code = HaltCode::from_name(&record.code).unwrap_or(HaltCode::RowUnreadable);
                stand_still(ctx, task, code, record, true, &mut shutdown).await;
            }
            Err((Failure::Reload(why), progressed)) => {
                failures = if progressed { 1 } else { failures + 1 };
                if let Some(kept_back) = said.say(ctx.clock.moment(), &why) {
                    tracing::warn!(event = "task.reload", %task, why, attempt = failures, kept_back, "restarting from the checkpoint");
                }
                ctx.metrics
                    .reloads_total
                    .with_label_values(&[task.role.as_str()])
                    .inc();
                pause(ctx, &mut shutdown, ctx.pause_after(failures)).await;
            }
            Err((Failure::Halt(code, what), _)) => {
                halt(ctx, task, (code, what), &mut shutdown).await;
            }
            Err((Failure::Account(fault), _)) => {
                halt(ctx, task, fault.halt(), &mut shutdown).await;
            }
        }
    }
}

async fn halt(
    ctx: &WorkerContext,
    task: TaskId,
    (code, message): (HaltCode, String),
    shutdown: &mut watch::Receiver<bool>,
) {
    let record = HaltRecord {
        task: task.to_string(),
        code: code.as_str().to_owned(),
        message,
        at: ctx.clock.now(),
    };
    stand_still(ctx, task, code, record, false, shutdown).await;
}

/// Why a task has begun again lately: in an outage each does so again and again, for the same few
/// reasons.
#[derive(Default)]
struct LastReasons {
    said: BTreeMap<String, (Moment, u64)>,
}

/// Reasons that are remembered.
const REASONS_MAX: usize = 32;

impl LastReasons {
    /// `None`: the same was said a moment ago. Else say it, and how often it was kept back.
    fn say(&mut self, now: Moment, why: &str) -> Option<u64> {
        // Counts and times in a text make no other cause of it.
        let cause: String = why.chars().filter(|c| !c.is_ascii_digit()).collect();
        if let Some((at, kept_back)) = self.said.get_mut(&cause) {
            if now.since(*at) < SAID_AGAIN {
                *kept_back += 1;
                return None;
            }
            *at = now;
            return Some(std::mem::take(kept_back));
        }
        if self.said.len() >= REASONS_MAX {
            self.said.clear();
        }
        self.said.insert(cause, (now, 0));
        Some(0)
    }
}

/// How a session ends without a failure.
enum End {
    /// Shut down.
    Stopped,
    /// It did not begin: the task has a recorded halt.
    FoundHalted(HaltRecord),
}

/// One life between two loads. With a failure comes whether anything had been done.
async fn session(
    ctx: &WorkerContext,
    task: TaskId,
    shutdown: &watch::Receiver<bool>,
) -> Result<End, (Failure, bool)> {
    let halted = checkpoints::halt_of(&*ctx.db, task)
        .await
        .map_err(|e| (e.into(), false))?;
    if let Some(record) = halted {
        return Ok(End::FoundHalted(record));
    }
    match task.role {
        Role::Rate => {
            let mut rater = rate::Rater::restore(ctx, task.partition)
                .await
                .map_err(|e| (e, false))?;
            rater
                .work(shutdown)
                .await
                .map_err(|e| (e, rater.has_progressed()))?;
        }
        Role::Post => {
            let mut poster = post::Poster::restore(ctx, task.partition)
                .await
                .map_err(|e| (e, false))?;
            poster
                .work(shutdown)
                .await
                .map_err(|e| (e, poster.has_progressed()))?;
        }
        Role::Audit => {
            let mut auditor = audit::Auditor::restore(ctx, task.partition)
                .await
                .map_err(|e| (e, false))?;
            auditor
                .work(shutdown)
                .await
                .map_err(|e| (e, auditor.has_progressed()))?;
        }
        Role::Adapt(feed) => {
            let mut adapter = adapt::Adapter::load(ctx, feed, task.partition)
                .await
                .map_err(|e| (e, false))?;
            adapter
                .work(shutdown)
                .await
                .map_err(|e| (e, adapter.has_progressed()))?;
        }
    }
    Ok(End::Stopped)
}

/// Says a halt once, records it if it is not yet, and waits until somebody has cleared it.
async fn stand_still(
    ctx: &WorkerContext,
    task: TaskId,
    code: HaltCode,
    record: HaltRecord,
    mut recorded: bool,
    shutdown: &mut watch::Receiver<bool>,
) {
    let (what, advice) = (&record.message, code.advice());
    tracing::error!(event = "task.halt", %task, code = code.as_str(), what, advice, "partition halted");
    ctx.health
        .halted(task, code.as_str(), format!("{what}. {advice}"));
    while !*shutdown.borrow() {
        if !recorded {
            recorded = checkpoints::record_halt(&*ctx.db, task, &record)
                .await
                .is_ok();
        } else if let Ok(None) = checkpoints::halt_of(&*ctx.db, task).await {
            tracing::info!(event = "task.resume", %task, "the halt was cleared; restarting from the checkpoint");
            ctx.health.resumed(task);
            return;
        }
        pause(ctx, shutdown, ctx.settings.halt_poll).await;
    }
}
