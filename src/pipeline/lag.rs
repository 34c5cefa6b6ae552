//! Lag, seen from outside of the tasks: a task that waits for a store that does not answer cannot tell how far behind it falls.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::WorkerContext;
use super::supervise::pause;
use crate::log::Topic;
use crate::ops::health::{Role, TaskHealth};

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the lag of every task of this process current until shutdown.
pub async fn watch_lag(ctx: Arc<WorkerContext>, mut shutdown: watch::Receiver<bool>) {
    while !*shutdown.borrow() {
        for task in ctx.health.tasks() {
            look(&ctx, &task).await;
        }
        pause(&ctx, &mut shutdown, INTERVAL).await;
    }
}

async fn look(ctx: &WorkerContext, task: &TaskHealth) {
    let topic = match task.id.role {
        Role::Rate => Topic::UsageEvents,
        Role::Post => Topic::LedgerPostings,
    };
    // A log that does not answer is told of by the task itself.
    let Ok(bounds) = ctx.log.bounds(topic, task.id.partition).await else {
        return;
    };
    let next = task.next.unwrap_or(bounds.start.0);
    ctx.health
        .waiting(task.id, bounds.end.0.saturating_sub(next));
}
