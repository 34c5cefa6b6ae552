//! Badges that admins take back or give back, and the keys that sign credentials.

use super::Commands;
use crate::app::queries::{BadgeLine, BadgeWithGrant};
use crate::app::{CommandError, Refusal};
use crate::domain::badges::BadgeId;
use crate::domain::ids::Account;
use crate::domain::text::check_reason;
use crate::ops::random_name;
use crate::store::badges::{self, Decision, Withdrawal};

impl Commands {
    /// Takes a badge back or gives it back. What is as it shall be stays so.
    pub async fn decide_badge(
        &self,
        account: &Account,
        badge: &str,
        revoke: bool,
        reason: String,
        by: String,
    ) -> Result<BadgeLine, CommandError> {
        check_reason(&reason)?;
        let id = badge_id(badge)?;
        let decision = Decision {
            revoke,
            by,
            reason,
            now: self.now(),
            token: random_name(),
        };
        let grant = badges::decide(self.db(), account, &id, &decision).await?;
        let grant = grant.ok_or_else(|| not_granted(account, &id))?;
        let described = self.queries.badge_named(&id).await?;
        let badge = described.ok_or_else(|| unknown_badge(&id))?;
        Ok(BadgeLine::from(&BadgeWithGrant { badge, grant }))
    }

    /// Replaces the key that signs credentials; the id of the new one.
    pub async fn rotate_badge_key(&self, reason: &str, by: &str) -> Result<String, CommandError> {
        check_reason(reason)?;
        let key = badges::rotate_key(self.db(), by, reason, self.now()).await?;
        Ok(key.id)
    }

    /// Takes a key that was replaced out of those that are published: nothing that it signed can be
    /// verified any more. A key that is withdrawn already stays so.
    pub async fn withdraw_badge_key(
        &self,
        key: &str,
        reason: &str,
        by: &str,
    ) -> Result<(), CommandError> {
        check_reason(reason)?;
        match badges::withdraw_key(self.db(), key, by, reason, self.now()).await? {
            Withdrawal::Done(_) => Ok(()),
            Withdrawal::Unknown => {
                let what = "there is no such key; `tidemark badges keys` lists the keys";
                Err(Refusal::not_found("unknown_key", what).into())
            }
            Withdrawal::Signs => {
                let what = "this key signs credentials; replace it first (`tidemark badges rotate-key`), \
                            then withdraw it";
                Err(Refusal::conflict("key_signs", what).into())
            }
        }
    }
}

/// The id of a badge, as it was given.
pub fn badge_id(text: &str) -> Result<BadgeId, Refusal> {
    text.parse()
        .map_err(|error| Refusal::not_found("unknown_badge", error))
}

/// That there is no such badge.
pub fn unknown_badge(id: &BadgeId) -> Refusal {
    let what = format!("there is no badge {id}; rules.badges lists the badges");
    Refusal::not_found("unknown_badge", what)
}

/// That an account does not have a badge.
pub fn not_granted(account: &Account, id: &BadgeId) -> Refusal {
    let what = format!("{account} was never granted the badge {id}");
    Refusal::not_found("badge_not_granted", what)
}
