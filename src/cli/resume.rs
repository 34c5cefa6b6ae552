//! `tidemark resume`: clears a halt.

use super::args::ResumeArgs;
use super::output::{Done, Failure, Out};
use super::session::{Session, Workers, by};

/// Runs `tidemark resume`.
pub async fn run(session: &Session, args: &ResumeArgs) -> Done {
    let who = match session.workers {
        Workers::Elsewhere => "a `tidemark worker` of its role",
        Workers::Up | Workers::Nobody => "`tidemark up`",
    };
    let mut out = Out::new();
    let chosen = (!args.all).then_some(args.partitions.as_slice());
    let commands = session.commands();
    let done = commands.resume(chosen, &args.reason, &by()).await?;
    for task in done.resumed {
        out.line(format!(
            "{task} continues from its checkpoint within seconds if {who} is running; if the cause \
             remains, it halts again"
        ))?;
    }
    out.finish()?;
    let strangers: Vec<String> = done.not_halted.iter().map(ToString::to_string).collect();
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
