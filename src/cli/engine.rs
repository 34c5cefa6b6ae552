//! The log and the store: those of a data directory, opened by the one process that owns it, or
//! Kafka and DynamoDB elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use tokio::runtime::Handle;

use super::client::{Client, Problem};
use super::data::{DataDir, Owned, Running};
use super::output::{Done, Failure};
use crate::app::queries::StoredArchive;
use crate::archive::ArchiveStore;
use crate::compose::Engines;
use crate::domain::position::Epoch;
use crate::http::NOT_READY;
use crate::log::embedded::{EmbeddedLog, Options};
use crate::log::kafka::{KafkaLog, KafkaSettings};
use crate::log::topics::{self, TopicSpec};
use crate::log::{CountingLog, Log, LogError, Topic, TopicInfo};
use crate::objects::{Objects, S3Place};
use crate::ops::clock::SystemClock;
use crate::ops::config::{
    ArchiveConfig, ClosingConfig, Config, FilesLocation, LogEngine, ProtectTables, StoreConfig,
    StoreEngine,
};
use crate::ops::metrics::Metrics;
use crate::ops::shutdown::Shutdown;
use crate::pipeline::{ArchiveSetup, progress};
use crate::store::checkpoints;
use crate::store::db::Db;
use crate::store::db::StoreError;
use crate::store::durability::Durability;
use crate::store::dynamo::{DynamoDb, DynamoSettings, credentials};
use crate::store::embedded::{EmbeddedClient, EmbeddedStore};
use crate::store::meter::StoreMeter;
use crate::store::{protection, tables};

/// How long to wait for another short command to let go of the data directory, or for an `up` that
/// is starting.
const OWNER_WAIT: Duration = Duration::from_secs(15);
/// How long a running `up` may take to say that it is ready.
pub const READY_WITHIN: Duration = Duration::from_secs(5);
const OWNER_POLL: Duration = Duration::from_millis(50);
/// The embedded store does one thing at a time. More batches in its queue make nothing faster, and
/// whoever writes a single row waits behind them.
const EMBEDDED_BATCH_CONCURRENCY: usize = 2;

const NO_ARCHIVE_REGION: &str = "no AWS region found for the archive; set archive.region (such as \"eu-central-1\"), AWS_REGION, or a region in the AWS profile";
const NO_CLOSING_REGION: &str = "no AWS region found for the files of closed months; set closing.region (such as \"eu-central-1\"), AWS_REGION, or a region in the AWS profile";
const NO_REGION: &str = "no AWS region found; set store.region (such as \"eu-central-1\"), AWS_REGION, or a region in the AWS profile";

/// Who works with a data directory.
pub enum Owner {
    /// We do, from now on.
    Us(Owned),
    /// A running `up` does.
    Up(Running),
}

/// The log and the store of a data directory that this process owns.
pub struct Engine {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The store.
    pub db: DynamoDb,
    /// What the topics are.
    pub specs: Vec<TopicSpec>,
    /// Metrics that the store feeds.
    pub metrics: Arc<Metrics>,
    embedded_log: Option<Arc<EmbeddedLog>>,
    embedded: Option<EmbeddedStore>,
    owned: Owned,
}

/// Owns the directory, or finds the `up` that does. Waits a little for who is about to come or go.
pub async fn find_owner(data: &DataDir) -> Done<Owner> {
    let client = Client::new(data.clone());
    let start = Instant::now();
    loop {
        let owned = data.try_own().map_err(|error| {
            Failure::failed(format!(
                "cannot use {} as data directory: {error}",
                data.path().display()
            ))
        })?;
        if let Some(owned) = owned {
            owned.withdraw();
            return Ok(Owner::Us(owned));
        }
        if let Some(running) = data.running()
            && is_serving(&client).await
        {
            return Ok(Owner::Up(running));
        }
        if start.elapsed() > OWNER_WAIT {
            return Err(Failure::failed(format!(
                "another process holds {} and does not answer; find it with `fuser {}/lock`, then \
                 stop it or wait for it",
                data.path().display(),
                data.path().display()
            )));
        }
        tokio::time::sleep(OWNER_POLL).await;
    }
}

