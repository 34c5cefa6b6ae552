//! The pages in a real browser: Debian's chromium, driven by chromedriver, on a running `tidemark up`.
//!
//! Needs chromium, chromedriver and axe-core (`apt install chromium chromium-driver`, `tests/servers/axe
//! fetch`). Screenshots stay in `<target>/pages`.

mod admin;
mod badges;
mod driver;
mod payout;
mod referral;
mod requests;
mod walk;
mod wallet;

use std::fs::File;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::site::Site;

/// How long anything may take that the machine's load decides.
const PATIENCE: Duration = Duration::from_secs(90);

/// Looks until `condition` gives something.
async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A running `up`; killed when dropped.
struct Up {
    site: Site,
    child: Child,
}

impl Up {
    async fn start(args: &[&str]) -> Up {
        let site = Site::new();
        let listen = site.url("").replace("http://", "");
        let command = site.command(&[&["up", "--listen", &listen], args].concat());
        Up::spawn(site, command).await
    }

    /// One that knows the address at which browsers reach it.
    async fn start_with_origin(args: &[&str]) -> Up {
        let mut site = Site::new();
        let origin = site.url("");
        let listen = origin.replace("http://", "");
        site.set(&[("TIDEMARK_HTTP_PUBLIC_ORIGIN", &origin)]);
        let command = site.command(&[&["up", "--listen", &listen], args].concat());
        Up::spawn(site, command).await
    }

    /// One that has a terminal, where it prints its links. The terminal is that of `script`, with which it ends.
    async fn start_on_terminal(args: &[&str]) -> Up {
        let site = Site::new();
        let listen = site.url("").replace("http://", "");
        let up = site.command(&[&["up", "--listen", &listen], args].concat());
        let words = std::iter::once(up.get_program()).chain(up.get_args());
        let words: Vec<String> = words
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        let mut command = std::process::Command::new("script");
        command.args([
            "-q",
            "-e",
            "-f",
            "-c",
            &format!(
                "echo $$ > '{}'; exec {}",
                site.file("up.pid").display(),
                words.join(" ")
            ),
            "/dev/null",
        ]);
        for (name, value) in up.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(dir) = up.get_current_dir() {
            command.current_dir(dir);
        }
        Up::spawn(site, command).await
    }

    async fn spawn(site: Site, mut command: std::process::Command) -> Up {
        let said = File::create(site.file("up.out")).unwrap();
        let log = File::create(site.file("up.log")).unwrap();
        let child = command
            .stdout(said)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let up = Up { site, child };
        until("`up` is ready", async || up.site.get("/readyz")).await;
        up
    }

    fn url(&self, path: &str) -> String {
        self.site.url(path)
    }

    /// The link with which somebody signs in.
    async fn link(&self, who: &str) -> String {
        until("the links are printed", async || {
            let said = std::fs::read_to_string(self.site.file("up.out")).ok()?;
            let begin = format!("  as {who} ");
            let line = said
                .lines()
                .find_map(|line| line.trim_end().strip_prefix(&begin))?;
            Some(line.trim().to_owned())
        })
        .await
    }

    /// A key of one scope.
    fn key(&self, scope: &str) -> String {
        let key = self
            .site
            .run(&["keys", "create", "browser", "--scope", scope]);
        key.trim().to_owned()
    }

    /// Sends events, and waits until they are counted.
    fn send(&self, events: &[Value]) {
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        let file = self.site.file("events.jsonl");
        std::fs::write(&file, lines).unwrap();
        self.site.run(&["emit", "--file", file.to_str().unwrap()]);
        self.site.run(&["wait", "--timeout", "90s"]);
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.site.show_logs();
        }
        // On a terminal the child is `script`, and killing that leaves `up` behind.
        if let Ok(pid) = std::fs::read_to_string(self.site.file("up.pid")) {
            let mut kill = std::process::Command::new("kill");
            drop(kill.args(["-9", pid.trim()]).status());
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A successful chat call on a model of tier blue_surge.
fn chat(id: &str, user: &str) -> Value {
    json!({
        "requestId": id, "userId": user, "providerId": "prov", "endpoint": "/v1/chat/completions", "model": "llama-3-8b",
        "timestamp": jiff::Timestamp::now().to_string(), "statusCode": 200, "latencyMs": 250, "inputTokens": 1_000, "outputTokens": 0,
    })
}
