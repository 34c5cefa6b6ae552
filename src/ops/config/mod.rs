//! Configuration: flags, then environment, then a TOML file, then defaults; read into a type that
//! cannot be wrong.
//!
//! Every setting is explained for its user in `config/tidemark.toml`, which a test holds equal to
//! the defaults here. Validation does no I/O, and names all faults at once, each with its origin,
//! its key and what is allowed.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

mod adapters;
mod archive;
mod closing;
mod gateways;
mod http;
mod jwt;
mod kafka;
mod kinds;
mod location;
mod origin;
mod pipeline;
mod providers;
mod reader;
mod schema;
mod traces;

pub use adapters::{AdapterConfig, AdapterFormat, CachedTokens, Endpoint, FieldPath};
pub use archive::ArchiveConfig;
pub use closing::ClosingConfig;
pub use gateways::GatewaySettings;
pub use http::HttpConfig;
pub use jwt::JwtConfig;
pub use kafka::{KafkaConfig, Secret};
use kinds::{
    address, checked, choice, duration, instant, integer, name, optional_address, optional_name,
    optional_path, path, url,
};
pub use location::FilesLocation;
pub use origin::PublicOrigin;
pub use pipeline::{LEADERBOARD_SIZE_MAX, PipelineConfig, WINDOW_UNCHECKED_MIN};
pub use providers::ProviderAccounts;
use reader::Reader;
pub use reader::{ENV_PREFIX, Fault, Faults, Sources, env_name};
pub use traces::TracingConfig;

use crate::domain::time::Millis;

/// The port of `up` unless configured otherwise.
pub const DEFAULT_PORT: u16 = 8787;
/// The port of a worker's health and metrics unless configured otherwise.
pub const DEFAULT_WORKER_PORT: u16 = 8788;
/// The port of `serve` unless configured otherwise.
pub const DEFAULT_SERVE_PORT: u16 = 8789;

const KIB: i64 = 1024;
const MIB: i64 = 1024 * KIB;

/// Everything that can be configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory of the embedded log and store.
    pub data: PathBuf,
    /// Where `up` listens.
    pub listen: SocketAddr,
    /// Its TLS; `None`: it needs none on loopback, and a proxy elsewhere.
    pub tls: Option<TlsFiles>,
    /// HTTP.
    pub http: HttpConfig,
    /// Rating and posting.
    pub pipeline: PipelineConfig,
    /// The archive of rated requests.
    pub archive: ArchiveConfig,
    /// Closed months.
    pub closing: ClosingConfig,
    /// The log.
    pub log: LogConfig,
    /// Kafka.
    pub kafka: KafkaConfig,
    /// What is read from the topics of gateways.
    pub adapters: Vec<AdapterConfig>,
    /// `worker`.
    pub worker: WorkerConfig,
    /// `serve`.
    pub serve: ServeConfig,
    /// The store.
    pub store: StoreConfig,
    /// Log lines.
    pub logging: LoggingConfig,
    /// Traces.
    pub tracing: TracingConfig,
    /// How long a graceful shutdown may take before the process ends anyway.
    pub drain_timeout: Duration,
}

/// `serve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// Where the HTTP service of a cluster listens.
    pub listen: SocketAddr,
    /// Where its metrics can be read, and its health too; `None`: both at `listen`.
    pub metrics_listen: Option<SocketAddr>,
    /// TLS; `None`: a proxy before the service ends it.
    pub tls: Option<TlsFiles>,
}

/// Files for TLS, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, the service's own certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Which log.
    pub engine: LogEngine,
    /// Its epoch: positions of a higher one come after all of a lower one.
    pub epoch: u32,
    /// A directory with topic files in place of the shipped ones.
    pub topics: Option<PathBuf>,
    /// The operator confirms that the machine's clock, which jumped, is right as long as it says no
    /// more than this.
    pub clock_confirmed_until: Option<Millis>,
}

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEngine {
    /// In this process, in the data directory.
    Embedded,
    /// Apache Kafka.
    Kafka,
}

/// `worker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerConfig {
    /// Where health and metrics of a worker can be read.
    pub listen: SocketAddr,
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Which DynamoDB.
    pub engine: StoreEngine,
    /// The address of a DynamoDB elsewhere; `None` is the region's own.
    pub endpoint: Option<String>,
    /// The AWS region; `None`: that of the environment, the profile or the instance.
    pub region: Option<String>,
    /// What every table's name begins with.
    pub table_prefix: String,
    /// Whether `init` switches on deletion protection and point-in-time recovery.
    pub protect_tables: ProtectTables,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// Most write units per second, if limited.
    pub write_units_per_second_max: Option<u32>,
}

