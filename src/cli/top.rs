//! `tidemark top`: what runs, how fast, how far behind, and what stands still, from the metrics of the processes themselves.
//!
//! It needs no key, no Prometheus and no clever terminal: where stdout is none, or `TERM` is `dumb`, one picture follows the other.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use ureq::Agent;

use super::args::TopArgs;
use super::data::DataDir;
use super::output::{Done, Failure, Out, counted};
use crate::ops::config::Config;
use crate::ops::shutdown::Shutdown;

/// How long a process may take to tell its metrics.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The time between the two readings of `--once`.
const ONCE: Duration = Duration::from_secs(1);
/// Numbers that are later than this are late.
const LATE_SECONDS: f64 = 60.0;
/// Exit code: something is to be done.
const SOMETHING: u8 = 1;
/// Exit code: nobody can be asked.
const CANNOT_LOOK: u8 = 2;

/// Runs `tidemark top`.
pub async fn run(config: &Config, args: &TopArgs, shutdown: &Shutdown) -> Done {
    let addresses = addresses(config, &args.addresses)?;
    let screen = Screen::of(args);
    let interval = if args.once { ONCE } else { args.interval };
    let mut before = Reading::take(&addresses).await?;
    loop {
        let waited = shutdown.bounded(Duration::ZERO, tokio::time::sleep(interval));
        if waited.await.is_none() {
            return Ok(());
        }
        let now = Reading::take(&addresses).await?;
        let view = View::between(&before, &now);
        screen.show(&view)?;
        if args.once {
            return match view.verdict {
                Verdict::Fine => Ok(()),
                Verdict::Late | Verdict::Halted | Verdict::Partly | Verdict::Nobody => {
                    Err(Failure::Said(SOMETHING))
                }
                Verdict::CannotLook => Err(Failure::Said(CANNOT_LOOK)),
            };
        }
        before = now;
    }
}

/// Those that were given; else the `up` on the data directory, or where one would listen.
fn addresses(config: &Config, given: &[String]) -> Done<Vec<String>> {
    if given.is_empty() {
        let running = DataDir::new(&config.data).running();
        return Ok(vec![match running {
            Some(running) => running.url(""),
            None => format!("http://{}", config.listen),
        }]);
    }
    let whole = |address: &String| match address.split_once("://") {
        None => Ok(format!("http://{address}")),
        Some(("http" | "https", _)) => Ok(address.trim_end_matches('/').to_owned()),
        Some(_) => Err(Failure::refused(format!(
            "{address} is no address; write host:port or http://host:port"
        ))),
    };
    given.iter().map(whole).collect()
}

/// How a picture is shown.
enum Screen {
    Json,
    /// One over the other.
    Terminal,
    /// One after the other.
    Lines,
}

impl Screen {
    fn of(args: &TopArgs) -> Screen {
        let is_dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb" || term.is_empty());
        match (
            args.json,
            args.once || is_dumb || !std::io::stdout().is_terminal(),
        ) {
            (true, _) => Screen::Json,
            (false, true) => Screen::Lines,
            (false, false) => Screen::Terminal,
        }
    }

    fn show(&self, view: &View) -> Done {
        let mut out = Out::new();
        match self {
            Screen::Json => out.json(view)?,
            Screen::Terminal => {
                // To the upper left, and away with what stands below: understood by every terminal that is not dumb.
                std::io::stdout()
                    .write_all(b"\x1b[H\x1b[J")
                    .map_err(Failure::failed)?;
                view.draw(&mut out)?;
            }
            Screen::Lines => {
                view.draw(&mut out)?;
                out.line("")?;
            }
        }
        out.finish()
    }
}

