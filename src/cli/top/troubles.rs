//! What is wrong beside halts and lag: what the processes cannot use, what becomes of events,
//! clocks.

use std::collections::BTreeSet;

use serde::Serialize;

use super::duration::in_words;
use super::reading::Reading;
use crate::cli::thresholds::{CLOCKS_DIFFER, is_most};

/// Something that is wrong, with its cause and what to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trouble {
    /// Stable.
    pub code: String,
    /// For people.
    pub text: String,
}

/// What the processes cannot use, each cause once.
pub(in crate::cli) fn outages(now: &Reading) -> Vec<Trouble> {
    let down = now.samples("tidemark_dependency_down");
    let causes: BTreeSet<(String, String)> = down
        .filter(|sample| sample.value > 0.0)
        .map(|sample| {
            let label = |name| sample.labels.get(name).cloned().unwrap_or_default();
            (label("dependency"), label("code"))
        })
        .collect();
    let trouble = |(dependency, code): (String, String)| Trouble {
        text: format!("the {dependency} is unavailable ({code}): {}", cure(&code)),
        code,
    };
    causes.into_iter().map(trouble).collect()
}

/// Processes that say they are not ready, for a cause that no metric tells: a worker without one of
/// its topics, say.
pub(super) fn refusals(now: &Reading, outages: &[Trouble]) -> Vec<Trouble> {
    let is_told = |code: &str| outages.iter().any(|outage| outage.code == code);
    let untold = now.refusals.iter();
    let untold = untold.filter(|(_, refusal)| !is_told(&refusal.code));
    untold
        .map(|(address, refusal)| Trouble {
            code: refusal.code.clone(),
            text: format!("{address}: {}", refusal.text),
        })
        .collect()
}

/// What comes of it and what to do, by the code of an outage.
fn cure(code: &str) -> &'static str {
    match code {
        "log_disk_full" => {
            "new events are refused (507); free some space, and it recovers by itself"
        }
        "log_clock_ahead" => {
            "new events are refused (503); correct the clock of that machine, and it recovers by itself"
        }
        "log_unavailable" => {
            "new events are refused (503), and gateways resend them; check the brokers and the \
             topics (`tidemark doctor`)"
        }
        "topic_missing" => {
            "usage.events is gone, new events are refused (503), gateways send them again; restore it, do not just create it again (docs/runbook.md#a-topic-is-gone)"
        }
        "store_denied" => {
            "updates are paused; check the AWS credentials, their policy and the clock"
        }
        "store_refused" => "updates are paused; a table is missing: restore it, do not recreate it",
        _ => "updates are paused and resume by themselves; check the store and the network to it",
    }
}

