//! Requests to the HTTP service of a running `up`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::http::Response;

use super::data::{DataDir, Running};
use super::output::{Done, Failure};
use crate::http::{LISTENER_PATH, listener_proof};
use crate::ops::random_name;

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the proof may take that the listener is `up`.
const PROOF_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a proof is believed: a command that sends much need not ask each time.
const PROVED_FOR: Duration = Duration::from_secs(1);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// An HTTP client that finds `up` through its data directory, again with each request: it may have
/// been restarted elsewhere.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    data: DataDir,
    /// The listener that has proved to be `up`, and when.
    proved: Arc<Mutex<Option<(Running, Instant)>>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// What a listener answers to a nonce.
#[derive(Default, Deserialize)]
struct Proof {
    #[serde(default)]
    proof: String,
}

/// A problem document.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Problem {
    /// Stable.
    #[serde(default)]
    pub code: String,
    /// A sentence.
    #[serde(default)]
    pub detail: String,
    /// What is wrong with single events.
    #[serde(default)]
    pub events: Vec<BadEvent>,
}

/// What is wrong with one event.
#[derive(Clone, Debug, Deserialize)]
pub struct BadEvent {
    /// Its place in the request, from 0.
    pub index: usize,
    /// The code.
    pub code: String,
    /// The field.
    pub field: Option<String>,
    /// A sentence.
    #[serde(default)]
    pub detail: String,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Nobody runs on this data directory.
    #[error("`tidemark up` is not running on {0}; start it with `tidemark up --data {0}`")]
    NotRunning(String),
    /// Something else listens where `up` did: it gets no key.
    #[error(
        "the process at {url} is not the `tidemark up` of this data directory, so the key was not \
         sent; if `up` was just restarted, try again"
    )]
    Stranger {
        /// What was asked.
        url: String,
    },
    /// Somebody does, but cannot be talked to.
    #[error("`tidemark up` at {url} did not answer ({error}); check its output, or try again")]
    Failed {
        /// What was asked.
        url: String,
        /// What went wrong.
        error: String,
    },
}

impl Client {
    /// A client of whoever owns `data`.
    pub fn new(data: DataDir) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Client {
            agent: config.into(),
            data,
            proved: Arc::default(),
        }
    }

    /// The address of `up`, and the key to be sent there. The listener has proved that it knows the
    /// key: what `up.json` says may be out of date, and the port another program's.
    fn partner(&self) -> Result<(Running, String), NoAnswer> {
        let running = self.running()?;
        let key = self.key();
        let mut proved = self.proved.lock().unwrap_or_else(PoisonError::into_inner);
        let is_proved =
            |(known, at): &(Running, Instant)| *known == running && at.elapsed() < PROVED_FOR;
        if !key.is_empty() && !proved.as_ref().is_some_and(is_proved) {
            self.prove(&running, &key)?;
            *proved = Some((running.clone(), Instant::now()));
        }
        Ok((running, format!("Bearer {key}")))
    }

    fn prove(&self, running: &Running, key: &str) -> Result<(), NoAnswer> {
        let nonce = random_name();
        let url = running.url(&format!("{LISTENER_PATH}?nonce={nonce}"));
        let request = self.agent.get(&url).config();
        let request = request.timeout_global(Some(PROOF_TIMEOUT)).build();
        let answer = read(&url, request.call())?;
        let said: Proof = serde_json::from_slice(&answer.body).unwrap_or_default();
        if said.proof == listener_proof(key, running.listen, &nonce) {
            return Ok(());
        }
        Err(NoAnswer::Stranger { url })
    }

    fn running(&self) -> Result<Running, NoAnswer> {
        let missing = || NoAnswer::NotRunning(self.data.path().display().to_string());
        self.data.running().ok_or_else(missing)
    }

    /// Read each time, as the address is. Without a key the service says what is missing.
    fn key(&self) -> String {
        let key = std::fs::read_to_string(self.data.key()).unwrap_or_default();
        key.trim().to_owned()
    }

    /// `GET`. Blocks.
    pub fn get(&self, path: &str) -> Result<Answer, NoAnswer> {
        self.get_within(path, REQUEST_TIMEOUT)
    }

    /// `GET`, answered within a time. Blocks.
    pub fn get_within(&self, path: &str, within: Duration) -> Result<Answer, NoAnswer> {
        let (running, bearer) = self.partner()?;
        let url = running.url(path);
        let request = self.agent.get(&url).header("authorization", bearer);
        let request = request.config().timeout_global(Some(within)).build();
        read(&url, request.call())
    }

    /// `POST`. Blocks.
    pub fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Result<Answer, NoAnswer> {
        self.post_within(path, content_type, body, REQUEST_TIMEOUT)
    }

    /// `POST` of JSON under an idempotency key. Blocks.
    pub fn post_under(&self, path: &str, key: &str, body: &[u8]) -> Result<Answer, NoAnswer> {
        let under = Some(key);
        self.send(path, "application/json", under, body, REQUEST_TIMEOUT)
    }

    /// `POST`, answered within a time, or within that of any request if it is shorter. Blocks.
    pub fn post_within(
        &self,
        path: &str,
        content_type: &str,
        body: &[u8],
        within: Duration,
    ) -> Result<Answer, NoAnswer> {
        self.send(path, content_type, None, body, within)
    }

    fn send(
        &self,
        path: &str,
        content_type: &str,
        idempotency_key: Option<&str>,
        body: &[u8],
        within: Duration,
    ) -> Result<Answer, NoAnswer> {
        let (running, bearer) = self.partner()?;
        let url = running.url(path);
        let request = self.agent.post(&url).content_type(content_type);
        let mut request = request.header("authorization", bearer);
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let within = within.min(REQUEST_TIMEOUT);
        let request = request.config().timeout_global(Some(within)).build();
        read(&url, request.send(body))
    }
}

fn read(url: &str, sent: Result<Response<ureq::Body>, ureq::Error>) -> Result<Answer, NoAnswer> {
    let failed = |error: ureq::Error| NoAnswer::Failed {
        url: url.to_owned(),
        error: error.to_string(),
    };
    let mut response = sent.map_err(failed)?;
    let status = response.status().as_u16();
    let reader = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    let body = reader.read_to_vec().map_err(failed)?;
    Ok(Answer { status, body })
}

impl Answer {
    /// What a successful answer holds. Otherwise the problem's own words: the request was refused
    /// (4xx), or failed.
    pub fn accepted<T: DeserializeOwned>(&self) -> Done<T> {
        let said = || {
            let problem = self.problem();
            match problem.events.first() {
                Some(bad) => format!("{} ({})", problem.detail, bad.code),
                None => problem.detail,
            }
        };
        match self.status {
            200..=299 => serde_json::from_slice(&self.body).map_err(Failure::failed),
            400..=499 => Err(Failure::refused(said())),
            _ => Err(Failure::failed(said())),
        }
    }

    /// The body as a problem document; an empty one if it is none.
    pub fn problem(&self) -> Problem {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}
