//! Rules documents: what is shipped, and the form of its values.

use tidemark::domain::rules::{Network, RulesDocument, SettingKey, check_value};

use super::helpers::{NO_SEASON, edited, season, shipped};

#[test]
fn the_two_networks_differ_in_nothing_but_whether_they_charge() {
    let changes = |network| shipped(network).changes();
    let differing: Vec<_> = changes(Network::Testnet)
        .into_iter()
        .zip(changes(Network::Mainnet))
        .filter(|(testnet, mainnet)| testnet != mainnet)
        .collect();
    let pair = |value: &str| ("system_mainnet".to_owned(), value.to_owned());
    assert_eq!(differing, [(pair("false"), pair("true"))]);
}

#[test]
fn a_document_is_one_configuration_key_per_price_and_section() {
    let changes = shipped(Network::Testnet).changes();
    let keys: Vec<&str> = changes.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "system_mainnet",
            "tide_pool_input",
            "tide_pool_output",
            "blue_surge_input",
            "blue_surge_output",
            "open_ocean_input",
            "open_ocean_output",
            "mariana_depth_input",
            "mariana_depth_output",
            "embeddings",
            "tts",
            "scrape",
            "rules.points",
            "rules.demand",
            "rules.season",
            "rules.shares",
            "rules.streak",
            "rules.quality",
            "rules.activity",
            "rules.awards",
            "rules.catalogue",
        ]
    );
    assert_eq!(
        SettingKey::required()
            .map(SettingKey::name)
            .collect::<Vec<_>>(),
        keys
    );
}

#[test]
fn the_values_in_canonical_form_are_those_that_people_know() {
    let changes = shipped(Network::Mainnet).changes();
    let value = |key: &str| {
        let found = changes.iter().find(|(name, _)| name == key);
        found.expect("the key is there").1.as_str()
    };
    for (key, json) in [
        ("system_mainnet", "true"),
        (
            "tide_pool_input",
            r#"{"pricePerUnit":"0.0002","unit":"1000_tokens"}"#,
        ),
        (
            "mariana_depth_output",
            r#"{"pricePerUnit":"0.008","unit":"1000_tokens"}"#,
        ),
        ("tts", r#"{"pricePerUnit":"0.015","unit":"minute"}"#),
        ("scrape", r#"{"pricePerUnit":"0.001","unit":"request"}"#),
        (
            "rules.points",
            r#"{"tide_pool":"1","blue_surge":"3","open_ocean":"7","mariana_depth":"15","embeddings":"1","tts":"2","scrape":"0.5"}"#,
        ),
        ("rules.season", "[]"),
        ("rules.shares", r#"{"user":1000,"cascade":[2000,1000,500]}"#),
        (
            "rules.streak",
            r#"{"steps":[{"days":7,"multiplier":11000},{"days":14,"multiplier":12000},{"days":30,"multiplier":13000},{"days":90,"multiplier":15000}]}"#,
        ),
        (
            "rules.quality",
            r#"{"minimumRequests":20,"uptime":[{"at":9500,"multiplier":8000},{"at":9990,"multiplier":12000}],"latency":[{"at":5000,"multiplier":11000},{"at":10000,"multiplier":10000},{"at":20000,"multiplier":9000}],"targetsMs":{"tide_pool":1000,"blue_surge":2000,"open_ocean":4000,"mariana_depth":8000,"embeddings":500,"tts":3000,"scrape":5000}}"#,
        ),
        ("rules.activity", r#"{"providerUptime":9500}"#),
        (
            "rules.awards",
            r#"{"trial":"5","signup":"100","milestone":"200"}"#,
        ),
    ] {
        assert_eq!(value(key), json, "{key}");
    }
}

#[test]
fn canonical_values_are_read_back_to_themselves() {
    let seasonal = season(
        "2026-12-01T00:00:00+01:00",
        "2026-12-08T00:00:00Z",
        [15_000; 7],
    );
    let text = edited(&[(NO_SEASON, &seasonal)]);
    let document = RulesDocument::parse_toml("edited.toml", &text).expect("no fault");
    for (key, value) in document.changes() {
        assert_eq!(check_value(&key, &value), Ok(value.clone()), "{key}");
    }
    let changes = document.changes();
    let (_, season) = changes
        .iter()
        .find(|(key, _)| key == "rules.season")
        .expect("a season");
    assert!(
        season.contains(r#""from":"2026-11-30T23:00:00.000Z","to":"2026-12-08T00:00:00.000Z""#)
    );
}

#[test]
fn spacing_and_order_do_not_matter_to_a_value() {
    let canonical = r#"{"pricePerUnit":"0.5","unit":"request"}"#;
    let spaced = r#" { "unit" : "request", "pricePerUnit" : "0.500" } "#;
    assert_eq!(check_value("scrape", spaced).as_deref(), Ok(canonical));
    assert_eq!(
        check_value("system_mainnet", " true ").as_deref(),
        Ok("true")
    );
}
