//! chromedriver, and what a person does with a page.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use super::until;

/// How a browser looks at pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub width: u32,
    pub is_dark: bool,
    pub scripts: bool,
}

impl Look {
    pub const DESK: Look = Look {
        width: 1440,
        is_dark: false,
        scripts: true,
    };

    pub const ALL: [Look; 4] = [
        Look::DESK,
        Look {
            is_dark: true,
            ..Look::DESK
        },
        Look {
            width: 360,
            ..Look::DESK
        },
        Look {
            width: 360,
            is_dark: true,
            ..Look::DESK
        },
    ];

    fn name(self) -> String {
        let theme = if self.is_dark { "dark" } else { "light" };
        format!("{}-{theme}", self.width)
    }
}

fn is_installed(program: &str) -> bool {
    let asked = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

fn axe(command: &str) -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/axe");
    let output = Command::new(script).arg(command).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}

/// Fails the test if there is no browser, or nothing to check pages with.
pub fn needs_browser() {
    let is_ready =
        is_installed("chromium") && is_installed("chromedriver") && axe("path").is_some();
    if !is_ready {
        let install = "apt install chromium chromium-driver, and tests/servers/axe fetch";
        crate::needs::missing("a browser", install);
    }
}

/// A running chromedriver; its browsers end with it.
pub struct Driver {
    child: Child,
    url: String,
    /// Its sessions, each a browser: one that is not ended outlives its driver.
    sessions: Mutex<Vec<String>>,
}

impl Driver {
    pub async fn start() -> Driver {
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let driver = Driver {
            child,
            url,
            sessions: Mutex::default(),
        };
        let status = format!("{}/status", driver.url);
        until("chromedriver is ready", async || {
            ureq::get(&status).call().ok()
        })
        .await;
        driver
    }

    pub async fn browser(&self, look: Look) -> Browser {
        self.browser_with(look, None).await
    }

    /// One that keeps in a directory what it downloads.
    pub async fn browser_into(&self, look: Look, downloads: &Path) -> Browser {
        self.browser_with(look, Some(downloads)).await
    }

    async fn browser_with(&self, look: Look, downloads: Option<&Path>) -> Browser {
        let scheme = if look.is_dark { 0 } else { 1 };
        let mut options = json!({
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en", "--hide-scrollbars",
                format!("--blink-settings=preferredColorScheme={scheme}"), format!("--window-size={},900", look.width.max(500))],
        });
        if look.width < 500 {
            options["mobileEmulation"] = json!({"deviceMetrics": {"width": look.width, "height": 2_200, "pixelRatio": 1.0, "touch": true, "mobile": true}});
        }
        if !look.scripts {
            options["prefs"]["profile.managed_default_content_settings.javascript"] = json!(2);
        }
        if let Some(directory) = downloads {
            options["prefs"]["download.default_directory"] = json!(directory);
            options["prefs"]["download.prompt_for_download"] = json!(false);
        }
        let mut wanted = serde_json::Map::new();
        wanted.insert("browserName".to_owned(), json!("chrome"));
        wanted.insert("goog:chromeOptions".to_owned(), options);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let client = builder
            .capabilities(wanted)
            .connect(&self.url)
            .await
            .unwrap();
        let session = client.session_id().await.unwrap();
        self.sessions.lock().unwrap().extend(session);
        Browser { client, look }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        for session in self.sessions.lock().unwrap().drain(..) {
            // Many have ended already.
            drop(ureq::delete(format!("{}/session/{session}", self.url)).call());
        }
        let pid = self.child.id().to_string();
        drop(Command::new("kill").args(["-TERM", &pid]).status());
        drop(self.child.wait());
    }
}

/// Where screenshots are kept.
fn shots() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let dir = target.with_file_name("pages");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// A browser, and somebody who uses it.
pub struct Browser {
    pub client: Client,
    look: Look,
}

impl Browser {
    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    pub async fn path(&self) -> String {
        let url = self.client.current_url().await.unwrap();
        match url.query() {
            None => url.path().to_owned(),
            Some(query) => format!("{}?{query}", url.path()),
        }
    }

    /// The text that a person sees.
    pub async fn text(&self) -> String {
        self.text_of("body").await
    }

