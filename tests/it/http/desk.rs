//! What an admin's desk asks the API: one search, the trail by actor, subject, action and time, and
//! requests of a day by id, model and status.

use axum::http::Method;
use serde_json::{Value, json};
use tidemark::domain::amount::Points;
use tidemark::domain::rules::Network;
use tidemark::domain::time::Millis;

use super::admin::{post, publish, put};
use super::rows::{book, request, rules, served};
use super::stand::{NOON, Stand};
use crate::store::provider;

#[tokio::test]
async fn a_search_finds_what_there_is_of_accounts_codes_and_keys() {
    let stand = Stand::new().await;
    rules(&stand, Network::Testnet).await;
    let search = async |q: &str| {
        let answer = stand.get(&format!("/api/admin/search?q={q}")).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        answer.json()
    };
    let nothing = json!({"accounts": [], "code": null, "keys": [], "furtherKeys": 0});
    assert_eq!(search("nobody").await, nothing);
    book(&stand, &provider("alice"), |entry| {
        served(entry, "2026-11-22", 1, Points(1));
    })
    .await;
    let credit = json!({"userId": "alice", "amount": "1", "reason": "a gift"});
    post(&stand, "/api/admin/credits", "k", &credit).await;
    let own = stand.key(&["account:user:alice"]).await;
    let owner = json!({"userType": "user", "userId": "alice"});
    let key = Some(own.as_str());
    let made = stand
        .ask(key, Method::POST, "/api/referrals/code", Some(&owner))
        .await;
    assert_eq!(made.status, 200, "{:?}", made.body);
    let found = search("alice").await;
    let accounts = found["accounts"].as_array().unwrap();
    let known = |kind: &str| {
        let of = accounts.iter().find(|one| one["userType"] == kind).unwrap();
        of["knownBy"].as_array().unwrap().clone()
    };
    assert_eq!(known("provider"), [json!("row")]);
    assert_eq!(known("user"), ["code", "credits", "key"].map(Value::from));
    let code = made.json()["code"].as_str().unwrap().to_owned();
    let found = search(&code.to_lowercase()).await;
    assert_eq!(found["code"]["code"], code.as_str());
    assert_eq!(found["code"]["owner"], json!(["user", "alice"]));
    // A key by its id, its name, or its whole text; never its secret.
    let id = own.split('_').nth(1).unwrap();
    for text in [id, &own] {
        let found = search(text).await;
        assert_eq!(found["keys"][0]["id"], id);
        assert!(!found.to_string().contains(&own));
    }
    assert!(search("a%20test").await["keys"].as_array().unwrap().len() > 1);
    for q in ["", &"x".repeat(201)] {
        let answer = stand.get(&format!("/api/admin/search?q={q}")).await;
        assert_eq!(answer.code(), (400, "invalid_query".to_owned()));
    }
}

