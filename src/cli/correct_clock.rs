//! `tidemark correct-clock`: declares append times of source partitions wrong.

use super::args::CorrectClockArgs;
use super::output::{Done, Failure, Out};
use super::session::{Session, by};
use crate::domain::text::check_reason;
use crate::log::Topic;
use crate::ops::health::{Role, TaskId};
use crate::pipeline::HaltCode;
use crate::store::checkpoints::{self, ClockCorrection};

/// Runs `tidemark correct-clock`.
pub async fn run(session: &Session, args: &CorrectClockArgs) -> Done {
    check_reason(&args.reason).map_err(Failure::refused)?;
    for task in &args.partitions {
        check_halted(session, *task).await?;
    }
    let by = format!("{}: {}", by(), args.reason);
    let mut out = Out::new();
    for task in &args.partitions {
        let end = session
            .log
            .bounds(Topic::UsageEvents, task.partition)
            .await?
            .end;
        let now = session.now();
        let correction = ClockCorrection {
            epoch: session.log.epoch(),
            until: end,
            at: now,
        };
        checkpoints::correct_clock(session.db(), task.partition, &correction, &by, now).await?;
        out.line(format!(
            "{task}: append times after {now} count as {now} in the records before offset {end}"
        ))?;
    }
    let tasks: Vec<String> = args.partitions.iter().map(ToString::to_string).collect();
    out.line(format!("next: tidemark resume {}", tasks.join(" ")))?;
    out.line(
        "then resend any events that were rejected as too_old in the meantime: \
         docs/runbook.md#a-clock-was-ahead",
    )?;
    out.finish()
}

/// Only a partition that stands still for this reason: its rater reads the correction when it is
/// resumed.
async fn check_halted(session: &Session, task: TaskId) -> Done {
    let code = HaltCode::ClockAhead.as_str();
    let halt = checkpoints::halt_of(session.db(), task).await?;
    match halt {
        Some(halt) if task.role == Role::Rate && halt.code == code => Ok(()),
        _ => Err(Failure::refused(format!(
            "{task} is not halted with {code}, so its clock needs no correction; `tidemark doctor` \
             lists the partitions that are"
        ))),
    }
}
