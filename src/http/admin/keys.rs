//! `/api/admin/keys`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::app::Refusal;
use crate::app::commands::{MadeKey, NewKey as KeyToMake, may_grant};
use crate::app::queries::{KeyInfo, KeyPage};
use crate::domain::access::Scope;
use crate::domain::ids::check_id;
use crate::http::ApiState;
use crate::http::caller::{AdminRead, AdminWrite, May};
use crate::http::extract::{
    IdempotencyKey, JsonBody, NoQuery, PathParams, QueryParams, bad_query, page_entries,
};
use crate::http::problem::Problem;

const KEYS_MAX: u32 = 1_000;

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewKey {
    /// What people call it.
    name: String,
    /// What it allows: `ingest`, `ingest:SOURCE`, `admin:read`, `admin:write`, `account:user:ID`,
    /// `account:provider:ID`.
    scopes: Vec<String>,
}

/// Which keys.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct KeysQuery {
    /// Most keys of the page, 1 to 1,000; without it 1,000.
    limit: Option<u32>,
    /// The `next` of the page before; without it, the first ids.
    after: Option<String>,
}

/// Keys, without their secrets, page by page.
#[utoipa::path(get, path = "/api/admin/keys", tag = "admin", security(("key" = ["admin:read"])), params(KeysQuery),
    responses((status = 200, description = "The keys.", body = KeyPage)))]
pub(super) async fn list(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    QueryParams(wanted): QueryParams<KeysQuery>,
) -> Result<Json<KeyPage>, Problem> {
    let limit = page_entries(wanted.limit, KEYS_MAX, KEYS_MAX)?;
    let after = wanted.after.as_deref();
    if let Some(after) = after {
        check_id(after).map_err(|error| {
            bad_query(format!(
                "after: {error}; give the `next` of the page before"
            ))
        })?;
    }
    let limit = u32::try_from(limit).unwrap_or(KEYS_MAX);
    Ok(Json(service.queries.key_page(after, limit).await?))
}

/// Creates a key and returns its secret, which is shown only this once. A caller can grant only
/// what the caller may do.
#[utoipa::path(post, path = "/api/admin/keys", tag = "admin", security(("key" = ["admin:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Names this key's creation: sent again under the same name, \
        no second key is made. The secret is not shown again.", example = "dashboard-2026")),
    request_body(content = NewKey, example = json!({"name": "dashboard", "scopes": ["admin:read"]})),
    responses(
        (status = 201, description = "The key.", body = MadeKey),
        (status = 409, description = "`key_made_before`: under the same Idempotency-Key. The detail names the key's id.", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "Invalid name or scopes.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn create(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    key: IdempotencyKey,
    _: NoQuery,
    JsonBody(body): JsonBody<NewKey>,
) -> Result<(StatusCode, Json<MadeKey>), Problem> {
    let scopes = body.scopes.iter().map(|text| text.parse::<Scope>());
    let scopes = scopes
        .collect::<Result<Vec<Scope>, _>>()
        .map_err(|error| Refusal::invalid("invalid_scopes", error))?;
    for scope in &scopes {
        may_grant(caller.0.scopes(), scope)?;
    }
    let made = service.commands.create_key(KeyToMake {
        name: body.name,
        scopes,
        once: key.given(),
        by: caller.0.by,
    });
    let made = made.await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Revokes a key, within seconds. A revoked key stays in the list.
#[utoipa::path(delete, path = "/api/admin/keys/{id}", tag = "admin", security(("key" = ["admin:write"])),
    params(("id" = String, Path, description = "Its id: the part between the first two underscores.", example = "0123456789ab")),
    responses(
        (status = 200, description = "The key, revoked.", body = KeyInfo),
        (status = 404, description = "Unknown key.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn revoke(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    PathParams(id): PathParams<String>,
    _: NoQuery,
) -> Result<Json<KeyInfo>, Problem> {
    let revoked = service.commands.revoke_key(&id, &caller.0.by).await?;
    Ok(Json(revoked))
}
