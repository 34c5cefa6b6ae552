//! LiteLLM's public list of prices, `model_prices_and_context_window.json`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::amount::Money;
use crate::domain::model_name::bare_name;
use crate::domain::rules::ModelPrice;
use crate::gateways::decimal::Decimal;

/// Modes of models that are paid by the token.
const MODES: [&str; 4] = ["chat", "completion", "responses", EMBEDDING];
/// The mode of models without output.
const EMBEDDING: &str = "embedding";
/// The list describes its own members under this name.
const SAMPLE: &str = "sample_spec";
/// From dollars per token to nano-dollars per 1,000 tokens, times ten thousand.
const SHIFT: i32 = 9 + 3 + 4;
/// What a part of a price is counted in: 10,000 for the markup, 10,000 for [`SHIFT`].
const SCALE: u128 = 10_000 * 10_000;

/// A markup in basis points: 2,000 is 20 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Markup(pub u32);

/// What a list says of models that are paid by the token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceList {
    /// One entry for each model, by name.
    pub prices: Vec<ModelPrice>,
    /// Models that the list has at another price from another seller: the entry that was left out.
    /// A model without a seller in its name comes first, else the first by name.
    pub other_sellers: Vec<String>,
    /// Entries for images, audio and other things, without a price, or that cannot be read.
    pub skipped: u64,
    /// The first entry that cannot be read, and why.
    pub unreadable: Option<String>,
    /// Models that cost nothing. Sellers of models for one's own machine list them so; such entries
    /// are left out.
    pub free: Vec<String>,
}

/// The list cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceListError {
    /// It has another form.
    #[error("this is not a price list in LiteLLM's JSON form: {0}")]
    Form(String),
    /// One price is no number.
    #[error("{model}: {field} is {found}; a price is a number from 0 on, in dollars per token")]
    Price {
        /// The model.
        model: String,
        /// The member.
        field: &'static str,
        /// What it holds.
        found: String,
    },
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(default)]
    mode: Option<String>,
    #[serde(default, borrow)]
    input_cost_per_token: Option<&'a RawValue>,
    #[serde(default, borrow)]
    output_cost_per_token: Option<&'a RawValue>,
    #[serde(default, borrow)]
    cache_read_input_token_cost: Option<&'a RawValue>,
    #[serde(default, borrow)]
    cache_creation_input_token_cost: Option<&'a RawValue>,
    #[serde(default, borrow)]
    output_cost_per_reasoning_token: Option<&'a RawValue>,
}

impl PriceList {
    /// Reads a list and adds a markup to every price. Prices are read from their digits and rounded
    /// to the nano-dollar per 1,000 tokens.
    ///
    /// # Errors
    /// See [`PriceListError`].
    pub fn read(json: &str, markup: Markup) -> Result<PriceList, PriceListError> {
        let form = |error: serde_json::Error| PriceListError::Form(error.to_string());
        let entries: BTreeMap<String, &RawValue> = serde_json::from_str(json).map_err(form)?;
        let mut list = PriceList::default();
        let mut found: BTreeMap<String, (String, ModelPrice)> = BTreeMap::new();
        // Those without a seller come first.
        let is_of_seller = |model: &str| model.contains('/');
        let (of_sellers, plain): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .filter(|(model, _)| model != SAMPLE)
            .partition(|(model, _)| is_of_seller(model));
        for (model, raw) in plain.into_iter().chain(of_sellers) {
            let name = bare_name(&model);
            let read = serde_json::from_str::<Entry<'_>>(raw.get()).map_err(form);
            let price = match read.and_then(|entry| price_of(&model, &name, &entry, markup)) {
                Ok(Some(price)) => price,
                Ok(None) => {
                    list.skipped += 1;
                    continue;
                }
                Err(error) => {
                    list.skipped += 1;
                    list.unreadable.get_or_insert_with(|| match error {
                        PriceListError::Form(what) => format!("{model}: {what}"),
                        error => error.to_string(),
                    });
                    continue;
                }
            };
            if price.is_free() {
                list.free.push(model);
                continue;
            }
            match found.get(&name) {
                None => {
                    found.insert(name, (model, price));
                }
                Some((_, known)) if *known == price => {}
                Some(_) => list.other_sellers.push(model),
            }
        }
        list.prices = found.into_values().map(|(_, price)| price).collect();
        Ok(list)
    }
}

/// `None`: it is not paid by the token, or its name cannot be a name of ours.
fn price_of(
    model: &str,
    name: &str,
    entry: &Entry<'_>,
    markup: Markup,
) -> Result<Option<ModelPrice>, PriceListError> {
    let is_by_token = entry
        .mode
        .as_deref()
        .is_none_or(|mode| MODES.contains(&mode));
    let has_output = entry.mode.as_deref() != Some(EMBEDDING);
    if !is_by_token {
        return Ok(None);
    }
    let price = |field, raw: Option<&RawValue>| money(model, field, raw, markup);
    let input = price("input_cost_per_token", entry.input_cost_per_token)?;
    let output = price("output_cost_per_token", entry.output_cost_per_token)?;
    let parts = [
        price(
            "cache_read_input_token_cost",
            entry.cache_read_input_token_cost,
        )?,
        price(
            "cache_creation_input_token_cost",
            entry.cache_creation_input_token_cost,
        )?,
        price(
            "output_cost_per_reasoning_token",
            entry.output_cost_per_reasoning_token,
        )?,
    ];
    let is_name = (1..=128).contains(&name.chars().count())
        && !name.contains(['*', '?', '[', '{'])
        && !name.chars().any(char::is_control);
    let whole = match (input, output) {
        (Some(input), Some(output)) if is_name => [input, output],
        (Some(input), None) if is_name && !has_output => [input, Money::ZERO],
        _ => return Ok(None),
    };
    Ok(Some(ModelPrice::new(name.to_owned(), whole, parts)))
}

