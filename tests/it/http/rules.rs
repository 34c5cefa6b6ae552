//! Rules over HTTP: versions, dry runs, and every fault at once.

use axum::http::Method;
use serde_json::{Value, json};
use tidemark::domain::rules::Network;
use tidemark::domain::time::Millis;

use super::admin::{document, post, publish, put, send, stable, told};
use super::stand::{NOON, Stand};

const PATH: &str = "/api/admin/rules";

fn awards(signup: &str) -> Value {
    json!({"value": {"trial": "10", "signup": signup, "milestone": "500"}, "reason": "a campaign"})
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let stand = Stand::new().await;
    publish(&stand, Network::Testnet).await;
    stand.clock.set(Millis(NOON.0 + 1_000));
    let before = stand.get(PATH).await.json();
    let dry = put(
        &stand,
        "/api/admin/rules/rules.awards?dryRun=true",
        &awards("123.5"),
    )
    .await;
    insta::assert_json_snapshot!("dry_run", dry.json());
    assert_eq!(stand.get(PATH).await.json(), before);
    assert_eq!(told(&stand, "pricing.publish").await.len(), 1);
    // The same without it is written.
    let written = put(&stand, "/api/admin/rules/rules.awards", &awards("123.5"))
        .await
        .json();
    let mut expected = dry.json();
    expected["dryRun"] = json!(false);
    expected["control"] = json!(2);
    assert_eq!(written, expected);
    let shown = stand
        .get("/api/admin/rules/rules.awards?history=true")
        .await;
    insta::assert_json_snapshot!("rule_with_history", stable(shown.json()));
    let again = put(&stand, "/api/admin/rules/rules.awards", &awards("123.50"))
        .await
        .json();
    assert_eq!(again["unchanged"], json!(["rules.awards"]));
    assert_eq!(again["control"], Value::Null);
    assert_eq!(told(&stand, "pricing.publish").await.len(), 2);
}

