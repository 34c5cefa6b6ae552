//! `tidemark accept-loss`: gives up what was in flight in a log that is gone for good.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::args::AcceptLossArgs;
use super::output::{Done, Failure, Out, counted};
use super::session::{Session, by};
use crate::app::queries::UnreadableRecord;
use crate::domain::position::WriteId;
use crate::domain::text::check_reason;
use crate::pipeline::loss::{LateBlocks, LossError, Losses, LostBlocks};
use crate::pipeline::rows_ahead::RowsAhead;
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
    let aside = session.queries().set_aside().await?;
    for record in &aside.unreadable {
        out.line(format!(
            "  {} is set aside, and its record cannot be read: {}. {}",
            record.name(),
            record.what,
            UnreadableRecord::ADVICE
        ))?;
    }
    for record in aside.records {
        let (account, kind) = (&record.account, record.account.kind);
        out.line(format!(
            "  {account} is set aside: what it misses is lost with this log too. Before the next epoch begins, mend it and run: tidemark set-aside release {kind} {} --accept-missing",
            account.id()
        ))?;
    }
    out.finish()?;
    if !args.yes && !is_confirmed(CONFIRMATION)? {
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
        "GIVEN UP permanently, from the log of epoch {epoch}. If that log can be recovered, stop \
         here, recover it, and let it drain."
    )];
    let chunks = losses.chunks.iter();
    lines.extend(chunks.map(|lost| chunk_line(lost, losses)));
    let blocks = losses.blocks.iter();
    lines.extend(blocks.map(|lost| blocks_line(lost, losses)));
    lines.extend(losses.late.iter().map(late_line));
    let older = losses.late.iter().filter(|late| late.given_up.is_none());
    let older: Vec<_> = older.map(|late| late.source).collect();
    for (source, end) in losses.ends.iter().filter(|(p, _)| !older.contains(p)) {
        let appended = losses.times_behind(*source);
        lines.push(format!(
            "usage.events/{source} from offset {end} on, {appended}: never rated. Its events count \
             if they are sent again."
        ));
    }
    lines
}

fn chunk_line(lost: &LostChunk, losses: &Losses) -> String {
    let LostChunk {
        source,
        chunk,
        from,
        to,
        counted: blocks,
        ..
    } = lost;
    let appended = losses.times_of_chunk(lost);
    let which = format!(
        "  usage.events/{source} offsets {from} to {to} (not included), chunk {chunk}, {appended}"
    );
    if lost.is_uncounted() {
        return format!("{which}: in no account. Its events count when they are sent again.");
    }
    let mut sums: Vec<String> = blocks
        .iter()
        .map(|(q, blocks)| format!("{} by posting partition {q}", counted(*blocks, "block")))
        .collect();
    sums.extend(losses.ahead.iter().map(|(q, ahead)| {
        let accounts = named(ahead);
        format!("possibly some by posting partition {q}, which wrote to these accounts after its last checkpoint: {accounts}")
    }));
    format!(
        "{which}: counted in part ({}). Do not send its events again: those with a usage row are \
         dropped as duplicates, but others would count twice. Correct the rest with adjustments.",
        sums.join(", ")
    )
}

/// How many accounts, and the first of them.
fn named(ahead: &RowsAhead) -> String {
    let first: Vec<String> = ahead.named.iter().map(ToString::to_string).collect();
    let more = match ahead.count.saturating_sub(first.len() as u64) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let accounts = counted(ahead.count, "account");
    format!("{accounts}: {}{more}", first.join(", "))
}

fn blocks_line(lost: &LostBlocks, losses: &Losses) -> String {
    let appended = losses.times_of_blocks(lost);
    let LostBlocks {
        source,
        posting,
        first,
        last,
    } = lost;
    let whereabouts = match losses.ahead.get(posting) {
        None => "are in no account".to_owned(),
        Some(ahead) => format!(
            "may be in some accounts ({}, written after the last checkpoint: compare these before \
             you adjust anything), and in no others",
            named(ahead)
        ),
    };
    format!(
        "ledger.postings/{posting}: blocks {first} to {last} of source partition {source} \
         {whereabouts}. Their events, {appended}, are rated and have usage rows, so resends are \
         dropped as duplicates. Correct the accounts with adjustments."
    )
}

fn late_line(late: &LateBlocks) -> String {
    let LateBlocks {
        source,
        posting,
        first,
        last,
        given_up,
    } = late;
    let which = format!(
        "  ledger.postings/{posting}: blocks {first} to {last} of source partition {source} were counted"
    );
    match given_up {
        Some(chunk) => format!(
            "{which} after chunk {chunk} was given up, because a worker was still running. Make \
             sure that no worker is running. The blocks stay counted: do not send the events of \
             that chunk again, and correct the rest of it with adjustments."
        ),
        None => format!(
            "{which}, which the checkpoint of rate/{source} does not cover: it is older than the \
             accounts. If table Checkpoints was restored to an earlier moment, stop here, restore a \
             later one, and run this command again. Otherwise the blocks stay counted: do not \
             resend events that were in the old log, and correct what is missing with adjustments."
        ),
    }
}

/// Asks for a word; whether it was typed.
pub(super) fn is_confirmed(word: &str) -> Done<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::refused(
            "nothing was changed: there is no terminal to confirm on; pass --yes to accept without \
             confirmation",
        ));
    }
    let mut terminal = std::io::stderr();
    let asked = write!(terminal, "Type '{word}' to give this up: ");
    asked
        .and_then(|()| terminal.flush())
        .map_err(Failure::failed)?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(Failure::failed)?;
    Ok(line.trim() == word)
}
