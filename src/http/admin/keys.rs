//! `/api/admin/keys`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::Refusal;
use crate::app::commands::{MadeKey, may_grant};
use crate::app::queries::KeyInfo;
use crate::domain::access::Scope;
use crate::http::ApiState;
use crate::http::caller::{AdminRead, AdminWrite, May};
use crate::http::extract::{JsonBody, NoQuery, PathParams};
use crate::http::problem::Problem;

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

/// Every key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyList {
    /// Revoked ones too, oldest first.
    keys: Vec<KeyInfo>,
}

/// Every key, without its secret.
#[utoipa::path(get, path = "/api/admin/keys", tag = "admin", security(("key" = ["admin:read"])),
    responses((status = 200, description = "The keys.", body = KeyList)))]
pub(super) async fn list(
    _: May<AdminRead>,
    State(service): State<ApiState>,
) -> Result<Json<KeyList>, Problem> {
    let keys = service.queries.keys().await?;
    Ok(Json(KeyList { keys }))
}

/// Creates a key and returns its secret, which is shown only this once. A caller can grant only
/// what the caller may do.
#[utoipa::path(post, path = "/api/admin/keys", tag = "admin", security(("key" = ["admin:write"])),
    request_body(content = NewKey, example = json!({"name": "dashboard", "scopes": ["admin:read"]})),
    responses(
        (status = 201, description = "The key.", body = MadeKey),
        (status = 422, description = "Invalid name or scopes.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn create(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
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
    let by = &caller.0.by;
    let made = service.commands.create_key(&body.name, scopes, by).await?;
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