/// One line of Prometheus' text format.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// Reads Prometheus' text format, as we write it; lines that are none are passed over.
fn read(text: &str) -> Vec<Sample> {
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
struct Reading {
    at: Instant,
    now: f64,
    /// By address; `Err` says why it did not tell.
    told: BTreeMap<String, Result<Vec<Sample>, String>>,
}

impl Reading {
    async fn take(addresses: &[String]) -> Done<Reading> {
        let addresses = addresses.to_vec();
        let ask = move || {
            let config = Agent::config_builder()
                .timeout_global(Some(TOLD_WITHIN))
                .proxy(None)
                .build();
            let agent: Agent = config.into();
            let ask = |address: String| {
                let told = metrics(&agent, &address).map_err(|error| error.to_string());
                (address, told)
            };
            addresses.into_iter().map(ask).collect()
        };
        let told = tokio::task::spawn_blocking(ask).await;
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Ok(Reading {
            at: Instant::now(),
            now: since.unwrap_or_default().as_secs_f64(),
            told: told.map_err(Failure::failed)?,
        })
    }

    fn samples<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r Sample> {
        let told = self.told.values().filter_map(|told| told.as_ref().ok());
        told.flatten().filter(move |sample| sample.name == name)
    }

    /// The sum of the samples whose labels hold `label=value`.
    fn sum(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
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
    fn by_task(&self, name: &str) -> BTreeMap<(String, u32), f64> {
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

fn metrics(agent: &Agent, address: &str) -> Result<Vec<Sample>, ureq::Error> {
    let mut answer = agent.get(format!("{address}/metrics")).call()?;
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    Ok(read(&body.read_to_string()?))
}

/// The one word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// Numbers are right and fresh.
    Fine,
    /// No process that was asked has partitions to rate, or none has some to post.
    Nobody,
    /// They are late.
    Late,
    /// Some of them stand still.
    Halted,
    /// A process does not answer.
    Partly,
    /// No process answers.
    CannotLook,
}

/// A partition that stands still.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Halt {
    partition: String,
    reason: String,
}

/// How far behind a partition is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Lag {
    partition: String,
    records: u64,
    seconds: f64,
}

/// A process that does not answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Silent {
    address: String,
    why: String,
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    verdict: Verdict,
    processes: usize,
    silent: Vec<Silent>,
    versions: BTreeSet<String>,
    rules: f64,
    events_per_second: f64,
    rejected_per_second: f64,
    duplicates_per_second: f64,
    points_per_second: f64,
    requests_per_second: f64,
    errors_per_second: f64,
    write_units_per_second: f64,
    throttles_per_second: f64,
    /// Since the newest event happened that accounts show; `null` before the first.
    newest_visible_seconds: Option<f64>,
    halted: Vec<Halt>,
    lag: Vec<Lag>,
}

impl View {
    fn between(before: &Reading, now: &Reading) -> View {
        let seconds = (now.at - before.at).as_secs_f64().max(0.001);
        // A process that began again begins at zero.
        let rate = |name: &str, label: Option<(&str, &str)>| {
            let (first, last) = (before.sum(name, label), now.sum(name, label));
            let grown = if last < first { last } else { last - first };
            round(grown / seconds)
        };
        let silent: Vec<Silent> = now.told.iter().filter_map(silent).collect();
        let halted = halts(now);
        let lag = lags(now);
        let newest = now.samples("tidemark_visible_event_timestamp_seconds");
        let newest = newest.map(|sample| sample.value).reduce(f64::max);
        let versions = now.samples("tidemark_build_info");
        let rules = now.samples("tidemark_rules_version");
        View {
            verdict: verdict(now.told.len(), &silent, &halted, &lag),
            processes: now.told.len() - silent.len(),
            silent,
            versions: versions
                .filter_map(|sample| sample.labels.get("version").cloned())
                .collect(),
            rules: rules.map(|sample| sample.value).fold(0.0, f64::max),
            events_per_second: rate("tidemark_events_rated_total", None),
            rejected_per_second: rate("tidemark_events_rejected_total", None),
            duplicates_per_second: rate("tidemark_events_duplicate_total", None),
            points_per_second: rate("tidemark_points_issued_total", None),
            requests_per_second: rate("tidemark_http_requests_total", None),
            errors_per_second: rate("tidemark_http_requests_total", Some(("code", "5"))),
            write_units_per_second: rate("tidemark_store_write_units_total", None),
            throttles_per_second: rate("tidemark_store_throttles_total", None),
            newest_visible_seconds: newest.map(|newest| round((now.now - newest).max(0.0))),
            halted,
            lag,
        }
    }

