//! Making and revoking API keys.

use serde::Serialize;
use utoipa::ToSchema;

use super::Commands;
use crate::app::queries::KeyInfo;
use crate::app::{CommandError, Refusal, RefusalKind};
use crate::domain::access::Scope;
use crate::domain::ids::check_id;
use crate::store::keys::{self, ID_CHARS, KeyText};

/// A key that was just made.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MadeKey {
    /// The key itself. It is shown this one time.
    pub key: String,
    /// What it is.
    #[serde(flatten)]
    pub info: KeyInfo,
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// Names the wish for it, if it may be sent again: one key is made, and a repeat is refused with
    /// that key's id.
    pub once: Option<String>,
    /// Who makes it.
    pub by: String,
}

/// Whether somebody who holds these scopes may pass `wanted` on. Who may change everything may read
/// and act for every account, so a key for one account grants nothing more.
pub fn may_grant(held: &[Scope], wanted: &Scope) -> Result<(), Refusal> {
    let covers = |needed: &Scope| held.iter().any(|scope| scope.covers(needed));
    let is_account = matches!(wanted, Scope::Account(_));
    if covers(wanted) || is_account && covers(&Scope::AdminWrite) {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalKind::Forbidden,
        "scope_not_held",
        format!("your key does not hold the scope {wanted}, so it cannot grant it"),
    ))
}

impl Commands {
    /// Makes a key. Its text is in the answer and nowhere else.
    pub async fn create_key(&self, new: NewKey) -> Result<MadeKey, CommandError> {
        let text = KeyText::draw(self.db(), new.once.as_deref()).await?;
        let (name, by) = (&new.name, &new.by);
        let key = keys::create(self.db(), &text, name, new.scopes, by, self.now()).await?;
        Ok(MadeKey {
            key: text.to_string(),
            info: key.into(),
        })
    }

    /// Revokes a key, named by its id or by its whole text. A revoked key stays in the list.
    pub async fn revoke_key(&self, named: &str, by: &str) -> Result<KeyInfo, CommandError> {
        // Whoever pastes the whole key means its id; the secret is neither compared nor repeated.
        let pasted = named.parse::<KeyText>().ok();
        let id = pasted.as_ref().map_or(named, KeyText::id);
        let unknown = || {
            // What is longer than an id may hold a secret, and is not repeated.
            let named = if id.len() > ID_CHARS {
                "of this id"
            } else {
                id
            };
            let detail = format!(
                "there is no key {named}; GET /api/admin/keys and `tidemark keys list` list them"
            );
            Refusal::not_found("unknown_key", detail)
        };
        check_id(id).map_err(|_| unknown())?;
        let revoked = keys::revoke(self.db(), id, by, self.now()).await?;
        Ok(revoked.ok_or_else(unknown)?.into())
    }

    /// Whether this text is a key of this store that has not been revoked.
    pub async fn is_good_key(&self, text: &str) -> Result<bool, CommandError> {
        let Ok(text) = text.parse::<KeyText>() else {
            return Ok(false);
        };
        let key = keys::get(self.db(), text.id()).await?;
        Ok(key.is_some_and(|key| key.is(&text)))
    }
}
