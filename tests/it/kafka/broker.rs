//! The broker to test against: one for the whole process, or one of a test's own that it may stop, kill and freeze.
//!
//! It is the one that `KAFKA_BOOTSTRAP` names; else a container, where a Docker socket answers; else a process of `tests/servers/kafka`,
//! where Java and Maven are. Where none can be had, the tests that need it fail; they are ignored unless asked for.

use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use testcontainers::core::{IntoContainerPort as _, WaitFor};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, GenericImage, ImageExt as _};

/// The image, by name and tag.
const IMAGE: (&str, &str) = ("apache/kafka", "4.2.1");
/// Ports that a broker process takes: plaintext, controller, `SASL_SSL`, SSL.
const PORTS: u16 = 4;

/// Ends a broker together with this process, however that ends: its input closes then.
pub struct Watchdog(Child);

impl Watchdog {
    /// `script` gets `arg` as `$1`.
    pub fn new(script: &str, arg: &str) -> Watchdog {
        // Ctrl-C reaches the whole group, and this one still has something to do.
        let script = format!("trap '' INT TERM; read -r _; {script}");
        let child = Command::new("sh")
            .args(["-c", &script, "watchdog", arg])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Watchdog(child.expect("sh runs"))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("the watchdog ends");
    }
}

/// The shared broker; with its watchdog, if we started it.
struct Shared {
    bootstrap: String,
    /// The broker or the container.
    _ours: Option<Box<dyn Send + Sync>>,
}

/// A container that is not left behind.
struct Container {
    _container: ContainerAsync<GenericImage>,
    // The container belongs to it.
    _runtime: tokio::runtime::Runtime,
    _watchdog: Watchdog,
}

/// Where the shared broker answers. Fails the test if there is none to be had.
pub fn bootstrap() -> Option<&'static str> {
    static SHARED: LazyLock<Result<Shared, String>> = LazyLock::new(shared);
    match &*SHARED {
        Ok(shared) => Some(&shared.bootstrap),
        Err(why) => missing(why),
    }
}

/// A prefix for the names of a test's topics and groups, which share one broker.
pub fn prefix() -> String {
    format!("t{:012x}.", rand::random::<u64>() >> 16)
}

fn shared() -> Result<Shared, String> {
    if let Ok(bootstrap) = std::env::var("KAFKA_BOOTSTRAP") {
        return Ok(Shared {
            bootstrap,
            _ours: None,
        });
    }
    let no_docker = match container() {
        Ok(shared) => return Ok(shared),
        Err(why) => why,
    };
    let broker =
        Broker::start_new(Options::default()).map_err(|why| format!("{no_docker}; {why}"))?;
    Ok(Shared {
        bootstrap: broker.bootstrap(),
        _ours: Some(Box::new(broker)),
    })
}

/// Fails the test: there is no Kafka.
pub fn missing(why: &str) -> ! {
    let install = "name one with KAFKA_BOOTSTRAP, or install Docker, or Java 17 and Maven";
    crate::needs::missing(&format!("Kafka ({why})"), install)
}

fn docker_answers() -> bool {
    let named = std::env::var("DOCKER_HOST").ok();
    let path = named
        .as_deref()
        .map_or(Some("/var/run/docker.sock"), |host| {
            host.strip_prefix("unix://")
        });
    path.is_some_and(|path| UnixStream::connect(path).is_ok())
}

fn container() -> Result<Shared, String> {
    if !docker_answers() {
        return Err("no Docker socket answers".to_owned());
    }
    let port = free_ports();
    let advertised = format!("127.0.0.1:{port}");
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let container = runtime
        .block_on(image(port, &advertised).start())
        .map_err(|error| format!("Docker: {error}"))?;
    let watchdog = Watchdog::new("docker rm -fv \"$1\"", container.id());
    Ok(Shared {
        bootstrap: advertised,
        _ours: Some(Box::new(Container {
            _container: container,
            _runtime: runtime,
            _watchdog: watchdog,
        })),
    })
}

/// One node that is broker and controller, reachable at the address that it advertises.
fn image(port: u16, advertised: &str) -> testcontainers::ContainerRequest<GenericImage> {
    let one = [
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR",
    ];
    let request = GenericImage::new(IMAGE.0, IMAGE.1)
        .with_wait_for(WaitFor::message_on_stdout("Kafka Server started"))
        .with_mapped_port(port, 9092.tcp())
        .with_startup_timeout(Duration::from_secs(300))
        .with_env_var("KAFKA_NODE_ID", "1")
        .with_env_var("KAFKA_PROCESS_ROLES", "broker,controller")
        .with_env_var("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9093")
        .with_env_var("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER")
        .with_env_var(
            "KAFKA_LISTENERS",
            "PLAINTEXT://:9092,CONTROLLER://localhost:9093",
        )
        .with_env_var(
            "KAFKA_ADVERTISED_LISTENERS",
            format!("PLAINTEXT://{advertised}"),
        )
        .with_env_var(
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        )
        .with_env_var("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0")
        .with_env_var("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false");
    one.into_iter()
        .fold(request, |request, name| request.with_env_var(name, "1"))
}

