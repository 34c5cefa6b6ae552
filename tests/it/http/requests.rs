//! Explanations: the worked examples of the rules word for word, and who sees what of them.

use axum::http::Method;
use serde_json::{Value, json};
use tidemark::domain::amount::Points;
use tidemark::domain::ids::Account;
use tidemark::domain::rules::Network;
use tidemark::domain::time::{DAY_MS, Millis};
use tidemark::store::db::Attr;

use super::admin::{post, put as put_json};
use super::rated::{chain, completed, event, put, rated, reversed, row};
use super::rows::{book, rules, served};
use super::stand::{Answer, NOON, Stand};
use crate::store::{provider, user};

async fn stand(network: Network) -> Stand {
    let stand = Stand::new().await;
    rules(&stand, network).await;
    stand
}

/// p was referred by q, q by r, r by s; u by v.
async fn links(stand: &Stand) {
    let providers: Vec<Account> = ["p", "q", "r", "s"].map(provider).into();
    chain(stand, &providers).await;
    chain(stand, &[user("u"), user("v")]).await;
}

fn of(id: &str) -> String {
    format!("/api/admin/requests/u?source=gw&id={id}&time={NOON}")
}

async fn explained(stand: &Stand, id: &str) -> Value {
    let answer = stand.get(&of(id)).await;
    assert_eq!(answer.status.as_u16(), 200, "{:?}", answer.body);
    answer.json()
}

/// The sentences, as the command line prints them.
fn text(explained: &Value) -> String {
    let mut text = String::new();
    for section in explained["text"].as_array().unwrap() {
        text.push_str(&format!("{}\n", section["title"].as_str().unwrap()));
        for sentence in section["sentences"].as_array().unwrap() {
            text.push_str(&format!("  {}\n", sentence.as_str().unwrap()));
        }
    }
    text
}

async fn publish(stand: &Stand, key: &str, value: Value) {
    let body = json!({"value": value, "reason": "a test"});
    let answer = put_json(stand, &format!("/api/admin/rules/{key}"), &body).await;
    assert_eq!(answer.status.as_u16(), 200, "{key} {:?}", answer.body);
}

fn by_class(value: u32) -> Value {
    let names = tidemark::domain::rules::RateClass::NAMES;
    Value::Object(
        names
            .map(|name| (name.to_owned(), json!(value)))
            .into_iter()
            .collect(),
    )
}

#[tokio::test]
async fn example_1_a_chat_call_and_two_chains() {
    let stand = stand(Network::Testnet).await;
    links(&stand).await;
    rated(&stand, &event("r-1", json!({})), Millis(NOON.0 + 400)).await;
    book(&stand, &provider("p"), |entry| {
        served(entry, "2026-11-22", 30, Points::whole(450));
    })
    .await;
    book(&stand, &user("u"), |entry| {
        served(entry, "2026-11-22", 1, Points(1_500_000));
    })
    .await;
    let explained = explained(&stand, "r-1").await;
    insta::assert_snapshot!("example_1", text(&explained));
    insta::assert_json_snapshot!("example_1_json", without_text(explained));
}

fn without_text(mut explained: Value) -> Value {
    explained.as_object_mut().unwrap().remove("text");
    explained
}

#[tokio::test]
async fn example_2_a_scrape() {
    let stand = stand(Network::Testnet).await;
    let users: Vec<Account> = ["u", "a", "b", "c"].map(user).into();
    chain(&stand, &users).await;
    let scrape = json!({"endpoint": "/scrape?url=x", "model": null, "providerId": null, "inputTokens": null,
        "outputTokens": null, "latencyMs": null});
    rated(&stand, &event("r-2", scrape), NOON).await;
    insta::assert_snapshot!("example_2", text(&explained(&stand, "r-2").await));
}

#[tokio::test]
async fn example_3_demand_and_season() {
    let stand = stand(Network::Testnet).await;
    publish(&stand, "rules.demand", by_class(12_500)).await;
    let season = json!([{"name": "autumn", "from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z",
        "multiplier": by_class(15_000)}]);
    publish(&stand, "rules.season", season).await;
    let later = Millis(NOON.0 + 60_000);
    stand.clock.set(later);
    let change =
        json!({"model": "mistral-7b-instruct-q4_k_m.gguf", "timestamp": later.to_string()});
    rated(&stand, &event("r-3", change), later).await;
    let path = format!("/api/admin/requests/u?source=gw&id=r-3&time={later}");
    let explained = stand.get(&path).await.json();
    assert_eq!(explained["points"]["provider"], "5.625");
    assert_eq!(explained["points"]["user"]["points"], "0.5625");
    insta::assert_snapshot!("example_3", text(&explained));
}

