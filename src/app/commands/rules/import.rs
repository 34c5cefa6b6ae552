//! Prices of single models from a list, on top of those that are in force.

use std::collections::{BTreeMap, BTreeSet};

use globset::{Glob, GlobMatcher};

use super::{Confirmation, Mode, Published, RulesUpdate};
use crate::app::commands::Commands;
use crate::app::queries::to_come;
use crate::app::{CommandError, Refusal};
use crate::domain::rules::{ModelPrice, SettingKey, model_prices};
use crate::domain::time::Millis;
use crate::store::pricing;

/// What an import changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceImport {
    /// All prices as they would be.
    pub prices: Vec<ModelPrice>,
    /// Models that have none yet.
    pub added: Vec<ModelPrice>,
    /// Before and after.
    pub changed: Vec<(ModelPrice, ModelPrice)>,
    /// How many have the imported price already.
    pub unchanged: usize,
    /// How many have prices that the import does not name; they are kept.
    pub kept: usize,
    /// Imported models that an earlier pattern matches, with that pattern: their prices would not
    /// count.
    pub hidden: Vec<(String, String)>,
    /// A version of the prices that is to begin later, and will replace the import.
    pub replaced_from: Option<Millis>,
    /// What it was planned on.
    confirmation: Confirmation,
}

impl Commands {
    /// What an import of these prices would change now.
    pub async fn plan_price_import(
        &self,
        imported: &[ModelPrice],
    ) -> Result<PriceImport, CommandError> {
        let key = SettingKey::ModelPrices.name();
        let (versions, now) = (pricing::history(self.db(), key).await?, self.now());
        let known = match pricing::in_force_at(&versions, now) {
            Some(version) => model_prices(&version.value).map_err(Refusal::of_faults)?,
            None => Vec::new(),
        };
        Ok(PriceImport {
            replaced_from: to_come(&versions, now)
                .filter_map(|version| version.effective_from)
                .min(),
            ..PriceImport::of(&known, imported, Confirmation::of(&versions, now))
        })
    }

    /// Publishes an import as one version, unless the prices were changed since it was planned;
    /// with [`Mode::DryRun`] it only checks.
    pub async fn publish_price_import(
        &self,
        import: &PriceImport,
        reason: String,
        by: String,
        mode: Mode,
    ) -> Result<Published, CommandError> {
        let prices =
            serde_json::to_string(&import.prices).expect("texts and amounts always serialise");
        let update = RulesUpdate {
            values: vec![(SettingKey::ModelPrices.name().to_owned(), prices)],
            effective_from: None,
            reason,
            note: None,
            by,
            mode,
        };
        Ok(self.publish(update, Some(&import.confirmation)).await?)
    }
}

impl PriceImport {
    /// Prices that are known keep their places, for the first that matches counts; new ones come
    /// behind.
    fn of(
        known: &[ModelPrice],
        imported: &[ModelPrice],
        confirmation: Confirmation,
    ) -> PriceImport {
        let by_name: BTreeMap<&str, &ModelPrice> =
            imported.iter().map(|price| (price.name(), price)).collect();
        let names: BTreeSet<&str> = known.iter().map(ModelPrice::name).collect();
        let (mut prices, mut changed, mut unchanged) = (Vec::new(), Vec::new(), 0);
        for before in known {
            match by_name.get(before.name()) {
                Some(after) if *after != before => {
                    changed.push((before.clone(), (*after).clone()));
                    prices.push((*after).clone());
                }
                Some(_) => {
                    unchanged += 1;
                    prices.push(before.clone());
                }
                None => prices.push(before.clone()),
            }
        }
        let is_new = |price: &&ModelPrice| !names.contains(price.name());
        let added: Vec<ModelPrice> = imported.iter().filter(is_new).cloned().collect();
        prices.extend(added.iter().cloned());
        PriceImport {
            hidden: hidden(&prices, &by_name),
            kept: known.len() - changed.len() - unchanged,
            prices,
            added,
            changed,
            unchanged,
            replaced_from: None,
            confirmation,
        }
    }

    /// Whether every price of it is in force already.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty()
    }
}

fn hidden(prices: &[ModelPrice], imported: &BTreeMap<&str, &ModelPrice>) -> Vec<(String, String)> {
    let mut patterns: Vec<(GlobMatcher, &str)> = Vec::new();
    let mut hidden = Vec::new();
    for price in prices {
        let name = price.name();
        if price.is_pattern() {
            let glob = Glob::new(name).ok();
            patterns.extend(glob.map(|glob| (glob.compile_matcher(), name)));
        } else if imported.contains_key(name)
            && let Some((_, pattern)) = patterns.iter().find(|(glob, _)| glob.is_match(name))
        {
            hidden.push((name.to_owned(), (*pattern).to_owned()));
        }
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::{Confirmation, PriceImport};
    use crate::domain::amount::Money;
    use crate::domain::rules::ModelPrice;
    use crate::domain::time::Millis;

    fn price(name: &str, input: i128) -> ModelPrice {
        ModelPrice::new(name.to_owned(), [Money(input), Money(0)], [None; 3])
    }

    #[test]
    fn known_prices_keep_their_places_and_new_ones_come_behind() {
        let known = [
            price("own", 1),
            price("b", 2),
            price("x*", 3),
            price("a", 4),
        ];
        let imported = [price("a", 4), price("b", 5), price("x1", 6), price("c", 7)];
        let planned = || Confirmation::of(&[], Millis(0));
        let import = PriceImport::of(&known, &imported, planned());
        let expected = [
            price("own", 1),
            price("b", 5),
            price("x*", 3),
            price("a", 4),
            price("x1", 6),
            price("c", 7),
        ];
        assert_eq!(import.prices, expected);
        assert_eq!(import.added, [price("x1", 6), price("c", 7)]);
        assert_eq!(import.changed, [(price("b", 2), price("b", 5))]);
        assert_eq!((import.unchanged, import.kept), (1, 2));
        assert_eq!(import.hidden, [("x1".to_owned(), "x*".to_owned())]);
        assert!(PriceImport::of(&expected, &imported, planned()).is_empty());
    }
}
