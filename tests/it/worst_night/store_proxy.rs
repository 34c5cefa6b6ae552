//! A store that can be made to hang, to deny, or to be down: a proxy before the embedded engine, which
//! every process of a test uses.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::process::site::Site;
use crate::store::embedded_endpoint;
use crate::store::proxy::forward_to;

/// How the store behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Works,
    /// Takes requests and never answers, as after SIGSTOP.
    Hangs,
    /// Answers reads, and takes writes without an answer.
    HangsOnWrites,
    /// Answers, with the time of a clock that is so many seconds ahead.
    HasClockAhead(i64),
    /// Answers every request with this error code.
    Denies(&'static str),
}

/// The store.
pub struct StoreProxy {
    mode: Arc<Mutex<Mode>>,
    address: SocketAddr,
    runtime: tokio::runtime::Runtime,
    serving: Option<JoinHandle<()>>,
    agent: ureq::Agent,
}

#[derive(Clone)]
struct Shared {
    mode: Arc<Mutex<Mode>>,
    agent: ureq::Agent,
}

impl StoreProxy {
    pub fn start() -> StoreProxy {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections_per_host(64);
        let mut proxy = StoreProxy {
            mode: Arc::new(Mutex::new(Mode::Works)),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            runtime,
            serving: None,
            agent: config.build().into(),
        };
        proxy.listen();
        proxy
    }

    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// From now on connections are refused.
    pub fn down(&mut self) {
        let serving = self.serving.take().unwrap();
        serving.abort();
        drop(self.runtime.block_on(serving));
    }

    /// It takes connections (again), at the same address.
    pub fn listen(&mut self) {
        let listener = self
            .runtime
            .block_on(tokio::net::TcpListener::bind(self.address))
            .unwrap();
        self.address = listener.local_addr().unwrap();
        let shared = Shared {
            mode: self.mode.clone(),
            agent: self.agent.clone(),
        };
        let app = Router::new().fallback(handle).with_state(shared);
        let serving = async move { axum::serve(listener, app).await.unwrap() };
        self.serving = Some(self.runtime.spawn(serving));
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A site whose `up` and commands have their tables here.
    pub fn site(&self) -> Site {
        self.site_with(&[])
    }

    /// The same, with further settings.
    pub fn site_with(&self, env: &[(&str, &str)]) -> Site {
        let endpoint = format!("http://{}", self.address);
        let prefix = format!("n{:08x}-", rand::random::<u32>());
        let mut site = Site::new();
        let store = [
            ("TIDEMARK_STORE_ENGINE", "dynamodb"),
            ("TIDEMARK_STORE_ENDPOINT", endpoint.as_str()),
            ("TIDEMARK_STORE_TABLE_PREFIX", prefix.as_str()),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        site.set(&[&store[..], env].concat());
        site
    }
}

async fn handle(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    loop {
        let mode = *shared.mode.lock().unwrap();
        match mode {
            Mode::Works | Mode::HasClockAhead(_) => break,
            Mode::HangsOnWrites if !is_write(&headers) => break,
            Mode::Hangs | Mode::HangsOnWrites => {
                tokio::time::sleep(Duration::from_millis(50)).await
            }
            Mode::Denies(code) => {
                let body = json!({"__type": format!("com.amazon.coral.service#{code}")});
                return (StatusCode::BAD_REQUEST, body.to_string()).into_response();
            }
        }
    }
    let mut answer = forward_to(&shared.agent, embedded_endpoint(), &headers, body).await;
    if let Mode::HasClockAhead(seconds) = *shared.mode.lock().unwrap() {
        let date = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        answer.headers_mut().insert("date", date.parse().unwrap());
    }
    answer
}

fn is_write(headers: &HeaderMap) -> bool {
    let target = headers["x-amz-target"].to_str().unwrap();
    ["Put", "Update", "Delete", "Write"]
        .iter()
        .any(|word| target.contains(word))
}