#[tokio::test]
async fn the_trail_is_asked_by_actor_subject_action_and_time() {
    let stand = Stand::new().await;
    publish(&stand, Network::Testnet).await;
    stand.clock.set(Millis(NOON.0 + 1_000));
    let price = json!({"value": {"pricePerUnit": "0.25", "unit": "request"}, "reason": "dearer"});
    put(&stand, "/api/admin/rules/scrape", &price).await;
    for n in 0..7 {
        stand.clock.set(Millis(NOON.0 + 2_000 + n));
        let user = format!("user-{n}");
        let credit = json!({"userId": user, "amount": "1", "reason": "a gift"});
        post(&stand, "/api/admin/credits", &format!("k-{n}"), &credit).await;
    }
    let ask = async |query: &str| {
        let answer = stand.get(&format!("/api/admin/audit?{query}")).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        answer.json()
    };
    let subjects = |page: &Value| -> Vec<String> {
        let entries = page["entries"].as_array().unwrap().iter();
        let subject = |entry: &Value| entry["subject"].as_str().unwrap().to_owned();
        entries.map(subject).collect()
    };
    for (query, count) in [
        ("action=credits.add", 7),
        ("action=CREDITS", 7),
        ("action=redits", 0),
        ("subject=user-3", 1),
        ("subject=USER", 7),
        ("actor=a%20test%27s&action=pricing", 2),
        ("actor=nobody", 0),
        ("from=2026-11-22T12:00:02.003Z", 4),
        ("until=2026-11-22T12:00:02.003Z&action=credits", 3),
        (
            "from=2026-11-22T12:00:02.001Z&until=2026-11-22T12:00:02.003Z",
            2,
        ),
    ] {
        assert_eq!(subjects(&ask(query).await).len(), count, "{query}");
    }
    // Ranges that end before they begin, and pages from outside of a range, are empty or begin at
    // its end.
    let before = |at: &str| format!("before={at}%23credits.add%230");
    let outside = [
        (
            "from=2026-11-23T00:00:00Z&until=2026-11-22T00:00:00Z".to_owned(),
            0,
        ),
        (
            "from=2026-11-22T12:00:02Z&until=2026-11-22T12:00:02Z".to_owned(),
            0,
        ),
        (
            format!(
                "from=2026-11-22T12:00:02Z&{}",
                before("2026-11-22T12:00:01.000Z")
            ),
            0,
        ),
        (
            format!(
                "from=2026-11-22T12:00:02Z&{}",
                before("2026-11-23T12:00:00.000Z")
            ),
            7,
        ),
        (
            format!(
                "from=2026-11-22T12:00:02Z&until=2026-11-22T12:00:02.003Z&{}",
                before("2026-11-23T12:00:00.000Z")
            ),
            3,
        ),
        (
            format!(
                "from=2026-11-22T12:00:02Z&{}",
                before("2026-11-22T12:00:02.003Z")
            ),
            3,
        ),
        ("from=2026-11-22T12:00:02Z&before=~".to_owned(), 7),
    ];
    for (query, count) in outside {
        assert_eq!(subjects(&ask(&query).await).len(), count, "{query}");
    }
    // Page by page, none twice and none missing.
    for filter in [
        "action=credits",
        "subject=user",
        "from=2026-11-22T12:00:02Z",
    ] {
        let (mut all, mut next) = (Vec::new(), String::new());
        loop {
            let page = ask(&format!("{filter}&limit=2{next}")).await;
            all.extend(subjects(&page));
            match page["next"].as_str() {
                Some(key) => next = format!("&before={}", key.replace('#', "%23")),
                None => break,
            }
        }
        let expected: Vec<String> = (0..7).rev().map(|n| format!("user:user-{n}")).collect();
        assert_eq!(all, expected, "{filter}");
    }
    // Old and new value.
    let page = ask("subject=scrape").await;
    let change = &page["entries"][0]["changes"][0];
    assert_eq!(change["path"], "scrape.pricePerUnit");
    assert_eq!(change["after"], "0.25");
    assert!(change["before"].is_string(), "{page}");
    for query in ["from=yesterday", "until=1"] {
        let answer = stand.get(&format!("/api/admin/audit?{query}")).await;
        assert_eq!(answer.code(), (400, "invalid_query".to_owned()));
    }
}

#[tokio::test]
async fn requests_of_a_day_are_asked_by_id_model_and_status() {
    let stand = Stand::new().await;
    for n in 0..30 {
        request(&stand, "alice", &format!("r-{n:02}"), Millis(NOON.0 + n)).await;
    }
    let ask = async |query: &str| {
        let path = format!("/api/users/alice/usage?day=2026-11-22&{query}");
        let answer = stand.get(&path).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        answer.json()
    };
    let count = |page: &Value| page["requests"].as_array().unwrap().len();
    for (query, expected) in [
        ("", 30),
        ("id=r-07", 1),
        ("id=r-1", 10),
        ("model=llama", 30),
        ("model=LLAMA-3-70B&id=r-2", 10),
        ("model=gpt", 0),
        ("status=200", 30),
        ("status=2xx", 30),
        ("status=404", 0),
        ("status=5XX", 0),
    ] {
        assert_eq!(count(&ask(query).await), expected, "{query}");
    }
    // Page by page: full ones but the last, none twice and none missing.
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let page = ask(&format!("id=r-1&limit=3{after}")).await;
        let has_next = page["next"].is_string();
        assert_eq!(count(&page), if has_next { 3 } else { 1 }, "{page}");
        let requests = page["requests"].as_array().unwrap().iter();
        ids.extend(requests.map(|line| line["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let expected: Vec<String> = (10..20).map(|n| format!("r-{n}")).collect();
    assert_eq!(ids, expected);
    for status in ["all", "0xx", "99", "20x"] {
        let path = format!("/api/users/alice/usage?status={status}");
        let answer = stand.get(&path).await;
        assert_eq!(answer.code(), (400, "invalid_query".to_owned()), "{status}");
    }
}
