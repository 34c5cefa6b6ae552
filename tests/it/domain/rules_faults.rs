//! How faults of rules are told: all at once, each with its key, what is wrong and what is allowed.

use tidemark::domain::rules::{RulesDocument, check_value};

use super::helpers::{NO_SEASON, edited, season};

/// The faults of the testnet's document after some edits, as shown.
fn faults(edits: &[(&str, &str)]) -> Vec<String> {
    let refused = RulesDocument::parse_toml("my.toml", &edited(edits)).expect_err("has faults");
    refused.iter().map(ToString::to_string).collect()
}

/// One edit makes exactly one fault, which begins and ends so.
#[track_caller]
fn check(from: &str, to: &str, begins: &str, allows: &str) {
    let found = faults(&[(from, to)]);
    assert_eq!(found.len(), 1, "{found:#?}");
    let expected = format!("my.toml: {begins}");
    assert!(
        found[0].starts_with(&expected),
        "{} does not begin with {expected}",
        found[0]
    );
    assert!(
        found[0].ends_with(allows),
        "{} does not end with {allows}",
        found[0]
    );
}

#[test]
fn all_faults_are_told_at_once_each_with_its_key_and_what_is_allowed() {
    let found = faults(&[
        (
            "system_mainnet = false",
            "system_mainnet = \"no\"\nsystem_manet = true",
        ),
        (
            "tide_pool_input      = { pricePerUnit = \"0.0002\"",
            "tide_pool_input = { pricePerUnit = 0.0002",
        ),
        (
            "{ pricePerUnit = \"0.015\", unit = \"minute\" }",
            "{ pricePerUnit = \"cheap\", unit = \"hour\" }",
        ),
        ("tide_pool = \"1\"\n", ""),
        ("scrape = \"0.5\"", "scrape = \"0.5\"\nimages = \"1\""),
        ("embeddings = 10000", "embeddings = 4999"),
        ("cascade = [2000, 1000, 500]", "cascade = [2000, 1000]"),
        ("trial = \"5\"", "trial = \"-5\""),
    ]);
    assert_eq!(
        found,
        [
            "my.toml: system_manet: is not known; allowed: system_mainnet, prices, rules",
            "my.toml: system_mainnet: is \"no\"; allowed: true or false",
            "my.toml: prices.tide_pool_input.pricePerUnit: is 0.0002; allowed: a decimal in quotes, from \"0\" to \"1000000\"",
            "my.toml: prices.tts.pricePerUnit: 'cheap' is not a decimal number such as 12.5 or -0.25; allowed: a decimal in quotes, from \"0\" to \"1000000\"",
            "my.toml: prices.tts.unit: is \"hour\"; allowed: \"minute\"",
            "my.toml: rules.points.images: is not known; allowed: tide_pool, blue_surge, open_ocean, mariana_depth, embeddings, tts, scrape",
            "my.toml: rules.points.tide_pool: is missing; allowed: it must be given",
            "my.toml: rules.demand.embeddings: is 4999; allowed: a whole number from 5000 to 20000",
            "my.toml: rules.shares.cascade: has not three levels; allowed: three shares, the direct referrer's first",
            "my.toml: rules.awards.trial: is \"-5\"; allowed: a decimal in quotes, from \"0\" to \"1000000\"",
        ]
    );
}

