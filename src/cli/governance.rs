//! `tidemark governance`: the weights of votes.

use super::args::{FormulaArg, FreezeArgs, GovernanceCommand};
use super::output::{Done, Failure, Out, counted};
use super::session::{Session, by};
use crate::app::Refusal;
use crate::app::commands::{NewVotes, VotesPreview, unknown_proposal};
use crate::app::queries::VotesView;
use crate::domain::ids::AccountKind;
use crate::domain::position::Control;
use crate::domain::votes::{DECIMALS, Formula, ProposalId, VoteTerms};

/// Proposals that are read at a time.
const PAGE: u32 = 100;

/// Runs the command.
pub async fn run(session: &Session, command: &GovernanceCommand) -> Done {
    match command {
        GovernanceCommand::Freeze(args) => freeze(session, args).await,
        GovernanceCommand::Show {
            proposal: None,
            json,
            ..
        } => list(session, *json).await,
        GovernanceCommand::Show {
            proposal: Some(proposal),
            document,
            json,
        } => show(session, proposal, *document, *json).await,
    }
}

fn asked(args: &FreezeArgs) -> Done<NewVotes> {
    let formula = match (args.formula, args.cap) {
        (FormulaArg::Total, None) => Formula::Total,
        (FormulaArg::SquareRoot, None) => Formula::SquareRoot,
        (FormulaArg::Cap, Some(cap)) => Formula::Cap(cap),
        _ => {
            let why = "--formula cap needs --cap POINTS, and the others take none";
            return Err(Failure::with_code(Refusal::invalid("invalid_terms", why)));
        }
    };
    let kinds = match args.kinds.as_slice() {
        [] => &AccountKind::ALL[..],
        kinds => kinds,
    };
    let terms = VoteTerms::new(args.from, args.to, kinds, formula).map_err(Failure::with_code)?;
    Ok(NewVotes {
        proposal: args.proposal.clone(),
        terms,
        control: args.control.map(Control),
        expected: None,
        reason: args.reason.clone().unwrap_or_default(),
        by: by(),
    })
}

async fn freeze(session: &Session, args: &FreezeArgs) -> Done {
    let (new, commands) = (asked(args)?, session.commands());
    let mut out = Out::new();
    if args.dry_run {
        let preview = commands.preview_votes(new).await;
        let preview = preview.map_err(Failure::with_code)?;
        match args.json {
            true => out.json(&preview)?,
            false => show_preview(&mut out, &preview)?,
        }
        return out.finish();
    }
    let votes = commands.freeze_votes(new).await;
    let votes = votes.map_err(Failure::with_code)?;
    match args.json {
        true => out.json(&votes)?,
        false => show_votes(&mut out, &votes)?,
    }
    out.finish()
}

fn show_preview(out: &mut Out, preview: &VotesPreview) -> Done {
    show_votes(out, &preview.votes)?;
    out.line(format!(
        "from {} with a wallet; accounts without one have {} points, which weigh nothing",
        counted(preview.accounts, "account"),
        preview.unlinked_points
    ))?;
    let rows: Vec<Vec<String>> = preview
        .largest
        .iter()
        .map(|line| vec![line.address.to_string(), line.score.clone()])
        .collect();
    if !rows.is_empty() {
        out.table(&["heaviest address", ">weight"], &rows)?;
    }
    out.line("nothing was written")
}

fn show_votes(out: &mut Out, votes: &VotesView) -> Done {
    let cap = votes.cap.as_ref().map(|cap| format!(" {cap}"));
    out.line(format!(
        "{}: {} to {}, {}{}, wallets as of entry {} of the control feed",
        votes.proposal,
        votes.from,
        votes.to,
        votes.formula,
        cap.unwrap_or_default(),
        votes.control
    ))?;
    let addresses = match votes.addresses {
        1 => "1 address weighs".to_owned(),
        many => format!("{many} addresses weigh"),
    };
    out.line(format!(
        "{addresses} {} in all ({DECIMALS} decimals); SHA-256 {}",
        votes.total, votes.hash
    ))
}

async fn show(session: &Session, proposal: &ProposalId, is_document: bool, is_json: bool) -> Done {
    let queries = session.queries();
    let frozen = queries.frozen_votes(proposal).await?;
    let frozen = frozen.ok_or_else(|| Failure::with_code(unknown_proposal(proposal)))?;
    let mut out = Out::new();
    if is_document {
        for number in 0..frozen.pieces {
            let piece = queries.frozen_piece(&frozen, number).await?;
            out.bytes(&piece)?;
        }
        return out.finish();
    }
    let votes = VotesView::from(&frozen);
    match is_json {
        true => out.json(&votes)?,
        false => show_votes(&mut out, &votes)?,
    }
    out.finish()
}

async fn list(session: &Session, is_json: bool) -> Done {
    let queries = session.queries();
    let mut out = Out::new();
    let mut after: Option<ProposalId> = None;
    loop {
        let page = queries.frozen_proposals(after.as_ref(), PAGE).await?;
        for votes in &page.proposals {
            match is_json {
                true => out.json(votes)?,
                false => show_votes(&mut out, votes)?,
            }
        }
        after = page.next.and_then(|next| next.parse().ok());
        if after.is_none() {
            return out.finish();
        }
    }
}
