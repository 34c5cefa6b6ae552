//! Rules as of a control position and a business time, from the versions' JSON.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;

use super::statement::floor;
use super::tier::Catalogue;

/// One version of one price or rule set.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its number in the control feed.
    pub number: u64,
    /// `tide_pool_input`, `rules.streak`, …
    pub key: String,
    /// The value, JSON text.
    pub value: String,
    /// From when on, ms; `None`: from the beginning.
    pub from: Option<i64>,
}

/// What rates alike: the four tiers of chat, then the other services.
pub const CLASSES: [&str; 7] = [
    "tide_pool",
    "blue_surge",
    "open_ocean",
    "mariana_depth",
    "embeddings",
    "tts",
    "scrape",
];

/// One number for each class.
type PerClass = BTreeMap<String, i128>;

/// How well a provider's day was served.
#[derive(Clone, Debug, Default)]
pub struct Quality {
    pub requests_min: i128,
    pub uptime: Vec<(i128, i128)>,
    pub latency: Vec<(i128, i128)>,
    pub targets: PerClass,
}

/// Everything in force at one moment.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub mainnet: bool,
    /// Nano-dollars per unit.
    pub prices: PerClass,
    /// Exact names with what their tokens cost: input, cached, written, output, reasoning.
    pub model_prices: Vec<(String, [i128; 5])>,
    pub base: PerClass,
    pub demand: PerClass,
    /// From, to, multipliers.
    pub seasons: Vec<(i64, i64, PerClass)>,
    pub user_bp: i128,
    pub cascade: Vec<i128>,
    pub streak: Vec<(i128, i128)>,
    pub quality: Quality,
    pub active_bp: i128,
    pub trial: i128,
    pub milestone: i128,
    pub catalogue: Catalogue,
}

impl Rules {
    /// Micropoints of a successful request for its provider.
    pub fn provider_points(&self, class: &str, time: i64) -> i128 {
        let season = self
            .seasons
            .iter()
            .find(|(from, to, _)| *from <= time && time < *to)
            .map_or(10_000, |(_, _, multiplier)| multiplier[class]);
        floor(self.base[class] * self.demand[class] * season, 100_000_000)
    }

    /// The price of a key, nano-dollars.
    pub fn price(&self, key: &str) -> i128 {
        self.prices[key]
    }

    /// What the tokens of a chat cost: input, cached, written, output, reasoning.
    pub fn chat_prices(&self, tier: &str, model: Option<&str>) -> [i128; 5] {
        let own = |(name, _): &&(String, [i128; 5])| Some(name.as_str()) == model;
        if let Some((_, prices)) = self.model_prices.iter().find(own) {
            return *prices;
        }
        let input = self.price(&format!("{tier}_input"));
        let output = self.price(&format!("{tier}_output"));
        let or = |kind: &str, whole| {
            let key = format!("{tier}_{kind}");
            self.prices.get(&key).copied().unwrap_or(whole)
        };
        let (cached, written) = (or("cached_input", input), or("cache_write", input));
        [input, cached, written, output, or("reasoning", output)]
    }
}

/// All versions.
pub struct Book {
    versions: Vec<Version>,
    known: RefCell<BTreeMap<Vec<usize>, Rc<Rules>>>,
}

impl Book {
    pub fn new(versions: &[Version]) -> Book {
        Book {
            versions: versions.to_vec(),
            known: RefCell::default(),
        }
    }

    /// The versions with number ≤ `control` that are in force at `time`.
    pub fn at(&self, control: u64, time: i64) -> Rc<Rules> {
        let mut chosen: BTreeMap<&str, usize> = BTreeMap::new();
        for (i, version) in self.versions.iter().enumerate() {
            if version.number > control || version.from.is_some_and(|from| from > time) {
                continue;
            }
            let order = |i: usize| (self.versions[i].from, self.versions[i].number);
            let known = chosen.entry(&version.key).or_insert(i);
            if order(*known) < order(i) {
                *known = i;
            }
        }
        let indexes: Vec<usize> = chosen.values().copied().collect();
        if let Some(rules) = self.known.borrow().get(&indexes) {
            return rules.clone();
        }
        let mut rules = Rules::default();
        for (key, i) in chosen {
            let value: Value =
                serde_json::from_str(&self.versions[i].value).expect("a version holds JSON");
            set(&mut rules, key, &value);
        }
        let rules = Rc::new(rules);
        self.known.borrow_mut().insert(indexes, rules.clone());
        rules
    }
}