fn money(
    model: &str,
    field: &'static str,
    raw: Option<&RawValue>,
    markup: Markup,
) -> Result<Option<Money>, PriceListError> {
    let Some(text) = raw.map(RawValue::get).filter(|text| *text != "null") else {
        return Ok(None);
    };
    let price = Decimal::parse_times(text, SHIFT).filter(|price| !price.is_negative);
    let Some(price) = price else {
        return Err(PriceListError::Price {
            model: model.to_owned(),
            field,
            found: text.chars().take(40).collect(),
        });
    };
    let marked_up = u128::from(price.whole) * (10_000 + u128::from(markup.0));
    let rounded = (marked_up + SCALE / 2) / SCALE;
    Ok(Some(Money(i128::try_from(rounded).unwrap_or(i128::MAX))))
}

#[cfg(test)]
mod tests {
    use super::{Markup, PriceList, PriceListError};

    fn summaries(json: &str, markup: u32) -> Vec<(String, String)> {
        let list = PriceList::read(json, Markup(markup)).expect("a list");
        let told = |price: &super::ModelPrice| (price.name().to_owned(), price.summary());
        list.prices.iter().map(told).collect()
    }

    #[test]
    fn prices_are_read_from_their_digits() {
        for (text, markup, expected) in [
            ("1.5e-07", 0, "0.00015"),
            ("0.00000015", 0, "0.00015"),
            ("1.5000000000000002e-07", 0, "0.00015"),
            ("3e-06", 0, "0.003"),
            ("1.3e-10", 0, "0.00000013"),
            // Half of a nano-dollar per 1,000 tokens goes up.
            ("5e-13", 0, "0.000000001"),
            ("1.5e-07", 1_250, "0.00016875"),
            ("1e-12", 5_000, "0.000000002"),
        ] {
            let json = format!(
                r#"{{"m":{{"mode":"chat","input_cost_per_token":{text},"output_cost_per_token":0}}}}"#
            );
            let expected = format!("input {expected}, output 0");
            assert_eq!(
                summaries(&json, markup),
                [("m".to_owned(), expected)],
                "{text} {markup}"
            );
        }
    }

    #[test]
    fn a_model_without_a_seller_in_its_name_comes_first() {
        let json = r#"{
            "sample_spec": {"input_cost_per_token": "some text"},
            "azure/gpt-4o": {"mode": "chat", "input_cost_per_token": 2e-06, "output_cost_per_token": 1e-05},
            "gpt-4o": {"mode": "chat", "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05,
                "cache_read_input_token_cost": 1.25e-06, "cache_creation_input_token_cost": null},
            "openai/GPT-4o": {"mode": "chat", "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05,
                "cache_read_input_token_cost": 1.25e-06},
            "dall-e-3": {"mode": "image_generation", "input_cost_per_token": 1},
            "free": {"mode": "chat"},
            "bedrock/*/x": {"mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0.0},
            "no-output": {"mode": "chat", "input_cost_per_token": 1e-06},
            "odd": {"mode": 3, "input_cost_per_token": 1e-06},
            "dall-e-4": {"mode": "image_generation", "input_cost_per_token": "free"},
            "embed": {"mode": "embedding", "input_cost_per_token": 1e-08},
            "o1": {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, "output_cost_per_reasoning_token": 3e-06}
        }"#;
        let list = PriceList::read(json, Markup(0)).expect("a list");
        let told: Vec<String> = list
            .prices
            .iter()
            .map(|price| format!("{}: {}", price.name(), price.summary()))
            .collect();
        let expected = [
            "embed: input 0.00001, output 0",
            "gpt-4o: input 0.0025, output 0.01, cached input 0.00125",
            "o1: input 0.001, output 0.002, reasoning 0.003",
        ];
        assert_eq!(told, expected);
        assert_eq!(list.other_sellers, ["azure/gpt-4o"]);
        assert_eq!(list.free, ["bedrock/*/x"]);
        assert_eq!(list.skipped, 5);
        assert!(
            list.unreadable
                .is_some_and(|what| what.starts_with("odd: "))
        );
    }

    #[test]
    fn what_is_no_list_is_told() {
        let refused = |json: &str| PriceList::read(json, Markup(0)).expect_err(json);
        assert!(matches!(refused("[]"), PriceListError::Form(_)));
        assert!(matches!(refused("{"), PriceListError::Form(_)));
        for price in ["-1e-06", "\"0.1\"", "[]", "true"] {
            let json = format!(r#"{{"m":{{"input_cost_per_token":{price}}}}}"#);
            let list = PriceList::read(&json, Markup(0)).expect("one odd entry spoils no list");
            let told = list.unreadable.expect("it is told");
            assert!(told.starts_with("m: input_cost_per_token is "), "{told}");
        }
    }
}
