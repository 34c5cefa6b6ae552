//! The command line, proved against the real binary.

mod api_document;
mod audit;
mod closes;
mod completions;
mod credentials;
mod damage;
mod describe;
mod doctor;
mod emit;
mod explain;
mod export;
mod gateways;
mod governance;
mod grants;
mod guards;
mod halts;
mod keys;
mod listening;
mod losses;
mod metrics;
mod newest;
mod private;
mod progress;
mod quick_start;
mod records;
mod redrive;
mod refusals;
mod reversals;
mod seasons;
mod set_aside;
mod signups;
mod stopping;
mod verify;
mod wallets;

use std::fs::File;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::repository;

/// How long anything may take that the machine's load decides.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// Looks until `condition` gives something.
fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(LOOK);
    }
}

/// A working directory, with its data in `./data` as in the README.
struct Place {
    dir: tempfile::TempDir,
    env: Vec<(&'static str, &'static str)>,
}

/// What a command said, and how it ended.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    /// Its output, if it ended with 0.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(
            self.code,
            Some(0),
            "stdout {} stderr {}",
            self.out,
            self.err
        );
        self.out
    }

    /// Its stderr, if it ended with `code`.
    #[track_caller]
    fn failed(self, code: i32) -> String {
        assert_eq!(
            self.code,
            Some(code),
            "stdout {} stderr {}",
            self.out,
            self.err
        );
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self.err
    }

    /// Its output as JSON, if it ended with 0.
    #[track_caller]
    fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// Its output as JSON lines, if it ended with 0.
    #[track_caller]
    fn lines(self) -> Vec<Value> {
        let out = self.ok();
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        out.lines().map(parse).collect()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Place {
    fn new() -> Place {
        Place {
            dir: tempfile::tempdir().unwrap(),
            env: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The binary in this directory, with nothing of the caller's settings.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemark"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEMARK_")) {
            command.env_remove(name);
        }
        let here = self.dir.path();
        command.args(args).current_dir(here).env_remove("RUST_LOG");
        command.env("TIDEMARK_HTTP_SHUTDOWN_DELAY", "0s");
        command.envs(self.env.iter().copied());
        command.stdin(Stdio::null());
        command
    }

    fn tidemark(&self, args: &[&str]) -> Said {
        self.command(args).output().unwrap().into()
    }

    /// With `input` on its standard input.
    fn tidemark_reading(&self, args: &[&str], input: &str) -> Said {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap().into()
    }

    /// Starts `up` on a free port, and returns once it takes requests.
    fn up(&self, args: &[&str]) -> Up {
        self.up_at("127.0.0.1:0", args)
    }

    /// The same at an address; what is returned talks to it as commands of this machine do.
    fn up_at(&self, address: &str, args: &[&str]) -> Up {
        let log = self.path("up.log");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let mut command = self.command(&[&["up", "--listen", address], args].concat());
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let mut up = Up {
            child: command.spawn().unwrap(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            log,
        };
        let said = until("`up` announces itself", || {
            let ended = up.child.try_wait().unwrap();
            assert!(ended.is_none(), "`up` ended: {ended:?} {}", up.log());
            let said = std::fs::read(self.path("data/up.json")).ok()?;
            let said: Value = serde_json::from_slice(&said).ok()?;
            (said["pid"] == up.child.id()).then_some(said)
        });
        up.listen = said["listen"].as_str().unwrap().parse().unwrap();
        until("`up` is ready", || {
            (up.get("/readyz").0 == 200).then_some(())
        });
        up
    }

    /// Sends events through `emit --file -`.
    #[track_caller]
    fn send(&self, events: &[Value]) {
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        self.tidemark_reading(&["emit", "--file", "-"], &lines).ok();
    }

    #[track_caller]
    fn wait(&self) {
        self.tidemark(&["wait", "--timeout", "120s"]).ok();
    }

    #[track_caller]
    fn statement(&self, kind: &str, id: &str) -> Value {
        self.tidemark(&["statement", kind, id, "--json"]).json()
    }
}

/// A running `up`; killed when dropped.
struct Up {
    child: Child,
    listen: SocketAddr,
    log: PathBuf,
}

impl Up {
    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The key of this machine's commands.
    fn key(&self) -> String {
        let file = self.log.with_file_name("data").join("key");
        let key = std::fs::read_to_string(file).unwrap_or_default();
        key.trim().to_owned()
    }

    /// Status and body.
    fn get(&self, path: &str) -> (u16, String) {
        request(self.listen, &self.key(), "GET", path, "", "")
    }

    fn metrics(&self) -> String {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        text
    }

    /// What an operator's first and second `kill` send.
    fn signal(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Stops it as an operator would; it must end well.
    fn stop(mut self) {
        self.signal();
        let ended = until("`up` stops", || self.child.try_wait().unwrap());
        assert_eq!(ended.code(), Some(0), "{}", self.log());
        assert!(!self.log().contains("panicked"), "{}", self.log());
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- up's log\n{}", self.log());
        }
    }
}

/// A raw HTTP request; status and body.
fn request(
    to: SocketAddr,
    key: &str,
    method: &str,
    path: &str,
    content_type: &str,
    body: &str,
) -> (u16, String) {
    let mut stream = TcpStream::connect(to).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer {key}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Now, as events have it.
fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// A successful chat call on a model of tier blue_surge: 3 points for `prov`, 0.3 for the user.
fn chat(id: &str, user: &str) -> Value {
    json!({
        "requestId": id, "userId": user, "providerId": "prov", "endpoint": "/v1/chat/completions", "model": "llama-3-8b",
        "timestamp": now(), "statusCode": 200, "latencyMs": 250, "inputTokens": 150, "outputTokens": 75,
    })
}

/// The same as a CloudEvent.
fn cloud_chat(id: &str, user: &str) -> Value {
    json!({
        "specversion": "1.0", "type": "tidemark.usage.v1", "source": "test", "id": id, "time": now(), "subject": user,
        "datacontenttype": "application/json",
        "data": {"providerId": "prov", "endpoint": "/v1/chat/completions", "model": "llama-3-8b", "statusCode": 200,
            "latencyMs": 250, "inputTokens": 150, "outputTokens": 75},
    })
}
