//! What a command works with: the store and the log, in this process or in the `up` that runs.

use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::data::{DataDir, Running};
use super::engine::{
    Engine, Local, Owner, connect, connect_log, find_owner, protect_tables, topic_specs,
};
use super::output::{Done, Failure};
use super::remote::RemoteLog;
use crate::app::commands::Commands;
use crate::app::queries::Queries;
use crate::compose::{self, Engines};
use crate::domain::rules::Timeline;
use crate::domain::time::Millis;
use crate::log::{Log, Partitions};
use crate::ops::clock::{Clock, SystemClock};
use crate::ops::config::{Config, StoreEngine};
use crate::ops::health::Health;
use crate::ops::metrics::Metrics;
use crate::pipeline::WorkerContext;
use crate::store::db::{Db, StoreError};
use crate::store::dynamo::DynamoDb;
use crate::store::dynamo::server_clock::ServerClock;
use crate::store::embedded::{EmbeddedClient, EmbeddedStore};
use crate::store::{layout, tables};

/// How long the embedded store may take to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// What a command does to the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Works on data that is there. A directory without any is most likely mistyped: it is refused,
    /// and stays as it is.
    Existing,
    /// The same, and only the store: on a cluster it works while the log cannot be reached, or one
    /// of its topics is gone.
    Store,
    /// Begins a marketplace: what is missing is created.
    Create,
}

/// The store and the log.
pub struct Session {
    /// The store.
    pub db: Arc<dyn Db>,
    /// The log.
    pub log: Arc<dyn Log>,
    /// The store's own clock.
    pub store_clock: Arc<ServerClock>,
    /// How many partitions its topics have.
    pub partitions: Partitions,
    /// Who does the work while this command runs.
    pub workers: Workers,
    /// Set if this process owns the data directory.
    engine: Option<Engine>,
}

/// Who rates and posts while a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// A running `up`.
    Up,
    /// Nobody: this command holds the data directory.
    Nobody,
    /// Processes elsewhere, `tidemark worker`; how many is for the group to know.
    Elsewhere,
}

impl Session {
    /// Opens the data directory, or connects to the `up` that owns it.
    pub async fn open(config: &Config, access: Access) -> Done<Session> {
        if config.is_cluster() {
            return Session::cluster(config, access).await;
        }
        let data = DataDir::new(&config.data);
        if access != Access::Create && !data.exists() {
            return Err(no_data(&data));
        }
        match find_owner(&data).await? {
            Owner::Us(owned) => {
                let engine = Engine::open(owned, &data, config).await?;
                if access == Access::Create {
                    protect_tables(&engine.db, &config.store).await?;
                }
                Session::own(engine).await
            }
            Owner::Up(running) => {
                let is_embedded = config.store.engine == StoreEngine::Embedded;
                if running.serves_store != is_embedded {
                    return Err(another_store(&running));
                }
                let local = is_embedded.then(|| Local {
                    client: EmbeddedClient::over_socket(&data.store()),
                    durability: EmbeddedStore::durability_of(&data.store()),
                });
                let db = connect(&config.store, local, Arc::new(Metrics::new())).await?;
                let log = RemoteLog::connect(Client::new(data)).await?;
                let partitions = Partitions::of(&log).await?;
                Ok(Session::new(
                    db,
                    Arc::new(log),
                    partitions,
                    Workers::Up,
                    None,
                ))
            }
        }
    }

    /// Kafka and DynamoDB: there is no data directory.
    async fn cluster(config: &Config, access: Access) -> Done<Session> {
        let specs = topic_specs(config)?;
        let log = connect_log(config, specs)?;
        let db = connect(&config.store, None, Arc::new(Metrics::new())).await?;
        if access == Access::Create {
            tables::create_tables(&db).await?;
            protect_tables(&db, &config.store).await?;
        }
        // In an epoch that has begun, the tables know what the log would be asked for.
        let layout = match access {
            Access::Store => layout::get(&db, log.epoch()).await.ok().flatten(),
            Access::Existing | Access::Create => None,
        };
        let partitions = match layout {
            Some(layout) => layout.partitions(),
            None => Partitions::of(&*log).await?,
        };
        Ok(Session::new(db, log, partitions, Workers::Elsewhere, None))
    }

    async fn own(engine: Engine) -> Done<Session> {
        let partitions = Partitions::of(&*engine.log).await?;
        Ok(Session::new(
            engine.db.clone(),
            engine.log.clone(),
            partitions,
            Workers::Nobody,
            Some(engine),
        ))
    }

    fn new(
        db: DynamoDb,
        log: Arc<dyn Log>,
        partitions: Partitions,
        workers: Workers,
        engine: Option<Engine>,
    ) -> Session {
        Session {
            partitions,
            store_clock: db.server_clock(),
            db: Arc::new(db),
            log,
            workers,
            engine,
        }
    }

    /// The store.
    pub fn db(&self) -> &dyn Db {
        &*self.db
    }

    /// Now.
    pub fn now(&self) -> Millis {
        SystemClock.now()
    }

    /// What people see of the store.
    pub fn queries(&self) -> Queries {
        Queries::new(self.db.clone(), self.log.clone(), self.partitions)
    }

    /// What people change in it.
    pub fn commands(&self) -> Commands {
        Commands::new(Arc::new(self.queries()), Arc::new(SystemClock))
    }

    /// What a worker works with, for what reads and compares as a worker does.
    pub fn worker_context(&self, config: &Config) -> Done<WorkerContext> {
        let specs = topic_specs(config)?;
        let metrics = Arc::new(Metrics::new());
        let engines = Engines {
            log: self.log.clone(),
            db: self.db.clone(),
            metrics: metrics.clone(),
            archive: None,
        };
        let health = Arc::new(Health::new(metrics));
        Ok(compose::worker(engines, &config.pipeline, &specs, health))
    }

    /// The rules as of the newest entry of the control feed; `None` before any were published.
    pub async fn rules(&self) -> Result<Option<Arc<Timeline>>, StoreError> {
        self.queries().rules().await
    }

    /// Lets go of the data directory.
    pub async fn close(self) {
        let Session {
            db, log, engine, ..
        } = self;
        drop((db, log));
        if let Some(engine) = engine {
            engine.close(CLOSE_WITHIN).await;
        }
    }
}

/// Where was looked, whole, and what to do about either mistake: looking in the wrong place, or too
/// early. A command must not look at other tables than the process that owns the directory does.
fn another_store(running: &Running) -> Failure {
    let (its, ours) = match running.serves_store {
        true => ("embedded", "dynamodb"),
        false => ("dynamodb", "embedded"),
    };
    Failure::refused(format!(
        "the running `tidemark up` (process {}) has store.engine = \"{its}\", this command has \"{ours}\"; \
         run it with the same configuration file and environment",
        running.pid
    ))
}

fn no_data(data: &DataDir) -> Failure {
    let dir = data.path().display();
    let place = match std::path::absolute(data.path()) {
        Ok(whole) if whole != data.path() => format!("{dir} ({})", whole.display()),
        _ => dir.to_string(),
    };
    Failure::failed(format!(
        "no data directory at {place}; nothing was created. To use another one, pass --data DIR or \
         --config FILE, or set TIDEMARK_CONFIG. To start a new installation here, run `tidemark up \
         --data {dir}` or `tidemark init --data {dir}`"
    ))
}

/// Who runs this command, for audit entries: the operating system's user, which no environment
/// variable changes.
pub fn by() -> String {
    let uid = rustix::process::getuid().as_raw();
    format!("uid {uid} (tidemark command)")
}