    fn draw(&self, out: &mut Out) -> Done {
        out.line(self.headline())?;
        for halt in &self.halted {
            out.line(format!(
                "  ! {} has stopped: {}. `tidemark doctor` says what to do.",
                halt.partition, halt.reason
            ))?;
        }
        for silent in &self.silent {
            out.line(format!(
                "  ! {} does not answer: {}",
                silent.address, silent.why
            ))?;
        }
        if self.processes == 0 {
            return Ok(());
        }
        let newest = match self.newest_visible_seconds {
            Some(seconds) => format!("newest event that accounts show: {} ago", span(seconds)),
            None => "no event is visible yet".to_owned(),
        };
        for line in [
            format!(
                "  events  {:>9.1}/s   rejected {:>7.1}/s   duplicates {:>7.1}/s",
                self.events_per_second, self.rejected_per_second, self.duplicates_per_second
            ),
            format!("  points  {:>9.1}/s   {newest}", self.points_per_second),
            format!(
                "  http    {:>9.1}/s   errors   {:>7.1}/s",
                self.requests_per_second, self.errors_per_second
            ),
            format!(
                "  writes  {:>9.1} units/s   throttled {:.1}/s",
                self.write_units_per_second, self.throttles_per_second
            ),
        ] {
            out.line(line)?;
        }
        self.draw_lag(out)
    }

    fn draw_lag(&self, out: &mut Out) -> Done {
        let waits: Vec<Vec<String>> = self
            .lag
            .iter()
            .filter(|lag| lag.records > 0)
            .map(|lag| {
                let (partition, records) = (format!("  {}", lag.partition), lag.records);
                vec![partition, records.to_string(), span(lag.seconds)]
            })
            .collect();
        if waits.is_empty() {
            let partitions = counted(self.lag.len() as u64, "partition");
            return out.line(format!("  nothing waits in {partitions}"));
        }
        out.table(&["  partition", ">records waiting", ">oldest"], &waits)
    }

    fn headline(&self) -> String {
        let versions: Vec<&str> = self.versions.iter().map(String::as_str).collect();
        let of = format!(
            "{}, version {}, rules {}",
            match self.processes {
                1 => "1 process".to_owned(),
                many => format!("{many} processes"),
            },
            versions.join(" and "),
            self.rules
        );
        match self.verdict {
            Verdict::Fine => format!("FINE: numbers are right and fresh ({of})"),
            Verdict::Nobody => {
                format!(
                    "NOBODY rates or posts among those that were asked; name the workers, too ({of})"
                )
            }
            Verdict::Late => format!("LATE: numbers are right, but behind ({of})"),
            Verdict::Halted => format!("HALTED: some numbers stand still, none is wrong ({of})"),
            Verdict::Partly => format!("PARTLY: a process does not answer ({of})"),
            Verdict::CannotLook => {
                "CANNOT LOOK: no process answers; name them: tidemark top host:8788 host:8789"
                    .to_owned()
            }
        }
    }
}

fn silent((address, told): (&String, &Result<Vec<Sample>, String>)) -> Option<Silent> {
    let why = told.as_ref().err()?;
    Some(Silent {
        address: address.clone(),
        why: why.clone(),
    })
}

fn halts(now: &Reading) -> Vec<Halt> {
    let halted = now.samples("tidemark_halted").filter(|s| s.value > 0.0);
    let label = |sample: &Sample, name| sample.labels.get(name).cloned().unwrap_or_default();
    let halt = |sample: &Sample| Halt {
        partition: format!("{}/{}", label(sample, "role"), label(sample, "partition")),
        reason: label(sample, "reason"),
    };
    halted.map(halt).collect()
}

fn lags(now: &Reading) -> Vec<Lag> {
    let seconds = now.by_task("tidemark_lag_seconds");
    let records = now.by_task("tidemark_lag_records");
    let lag = |(task, records): ((String, u32), f64)| Lag {
        partition: format!("{}/{}", task.0, task.1),
        records: records as u64,
        seconds: round(seconds.get(&task).copied().unwrap_or(0.0)),
    };
    records.into_iter().map(lag).collect()
}