fn set(rules: &mut Rules, key: &str, value: &Value) {
    match key {
        "system_mainnet" => rules.mainnet = value.as_bool().expect("a switch"),
        "rules.points" => rules.base = per_class(value, |v| amount(v, 6)),
        "rules.demand" => rules.demand = per_class(value, int),
        "rules.season" => rules.seasons = list(value).iter().map(season).collect(),
        "rules.shares" => {
            rules.user_bp = int(&value["user"]);
            rules.cascade = list(&value["cascade"]).iter().map(int).collect();
        }
        "rules.streak" => {
            let step = |s: &Value| (int(&s["days"]), int(&s["multiplier"]));
            rules.streak = list(&value["steps"]).iter().map(step).collect();
        }
        "rules.quality" => {
            rules.quality = Quality {
                requests_min: int(&value["minimumRequests"]),
                uptime: curve(&value["uptime"]),
                latency: curve(&value["latency"]),
                targets: per_class(&value["targetsMs"], int),
            }
        }
        "rules.activity" => rules.active_bp = int(&value["providerUptime"]),
        "rules.awards" => {
            rules.trial = amount(&value["trial"], 6);
            rules.milestone = amount(&value["milestone"], 6);
        }
        "rules.catalogue" => rules.catalogue = catalogue(value),
        "rules.modelPrices" => rules.model_prices = list(value).iter().map(model_price).collect(),
        // No amount depends on them.
        "rules.badges" | "rules.providers" => {}
        price => {
            let amount = amount(&value["pricePerUnit"], 9);
            rules.prices.insert(price.to_owned(), amount);
        }
    }
}

fn model_price(entry: &Value) -> (String, [i128; 5]) {
    let name = entry["match"].as_str().expect("a name").to_owned();
    let price = |key: &str| entry.get(key).map(|price| amount(price, 9));
    let (input, output) = (price("input").expect("one"), price("output").expect("one"));
    let part = |key: &str, whole| price(key).unwrap_or(whole);
    let (cached, written) = (part("cachedInput", input), part("cacheWrite", input));
    (
        name,
        [input, cached, written, output, part("reasoning", output)],
    )
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn int(value: &Value) -> i128 {
    i128::from(
        value
            .as_i64()
            .unwrap_or_else(|| panic!("{value} is no integer")),
    )
}

/// A decimal string in units of `10^-decimals`.
fn amount(value: &Value, decimals: usize) -> i128 {
    let text = value.as_str().expect("a decimal string");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= decimals, "{text} is too fine");
    format!("{whole}{fraction:0<decimals$}")
        .parse()
        .expect("a decimal")
}

fn per_class(value: &Value, read: impl Fn(&Value) -> i128) -> PerClass {
    CLASSES
        .iter()
        .map(|class| ((*class).to_owned(), read(&value[class])))
        .collect()
}

fn curve(value: &Value) -> Vec<(i128, i128)> {
    list(value)
        .iter()
        .map(|point| (int(&point["at"]), int(&point["multiplier"])))
        .collect()
}

fn season(value: &Value) -> (i64, i64, PerClass) {
    let instant = |name: &str| {
        let text = value[name].as_str().expect("an instant");
        let at: jiff::Timestamp = text.parse().expect("an instant");
        at.as_millisecond()
    };
    (
        instant("from"),
        instant("to"),
        per_class(&value["multiplier"], int),
    )
}

fn catalogue(value: &Value) -> Catalogue {
    let tier = |entry: &Value| {
        let name = entry["tier"].as_str().expect("a tier");
        CLASSES[..4]
            .iter()
            .position(|c| *c == name)
            .expect("a tier")
    };
    let named = |list_name: &str, field: &str| -> Catalogue {
        list(&value[list_name])
            .iter()
            .map(|e| (e[field].as_str().expect("a name").to_lowercase(), tier(e)))
            .collect()
    };
    let mut all = named("models", "name");
    all.extend(named("patterns", "pattern"));
    all
}
