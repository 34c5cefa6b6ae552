//! A data directory, or a cluster; the processes on it, and the commands of another terminal.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tidemark::domain::position::Epoch;
use tidemark::domain::time::Month;
use tidemark::log::kafka::KafkaLog;
use tidemark::log::topics;
use tidemark::ops::clock::{Clock as _, SystemClock};

use crate::kafka::log::settings;

/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(60);

/// A data directory and a port; or a cluster.
pub struct Site {
    dir: TempDir,
    port: u16,
    cluster: Option<Cluster>,
    env: Vec<(String, String)>,
}

/// Kafka and DynamoDB elsewhere.
#[derive(Clone)]
pub struct Cluster {
    pub bootstrap: String,
    /// Before the names of topics and groups.
    pub prefix: String,
    /// The store, as commands reach it.
    pub store: String,
    /// The store, as workers reach it.
    pub store_of_workers: String,
}

impl Cluster {
    /// Its log, as a client of our own.
    pub fn log(&self) -> KafkaLog {
        let config = settings(&self.bootstrap, &self.prefix);
        let specs = topics::load(None).expect("the shipped topics");
        KafkaLog::connect(config, specs, Epoch(0)).expect("settings that can be used")
    }

    pub fn config(&self, store: &str) -> String {
        let Cluster {
            bootstrap, prefix, ..
        } = self;
        format!(
            "[log]\nengine = 'kafka'\n[kafka]\nbootstrap = '{bootstrap}'\ntopic_prefix = '{prefix}'\n\
             group = '{prefix}group'\nsession_timeout = '6s'\n\
             [store]\nengine = 'dynamodb'\nendpoint = '{store}'\ntable_prefix = '{prefix}'\n"
        )
    }
}

/// What a command printed.
pub struct Printed {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A running `tidemark up`. Killed when dropped.
pub struct Up {
    child: Child,
    url: String,
    log: PathBuf,
}

impl Default for Site {
    fn default() -> Site {
        Site::new()
    }
}

impl Site {
    pub fn new() -> Site {
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        Site {
            dir: tempfile::tempdir().expect("a temporary directory"),
            port: free.local_addr().expect("an address").port(),
            cluster: None,
            env: Vec::new(),
        }
    }

    /// From now on every process and command has these settings, too.
    pub fn set(&mut self, env: &[(&str, &str)]) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.env = env.iter().map(owned).collect();
    }