fn verdict(asked: usize, silent: &[Silent], halted: &[Halt], lag: &[Lag]) -> Verdict {
    if silent.len() == asked {
        Verdict::CannotLook
    } else if !halted.is_empty() {
        Verdict::Halted
    } else if lag.iter().any(|lag| lag.seconds > LATE_SECONDS) {
        Verdict::Late
    } else if !silent.is_empty() {
        Verdict::Partly
    } else if !["rate/", "post/"]
        .iter()
        .all(|role| lag.iter().any(|lag| lag.partition.starts_with(role)))
    {
        Verdict::Nobody
    } else {
        Verdict::Fine
    }
}

/// To a tenth.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// `0.4 s`, `3 min 20 s`, `2 h 5 min`.
fn span(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at: Instant, texts: &[Option<&str>]) -> Reading {
        let told = |(i, text): (usize, &Option<&str>)| {
            let told = text.map(read).ok_or_else(|| "refused".to_owned());
            (format!("http://p{i}"), told)
        };
        Reading {
            at,
            now: 1_000.0,
            told: texts.iter().enumerate().map(told).collect(),
        }
    }

    fn view(before: &str, now: &[Option<&str>]) -> View {
        let start = Instant::now();
        let before = reading(start, &[Some(before)]);
        View::between(&before, &reading(start + Duration::from_secs(2), now))
    }

    #[test]
    fn rates_are_over_all_processes_and_a_restart_is_no_fall() {
        let text = "tidemark_events_rated_total 30\ntidemark_events_rejected_total{reason=\"conflict\"} 4\n";
        let seen = view(
            "tidemark_events_rated_total 10\n",
            &[Some(text), Some(text)],
        );
        assert_eq!(
            (seen.events_per_second, seen.rejected_per_second),
            (25.0, 4.0)
        );
        let seen = view("tidemark_events_rated_total 90\n", &[Some(text)]);
        assert_eq!(seen.events_per_second, 15.0);
    }

    #[test]
    fn the_verdict_is_the_worst_that_there_is() {
        let rates = "tidemark_lag_records{role=\"rate\",partition=\"0\"} 0\n";
        let fine = &format!("{rates}tidemark_lag_records{{role=\"post\",partition=\"0\"}} 0\n");
        let late = "tidemark_lag_records{role=\"rate\",partition=\"0\"} 9\ntidemark_lag_seconds{role=\"rate\",partition=\"0\"} 90\n";
        let halted = "tidemark_halted{role=\"post\",partition=\"2\",reason=\"sequence_gap\"} 1\n";
        for (now, verdict) in [
            (vec![Some(fine.as_str())], Verdict::Fine),
            (vec![Some(rates)], Verdict::Nobody),
            (vec![Some("tidemark_up_seconds 1\n")], Verdict::Nobody),
            (vec![Some(fine.as_str()), Some(late)], Verdict::Late),
            (vec![Some(late), Some(halted)], Verdict::Halted),
            (vec![Some(fine.as_str()), None], Verdict::Partly),
            (vec![None, None], Verdict::CannotLook),
        ] {
            assert_eq!(view("", &now).verdict, verdict, "{now:?}");
        }
    }

    #[test]
    fn http_errors_are_those_with_500_and_more() {
        let text = "tidemark_http_requests_total{route=\"/a,b\",code=\"503\"} 6\ntidemark_http_requests_total{route=\"/\",code=\"400\"} 2\n";
        let seen = view("", &[Some(text)]);
        assert_eq!(
            (seen.requests_per_second, seen.errors_per_second),
            (4.0, 3.0)
        );
    }

    #[test]
    fn spans_are_for_people() {
        let shown = [0.44, 59.9, 200.0, 7_500.0].map(span);
        assert_eq!(shown, ["0.4 s", "59.9 s", "3 min 20 s", "2 h 5 min"]);
    }
}
