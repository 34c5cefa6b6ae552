//! The rows of PricingConfig.

use super::super::db::{Condition, Item, Key, StoreError, Table, Write};
use super::super::row::{Fields, Row};
use crate::domain::position::Control;
use crate::domain::rules::RuleChange;
use crate::domain::time::Millis;

/// One version of one price or rule set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Which: `tide_pool_input`, `rules.streak`, …
    pub key: String,
    /// 1, 2, 3, … of this key.
    pub version: u32,
    /// The entry of the control feed that published it.
    pub control: Control,
    /// From when on, in event time; `None` for the first version of a required key, which has no
    /// beginning.
    pub effective_from: Option<Millis>,
    /// The value, as JSON text.
    pub value: String,
    /// Who published it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub written_at: Millis,
    pub(in crate::store) publication: Publication,
}

/// What a version row says about the publication that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Publication {
    /// The publication before it; 0 for the first.
    pub(in crate::store) previous: Control,
    /// How many versions it holds.
    pub(in crate::store) count: usize,
    /// This version's place among them, from 0.
    pub(in crate::store) index: usize,
}

impl Version {
    pub(in crate::store) fn change(&self) -> RuleChange {
        RuleChange {
            key: self.key.clone(),
            value: self.value.clone(),
            effective_from: self.effective_from,
        }
    }
}

pub(in crate::store) fn version_key(key: &str, version: u32) -> Key {
    Key::new(Table::PricingConfig, key, format!("{version:010}"))
}

pub(in crate::store) fn put_version(version: &Version, condition: Condition) -> Write {
    let fields = Fields::of(&version_key(&version.key, version.version))
        .number("control", version.control.0)
        .number("previous", version.publication.previous.0)
        .number("count", version.publication.count as u64)
        .number("index", version.publication.index as u64)
        .number_opt("effectiveFrom", version.effective_from.map(|at| at.0))
        .text("value", &version.value)
        .text("updatedBy", &version.by)
        .text("reason", &version.reason)
        .number("writtenAt", version.written_at.0);
    Write::Put {
        table: Table::PricingConfig,
        item: fields.item(),
        condition,
    }
}

pub(in crate::store) fn read_version(item: &Item) -> Result<Version, StoreError> {
    let unknown = Row::new(Key::new(Table::PricingConfig, "?", "?"), item);
    let (key, version) = (unknown.text("configKey")?, unknown.parsed("version")?);
    let row = Row::new(version_key(key, version), item);
    Ok(Version {
        key: key.to_owned(),
        version,
        control: Control(row.number("control")?),
        effective_from: row.number_opt("effectiveFrom")?.map(Millis),
        value: row.text("value")?.to_owned(),
        by: row.text("updatedBy")?.to_owned(),
        reason: row.text("reason")?.to_owned(),
        written_at: Millis(row.number("writtenAt")?),
        publication: Publication {
            previous: Control(row.number("previous")?),
            count: row.number("count")?,
            index: row.number("index")?,
        },
    })
}