/// Whether tables are protected against deletion, and can be restored to an earlier moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtectTables {
    /// On AWS itself, as far as permissions go.
    Auto,
    /// Or `init` fails.
    On,
    /// Left as they are.
    Off,
}

impl StoreConfig {
    /// Whether the store is DynamoDB in AWS itself.
    pub fn is_aws(&self) -> bool {
        self.engine == StoreEngine::DynamoDb && self.endpoint.is_none()
    }

    /// Whether tables are to be protected.
    pub fn protects_tables(&self) -> bool {
        match self.protect_tables {
            ProtectTables::Auto => self.is_aws(),
            ProtectTables::On => true,
            ProtectTables::Off => false,
        }
    }
}

/// Which DynamoDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreEngine {
    /// In this process, with its data in the data directory.
    Embedded,
    /// Another process or AWS.
    DynamoDb,
}

/// Log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingConfig {
    /// A filter as `RUST_LOG` has it.
    pub filter: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Config {
        Config::read(&Sources::default()).expect("the defaults are valid; a test reads them")
    }
}

impl Config {
    /// Whether log and store are both elsewhere, so that any number of processes work on them.
    pub fn is_cluster(&self) -> bool {
        self.log.engine == LogEngine::Kafka && self.store.engine == StoreEngine::DynamoDb
    }

    /// Reads and validates. No I/O happens here.
    pub fn read(sources: &Sources) -> Result<Config, Faults> {
        let mut reader = Reader::new(sources);
        let config = Config::read_settings(&mut reader);
        reader.finish(config)
    }

    /// The JSON schema of a configuration file, derived from what [`Config::read`] asks for.
    pub fn schema() -> serde_json::Value {
        let mut reader = Reader::new(&Sources::default());
        Config::read_settings(&mut reader);
        schema::document(&reader.into_settings())
    }

    fn read_settings(reader: &mut Reader) -> Config {
        let default_listen = SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT));
        let config = Config {
            data: reader.get("data", PathBuf::from("./data"), path()),
            listen: reader.get("listen", default_listen, address()),
            tls: TlsFiles::read(reader, "tls_certificate", "tls_key"),
            drain_timeout: reader.get("drain_timeout", secs(20), duration(secs(1)..=secs(600))),
            http: HttpConfig::read(reader),
            pipeline: PipelineConfig::read(reader),
            archive: ArchiveConfig::read(reader),
            closing: ClosingConfig::read(reader),
            log: LogConfig::read(reader),
            kafka: KafkaConfig::read(reader),
            adapters: adapters::read(reader),
            worker: WorkerConfig::read(reader),
            serve: ServeConfig::read(reader),
            store: StoreConfig::read(reader),
            logging: LoggingConfig::read(reader),
            tracing: TracingConfig::read(reader),
        };
        config.kafka.check(reader, config.log.engine);
        adapters::check(reader, &config.adapters, &config.kafka.topic_prefix);
        config
    }
}

impl TlsFiles {
    /// The files that two settings name, if they do.
    fn read(
        reader: &mut Reader,
        certificate_key: &'static str,
        key_key: &'static str,
    ) -> Option<TlsFiles> {
        let certificate = reader.get(certificate_key, None, optional_path());
        let key = reader.get(key_key, None, optional_path());
        reader.must(
            certificate.is_some() == key.is_some(),
            key_key,
            &format!("goes with {certificate_key}: one is given without the other"),
            "both, or neither".to_owned(),
        );
        let (certificate, key) = certificate.zip(key)?;
        Some(TlsFiles { certificate, key })
    }
}

impl ServeConfig {
    fn read(reader: &mut Reader) -> ServeConfig {
        let default = SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_SERVE_PORT));
        let listen = reader.get("serve.listen", default, address());
        let metrics_listen = reader.get("serve.metrics_listen", None, optional_address());
        reader.must(
            metrics_listen.is_none_or(|metrics| metrics != listen || metrics.port() == 0),
            "serve.metrics_listen",
            "is the same as serve.listen",
            "an address and port of its own, or an empty string".to_owned(),
        );
        ServeConfig {
            listen,
            metrics_listen,
            tls: TlsFiles::read(reader, "serve.tls_certificate", "serve.tls_key"),
        }
    }
}

