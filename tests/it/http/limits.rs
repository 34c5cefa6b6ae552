//! Limits, time-outs and what every answer carries.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, header};
use tidemark::ops::config::{Config, HttpConfig};

use super::stand::Stand;

fn limited(per_key: u32, per_address: u32) -> HttpConfig {
    HttpConfig {
        requests_per_second_per_key: NonZeroU32::new(per_key),
        requests_per_second_per_address: NonZeroU32::new(per_address),
        ..Config::default().http
    }
}

#[tokio::test]
async fn a_key_that_asks_too_often_waits_and_others_do_not() {
    let stand = Stand::with(limited(3, 0)).await;
    let other = stand.key(&["admin:read"]).await;
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(stand.get("/internal/log").await);
    }
    let refused = answers.iter().find(|answer| answer.status.as_u16() == 429);
    let refused = refused.expect("20 requests are more than a few seconds' worth of three");
    assert_eq!(refused.code(), (429, "too_many_requests".to_owned()));
    let wait: u32 = refused.headers[header::RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    let answer = stand
        .ask(Some(&other), Method::GET, "/internal/log", None)
        .await;
    assert_eq!(answer.status.as_u16(), 200);
}

#[tokio::test]
async fn an_address_that_asks_too_often_waits_before_its_keys_are_looked_at() {
    let stand = Stand::with(limited(0, 2)).await;
    let from = |address: &str| {
        let address: SocketAddr = address.parse().unwrap();
        let mut request = Request::get("/internal/log").header(header::HOST, "localhost");
        request = request.extension(ConnectInfo(address));
        request.body(Body::empty()).unwrap()
    };
    let mut codes = Vec::new();
    for _ in 0..20 {
        codes.push(stand.send(from("[2001:db8::1]:1")).await.status.as_u16());
    }
    assert_eq!(codes[..2], [401, 401]);
    assert!(codes.contains(&429), "{codes:?}");
    // Another address of the same network shares the limit; another network does not.
    let neighbour = stand.send(from("[2001:db8::2]:1")).await;
    let stranger = stand.send(from("[2001:db8:0:1::1]:1")).await;
    assert_eq!(stranger.status.as_u16(), 401);
    assert_ne!(neighbour.status.as_u16(), 200);
}

#[tokio::test]
async fn every_answer_names_its_request_and_keeps_browsers_in_bounds() {
    let stand = Stand::new().await;
    let ask = |path: &'static str, id: &'static str| {
        let request = Request::get(path)
            .header(header::HOST, "localhost")
            .header("x-request-id", id);
        stand.send(request.body(Body::empty()).unwrap())
    };
    for path in [
        "/healthz",
        "/openapi.json",
        "/docs",
        "/nowhere",
        "/api/v1/events",
    ] {
        let answer = ask(path, "trace-7.a_b").await;
        assert_eq!(answer.headers["x-request-id"], "trace-7.a_b", "{path}");
        assert_eq!(
            answer.headers["x-content-type-options"], "nosniff",
            "{path}"
        );
        assert_eq!(answer.headers["x-frame-options"], "DENY", "{path}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
    }
    for strange in ["", "a b", "<script>", &"x".repeat(65)] {
        let request = Request::get("/healthz")
            .header(header::HOST, "localhost")
            .header("x-request-id", strange);
        let answer = stand.send(request.body(Body::empty()).unwrap()).await;
        let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
        assert_ne!(id, strange);
        assert_eq!(id.len(), 32);
    }
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist_are_told_as_problems() {
    let stand = Stand::new().await;
    let answer = stand.get("/nowhere").await;
    assert_eq!(answer.code(), (404, "not_found".to_owned()));
    let answer = stand
        .ask(Some(&stand.admin), Method::DELETE, "/api/v1/events", None)
        .await;
    assert_eq!(answer.code(), (405, "method_not_allowed".to_owned()));
}

#[tokio::test]
async fn routes_without_a_key_have_a_limit_for_each_address_too() {
    for path in ["/healthz", "/metrics", "/docs", "/nowhere", "/signin"] {
        let stand = Stand::with(limited(0, 2)).await;
        let from = |address: &str| {
            let address: SocketAddr = address.parse().unwrap();
            let request = Request::get(path).header(header::HOST, "localhost");
            let request = request.extension(ConnectInfo(address));
            stand.send(request.body(Body::empty()).unwrap())
        };
        let mut refused = None;
        for _ in 0..20 {
            let answer = from("192.0.2.1:1").await;
            if answer.status.as_u16() == 429 {
                refused = Some(answer);
            }
        }
        let refused = refused.unwrap_or_else(|| panic!("{path} has no limit"));
        assert_eq!(refused.code().1, "too_many_requests");
        assert_eq!(refused.headers["x-content-type-options"], "nosniff");
        assert_ne!(from("192.0.2.2:1").await.status.as_u16(), 429, "{path}");
    }
}

#[tokio::test]
async fn reads_have_a_limit_of_their_own_that_keeps_no_event_out() {
    let stand = Stand::with(HttpConfig {
        reads_per_second_per_key: NonZeroU32::new(2),
        ..Config::default().http
    })
    .await;
    let mut refused = 0;
    for _ in 0..20 {
        refused += usize::from(stand.get("/api/admin/keys").await.status.as_u16() == 429);
    }
    assert!(refused > 10, "{refused}");
    let event = serde_json::json!({"requestId": "1", "userId": "alice", "endpoint": "/v1/scrape", "timestamp": "2026-11-22T07:01:02Z", "statusCode": 200});
    for _ in 0..20 {
        assert_eq!(
            stand.post("/api/v1/events", &event).await.status.as_u16(),
            204
        );
        // What gateways ask before each request takes one item.
        assert_eq!(
            stand.get("/api/v1/credits/alice").await.status.as_u16(),
            200
        );
    }
}

#[tokio::test]
async fn an_answer_that_comes_too_late_carries_the_headers_of_every_other() {
    let stand = Stand::with(HttpConfig {
        request_timeout: std::time::Duration::from_millis(50),
        ..Config::default().http
    })
    .await;
    let body = Body::from_stream(futures::stream::pending::<
        Result<bytes::Bytes, std::io::Error>,
    >());
    let request = Request::post("/api/v1/events")
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {}", stand.admin))
        .header(header::CONTENT_TYPE, "application/json");
    let answer = stand.send(request.body(body).unwrap()).await;
    assert_eq!(answer.code(), (408, "body_timeout".to_owned()));
    for name in [
        "x-content-type-options",
        "x-frame-options",
        "content-security-policy",
        "x-request-id",
    ] {
        assert!(answer.headers.contains_key(name), "{name}");
    }
}
