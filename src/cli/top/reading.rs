//! What the processes tell: their metrics, in Prometheus' text format.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant, SystemTime};

use ureq::Agent;

use super::Targets;
use crate::cli::output::{Done, Failure};
use crate::cli::refusals::{self, Refusal};

/// How long a process may take to tell its metrics.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// One line of Prometheus' text format.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub struct Sample {
    /// The name of its metric.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// Reads Prometheus' text format, as we write it; lines that are none are passed over.
pub fn read(text: &str) -> Vec<Sample> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    Some(Sample {
        name: name.to_owned(),
        labels: labels_of(labels.strip_suffix('}').unwrap_or(labels)),
        value: value.parse().ok()?,
    })
}

/// `a="1",b="2"`. Our own label values hold no quotes.
fn labels_of(text: &str) -> BTreeMap<String, String> {
    let parts = text.split("\",");
    let label = |part: &str| {
        let (name, value) = part.split_once("=\"")?;
        Some((name.to_owned(), value.trim_end_matches('"').to_owned()))
    };
    parts.filter_map(label).collect()
}

/// What all processes told at one moment.
pub struct Reading {
    /// When, to tell how long it is to another one.
    pub at: Instant,
    /// When, in seconds since 1970.
    pub now: f64,
    /// By address; `Err` says why it did not tell.
    pub told: BTreeMap<String, Result<Vec<Sample>, String>>,
    /// By how many seconds a process's clock is ahead of ours, by address.
    pub clocks: BTreeMap<String, f64>,
    /// Why processes that told their metrics are not ready, by address.
    pub refusals: BTreeMap<String, Refusal>,
}

impl Reading {
    /// Asks all of them, at the same time.
    pub async fn take(asked: &Targets) -> Done<Reading> {
        let addresses = asked.addresses();
        let ask = move || {
            let config = Agent::config_builder()
                .timeout_global(Some(TOLD_WITHIN))
                .proxy(None)
                .build();
            let agent: Agent = config.into();
            let ask = |address: Result<String, String>| match address {
                Ok(address) => {
                    let told = metrics(&agent, &address).map_err(|error| error.to_string());
                    let refusal = match &told {
                        Ok(_) => refusals::of_address(&address),
                        Err(_) => None,
                    };
                    (address, told, refusal)
                }
                Err(name) => (name, Err("it is not running".to_owned()), None),
            };
            // At once: several that hang must not add up.
            let ask = &ask;
            std::thread::scope(|scope| {
                let threads = addresses.into_iter();
                let threads = threads.map(|address| scope.spawn(move || ask(address)));
                let threads: Vec<_> = threads.collect();
                let answers = threads.into_iter().map(ScopedJoinHandle::join);
                let answers =
                    answers.map(|answer| answer.unwrap_or_else(|panic| resume_unwind(panic)));
                answers.collect::<Vec<_>>()
            })
        };
        let asked = tokio::task::spawn_blocking(ask).await;
        let (mut told, mut clocks) = (BTreeMap::new(), BTreeMap::new());
        let mut refusals = BTreeMap::new();
        for (address, answer, refusal) in asked.map_err(Failure::failed)? {
            refusals.extend(refusal.map(|refusal| (address.clone(), refusal)));
            if let Ok((_, Some(ahead))) = &answer {
                clocks.insert(address.clone(), *ahead);
            }
            told.insert(address, answer.map(|(samples, _)| samples));
        }
        Ok(Reading {
            at: Instant::now(),
            now: unix_now(),
            told,
            clocks,
            refusals,
        })
    }

    /// The samples of one metric, of all processes.
    pub fn samples<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r Sample> {
        let told = self.told.values().filter_map(|told| told.as_ref().ok());
        told.flatten().filter(move |sample| sample.name == name)
    }

    /// The sum of the samples whose labels hold `label=value`.
    pub fn sum(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
        let is_it = |sample: &&Sample| {
            label.is_none_or(|(label, value)| {
                let found = sample.labels.get(label);
                found.is_some_and(|found| found.starts_with(value))
            })
        };
        let values = self.samples(name).filter(is_it).map(|sample| sample.value);
        values.sum()
    }

    /// The largest value by partition.
    pub fn by_task(&self, name: &str) -> BTreeMap<(String, u32), f64> {
        let mut found: BTreeMap<(String, u32), f64> = BTreeMap::new();
        for sample in self.samples(name) {
            let role = sample.labels.get("role").cloned().unwrap_or_default();
            let partition = sample.labels.get("partition");
            let partition = partition.and_then(|text| text.parse().ok());
            let place = found.entry((role, partition.unwrap_or(0))).or_default();
            *place = place.max(sample.value);
        }
        found
    }
}

fn unix_now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// What a process tells, and by how much its clock is ahead of ours: to the second, and as far as
/// the time that the answer took allows to say.
fn metrics(agent: &Agent, address: &str) -> Result<(Vec<Sample>, Option<f64>), ureq::Error> {
    let asked = unix_now();
    let mut answer = agent.get(format!("{address}/metrics")).call()?;
    let answered = unix_now();
    let date = answer
        .headers()
        .get("date")
        .and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let ahead = date.map(|date| {
        let theirs = date.timestamp().as_second() as f64;
        match theirs {
            theirs if theirs > answered => theirs - answered,
            // It leaves out the part of a second.
            theirs if theirs + 1.0 < asked => theirs + 1.0 - asked,
            _ => 0.0,
        }
    });
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    Ok((read(&body.read_to_string()?), ahead))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::sync::{Arc, Barrier};

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    /// Each process tells its metrics only once the other one was asked, too.
    #[tokio::test]
    async fn processes_are_asked_at_the_same_time() {
        let asked = Arc::new(Barrier::new(2));
        let process = |_| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let asked = asked.clone();
            std::thread::spawn(move || {
                for is_metrics in [true, false] {
                    let (stream, _) = listener.accept().unwrap();
                    let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                    lines.take_while(|line| !line.is_empty()).for_each(drop);
                    if is_metrics {
                        asked.wait();
                    }
                    (&stream).write_all(ANSWER).unwrap();
                }
            });
            address
        };
        let addresses: Vec<String> = (0..2).map(process).collect();
        let targets = Targets::named(&addresses).unwrap();
        let reading = Reading::take(&targets).await.unwrap();
        for (address, told) in &reading.told {
            assert!(told.is_ok(), "{address}: {told:?}");
        }
    }
}
