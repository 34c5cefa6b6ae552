//! Looks after what a process depends on: whether events can be appended, whether the store answers.
//!
//! Requests notice an outage only while there are some, and a request that hangs says nothing for
//! seconds. So both are asked from time to time, whatever comes in. `/readyz`, `tidemark top` and
//! the metric `tidemark_dependency_down` tell what was found.

use std::sync::Arc;
use std::time::Duration;

use crate::log::Log;
use crate::ops::health::{Dependency, Health, Outage};
use crate::ops::shutdown::Shutdown;
use crate::store::db::{Db, StoreError};
use crate::store::layout;

/// How often each is asked.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Asks log and store until shutdown.
pub async fn watch_dependencies(
    log: Arc<dyn Log>,
    db: Arc<dyn Db>,
    health: Arc<Health>,
    shutdown: Shutdown,
) {
    let dependencies = Dependencies { log, db };
    tokio::join!(
        watch(Dependency::Log, &dependencies, &health, &shutdown),
        watch(Dependency::Store, &dependencies, &health, &shutdown),
    );
}

struct Dependencies {
    log: Arc<dyn Log>,
    db: Arc<dyn Db>,
}

impl Dependencies {
    async fn check(&self, dependency: Dependency) -> Option<Outage> {
        match dependency {
            Dependency::Log => check_log(&*self.log).await,
            Dependency::Store => check_store(&*self.db, &*self.log).await,
        }
    }
}

async fn watch(
    dependency: Dependency,
    dependencies: &Dependencies,
    health: &Health,
    shutdown: &Shutdown,
) {
    loop {
        let asked = tokio::time::timeout(ANSWER_WITHIN, dependencies.check(dependency));
        let Some(answer) = shutdown.bounded(Duration::ZERO, asked).await else {
            return;
        };
        let outage = answer.unwrap_or_else(|_| Some(silent(dependency)));
        report(dependency, outage, health);
        let pause = tokio::time::sleep(INTERVAL);
        if shutdown.bounded(Duration::ZERO, pause).await.is_none() {
            return;
        }
    }
}

async fn check_log(log: &dyn Log) -> Option<Outage> {
    let error = log.check_appends().await.err()?;
    Some(Outage {
        code: error.code(),
        detail: error.to_string(),
    })
}

/// Reads an item that every installation has, or may have.
async fn check_store(db: &dyn Db, log: &dyn Log) -> Option<Outage> {
    let error = layout::get(db, log.epoch()).await.err()?;
    let code = match &error {
        StoreError::Unavailable(_) | StoreError::Unanswered(_) => "store_unavailable",
        StoreError::Denied(_) => "store_denied",
        StoreError::Refused(_) => "store_refused",
        // It answers. What is wrong with a row is for those who work with it.
        StoreError::ConditionFailed | StoreError::Corrupt { .. } => return None,
    };
    Some(Outage {
        code,
        detail: error.to_string(),
    })
}

fn silent(dependency: Dependency) -> Outage {
    let (code, what) = match dependency {
        Dependency::Log => ("log_unavailable", "log"),
        Dependency::Store => ("store_unavailable", "store"),
    };
    Outage {
        code,
        detail: format!(
            "the {what} has not answered for {} s; check it and the network to it. Nothing is lost, \
             and work goes on by itself when it answers",
            ANSWER_WITHIN.as_secs()
        ),
    }
}

fn report(dependency: Dependency, outage: Option<Outage>, health: &Health) {
    let what = dependency.as_str();
    let said = outage.clone();
    if !health.set_outage(dependency, outage) {
        return;
    }
    match said {
        Some(Outage { code, detail }) => {
            tracing::error!(
                event = "dependency.down",
                dependency = what,
                code,
                detail,
                "a dependency cannot be used"
            );
        }
        None => tracing::info!(
            event = "dependency.up",
            dependency = what,
            "a dependency works again"
        ),
    }
}