/// Whether it answers requests. It may not take events at present: that is no reason not to ask it
/// why.
async fn is_serving(client: &Client) -> bool {
    let client = client.clone();
    let ask = move || client.get_within("/readyz", READY_WITHIN);
    let asked = tokio::task::spawn_blocking(ask).await;
    let Ok(Ok(answer)) = asked else {
        return false;
    };
    let problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_default();
    answer.status == 200 || (!problem.code.is_empty() && problem.code != NOT_READY)
}

/// Protects the tables, as configured: for `init` and `up`. Other commands must work without the
/// permissions that it takes.
pub async fn protect_tables(db: &DynamoDb, config: &StoreConfig) -> Done {
    if !config.protects_tables() {
        return Ok(());
    }
    let is_demanded = config.protect_tables == ProtectTables::On;
    match protection::protect(db).await {
        Ok(done) => tell_protection(&done, is_demanded)?,
        Err(error @ StoreError::Denied(_)) if !is_demanded => tracing::warn!(
            event = "tables.unprotected",
            %error,
            "could not switch on deletion protection or point-in-time recovery; the tables work \
             without them. Grant the permissions in deploy/iam/init.json and run `tidemark init` \
             again, or set store.protect_tables = \"off\""
        ),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn tell_protection(done: &protection::Report, is_demanded: bool) -> Done {
    if !done.changed.is_empty() {
        tracing::info!(
            event = "tables.protected",
            tables = done.changed.len(),
            "switched on deletion protection and point-in-time recovery"
        );
    }
    if done.unsupported.is_empty() {
        return Ok(());
    }
    let what = done.unsupported.join(" and ");
    match is_demanded {
        true => Err(Failure::failed(format!(
            "store.protect_tables is \"on\", but the server at store.endpoint does not support \
             {what}; set it to \"off\""
        ))),
        false => {
            tracing::warn!(
                event = "tables.unprotected",
                what,
                "the server does not support this protection"
            );
            Ok(())
        }
    }
}

impl Engine {
    /// What a process is built on.
    pub fn engines(&self) -> Engines {
        Engines {
            log: self.log.clone(),
            db: Arc::new(self.db.clone()),
            metrics: self.metrics.clone(),
            archive: None,
        }
    }

    /// Opens log and store, and creates what is missing of topics and tables. Says what it found
    /// where it is worth an operator's look.
    pub async fn open(owned: Owned, data: &DataDir, config: &Config) -> Done<Engine> {
        let metrics = Arc::new(Metrics::new());
        let specs = topic_specs(config)?;
        let (log, embedded_log): (Arc<dyn Log>, _) = match config.log.engine {
            LogEngine::Embedded => {
                let log = open_log(data, config, specs.clone()).await?;
                (log.clone(), Some(log))
            }
            LogEngine::Kafka => (connect_log(config, specs.clone())?, None),
        };
        let log = Arc::new(CountingLog::new(log, metrics.clone()));
        let embedded = match config.store.engine {
            StoreEngine::Embedded => Some(open_store(data)?),
            StoreEngine::DynamoDb => None,
        };
        let local = embedded.as_ref().map(|store| Local {
            client: store.client(),
            durability: store.durability(),
        });
        let db = connect(&config.store, local, metrics.clone()).await?;
        let report = tables::create_tables(&db).await?;
        if !report.created.is_empty() {
            tracing::info!(
                event = "tables.created",
                tables = report.created.len(),
                "created the tables"
            );
        }
        Ok(Engine {
            log,
            db,
            specs,
            metrics,
            embedded_log,
            embedded,
            owned,
        })
    }

    /// Lets commands in other terminals reach the embedded store.
    pub fn serve_store(&mut self) -> Done {
        match &mut self.embedded {
            Some(store) => store.listen().map_err(Failure::failed),
            None => Ok(()),
        }
    }

    /// Returns once the embedded store can only be used by another process: why.
    pub fn store_failed(&self) -> impl Future<Output = String> + Send + 'static {
        let durability = self.embedded.as_ref().map(EmbeddedStore::durability);
        async move {
            match durability {
                Some(durability) => durability.failed().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Tells other commands where to find this process.
    pub fn announce(&self, running: &Running) -> Done {
        self.owned.announce(running).map_err(|error| {
            Failure::failed(format!("cannot write to the data directory: {error}"))
        })
    }

    /// Closes everything, then lets go of the directory.
    pub async fn close(self, within: Duration) {
        self.owned.withdraw();
        if let Some(log) = &self.embedded_log {
            log.close().await;
        }
        if let Some(embedded) = self.embedded {
            embedded.shutdown(within).await;
        }
        // Last of all: whoever owns it next must find the files closed.
        drop((self.log, self.embedded_log));
        drop(self.owned);
    }
}

async fn open_log(
    data: &DataDir,
    config: &Config,
    specs: Vec<TopicSpec>,
) -> Done<Arc<EmbeddedLog>> {
    let dir = data.log();
    let options = Options {
        epoch: Epoch(config.log.epoch),
        clock_confirmed_until: config.log.clock_confirmed_until,
        ..Options::default()
    };
    let open = move || EmbeddedLog::open_with(&dir, &specs, Arc::new(SystemClock), options);
    let opened = tokio::task::spawn_blocking(open).await;
    let (log, report) = opened.map_err(Failure::failed)?.map_err(Failure::failed)?;
    // One event, one line.
    let said = report.to_string().lines().collect::<Vec<_>>().join("; ");
    if report.damaged().next().is_some() {
        tracing::error!(event = "log.opened_damaged", "{said}");
    } else {
        tracing::info!(event = "log.opened", "{said}");
    }
    Ok(Arc::new(log))
}

/// Kafka as the configuration says; connecting happens in the background.
pub fn connect_log(config: &Config, specs: Vec<TopicSpec>) -> Done<Arc<KafkaLog>> {
    open_kafka(config, specs).map(Arc::new)
}

/// As [`connect_log`], for a process that only appends. It goes on with a topic that was created
/// again, unless the tables hold positions in the one before: then raters halt, and nobody would
/// count what this process acknowledges.
pub async fn connect_log_to_append(
    config: &Config,
    specs: Vec<TopicSpec>,
    db: Arc<dyn Db>,
) -> Done<Arc<KafkaLog>> {
    let (log, epoch) = (open_kafka(config, specs)?, Epoch(config.log.epoch));
    if let Some(known) = progress::source_topic(&*db, epoch).await? {
        log.expect(Topic::UsageEvents, known);
    }
    let may_adopt = move |now: TopicInfo| may_adopt(db.clone(), epoch, now).boxed();
    Ok(Arc::new(log.adopting_recreated_topics(Arc::new(may_adopt))))
}

async fn may_adopt(db: Arc<dyn Db>, epoch: Epoch, now: TopicInfo) -> Result<(), LogError> {
    let known = progress::source_topic(&*db, epoch).await;
    match known.map_err(|error| LogError::Unavailable(error.to_string()))? {
        Some(known) if known.id != now.id => Err(LogError::Unavailable(format!(
            "topic {} was deleted and recreated, but the tables hold positions in the original. \
             Events appended to it would not be counted, so they are refused; see \
             docs/runbook.md#a-topic-is-gone",
            Topic::UsageEvents
        ))),
        _ => Ok(()),
    }
}

fn open_kafka(config: &Config, specs: Vec<TopicSpec>) -> Done<KafkaLog> {
    let settings = kafka_settings(config)?;
    KafkaLog::connect(settings, specs, Epoch(config.log.epoch)).map_err(Failure::refused)
}

/// What the topics are, as the configuration has them.
pub fn topic_specs(config: &Config) -> Done<Vec<TopicSpec>> {
    topics::load(config.log.topics.as_deref()).map_err(Failure::refused)
}

/// How Kafka is reached, secrets included.
pub fn kafka_settings(config: &Config) -> Done<KafkaSettings> {
    KafkaSettings::resolve(&config.kafka, &|name| std::env::var(name).ok())
        .map_err(Failure::refused)
}

fn open_store(data: &DataDir) -> Done<EmbeddedStore> {
    EmbeddedStore::open(&data.store()).map_err(Failure::failed)
}

/// The embedded store of this process, or of the `up` that runs.
pub struct Local {
    /// The way to it.
    pub client: EmbeddedClient,
    /// What syncs it.
    pub durability: Arc<Durability>,
}

/// A client of the store: of the embedded one, or of that which the configuration names.
pub async fn connect(
    config: &StoreConfig,
    embedded: Option<Local>,
    metrics: Arc<Metrics>,
) -> Done<DynamoDb> {
    let limit = config.write_units_per_second_max;
    let meter = Arc::new(StoreMeter::with_metrics(metrics));
    if let Some(local) = embedded {
        let settings = DynamoSettings {
            prefix: config.table_prefix.clone(),
            request_timeout: config.request_timeout,
            batch_concurrency: EMBEDDED_BATCH_CONCURRENCY,
            durability: Some(local.durability),
            write_units_per_second: limit.and_then(std::num::NonZeroU32::new),
            ..DynamoSettings::embedded(local.client)
        };
        return Ok(DynamoDb::new(&settings, meter, Arc::new(SystemClock)));
    }
    let endpoint = config.endpoint.clone();
    let local = DynamoSettings::local(endpoint.clone().unwrap_or_default());
    let settings = DynamoSettings {
        endpoint,
        prefix: config.table_prefix.clone(),
        request_timeout: config.request_timeout,
        write_units_per_second: limit.and_then(std::num::NonZeroU32::new),
        ..local
    };
    let settings = signed(config, settings).await?;
    Ok(DynamoDb::new(&settings, meter, Arc::new(SystemClock)))
}

/// With the region and the credentials of AWS's chain. A server of one's own without TLS (DynamoDB
/// Local) takes any key, so there they are looked for only where the environment names them.
async fn signed(config: &StoreConfig, settings: DynamoSettings) -> Done<DynamoSettings> {
    let endpoint = config.endpoint.as_deref().unwrap_or_default();
    let region = config.region.clone();
    if endpoint.starts_with("http://") && !credentials::are_named_by_environment() {
        let region = region.unwrap_or(settings.region);
        return Ok(DynamoSettings { region, ..settings });
    }
    let region = match region {
        Some(region) => region,
        None => match credentials::find_region().await {
            Some(region) => region,
            None if endpoint.starts_with("http://") => settings.region.clone(),
            None => return Err(Failure::refused(NO_REGION)),
        },
    };
    let credentials = credentials::chain(&region).await;
    Ok(DynamoSettings {
        region,
        credentials,
        ..settings
    })
}

/// The archive that a command reads: the given one, or that of the configuration.
pub async fn archive_to_read(config: &Config, given: Option<&FilesLocation>) -> Done<ArchiveStore> {
    let given = given.cloned().or_else(|| config.archive.location.clone());
    // Whoever writes makes the directory.
    if let Some(FilesLocation::Directory(directory)) = &given
        && !directory.is_dir()
    {
        return Err(Failure::refused(format!(
            "there is no archive at {}: no such directory; check the path, and that a worker with the \
             role audit writes the archive",
            directory.display()
        )));
    }
    let chosen = ArchiveConfig {
        location: given,
        ..config.archive.clone()
    };
    match archive(&chosen).await? {
        Some(archiving) => Ok(archiving.files),
        None => Err(Failure::refused(
            "no archive is configured; name one with --archive, or set archive.location and let the \
             role audit write it (docs/archive.md)",
        )),
    }
}

/// An archive for those who read it.
pub fn readable(archiving: &ArchiveSetup) -> StoredArchive {
    StoredArchive::new(archiving.files.clone(), Handle::current())
}

/// The archive that is configured, if one is.
pub async fn archive(config: &ArchiveConfig) -> Done<Option<ArchiveSetup>> {
    let Some(location) = &config.location else {
        return Ok(None);
    };
    let (endpoint, region) = (config.endpoint.clone(), config.region.clone());
    let files = objects(location, endpoint, region, NO_ARCHIVE_REGION).await?;
    Ok(Some(ArchiveSetup {
        files: ArchiveStore::of(files),
        file_rows_max: config.file_rows_max,
        file_age_max: config.file_age_max,
    }))
}

/// Where the files of closed months lie; `None`: that is not configured. Without Kafka and DynamoDB
/// it is a directory in the data directory.
pub async fn closing(config: &Config) -> Done<Option<Objects>> {
    let Some(location) = closing_location(config) else {
        return Ok(None);
    };
    let ClosingConfig {
        endpoint, region, ..
    } = config.closing.clone();
    let files = objects(&location, endpoint, region, NO_CLOSING_REGION);
    files.await.map(Some)
}

fn closing_location(config: &Config) -> Option<FilesLocation> {
    let own = || FilesLocation::Directory(DataDir::new(&config.data).closing());
    let given = config.closing.location.clone();
    given.or_else(|| (!config.is_cluster()).then(own))
}

/// As [`closing`], for those who only read: a directory that is gone is not made.
pub async fn closing_to_read(config: &Config) -> Done<Option<Objects>> {
    if let Some(FilesLocation::Directory(directory)) = closing_location(config)
        && !directory.is_dir()
    {
        let what = format!("there is no directory {}", directory.display());
        return Err(Failure::refused(what));
    }
    closing(config).await
}

/// Files at a place.
async fn objects(
    location: &FilesLocation,
    endpoint: Option<String>,
    region: Option<String>,
    no_region: &str,
) -> Done<Objects> {
    let files = match location {
        FilesLocation::Directory(directory) => Objects::in_directory(directory),
        FilesLocation::Bucket { bucket, prefix } => {
            let region = match region {
                Some(region) => Some(region),
                None => credentials::find_region().await,
            };
            // A server of one's own need not know about regions.
            let elsewhere = || endpoint.as_ref().map(|_| "us-east-1".to_owned());
            let region = region.or_else(elsewhere);
            let region = region.ok_or_else(|| Failure::refused(no_region))?;
            let credentials = credentials::chain(&region).await;
            let place = S3Place {
                bucket: bucket.clone(),
                prefix: prefix.clone(),
                region,
                endpoint,
            };
            Objects::in_bucket(&place, credentials)
        }
    };
    files.map_err(|error| Failure::refused(error.to_string()))
}

/// Whether the tables are there; false if this process is to stop before that is known.
pub async fn reach_tables(db: &dyn Db, config: &Config, shutdown: &Shutdown) -> Done<bool> {
    let reached = checkpoints::halts(db);
    match shutdown.bounded(Duration::ZERO, reached).await {
        None => Ok(false),
        Some(Ok(_)) => Ok(true),
        Some(Err(error)) => Err(no_tables(error, config)),
    }
}

fn no_tables(error: StoreError, config: &Config) -> Failure {
    let StoreConfig {
        endpoint, region, ..
    } = &config.store;
    match error {
        StoreError::Refused(_) => Failure::failed(format!(
            "{error}; on a new installation, create the tables with `tidemark init` and the same \
             configuration. Tables that held data must be restored instead (docs/runbook.md)"
        )),
        other => Failure::failed(format!(
            "{other}; the store is {}",
            endpoint
                .as_ref()
                .or(region.as_ref())
                .map_or("the AWS region", String::as_str)
        )),
    }
}
