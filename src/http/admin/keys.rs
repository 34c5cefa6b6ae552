//! `/api/admin/keys`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{missing, refused};
use crate::domain::access::Scope;
use crate::domain::ids::check_id;
use crate::http::Service;
use crate::http::access::{AdminRead, AdminWrite, Caller, May};
use crate::http::problem::Problem;
use crate::http::strict::{Named, NoQuery, Strict};
use crate::store::keys::{self, ApiKey, KeyError, KeyText};

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewKey {
    /// What people call it.
    name: String,
    /// What it allows: `ingest`, `ingest:SOURCE`, `admin:read`, `admin:write`, `account:user:ID`, `account:provider:ID`.
    scopes: Vec<String>,
}

/// A key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyInfo {
    /// Its public part.
    id: String,
    /// What people call it.
    name: String,
    /// What it allows.
    scopes: Vec<String>,
    /// When it was made.
    created_at: String,
    /// Who made it.
    created_by: String,
    /// Since when it is worth nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
}

/// A key that was just made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MadeKey {
    /// The key itself. It is shown this one time.
    key: String,
    /// What it is.
    #[serde(flatten)]
    info: KeyInfo,
}

/// Every key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyList {
    /// Revoked ones too, oldest first.
    keys: Vec<KeyInfo>,
}

impl MadeKey {
    /// A key, and its text, which is not kept.
    pub fn new(text: &KeyText, key: ApiKey) -> MadeKey {
        MadeKey {
            key: text.to_string(),
            info: key.into(),
        }
    }
}

impl From<ApiKey> for KeyInfo {
    fn from(key: ApiKey) -> KeyInfo {
        KeyInfo {
            id: key.id,
            name: key.name,
            scopes: key.scopes.iter().map(ToString::to_string).collect(),
            created_at: key.created_at.to_string(),
            created_by: key.created_by,
            revoked_at: key.revoked_at.map(|at| at.to_string()),
        }
    }
}

/// Every key, without its secret.
#[utoipa::path(get, path = "/api/admin/keys", tag = "admin", security(("key" = ["admin:read"])),
    responses((status = 200, description = "The keys.", body = KeyList)))]
pub(super) async fn list(
    _: May<AdminRead>,
    State(service): State<Service>,
) -> Result<Json<KeyList>, Problem> {
    let keys = keys::list(&*service.db).await?;
    let keys = keys.into_iter().map(KeyInfo::from).collect();
    Ok(Json(KeyList { keys }))
}

/// Makes a key and shows it, this one time. Nobody can grant what he may not do himself.
#[utoipa::path(post, path = "/api/admin/keys", tag = "admin", security(("key" = ["admin:write"])),
    request_body(content = NewKey, example = json!({"name": "dashboard", "scopes": ["admin:read"]})),
    responses(
        (status = 201, description = "The key.", body = MadeKey),
        (status = 422, description = "Name or scopes are none.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn create(
    caller: May<AdminWrite>,
    State(service): State<Service>,
    _: NoQuery,
    Strict(body): Strict<NewKey>,
) -> Result<(StatusCode, Json<MadeKey>), Problem> {
    let scopes = body.scopes.iter().map(|text| text.parse::<Scope>());
    let scopes = scopes
        .collect::<Result<Vec<Scope>, _>>()
        .map_err(|error| refused("invalid_scopes", error))?;
    for scope in &scopes {
        may_grant(&caller.0, scope)?;
    }
    let text = KeyText::draw(&*service.db).await?;
    let now = service.clock.now();
    let made = keys::create(&*service.db, &text, &body.name, scopes, &caller.0.by, now).await;
    let key = made.map_err(|error| match error {
        KeyError::Store(error) => error.into(),
        KeyError::Name(_) => refused("invalid_name", error),
        KeyError::Scopes | KeyError::Account(_) => refused("invalid_scopes", error),
    })?;
    Ok((StatusCode::CREATED, Json(MadeKey::new(&text, key))))
}

/// Who may change everything may read and act for every account; so a key for one account grants nothing more.
pub(in crate::http) fn may_grant(caller: &Caller, scope: &Scope) -> Result<(), Problem> {
    let is_account = matches!(scope, Scope::Account(_));
    if caller.may(scope) || is_account && caller.may(&Scope::AdminWrite) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "scope_not_held",
        format!("your key does not hold the scope {scope}, so it cannot grant it"),
    ))
}

/// Makes a key worthless, within seconds. A revoked key stays in the list.
#[utoipa::path(delete, path = "/api/admin/keys/{id}", tag = "admin", security(("key" = ["admin:write"])),
    params(("id" = String, Path, description = "Its id: the part between the first two underscores.", example = "0123456789ab")),
    responses(
        (status = 200, description = "The key, revoked.", body = KeyInfo),
        (status = 404, description = "There is no such key.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn revoke(
    caller: May<AdminWrite>,
    State(service): State<Service>,
    Named(id): Named<String>,
    _: NoQuery,
) -> Result<Json<KeyInfo>, Problem> {
    let unknown = || {
        missing(
            "unknown_key",
            "there is no such key; GET /api/admin/keys lists them",
        )
    };
    if check_id(&id).is_err() {
        return Err(unknown());
    }
    let revoked = keys::revoke(&*service.db, &id, &caller.0.by, service.clock.now()).await?;
    revoked.map(|key| Json(key.into())).ok_or_else(unknown)
}
