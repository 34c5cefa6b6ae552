//! `GET /api/admin/analytics`.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::queries::{Analytics, MOVERS_MAX};
use crate::http::ApiState;
use crate::http::caller::{AdminRead, May};
use crate::http::extract::{QueryParams, bad_query};
use crate::http::problem::Problem;

/// Days that are told without being asked for.
const DAYS_DEFAULT: u32 = 31;
/// This month and the last.
const DAYS_MAX: u32 = 62;

/// How much of it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AnalyticsQuery {
    /// Number of days with activity, newest first: 31 by default, up to 62.
    days: Option<u32>,
    /// Number of risers of each kind, up to 10.
    movers: Option<u32>,
}

/// Numbers over all accounts: referral conversion, active accounts per day, points by service,
/// fastest risers. The tables are read completely for them once per `http.analytics_interval`;
/// `computedAt` says when.
#[utoipa::path(get, path = "/api/admin/analytics", tag = "admin", security(("key" = ["admin:read"])), params(AnalyticsQuery),
    responses(
        (status = 200, description = "As of `computedAt`.", body = Analytics),
        (status = 404, description = "Nothing has been computed yet; the first time is within a minute of the start.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    QueryParams(wanted): QueryParams<AnalyticsQuery>,
) -> Result<Json<Analytics>, Problem> {
    let days = bounded("days", wanted.days, DAYS_DEFAULT, 1, DAYS_MAX)?;
    let most = MOVERS_MAX as u32;
    let movers = bounded("movers", wanted.movers, most, 0, most)?;
    let kept = service.queries.analytics().await?;
    Ok(Json(kept.bounded(days, movers)))
}

fn bounded(
    name: &str,
    asked: Option<u32>,
    usual: u32,
    min: u32,
    max: u32,
) -> Result<usize, Problem> {
    let asked = asked.unwrap_or(usual);
    if (min..=max).contains(&asked) {
        return Ok(asked as usize);
    }
    Err(bad_query(format!(
        "{name} is {asked}; allowed: {min} to {max}"
    )))
}
