//! `/api/admin/governance`: freezing the weights of proposals.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::app::CommandError;
use crate::app::commands::{NewVotes, VotesPreview};
use crate::app::queries::{VotesPage, VotesView};
use crate::domain::amount::Points;
use crate::domain::ids::AccountKind;
use crate::domain::position::Control;
use crate::domain::time::Month;
use crate::domain::votes::{Formula, VoteTerms};
use crate::http::ApiState;
use crate::http::caller::{AdminRead, AdminWrite, May};
use crate::http::extract::{Exact, JsonBody, NoQuery, PathParams, QueryParams, page_entries};
use crate::http::governance::proposal;
use crate::http::problem::Problem;

const PROPOSALS_DEFAULT: u32 = 50;
const PROPOSALS_MAX: u32 = 500;

/// How points become weight.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum FormulaName {
    /// The points themselves.
    Total,
    /// Their square root.
    SquareRoot,
    /// The points, at most `cap`.
    Cap,
}

/// From what weights are computed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct VotesRequest {
    /// The first month whose points count.
    #[schema(value_type = String)]
    from: Month,
    /// The last one; each month must be final.
    #[schema(value_type = String)]
    to: Month,
    /// Which kinds of accounts take part; all, if it is left out.
    #[schema(value_type = Option<Vec<String>>)]
    kinds: Option<Vec<AccountKind>>,
    /// How points become weight.
    formula: FormulaName,
    /// Points, if the formula is `cap`.
    #[schema(value_type = Option<String>)]
    cap: Option<Exact<Points>>,
    /// As of which entry of the control feed wallets count; the newest, if it is left out.
    control: Option<u64>,
    /// The `hash` of a preview: other weights are refused.
    expected_hash: Option<String>,
    /// Why; not needed for a preview.
    #[serde(default)]
    reason: String,
}

impl VotesRequest {
    fn read(self, name: &str, by: String) -> Result<NewVotes, Problem> {
        let no_cap = || {
            CommandError::from(crate::app::Refusal::invalid(
                "invalid_terms",
                "the formula cap needs `cap`, and the others take none",
            ))
        };
        let formula = match (self.formula, self.cap) {
            (FormulaName::Total, None) => Formula::Total,
            (FormulaName::SquareRoot, None) => Formula::SquareRoot,
            (FormulaName::Cap, Some(cap)) => Formula::Cap(cap.0),
            _ => return Err(no_cap().into()),
        };
        let kinds = self.kinds.unwrap_or(AccountKind::ALL.to_vec());
        let terms = VoteTerms::new(self.from, self.to, &kinds, formula);
        Ok(NewVotes {
            proposal: proposal(name)?,
            terms: terms.map_err(CommandError::from)?,
            control: self.control.map(Control),
            expected: self.expected_hash,
            reason: self.reason,
            by,
        })
    }
}

/// Which proposals.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichProposals {
    /// Most proposals of the page, 1 to 500; without it 50.
    #[param(example = 50)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(example = "proposal-1")]
    after: Option<String>,
}

/// The proposals whose weights are frozen, by name.
#[utoipa::path(get, path = "/api/admin/governance", tag = "admin", security(("key" = ["admin:read"])), params(WhichProposals),
    responses(
        (status = 200, description = "A page of proposals.", body = VotesPage),
        (status = 422, description = "`invalid_proposal`: `after` is no name of a proposal.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn list(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    QueryParams(asked): QueryParams<WhichProposals>,
) -> Result<Json<VotesPage>, Problem> {
    let limit = page_entries(asked.limit, PROPOSALS_DEFAULT, PROPOSALS_MAX)?;
    let after = asked.after.as_deref().map(proposal).transpose()?;
    let limit = u32::try_from(limit).unwrap_or(PROPOSALS_MAX);
    let page = service.queries.frozen_proposals(after.as_ref(), limit);
    Ok(Json(page.await?))
}

/// What freezing the weights of a proposal would do. Nothing is written.
#[utoipa::path(post, path = "/api/admin/governance/{proposal}/preview", tag = "admin", security(("key" = ["admin:write"])),
    params(("proposal" = String, Path, description = "The proposal.", example = "proposal-1")),
    request_body(content = VotesRequest, example = json!({"from": "2026-10", "to": "2026-10", "formula": "total"})),
    responses(
        (status = 200, description = "What would be frozen.", body = VotesPreview),
        (status = 409, description = "`month_not_final`, `account_not_final`: points can still change. `control_ahead`: there is no such control \
            position yet. `too_many_addresses`: more than 1,000,000. `no_rules`: no rules have been published yet.", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "`invalid_proposal`: no proposal can have such a name. `invalid_terms`: period, kinds or cap.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn preview(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    PathParams(name): PathParams<String>,
    _: NoQuery,
    JsonBody(body): JsonBody<VotesRequest>,
) -> Result<Json<VotesPreview>, Problem> {
    let new = body.read(&name, caller.0.by)?;
    Ok(Json(service.commands.preview_votes(new).await?))
}

/// Freezes the weights of a proposal, for good.
///
/// Freezing it again by the same terms answers what was frozen. The document is at `GET
/// /api/governance/{proposal}`.
#[utoipa::path(put, path = "/api/admin/governance/{proposal}", tag = "admin", security(("key" = ["admin:write"])),
    params(("proposal" = String, Path, description = "The proposal.", example = "proposal-1")),
    request_body(content = VotesRequest, example = json!({"from": "2026-10", "to": "2026-10", "formula": "square_root", "reason": "vote on prices"})),
    responses(
        (status = 200, description = "What is frozen.", body = VotesView),
        (status = 409, description = "`proposal_frozen`: it was frozen by other terms. `changed_meanwhile`: the weights are not those of \
            `expectedHash`. `nothing_to_freeze`: no address has weight by these terms. `month_not_final`, `account_not_final`: points can still change. `control_ahead`: there is no such control position yet. \
            `too_many_addresses`: more than 1,000,000. `no_rules`: no rules have been published yet.", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "`invalid_proposal`: no proposal can have such a name. `invalid_terms`: period, kinds or cap. \
            `invalid_reason`: it cannot be kept.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn freeze(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    PathParams(name): PathParams<String>,
    _: NoQuery,
    JsonBody(body): JsonBody<VotesRequest>,
) -> Result<Json<VotesView>, Problem> {
    let new = body.read(&name, caller.0.by)?;
    Ok(Json(service.commands.freeze_votes(new).await?))
}