#[tokio::test]
async fn a_whole_document_is_published_at_once_and_only_what_differs_is_written() {
    let stand = Stand::new().await;
    publish(&stand, Network::Testnet).await;
    let body = json!({"values": document(Network::Mainnet), "reason": "mainnet", "effectiveFrom": "2027-01-01T00:00:00Z"});
    let answer = stand.post(PATH, &body).await.json();
    let changed: Vec<&str> = answer["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["key"].as_str().unwrap())
        .collect();
    assert!(changed.contains(&"system_mainnet"), "{answer}");
    let unchanged = answer["unchanged"].as_array().unwrap().len();
    assert_eq!(changed.len() + unchanged, 21);
    let examples = answer["examples"].as_array().unwrap();
    let charged = examples.iter().find(|example| {
        example["what"] == "USD that are charged for 1,000 tokens in, mariana_depth"
    });
    assert_eq!(charged.unwrap()["before"], "0");
    assert_eq!(charged.unwrap()["after"], "0.004");
    // Not before the year has begun.
    for (now, is_mainnet) in [
        ("2026-12-31T23:59:59Z", false),
        ("2027-01-01T00:00:00Z", true),
    ] {
        stand.clock.set(now.parse().unwrap());
        let shown = stand.get("/api/admin/rules/system_mainnet").await.json();
        assert_eq!(shown["current"]["value"], is_mainnet, "{now}");
    }
    let all = stand.get(PATH).await.json();
    assert_eq!(all["control"], 2);
    assert_eq!(all["rules"].as_array().unwrap().len(), 21);
}

#[tokio::test]
async fn every_fault_of_every_key_comes_at_once_with_what_is_allowed() {
    let stand = Stand::new().await;
    publish(&stand, Network::Testnet).await;
    let body = json!({"reason": "x", "values": {
        "tts": {"pricePerUnit": "0.0000000001", "unit": "hour"},
        "rules.streak": {"steps": [{"days": 0, "multiplier": 9_999}]},
        "rules.shares": {"user": 1_000, "cascade": [9_000, 1_000, 1_000]},
        "rules.activity": {"providerUptime": 1},
        "no.such.key": 1,
    }});
    for path in [PATH, "/api/admin/rules?dryRun=true"] {
        let answer = stand.post(path, &body).await;
        assert_eq!(answer.code(), (422, "invalid_rules".to_owned()));
        insta::assert_json_snapshot!("rules_refused", answer.json());
    }
    // Alone, since it is about what was published before.
    let body = json!({"value": {"providerUptime": 1}, "reason": "x"});
    for path in [
        "/api/admin/rules/rules.activity",
        "/api/admin/rules/rules.activity?dryRun=true",
    ] {
        let answer = put(&stand, path, &body).await;
        assert_eq!(answer.code(), (422, "invalid_rules".to_owned()), "{path}");
    }
    assert_eq!(told(&stand, "pricing.publish").await.len(), 1);
}

#[tokio::test]
async fn what_is_not_understood_is_refused() {
    let stand = Stand::new().await;
    publish(&stand, Network::Testnet).await;
    let one = "/api/admin/rules/rules.awards";
    let good = awards("1").to_string();
    let rows = [
        (
            Method::PUT,
            "/api/admin/rules/nope",
            good.clone(),
            404,
            "unknown_rule",
        ),
        (
            Method::PUT,
            "/api/admin/rules/rules.awards?dryrun=true",
            good.clone(),
            400,
            "invalid_query",
        ),
        (
            Method::PUT,
            "/api/admin/rules/rules.awards?dryRun=maybe",
            good,
            400,
            "invalid_query",
        ),
        (
            Method::PUT,
            one,
            r#"{"value":{}}"#.to_owned(),
            400,
            "invalid_body",
        ),
        (
            Method::PUT,
            one,
            r#"{"value":{},"reason":""}"#.to_owned(),
            422,
            "invalid_reason",
        ),
        (
            Method::PUT,
            one,
            r#"{"value":{},"reason":"x"}"#.to_owned(),
            422,
            "invalid_rules",
        ),
        (
            Method::PUT,
            one,
            r#"{"value":1e999,"reason":"x"}"#.to_owned(),
            400,
            "invalid_body",
        ),
        (
            Method::POST,
            PATH,
            r#"{"values":{},"reason":"x"}"#.to_owned(),
            400,
            "no_values",
        ),
        (
            Method::POST,
            PATH,
            r#"{"values":{"scrape":1,"scrape":2},"reason":"x"}"#.to_owned(),
            400,
            "invalid_body",
        ),
        (
            Method::POST,
            PATH,
            r#"{"values":[],"reason":"x"}"#.to_owned(),
            400,
            "invalid_body",
        ),
    ];
    for (method, path, body, status, code) in rows {
        let answer = send(&stand, method, path, None, &body).await;
        assert_eq!(answer.code(), (status, code.to_owned()), "{path} {body}");
    }
    let answer = stand.get("/api/admin/rules/nope").await;
    assert_eq!(answer.code(), (404, "unknown_rule".to_owned()));
}

#[tokio::test]
async fn what_is_noted_on_testnet_is_an_example_of_a_price_too() {
    let stand = Stand::new().await;
    publish(&stand, Network::Testnet).await;
    let rows = [
        (
            "tide_pool_input",
            "1000_tokens",
            "1,000 tokens in, tide_pool",
        ),
        ("tts", "minute", "a minute, tts"),
    ];
    for (key, unit, what) in rows {
        let body = json!({"value": {"pricePerUnit": "7", "unit": unit}, "reason": "x"});
        let path = format!("{PATH}/{key}?dryRun=true");
        let examples = put(&stand, &path, &body).await.json()["examples"].clone();
        let what = format!("USD that would be charged on mainnet for {what}");
        assert_eq!(examples[0]["what"], json!(what), "{examples}");
        assert_eq!(examples[0]["after"], "7");
    }
}

#[tokio::test]
async fn a_route_that_writes_refuses_a_query_that_it_does_not_know() {
    let stand = Stand::new().await;
    publish(&stand, Network::Testnet).await;
    let price = json!({"configKey": "scrape", "pricePerUnit": "7", "unit": "request"});
    let rows = [
        ("/api/admin/pricing", price),
        (
            "/api/admin/credits",
            json!({"userId": "a", "amount": 1, "reason": "x"}),
        ),
        (
            "/api/admin/adjustments",
            json!({"kind": "user", "id": "a", "points": 1, "reason": "x"}),
        ),
        (
            "/api/admin/keys",
            json!({"name": "x", "scopes": ["admin:read"]}),
        ),
    ];
    for (path, body) in rows {
        let answer = post(&stand, &format!("{path}?dryRun=true"), "k", &body).await;
        assert_eq!(answer.code(), (400, "invalid_query".to_owned()), "{path}");
    }
    let mainnet = json!({"isMainnet": true});
    let answer = put(&stand, "/api/admin/pricing?dryRun=true", &mainnet).await;
    assert_eq!(answer.code(), (400, "invalid_query".to_owned()));
    assert_eq!(told(&stand, "pricing.publish").await.len(), 1);
    assert_eq!(told(&stand, "credits.add").await.len(), 0);
}
