//! A network's rules as one TOML document.

use serde_json::{Map, Value};

use super::fault::{Faults, Member, RuleFault};
use super::key::{PriceKey, SettingKey};
use super::model_prices::ModelPrice;
use super::setting::Setting;

/// A network whose rules are shipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Nothing is charged; what mainnet would charge is noted.
    Testnet,
    /// Usage is charged.
    Mainnet,
}

impl Network {
    /// The name of its rules file, and what stands in it.
    pub const fn document(self) -> (&'static str, &'static str) {
        match self {
            Network::Testnet => (
                "config/rules/testnet.toml",
                include_str!("../../../config/rules/testnet.toml"),
            ),
            Network::Mainnet => (
                "config/rules/mainnet.toml",
                include_str!("../../../config/rules/mainnet.toml"),
            ),
        }
    }
}

/// Values of rules without a fault.
#[derive(Clone, Debug)]
pub struct RulesDocument {
    settings: Vec<(SettingKey, Setting)>,
}

impl RulesDocument {
    /// Reads a TOML document. `file_name` stands in every fault.
    ///
    /// # Errors
    /// All faults at once, each with its key, what is wrong and what is allowed.
    pub fn parse_toml(file_name: &str, text: &str) -> Result<RulesDocument, Vec<RuleFault>> {
        read_document(text).map_err(|mut faults| {
            for fault in &mut faults {
                fault.file = Some(file_name.to_owned());
            }
            faults
        })
    }

    /// The document of one configuration key alone, with a value as JSON text.
    ///
    /// # Errors
    /// All faults at once.
    pub fn of_value(key: &str, json: &str) -> Result<RulesDocument, Vec<RuleFault>> {
        let key = SettingKey::known(key)?;
        let setting = Setting::parse(key, json)?;
        Ok(RulesDocument {
            settings: vec![(key, setting)],
        })
    }

    /// Its settings.
    pub(super) fn settings(&self) -> &[(SettingKey, Setting)] {
        &self.settings
    }

    /// The document as configuration keys with their values as canonical JSON, in a fixed order.
    pub fn changes(&self) -> Vec<(String, String)> {
        self.settings
            .iter()
            .map(|(key, setting)| (key.name().to_owned(), setting.canonical()))
            .collect()
    }
}

/// Checks a new value (JSON text) of one configuration key, and gives it in its canonical form.
///
/// # Errors
/// All faults at once. That `rules.activity` never changes is checked by
/// [`super::RuleBook::apply`], which knows the first version.
pub fn check_value(key: &str, json: &str) -> Result<String, Vec<RuleFault>> {
    let key = SettingKey::known(key)?;
    let setting = Setting::parse(key, json)?;
    setting.check_new(key).map_err(|fault| vec![fault])?;
    Ok(setting.canonical())
}

/// The prices in a value (JSON text) of `rules.modelPrices`.
///
/// # Errors
/// All faults at once.
pub fn model_prices(json: &str) -> Result<Vec<ModelPrice>, Vec<RuleFault>> {
    match Setting::parse(SettingKey::ModelPrices, json)? {
        Setting::ModelPrices(prices) => Ok(prices.entries().to_vec()),
        _ => Ok(Vec::new()),
    }
}

fn read_document(text: &str) -> Result<RulesDocument, Vec<RuleFault>> {
    let table: toml::Table = text.parse().map_err(|error| vec![syntax(text, &error)])?;
    let root = to_json(toml::Value::Table(table));
    let mut faults = Faults::default();
    let [mainnet, prices, rules] = faults.members(
        &Member::new("", &root),
        ["system_mainnet", "prices", "rules"],
    );
    let (needed, optional) = PriceKey::NAMES.split_at(PriceKey::REQUIRED);
    let prices = faults.members_and(
        &prices,
        array::<{ PriceKey::REQUIRED }>(needed),
        array::<OPTIONAL_PRICES>(optional),
    );
    let (sections, others) = faults.members_and(&rules, SECTIONS, OPTIONAL_SECTIONS);
    let (needed, optional) = prices;
    let members = std::iter::once(Some(mainnet))
        .chain(needed.map(Some))
        .chain(optional)
        .chain(sections.map(Some))
        .chain(others);
    let settings: Vec<Option<(SettingKey, Setting)>> = SettingKey::all()
        .zip(members)
        .filter_map(|(key, member)| Some((key, member?)))
        .map(|(key, member)| Some((key, Setting::read(key, &member, &mut faults)?)))
        .collect();
    let settings: Option<Vec<_>> = settings.into_iter().collect();
    for (key, setting) in settings.iter().flatten() {
        if let Err(fault) = setting.check_new(*key) {
            faults.add(&fault.key, fault.problem, fault.allowed);
        }
    }
    faults.finish(settings.map(|settings| RulesDocument { settings }))
}

/// All of a list whose length is known.
fn array<const N: usize>(names: &[&'static str]) -> [&'static str; N] {
    std::array::from_fn(|i| names[i])
}

const OPTIONAL_PRICES: usize = PriceKey::COUNT - PriceKey::REQUIRED;
/// `[[rules.modelPrices]]`, `[[rules.services]]`, `[[rules.badges]]` and `[rules.providers]`, which
/// may be missing.
const OPTIONAL_SECTIONS: [&str; 4] = ["modelPrices", "services", "badges", "providers"];
/// The tables below `[rules]` that must be there, in the order of [`SettingKey::all`].
const SECTIONS: [&str; 9] = [
    "points",
    "demand",
    "season",
    "shares",
    "streak",
    "quality",
    "activity",
    "awards",
    "catalogue",
];

fn syntax(text: &str, error: &toml::de::Error) -> RuleFault {
    let line = error.span().map_or(0, |span| {
        let before = text.as_bytes().iter().take(span.start);
        before.filter(|byte| **byte == b'\n').count() + 1
    });
    RuleFault::new(
        format!("line {line}"),
        error.message().to_owned(),
        "TOML 1.0 (https://toml.io)",
    )
}

/// TOML as JSON, so that files and stored values are read by the same code. Dates become text; a
/// float stays one, to be refused.
fn to_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(number),
        toml::Value::Boolean(flag) => Value::Bool(flag),
        toml::Value::Datetime(date) => Value::String(date.to_string()),
        toml::Value::Array(list) => list.into_iter().map(to_json).collect(),
        toml::Value::Table(table) => {
            let members = table.into_iter().map(|(key, value)| (key, to_json(value)));
            Value::Object(members.collect::<Map<_, _>>())
        }
    }
}
