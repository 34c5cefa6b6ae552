//! `GET /api/admin/search`.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::queries::SearchResult;
use crate::http::ApiState;
use crate::http::caller::{AdminRead, May};
use crate::http::extract::{QueryParams, bad_query};
use crate::http::problem::Problem;

/// Longest text: no id, code, name or key is longer.
pub(in crate::http) const TEXT_CHARS_MAX: usize = 200;

/// What to look for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchQuery {
    /// The id of an account, a referral code, or the id or a part of the name of an API key; 1 to
    /// 200 characters.
    #[param(example = "alice")]
    q: String,
}

/// Looks for accounts, referral codes and API keys.
///
/// An account exists once it has usage, points, a referrer or referees, a code, awards, credits, a
/// wallet or a key. A single request is found by its user and id: `GET
/// /api/admin/requests/{userId}`.
#[utoipa::path(get, path = "/api/admin/search", tag = "admin", security(("key" = ["admin:read"])), params(SearchQuery),
    responses((status = 200, description = "What was found.", body = SearchResult)))]
pub(super) async fn search(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    QueryParams(wanted): QueryParams<SearchQuery>,
) -> Result<Json<SearchResult>, Problem> {
    if !(1..=TEXT_CHARS_MAX).contains(&wanted.q.chars().count()) {
        return Err(bad_query(format!(
            "q: give 1 to {TEXT_CHARS_MAX} characters to look for"
        )));
    }
    Ok(Json(service.queries.search(&wanted.q).await?))
}