#[tokio::test]
async fn example_5_a_charge_on_mainnet() {
    let stand = stand(Network::Mainnet).await;
    rated(
        &stand,
        &event("r-5", json!({"model": "openai/gpt-4o-mini"})),
        NOON,
    )
    .await;
    let by_tier = explained(&stand, "r-5").await;
    assert_eq!(by_tier["cost"]["cost"], "0.00015");
    insta::assert_snapshot!("example_5", text(&by_tier));
    // By prices of the model, with every kind of token.
    let prices = json!([{"match": "claude-*", "input": "0.003", "output": "0.015", "cachedInput": "0.0003",
        "cacheWrite": "0.00375", "reasoning": "0.0100001"}]);
    publish(&stand, "rules.modelPrices", prices).await;
    let later = Millis(NOON.0 + 60_000);
    stand.clock.set(later);
    let change = json!({"model": "anthropic/claude-3-5-haiku-20241022", "timestamp": later.to_string(),
        "inputTokens": 1_000, "cachedInputTokens": 600, "cacheWriteTokens": 100, "outputTokens": 101, "reasoningTokens": 7});
    rated(&stand, &event("r-6", change), later).await;
    let path = format!("/api/admin/requests/u?source=gw&id=r-6&time={later}");
    insta::assert_snapshot!("example_5_by_model", text(&stand.get(&path).await.json()));
}

#[tokio::test]
async fn a_request_that_failed_earns_nothing_and_says_so() {
    let stand = stand(Network::Testnet).await;
    rated(&stand, &event("r-7", json!({"statusCode": 503})), NOON).await;
    let explained = explained(&stand, "r-7").await;
    assert_eq!(explained["beneficiaries"], json!([]));
    assert_eq!(
        (&explained["points"], &explained["cost"]),
        (&Value::Null, &Value::Null)
    );
    let text = text(&explained);
    assert!(
        text.contains("recorded, and earns and costs nothing"),
        "{text}"
    );
    assert!(text.contains("exactly what was posted"), "{text}");
}

#[tokio::test]
async fn a_late_request_that_was_reversed_tells_both() {
    let stand = stand(Network::Testnet).await;
    links(&stand).await;
    let october: Millis = "2026-10-30T12:00:00Z".parse().unwrap();
    let late = event("r-8", json!({"timestamp": october.to_string()}));
    rated(&stand, &late, NOON).await;
    reversed(&stand, &late, ("gw", "refund-1"), Millis(NOON.0 + DAY_MS)).await;
    let path = format!("/api/admin/requests/u?source=gw&id=r-8&time={october}");
    let explained = stand.get(&path).await.json();
    assert_eq!(explained["booking"]["bookedLateIn"], "2026-11");
    assert_eq!(explained["reversal"]["bookedLateIn"], "2026-11");
    insta::assert_snapshot!("late_and_reversed", text(&explained));
}

#[tokio::test]
async fn a_completed_request_is_explained_by_everything_that_is_known_of_it() {
    let stand = stand(Network::Mainnet).await;
    links(&stand).await;
    let first =
        json!({"inputTokens": null, "outputTokens": null, "model": null, "providerId": null});
    rated(&stand, &event("r-14", first), NOON).await;
    let later = Millis("2026-12-05T00:00:00Z".parse::<Millis>().unwrap().0);
    completed(&stand, &event("r-14", json!({})), later).await;
    let told = explained(&stand, "r-14").await;
    assert_eq!(told["code"], Value::Null, "{told}");
    assert_eq!(
        (&told["points"]["provider"], &told["cost"]["cost"]),
        (&json!("15"), &json!("0.0012"))
    );
    assert_eq!(told["booking"]["bookedOn"], "2026-11-22");
    let step = &told["completion"];
    assert_eq!(step["bookedLateIn"], "2026-12");
    assert_eq!(
        (
            &step["providerBefore"],
            &step["userBefore"],
            &step["costBefore"]
        ),
        (&json!("0"), &json!("0.1"), &json!("0"))
    );
    let text = text(&told);
    for sentence in [
        "A later report at 2026-12-05T00:00:00.000Z told what the first had left open.",
        "the provider's amount had been 0 points, the user's 0.1 points, and the cost 0 USD. The difference is booked late in 2026-12,",
    ] {
        assert!(text.contains(sentence), "{sentence}: {text}");
    }
    let path = format!("/api/providers/p/requests?user=u&source=gw&id=r-14&time={NOON}");
    let served = stand.get(&path).await.json();
    assert_eq!(served["completion"]["providerBefore"], "0");
    assert!(
        served["completion"]["userBefore"].is_null()
            && served["completion"]["costBefore"].is_null()
    );
}

