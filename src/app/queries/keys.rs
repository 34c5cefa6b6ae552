//! API keys, without their secrets.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Queries, QueryError, optional_text, text};
use crate::domain::access::Scope;
use crate::domain::ids::check_id;
use crate::domain::time::Millis;
use crate::store::keys::{self, ApiKey};

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyInfo {
    /// Its public part.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it allows.
    #[serde(serialize_with = "scope_names")]
    #[schema(value_type = Vec<String>)]
    pub scopes: Vec<Scope>,
    /// When it was made.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub created_at: Millis,
    /// Who made it.
    pub created_by: String,
    /// When it was revoked; absent if it was not.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional_text"
    )]
    #[schema(value_type = Option<String>)]
    pub revoked_at: Option<Millis>,
}

fn scope_names<S: serde::Serializer>(scopes: &[Scope], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(scopes.iter().map(ToString::to_string))
}

impl From<ApiKey> for KeyInfo {
    fn from(key: ApiKey) -> KeyInfo {
        KeyInfo {
            id: key.id,
            name: key.name,
            scopes: key.scopes,
            created_at: key.created_at,
            created_by: key.created_by,
            revoked_at: key.revoked_at,
        }
    }
}

/// Most keys that are read to search among them.
pub const KEYS_LOOKED_MAX: u32 = 5_000;

/// Some keys.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyPage {
    /// Revoked ones too; those of a page oldest first.
    pub keys: Vec<KeyInfo>,
    /// Give it as `after` for those that follow; absent if there are none. Pages go by id, not by
    /// age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Queries {
    /// At most `limit` keys, those whose ids follow `after`.
    pub async fn key_page(&self, after: Option<&str>, limit: u32) -> Result<KeyPage, QueryError> {
        let page = keys::page(self.db(), after, limit).await?;
        Ok(KeyPage {
            keys: page.keys.into_iter().map(KeyInfo::from).collect(),
            next: page.next,
        })
    }

    /// The keys to search in, oldest first: all of them, or the first [`KEYS_LOOKED_MAX`] by id, if
    /// the page has a `next`.
    pub async fn keys(&self) -> Result<KeyPage, QueryError> {
        self.key_page(None, KEYS_LOOKED_MAX).await
    }

    /// The key of this id.
    pub async fn key(&self, id: &str) -> Result<Option<KeyInfo>, QueryError> {
        if check_id(id).is_err() {
            return Ok(None);
        }
        let key = keys::get(self.db(), id).await?;
        Ok(key.map(KeyInfo::from))
    }
}
