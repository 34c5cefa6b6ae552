//! Prices over HTTP, as existing clients know them.

use axum::http::Method;
use serde_json::{Value, json};
use tidemark::domain::rules::Network;
use tidemark::domain::time::Millis;

use super::admin::{publish, put, send, stable, told};
use super::stand::{NOON, Stand};

const PATH: &str = "/api/admin/pricing";

fn price(amount: Value) -> Value {
    json!({"configKey": "tide_pool_input", "pricePerUnit": amount, "unit": "1000_tokens", "updatedBy": "carol"})
}

#[tokio::test]
async fn a_price_is_published_once_and_history_keeps_what_it_replaced() {
    let stand = Stand::new().await;
    let empty = stand.get(PATH).await;
    assert_eq!(
        empty.json(),
        json!({"isMainnet": null, "prices": [], "pending": []})
    );
    publish(&stand, Network::Mainnet).await;
    insta::assert_json_snapshot!("prices", stable(stand.get(PATH).await.json()));
    stand.clock.set(Millis(NOON.0 + 1_000));
    let set = stand.post(PATH, &price(json!("0.0003"))).await;
    insta::assert_json_snapshot!("price_set", stable(set.json()));
    // The same again is in force already: nothing is written.
    stand.clock.set(Millis(NOON.0 + 2_000));
    let again = stand.post(PATH, &price(json!(0.00030))).await;
    assert_eq!(again.json(), set.json());
    let later = json!({"configKey": "tide_pool_input", "pricePerUnit": 1, "unit": "1000_tokens", "updatedBy": "carol",
        "effectiveFrom": "2026-12-01T01:00:00+01:00", "reason": "a new contract"});
    let later = stand.post(PATH, &later).await.json();
    assert_eq!(later["effectiveFrom"], "2026-12-01T00:00:00.000Z");
    assert_eq!(later["pending"][0]["version"], 3);
    let current = stand.get(PATH).await.json();
    assert_eq!(current["prices"][0]["pricePerUnit"], "0.0003");
    let all = stand.get("/api/admin/pricing?history=true").await.json();
    let versions: Vec<(&Value, &Value)> = all["history"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|version| version["configKey"] == "tide_pool_input")
        .map(|version| (&version["version"], &version["pricePerUnit"]))
        .collect();
    assert_eq!(
        versions,
        [
            (&json!(1), &json!("0.0002")),
            (&json!(2), &json!("0.0003")),
            (&json!(3), &json!("1"))
        ]
    );
    insta::assert_json_snapshot!("prices_told", told(&stand, "pricing.publish").await[..2]);
}

#[tokio::test]
async fn what_is_to_come_is_named_until_it_is_called_back_or_has_begun() {
    let stand = Stand::new().await;
    publish(&stand, Network::Mainnet).await;
    let (first, second) = ("2026-12-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z");
    let at = |amount: &str, from: &str| {
        let mut body = price(json!(amount));
        body["effectiveFrom"] = json!(from);
        body
    };
    let pending = |answer: &Value| -> Vec<(String, String)> {
        let pending = answer["pending"].as_array().expect("a list").iter();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let one = |version: &Value| {
            (
                text(&version["effectiveFrom"]),
                text(&version["pricePerUnit"]),
            )
        };
        pending.map(one).collect()
    };
    let is = |rows: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = |(from, amount): &(&str, &str)| ((*from).to_owned(), (*amount).to_owned());
        rows.iter().map(owned).collect()
    };
    let answer = stand.post(PATH, &at("2", second)).await.json();
    assert_eq!(pending(&answer), is(&[(second, "2")]));
    let answer = stand.post(PATH, &at("1", first)).await.json();
    assert_eq!(pending(&answer), is(&[(first, "1"), (second, "2")]));
    // Called back: what holds today holds then, too.
    let answer = stand.post(PATH, &at("0.0002", first)).await.json();
    assert_eq!(pending(&answer), is(&[(first, "0.0002"), (second, "2")]));
    // Another key knows nothing of it.
    let mut other = price(json!("7"));
    other["configKey"] = json!("tide_pool_output");
    assert_eq!(pending(&stand.post(PATH, &other).await.json()), is(&[]));
    let shown = stand.get(PATH).await.json();
    assert_eq!(pending(&shown), is(&[(first, "0.0002"), (second, "2")]));
    stand.clock.set("2026-12-15T00:00:00Z".parse().unwrap());
    let shown = stand.get(PATH).await.json();
    assert_eq!(pending(&shown), is(&[(second, "2")]));
}

