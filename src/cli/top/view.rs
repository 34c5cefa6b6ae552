//! What is shown: rates between two readings, lag, halts, and one word for all of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::duration::in_words;
use super::reading::{Reading, Sample};
use super::troubles::{Trouble, outages, refusals, troubles};
use super::{LATE, Targets};
use crate::cli::output::{Done, Out, counted};

/// The one word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Numbers are right and fresh.
    Fine,
    /// No process that was asked has partitions to rate, or none has some to post.
    Nobody,
    /// The store or the log cannot be used.
    Outage,
    /// They are late.
    Late,
    /// They are fresh, but something is wrong with what comes in, or with clocks.
    Attention,
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
pub struct Halt {
    partition: String,
    reason: String,
}

/// How far behind a partition is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    partition: String,
    records: u64,
    seconds: f64,
}

/// A process that does not answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Silent {
    address: String,
    why: String,
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// The one word for it.
    pub verdict: Verdict,
    processes: usize,
    silent: Vec<Silent>,
    /// What the processes cannot use.
    outages: Vec<Trouble>,
    /// What is wrong beside that.
    troubles: Vec<Trouble>,
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
    /// Since the newest event happened that accounts show; `null` until these processes have made
    /// one visible.
    newest_visible_seconds: Option<f64>,
    /// Whether anything had been posted, by whomever; with `newestVisibleSeconds` null: before
    /// these processes started.
    has_posted: bool,
    halted: Vec<Halt>,
    lag: Vec<Lag>,
}

impl View {
    /// What has happened between two readings.
    pub fn between(before: &Reading, now: &Reading) -> View {
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
        let (mut outages, troubles) = (outages(now), troubles(now));
        outages.extend(refusals(now, &outages));
        let findings = Findings {
            silent: &silent,
            halted: &halted,
            outages: &outages,
            troubles: &troubles,
            lag: &lag,
        };
        let verdict = findings.verdict(now.told.len());
        let newest = now.samples("tidemark_visible_event_timestamp_seconds");
        let newest = newest.map(|sample| sample.value).reduce(f64::max);
        let posted = now.by_task("tidemark_checkpoint_offset");
        let versions = now.samples("tidemark_build_info");
        let rules = now.samples("tidemark_rules_version");
        View {
            verdict,
            processes: now.told.len() - silent.len(),
            silent,
            outages,
            troubles,
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
            has_posted: posted
                .iter()
                .any(|((role, _), offset)| role == "post" && *offset > 0.0),
            halted,
            lag,
        }
    }

    /// How fresh numbers are. After a restart the processes do not know of what events was posted
    /// before; that is no alarm.
    fn newest(&self) -> String {
        let waits = self
            .lag
            .iter()
            .any(|lag| lag.records > 0 && !lag.is_audit());
        match self.newest_visible_seconds {
            Some(seconds) => format!(
                "newest event visible in accounts: {} ago",
                in_words(seconds)
            ),
            None if waits => "no event has become visible since the start".to_owned(),
            None if self.has_posted => {
                "no traffic since the start; everything before it is visible".to_owned()
            }
            None => "no events yet".to_owned(),
        }
    }

