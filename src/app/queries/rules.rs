//! Prices and rules: what is in force, every version, and what is to come.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Queries, QueryError, optional_text, text};
use crate::app::Refusal;
use crate::domain::amount::Money;
use crate::domain::rules::{SettingKey, Unit};
use crate::domain::time::Millis;
use crate::store::control;
use crate::store::pricing::{self};

pub use crate::store::pricing::{Version, in_force_at};

/// A version of a key.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleVersion {
    /// The key.
    pub key: String,
    /// 1, 2, 3, … of this key.
    pub version: u32,
    /// The entry of the control feed that published it.
    pub control: u64,
    /// From when on, in event time; null: from the beginning.
    #[serde(serialize_with = "optional_text")]
    #[schema(value_type = Option<String>)]
    pub effective_from: Option<Millis>,
    /// The value.
    pub value: Value,
    /// Who published it.
    pub updated_by: String,
    /// Why.
    pub reason: String,
    /// When it was written.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub updated_at: Millis,
}

impl From<Version> for RuleVersion {
    fn from(version: Version) -> RuleVersion {
        RuleVersion {
            value: json_of(&version.value),
            key: version.key,
            version: version.version,
            control: version.control.0,
            effective_from: version.effective_from,
            updated_by: version.by,
            reason: version.reason,
            updated_at: version.written_at,
        }
    }
}

/// A version of a price, or of the switch.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PriceVersion {
    /// Which.
    pub config_key: String,
    /// US dollars for one unit.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional_text"
    )]
    #[schema(value_type = Option<String>)]
    pub price_per_unit: Option<Money>,
    /// What it pays for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<&'static str>,
    /// Of `system_mainnet`: whether usage is charged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_mainnet: Option<bool>,
    /// 1, 2, 3, … of this key.
    pub version: u32,
    /// The entry of the control feed that published it.
    pub control: u64,
    /// From when on, in event time; null: from the beginning.
    #[serde(serialize_with = "optional_text")]
    #[schema(value_type = Option<String>)]
    pub effective_from: Option<Millis>,
    /// Who published it.
    pub updated_by: String,
    /// When.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub updated_at: Millis,
    /// Why.
    pub reason: String,
}

impl From<Version> for PriceVersion {
    fn from(version: Version) -> PriceVersion {
        let price = price_of(&version);
        PriceVersion {
            price_per_unit: price.map(|price| price.per_unit),
            unit: price.map(|price| price.unit.as_str()),
            is_mainnet: is_mainnet_of(&version),
            config_key: version.key,
            version: version.version,
            control: version.control.0,
            effective_from: version.effective_from,
            updated_by: version.by,
            updated_at: version.written_at,
            reason: version.reason,
        }
    }
}

/// The rules that are in force.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleList {
    /// The newest entry of the control feed: what is appended from now on is rated with all that it
    /// knows.
    pub control: u64,
    /// The version of each key that is in force now.
    pub rules: Vec<RuleVersion>,
}

/// The prices that are in force.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pricing {
    /// Whether usage is charged; null: nothing was published yet.
    pub is_mainnet: Option<bool>,
    /// Prices; charged on mainnet, and noted as what it would have cost on testnet.
    pub prices: Vec<PriceVersion>,
    /// Prices and switches that are to come, soonest first; of several that begin at one moment the
    /// one that will hold.
    pub pending: Vec<PriceVersion>,
    /// Every version of every price and of the switch, in the order in which they were published,
    /// those that begin later included; only with `history=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<PriceVersion>>,
}

/// What one unit costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// US dollars.
    pub per_unit: Money,
    /// What it pays for.
    pub unit: Unit,
}

/// The price that a version says, if it is one of a price.
pub fn price_of(version: &Version) -> Option<Price> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Stored {
        price_per_unit: String,
    }
    let Some(SettingKey::Price(key)) = SettingKey::named(&version.key) else {
        return None;
    };
    let stored: Stored = serde_json::from_str(&version.value).ok()?;
    Some(Price {
        per_unit: stored.price_per_unit.parse().ok()?,
        unit: key.unit(),
    })
}

/// What a version of the network's switch says: whether usage is charged.
pub fn is_mainnet_of(version: &Version) -> Option<bool> {
    match is_switch(version) {
        true => serde_json::from_str(&version.value).ok(),
        false => None,
    }
}

fn is_price(version: &Version) -> bool {
    matches!(SettingKey::named(&version.key), Some(SettingKey::Price(_)))
}

fn is_switch(version: &Version) -> bool {
    version.key == SettingKey::Mainnet.name()
}

/// The JSON of a stored value.
pub fn json_of(value: &str) -> Value {
    // Canonical JSON, or it would not have been published.
    serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()))
}

/// The versions that begin later than now, soonest first. Of several of one key that begin at one
/// moment only the newest, which will hold. `versions` in the order in which they were published.
pub fn to_come(versions: &[Version], now: Millis) -> impl Iterator<Item = &Version> {
    let mut pending = BTreeMap::new();
    for version in versions {
        if let Some(at) = version.effective_from.filter(|at| *at > now) {
            pending.insert((at, &version.key), version);
        }
    }
    pending.into_values()
}

impl Queries {
    /// The versions that are in force now, in the order of [`SettingKey::all`].
    pub async fn rules_in_force(&self, now: Millis) -> Result<Vec<Version>, QueryError> {
        let mut versions = pricing::current(self.db(), now).await?;
        let place = |name: &str| SettingKey::all().position(|key| key.name() == name);
        versions.sort_by_key(|version| place(&version.key));
        Ok(versions)
    }

    /// The same, with the newest entry of the control feed.
    pub async fn rule_list(&self, now: Millis) -> Result<RuleList, QueryError> {
        // Before the versions: they may only be newer.
        let control = control::head(self.db()).await?.0;
        let rules = self.rules_in_force(now).await?;
        let rules = rules.into_iter().map(RuleVersion::from).collect();
        Ok(RuleList { control, rules })
    }

    /// Every version of one key, oldest first.
    pub async fn rule_history(&self, key: &str) -> Result<Vec<Version>, QueryError> {
        Ok(pricing::history(self.db(), key).await?)
    }

    /// What is to come, of every key; soonest first.
    pub async fn pending_rules(&self, now: Millis) -> Result<Vec<Version>, QueryError> {
        let all = pricing::all(self.db()).await?;
        Ok(to_come(&all, now).cloned().collect())
    }

    /// Prices and the switch between testnet and mainnet.
    pub async fn pricing(&self, now: Millis, with_history: bool) -> Result<Pricing, QueryError> {
        let current = self.rules_in_force(now).await?;
        let is_mainnet = current.iter().find_map(is_mainnet_of);
        let prices = current.into_iter().filter(is_price).map(PriceVersion::from);
        let mut all = pricing::all(self.db()).await?;
        all.retain(|version| is_price(version) || is_switch(version));
        let pending = to_come(&all, now).cloned().map(PriceVersion::from);
        Ok(Pricing {
            is_mainnet,
            prices: prices.collect(),
            pending: pending.collect(),
            history: with_history.then(|| all.into_iter().map(PriceVersion::from).collect()),
        })
    }
}

/// The key of this name.
pub fn known_rule(name: &str) -> Result<SettingKey, Refusal> {
    SettingKey::named(name).ok_or_else(|| {
        let names: Vec<&str> = SettingKey::all().map(SettingKey::name).collect();
        let detail = format!("there is no such key; keys are {}", names.join(", "));
        Refusal::not_found("unknown_rule", detail)
    })
}
