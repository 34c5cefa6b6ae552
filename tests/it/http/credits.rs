//! Whether a gateway should serve a user.

use std::sync::Arc;

use axum::http::Method;
use tidemark::domain::amount::Money;
use tidemark::domain::rules::Network;
use tidemark::http::{Hosts, router};
use tidemark::store::credits::{CreditEntry, add};
use tower::ServiceExt;

use super::rows::{book, charged, rules};
use super::slow_db::{Counted, service_on};
use super::stand::{NOON, Stand};
use crate::store::user;

async fn added(stand: &Stand, who: &str, dollars: i128) {
    let entry = CreditEntry {
        idempotency_key: "1".to_owned(),
        amount: Money(dollars * 1_000_000_000),
        reason: "a test".to_owned(),
        by: "a test".to_owned(),
        at: NOON,
    };
    add(&stand.db, who, &entry).await.unwrap();
}

async fn spent(stand: &Stand, who: &str, dollars: i128) {
    // Over two months: the sum of a life stands in the newest row.
    let half = Money(dollars * 500_000_000);
    for month in ["2026-10", "2026-11"] {
        book(stand, &user(who), |entry| {
            charged(entry, month, half, half);
        })
        .await;
    }
}

#[tokio::test]
async fn on_testnet_everybody_is_served_and_on_mainnet_who_has_something_left() {
    // Added, spent, balance, whether mainnet serves.
    let rows = [
        ("nothing", 0, 0, "0", false),
        ("new", 5, 0, "5", true),
        ("some", 5, 4, "1", true),
        ("even", 5, 5, "0", false),
        ("overdrawn", 5, 7, "-2", false),
        ("unpaid", 0, 1, "-1", false),
        ("taken", -3, 0, "-3", false),
    ];
    for network in [Network::Testnet, Network::Mainnet] {
        let stand = Stand::new().await;
        rules(&stand, network).await;
        for (who, plus, minus, balance, on_mainnet) in rows {
            if plus != 0 {
                added(&stand, who, plus).await;
            }
            if minus != 0 {
                spent(&stand, who, minus).await;
            }
            let found = stand.get(&format!("/api/v1/credits/{who}")).await.json();
            let (name, serve) = match network {
                Network::Testnet => ("testnet", true),
                Network::Mainnet => ("mainnet", on_mainnet),
            };
            let expected = serde_json::json!({"userId": who, "balance": balance, "serve": serve, "network": name});
            assert_eq!(found, expected);
        }
    }
}

#[tokio::test]
async fn before_there_are_rules_the_balance_decides() {
    let stand = Stand::new().await;
    added(&stand, "alice", 1).await;
    for (who, serve) in [("alice", true), ("bob", false)] {
        let found = stand.get(&format!("/api/v1/credits/{who}")).await.json();
        assert_eq!(
            (&found["serve"], &found["network"]),
            (&serve.into(), &serde_json::Value::Null)
        );
    }
}

#[tokio::test]
async fn asking_takes_two_small_reads() {
    let stand = Stand::new().await;
    rules(&stand, Network::Mainnet).await;
    spent(&stand, "alice", 1).await;
    let db = Arc::new(Counted::new(stand.db.clone()));
    let service = service_on(&stand, db.clone());
    let ask = || async {
        let request = axum::http::Request::builder()
            .method(Method::GET)
            .uri("/api/v1/credits/alice")
            .header("host", "localhost")
            .header("authorization", format!("Bearer {}", stand.admin))
            .body(axum::body::Body::empty())
            .unwrap();
        let answer = router(service.clone(), Hosts::Loopback);
        assert_eq!(answer.oneshot(request).await.unwrap().status(), 200);
    };
    ask().await;
    // The key and the rules are remembered now; the rules for a second, within which one of the next tries is.
    let mut least = u64::MAX;
    for _ in 0..5 {
        let before = db.count();
        ask().await;
        least = least.min(db.count() - before);
    }
    assert_eq!(least, 2);
}
