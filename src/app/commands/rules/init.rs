//! Publishing the values of a rules document that ships with tidemark.

use std::collections::BTreeMap;

use super::Version;
use crate::app::commands::Commands;
use crate::app::{CommandError, Refusal};
use crate::domain::rules::{Network, RulesDocument};
use crate::domain::time::Millis;
use crate::ops::random_name;
use crate::store::pricing::{self, NewValue, Publish};

/// What became of publishing a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initialised {
    /// The document's file name.
    pub file: &'static str,
    /// How many values were published.
    pub published: usize,
    /// From when on; values of keys that had none before: from the beginning.
    pub effective_from: Millis,
    /// Keys that have another value than in the document, and were left alone.
    pub kept: Vec<String>,
}

impl Commands {
    /// Publishes the values of a network's document for keys that have none; with `replace`, also
    /// for those that have another value.
    pub async fn init_rules(
        &self,
        network: Network,
        replace: bool,
        reason: &str,
        by: &str,
    ) -> Result<Initialised, CommandError> {
        let in_force = pricing::current(self.db(), self.now()).await?;
        self.init_onto(in_force, network, replace, reason, by).await
    }

    /// Publishes the testnet's rules if there are none at all; whether it did.
    pub async fn init_first_rules(&self, by: &str) -> Result<bool, CommandError> {
        let in_force = pricing::current(self.db(), self.now()).await?;
        if !in_force.is_empty() {
            return Ok(false);
        }
        self.init_onto(in_force, Network::Testnet, false, "first start", by)
            .await?;
        Ok(true)
    }

    async fn init_onto(
        &self,
        in_force: Vec<Version>,
        network: Network,
        replace: bool,
        reason: &str,
        by: &str,
    ) -> Result<Initialised, CommandError> {
        let (file, text) = network.document();
        let document = RulesDocument::parse_toml(file, text).map_err(Refusal::of_faults)?;
        let Differences {
            missing: mut values,
            otherwise: mut kept,
        } = differences(in_force, &document);
        if replace {
            values.append(&mut kept);
        }
        let (published, now) = (values.len(), self.now());
        if published > 0 {
            let publish = Publish {
                values,
                effective_from: now,
                by: by.to_owned(),
                reason: format!("{reason} ({file})"),
                now,
                token: random_name(),
            };
            pricing::publish(self.db(), &publish).await?;
        }
        Ok(Initialised {
            file,
            published,
            effective_from: now,
            kept: kept.into_iter().map(|value| value.key).collect(),
        })
    }
}

/// The values of a document that are not in force.
struct Differences {
    /// Their keys have no value.
    missing: Vec<NewValue>,
    /// Their keys have another value.
    otherwise: Vec<NewValue>,
}

fn differences(in_force: Vec<Version>, document: &RulesDocument) -> Differences {
    let in_force: BTreeMap<String, String> = in_force
        .into_iter()
        .map(|version| (version.key, version.value))
        .collect();
    let (missing, otherwise) = document
        .changes()
        .into_iter()
        .filter(|(key, value)| in_force.get(key) != Some(value))
        .map(|(key, value)| NewValue { key, value })
        .partition(|value| !in_force.contains_key(&value.key));
    Differences { missing, otherwise }
}