#[tokio::test]
async fn a_request_is_explained_by_the_rules_that_rated_it_not_by_those_of_today() {
    let stand = stand(Network::Testnet).await;
    let later = Millis(NOON.0 + 60_000);
    let of_later = json!({"timestamp": later.to_string()});
    rated(&stand, &event("r-9", of_later.clone()), later).await;
    chain(&stand, &[user("u"), user("v")]).await;
    publish(&stand, "rules.points", {
        let mut points = by_class(0);
        for value in points.as_object_mut().unwrap().values_mut() {
            *value = json!("2");
        }
        points
    })
    .await;
    rated(&stand, &event("r-10", of_later), later).await;
    let ask = async |id: &str| {
        let path = format!("/api/admin/requests/u?source=gw&id={id}&time={later}");
        stand.get(&path).await.json()
    };
    for _ in 0..2 {
        let before = ask("r-9").await;
        assert_eq!(before["points"]["provider"], "15", "{before}");
        assert_eq!(before["beneficiaries"].as_array().unwrap().len(), 2);
        let after = ask("r-10").await;
        assert_eq!(after["points"]["provider"], "2", "{after}");
        assert_eq!(after["beneficiaries"].as_array().unwrap().len(), 3);
        assert!(before["code"].is_null() && after["code"].is_null());
    }
}

#[tokio::test]
async fn steps_that_come_to_something_else_than_was_posted_say_so_loudly() {
    let stand = stand(Network::Testnet).await;
    for (attribute, value, what) in [
        ("userMicropoints", Attr::N(1_500_001), "user's amount"),
        (
            "providerMicropoints",
            Attr::N(14_999_999),
            "provider's amount",
        ),
        ("costNanos", Attr::N(1), "cost"),
        ("shadowCostNanos", Attr::N(1), "cost noted on testnet"),
        ("tier", Attr::S("blue_surge".to_owned()), "tier"),
        ("service", Attr::S("tts".to_owned()), "service"),
        ("bookedOn", Attr::S("2026-11-21".to_owned()), "booking"),
    ] {
        let mut row = row(&stand, &event(attribute, json!({})), NOON).await;
        row.insert(attribute, value);
        put(&stand, row).await;
        let explained = explained(&stand, attribute).await;
        assert_eq!(explained["code"], "explanation_differs", "{attribute}");
        let differences = explained["differences"].as_array().unwrap();
        assert_eq!(differences.len(), 1, "{differences:?}");
        let said = differences[0].as_str().unwrap();
        assert!(
            said.starts_with(&format!("The {what} was posted as ")),
            "{said}"
        );
        let text = text(&explained);
        assert!(text.contains("DIFFER FROM WHAT WAS POSTED"), "{text}");
        // A provider is not told what may be the user's.
        let path = format!("/api/providers/p/requests?user=u&source=gw&id={attribute}&time={NOON}");
        let told = stand.get(&path).await.json();
        assert_eq!(
            (&told["code"], &told["differences"]),
            (&json!("explanation_differs"), &Value::Null)
        );
    }
}

