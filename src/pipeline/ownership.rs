//! The tasks that one process runs: they are taken up and let go as partitions come and go.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::WorkerContext;
use crate::domain::position::Offset;
use crate::ops::health::{Role, TaskId};

/// The pause before a task that panicked is begun again. A panic is a bug; its partition must not
/// stand still because of it.
const PANIC_PAUSE: Duration = Duration::from_secs(5);

/// The tasks that run. Dropped, it stops them as if the process had been killed.
pub struct OwnedTasks {
    ctx: Arc<WorkerContext>,
    tasks: BTreeMap<TaskId, Running>,
}

struct Running {
    stop: watch::Sender<bool>,
    handle: JoinHandle<()>,
}

impl OwnedTasks {
    /// Nothing runs yet.
    pub fn new(ctx: Arc<WorkerContext>) -> OwnedTasks {
        OwnedTasks {
            ctx,
            tasks: BTreeMap::new(),
        }
    }

    /// Which tasks run.
    pub fn tasks(&self) -> Vec<TaskId> {
        self.tasks.keys().copied().collect()
    }

    /// Begins a task. What is left of an earlier life of it is stopped first.
    pub async fn start(&mut self, task: TaskId) {
        self.stop_now(&[task]).await;
        let (stop, stopped) = watch::channel(false);
        let handle = tokio::spawn(live(self.ctx.clone(), task, stopped));
        self.tasks.insert(task, Running { stop, handle });
    }

    /// Lets tasks finish what they have begun, but not for longer than `within`; then stops them.
    pub async fn let_go(&mut self, tasks: &[TaskId], within: Duration) {
        for task in tasks {
            if let Some(running) = self.tasks.get(task) {
                running.stop.send_replace(true);
            }
        }
        let deadline = tokio::time::Instant::now() + within;
        for task in tasks {
            let Some(mut running) = self.tasks.remove(task) else {
                continue;
            };
            if tokio::time::timeout_at(deadline, &mut running.handle)
                .await
                .is_err()
            {
                tracing::warn!(event = "task.unfinished", %task, "not finished in time; the next owner repeats it, nothing is lost");
                end(&self.ctx, *task, running).await;
            }
        }
    }

    /// Stops tasks at their next wait for anything, as if the process had been killed there: safe
    /// at any moment.
    pub async fn stop_now(&mut self, tasks: &[TaskId]) {
        for task in tasks {
            if let Some(running) = self.tasks.remove(task) {
                end(&self.ctx, *task, running).await;
            }
        }
    }

    /// How far the tasks of a role have come: the next position of each that has told one.
    pub fn positions(&self, role: Role) -> Vec<(TaskId, Offset)> {
        let health = self.ctx.health.tasks();
        let ours = health
            .into_iter()
            .filter(|task| task.id.role == role && self.tasks.contains_key(&task.id));
        ours.filter_map(|task| Some((task.id, Offset(task.next?))))
            .collect()
    }
}

impl Drop for OwnedTasks {
    fn drop(&mut self) {
        for running in self.tasks.values() {
            running.handle.abort();
        }
    }
}

async fn end(ctx: &WorkerContext, task: TaskId, running: Running) {
    running.handle.abort();
    // Until it has really ended: afterwards nothing of it runs beside a new life.
    drop(running.handle.await);
    ctx.health.gone(task);
}

/// Runs a task until it is told to stop; through panics, too.
async fn live(ctx: Arc<WorkerContext>, task: TaskId, stopped: watch::Receiver<bool>) {
    loop {
        let life = super::run(ctx.clone(), task, stopped.clone());
        if AssertUnwindSafe(life).catch_unwind().await.is_ok() {
            return;
        }
        tracing::error!(event = "task.panic", %task, "a task panicked, which is a bug; restarting from its checkpoint");
        let mut stopped = stopped.clone();
        drop(tokio::time::timeout(PANIC_PAUSE, stopped.wait_for(|stop| *stop)).await);
    }
}
