//! The documents for people say what the rules and the code say.

use tidemark::domain::amount::{Bp, Money, Points};
use tidemark::domain::event::Reason;
use tidemark::domain::ids::Account;
use tidemark::domain::rating::{cascade, service_of};
use tidemark::domain::referral::SignupRefusal;
use tidemark::domain::rules::{Network, PriceKey, RateClass};
use tidemark::domain::semantics::Semantics;
use tidemark::log::Headers;
use tidemark::log::usage::{self, UsageRecord, decode_record_or_faults};

use super::helpers::rules;

const REWARDS: &str = include_str!("../../../docs/rewards.md");
const PRICING: &str = include_str!("../../../docs/pricing.md");
const WIRE: &str = include_str!("../../../docs/wire.md");

/// The rows of the tables whose header begins with these cells; code marks are cut.
fn table(document: &str, header: &[&str]) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let line = line.trim().trim_start_matches('|').trim_end_matches('|');
        line.split('|')
            .map(|cell| cell.trim().replace('`', ""))
            .collect()
    };
    let mut lines = document.lines();
    let found = lines.any(|line| {
        line.starts_with('|')
            && cells(line).starts_with(&header.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>())
    });
    assert!(found, "there is no table {header:?}");
    lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect()
}

fn points(text: &str) -> Points {
    text.parse().expect("points")
}

/// `×1.1` as basis points.
fn times(text: &str) -> Bp {
    let factor = points(text.strip_prefix('×').expect("a multiplier"));
    Bp(u32::try_from(factor.0 / 100).expect("small"))
}

/// `99.9 % and more` as basis points.
fn percent(text: &str) -> u64 {
    let (number, _) = text.split_once(" %").expect("per cent");
    u64::try_from(points(number).0 / 10_000).expect("small")
}

#[test]
fn points_for_a_request_are_those_of_the_rules() {
    let rules = rules(Network::Mainnet);
    let rows = table(REWARDS, &["request", "rules key"]);
    assert_eq!(rows.len(), RateClass::COUNT);
    for (class, row) in RateClass::ALL.into_iter().zip(rows) {
        assert_eq!(row[1], class.as_str());
        assert_eq!(points(&row[2]), rules.provider_earns(class), "{row:?}");
        assert_eq!(points(&row[3]), rules.user_earns(class), "{row:?}");
    }
}

#[test]
fn models_are_in_the_tiers_that_are_said() {
    let rules = rules(Network::Mainnet);
    for row in table(REWARDS, &["model", "tier"]) {
        assert_eq!(rules.detect(&row[0], Semantics::NOW).tier.as_str(), row[1]);
    }
}

#[test]
fn streaks_quality_and_targets_are_those_of_the_rules() {
    let rules = rules(Network::Mainnet);
    for row in table(REWARDS, &["active days in a row"]) {
        let days: u32 = row[0].parse().expect("days");
        let multiplier = times(&row[1]);
        assert_eq!(rules.streak(days), multiplier, "{row:?}");
        assert!(rules.streak(days - 1) < multiplier, "{row:?}");
        let bonus = Points::whole(100).times(Bp(multiplier.0 - 10_000));
        assert_eq!(bonus, points(&row[2]), "{row:?}");
    }
    for row in table(REWARDS, &["uptime"]) {
        assert_eq!(rules.uptime(percent(&row[0])), times(&row[1]), "{row:?}");
    }
    for row in table(REWARDS, &["mean latency, of its target"]) {
        assert_eq!(rules.latency(percent(&row[0])), times(&row[1]), "{row:?}");
    }
    for (class, row) in RateClass::ALL
        .into_iter()
        .zip(table(REWARDS, &["request", "target, ms"]))
    {
        assert_eq!(
            (row[0].as_str(), row[1].parse()),
            (class.as_str(), Ok(rules.target_ms(class)))
        );
    }
    assert!(REWARDS.contains(&format!(
        "at least {} requests",
        rules.quality_requests_min()
    )));
    assert!(REWARDS.contains(&format!(
        "at least {} %",
        rules.activity().provider_uptime.0 / 100
    )));
}

