//! What workers and services say of themselves, where they are named.

use super::findings::{Cause, Findings};
use crate::cli::output::Done;
use crate::cli::top::Targets;
use crate::cli::top::reading::{Reading, Sample};
use crate::cli::top::troubles::{outages, troubles};
use crate::ops::health::{Role, TaskId};

/// Asks processes what they cannot use, and services whether they take events.
///
/// # Errors
/// An address is none.
pub async fn look(addresses: &[String], findings: &mut Findings) -> Done {
    if addresses.is_empty() {
        return Ok(());
    }
    let reading = Reading::take(&Targets::named(addresses)?).await?;
    for trouble in outages(&reading).into_iter().chain(troubles(&reading)) {
        let what = format!("A process says: {}.", trouble.text);
        let cause = Cause::Reported(trouble.code);
        // Another process says it, or it is another trouble of that kind.
        if !findings.follows(&cause, what.clone()) {
            findings.fault(cause, what);
        }
    }
    for told in reading.told.values().flatten() {
        tasks(told, findings);
    }
    for (address, told) in &reading.told {
        let what = match (told, reading.refusals.get(address)) {
            (Err(why), _) => format!("no answer ({why}). Check that process and its log"),
            (Ok(_), Some(refusal)) => refusal.text.clone(),
            (Ok(_), None) => continue,
        };
        findings.fault(
            Cause::Process(address.clone()),
            format!("{address}: {what}."),
        );
    }
    Ok(())
}

/// What a process tells of its tasks: which have halted, and which it has not loaded yet. A halt
/// that could not be recorded is told nowhere else.
fn tasks(told: &[Sample], findings: &mut Findings) {
    let of = |name: &'static str| told.iter().filter(move |sample| sample.name == name);
    for sample in of("tidemark_halted").filter(|sample| sample.value > 0.0) {
        if let (Some(task), Some(code)) = (task(sample), sample.labels.get("reason")) {
            findings.says_it_halted(task, code);
        }
    }
    let is_loaded = |task: TaskId| {
        let mut moved = of("tidemark_last_progress_timestamp_seconds");
        moved.any(|sample| self::task(sample) == Some(task))
    };
    for task in of("tidemark_lag_records").filter_map(task) {
        if matches!(task.role, Role::Rate | Role::Post) && !is_loaded(task) {
            findings.is_loading(task);
        }
    }
}

/// The task that a sample is about.
fn task(sample: &Sample) -> Option<TaskId> {
    let label = |name| sample.labels.get(name);
    let name = format!("{}/{}", label("role")?, label("partition")?);
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::reading::read;

    #[test]
    fn a_task_that_lags_and_has_never_moved_is_not_loaded() {
        let mut findings = Findings::default();
        let told = "tidemark_lag_records{partition=\"0\",role=\"rate\"} 7\n\
                    tidemark_lag_records{partition=\"1\",role=\"rate\"} 7\n\
                    tidemark_lag_records{partition=\"2\",role=\"rate\"} 7\n\
                    tidemark_lag_records{partition=\"2\",role=\"audit\"} 7\n\
                    tidemark_last_progress_timestamp_seconds{partition=\"1\",role=\"rate\"} 1795\n\
                    tidemark_halted{partition=\"2\",reason=\"store_refused\",role=\"rate\"} 1\n\
                    tidemark_halted{partition=\"1\",reason=\"store_refused\",role=\"rate\"} 0\n";
        tasks(&read(told), &mut findings);
        let names = |tasks: Vec<TaskId>| tasks.iter().map(TaskId::to_string).collect::<Vec<_>>();
        assert_eq!(names(findings.not_loaded()), ["rate/0"]);
        let halted = "rate/2".parse().unwrap();
        assert_eq!(findings.stopped(halted).as_deref(), Some("store_refused"));
        assert_eq!(findings.count(), 1);
    }
}
