//! Badges: what an account has, and what is at a public address.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Queries, QueryError, as_text};
use crate::domain::badges::{Badge, BadgeId, Evidence};
use crate::domain::ids::Account;
use crate::domain::time::Millis;
use crate::store::badges::{self, Grant, SigningKey};

pub use crate::store::badges::{BadgeAddress, PublicKey};

/// A badge and that somebody has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadgeWithGrant {
    /// The badge, as the rules describe it now.
    pub badge: Badge,
    /// Who has it, and since when.
    pub grant: Grant,
}

/// A badge that an account has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BadgeLine {
    /// Its id.
    pub badge: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What must be reached.
    pub criterion: String,
    /// What earned it.
    pub evidence: String,
    /// When it was granted.
    #[serde(with = "as_text")]
    #[schema(value_type = String)]
    pub granted_at: Millis,
    /// The newest posting in the account's rows when these showed it, as `epoch:offset`; `null` if
    /// final months or referrals did.
    pub position: Option<String>,
    /// Where everybody who knows the address can see it, below the service's own address. It names
    /// no account.
    pub path: String,
    /// Where the picture is.
    pub picture: String,
    /// When it was taken back; `null`: it was not.
    pub revoked_at: Option<String>,
    /// Why.
    pub revoked_reason: Option<String>,
}

/// The badges of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BadgeList {
    /// User or provider.
    pub kind: &'static str,
    /// Who.
    pub id: String,
    /// The first one first; also those that were taken back.
    pub badges: Vec<BadgeLine>,
}

impl From<&BadgeWithGrant> for BadgeLine {
    fn from(shown: &BadgeWithGrant) -> BadgeLine {
        let BadgeWithGrant { badge, grant } = shown;
        let path = format!("/badges/{}", grant.address);
        let picture = match &badge.picture {
            crate::domain::badges::Picture::Url(url) => url.clone(),
            crate::domain::badges::Picture::Svg(_) => format!("{path}/picture"),
        };
        let revoked = grant.revoked.as_ref();
        BadgeLine {
            badge: badge.id.to_string(),
            name: badge.name.clone(),
            description: badge.description.clone(),
            criterion: badge.criterion.to_string(),
            evidence: words_of(&grant.evidence),
            granted_at: grant.granted_at,
            position: grant.position.map(|position| position.to_string()),
            path,
            picture,
            revoked_at: revoked.map(|revoked| revoked.at.to_string()),
            revoked_reason: revoked.map(|revoked| revoked.reason.clone()),
        }
    }
}

/// What earned a badge, in words.
pub fn words_of(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Streak { days: 1 } => "an active day".to_owned(),
        Evidence::Streak { days } => format!("a streak of {days} days"),
        Evidence::Success => "a successful request".to_owned(),
        Evidence::Milestones { count: 1 } => "a referral that reached its milestone".to_owned(),
        Evidence::Milestones { count } => {
            format!("{count} referrals that reached their milestones")
        }
        Evidence::MonthPoints { month, points } => format!("{points} points in {month}"),
        Evidence::LifePoints { month, points } => {
            format!("{points} points in all months up to {month}")
        }
        Evidence::Rank { month, rank } => format!("rank {rank} in {month}"),
    }
}

impl Queries {
    /// Every badge that an account was granted.
    pub async fn badges(&self, account: &Account) -> Result<BadgeList, QueryError> {
        let grants = badges::badges_of(self.db(), account).await?;
        let mut lines = Vec::with_capacity(grants.len());
        for grant in grants {
            if let Some(shown) = self.described(grant).await? {
                lines.push(BadgeLine::from(&shown));
            }
        }
        Ok(BadgeList {
            kind: account.kind.as_str(),
            id: account.id().to_owned(),
            badges: lines,
        })
    }

    /// A badge of an account; `None`: it was never granted it.
    pub async fn badge_of(
        &self,
        account: &Account,
        badge: &BadgeId,
    ) -> Result<Option<BadgeWithGrant>, QueryError> {
        match badges::badge_of(self.db(), account, badge).await? {
            Some(grant) => self.described(grant).await,
            None => Ok(None),
        }
    }

    /// The badge at a public address.
    pub async fn badge_at(
        &self,
        address: BadgeAddress,
    ) -> Result<Option<BadgeWithGrant>, QueryError> {
        match badges::at_address(self.db(), address).await? {
            Some(grant) => self.described(grant).await,
            None => Ok(None),
        }
    }

    /// What the rules say of a badge, also of one that is retired.
    pub async fn badge_named(&self, id: &BadgeId) -> Result<Option<Badge>, QueryError> {
        let rules = self.rules().await?;
        let badges = rules.as_ref().and_then(|rules| rules.badges());
        Ok(badges.and_then(|(_, badges)| badges.named(id).cloned()))
    }

    /// With what the rules say of it. They never lose a badge, unless their table was restored to a
    /// moment before it was published: then it cannot be described.
    async fn described(&self, grant: Grant) -> Result<Option<BadgeWithGrant>, QueryError> {
        let badge = self.badge_named(&grant.badge).await?;
        Ok(badge.map(|badge| BadgeWithGrant { badge, grant }))
    }

    /// Whether accounts are to be looked through for badges that were published since.
    pub async fn are_badges_due(&self) -> Result<bool, QueryError> {
        let rules = self.rules().await?;
        let badges = rules.as_ref().and_then(|rules| rules.badges());
        let Some((control, _)) = badges.filter(|(_, badges)| !badges.are_none_granted()) else {
            return Ok(false);
        };
        let swept = badges::swept(self.db()).await?;
        Ok(swept.is_none_or(|swept| swept.value.rules < control))
    }

    /// The id of the key by which credentials are signed; `None`: none was made yet.
    pub async fn badge_signing_key_id(&self) -> Result<Option<String>, QueryError> {
        Ok(badges::current_key_id(self.db()).await?)
    }

    /// Every public key by which credentials were ever signed, the newest first, also those that
    /// were withdrawn.
    pub async fn badge_keys(&self) -> Result<Vec<PublicKey>, QueryError> {
        Ok(badges::public_keys(self.db()).await?)
    }

    /// The key by which credentials are signed; made if there is none.
    pub async fn badge_signing_key(&self, now: Millis) -> Result<SigningKey, QueryError> {
        Ok(badges::current_key(self.db(), now).await?)
    }
}
