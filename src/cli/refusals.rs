//! Whether processes take events, by their own word (`/readyz`).

use std::time::Duration;

use ureq::Agent;

use super::client::{Answer, Client, NoAnswer, Problem};
use super::data::DataDir;
use crate::http::NOT_READY;
use crate::ops::config::Config;

/// How long a process may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// The status of a listener for metrics alone, which has no such route.
const NO_SUCH_ROUTE: u16 = 404;
/// The code of a worker whose topics are not all there. It takes no events anyway.
const MISSING: &str = "missing";

/// Why a running `up` takes no events.
#[derive(Debug, PartialEq, Eq)]
pub enum UpRefusal {
    /// It does not answer.
    Silent(String),
    /// It says so.
    Told(String),
}

/// Why a process is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable; empty, if it did not say.
    pub code: String,
    /// What is wrong and what to do, without a full stop.
    pub text: String,
}

/// Why a running `up` takes no events, if it takes none. Only to be asked while one runs.
pub async fn of_up(config: &Config) -> Option<UpRefusal> {
    let client = Client::new(DataDir::new(&config.data));
    let ask = move || client.get_within("/readyz", ANSWER_WITHIN);
    // A panic of the task is no word on `up`.
    match tokio::task::spawn_blocking(ask).await.ok()? {
        Ok(ready) => refused(&ready).map(|refusal| UpRefusal::Told(format!("{}.", refusal.text))),
        Err(error) => Some(UpRefusal::Silent(format!(
            "`tidemark up` does not answer {}. It may be stuck or overloaded: check its log and the \
             machine; if it does not recover, restart it. Gateways resend what it does not accept.",
            why_silent(error)
        ))),
    }
}

fn why_silent(error: NoAnswer) -> String {
    match error {
        NoAnswer::Failed { url, error } => format!("at {url} ({error})"),
        other => format!("({other})"),
    }
}

/// Why the process at an address is not ready; `None`: it is.
pub fn of_address(address: &str) -> Option<Refusal> {
    let config = Agent::config_builder()
        .timeout_global(Some(ANSWER_WITHIN))
        .http_status_as_error(false)
        .proxy(None)
        .build();
    let ask = || -> Result<Answer, ureq::Error> {
        let mut answer = Agent::from(config)
            .get(format!("{address}/readyz"))
            .call()?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let body = body.read_to_vec()?;
        Ok(Answer { status, body })
    };
    match ask() {
        Ok(answer) => refused(&answer),
        Err(error) => Some(Refusal {
            code: String::new(),
            text: format!("/readyz does not answer ({error}); check that process and its log"),
        }),
    }
}

/// Why new events are refused, by an answer of `/readyz`. A process that starts or stops is not in
/// trouble.
fn refused(ready: &Answer) -> Option<Refusal> {
    let Problem { code, detail, .. } = ready.problem();
    let is_well = (200..300).contains(&ready.status) || ready.status == NO_SUCH_ROUTE;
    if is_well || code == NOT_READY {
        return None;
    }
    let (status, detail) = (ready.status, detail.trim_end_matches('.'));
    let text = match code.as_str() {
        MISSING => format!("It cannot work ({status} {code}): {detail}"),
        _ => format!(
            "New events are refused ({status} {code}): {detail}. Gateways resend them; it recovers \
             by itself once the cause is fixed (docs/runbook.md#tidemarkdependencydown)"
        ),
    };
    Some(Refusal { code, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::data::Running;

    #[tokio::test]
    async fn an_up_that_does_not_answer_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            data: dir.path().join("data"),
            ..Config::default()
        };
        let owned = DataDir::new(&config.data).try_own().unwrap().unwrap();
        // A port on which nobody listens any more.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = listener.local_addr().unwrap();
        drop(listener);
        let running = Running {
            pid: 1,
            listen,
            serves_store: true,
        };
        owned.announce(&running).unwrap();
        let Some(UpRefusal::Silent(told)) = of_up(&config).await else {
            panic!("silence")
        };
        assert!(
            told.starts_with("`tidemark up` does not answer at http://127.0.0.1:"),
            "{told}"
        );
    }

    #[test]
    fn what_is_not_ready_says_why_unless_it_starts_or_stops() {
        let of = |status, code: &str| {
            let body = format!(r#"{{"code":"{code}","detail":"free some space."}}"#);
            let body = body.into_bytes();
            refused(&Answer { status, body }).map(|refusal| refusal.text)
        };
        assert_eq!(of(200, ""), None);
        assert_eq!(of(404, "no_such_route"), None);
        assert_eq!(of(503, NOT_READY), None);
        let full = of(503, "log_disk_full").unwrap();
        assert!(
            full.starts_with("New events are refused (503 log_disk_full): free some space. G"),
            "{full}"
        );
        let missing = of(503, MISSING).unwrap();
        assert_eq!(missing, "It cannot work (503 missing): free some space");
    }
}