#[test]
fn referral_shares_awards_and_refusals_are_those_of_the_rules() {
    let rules = rules(Network::Mainnet);
    let rows = table(REWARDS, &["level"]);
    let shares: Vec<u64> = rows.iter().map(|row| percent(&row[1])).collect();
    assert_eq!(shares, rules.cascade().map(|bp| u64::from(bp.0)));
    let awards: Vec<Points> = table(REWARDS, &["award", "key"])
        .iter()
        .map(|row| points(&row[2]))
        .collect();
    assert_eq!(awards, [rules.trial(), rules.signup(), rules.milestone()]);
    let account: Account = serde_json::from_str(r#"["user","a"]"#).expect("an account");
    let refusals = [
        SignupRefusal::UnknownCode,
        SignupRefusal::InactiveCode,
        SignupRefusal::OwnCode,
        SignupRefusal::Cycle(account.clone()),
        SignupRefusal::AlreadyReferred(account),
    ];
    let codes: Vec<String> = table(REWARDS, &["code", "why"])
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    assert_eq!(codes, refusals.map(|refusal| refusal.code().to_owned()));
}

#[test]
fn the_example_of_one_request_adds_up() {
    let rules = rules(Network::Mainnet);
    let class = RateClass::MarianaDepth;
    let (provider, user) = (rules.provider_earns(class), rules.user_earns(class));
    let of_provider = cascade(provider, rules.cascade());
    let of_user = cascade(user, rules.cascade());
    let [q, r, s] = of_provider;
    let expected = [provider, q, r, s, user, rules.trial(), of_user[0]];
    let said: Vec<Points> = table(REWARDS, &["who", "points"])
        .iter()
        .map(|row| points(&row[1]))
        .collect();
    assert_eq!(said, expected);
}

#[test]
fn prices_are_those_of_the_rules() {
    let rules = rules(Network::Mainnet);
    let rows = table(PRICING, &["price key"]);
    assert_eq!(rows.len(), PriceKey::REQUIRED);
    for kind in ["_cached_input", "_cache_write", "_reasoning"] {
        assert!(PRICING.contains(&format!("`tide_pool{kind}`")), "{kind}");
    }
    for (key, row) in PriceKey::ALL.into_iter().zip(rows) {
        assert_eq!(row[0], key.as_str());
        let dollars: Money = row[2].parse().expect("dollars");
        assert_eq!(dollars, rules.price(key), "{row:?}");
        assert_eq!(row[3], key.unit().as_str());
    }
}

#[test]
fn every_reason_is_explained() {
    let rows = table(WIRE, &["code", "found by"]);
    let codes: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(codes, Reason::ALL.map(Reason::as_str));
}

#[test]
fn endpoints_and_limits_are_those_of_the_code() {
    for row in table(WIRE, &["ends with"]) {
        let service = service_of(&row[0]).expect("a service");
        assert_eq!(service.plain_name(), row[1]);
    }
    assert_eq!(usage::EVENT_BYTES_MAX, 64 << 10);
    assert_eq!(usage::COUNT_MAX, 1 << 40);
    assert!(WIRE.contains("| how long it took, ms | 0 to 86,400,000 (a day) |"));
    assert_eq!(usage::LATENCY_MS_MAX, 86_400_000);
    for (field, limit) in [
        ("data.endpoint", usage::ENDPOINT_CHARS_MAX),
        ("data.model", usage::MODEL_CHARS_MAX),
        ("data.errorMessage", usage::ERROR_MESSAGE_CHARS_MAX),
        ("subject", tidemark::domain::ids::ID_CHARS_MAX),
    ] {
        let rows = table(WIRE, &["CloudEvents", "plain"]);
        let row = rows
            .iter()
            .find(|row| row[0] == field)
            .expect("the field is there");
        assert!(row[4].contains(&format!("{limit} characters")), "{row:?}");
    }
}

#[test]
fn the_examples_of_events_are_accepted_and_say_the_same() {
    let headers = Headers::new();
    let examples: Vec<_> = WIRE
        .split("```json\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("a block"))
        .map(|json| decode_record_or_faults(json.as_bytes(), &headers).expect("accepted"))
        .collect();
    let [
        first,
        second,
        UsageRecord::Event(unfinished),
        UsageRecord::Reversal(reversal),
    ] = &examples[..]
    else {
        panic!("{examples:?}")
    };
    assert_eq!(first, second);
    let UsageRecord::Event(event) = first else {
        panic!("{first:?}")
    };
    assert_eq!((&unfinished.id, unfinished.time), (&event.id, event.time));
    assert_eq!(unfinished.input_tokens, None);
    let original = &reversal.original;
    assert_eq!((&original.id, &original.time), (&event.id, &event.time));
}
