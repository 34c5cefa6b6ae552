//! The badges of an account, and their credentials.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use crate::app::commands::{badge_id, not_granted};
use crate::app::queries::BadgeList;
use crate::domain::ids::{Account, AccountKind};
use crate::http::ApiState;
use crate::http::badges::{JWT, issuer_of};
use crate::http::caller::Caller;
use crate::http::extract::{NoQuery, PathParams, account};
use crate::http::problem::Problem;

/// A user's badges, also those that were taken back.
#[utoipa::path(get, path = "/api/users/{id}/badges", tag = "accounts",
    security(("key" = ["account:user:{id}"]), ("key" = ["admin:read"])),
    params(("id" = String, Path, description = "The user.", example = "alice")),
    responses((status = 200, description = "The badges.", body = BadgeList)))]
pub(super) async fn of_user(
    caller: Caller,
    State(service): State<ApiState>,
    PathParams(id): PathParams<String>,
    _: NoQuery,
) -> Result<Json<BadgeList>, Problem> {
    list(&caller, &service, account(AccountKind::User, &id)?).await
}

/// A provider's badges, also those that were taken back.
#[utoipa::path(get, path = "/api/providers/{id}/badges", tag = "accounts",
    security(("key" = ["account:provider:{id}"]), ("key" = ["admin:read"])),
    params(("id" = String, Path, description = "The provider.", example = "prov-1")),
    responses((status = 200, description = "The badges.", body = BadgeList)))]
pub(super) async fn of_provider(
    caller: Caller,
    State(service): State<ApiState>,
    PathParams(id): PathParams<String>,
    _: NoQuery,
) -> Result<Json<BadgeList>, Problem> {
    list(&caller, &service, account(AccountKind::Provider, &id)?).await
}

async fn list(
    caller: &Caller,
    service: &ApiState,
    account: Account,
) -> Result<Json<BadgeList>, Problem> {
    caller.must_read(&account)?;
    Ok(Json(service.queries.badges(&account).await?))
}

/// The credential of a user's badge: Open Badges 3.0, as a signed JWT.
#[utoipa::path(get, path = "/api/users/{id}/badges/{badge}/credential", tag = "accounts",
    security(("key" = ["account:user:{id}"]), ("key" = ["admin:read"])),
    params(
        ("id" = String, Path, description = "The user.", example = "alice"),
        ("badge" = String, Path, description = "The badge.", example = "week-streak"),
    ),
    responses(
        (status = 200, description = "The credential.", content_type = "application/vc+jwt"),
        (status = 404, description = "`badge_not_granted`: the account does not have it.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`no_public_origin`: the public address of the service is not configured.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn credential_of_user(
    caller: Caller,
    State(service): State<ApiState>,
    headers: HeaderMap,
    PathParams((id, badge)): PathParams<(String, String)>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let account = account(AccountKind::User, &id)?;
    credential(&caller, &service, &headers, &account, &badge).await
}

/// The credential of a provider's badge: Open Badges 3.0, as a signed JWT.
#[utoipa::path(get, path = "/api/providers/{id}/badges/{badge}/credential", tag = "accounts",
    security(("key" = ["account:provider:{id}"]), ("key" = ["admin:read"])),
    params(
        ("id" = String, Path, description = "The provider.", example = "prov-1"),
        ("badge" = String, Path, description = "The badge.", example = "week-streak"),
    ),
    responses(
        (status = 200, description = "The credential.", content_type = "application/vc+jwt"),
        (status = 404, description = "`badge_not_granted`: the account does not have it.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`no_public_origin`: the public address of the service is not configured.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn credential_of_provider(
    caller: Caller,
    State(service): State<ApiState>,
    headers: HeaderMap,
    PathParams((id, badge)): PathParams<(String, String)>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let account = account(AccountKind::Provider, &id)?;
    credential(&caller, &service, &headers, &account, &badge).await
}

async fn credential(
    caller: &Caller,
    service: &ApiState,
    headers: &HeaderMap,
    account: &Account,
    badge: &str,
) -> Result<Response, Problem> {
    caller.must_read(account)?;
    let issuer = issuer_of(service, headers)?;
    let id = badge_id(badge)?;
    let shown = service.queries.badge_of(account, &id).await?;
    let shown = shown.ok_or_else(|| not_granted(account, &id))?;
    let key = service
        .queries
        .badge_signing_key(service.clock.now())
        .await?;
    let token = issuer.credential(&shown, &key);
    let file = format!("attachment; filename=\"{id}.jwt\"");
    let headers = [
        (header::CONTENT_TYPE, JWT.to_owned()),
        (header::CONTENT_DISPOSITION, file),
    ];
    Ok((headers, token).into_response())
}