    pub async fn text_of(&self, css: &str) -> String {
        // A page that is just being left, or a part of it that refreshes itself, takes its elements with it.
        until(&format!("{css} can be read"), async || {
            let found = self.client.find(Locator::Css(css)).await.ok()?;
            found.text().await.ok()
        })
        .await
    }

    pub async fn has(&self, css: &str) -> bool {
        !self
            .client
            .find_all(Locator::Css(css))
            .await
            .unwrap()
            .is_empty()
    }

    #[track_caller]
    pub fn at(&self, css: &str) -> impl Future<Output = fantoccini::elements::Element> {
        let (client, css) = (self.client.clone(), css.to_owned());
        async move {
            let found = client.wait().for_element(Locator::Css(&css)).await;
            found.unwrap_or_else(|error| panic!("{css}: {error}"))
        }
    }

    pub async fn click(&self, css: &str) {
        self.at(css).await.click().await.unwrap();
    }

    pub async fn type_into(&self, css: &str, text: &str) {
        let field = self.at(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Clicks the button of this name.
    pub async fn press(&self, name: &str) {
        let path = format!("//main//button[normalize-space()='{name}']");
        let found = self.client.wait().for_element(Locator::XPath(&path)).await;
        let button = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        button.click().await.unwrap();
    }

    /// Waits until the page shows a text.
    pub async fn sees(&self, text: &str) {
        let what = format!("the page shows {text:?}");
        until(&what, async || {
            self.text().await.contains(text).then_some(())
        })
        .await;
    }

    pub async fn signs_in(&self, url: &str, key: &str) {
        self.open(url).await;
        self.type_into("#key", key).await;
        self.press("Sign in").await;
        until("the session begins", async || {
            (!self.path().await.starts_with("/signin")).then_some(())
        })
        .await;
    }

    pub async fn run(&self, script: &str, args: Vec<Value>) -> Value {
        self.client.execute(script, args).await.unwrap()
    }

    /// Keeps a picture of the whole page.
    pub async fn keep(&self, name: &str) {
        // A page is as high as its window at least.
        if self.look.width >= 500 {
            self.client
                .set_window_size(self.look.width, 600)
                .await
                .unwrap();
        }
        let height = self
            .run(
                "return Math.min(4000, document.documentElement.scrollHeight)",
                vec![],
            )
            .await;
        let height = u32::try_from(height.as_u64().unwrap_or(900))
            .unwrap_or(900)
            .max(400);
        if self.look.width >= 500 {
            self.client
                .set_window_size(self.look.width, height + 90)
                .await
                .unwrap();
        }
        let png = self.client.screenshot().await.unwrap();
        std::fs::write(
            shots().join(format!("{name}-{}.png", self.look.name())),
            png,
        )
        .unwrap();
    }

    /// What axe-core finds that keeps people from using the page, at any impact from serious on.
    pub async fn barriers(&self) -> Vec<String> {
        let script = std::fs::read_to_string(axe("path").unwrap()).unwrap();
        self.run(&script, vec![]).await;
        let found = self
            .client
            .execute_async(
                "const done = arguments[arguments.length - 1];
                 axe.run(document, {resultTypes: ['violations']})
                   .then(found => done(found.violations), error => done([{id: String(error), impact: 'critical', nodes: []}]));",
                vec![],
            )
            .await
            .unwrap();
        let serious =
            |found: &&Value| matches!(found["impact"].as_str(), Some("serious" | "critical"));
        let found = found.as_array().unwrap().iter().filter(serious);
        found
            .map(|found| {
                let nodes = found["nodes"].as_array().into_iter().flatten();
                let nodes: Vec<String> = nodes
                    .map(|node| format!("{} {}", node["html"], node["failureSummary"]))
                    .collect();
                format!("{}: {}", found["id"], nodes.join("; "))
            })
            .collect()
    }

    /// Whether the page is no wider than the window.
    pub async fn fits(&self) -> bool {
        let fits =
            "return document.documentElement.scrollWidth <= document.documentElement.clientWidth";
        self.run(fits, vec![]).await == json!(true)
    }

    /// Everything that was fetched came from here.
    pub async fn fetched_elsewhere(&self) -> Value {
        let script = "return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(location.origin + '/'))";
        self.run(script, vec![]).await
    }
}
