//! The composition root: what a configuration makes of the parts. `up`, `worker`, `serve` and
//! `recover` build their pipeline and their service here, so that all run the same.

use std::sync::Arc;
use std::time::Duration;

use crate::app::closing;
use crate::app::commands::Commands;
use crate::app::queries::{self, Queries, StoredArchive};
use crate::domain::event::BEHIND_MS_MAX;
use crate::http::{self, ApiState, Parts};
use crate::log::topics::TopicSpec;
use crate::log::{Log, Partitions, Topic};
use crate::objects::Objects;
use crate::ops::clock::SystemClock;
use crate::ops::config::{HttpConfig, PipelineConfig};
use crate::ops::health::Health;
use crate::ops::metrics::Metrics;
use crate::ops::shutdown::Shutdown;
use crate::pipeline::{Settings, WorkerContext};
use crate::store::db::Db;

/// What a process is built on. Cheap to clone.
#[derive(Clone)]
pub struct Engines {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The store.
    pub db: Arc<dyn Db>,
    /// Its metrics.
    pub metrics: Arc<Metrics>,
    /// The archive of requests, if there is one and people ask for what is in it.
    pub archive: Option<StoredArchive>,
}

impl Engines {
    /// What people may do, by command line or service.
    pub fn commands(&self, partitions: Partitions) -> Commands {
        let queries = Queries::new(self.db.clone(), self.log.clone(), partitions)
            .with_archive(self.archive.clone());
        Commands::new(Arc::new(queries), Arc::new(SystemClock))
    }

    /// The HTTP service. `health` is where it tells whether it is ready.
    pub fn service(
        &self,
        partitions: Partitions,
        config: &HttpConfig,
        health: Arc<Health>,
        closing: Option<Objects>,
    ) -> ApiState {
        ApiState::new(Parts {
            log: self.log.clone(),
            partitions,
            db: self.db.clone(),
            clock: Arc::new(SystemClock),
            metrics: self.metrics.clone(),
            health,
            config: config.clone(),
            archive: self.archive.clone(),
            closing,
        })
    }

    /// What a process with a service does beside its requests, until shutdown: it keeps the sums
    /// over all accounts, and looks after the log and the store.
    pub async fn look_after(
        self,
        config: HttpConfig,
        health: Arc<Health>,
        closing: Option<Objects>,
        shutdown: Shutdown,
    ) {
        let metrics = self.metrics.clone();
        let sums = queries::keep(
            self.db.clone(),
            Arc::new(SystemClock),
            self.metrics,
            config.analytics_interval,
            shutdown.clone(),
        );
        let closes = closing::watch(
            self.db.clone(),
            Arc::new(SystemClock),
            metrics,
            closing,
            shutdown.clone(),
        );
        let dependencies = http::watch_dependencies(self.log, self.db, health, shutdown);
        tokio::join!(sums, closes, dependencies);
    }
}

/// A worker for these engines, as configured. `health` is where its tasks report.
pub fn worker(
    engines: Engines,
    config: &PipelineConfig,
    specs: &[TopicSpec],
    health: Arc<Health>,
) -> WorkerContext {
    WorkerContext::new(
        engines.log,
        engines.db,
        Arc::new(SystemClock),
        settings(config, specs),
        engines.metrics,
        health,
        rand::random(),
    )
}

/// The pipeline's settings from the configuration.
fn settings(config: &PipelineConfig, specs: &[TopicSpec]) -> Settings {
    let kept = specs.iter().find(|spec| spec.topic == Topic::UsageEvents);
    let kept = kept.map_or(Duration::ZERO, |spec| spec.retention);
    let late = Duration::from_millis(BEHIND_MS_MAX.unsigned_abs());
    Settings {
        chunk_records_max: config.chunk_records_max,
        chunk_bytes_max: config.chunk_bytes_max,
        chunk_age: config.chunk_age_max,
        tick_after: config.tick_interval,
        window_age_ms: i64::try_from(config.duplicate_window.as_millis()).unwrap_or(i64::MAX),
        window_records_max: config.duplicate_window_records_max as u64,
        usage_rows: config.usage_rows,
        usage_row_life: late + kept,
        chains_cached_max: config.cached_chains_max,
        flush_interval: config.flush_interval,
        flush_accounts_max: config.flush_accounts_max,
        flush_concurrency: config.flush_concurrency,
        accounts_cached_max: config.cached_accounts_max,
        leaderboard_size: config.leaderboard_size,
        leaderboard_interval: config.leaderboard_interval,
        award_interval: config.award_poll_interval,
        halt_poll: config.halted_poll_interval,
        ..Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::settings;
    use crate::log::topics;
    use crate::ops::config::Config;
    use crate::pipeline::Settings;

    #[test]
    fn the_default_configuration_is_the_pipelines_default_settings() {
        let specs = topics::load(None).expect("the shipped topics are valid");
        assert_eq!(
            settings(&Config::default().pipeline, &specs),
            Settings::default()
        );
    }
}
