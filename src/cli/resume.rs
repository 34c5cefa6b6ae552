//! `tidemark resume`: clears a halt.

use super::args::ResumeArgs;
use super::output::{Done, Failure, Out};
use super::session::{Session, Workers, by};
use crate::ops::health::TaskId;
use crate::store::checkpoints;
use crate::store::credits::check_reason;

/// Runs `tidemark resume`.
pub async fn run(session: &Session, args: &ResumeArgs) -> Done {
    check_reason(&args.reason).map_err(Failure::refused)?;
    let by = format!("{}: {}", by(), args.reason);
    let who = match session.workers {
        Workers::Elsewhere => "a `tidemark worker` of its role",
        Workers::Up | Workers::Nobody => "`tidemark up`",
    };
    let mut out = Out::new();
    let mut strangers = Vec::new();
    for task in chosen(session, args).await? {
        if !checkpoints::resume(session.db(), task, &by, session.now()).await? {
            strangers.push(task.to_string());
            continue;
        }
        out.line(format!(
            "{task} continues from its checkpoint within seconds if {who} is running; if the cause \
             remains, it halts again"
        ))?;
    }
    out.finish()?;
    if strangers.is_empty() {
        return Ok(());
    }
    let (names, verb) = (
        strangers.join(", "),
        if strangers.len() == 1 { "is" } else { "are" },
    );
    Err(Failure::refused(format!(
        "{names} {verb} not halted; `tidemark doctor` lists the halted partitions"
    )))
}

async fn chosen(session: &Session, args: &ResumeArgs) -> Done<Vec<TaskId>> {
    if !args.all {
        return Ok(args.partitions.clone());
    }
    let halts = checkpoints::halts(session.db()).await?;
    let tasks: Result<Vec<TaskId>, _> = halts.iter().map(|halt| halt.task.parse()).collect();
    match tasks.map_err(Failure::failed)? {
        none if none.is_empty() => Err(Failure::refused("nothing is halted")),
        tasks => Ok(tasks),
    }
}
