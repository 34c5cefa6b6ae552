//! Why a request earned and cost what it did, for those whom it is about.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::queries::{Explanation, WhichRequest};
use crate::domain::ids::AccountKind;
use crate::http::ApiState;
use crate::http::caller::Caller;
use crate::http::extract::{PathParams, QueryParams, account};
use crate::http::problem::Problem;
use crate::http::requests::{OfRequest, instant};

/// Why a user's request earned and cost what it did.
///
/// As admins see it (`GET /api/admin/requests/{userId}`), but without the ids of referrers, the
/// provider's day, and the name of an admin who reversed it.
#[utoipa::path(get, path = "/api/users/{userId}/requests", tag = "accounts",
    security(("key" = ["account:user:{userId}"]), ("key" = ["admin:read"])),
    params(("userId" = String, Path, description = "The user.", example = "alice"), OfRequest),
    responses(
        (status = 200, description = "The explanation.", body = Explanation),
        (status = 404, description = "`unknown_request`: there is no row of such a request. It never was accepted, has expired, or request logging is off.",
            body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`row_unreadable`: a row of it cannot be decoded. `no_rules`: no rules have been published yet.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn of_user(
    caller: Caller,
    State(service): State<ApiState>,
    PathParams(user): PathParams<String>,
    asked: Result<QueryParams<OfRequest>, Problem>,
) -> Result<Json<Explanation>, Problem> {
    let user = account(AccountKind::User, &user)?;
    caller.must_read(&user)?;
    let QueryParams(asked) = asked?;
    let now = service.clock.now();
    let explained = service.queries.explain_to_user(asked.which(&user)?, now);
    Ok(Json(explained.await?))
}

/// Which request that a provider served.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfServed {
    /// The user who made it.
    #[param(example = "alice")]
    user: String,
    /// The event's `source`.
    #[param(example = "gateway-eu-1")]
    source: String,
    /// The event's `id`.
    #[param(example = "r-1")]
    id: String,
    /// The event's `time`.
    #[param(example = "2026-11-22T07:01:02.123Z")]
    time: String,
}

/// Why a request earned its provider what it did.
///
/// Only what is the provider's: its points, its referrers' shares without their ids, its day. A
/// provider names the user as the gateway did; a request that another provider served is unknown to
/// it.
#[utoipa::path(get, path = "/api/providers/{providerId}/requests", tag = "accounts",
    security(("key" = ["account:provider:{providerId}"]), ("key" = ["admin:read"])),
    params(("providerId" = String, Path, description = "The provider.", example = "prov-1"), OfServed),
    responses(
        (status = 200, description = "The explanation.", body = Explanation),
        (status = 404, description = "`unknown_request`: this provider served no such request, or it has expired, or request logging is off.",
            body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`no_rules`: no rules have been published yet.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn of_provider(
    caller: Caller,
    State(service): State<ApiState>,
    PathParams(provider): PathParams<String>,
    asked: Result<QueryParams<OfServed>, Problem>,
) -> Result<Json<Explanation>, Problem> {
    let provider = account(AccountKind::Provider, &provider)?;
    caller.must_read(&provider)?;
    let QueryParams(asked) = asked?;
    let user = account(AccountKind::User, &asked.user)?;
    let which = WhichRequest {
        user: &user,
        source: &asked.source,
        id: &asked.id,
        time: Some(instant(&asked.time)?),
    };
    let now = service.clock.now();
    let explained = service.queries.explain_to_provider(&provider, which, now);
    Ok(Json(explained.await?))
}
