//! Freezing the weights of a proposal.

use ring::digest::{Context, SHA256};
use serde::Serialize;
use utoipa::ToSchema;

use super::Commands;
use crate::app::queries::{ComputedVotes, VotesError, VotesView};
use crate::app::{CommandError, Refusal};
use crate::domain::amount::Points;
use crate::domain::ethereum::Address;
use crate::domain::position::Control;
use crate::domain::text::check_reason;
use crate::domain::votes::{NotAProposal, ProposalId, TermsError, VoteTerms, document_lines};
use crate::store::db::StoreError;
use crate::store::votes::{self, FrozenVotes, PIECE_BYTES_MAX};

/// How many of the heaviest addresses a preview shows.
const LARGEST: usize = 10;

/// Weights to be frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVotes {
    /// Of which proposal.
    pub proposal: ProposalId,
    /// What they are computed from.
    pub terms: VoteTerms,
    /// As of which entry of the control feed wallets count; `None`: the newest.
    pub control: Option<Control>,
    /// The hash that a preview showed: another one is refused.
    pub expected: Option<String>,
    /// Why, for the audit trail.
    pub reason: String,
    /// Who.
    pub by: String,
}

/// What freezing would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VotesPreview {
    /// What would be frozen; `frozenAt` is now.
    pub votes: VotesView,
    /// How many accounts have points and a wallet.
    pub accounts: u64,
    /// Points of accounts without a wallet as of the control position: they weigh nothing.
    pub unlinked_points: String,
    /// The addresses that weigh most, the heaviest first: at most 10.
    pub largest: Vec<VoterLine>,
}

/// An address and its weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VoterLine {
    /// With its checksum.
    #[schema(value_type = String)]
    pub address: Address,
    /// In the smallest unit.
    pub score: String,
}

/// A document in pieces of whole lines.
struct Document {
    pieces: Vec<Vec<u8>>,
    hash: String,
    bytes: u64,
}

impl Document {
    fn of(lines: impl Iterator<Item = String>) -> Document {
        let mut hash = Context::new(&SHA256);
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        for line in lines {
            hash.update(line.as_bytes());
            bytes += line.len() as u64;
            match pieces.last_mut() {
                Some(piece) if piece.len() + line.len() <= PIECE_BYTES_MAX => {
                    piece.extend_from_slice(line.as_bytes());
                }
                _ => pieces.push(line.into_bytes()),
            }
        }
        let hash = hash.finish();
        Document {
            pieces,
            hash: base16ct::lower::encode_string(hash.as_ref()),
            bytes,
        }
    }
}

/// What would be frozen.
struct Drafted {
    frozen: FrozenVotes,
    document: Document,
    computed: ComputedVotes,
}

impl Commands {
    /// What freezing would do; nothing is written.
    pub async fn preview_votes(&self, new: NewVotes) -> Result<VotesPreview, CommandError> {
        let Drafted {
            frozen, computed, ..
        } = self.draft(new).await?;
        let mut largest: Vec<(u128, Address)> = computed
            .weights
            .of
            .iter()
            .map(|(address, weight)| (*weight, *address))
            .collect();
        // By weight, then by address.
        largest.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let line = |(weight, address): (u128, Address)| VoterLine {
            address,
            score: weight.to_string(),
        };
        Ok(VotesPreview {
            votes: VotesView::from(&frozen),
            accounts: computed.accounts,
            unlinked_points: points_text(computed.unlinked),
            largest: largest.into_iter().take(LARGEST).map(line).collect(),
        })
    }