#[test]
fn every_limit_has_its_fault() {
    for (from, to, begins, allows) in [
        (
            "\"0.0002\"",
            "\"1000000.1\"",
            "prices.tide_pool_input.pricePerUnit: is",
            "to \"1000000\"",
        ),
        (
            "\"0.0002\"",
            "\"0.0000000001\"",
            "prices.tide_pool_input.pricePerUnit: '0.0000000001' has more than 9",
            "to \"1000000\"",
        ),
        (
            "tts = \"2\"",
            "tts = \"1000.1\"",
            "rules.points.tts",
            "from \"0\" to \"1000\"",
        ),
        (
            "tts = \"2\"",
            "tts = 2",
            "rules.points.tts: is 2",
            "from \"0\" to \"1000\"",
        ),
        (
            "tts = 10000",
            "tts = 20001",
            "rules.demand.tts",
            "from 5000 to 20000",
        ),
        (
            "tts = 10000",
            "tts = 1e4",
            "rules.demand.tts",
            "from 5000 to 20000",
        ),
        (
            "tts = 10000",
            "tts = -1",
            "rules.demand.tts",
            "from 5000 to 20000",
        ),
        (
            "user = 1000",
            "user = 10001",
            "rules.shares.user",
            "from 0 to 10000",
        ),
        (
            "[2000, 1000, 500]",
            "[9000, 1000, 1]",
            "rules.shares.cascade: adds up to 10001",
            "at most 10000",
        ),
        (
            "[2000, 1000, 500]",
            "[2000, 1000, 500, 250]",
            "rules.shares.cascade: has 4",
            "at most 3",
        ),
        (
            "[2000, 1000, 500]",
            "2000",
            "rules.shares.cascade: is not a list",
            "at most 3",
        ),
        (
            "[2000, 1000, 500]",
            "[2000, \"x\", 500]",
            "rules.shares.cascade[1]: is \"x\"",
            "to 10000",
        ),
        (
            "days = 14",
            "days = 7",
            "rules.streak.steps: is out of order",
            "never a smaller multiplier",
        ),
        (
            "multiplier = 12000 },",
            "multiplier = 10999 },",
            "rules.streak.steps: is out of order",
            "never a smaller multiplier",
        ),
        (
            "days = 7, multiplier = 11000",
            "days = 7, multiplier = 9999",
            "rules.streak.steps[0].multiplier",
            "from 10000 to 100000",
        ),
        (
            "days = 7,",
            "days = 0,",
            "rules.streak.steps[0].days",
            "from 1 to 36500",
        ),
        (
            "minimumRequests = 20",
            "minimumRequests = 0",
            "rules.quality.minimumRequests",
            "from 1 to 1000000",
        ),
        (
            "uptime = [{ at = 9500",
            "uptime = [{ at = 9990",
            "rules.quality.uptime: is empty or out of order",
            "the one before",
        ),
        (
            "at = 9990,",
            "at = 10001,",
            "rules.quality.uptime[1].at",
            "from 0 to 10000",
        ),
        (
            "at = 20000, multiplier = 9000",
            "at = 20000, multiplier = 100001",
            "rules.quality.latency[2].multiplier",
            "from 0 to 100000",
        ),
        (
            "embeddings = 500",
            "embeddings = 0",
            "rules.quality.targetsMs.embeddings",
            "from 1 to 3600000",
        ),
        (
            "providerUptime = 9500",
            "providerUptime = 10001",
            "rules.activity.providerUptime",
            "from 0 to 10000",
        ),
        (
            "signup = \"100\"",
            "signup = \"1000001\"",
            "rules.awards.signup",
            "to \"1000000\"",
        ),
        (
            "tier = \"mariana_depth\"",
            "tier = \"deep\"",
            "rules.catalogue.models[0].tier: is \"deep\"",
            "\"open_ocean\", \"mariana_depth\"",
        ),
        (
            "name = \"gpt-4\"",
            "name = \"openai/gpt-4\"",
            "rules.catalogue.models[0].name",
            "spaces around it",
        ),
        (
            "name = \"gpt-4\"",
            "name = \"\"",
            "rules.catalogue.models[0].name: is \"\"",
            "control character",
        ),
        (
            "name = \"o3\"",
            "name = \"O1\"",
            "rules.catalogue.models[2].name: \"o1\" is listed twice",
            "each once",
        ),
        (
            "pattern = \"gpt-5*\"",
            "pattern = \"gpt-[*\"",
            "rules.catalogue.patterns[8].pattern",
            "\"gpt-[34]*\"",
        ),
        (
            "tidePoolMax = 4000",
            "tidePoolMax = 13000",
            "rules.catalogue.sizes: is out of order",
            "(millions of parameters)",
        ),
        (
            "\"awq\"",
            "\"AWQ\"",
            "rules.catalogue.sizes.fourBitMarks[3]",
            "such as \"awq\"",
        ),
        (
            "[rules.points]",
            "[rules.points",
            "line ",
            "TOML 1.0 (https://toml.io)",
        ),
        (
            "system_mainnet = false",
            "",
            "system_mainnet: is missing",
            "it must be given",
        ),
        (
            "system_mainnet = false",
            "system_mainnet = false\nsystem_mainnet = true",
            "line 12",
            "TOML 1.0 (https://toml.io)",
        ),
    ] {
        check(from, to, begins, allows);
    }
}

