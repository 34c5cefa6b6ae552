//! `tidemark accept-loss`: gives up what was in flight in a log that is gone for good.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::args::AcceptLossArgs;
use super::output::{Done, Failure, Out, counted};
use super::session::{Session, by};
use crate::domain::position::WriteId;
use crate::pipeline::loss::{LossError, Losses, LostBlocks};
use crate::store::credits::check_reason;
use crate::store::losses::LostChunk;

/// What is to be typed.
const CONFIRMATION: &str = "accept";

/// Runs `tidemark accept-loss`.
pub async fn run(session: &Session, args: &AcceptLossArgs) -> Done {
    check_reason(&args.reason).map_err(Failure::refused)?;
    let next = session.log.epoch();
    let losses = Losses::find(session.db(), next).await.map_err(failure)?;
    let mut out = Out::new();
    if losses.is_empty() {
        out.line(format!(
            "nothing is in flight in epoch {}: epoch {next} can begin",
            losses.epoch
        ))?;
        return out.finish();
    }
    for line in told(&losses) {
        out.line(line)?;
    }
    out.finish()?;
    if !args.yes && !is_confirmed()? {
        return Err(Failure::refused("not confirmed; nothing was changed"));
    }
    let worker: u64 = rand::random();
    let mut count = 0;
    let next_write = || {
        count += 1;
        WriteId { worker, count }
    };
    let by = format!("{}: {}", by(), args.reason);
    let accepted = losses.accept(session.db(), &by, session.now(), next_write);
    accepted.await.map_err(failure)?;
    let mut out = Out::new();
    out.line(format!(
        "accepted: epoch {next} can begin. Start the workers with this configuration; tidemark resume --all if partitions are halted"
    ))?;
    out.finish()
}

fn failure(error: LossError) -> Failure {
    match error {
        LossError::Store(error) => error.into(),
        refused => Failure::refused(refused),
    }
}

/// What is given up, in sentences.
fn told(losses: &Losses) -> Vec<String> {
    let epoch = losses.epoch;
    let mut lines = vec![format!(
        "GIVEN UP for good, from the log of epoch {epoch}. If that log can be brought back, stop here, bring it back, and let it drain."
    )];
    lines.extend(losses.chunks.iter().map(chunk_line));
    lines.extend(losses.blocks.iter().map(blocks_line));
    for (source, end) in &losses.ends {
        lines.push(format!(
            "  usage.events/{source} from offset {end} on: never rated, whatever it held. Events of it that are sent again count."
        ));
    }
    lines
}

fn chunk_line(lost: &LostChunk) -> String {
    let LostChunk {
        source,
        chunk,
        from,
        to,
        counted: blocks,
        ..
    } = lost;
    let which =
        format!("  usage.events/{source} offsets {from} to {to} (not included), chunk {chunk}");
    if lost.is_uncounted() {
        return format!("{which}: in no account. Its events count when they are sent again.");
    }
    let sums: Vec<String> = blocks
        .iter()
        .map(|(q, blocks)| format!("{} by posting partition {q}", counted(*blocks, "block")))
        .collect();
    format!(
        "{which}: counted in part ({}). Do not send its events again: those with a usage row are dropped as duplicates, but others would count a second time where they were counted. Make up for the rest with adjustments.",
        sums.join(", ")
    )
}

fn blocks_line(lost: &LostBlocks) -> String {
    let LostBlocks {
        source,
        posting,
        first,
        last,
    } = lost;
    format!(
        "  ledger.postings/{posting}: blocks {first} to {last} of source partition {source} are in no account. Their events are rated and have usage rows, so resends are dropped as duplicates. Make up for them with adjustments."
    )
}

fn is_confirmed() -> Done<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::refused(
            "nothing was changed: give --yes to accept this without being asked",
        ));
    }
    let mut terminal = std::io::stderr();
    let asked = write!(terminal, "Type '{CONFIRMATION}' to give this up: ");
    asked
        .and_then(|()| terminal.flush())
        .map_err(Failure::failed)?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(Failure::failed)?;
    Ok(line.trim() == CONFIRMATION)
}
