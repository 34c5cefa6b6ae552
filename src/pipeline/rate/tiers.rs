//! The tier of each model name, remembered from chunk to chunk.

use hashbrown::HashMap;

use crate::domain::rules::Rules;
use crate::domain::semantics::Semantics;
use crate::domain::tier::Detection;

/// Model names that are remembered at the most; a flood of invented names must not grow the
/// process.
const MODELS_MAX: usize = 100_000;

/// Names that nothing recognised which are kept until somebody takes them: an auditor never does.
const UNRECOGNISED_MAX: usize = 1_000;

/// What is known of models under one set of rules.
#[derive(Debug, Default)]
pub struct Tiers {
    semantics: Semantics,
    rules: u64,
    known: HashMap<Box<str>, Detection>,
    /// Events since the last call of [`Tiers::take_defaults`] whose model nothing recognised.
    defaults: u64,
    /// Names that nothing recognised since the last call of [`Tiers::take_unrecognised`], each
    /// once.
    unrecognised: Vec<String>,
}

impl Tiers {
    /// Chunks of another version of rating recognise other names.
    pub fn recognise_by(&mut self, semantics: Semantics) {
        if self.semantics != semantics {
            self.known.clear();
            self.semantics = semantics;
        }
    }

    pub(super) fn of(&mut self, model: &str, rules: &Rules) -> Detection {
        if self.rules != rules.id() || self.known.len() >= MODELS_MAX {
            self.known.clear();
            self.rules = rules.id();
        }
        if let Some(known) = self.known.get(model) {
            return *known;
        }
        let detection = rules.detect(model, self.semantics);
        self.known.insert(model.into(), detection);
        detection
    }

    /// As [`Tiers::of`], where the tier decides what is earned: a name that nothing recognises is
    /// noted.
    pub(super) fn of_chat(&mut self, model: &str, rules: &Rules) -> Detection {
        let names = self.known.len();
        let detection = self.of(model, rules);
        if !detection.recognised {
            self.defaults += 1;
            if self.known.len() != names && self.unrecognised.len() < UNRECOGNISED_MAX {
                self.unrecognised.push(model.to_owned());
            }
        }
        detection
    }

    /// How many events were in the lowest tier because nothing recognised their model.
    pub fn take_defaults(&mut self) -> u64 {
        std::mem::take(&mut self.defaults)
    }

    /// Names that were new and that nothing recognised.
    pub fn take_unrecognised(&mut self) -> Vec<String> {
        std::mem::take(&mut self.unrecognised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::position::Control;
    use crate::domain::rules::{Network, RuleBook, RuleChange, RulesDocument};
    use crate::domain::time::Millis;

    #[test]
    fn a_flood_of_invented_names_takes_bounded_memory_though_nobody_takes_them() {
        let (name, text) = Network::Testnet.document();
        let document = RulesDocument::parse_toml(name, text).expect("no fault");
        let changes = document
            .changes()
            .into_iter()
            .map(|(key, value)| RuleChange {
                key,
                value,
                effective_from: None,
            });
        let changes: Vec<RuleChange> = changes.collect();
        let mut book = RuleBook::default();
        book.apply(Control(1), &changes).expect("taken");
        let timeline = book.as_of(Control(1)).expect("complete");
        let mut tiers = Tiers::default();
        let invented = UNRECOGNISED_MAX * 3;
        for n in 0..invented {
            tiers.of_chat(&format!("made-up-{n}"), timeline.at(Millis(0)));
        }
        assert_eq!(tiers.take_defaults(), invented as u64);
        assert_eq!(tiers.take_unrecognised().len(), UNRECOGNISED_MAX);
    }
}