/// What is wrong with what comes in, and with clocks.
pub(in crate::cli) fn troubles(now: &Reading) -> Vec<Trouble> {
    let aside = now.sum("tidemark_accounts_set_aside", None);
    let mut troubles = Vec::new();
    if aside > 0.0 {
        troubles.push(Trouble {
            code: "accounts_set_aside".to_owned(),
            text: format!(
                "accounts that are set aside, because they cannot be counted: {aside}; the others go on. See why: tidemark set-aside list"
            ),
        });
    }
    let findings = now.sum("tidemark_audit_findings_total", None);
    if findings > 0.0 {
        troubles.push(Trouble {
            code: "audit_findings".to_owned(),
            text: format!(
                "findings of the auditor since these processes started: {findings}; rating the same \
                 events again gives something else. See what: tidemark audit findings"
            ),
        });
    }
    let recent = |outcome| now.sum("tidemark_recent_events", Some(("outcome", outcome)));
    let (rated, rejected, bare) = (recent("rated"), recent("rejected"), recent("without_usage"));
    if is_most(rejected as u64, (rated + rejected) as u64) {
        troubles.push(Trouble {
            code: "most_rejected".to_owned(),
            text: format!(
                "most recent events were rejected: {rejected} of {} in five minutes; see why: tidemark rejects list --last 5",
                rated + rejected
            ),
        });
    }
    if is_most(bare as u64, rated as u64) {
        troubles.push(Trouble {
            code: "without_usage".to_owned(),
            text: format!(
                "most recent events have no token counts: {bare} of {rated} in five minutes, so \
                 they are not charged; make the gateway report usage"
            ),
        });
    }
    let far = |metric: &str| {
        let seconds = now.samples(metric).map(|sample| sample.value);
        let furthest = seconds.max_by(|one, other| one.abs().total_cmp(&other.abs()));
        furthest.filter(|seconds| seconds.abs() > CLOCKS_DIFFER.as_secs_f64())
    };
    if let Some(ahead) = far("tidemark_store_clock_ahead_seconds") {
        let way = if ahead > 0.0 { "ahead of" } else { "behind" };
        troubles.push(Trouble {
            code: "store_clock_differs".to_owned(),
            text: format!(
                "the store's clock is {} {way} that of a process; correct the one that is wrong",
                in_words(ahead.abs())
            ),
        });
    }
    if let Some(ahead) = far("tidemark_log_clock_ahead_seconds").filter(|ahead| *ahead > 0.0) {
        troubles.push(Trouble {
            code: "log_clock_ahead".to_owned(),
            text: format!(
                "records were appended {} later than the clock of the process that reads them says; \
                 correct the one that is wrong: their time decides in which month they count",
                in_words(ahead)
            ),
        });
    }
    for (address, ahead) in now
        .clocks
        .iter()
        .filter(|(_, ahead)| ahead.abs() > CLOCKS_DIFFER.as_secs_f64())
    {
        let way = if *ahead > 0.0 { "ahead of" } else { "behind" };
        troubles.push(Trouble {
            code: "clocks_differ".to_owned(),
            text: format!(
                "the clock of {address} is {} {way} this machine's; correct the one that is wrong",
                in_words(ahead.abs())
            ),
        });
    }
    troubles
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use super::super::reading::read;
    use super::*;
    use crate::cli::refusals::Refusal;

    fn reading(texts: &[&str]) -> Reading {
        let told = |(i, text): (usize, &&str)| (format!("http://p{i}"), Ok(read(text)));
        Reading {
            at: Instant::now(),
            now: 1_000.0,
            told: texts.iter().enumerate().map(told).collect(),
            clocks: BTreeMap::new(),
            refusals: BTreeMap::new(),
        }
    }

    #[test]
    fn an_outage_is_told_once_with_its_cure() {
        let down = "tidemark_dependency_down{dependency=\"log\",code=\"log_disk_full\"} 1\n";
        let found = outages(&reading(&[down, down]));
        let [only] = &found[..] else {
            panic!("one cause: {found:?}")
        };
        assert!(only.text.contains("free some space"), "{}", only.text);
    }

    #[test]
    fn a_process_that_is_not_ready_is_told_unless_its_metrics_tell_why() {
        let down = "tidemark_dependency_down{dependency=\"log\",code=\"log_disk_full\"} 1\n";
        let mut reading = reading(&[down, ""]);
        for (address, code) in [("http://p0", "log_disk_full"), ("http://p1", "missing")] {
            let refusal = Refusal {
                code: code.to_owned(),
                text: "It cannot work".to_owned(),
            };
            reading.refusals.insert(address.to_owned(), refusal);
        }
        let told = refusals(&reading, &outages(&reading));
        let [only] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(only.text, "http://p1: It cannot work");
    }

    #[test]
    fn clocks_that_differ_are_named() {
        let mut reading = reading(&[""]);
        reading.clocks.insert("http://p0".to_owned(), -7_200.0);
        let [only] = &troubles(&reading)[..] else {
            panic!("one")
        };
        assert!(only.text.contains("2 h 0 min behind"), "{}", only.text);
    }

    #[test]
    fn clocks_of_store_and_log_that_differ_are_named() {
        let near = "tidemark_store_clock_ahead_seconds -3\n\
                    tidemark_log_clock_ahead_seconds{partition=\"0\"} 2\n";
        assert_eq!(troubles(&reading(&[near, near])), []);
        let store = reading(&["tidemark_store_clock_ahead_seconds -600\n", near]);
        let log = reading(&[
            near,
            "tidemark_log_clock_ahead_seconds{partition=\"1\"} 600\n",
        ]);
        for (reading, code, said) in [
            (store, "store_clock_differs", "10 min 0 s behind"),
            (log, "log_clock_ahead", "10 min 0 s later"),
        ] {
            let [only] = &troubles(&reading)[..] else {
                panic!("{code}")
            };
            assert_eq!(only.code, code);
            assert!(only.text.contains(said), "{}", only.text);
        }
    }
}
