//! Credits: exact, once per key, and told.

use std::sync::Arc;

use axum::http::Method;
use futures::future::join_all;
use serde_json::{Value, json};
use tidemark::domain::amount::Points;
use tidemark::domain::rules::Network;
use tidemark::store::awards::{ADJUSTED_MAX, ADJUSTMENT_MAX, Adjustment, Granted, adjustment};

use super::admin::{post, publish, send, stable, told};
use super::stand::{NOON, Stand};
use crate::store::user;

const PATH: &str = "/api/admin/credits";

fn credit(amount: &str) -> Value {
    json!({"userId": "alice", "amount": amount, "reason": "invoice 1001"})
}

#[tokio::test]
async fn credit_is_added_once_per_key_and_shown_with_its_entries() {
    let stand = Stand::new().await;
    publish(&stand, Network::Testnet).await;
    let first = post(&stand, PATH, "invoice-1001", &credit("25.5")).await;
    insta::assert_json_snapshot!("credit_added", first.json());
    let again = post(&stand, PATH, "invoice-1001", &credit("25.5")).await;
    assert_eq!(again.json(), first.json());
    let refused = post(&stand, PATH, "invoice-1001", &credit("26")).await;
    assert_eq!(refused.code(), (422, "idempotency_key_reused".to_owned()));
    let other = json!({"userId": "alice", "amount": "25.5", "reason": "another"});
    let refused = post(&stand, PATH, "invoice-1001", &other).await;
    assert_eq!(refused.code(), (422, "idempotency_key_reused".to_owned()));
    let back = json!({"userId": "alice", "amount": -30, "reason": "a chargeback"});
    let back = post(&stand, PATH, "chargeback-7", &back).await;
    assert_eq!(back.json()["added"], "-4.5");
    let shown = stand.get("/api/admin/credits?userId=alice").await;
    insta::assert_json_snapshot!("credits_shown", stable(shown.json()));
    // Each user has keys of its own.
    let other = json!({"userId": "bob", "amount": 1, "reason": "x"});
    let other = post(&stand, PATH, "invoice-1001", &other).await;
    assert_eq!(other.json()["added"], "1");
    insta::assert_json_snapshot!("credits_told", told(&stand, "credits.add").await);
}

