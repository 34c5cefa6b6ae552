//! Prices of single models.

use std::collections::{BTreeMap, BTreeSet};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Serialize, Serializer};

use super::decimal::{Decimal, PRICE};
use super::fault::{Faults, Member};
use crate::domain::amount::Money;
use crate::domain::model_name::{bare_name, spellings_with_fine_tunes};
use crate::domain::token_prices::TokenPrices;

/// Most models and patterns.
const ENTRIES_MAX: usize = 4_000;
/// Longest name or pattern.
const NAME_CHARS_MAX: usize = 128;
/// What makes a text a pattern.
const PATTERN_MARKS: [char; 4] = ['*', '?', '[', '{'];

/// What the tokens of some models cost, in dollars per 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Prices {
    input: Decimal<Money>,
    output: Decimal<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_input: Option<Decimal<Money>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write: Option<Decimal<Money>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Decimal<Money>>,
}

/// What the tokens of one model cost, or of all whose names match a glob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelPrice {
    r#match: String,
    #[serde(flatten)]
    prices: Prices,
}

impl ModelPrice {
    /// The price of a model. `parts` are those of cached input, of input that is written to a cache
    /// and of reasoning.
    pub fn new(
        name: String,
        [input, output]: [Money; 2],
        [cached_input, cache_write, reasoning]: [Option<Money>; 3],
    ) -> ModelPrice {
        ModelPrice {
            r#match: name,
            prices: Prices {
                input: Decimal(input),
                output: Decimal(output),
                cached_input: cached_input.map(Decimal),
                cache_write: cache_write.map(Decimal),
                reasoning: reasoning.map(Decimal),
            },
        }
    }

    /// The name or glob.
    pub fn name(&self) -> &str {
        &self.r#match
    }

    /// Whether its tokens cost nothing.
    pub fn is_free(&self) -> bool {
        self.prices.input.0 == Money::ZERO && self.prices.output.0 == Money::ZERO
    }

    /// Whether it is for every model that matches.
    pub fn is_pattern(&self) -> bool {
        self.r#match.contains(PATTERN_MARKS)
    }

    /// Its prices, as people read them.
    pub fn summary(&self) -> String {
        let Prices { input, output, .. } = &self.prices;
        let parts = [
            ("cached input", self.prices.cached_input),
            ("cache write", self.prices.cache_write),
            ("reasoning", self.prices.reasoning),
        ];
        let mut text = format!("input {}, output {}", input.0, output.0);
        for (what, price) in parts {
            if let Some(price) = price {
                text.push_str(&format!(", {what} {}", price.0));
            }
        }
        text
    }
}

/// An ordered list; of several entries that match, the first counts.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelPrices {
    entries: Vec<ModelPrice>,
    /// The entry of each exact name.
    by_name: BTreeMap<String, usize>,
    globs: GlobSet,
    /// The entry of each glob.
    glob_entries: Vec<usize>,
}

impl Serialize for ModelPrices {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.entries.serialize(serializer)
    }
}

impl ModelPrices {
    pub fn read(list: &Member<'_>, faults: &mut Faults) -> Option<ModelPrices> {
        let mut seen = BTreeSet::new();
        let entries: Vec<Option<ModelPrice>> = faults
            .list(list, ENTRIES_MAX)?
            .iter()
            .map(|entry| read_entry(entry, &mut seen, faults))
            .collect();
        let entries: Vec<ModelPrice> = entries.into_iter().collect::<Option<_>>()?;
        let mut by_name = BTreeMap::new();
        let mut globs = GlobSetBuilder::new();
        let mut glob_entries = Vec::new();
        for (i, entry) in entries.iter().enumerate() {
            let pattern = &entry.r#match;
            if !entry.is_pattern() {
                by_name.insert(pattern.clone(), i);
                continue;
            }
            match GlobBuilder::new(pattern).build() {
                Ok(glob) => {
                    globs.add(glob);
                    glob_entries.push(i);
                }
                Err(error) => faults.add(
                    &format!("{}[{i}].match", list.key),
                    format!("is {pattern:?} ({})", error.kind()),
                    "a model's name, or a glob such as \"gpt-4o*\" or \"claude-*-haiku*\"",
                ),
            }
        }
        let built = globs.build();
        let globs = built
            .inspect_err(|error| faults.add(&list.key, error.to_string(), "simpler patterns"))
            .ok()?;
        Some(ModelPrices {
            entries,
            by_name,
            globs,
            glob_entries,
        })
    }

    /// All of them, in order.
    pub fn entries(&self) -> &[ModelPrice] {
        &self.entries
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The prices of a model, if it has any. A name as it is written comes before the model behind
    /// it.
    pub fn find(&self, model: &str) -> Option<TokenPrices> {
        let found = self.find_entry(model)?;
        Some(found.prices.token_prices())
    }

    /// The entry that decides the prices of a model.
    pub fn find_entry(&self, model: &str) -> Option<&ModelPrice> {
        let found = spellings_with_fine_tunes(model)
            .into_iter()
            .find_map(|name| self.entry(&name))?;
        self.entries.get(found)
    }

    fn entry(&self, name: &str) -> Option<usize> {
        let exact = self.by_name.get(name).copied();
        let globs = self.globs.matches(name).into_iter();
        globs.map(|glob| self.glob_entries[glob]).chain(exact).min()
    }
}

impl Prices {
    fn token_prices(&self) -> TokenPrices {
        let or = |price: Option<Decimal<Money>>, whole: Decimal<Money>| price.unwrap_or(whole).0;
        TokenPrices {
            input: self.input.0,
            cached_input: or(self.cached_input, self.input),
            cache_write: or(self.cache_write, self.input),
            output: self.output.0,
            reasoning: or(self.reasoning, self.output),
        }
    }
}

fn read_entry(
    entry: &Member<'_>,
    seen: &mut BTreeSet<String>,
    faults: &mut Faults,
) -> Option<ModelPrice> {
    let needed = ["match", "input", "output"];
    let optional = ["cachedInput", "cacheWrite", "reasoning"];
    let ([pattern, input, output], parts) = faults.members_and(entry, needed, optional);
    let input = faults.amount(&input, PRICE).map(Decimal);
    let output = faults.amount(&output, PRICE).map(Decimal);
    let [cached_input, cache_write, reasoning] = parts.map(|part| {
        let part = part?;
        faults.amount(&part, PRICE).map(Decimal)
    });
    let text = faults.text(&pattern, NAME_CHARS_MAX)?.to_lowercase();
    if text != bare_name(&text) {
        let allowed =
            "a name without vendor prefix (what comes before a '/') and without spaces around it";
        faults.add(&pattern.key, format!("is {text:?}"), allowed);
    }
    if !seen.insert(text.clone()) {
        let problem = format!("{text:?} is listed more than once");
        faults.add(&pattern.key, problem, "each name or pattern once");
    }
    Some(ModelPrice {
        r#match: text,
        prices: Prices {
            input: input?,
            output: output?,
            cached_input,
            cache_write,
            reasoning,
        },
    })
}