#[test]
fn seasons_have_an_order_and_do_not_overlap() {
    let backwards = season("2026-12-02T00:00:00Z", "2026-12-02T00:00:00Z", [10_000; 7]);
    check(
        NO_SEASON,
        &backwards,
        "rules.season[0].to: is not after from",
        "an instant after from",
    );
    let undated = season("2026-12-01", "\"2026-12-02T00:00:00\"", [10_000; 7]);
    let found = faults(&[(NO_SEASON, &undated)]);
    assert_eq!(found.len(), 2, "{found:#?}");
    let wild = season(
        "2026-12-01T00:00:00Z",
        "2026-12-02T00:00:00Z",
        [100_001, 0, 0, 0, 0, 0, 0],
    );
    check(
        NO_SEASON,
        &wild,
        "rules.season[0].multiplier.tide_pool",
        "from 0 to 100000",
    );
    let one = |from: u32, to: u32| {
        let multiplier = r#"{"tide_pool":1,"blue_surge":1,"open_ocean":1,"mariana_depth":1,"embeddings":1,"tts":1,"scrape":1}"#;
        format!(
            r#"{{"name":"from {from}","from":"2026-12-{from:02}T00:00:00Z","to":"2026-12-{to:02}T00:00:00Z","multiplier":{multiplier}}}"#
        )
    };
    let meeting = format!("[{},{}]", one(5, 9), one(1, 5));
    assert!(check_value("rules.season", &meeting).is_ok());
    let namesakes = format!("[{},{}]", one(5, 9), one(5, 9).replace("12-0", "11-0"));
    let found = check_value("rules.season", &namesakes).expect_err("one name");
    assert_eq!(
        found[0].to_string(),
        r#"rules.season: the seasons from 2026-12-05T00:00:00.000Z and from 2026-11-05T00:00:00.000Z are both named "from 5"; allowed: a name of its own for each season, such as "High tide 2026""#
    );
    let overlapping = format!("[{},{}]", one(5, 9), one(1, 6));
    let found = check_value("rules.season", &overlapping).expect_err("overlap");
    assert_eq!(
        found[0].to_string(),
        r#"rules.season: "from 1" and "from 5" overlap; allowed: one season at a time"#
    );
}

#[test]
fn a_single_value_is_checked_like_the_document() {
    for (key, json, fault) in [
        (
            "tide_pool_inputs",
            "1",
            "tide_pool_inputs: is not known; allowed: system_mainnet, tide_pool_input,",
        ),
        ("rules.points", "{", "rules.points: is not JSON ("),
        (
            "rules.points",
            "[]",
            "rules.points: is not a table; allowed: a table of tide_pool,",
        ),
        (
            "tts",
            r#"{"pricePerUnit":0.1,"unit":"minute"}"#,
            "tts.pricePerUnit: is 0.1; allowed: a decimal in quotes",
        ),
        (
            "system_mainnet",
            "1",
            "system_mainnet: is 1; allowed: true or false",
        ),
        (
            "scrape",
            r#"{"pricePerUnit":"0.1","unit":"minute"}"#,
            "scrape.unit: is \"minute\"; allowed: \"request\"",
        ),
        ("rules.demand", "{}", "rules.demand.tide_pool: is missing"),
    ] {
        let found = check_value(key, json).expect_err("a fault");
        let shown = found[0].to_string();
        assert!(shown.starts_with(fault), "{shown}");
    }
}

#[test]
fn a_huge_value_is_cut_in_its_message() {
    let json = format!("\"{}\"", "x".repeat(10_000));
    let found = check_value("system_mainnet", &json).expect_err("a fault");
    assert!(found[0].to_string().len() < 200);
}

#[test]
fn a_value_that_no_row_can_hold_is_refused() {
    let models: Vec<String> = (0..1_000)
        .map(|i| {
            format!(
                r#"{{"name":"{}{i:03}","tier":"tide_pool"}}"#,
                "é".repeat(125)
            )
        })
        .collect();
    let sizes = r#"{"tidePoolMax":1,"blueSurgeMax":2,"openOceanBelow":3,"openOceanFourBitMax":4,"fourBitMarks":[]}"#;
    let json = format!(
        r#"{{"sizes":{sizes},"models":[{}],"patterns":[]}}"#,
        models.join(",")
    );
    let found = check_value("rules.catalogue", &json).expect_err("too large");
    let shown = found[0].to_string();
    assert!(
        shown.ends_with("allowed: at most 262144 bytes of JSON"),
        "{shown}"
    );
}