/// What a broker of one's own is to be like.
#[derive(Clone, Copy, Default)]
pub struct Options {
    /// With the TLS listeners.
    pub tls: bool,
    /// Further settings of the broker: `key=value key=value`.
    pub extra: &'static str,
}

/// How a broker's TLS listeners are reached.
#[cfg(feature = "tls")]
#[derive(Clone, Debug)]
pub struct Tls {
    /// `SASL_SSL`: PLAIN and SCRAM-SHA-512.
    pub sasl_ssl: String,
    /// SSL without a login.
    pub ssl: String,
    /// The certificate of its CA, PEM.
    pub ca: PathBuf,
    /// Who may log in.
    pub user: String,
    /// With what.
    pub password: String,
}

/// A broker process of a test's own. Stopped and its data deleted when dropped, and also if this process is killed.
pub struct Broker {
    port: u16,
    options: Options,
    told: String,
    _watchdog: Watchdog,
}

impl Broker {
    /// Starts one. Fails the test if Java or Maven is missing.
    pub fn own() -> Option<Broker> {
        Broker::own_with(Options::default())
    }

    /// Starts one that is to be like this.
    pub fn own_with(options: Options) -> Option<Broker> {
        Broker::start_new(options).map_or_else(|why| missing(&why), Some)
    }

    /// Starts one, or says why that is not possible.
    pub fn start_new(options: Options) -> Result<Broker, String> {
        for program in ["java", "mvn"] {
            let version = Command::new(program).arg("-version").output();
            version.map_err(|error| format!("{program}: {error}"))?;
        }
        let port = free_ports();
        let wipe = format!("exec '{}' wipe \"$1\"", starter().display());
        let watchdog = Watchdog::new(&wipe, &port.to_string());
        let mut broker = Broker {
            port,
            options,
            told: String::new(),
            _watchdog: watchdog,
        };
        broker.up()?;
        Ok(broker)
    }

    /// Where it answers, or will.
    pub fn bootstrap(&self) -> String {
        self.told("KAFKA_BOOTSTRAP")
    }

    /// Its TLS listeners.
    #[cfg(feature = "tls")]
    pub fn tls(&self) -> Tls {
        Tls {
            sasl_ssl: self.told("KAFKA_SASL_SSL"),
            ssl: self.told("KAFKA_SSL"),
            ca: self.told("KAFKA_CA").into(),
            user: self.told("KAFKA_USER"),
            password: self.told("KAFKA_PASSWORD"),
        }
    }

    /// What the starter printed under a name.
    fn told(&self, name: &str) -> String {
        let mut lines = self.told.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.expect("the starter says so").to_owned()
    }

    /// Stops it in an orderly way; its data stays.
    pub fn stop(&mut self) {
        self.ask("down").expect("it stops");
    }

    /// Starts it again on its data.
    pub fn start(&mut self) {
        self.up().expect("it starts");
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        self.signal("KILL");
        // Returns when the process is gone.
        self.stop();
    }

    /// Lets it hang: connections stay, nothing is answered.
    pub fn freeze(&mut self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&mut self) {
        self.signal("CONT");
    }

    fn up(&mut self) -> Result<(), String> {
        self.told = self.ask("up")?;
        Ok(())
    }

    fn signal(&self, name: &str) {
        let pid = self.ask("pid").expect("it runs");
        let status = Command::new("kill")
            .args([&format!("-{name}"), pid.trim()])
            .status();
        assert!(status.expect("kill runs").success(), "no process {pid}");
    }

    fn ask(&self, what: &str) -> Result<String, String> {
        let output = Command::new(starter())
            .args([what, &self.port.to_string()])
            .env("KAFKA_TLS", if self.options.tls { "1" } else { "" })
            .env("KAFKA_EXTRA", self.options.extra)
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }
}

fn starter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/kafka")
}

/// The first of some ports that nobody has, below those that the system hands out by itself.
pub fn free_ports() -> u16 {
    static NEXT: LazyLock<AtomicU16> =
        LazyLock::new(|| AtomicU16::new(rand::random_range(10_000..28_000)));
    loop {
        let first = NEXT.fetch_add(PORTS, Ordering::Relaxed);
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (first..first + PORTS).all(is_free) {
            return first;
        }
    }
}
