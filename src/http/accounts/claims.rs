//! What an account can claim on chain.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::closing::AccountClaims;
use crate::domain::ids::AccountKind;
use crate::domain::time::Month;
use crate::http::ApiState;
use crate::http::caller::Caller;
use crate::http::extract::{PathParams, QueryParams, account};
use crate::http::problem::Problem;

/// Which closes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ClaimsQuery {
    /// Closes of months before this one: the `next` of the page before; without it, the newest.
    #[param(value_type = Option<String>, example = "2026-11")]
    before: Option<Month>,
}

async fn claims(
    caller: Caller,
    service: &ApiState,
    kind: AccountKind,
    id: &str,
    asked: &ClaimsQuery,
) -> Result<Json<AccountClaims>, Problem> {
    let account = account(kind, id)?;
    caller.must_read(&account)?;
    Ok(Json(
        service.closing.claims_of(&account, asked.before).await?,
    ))
}

/// What a user can claim of each closed month, with the proofs that contracts ask for.
///
/// Twelve closes at once, newest first; those that have nothing to do with the account are left
/// out.
#[utoipa::path(get, path = "/api/users/{userId}/claims", tag = "accounts",
    security(("key" = ["account:user:{userId}"]), ("key" = ["admin:read"])),
    params(("userId" = String, Path, description = "The user.", example = "alice"), ClaimsQuery),
    responses(
        (status = 200, description = "The claims.", body = AccountClaims),
        (status = 409, description = "`closing_file_damaged`: an admin has to look at the files. `no_closing_location`: no place for files is configured.",
            body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`files_unavailable`: retry, see Retry-After. `closing_file_missing`: an admin has to make a file again.",
            body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn of_user(
    caller: Caller,
    State(service): State<ApiState>,
    PathParams(user): PathParams<String>,
    QueryParams(asked): QueryParams<ClaimsQuery>,
) -> Result<Json<AccountClaims>, Problem> {
    claims(caller, &service, AccountKind::User, &user, &asked).await
}

/// What a provider can claim of each closed month, with the proofs that contracts ask for.
///
/// Twelve closes at once, newest first; those that have nothing to do with the account are left
/// out.
#[utoipa::path(get, path = "/api/providers/{providerId}/claims", tag = "accounts",
    security(("key" = ["account:provider:{providerId}"]), ("key" = ["admin:read"])),
    params(("providerId" = String, Path, description = "The provider.", example = "prov-1"), ClaimsQuery),
    responses(
        (status = 200, description = "The claims.", body = AccountClaims),
        (status = 409, description = "`closing_file_damaged`: an admin has to look at the files. `no_closing_location`: no place for files is configured.",
            body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`files_unavailable`: retry, see Retry-After. `closing_file_missing`: an admin has to make a file again.",
            body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn of_provider(
    caller: Caller,
    State(service): State<ApiState>,
    PathParams(provider): PathParams<String>,
    QueryParams(asked): QueryParams<ClaimsQuery>,
) -> Result<Json<AccountClaims>, Problem> {
    claims(caller, &service, AccountKind::Provider, &provider, &asked).await
}
