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
    let partition = task.id.partition;
    let bounds = match (task.id.role, &ctx.adapting) {
        (Role::Rate, _) => ctx.log.bounds(Topic::UsageEvents, partition).await,
        (Role::Post, _) => ctx.log.bounds(Topic::LedgerPostings, partition).await,
        (Role::Adapt(feed), Some(adapting)) => adapting.log.bounds(feed.topic(), partition).await,
        (Role::Adapt(_), None) => return,
    };
    // A log that does not answer is told of by the task itself.
    let Ok(bounds) = bounds else {
        return;
    };
    let next = task.next.unwrap_or(bounds.start.0);
    ctx.health.lags(task.id, bounds.end.0.saturating_sub(next));
}
