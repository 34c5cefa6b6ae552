//! Publishing new values of prices and rules: checked as a whole, compared with what is in force,
//! and written unless it is a dry run.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Commands;
use crate::app::differences::{Difference, differences};
use crate::app::queries::{PriceVersion, json_of, to_come};
use crate::app::{CommandError, Refusal};
use crate::domain::amount::Money;
use crate::domain::ids::check_id;
use crate::domain::rules::{PriceKey, RuleFault, Rules, SettingKey, check_value};
use crate::domain::text::check_reason;
use crate::domain::time::Millis;
use crate::ops::random_name;
use crate::store::db::StoreError;
use crate::store::pricing::{self, NewValue, Preview, Publish, PublishError};

mod confirm;
mod difference;
mod import;
mod init;

pub use crate::store::pricing::{Seen, Version};
pub use confirm::{ChangePreview, Confirmation, Confirmed, ShownChange};
pub use difference::Example;
pub use import::PriceImport;
pub use init::Initialised;

use difference::examples;

/// Why, where a caller does not say.
const REASON_DEFAULT: &str = "not given";

/// New values, from when on, and why.
#[derive(Clone, Debug)]
pub struct RulesUpdate {
    /// Keys and their values as JSON text.
    pub values: Vec<(String, String)>,
    /// From when on; `None`: now.
    pub effective_from: Option<Millis>,
    /// Why.
    pub reason: String,
    /// Who made it, in the caller's words; the audit trail names the caller itself as well.
    pub note: Option<String>,
    /// Who makes it.
    pub by: String,
    /// Whether to write.
    pub mode: Mode,
}

/// Whether to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Check, compare, write.
    Write,
    /// Check and compare.
    DryRun,
}

/// What was published, or would be.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// Whether nothing was written because it was a dry run.
    pub dry_run: bool,
    /// The entry of the control feed that published it; absent if nothing was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<u64>,
    /// From when on, in event time. The first version of a key that rules must have has no
    /// beginning, whatever this says.
    #[serde(serialize_with = "crate::app::queries::text")]
    #[schema(value_type = String)]
    pub effective_from: Millis,
    /// What is in force then without it, and with it.
    #[serde(skip)]
    pub rules: [Option<Arc<Rules>>; 2],
    /// What is new, by key.
    pub changes: Vec<KeyChange>,
    /// Keys whose value is in force then anyway; nothing is written for them.
    pub unchanged: Vec<String>,
    /// What comes out differently for single requests, once this is in force.
    pub examples: Vec<Example>,
}

/// The new value of one key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyChange {
    /// The key.
    pub key: String,
    /// The version that is replaced; absent: this is the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<u32>,
    /// The value.
    pub value: Value,
    /// Where it differs from the version that is replaced; at most 200 places.
    pub differences: Vec<Difference>,
    /// How many places beyond those differ.
    #[serde(skip_serializing_if = "is_zero")]
    pub further_differences: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A version of a price or of the switch, and what is to come for its key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PriceAnswer {
    /// The version that is in force from then on.
    #[serde(flatten)]
    pub version: PriceVersion,
    /// Versions of this key that are to come, this one included if it is one of them; soonest
    /// first. To call one back, publish what shall hold in its place with the same `effectiveFrom`.
    pub pending: Vec<PriceVersion>,
}

/// When, why and by whom one price or the switch is changed.
#[derive(Clone, Debug)]
pub struct PriceUpdate {
    /// From when on; `None`: now.
    pub effective_from: Option<Millis>,
    /// Why, if it is said.
    pub reason: Option<String>,
    /// Who made it, in the caller's words.
    pub note: Option<String>,
    /// Who makes it.
    pub by: String,
}

impl Commands {
    /// Checks everything, compares it with what is in force, and publishes what differs. Repeating
    /// it is safe.
    pub async fn publish_rules(&self, update: RulesUpdate) -> Result<Published, CommandError> {
        Ok(self.publish(update, None).await?)
    }