impl WorkerConfig {
    fn read(reader: &mut Reader) -> WorkerConfig {
        let default = SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_WORKER_PORT));
        WorkerConfig {
            listen: reader.get("worker.listen", default, address()),
        }
    }
}

impl LogConfig {
    fn read(reader: &mut Reader) -> LogConfig {
        const ENGINES: &[(&str, LogEngine)] = &[
            ("embedded", LogEngine::Embedded),
            ("kafka", LogEngine::Kafka),
        ];
        let engine = reader.get("log.engine", LogEngine::Embedded, choice(ENGINES));
        let epoch = reader.get("log.epoch", 0, integer(0..=i64::from(u32::MAX)));
        let topics = reader.get("log.topics", None, optional_path());
        LogConfig {
            engine,
            epoch: u32::try_from(epoch).unwrap_or(u32::MAX),
            topics,
            clock_confirmed_until: reader.get("log.clock_confirmed_until", None, instant()),
        }
    }
}

impl StoreConfig {
    fn read(reader: &mut Reader) -> StoreConfig {
        const ENGINES: &[(&str, StoreEngine)] = &[
            ("embedded", StoreEngine::Embedded),
            ("dynamodb", StoreEngine::DynamoDb),
        ];
        const PROTECTION: &[(&str, ProtectTables)] = &[
            ("auto", ProtectTables::Auto),
            ("on", ProtectTables::On),
            ("off", ProtectTables::Off),
        ];
        let limit = reader.get(
            "store.write_units_per_second_max",
            0,
            integer(0..=10_000_000),
        );
        StoreConfig {
            engine: reader.get("store.engine", StoreEngine::Embedded, choice(ENGINES)),
            endpoint: reader.get("store.endpoint", None, url()),
            region: reader.get("store.region", None, optional_name(32, "-")),
            table_prefix: reader.get(
                "store.table_prefix",
                "tidemark-".to_owned(),
                name(64, "-_."),
            ),
            protect_tables: reader.get(
                "store.protect_tables",
                ProtectTables::Auto,
                choice(PROTECTION),
            ),
            request_timeout: reader.get(
                "store.request_timeout",
                secs(5),
                duration(Duration::from_millis(100)..=secs(60)),
            ),
            write_units_per_second_max: u32::try_from(limit).ok().filter(|limit| *limit > 0),
        }
        .checked(reader)
    }

    fn checked(self, reader: &mut Reader) -> StoreConfig {
        reader.must(
            self.engine == StoreEngine::DynamoDb || self.protect_tables != ProtectTables::On,
            "store.protect_tables",
            "is \"on\", but the embedded store has no such protection: copy its directory instead",
            "auto, off".to_owned(),
        );
        self
    }
}

impl LogFormat {
    /// What `logging.format` says, whatever is wrong elsewhere: what is wrong must be said in some
    /// form.
    pub fn of(sources: &Sources) -> LogFormat {
        LogFormat::read(&mut Reader::new(sources))
    }

    fn read(reader: &mut Reader) -> LogFormat {
        const FORMATS: &[(&str, LogFormat)] =
            &[("pretty", LogFormat::Pretty), ("json", LogFormat::Json)];
        reader.get("logging.format", LogFormat::Pretty, choice(FORMATS))
    }
}

impl LoggingConfig {
    fn read(reader: &mut Reader) -> LoggingConfig {
        let filter = checked(
            "a level (error, warn, info, debug, trace) or a filter such as info,tidemark::pipeline=debug",
            check_filter,
        );
        LoggingConfig {
            filter: reader.get("logging.filter", "info".to_owned(), filter),
            format: LogFormat::read(reader),
        }
    }
}

/// Why a text is no filter.
fn check_filter(text: &str) -> Result<(), String> {
    EnvFilter::try_new(text)
        .map(drop)
        .map_err(|error| error.to_string())
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A number of things. Every range that is asked for lies within `usize`.
fn count(reader: &mut Reader, key: &'static str, default: i64, min: i64, max: i64) -> usize {
    let count = reader.get(key, default, integer(min..=max));
    usize::try_from(count).unwrap_or(usize::MAX)
}
