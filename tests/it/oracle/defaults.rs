//! The numbers of the rules document, as versions.

use serde_json::{Map, Value, json};

use super::rules::{CLASSES, Version};

fn per_class(values: [Value; 7]) -> Value {
    let pairs = CLASSES.iter().map(|c| (*c).to_owned()).zip(values);
    Value::Object(pairs.collect::<Map<_, _>>())
}

fn all(value: impl Into<Value> + Clone) -> Value {
    per_class([(); 7].map(|()| value.clone().into()))
}

/// Every key of complete rules with its value.
pub fn values(mainnet: bool) -> Vec<(String, Value)> {
    let prices = [
        ("tide_pool_input", "0.0002", "1000_tokens"),
        ("tide_pool_output", "0.0004", "1000_tokens"),
        ("blue_surge_input", "0.0005", "1000_tokens"),
        ("blue_surge_output", "0.0010", "1000_tokens"),
        ("open_ocean_input", "0.0015", "1000_tokens"),
        ("open_ocean_output", "0.0030", "1000_tokens"),
        ("mariana_depth_input", "0.0040", "1000_tokens"),
        ("mariana_depth_output", "0.0080", "1000_tokens"),
        ("embeddings", "0.0001", "1000_tokens"),
        ("tts", "0.015", "minute"),
        ("scrape", "0.001", "request"),
    ];
    let price = |(key, price, unit): (&str, &str, &str)| {
        (key.to_owned(), json!({"pricePerUnit": price, "unit": unit}))
    };
    let mut all_values: Vec<(String, Value)> = prices.into_iter().map(price).collect();
    all_values.push(("system_mainnet".to_owned(), mainnet.into()));
    let points = ["1", "3", "7", "15", "1", "2", "0.5"].map(Value::from);
    let targets = [1_000, 2_000, 4_000, 8_000, 500, 3_000, 5_000].map(Value::from);
    let at = |at: i64, multiplier: i64| json!({"at": at, "multiplier": multiplier});
    let step = |days: i64, multiplier: i64| json!({"days": days, "multiplier": multiplier});
    let sections = json!({
        "points": per_class(points),
        "demand": all(10_000),
        "season": [],
        "shares": {"user": 1_000, "cascade": [2_000, 1_000, 500]},
        "streak": {"steps": [step(7, 11_000), step(14, 12_000), step(30, 13_000), step(90, 15_000)]},
        "quality": {"minimumRequests": 20,
            "uptime": [at(9_500, 8_000), at(9_990, 12_000)],
            "latency": [at(5_000, 11_000), at(10_000, 10_000), at(20_000, 9_000)],
            "targetsMs": per_class(targets)},
        "activity": {"providerUptime": 9_500},
        "awards": {"trial": "5", "signup": "100", "milestone": "200"},
        "catalogue": catalogue(),
    });
    for (name, value) in sections.as_object().expect("an object") {
        all_values.push((format!("rules.{name}"), value.clone()));
    }
    all_values
}

/// Keys that rules are complete without.
pub fn optional_values() -> Vec<(String, Value)> {
    let price = |price: &str| json!({"pricePerUnit": price, "unit": "1000_tokens"});
    let of_models = json!([
        {"match": "gpt-4o", "input": "0.0025", "output": "0.01", "cachedInput": "0.00125"},
        {"match": "gemma-2b", "input": "0.000000007", "output": "0.000000013",
         "cacheWrite": "0.000000011", "reasoning": "0.00000003"},
    ]);
    vec![
        ("tide_pool_cached_input".to_owned(), price("0.00002")),
        ("blue_surge_cache_write".to_owned(), price("0.000625001")),
        ("mariana_depth_reasoning".to_owned(), price("0.012")),
        ("rules.modelPrices".to_owned(), of_models),
    ]
}

fn catalogue() -> Value {
    let model = |name: &str, tier: &str| json!({"name": name, "tier": tier});
    let pattern = |pattern: &str, tier: &str| json!({"pattern": pattern, "tier": tier});
    json!({
        "sizes": {"tidePoolMax": 4_000, "blueSurgeMax": 13_000, "openOceanBelow": 65_000,
            "openOceanFourBitMax": 80_000, "fourBitMarks": ["q4", "int4", "4bit", "awq", "gptq"]},
        "models": [model("distilbert", "tide_pool"), model("phi-3-mini", "tide_pool")],
        "patterns": [pattern("gpt-4o*", "mariana_depth"), pattern("claude-*-sonnet*", "mariana_depth"),
            pattern("claude-*-opus*", "mariana_depth")],
    })
}

/// [`values`] as the first publication: number 1, no beginning.
pub fn versions(mainnet: bool) -> Vec<Version> {
    values(mainnet)
        .into_iter()
        .map(|(key, value)| Version {
            number: 1,
            key,
            value: value.to_string(),
            from: None,
        })
        .collect()
}
