//! API keys, without their secrets.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Queries, QueryError, optional_text, text};
use crate::domain::access::Scope;
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

impl Queries {
    /// Every key, revoked ones too, oldest first.
    pub async fn keys(&self) -> Result<Vec<KeyInfo>, QueryError> {
        let keys = keys::list(self.db()).await?;
        Ok(keys.into_iter().map(KeyInfo::from).collect())
    }
}