    async fn publish(
        &self,
        update: RulesUpdate,
        confirmation: Option<&Confirmation>,
    ) -> Result<Published, UpdateError> {
        check_reason(&update.reason).map_err(PublishError::Reason)?;
        if let Some(note) = &update.note {
            let refuse = |error| Refusal::invalid("invalid_updated_by", error);
            check_id(note).map_err(refuse)?;
        }
        let now = self.now();
        let token = confirmation.map(|confirmation| confirmation.token.clone());
        let mut publish = Publish {
            values: checked(update.values).map_err(PublishError::Faults)?,
            effective_from: update.effective_from.unwrap_or(now),
            by: update.by,
            reason: update.reason,
            now,
            token: token.unwrap_or_else(random_name),
        };
        let Preview { before, rules } = pricing::preview(self.db(), &publish).await?;
        publish.effective_from = publish.begins();
        let mut unchanged = Vec::new();
        let mut changes = Vec::new();
        let values = std::mem::take(&mut publish.values);
        for (new, before) in values.into_iter().zip(before) {
            // A value that is in force at that moment anyway changes nothing by beginning then.
            if before.as_ref().is_some_and(|old| old.value == new.value) {
                unchanged.push(new.key);
                continue;
            }
            changes.push(key_change(&new, before));
            publish.values.push(new);
        }
        let control = match update.mode {
            Mode::Write if !publish.values.is_empty() => {
                let (db, note) = (self.db(), update.note.as_deref());
                let written = match confirmation {
                    Some(confirmation) => {
                        pricing::publish_onto(db, &publish, confirmation.seen).await?
                    }
                    None => pricing::publish_noted(db, &publish, note).await?,
                };
                Some(written.0)
            }
            _ => None,
        };
        Ok(Published {
            dry_run: update.mode == Mode::DryRun,
            control,
            effective_from: publish.effective_from,
            changes,
            unchanged,
            examples: examples(rules[0].as_deref(), rules[1].as_deref()),
            rules,
        })
    }

    /// Sets a price. A price that is in force then anyway is answered with the version that says
    /// so, and nothing is written.
    pub async fn set_price(
        &self,
        key: &str,
        price_per_unit: Money,
        unit: &str,
        update: PriceUpdate,
    ) -> Result<PriceAnswer, CommandError> {
        if !PriceKey::NAMES.contains(&key) {
            let names = PriceKey::NAMES.join(", ");
            return Err(Refusal::of_faults(vec![RuleFault::new(key, "is no price", names)]).into());
        }
        let value = json!({"pricePerUnit": price_per_unit.to_string(), "unit": unit});
        self.publish_one(key, &value, update).await
    }

    /// Switches between testnet (nothing is charged) and mainnet.
    pub async fn switch_network(
        &self,
        is_mainnet: bool,
        update: PriceUpdate,
    ) -> Result<PriceAnswer, CommandError> {
        let value = Value::Bool(is_mainnet);
        let key = SettingKey::Mainnet.name();
        self.publish_one(key, &value, update).await
    }

    /// Publishes one value, and says which version is in force then.
    async fn publish_one(
        &self,
        key: &str,
        value: &Value,
        update: PriceUpdate,
    ) -> Result<PriceAnswer, CommandError> {
        let published = self.publish_rules(RulesUpdate {
            values: vec![(key.to_owned(), value.to_string())],
            effective_from: update.effective_from,
            reason: update.reason.unwrap_or_else(|| REASON_DEFAULT.to_owned()),
            note: update.note,
            by: update.by,
            mode: Mode::Write,
        });
        let published = published.await?;
        let versions = pricing::history(self.db(), key).await?;
        let pending = to_come(&versions, self.now()).cloned();
        let pending = pending.map(PriceVersion::from).collect();
        let version = match published.control {
            Some(control) => versions.into_iter().find(|v| v.control.0 == control),
            // Nothing was written: the value is in force then anyway.
            None => pricing::in_force_at(&versions, published.effective_from).cloned(),
        };
        let missing = || StoreError::Corrupt {
            key: key.to_owned(),
            what: "a published version is missing".to_owned(),
        };
        Ok(PriceAnswer {
            version: version.ok_or_else(missing)?.into(),
            pending,
        })
    }
}

/// Why nothing was published, before it is put into the words of a front end.
enum UpdateError {
    Publish(PublishError),
    Refused(Refusal),
}

impl From<PublishError> for UpdateError {
    fn from(error: PublishError) -> UpdateError {
        UpdateError::Publish(error)
    }
}

impl From<Refusal> for UpdateError {
    fn from(refusal: Refusal) -> UpdateError {
        UpdateError::Refused(refusal)
    }
}

impl From<UpdateError> for CommandError {
    fn from(error: UpdateError) -> CommandError {
        match error {
            UpdateError::Publish(error) => error.into(),
            UpdateError::Refused(refusal) => refusal.into(),
        }
    }
}

/// Every value in its canonical form; or every fault of all of them.
fn checked(values: Vec<(String, String)>) -> Result<Vec<NewValue>, Vec<RuleFault>> {
    let mut faults = Vec::new();
    let mut good = Vec::new();
    for (key, value) in values {
        match check_value(&key, &value) {
            Ok(value) => good.push(NewValue { key, value }),
            Err(found) => faults.extend(found),
        }
    }
    match faults.is_empty() {
        true => Ok(good),
        false => Err(faults),
    }
}

fn key_change(new: &NewValue, before: Option<Version>) -> KeyChange {
    let value = json_of(&new.value);
    let old = before.as_ref().map(|version| json_of(&version.value));
    let (differences, further_differences) =
        differences(&new.key, &old.unwrap_or_default(), &value);
    KeyChange {
        key: new.key.clone(),
        replaces: before.map(|version| version.version),
        value,
        differences,
        further_differences,
    }
}
