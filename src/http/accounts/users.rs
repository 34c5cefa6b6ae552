//! A user's points, streak and requests.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{OfMonth, PAGE_DEFAULT, PAGE_MAX};
use crate::app::queries::{
    StatementDoc, StatusFilter, StreakView, UsageCursor, UsageFilter, UsageOfDay,
};
use crate::domain::ids::AccountKind;
use crate::domain::statement::Statement;
use crate::domain::time::Day;
use crate::http::ApiState;
use crate::http::caller::Caller;
use crate::http::extract::{PathParams, QueryParams, account, bad_query, page_entries};
use crate::http::problem::Problem;

/// A user's statement of a month.
///
/// A month without activity reads as zeros.
#[utoipa::path(get, path = "/api/users/{userId}/points", tag = "accounts",
    security(("key" = ["account:user:{userId}"]), ("key" = ["admin:read"])),
    params(("userId" = String, Path, description = "The user.", example = "alice"), OfMonth),
    responses(
        (status = 200, description = "The statement.", body = StatementDoc),
        (status = 409, description = "`no_rules`: no rules have been published yet.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn points(
    caller: Caller,
    State(service): State<ApiState>,
    PathParams(user): PathParams<String>,
    QueryParams(asked): QueryParams<OfMonth>,
) -> Result<Json<Statement>, Problem> {
    let user = account(AccountKind::User, &user)?;
    caller.must_read(&user)?;
    let now = service.clock.now();
    let statement = service.queries.statement(&user, asked.or_now(now), now);
    Ok(Json(statement.await?))
}

/// A user's streak: active days in a row.
///
/// A user's day (UTC) is active by one successful request.
#[utoipa::path(get, path = "/api/users/{userId}/streak", tag = "accounts",
    security(("key" = ["account:user:{userId}"]), ("key" = ["admin:read"])),
    params(("userId" = String, Path, description = "The user.", example = "alice")),
    responses((status = 200, description = "The streak.", body = StreakView)))]
pub(super) async fn streak(
    caller: Caller,
    State(service): State<ApiState>,
    PathParams(user): PathParams<String>,
) -> Result<Json<StreakView>, Problem> {
    let user = account(AccountKind::User, &user)?;
    caller.must_read(&user)?;
    let streak = service.queries.streak(&user, service.clock.now());
    Ok(Json(streak.await?))
}

/// Which requests.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfDay {
    /// UTC, such as `2026-11-22`; without it today.
    #[param(value_type = Option<String>, example = "2026-11-22")]
    day: Option<Day>,
    /// Most requests of the page, 1 to 1000; without it 100.
    #[param(example = 100)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(example = "2026-11-22T07:01:02.123Z_0123456789abcdef0123456789abcdef")]
    after: Option<String>,
    /// Only requests whose id contains this text.
    id: Option<String>,
    /// Only requests whose model's name contains this text, regardless of case.
    model: Option<String>,
    /// Only requests with this HTTP status, such as 503, or 5xx.
    status: Option<String>,
}

/// A user's requests of a day, in order of their time: what each was, and what it was rated at.
///
/// Kept for 35 days, and empty where the service keeps none (`pipeline.usage_rows`). A page may be
/// shorter than asked for; there is more as long as it has a `next`. With `id`, `model` or `status`,
/// at most 2,000 requests are searched for one page.
#[utoipa::path(get, path = "/api/users/{userId}/usage", tag = "accounts",
    security(("key" = ["account:user:{userId}"]), ("key" = ["admin:read"])),
    params(("userId" = String, Path, description = "The user.", example = "alice"), OfDay),
    responses((status = 200, description = "A page of requests.", body = UsageOfDay)))]
pub(super) async fn usage(
    caller: Caller,
    State(service): State<ApiState>,
    PathParams(user): PathParams<String>,
    QueryParams(asked): QueryParams<OfDay>,
) -> Result<Json<UsageOfDay>, Problem> {
    let user = account(AccountKind::User, &user)?;
    caller.must_read(&user)?;
    let limit = page_entries(asked.limit, PAGE_DEFAULT, PAGE_MAX)?;
    let after = asked.after.as_deref().map(cursor).transpose()?;
    let filter = UsageFilter {
        id: asked.id,
        model: asked.model,
        status: asked.status.as_deref().map(status).transpose()?,
    };
    let now = service.clock.now();
    let day = asked.day.unwrap_or_else(|| now.day());
    let page = service
        .queries
        .usage_page(&user, day, &filter, after, limit, now);
    Ok(Json(page.await?))
}

fn status(text: &str) -> Result<StatusFilter, Problem> {
    text.parse()
        .map_err(|error| bad_query(format!("status is {error}")))
}

fn cursor(text: &str) -> Result<UsageCursor, Problem> {
    let not_a_cursor = |error| {
        let detail = format!("after is {error}");
        Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail)
    };
    text.parse().map_err(not_a_cursor)
}
