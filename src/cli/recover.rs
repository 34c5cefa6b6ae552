//! `tidemark recover`: goes on from tables that were restored to an earlier moment.

use std::io::{BufRead, IsTerminal};

use super::args::RecoverArgs;
use super::engine::kafka_settings;
use super::output::{Done, Failure, Out, counted};
use super::session::{Session, Workers, by};
use crate::domain::text::check_reason;
use crate::log::kafka;
use crate::ops::config::Config;
use crate::ops::health::{Role, TaskId};
use crate::pipeline::recover::{self, Refusal, SourcePlan, Step, Survey};
use crate::store::feed_rows::FeedRows;

/// What must be typed to confirm.
const CONFIRMATION: &str = "recover";

/// What does not come back, whatever the log holds: it stood in the tables alone.
const NOT_IN_THE_LOG: &str = "\
not in the log, so lost if created after the moment to which the tables were restored:
  prices and rules, referral codes and links, sign-ups, credits, adjustments, API keys, redrives of
  rejects, audit entries. Create them again. Milestones and leaderboards are recomputed.";

/// Runs `tidemark recover`.
pub async fn run(session: &Session, config: &Config, args: &RecoverArgs) -> Done {
    check_reason(&args.reason).map_err(Failure::refused)?;
    no_workers(session, config).await?;
    let ctx = session.worker_context(config)?;
    let survey = recover::survey(&ctx).await.map_err(refused)?;
    let mut out = Out::new();
    show(&mut out, &survey)?;
    if survey.is_done() && !args.force {
        out.line("nothing to recover: the rate checkpoints cover everything in the log")?;
        next_step(&mut out, session)?;
        return out.finish();
    }
    if args.dry_run {
        out.line("dry run: nothing was changed")?;
        return out.finish();
    }
    if !args.yes {
        out.finish()?;
        confirm()?;
    }
    // What was read must still hold: a worker that was started meanwhile would have gone on.
    no_workers(session, config).await?;
    survey.check_quiet(&ctx).await.map_err(refused)?;
    let by = format!("{}: {}", by(), args.reason);
    recover::prepare(&ctx, &survey, &by)
        .await
        .map_err(refused)?;
    for plan in survey.in_order() {
        let done = recover::roll_forward(&ctx, &survey, plan, &by).await;
        let done = done.map_err(refused)?;
        out.line(format!(
            "{}: {} rated again, {} verified, {} appended, {} written{}",
            TaskId::new(Role::Rate, plan.source),
            counted(done.chunks, "chunk"),
            counted(done.verified, "block"),
            counted(done.appended, "missing block"),
            counted(done.usage_rows, "usage row"),
            match done.unverified {
                0 => String::new(),
                some => format!(
                    "; {} could not be verified, because the prices, rules or links used to rate \
                     them are lost",
                    counted(some, "block")
                ),
            }
        ))?;
        out.finish()?;
    }
    recover::conclude(&ctx).await.map_err(refused)?;
    next_step(&mut out, session)?;
    out.finish()
}

/// Refuses while anybody rates or posts.
async fn no_workers(session: &Session, config: &Config) -> Done {
    match session.workers {
        Workers::Nobody => Ok(()),
        Workers::Up => Err(Failure::failed(
            "`tidemark up` is running on this data; stop it first, then run `tidemark recover` again",
        )),
        Workers::Elsewhere => {
            let settings = kafka_settings(config)?;
            for role in [Role::Rate, Role::Post] {
                let members = kafka::members(&settings, role.as_str()).await;
                let members = members.map_err(Failure::failed)?;
                if let [first, ..] = &members[..] {
                    return Err(Failure::failed(format!(
                        "{} of role {role} {} running ({first}); stop every `tidemark worker`, wait until its session has timed out, then run `tidemark recover` again",
                        counted(members.len() as u64, "worker"),
                        if members.len() == 1 { "is" } else { "are" },
                    )));
                }
            }
            Ok(())
        }
    }
}

fn refused(refusal: Refusal) -> Failure {
    Failure::failed(format!("cannot recover: {refusal}"))
}

