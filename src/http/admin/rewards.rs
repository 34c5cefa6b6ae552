//! `GET /api/admin/rewards`: leaderboards, the rank of one account, statements.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::queries::{LeaderboardPage, RankOf, StatementDoc};
use crate::domain::ids::AccountKind;
use crate::domain::statement::Statement;
use crate::domain::time::Month;
use crate::http::ApiState;
use crate::http::caller::{AdminRead, May};
use crate::http::extract::{QueryParams, account, bad_query, page_entries};
use crate::http::problem::Problem;

const PLACES_DEFAULT: u32 = 50;
const PLACES_MAX: u32 = 1_000;

/// What to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum RewardsKind {
    /// The best accounts of a kind; with `id`, the place of that one.
    Leaderboard,
    /// The statement of a provider.
    Provider,
    /// The statement of a user.
    User,
}

/// Whose rewards, of which month.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RewardsQuery {
    /// `leaderboard`, `provider` or `user`.
    #[param(value_type = String, example = "leaderboard")]
    r#type: RewardsKind,
    /// The account: needed for `provider` and `user`; with `leaderboard` the answer is the place of
    /// this one.
    id: Option<String>,
    /// The month, such as 2026-11; this one, if it is left out. UTC.
    month: Option<String>,
    /// Whose leaderboard: `user` (if it is left out) or `provider`.
    #[param(value_type = Option<String>)]
    kind: Option<AccountKind>,
    /// Maximum number of places: 50 by default, up to 1,000.
    limit: Option<u32>,
    /// How many places to leave out: `next` of the page before.
    offset: Option<u64>,
}

/// One of three.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Rewards {
    /// A page of a leaderboard.
    Leaderboard(LeaderboardPage),
    /// The place of one account.
    Rank(RankOf),
    /// A statement.
    #[schema(value_type = StatementDoc)]
    Statement(Box<Statement>),
}

/// A leaderboard, the place of one account on it, or an account's statement.
///
/// Ranks are exact for the accounts that the leaderboard keeps (`kept`). For other accounts `rank`
/// is null: their order is not known.
#[utoipa::path(get, path = "/api/admin/rewards", tag = "admin", security(("key" = ["admin:read"])), params(RewardsQuery),
    responses(
        (status = 200, description = "By `type`: a page of the leaderboard, or with `id` the place of one account; or the statement.", body = Rewards),
        (status = 409, description = "No rules have been published, so nothing can be computed.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    QueryParams(wanted): QueryParams<RewardsQuery>,
) -> Result<Json<Rewards>, Problem> {
    let month = match &wanted.month {
        None => service.clock.now().month(),
        Some(text) => text.parse().map_err(bad_query)?,
    };
    let rewards = match wanted.r#type {
        RewardsKind::Leaderboard => standing(&service, &wanted, month).await,
        RewardsKind::Provider => statement(&service, AccountKind::Provider, &wanted, month).await,
        RewardsKind::User => statement(&service, AccountKind::User, &wanted, month).await,
    };
    rewards.map(Json)
}

async fn standing(
    service: &ApiState,
    wanted: &RewardsQuery,
    month: Month,
) -> Result<Rewards, Problem> {
    let (queries, kind) = (&service.queries, wanted.kind.unwrap_or(AccountKind::User));
    if let Some(id) = &wanted.id {
        let rank = queries.rank_of(&account(kind, id)?, month).await;
        return Ok(Rewards::Rank(rank?));
    }
    let ranking = queries.leaderboard(kind, month).await?;
    let limit = page_entries(wanted.limit, PLACES_DEFAULT, PLACES_MAX)?;
    let page = ranking.page(wanted.offset.unwrap_or(0), limit);
    Ok(Rewards::Leaderboard(page))
}

async fn statement(
    service: &ApiState,
    kind: AccountKind,
    wanted: &RewardsQuery,
    month: Month,
) -> Result<Rewards, Problem> {
    let id = wanted.id.as_deref();
    let id = id.ok_or_else(|| bad_query("a statement needs an account: add id=…"))?;
    let (account, now) = (account(kind, id)?, service.clock.now());
    let statement = service.queries.statement(&account, month, now).await?;
    Ok(Rewards::Statement(Box::new(statement)))
}