    /// What [`Site::set`] has set.
    pub fn setting(&self, name: &str) -> Option<&str> {
        let found = self.env.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// On a cluster: its topics and tables are made.
    pub fn on(cluster: Cluster) -> Site {
        let site = Site::beside(cluster);
        site.run(&["topics", "apply", "--replication-factor", "1"]);
        site.run(&["init"]);
        site
    }

    /// On a cluster as it is.
    pub fn beside(cluster: Cluster) -> Site {
        let site = Site {
            cluster: Some(cluster.clone()),
            ..Site::new()
        };
        fs::write(site.file("commands.toml"), cluster.config(&cluster.store)).expect("a file");
        fs::write(
            site.file("workers.toml"),
            cluster.config(&cluster.store_of_workers),
        )
        .expect("a file");
        site
    }

    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A file beside the data.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Asks `up` with the key of its data directory.
    pub fn get(&self, path: &str) -> Option<String> {
        let key = fs::read_to_string(self.data().join("key")).ok()?;
        get_with(&self.url(path), &key)
    }

    /// A command on the data, or on the cluster.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemark"));
        match &self.cluster {
            None => command.arg("--data").arg(self.data()),
            Some(_) => command.arg("--config").arg(self.file("commands.toml")),
        };
        command.args(args);
        for (name, _) in std::env::vars() {
            if name.starts_with("TIDEMARK_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        // No load balancer needs to notice that a test stops a process.
        command.env("TIDEMARK_HTTP_SHUTDOWN_DELAY", "0s");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    pub fn try_run(&self, args: &[&str]) -> Printed {
        let output = self.command(args).output().expect("the binary runs");
        Printed {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Runs a command that must succeed; what it printed.
    pub fn run(&self, args: &[&str]) -> String {
        let Printed {
            code,
            stdout,
            stderr,
        } = self.try_run(args);
        assert_eq!(code, Some(0), "{args:?}\n{stdout}\n{stderr}");
        stdout
    }

    fn log(&self) -> PathBuf {
        self.file("up.log")
    }

    /// Starts a `tidemark worker` with further settings from the environment. Its log goes into a file of its own.
    pub fn worker(&self, name: &str, env: &[(&str, &str)]) -> Up {
        self.worker_with(name, &[], env)
    }

    /// The statements of all accounts of this month and the one before, in an order of their own.
    pub fn statements(&self) -> Vec<String> {
        // Events of the last hour are of two months when one begins.
        let now = SystemClock.now().month();
        let mut lines = Vec::new();
        for month in [Month(now.0 - 1), now] {
            let all = self.run(&[
                "statement",
                "--all",
                "--month",
                &month.to_string(),
                "--json",
            ]);
            lines.extend(all.lines().map(str::to_owned));
        }
        lines.sort();
        lines
    }

    /// Users' requests, over these months.
    pub fn requests_of_users(&self) -> BTreeMap<String, u64> {
        let mut requests = BTreeMap::new();
        for line in self.statements() {
            let statement: Value = serde_json::from_str(&line).expect("JSON");
            if statement["kind"] == "user" {
                let id = statement["id"].as_str().expect("an id").to_owned();
                *requests.entry(id).or_default() +=
                    statement["requests"].as_u64().expect("a number");
            }
        }
        requests
    }

    /// Starts a `tidemark serve`, as [`Site::worker`] does a worker.
    pub fn serve(&self, name: &str, env: &[(&str, &str)]) -> Up {
        self.start("serve", name, &[], env)
    }

    /// As [`Site::worker`], with further arguments.
    pub fn worker_with(&self, name: &str, args: &[&str], env: &[(&str, &str)]) -> Up {
        self.start("worker", name, args, env)
    }

    fn start(&self, role: &str, name: &str, args: &[&str], env: &[(&str, &str)]) -> Up {
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let listen = free.local_addr().expect("an address").to_string();
        drop(free);
        let path = self.file(&format!("{name}.log"));
        let mut options = OpenOptions::new();
        let log = options.create(true).append(true).open(&path);
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemark"));
        let child = command
            .arg("--config")
            .arg(self.file("workers.toml"))
            .args([role, "--listen", &listen])
            .args(args)
            .env("TIDEMARK_HTTP_SHUTDOWN_DELAY", "0s")
            .envs(env.iter().copied())
            .stdout(Stdio::null())
            .stderr(log.expect("a log file"))
            .spawn();
        Up {
            child: child.expect("the binary runs"),
            url: format!("http://{listen}"),
            log: path,
        }
    }

    /// As [`Site::up`], and what it prints is kept: [`Up::printed`].
    pub fn up_printing(&self) -> Up {
        let printed = fs::File::create(self.file("up.out")).expect("a file");
        self.up_to(printed.into())
    }

    /// Starts `tidemark up`, whose log goes on in one file. It need not be ready yet.
    pub fn up(&self) -> Up {
        self.up_to(Stdio::null())
    }

    fn up_to(&self, stdout: Stdio) -> Up {
        let mut options = OpenOptions::new();
        let log = options.create(true).append(true).open(self.log());
        let listen = format!("127.0.0.1:{}", self.port);
        let child = self
            .command(&["up", "--listen", &listen])
            .stdout(stdout)
            .stderr(log.expect("a log file"))
            .spawn();
        Up {
            child: child.expect("the binary runs"),
            url: self.url(""),
            log: self.log(),
        }
    }

    /// The end of every log file, for whoever looks into a failure.
    pub fn show_logs(&self) {
        let files = fs::read_dir(self.dir.path()).expect("a directory");
        let paths = files.map(|file| file.expect("an entry").path());
        for path in paths.filter(|path| path.extension().is_some_and(|e| e == "log")) {
            eprintln!("== {}\n{}", path.display(), tail(&path));
        }
    }

    /// What the processes have said: no errors, no panics, nothing that halted.
    pub fn log_is_clean(&self) {
        let text = fs::read_to_string(self.log()).expect("a log file");
        let bad = ["ERROR", "panicked", "halted"];
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| bad.iter().any(|word| line.contains(word)))
            .collect();
        assert!(lines.is_empty(), "{}", lines.join("\n"));
    }
}

impl Site {
    /// As [`Site::up`], with files that can be limited: [`Up::limit_files`]. What it logs goes through a pipe, so that it is
    /// kept all the same.
    pub fn up_with_limited_files(&self) -> Up {
        let mut options = OpenOptions::new();
        let log = options.create(true).append(true).open(self.log());
        let mut log = log.expect("a log file");
        let listen = format!("127.0.0.1:{}", self.port);
        let up = self.command(&["up", "--listen", &listen]);
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(up.get_program())
            .args(up.get_args());
        for (name, value) in up.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the binary runs");
        let mut stderr = child.stderr.take().expect("a pipe");
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut log));
        Up {
            child,
            url: self.url(""),
            log: self.log(),
        }
    }
}

impl Up {
    /// From now on no write to a file beyond so many bytes works, as on a disk that is full: `0`, or `unlimited`.
    pub fn limit_files(&self, bytes: &str) {
        let pid = self.child.id().to_string();
        let limit = format!("--fsize={bytes}:unlimited");
        let set = Command::new("prlimit")
            .args(["--pid", &pid, &limit])
            .status();
        assert!(set.expect("prlimit").success());
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub fn must_run(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child") {
            panic!("`up` ended by itself ({status})\n{}", tail(&self.log));
        }
    }

    pub fn wait_ready(&mut self) {
        let start = Instant::now();
        while get(&format!("{}/readyz", self.url)).is_none() {
            self.must_run();
            let log = &self.log;
            assert!(start.elapsed() < START_MAX, "never ready\n{}", tail(log));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A counter, over all its labels; `None` while the process does not answer.
    pub fn metric(&self, name: &str) -> Option<f64> {
        Some(self.series(name)?.iter().sum())
    }

    /// The values of a metric, one for each set of labels. `None`: no answer.
    pub fn series(&self, name: &str) -> Option<Vec<f64>> {
        let text = get(&format!("{}/metrics", self.url))?;
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let is_it = rest.starts_with('{') || rest.starts_with(' ');
            is_it.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        Some(values.collect())
    }

    /// How long processors have worked for the process.
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("Linux tells of its processes");
        // The program's name, in brackets, may hold blanks. Linux counts in hundredths of a second.
        let (_, after) = stat.rsplit_once(')').expect("a name in brackets");
        let fields: Vec<&str> = after.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
        Duration::from_millis(10 * (ticks(11) + ticks(12)))
    }

    /// From now on, [`Up::memory_peak`] is the most that the process has had since then.
    pub fn restart_memory_peak(&self) {
        let written = fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
        written.expect("Linux begins again");
    }

    /// The most memory that the process has ever had, in bytes.
    pub fn memory_peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("Linux tells of its processes");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak
            .expect("a peak")
            .trim()
            .trim_end_matches(" kB")
            .parse::<u64>();
        kib.expect("a number") * 1024
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.expect("kill").success());
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What it has printed so far: [`Site::up_printing`].
    pub fn printed(&self) -> String {
        fs::read_to_string(self.log.with_extension("out")).expect("a file")
    }

    /// How it ended by itself, within a bound.
    pub fn ended(mut self, within: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(start.elapsed() < within, "it runs on\n{}", tail(&self.log));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("a child to kill");
        self.child.wait().expect("a child");
    }

    /// SIGTERM; how it ended, and how long that took.
    pub fn stop(mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        self.signal("TERM");
        let status = self.child.wait().expect("a child");
        (status, start.elapsed())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It has ended already in every test that passes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of a 200.
pub fn get(url: &str) -> Option<String> {
    get_with(url, "")
}

/// As [`get`], with an API key.
pub fn get_with(url: &str, key: &str) -> Option<String> {
    let request = ureq::get(url).header("authorization", format!("Bearer {}", key.trim()));
    let mut answer = request.call().ok()?;
    answer
        .body_mut()
        .with_config()
        .limit(256 << 20)
        .read_to_string()
        .ok()
}

fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