    /// For people.
    pub fn draw(&self, out: &mut Out, asked: &Targets) -> Done {
        out.line(match self.verdict {
            Verdict::CannotLook => format!("CANNOT LOOK: {}", asked.advice()),
            _ => self.headline(),
        })?;
        for halt in &self.halted {
            out.line(format!(
                "  ! {} has halted: {}. `tidemark doctor` says what to do.",
                halt.partition, halt.reason
            ))?;
        }
        for trouble in self.outages.iter().chain(&self.troubles) {
            out.line(format!("  ! {}", trouble.text))?;
        }
        for silent in &self.silent {
            out.line(format!(
                "  ! {} does not answer: {}; check that process and its log",
                silent.address, silent.why
            ))?;
        }
        if self.processes == 0 {
            return Ok(());
        }
        for line in [
            format!(
                "  events  {:>9.1}/s   rejected {:>7.1}/s   duplicates {:>7.1}/s",
                self.events_per_second, self.rejected_per_second, self.duplicates_per_second
            ),
            format!(
                "  points  {:>9.1}/s   {}",
                self.points_per_second,
                self.newest()
            ),
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
                vec![partition, records.to_string(), in_words(lag.seconds)]
            })
            .collect();
        if waits.is_empty() {
            let partitions = counted(self.lag.len() as u64, "partition");
            return out.line(format!(
                "  nothing is waiting in {partitions} ({})",
                self.by_role()
            ));
        }
        out.table(&["  partition", ">records waiting", ">oldest"], &waits)
    }

    /// `4 rate, 4 post`: partitions of another role are others.
    fn by_role(&self) -> String {
        let mut roles: BTreeMap<&str, u32> = BTreeMap::new();
        for lag in &self.lag {
            let role = lag.partition.split('/').next().unwrap_or_default();
            *roles.entry(role).or_default() += 1;
        }
        let mut parts: Vec<String> = roles
            .iter()
            .map(|(role, n)| format!("{n} {role}"))
            .collect();
        parts.reverse();
        parts.join(", ")
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
            Verdict::Fine => format!("FINE: numbers are correct and fresh ({of})"),
            Verdict::Nobody => {
                format!(
                    "NO WORKERS: none of the given addresses rates or posts; add the addresses of \
                     the workers ({of})"
                )
            }
            Verdict::Outage => {
                format!("OUTAGE: nothing is lost, but a dependency is unavailable ({of})")
            }
            Verdict::Attention => {
                format!("ATTENTION: numbers are fresh, but something is wrong ({of})")
            }
            Verdict::Late => format!("LATE: numbers are correct, but behind ({of})"),
            Verdict::Halted => format!("HALTED: some numbers are paused, none is wrong ({of})"),
            Verdict::Partly => format!("PARTLY: a process does not answer ({of})"),
            Verdict::CannotLook => "CANNOT LOOK".to_owned(),
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

impl Lag {
    /// Whether it is the audit of a partition, which makes no number late.
    fn is_audit(&self) -> bool {
        self.partition.starts_with("audit/")
    }
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

/// What a verdict goes by.
struct Findings<'v> {
    silent: &'v [Silent],
    halted: &'v [Halt],
    outages: &'v [Trouble],
    troubles: &'v [Trouble],
    lag: &'v [Lag],
}

impl Findings<'_> {
    /// The worst that there is.
    fn verdict(&self, asked: usize) -> Verdict {
        let is_late = |lag: &Lag| lag.seconds > LATE.as_secs_f64() && !lag.is_audit();
        let is_worked_on = |role: &&str| {
            let mut lags = self.lag.iter();
            lags.any(|lag| lag.partition.starts_with(*role))
        };
        if self.silent.len() == asked {
            Verdict::CannotLook
        } else if !self.halted.is_empty() {
            Verdict::Halted
        } else if !self.outages.is_empty() {
            Verdict::Outage
        } else if self.lag.iter().any(is_late) {
            Verdict::Late
        } else if !self.silent.is_empty() {
            Verdict::Partly
        } else if !["rate/", "post/"].iter().all(is_worked_on) {
            Verdict::Nobody
        } else if !self.troubles.is_empty() {
            Verdict::Attention
        } else {
            Verdict::Fine
        }
    }
}

/// To a tenth.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::reading::read;
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
            clocks: BTreeMap::new(),
            refusals: BTreeMap::new(),
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
        let down = "tidemark_dependency_down{dependency=\"store\",code=\"store_denied\"} 1\n";
        let up_again = "tidemark_dependency_down{dependency=\"store\",code=\"store_denied\"} 0\n";
        let rejecting = "tidemark_recent_events{outcome=\"rated\"} 4\ntidemark_recent_events{outcome=\"rejected\"} 6\n";
        let few = "tidemark_recent_events{outcome=\"rejected\"} 9\n";
        let bare = "tidemark_recent_events{outcome=\"rated\"} 10\ntidemark_recent_events{outcome=\"without_usage\"} 6\n";
        for (now, verdict) in [
            (vec![Some(fine.as_str())], Verdict::Fine),
            (vec![Some(rates)], Verdict::Nobody),
            (vec![Some("tidemark_up_seconds 1\n")], Verdict::Nobody),
            (vec![Some(fine.as_str()), Some(late)], Verdict::Late),
            (vec![Some(late), Some(halted)], Verdict::Halted),
            (vec![Some(late), Some(down)], Verdict::Outage),
            (vec![Some(fine.as_str()), Some(up_again)], Verdict::Fine),
            (
                vec![Some(fine.as_str()), Some(rejecting)],
                Verdict::Attention,
            ),
            (vec![Some(fine.as_str()), Some(bare)], Verdict::Attention),
            (vec![Some(fine.as_str()), Some(few)], Verdict::Fine),
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
}