#[tokio::test]
async fn each_sees_its_own_part() {
    let stand = stand(Network::Mainnet).await;
    links(&stand).await;
    let request = event("r/1 ü", json!({}));
    rated(&stand, &request, NOON).await;
    for (account, points) in [
        (provider("p"), Points::whole(15)),
        (user("u"), Points(1_500_000)),
    ] {
        book(&stand, &account, |entry| {
            served(entry, "2026-11-22", 1, points)
        })
        .await;
    }
    let which = "source=gw&id=r%2F1%20%C3%BC";
    let ask = async |scope: &str, path: &str| -> Answer {
        let key = stand.key(&[scope]).await;
        stand.ask(Some(&key), Method::GET, path, None).await
    };
    let ids = |told: &Value| -> Vec<String> {
        let all = told["beneficiaries"].as_array().unwrap().iter();
        all.map(|of| of["id"].as_str().unwrap_or("-").to_owned())
            .collect()
    };
    // Without a time it is found by source and id.
    let admin = ask("admin:read", &format!("/api/admin/requests/u?{which}"))
        .await
        .json();
    assert_eq!(ids(&admin), ["p", "q", "r", "s", "u", "v"]);
    assert_eq!(admin["days"].as_array().unwrap().len(), 2);
    let own = ask("account:user:u", &format!("/api/users/u/requests?{which}")).await;
    let told = own.json();
    assert_eq!(ids(&told), ["p", "-", "-", "-", "u", "-"]);
    assert_eq!(told["days"].as_array().unwrap().len(), 1);
    assert_eq!(told["cost"]["cost"], admin["cost"]["cost"]);
    let own = String::from_utf8(own.body.to_vec()).unwrap();
    for id in ["\"q\"", "provider q", "provider r", "provider s", "user v"] {
        assert!(!own.contains(id), "{id}: {own}");
    }
    let served = ask(
        "account:provider:p",
        &format!("/api/providers/p/requests?user=u&{which}&time={NOON}"),
    )
    .await;
    let told = served.json();
    assert_eq!(ids(&told), ["p", "-", "-", "-"]);
    for hidden in ["cost", "userId"] {
        assert!(told[hidden].is_null(), "{hidden}");
    }
    let served = String::from_utf8(served.body.to_vec()).unwrap();
    for hidden in [
        "user u",
        "provider q",
        "USD",
        "system_mainnet",
        "user's share",
    ] {
        assert!(!served.contains(hidden), "{hidden}: {served}");
    }
    // Another provider is told of no such request.
    let other = ask(
        "account:provider:p2",
        &format!("/api/providers/p2/requests?user=u&{which}&time={NOON}"),
    )
    .await;
    assert_eq!(other.code(), (404, "unknown_request".to_owned()));
    // What cannot be found, or asked for.
    for (path, code) in [
        (
            format!("/api/admin/requests/u?{which}&time=2026-11-22T12:00:00.001Z"),
            (404, "unknown_request"),
        ),
        (
            "/api/admin/requests/u?source=gw&id=r-2".to_owned(),
            (404, "unknown_request"),
        ),
        (
            format!("/api/admin/requests/v?{which}"),
            (404, "unknown_request"),
        ),
        (
            format!("/api/admin/requests/u?{which}&time=noon"),
            (400, "invalid_query"),
        ),
        (
            "/api/admin/requests/u?source=gw".to_owned(),
            (400, "invalid_query"),
        ),
        (
            format!("/api/providers/p/requests?user=u&{which}"),
            (400, "invalid_query"),
        ),
        (
            format!("/api/admin/requests/u?{which}&other=1"),
            (400, "invalid_query"),
        ),
    ] {
        let answer = stand.get(&path).await;
        assert_eq!(answer.code(), (code.0, code.1.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_decoded_is_told_from_one_that_is_not_there() {
    let stand = stand(Network::Testnet).await;
    let mut broken = row(&stand, &event("r-11", json!({})), NOON).await;
    broken.insert("userMicropoints", Attr::S("many".to_owned()));
    put(&stand, broken).await;
    let answer = stand.get(&of("r-11")).await;
    assert_eq!(answer.code(), (409, "row_unreadable".to_owned()));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("userMicropoints"), "{detail}");
    let mut elsewhere = row(&stand, &event("r-12", json!({})), NOON).await;
    elsewhere.insert("endpoint", Attr::S("/no/service".to_owned()));
    put(&stand, elsewhere).await;
    let answer = stand.get(&of("r-12")).await;
    assert_eq!(answer.code(), (409, "row_unreadable".to_owned()));
}

#[tokio::test]
async fn a_reversal_shows_as_sent_until_it_is_rated_and_then_with_who_asked_for_it() {
    let stand = stand(Network::Testnet).await;
    let request = event("r-13", json!({}));
    rated(&stand, &request, NOON).await;
    let body = json!({"userId": "u", "source": "gw", "id": "r-13", "time": NOON.to_string(), "reason": "cut off"});
    let sent = post(&stand, "/api/admin/reversals", "ticket-1", &body).await;
    assert_eq!(sent.status.as_u16(), 202, "{:?}", sent.body);
    let waiting = explained(&stand, "r-13").await;
    assert_eq!(waiting["reversalSent"]["key"], "ticket-1");
    assert!(waiting["reversalSent"]["by"].is_string() && waiting["reversal"].is_null());
    reversed(&stand, &request, ("tidemark-admin", "ticket-1"), NOON).await;
    let done = explained(&stand, "r-13").await;
    assert!(done["reversalSent"].is_null());
    assert_eq!(done["reversal"]["by"], waiting["reversalSent"]["by"]);
    assert_eq!(done["reversal"]["tookBack"], done["beneficiaries"]);
    let own = stand
        .get(&format!(
            "/api/users/u/requests?source=gw&id=r-13&time={NOON}"
        ))
        .await
        .json();
    assert!(own["reversal"]["by"].is_null(), "{own}");
}
