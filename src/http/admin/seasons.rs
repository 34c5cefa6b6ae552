//! `GET /api/admin/seasons/{name}`.

use axum::Json;
use axum::extract::State;

use crate::app::commands::season_not_frozen;
use crate::app::queries::SeasonBoards;
use crate::http::ApiState;
use crate::http::caller::{AdminRead, May};
use crate::http::extract::{NoQuery, PathParams};
use crate::http::problem::Problem;

/// The leaderboards of a season that has ended, as `tidemark season freeze` has kept them.
#[utoipa::path(get, path = "/api/admin/seasons/{name}", tag = "admin", security(("key" = ["admin:read"])),
    params(("name" = String, Path, description = "The season.", example = "High-tide")),
    responses(
        (status = 200, description = "The leaderboards.", body = SeasonBoards),
        (status = 404, description = "`season_not_frozen`: the season was not frozen, or there is none of this name.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    PathParams(name): PathParams<String>,
    _: NoQuery,
) -> Result<Json<SeasonBoards>, Problem> {
    let boards = service.queries.frozen_season(&name).await?;
    Ok(Json(boards.ok_or_else(|| season_not_frozen(&name))?))
}