#[tokio::test]
async fn the_switch_of_the_network_can_be_set_again_and_again() {
    let stand = Stand::new().await;
    publish(&stand, Network::Testnet).await;
    let body = json!({"isMainnet": true, "updatedBy": "carol"});
    let first = put(&stand, PATH, &body).await;
    insta::assert_json_snapshot!("switch_set", stable(first.json()));
    assert_eq!(put(&stand, PATH, &body).await.json(), first.json());
    assert_eq!(stand.get(PATH).await.json()["isMainnet"], true);
    let off = json!({"isMainnet": false, "updatedBy": "carol"});
    assert_eq!(put(&stand, PATH, &off).await.json()["version"], 3);
    assert_eq!(told(&stand, "pricing.publish").await.len(), 3);
}

#[tokio::test]
async fn what_is_no_price_is_refused_with_what_is_allowed_and_nothing_is_written() {
    let stand = Stand::new().await;
    publish(&stand, Network::Testnet).await;
    let with = |name: &str, value: Value| {
        let mut body = price(json!("0.1"));
        body[name] = value;
        body.to_string()
    };
    let rows = [
        (
            with("configKey", json!("rules.streak")),
            422,
            "invalid_rules",
        ),
        (
            with("configKey", json!("system_mainnet")),
            422,
            "invalid_rules",
        ),
        (
            with("configKey", json!("no_such_key")),
            422,
            "invalid_rules",
        ),
        (with("unit", json!("minute")), 422, "invalid_rules"),
        (with("pricePerUnit", json!("-0.1")), 422, "invalid_rules"),
        (
            with("pricePerUnit", json!("1000000.000000001")),
            422,
            "invalid_rules",
        ),
        (
            with("pricePerUnit", json!("0.0000000001")),
            400,
            "invalid_body",
        ),
        (
            with("effectiveFrom", json!("2026-11-22T11:59:59.999Z")),
            422,
            "effective_from_in_the_past",
        ),
        (
            with("effectiveFrom", json!("2026-12-01")),
            400,
            "invalid_body",
        ),
        (
            with("effectiveFrom", json!("2026-12-01T00:00:00")),
            400,
            "invalid_body",
        ),
        (
            with("effectiveFrom", json!(1_795_348_800_000_i64)),
            400,
            "invalid_body",
        ),
        (with("reason", json!("")), 422, "invalid_reason"),
        (with("updatedBy", json!("a\nb")), 422, "invalid_updated_by"),
        (with("by", json!("eve")), 400, "invalid_body"),
    ];
    for (body, status, code) in rows {
        let answer = send(&stand, Method::POST, PATH, None, &body).await;
        assert_eq!(answer.code(), (status, code.to_owned()), "{body}");
    }
    let body = with("unit", json!("minute"));
    let answer = send(&stand, Method::POST, PATH, None, &body).await;
    insta::assert_json_snapshot!("price_refused", answer.json());
    assert_eq!(told(&stand, "pricing.publish").await.len(), 1);
}

#[tokio::test]
async fn a_price_takes_numbers_that_floats_cannot_hold() {
    let stand = Stand::new().await;
    for (given, kept) in [
        ("0.1", "0.1"),
        ("0.30000000000000000", "0.3"),
        ("999999.999999999", "999999.999999999"),
        ("\"0.000000001\"", "0.000000001"),
    ] {
        let body = format!(r#"{{"configKey":"scrape","pricePerUnit":{given},"unit":"request"}}"#);
        let answer = send(&stand, Method::POST, PATH, None, &body).await;
        assert_eq!(answer.json()["pricePerUnit"], kept, "{given}");
    }
}