    /// Freezes the weights of a proposal, once. Freezing it again by the same terms answers what
    /// was frozen; a repeat after a kill begins anew, and leaves nothing else behind.
    pub async fn freeze_votes(&self, new: NewVotes) -> Result<VotesView, CommandError> {
        check_reason(&new.reason)?;
        let before = votes::find(self.db(), &new.proposal).await?;
        if let Some(before) = before {
            return same(&before, &new);
        }
        let (again, reason) = (new.clone(), new.reason.clone());
        let Drafted {
            frozen, document, ..
        } = self.draft(new).await?;
        if let Some(expected) = &again.expected
            && *expected != frozen.hash
        {
            let detail = "the weights are not those of the preview any more; look at a new preview, and freeze that";
            return Err(Refusal::conflict("changed_meanwhile", detail).into());
        }
        if frozen.addresses == 0 {
            let detail = "nobody has weight by these terms, so there is nothing to freeze; look at the preview for what accounts without a wallet have";
            return Err(Refusal::conflict("nothing_to_freeze", detail).into());
        }
        for (number, piece) in (0..).zip(document.pieces) {
            votes::put_piece(self.db(), &frozen.proposal, &frozen.hash, number, piece).await?;
        }
        let before = votes::freeze(self.db(), &frozen, &reason).await?;
        // What a killed attempt left, or this one, if another came first: the other may have looked
        // before all of these pieces were there. They are harmless, so a failure here does not fail
        // the request.
        let kept = before.as_ref().unwrap_or(&frozen);
        if let Err(error) = votes::sweep(self.db(), kept).await {
            tracing::warn!(
                event = "votes.sweep_failed", proposal = %frozen.proposal, %error,
                "pieces of documents that were not frozen are left in table Checkpoints; they are harmless"
            );
        }
        if let Some(before) = before {
            return same(&before, &again);
        }
        tracing::info!(
            event = "votes.frozen", proposal = %frozen.proposal, hash = %frozen.hash, addresses = frozen.addresses,
            "the weights of a proposal are frozen"
        );
        Ok(VotesView::from(&frozen))
    }

    async fn draft(&self, new: NewVotes) -> Result<Drafted, CommandError> {
        let now = self.now();
        let NewVotes {
            proposal,
            terms,
            control,
            by,
            ..
        } = new;
        let computed = self.queries.compute_votes(&terms, control, now).await?;
        let drafted = tokio::task::spawn_blocking(move || {
            let (control, weights) = (computed.control, &computed.weights);
            let document = Document::of(document_lines(&proposal, &terms, control, weights));
            let frozen = FrozenVotes {
                control,
                hash: document.hash.clone(),
                bytes: document.bytes,
                pieces: u32::try_from(document.pieces.len()).unwrap_or(u32::MAX),
                addresses: weights.of.len() as u64,
                total: weights.total,
                frozen_at: now,
                by,
                proposal,
                terms,
            };
            Drafted {
                frozen,
                document,
                computed,
            }
        });
        let stopped = |_| StoreError::Unavailable("the process is stopping".to_owned());
        Ok(drafted.await.map_err(stopped)?)
    }
}

/// What was frozen before, if it is what is asked for now.
fn same(before: &FrozenVotes, new: &NewVotes) -> Result<VotesView, CommandError> {
    let is_same = before.terms == new.terms
        && new.control.is_none_or(|control| control == before.control)
        && new
            .expected
            .as_ref()
            .is_none_or(|hash| *hash == before.hash);
    if is_same {
        return Ok(VotesView::from(before));
    }
    let detail = format!(
        "the weights of {} were frozen at {} by other terms or as of another control position (hash {}), and never change; use \
         another name for another vote",
        before.proposal, before.frozen_at, before.hash
    );
    Err(Refusal::conflict("proposal_frozen", detail).into())
}

fn points_text(micropoints: u128) -> String {
    let points = i64::try_from(micropoints).map(Points);
    points.map_or_else(
        |_| format!("{}", micropoints / 1_000_000),
        |points| points.to_string(),
    )
}

impl From<VotesError> for CommandError {
    fn from(error: VotesError) -> CommandError {
        let code = match error {
            VotesError::Failed(error) => return error.into(),
            VotesError::MonthNotFinal(_) => "month_not_final",
            VotesError::AccountNotFinal(..) => "account_not_final",
            VotesError::ControlAhead { .. } => "control_ahead",
            VotesError::TooManyVoters(_) => "too_many_addresses",
        };
        Refusal::conflict(code, error).into()
    }
}

impl From<NotAProposal> for CommandError {
    fn from(error: NotAProposal) -> CommandError {
        Refusal::invalid("invalid_proposal", error).into()
    }
}

impl From<TermsError> for CommandError {
    fn from(error: TermsError) -> CommandError {
        Refusal::invalid("invalid_terms", error).into()
    }
}

/// A proposal that is not there.
pub fn unknown_proposal(proposal: &ProposalId) -> Refusal {
    Refusal::not_found(
        "unknown_proposal",
        format!("no weights are frozen for the proposal {proposal}"),
    )
}
