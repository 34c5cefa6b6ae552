//! A change of one key that somebody was shown first, and that is published only if what was shown
//! still holds.

use super::{Mode, Published, RulesUpdate, UpdateError};
use crate::app::CommandError;
use crate::app::commands::Commands;
use crate::app::queries::{ChangedValue, WhatIf};
use crate::domain::rules::{SettingKey, check_value};
use crate::domain::time::Millis;
use crate::ops::random_name;
use crate::store::pricing::{self, PublishError, Seen, Version};

/// What a confirmed change follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// What was shown of the key.
    pub seen: Seen,
    /// Names the publication, once and for all: sent twice, it is one.
    pub token: String,
}

impl Confirmation {
    /// For a change of what these versions of a key say now.
    pub fn of(versions: &[Version], now: Millis) -> Confirmation {
        Confirmation {
            seen: Seen::of(versions, now),
            token: random_name(),
        }
    }
}

/// A change of one key.
#[derive(Clone, Debug)]
pub struct ShownChange {
    /// The key.
    pub key: String,
    /// The value, as JSON text.
    pub value: String,
    /// From when on; `None`: now.
    pub effective_from: Option<Millis>,
    /// Why.
    pub reason: String,
    /// Who makes it.
    pub by: String,
}

/// What a change would do.
#[derive(Debug)]
pub struct ChangePreview {
    /// What it would publish.
    pub published: Published,
    /// What past usage would have come to; `None` while the rules are not complete.
    pub what_if: Option<WhatIf>,
}

/// What became of a confirmed change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// It is published, as this version.
    Published(u32),
    /// It was published before, as this version: the confirmation came twice.
    Before(u32),
    /// The value is in force then already.
    Unchanged,
    /// What was shown does not hold any more.
    Changed,
}

impl ShownChange {
    fn update(self, mode: Mode) -> RulesUpdate {
        RulesUpdate {
            values: vec![(self.key, self.value)],
            effective_from: self.effective_from,
            reason: self.reason,
            note: None,
            by: self.by,
            mode,
        }
    }
}

impl Commands {
    /// What there is to see of a key now. To be asked before a change of it is shown: what is
    /// published in between makes [`Commands::publish_confirmed`] refuse.
    pub async fn confirmation_of(&self, key: &str) -> Result<Confirmation, CommandError> {
        let versions = match SettingKey::named(key) {
            Some(key) => pricing::history(self.db(), key.name()).await?,
            // It is refused when the change is checked.
            None => Vec::new(),
        };
        Ok(Confirmation::of(&versions, self.now()))
    }

    /// Publishes an update of one key, if what was shown of the key still holds; otherwise it is
    /// refused as `changed_meanwhile`.
    pub async fn publish_confirmed(
        &self,
        update: RulesUpdate,
        confirmation: &Confirmation,
    ) -> Result<Published, CommandError> {
        Ok(self.publish(update, Some(confirmation)).await?)
    }

    /// Checks a change, and says what it would do.
    pub async fn preview_change(&self, change: ShownChange) -> Result<ChangePreview, CommandError> {
        let (key, value) = (change.key.clone(), change.value.clone());
        let published = self.publish_rules(change.update(Mode::DryRun)).await?;
        let what_if = match &published.rules {
            [Some(before), Some(after)] => {
                let change = ChangedValue {
                    key: &key,
                    value: &value,
                    before,
                    after,
                };
                Some(self.queries.what_if(change, self.now()).await?)
            }
            _ => None,
        };
        Ok(ChangePreview { published, what_if })
    }

    /// Whether a change was published before under this confirmation; as which version.
    ///
    /// To be asked before the change is checked: a confirmation that comes again may name a moment
    /// that has passed by now.
    pub async fn confirmed_before(
        &self,
        key: &str,
        value: &str,
        confirmation: &Confirmation,
    ) -> Result<Option<u32>, CommandError> {
        let Confirmation { seen, token } = confirmation;
        let before = pricing::published_under(self.db(), key, *seen, token).await?;
        let is_same =
            |before: &Version| check_value(key, value).is_ok_and(|value| value == before.value);
        Ok(before.filter(is_same).map(|before| before.version))
    }

    /// Publishes a change, if what was shown still holds.
    pub async fn confirm_change(
        &self,
        change: ShownChange,
        confirmation: &Confirmation,
    ) -> Result<Confirmed, CommandError> {
        let key = change.key.clone();
        let update = change.update(Mode::Write);
        let control = match self.publish(update, Some(confirmation)).await {
            Ok(published) => published.control,
            Err(UpdateError::Publish(PublishError::Changed { .. })) => {
                return Ok(Confirmed::Changed);
            }
            Err(error) => return Err(error.into()),
        };
        let Some(control) = control else {
            return Ok(Confirmed::Unchanged);
        };
        let versions = pricing::history(self.db(), &key).await?;
        let version = versions.iter().find(|version| version.control.0 == control);
        Ok(Confirmed::Published(
            version.map_or(0, |version| version.version),
        ))
    }
}