fn show(out: &mut Out, survey: &Survey) -> Done {
    for plan in &survey.sources {
        out.line(said(plan))?;
    }
    out.line(format!(
        "posting will replay {}; rows that already include them skip them",
        counted(survey.blocks, "posting block")
    ))?;
    if survey.is_begun {
        out.line("an earlier `tidemark recover` was interrupted; this run repeats all of it")?;
    }
    for (q, next) in survey.missing() {
        out.line(format!(
            "{}: its checkpoint is missing; a new one at offset {next} replaces it",
            TaskId::new(Role::Post, q)
        ))?;
    }
    for q in &survey.stuck {
        out.line(format!(
            "warning: posting partition {q} cannot be rewound: no earlier checkpoint is kept, or \
             ledger.postings/{q} does not reach back to it. Rows older than table Checkpoints, even \
             by seconds, are not repaired: they lack postings. Restore all tables to exactly the \
             same moment"
        ))?;
    }
    show_feed(out, &survey.feed)?;
    if let Some(lost) = survey.lost_control() {
        out.line(format!(
            "control feed: the log refers to changes up to {lost}, the tables hold them up to {}; \
             prices, rules and referral links in between are lost, and their numbers are not reused",
            survey.control_head
        ))?;
    }
    if survey.to_roll_forward().next().is_some() {
        out.line(NOT_IN_THE_LOG)?;
    }
    Ok(())
}

/// Rows that are shown one by one.
const ROWS_SHOWN_MAX: usize = 20;

/// Shows the prices and links that do not agree with the control feed.
fn show_feed(out: &mut Out, feed: &FeedRows) -> Done {
    let stray = feed
        .stray
        .iter()
        .map(|row| format!("  {row} (change {})", row.control));
    let missing = feed
        .missing
        .iter()
        .map(|row| format!("  {row} (change {})", row.control()));
    if !feed.stray.is_empty() {
        out.line(format!(
            "{} newer than the control feed in table Checkpoints, which does not know them; they are removed, so make these changes again:",
            counted_are(feed.stray.len(), "row")
        ))?;
        show_some(out, stray)?;
    }
    if !feed.missing.is_empty() {
        out.line(format!(
            "{} missing although the control feed knows them; they are written again (links without the code with which they were made):",
            counted_are(feed.missing.len(), "row")
        ))?;
        show_some(out, missing)?;
    }
    Ok(())
}

fn counted_are(count: usize, what: &str) -> String {
    let verb = if count == 1 { "is" } else { "are" };
    format!("{} {verb}", counted(count as u64, what))
}

fn show_some(out: &mut Out, lines: impl ExactSizeIterator<Item = String>) -> Done {
    let hidden = lines.len().saturating_sub(ROWS_SHOWN_MAX);
    for line in lines.take(ROWS_SHOWN_MAX) {
        out.line(line)?;
    }
    match hidden {
        0 => Ok(()),
        _ => out.line(format!(
            "  and {hidden} more: audit entries recover.feed_rows will name them all"
        )),
    }
}

fn said(plan: &SourcePlan) -> String {
    let task = TaskId::new(Role::Rate, plan.source);
    let (chunk, offset) = match &plan.stored {
        Some(stored) => (stored.chunk.0, stored.from.0),
        None => (0, 0),
    };
    let stays = || format!("{task}: stays at chunk {chunk}, offset {offset}");
    let Step::RollForward { chunks } = &plan.step else {
        return stays();
    };
    let Some(last) = chunks.last() else {
        return stays();
    };
    let blocks: usize = chunks.iter().map(|chunk| chunk.blocks.len()).sum();
    format!(
        "{task}: from chunk {chunk}, offset {offset} to chunk {}, offset {}: {} to be rated again and compared with {} in the log",
        last.cut.chunk,
        last.cut.to,
        counted(chunks.len() as u64, "chunk"),
        counted(blocks as u64, "block")
    )
}

fn confirm() -> Done {
    let mut input = std::io::stdin().lock();
    if !std::io::stdin().is_terminal() {
        return Err(Failure::refused(
            "nothing was changed: there is no terminal to confirm on; review with --dry-run, then \
             run with --yes",
        ));
    }
    eprintln!("Type \"{CONFIRMATION}\" to continue:");
    let mut answer = String::new();
    input
        .read_line(&mut answer)
        .map_err(|error| Failure::failed(format!("cannot read the answer: {error}")))?;
    match answer.trim() == CONFIRMATION {
        true => Ok(()),
        false => Err(Failure::refused("nothing was changed")),
    }
}

fn next_step(out: &mut Out, session: &Session) -> Done {
    let start = match session.workers {
        Workers::Elsewhere => "start the workers",
        Workers::Up | Workers::Nobody => "start `tidemark up`",
    };
    out.line(format!(
        "next: tidemark resume --all --reason \"recovered\" if anything is halted, then {start}, then tidemark wait and tidemark doctor"
    ))
}