#[tokio::test]
async fn amounts_are_read_from_their_digits_or_refused() {
    let stand = Stand::new().await;
    // What stands in the body, and the sum of all that were taken so far.
    let taken = [
        ("0.1", "0.1"),
        ("0.2", "0.3"),
        ("\"0.1\"", "0.4"),
        ("0.10", "0.5"),
        ("0.000000001", "0.500000001"),
        ("\"999999.987654321\"", "1000000.487654322"),
        ("-999999.987654321", "0.500000001"),
        ("0.0000000010000", "0.500000002"),
        ("1e3", "1000.500000002"),
        ("-1.0E+3", "0.500000002"),
        ("10e-10", "0.500000003"),
        ("-0.1e-8", "0.500000002"),
    ];
    for (n, (amount, sum)) in taken.iter().enumerate() {
        let body = format!(r#"{{"userId":"alice","amount":{amount},"reason":"x"}}"#);
        let answer = send(&stand, Method::POST, PATH, Some(&format!("k-{n}")), &body).await;
        assert_eq!(answer.json()["added"], *sum, "{amount}");
    }
    let refused = [
        "0.0000000001",
        "\"0.0000000001\"",
        "1e-10",
        "15e-10",
        "1e400",
        "1e-400",
        "1e41",
        "1e99999999999",
        "\"1e400\"",
        "\"1e3\"",
        "\" 1\"",
        "\"1 \"",
        "\"1 000\"",
        "\"1,5\"",
        "\"+1\"",
        "\".5\"",
        "\"5.\"",
        "\"0x10\"",
        "\"\"",
        "\"NaN\"",
        "\"Infinity\"",
        "\"\u{661}\"",
        "NaN",
        "null",
        "true",
        "[1]",
        "{}",
        "01",
        "1.",
        "+1",
    ];
    for amount in refused {
        let body = format!(r#"{{"userId":"alice","amount":{amount},"reason":"x"}}"#);
        let answer = send(&stand, Method::POST, PATH, Some("refused"), &body).await;
        assert_eq!(answer.code(), (400, "invalid_body".to_owned()), "{amount}");
    }
    let huge = format!(
        r#"{{"userId":"alice","amount":1{},"reason":"x"}}"#,
        "0".repeat(29)
    );
    let of = |amount: &str| format!(r#"{{"userId":"alice","amount":{amount},"reason":"x"}}"#);
    let rows = ["0", "-0", "\"-0\"", "0e40", "1000000.000000001", "-1000001"];
    for body in rows.map(of).into_iter().chain([huge]) {
        let answer = send(&stand, Method::POST, PATH, Some("huge"), &body).await;
        assert_eq!(
            answer.code(),
            (422, "amount_out_of_range".to_owned()),
            "{body}"
        );
    }
    let shown = stand.get("/api/admin/credits?userId=alice").await.json();
    assert_eq!(shown["added"], "0.500000002");
    assert_eq!(shown["entries"].as_array().unwrap().len(), taken.len());
}

#[tokio::test]
async fn a_body_says_exactly_what_is_meant_and_a_key_is_needed() {
    let stand = Stand::new().await;
    let good = r#"{"userId":"alice","amount":1,"reason":"x"}"#;
    let rows = [
        (
            r#"{"userId":"alice","amount":1}"#,
            Some("k"),
            400,
            "invalid_body",
        ),
        (
            r#"{"userId":"alice","amount":1,"reason":"x","by":"eve"}"#,
            Some("k"),
            400,
            "invalid_body",
        ),
        (
            r#"{"userId":"alice","userId":"bob","amount":1,"reason":"x"}"#,
            Some("k"),
            400,
            "invalid_body",
        ),
        (
            r#"{"user_id":"alice","amount":1,"reason":"x"}"#,
            Some("k"),
            400,
            "invalid_body",
        ),
        (r#"[]"#, Some("k"), 400, "invalid_body"),
        ("", Some("k"), 400, "invalid_body"),
        ("\u{0}", Some("k"), 400, "invalid_body"),
        (
            r#"{"userId":"","amount":1,"reason":"x"}"#,
            Some("k"),
            400,
            "invalid_id",
        ),
        (
            r#"{"userId":"a\nb","amount":1,"reason":"x"}"#,
            Some("k"),
            400,
            "invalid_id",
        ),
        (
            r#"{"userId":"alice","amount":1,"reason":" "}"#,
            Some("k"),
            422,
            "invalid_reason",
        ),
        (
            r#"{"userId":"alice","amount":1,"reason":"a\u001b[2J"}"#,
            Some("k"),
            422,
            "invalid_reason",
        ),
        (good, None, 400, "idempotency_key_missing"),
        (good, Some(""), 400, "invalid_idempotency_key"),
        (good, Some("a\tb"), 400, "invalid_idempotency_key"),
    ];
    for (body, key, status, code) in rows {
        let answer = send(&stand, Method::POST, PATH, key, body).await;
        assert_eq!(answer.code(), (status, code.to_owned()), "{body} {key:?}");
    }
    let long = "k".repeat(129);
    let answer = send(&stand, Method::POST, PATH, Some(&long), good).await;
    assert_eq!(answer.code(), (400, "invalid_idempotency_key".to_owned()));
    for (query, code) in [
        ("", "invalid_query"),
        ("?userId=", "invalid_id"),
        ("?userId=alice&x=1", "invalid_query"),
    ] {
        let answer = stand.get(&format!("{PATH}{query}")).await;
        assert_eq!(answer.code(), (400, code.to_owned()), "{query}");
    }
    assert_eq!(told(&stand, "credits.add").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_posts_with_one_key_count_once_and_with_many_keys_each() {
    let stand = Arc::new(Stand::new().await);
    let posts = (0..40).map(|n| {
        let stand = stand.clone();
        tokio::spawn(async move {
            let key = if n % 2 == 0 {
                "same".to_owned()
            } else {
                format!("own-{n}")
            };
            post(&stand, PATH, &key, &credit("0.1")).await
        })
    });
    for answer in join_all(posts).await {
        let answer = answer.unwrap();
        assert_eq!(answer.status.as_u16(), 200, "{:?}", answer.body);
        assert_eq!(answer.json()["amount"], "0.1");
    }
    let shown = stand.get("/api/admin/credits?userId=alice").await.json();
    assert_eq!(shown["added"], "2.1");
    assert_eq!(shown["entries"].as_array().unwrap().len(), 21);
    assert_eq!(told(&stand, "credits.add").await.len(), 21);
}

#[tokio::test]
async fn a_body_is_an_object_in_which_nothing_stands_twice() {
    let stand = Stand::new().await;
    let rows = [
        ("POST", "/api/admin/credits", r#"["alice",1,"x"]"#),
        (
            "POST",
            "/api/admin/credits",
            r#"{"userId":"alice","amount":1,"amount":2,"reason":"x"}"#,
        ),
        ("PUT", "/api/admin/pricing", "[true,null,null,null]"),
        (
            "PUT",
            "/api/admin/rules/rules.awards",
            r#"{"value":{"trial":"5","trial":"6","signup":"1","milestone":"2"},"reason":"x"}"#,
        ),
        (
            "POST",
            "/api/admin/rules",
            r#"{"reason":"x","values":{"scrape":{"unit":"request","pricePerUnit":"1","pricePerUnit":"7"}}}"#,
        ),
        ("POST", "/api/referrals/code", r#"["alice","user"]"#),
    ];
    for (method, path, body) in rows {
        let request = axum::http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("authorization", format!("Bearer {}", stand.admin))
            .header("content-type", "application/json")
            .header("idempotency-key", "k")
            .body(axum::body::Body::from(body))
            .unwrap();
        let answer = stand.send(request).await;
        assert_eq!(answer.code(), (400, "invalid_body".to_owned()), "{body}");
    }
}

#[tokio::test]
async fn an_adjustment_that_could_halt_a_poster_is_refused() {
    let stand = Stand::new().await;
    let rows = [
        ("100000000", 200),
        ("-100000000", 200),
        ("100000000.000001", 422),
        ("-100000000.000001", 422),
        ("9223372036854.775807", 422),
    ];
    for (number, (points, status)) in rows.into_iter().enumerate() {
        let body =
            serde_json::json!({"kind": "user", "id": "alice", "points": points, "reason": "x"});
        let request = axum::http::Request::post("/api/admin/adjustments")
            .header("host", "localhost")
            .header("authorization", format!("Bearer {}", stand.admin))
            .header("content-type", "application/json")
            .header("idempotency-key", format!("k-{number}"))
            .body(axum::body::Body::from(body.to_string()))
            .unwrap();
        let answer = stand.send(request).await;
        assert_eq!(answer.status.as_u16(), status, "{points}");
        if status == 422 {
            assert_eq!(answer.code().1, "amount_out_of_range");
        }
    }
}

#[tokio::test]
async fn entries_come_in_pages_oldest_first() {
    let stand = Stand::new().await;
    publish(&stand, Network::Testnet).await;
    for number in 0..5 {
        let key = format!("k-{number}");
        let answer = post(&stand, PATH, &key, &credit("1")).await;
        assert_eq!(answer.status.as_u16(), 200);
    }
    let (mut found, mut pages, mut after) = (Vec::new(), 0, String::new());
    loop {
        let page = stand
            .get(&format!("{PATH}?userId=alice&limit=2{after}"))
            .await
            .json();
        assert_eq!(page["added"], "5", "each page has the whole sum");
        let keys = page["entries"].as_array().unwrap().iter();
        found.extend(keys.map(|entry| entry["key"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(
        (pages, found),
        (
            3,
            ["k-0", "k-1", "k-2", "k-3", "k-4"]
                .map(str::to_owned)
                .to_vec()
        )
    );
    let answer = stand
        .get(&format!("{PATH}?userId=alice&after=nobody"))
        .await;
    assert_eq!(answer.code(), (400, "invalid_query".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn adjustments_that_could_overflow_an_account_together_are_refused_also_at_once() {
    let stand = Arc::new(Stand::new().await);
    publish(&stand, Network::Testnet).await;
    // All but two of the largest ones, up and down.
    let account = user("alice");
    let most = ADJUSTED_MAX.0 / ADJUSTMENT_MAX.0;
    for number in 0..most - 2 {
        let sign = if number % 2 == 0 { 1 } else { -1 };
        let largest = Adjustment {
            account: account.clone(),
            points: Points(sign * ADJUSTMENT_MAX.0),
            reason: "a test".to_owned(),
            idempotency_key: format!("before-{number}"),
            by: "a test".to_owned(),
            now: NOON,
        };
        let granted = adjustment(&stand.db, &largest, 1).await;
        assert_eq!(granted, Ok(Granted::Now));
    }
    let body = json!({"kind": "user", "id": "alice", "points": "100000000", "reason": "x"});
    let posts = (0..8).map(|number| {
        let (stand, body) = (stand.clone(), body.clone());
        tokio::spawn(async move {
            let key = format!("k-{number}");
            let path = "/api/admin/adjustments";
            (key.clone(), post(&stand, path, &key, &body).await)
        })
    });
    let mut taken = Vec::new();
    for answer in join_all(posts).await {
        let (key, answer) = answer.unwrap();
        match answer.status.as_u16() {
            200 => taken.push(key),
            _ => assert_eq!(answer.code(), (422, "adjustments_exceeded".to_owned())),
        }
    }
    assert_eq!(taken.len(), 2, "{taken:?}");
    // A repeat of what was granted is answered as before, and one micropoint more is still refused.
    let again = post(&stand, "/api/admin/adjustments", &taken[0], &body).await;
    assert_eq!(again.status.as_u16(), 200);
    let more = json!({"kind": "user", "id": "alice", "points": "-0.000001", "reason": "x"});
    let more = post(&stand, "/api/admin/adjustments", "one-more", &more).await;
    assert_eq!(more.code(), (422, "adjustments_exceeded".to_owned()));
    // Another account is another's.
    let other = json!({"kind": "provider", "id": "alice", "points": 1, "reason": "x"});
    let other = post(&stand, "/api/admin/adjustments", "k-0", &other).await;
    assert_eq!(other.status.as_u16(), 200);
}
