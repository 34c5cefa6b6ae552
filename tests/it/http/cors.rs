//! CORS: which pages of other origins may ask the routes of accounts from a browser.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::Response;
use tidemark::http::{ApiState, Hosts, router};
use tidemark::ops::config::{Config, HttpConfig, Sources};
use tower::ServiceExt as _;

use super::slow_db::{Counted, Hanging, service_on};
use super::stand::Stand;

const POINTS: &str = "/api/users/alice/streak";
const APP: &str = "https://app.example";

/// A service for which these origins are configured.
async fn stand(origins: &str) -> Stand {
    Stand::with(config(origins)).await
}

fn config(origins: &str) -> HttpConfig {
    let sources = Sources {
        file: Some((
            "tidemark.toml".into(),
            format!("[http]\ncors_origins = '{origins}'"),
        )),
        ..Sources::default()
    };
    Config::read(&sources).expect("valid").http
}

async fn ask(
    stand: &Stand,
    method: Method,
    path: &str,
    origin: &str,
    key: Option<&str>,
) -> (StatusCode, HeaderMap) {
    let mut request = Request::builder()
        .method(method.clone())
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::ORIGIN, origin);
    if method == Method::OPTIONS {
        request = request
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization");
    }
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    let answer = stand.send(request.body(Body::empty()).unwrap()).await;
    (answer.status, answer.headers)
}

fn allowed(headers: &HeaderMap) -> Option<&str> {
    let allowed = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN)?;
    allowed.to_str().ok()
}

#[tokio::test]
async fn configured_origins_may_ask_the_routes_of_accounts_and_nothing_else() {
    let stand = stand("https://app.example, http://localhost:3000").await;
    let key = stand.key(&["account:user:alice"]).await;
    for origin in ["https://app.example", "http://localhost:3000"] {
        // First without a key, as browsers do.
        let (status, headers) = ask(&stand, Method::OPTIONS, POINTS, origin, None).await;
        assert!(status.is_success(), "{status}");
        assert_eq!(allowed(&headers), Some(origin));
        let names = headers[header::ACCESS_CONTROL_ALLOW_HEADERS]
            .to_str()
            .unwrap();
        assert!(names.contains("authorization"), "{names}");
        assert!(names.contains("idempotency-key"), "{names}");
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        for (key, is_good) in [(Some(key.as_str()), true), (None, false)] {
            let (status, headers) = ask(&stand, Method::GET, POINTS, origin, key).await;
            assert_eq!(status != StatusCode::UNAUTHORIZED, is_good, "{status}");
            // The page can read why it was refused.
            assert_eq!(allowed(&headers), Some(origin));
        }
    }
    for (path, origin) in [
        (POINTS, "https://evil.example"),
        (POINTS, "http://app.example"),
        ("/api/admin/rules", "https://app.example"),
        ("/api/v1/events", "https://app.example"),
    ] {
        for method in [Method::OPTIONS, Method::GET] {
            let (_, headers) = ask(&stand, method.clone(), path, origin, Some(&stand.admin)).await;
            assert_eq!(allowed(&headers), None, "{method} {path} from {origin}");
        }
    }
}

#[tokio::test]
async fn by_default_no_other_origin_may_ask() {
    let stand = Stand::new().await;
    for method in [Method::OPTIONS, Method::GET] {
        let (_, headers) = ask(
            &stand,
            method,
            POINTS,
            "https://app.example",
            Some(&stand.admin),
        )
        .await;
        assert_eq!(allowed(&headers), None);
    }
}

fn get(key: &str) -> Request<Body> {
    request(Method::GET, POINTS, key, Body::empty())
}

fn request(method: Method, path: &str, key: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::ORIGIN, APP)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .body(body)
        .unwrap()
}

fn from_one_address(mut request: Request<Body>) -> Request<Body> {
    let address: SocketAddr = "192.0.2.1:1".parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(address));
    request
}

fn preflight() -> Request<Body> {
    Request::options(POINTS)
        .header(header::HOST, "localhost")
        .header(header::ORIGIN, APP)
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET")
        .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization")
        .body(Body::empty())
        .unwrap()
}

async fn answer(service: &ApiState, request: Request<Body>) -> Response {
    let router = router(service.clone(), Hosts::Loopback);
    router.oneshot(request).await.unwrap()
}

/// Checks that a page of a configured origin can read the answer, and that a cache may not give it
/// to another one.
async fn check_readable(answer: Response, wanted: (u16, &str)) {
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = axum::body::to_bytes(answer.into_body(), 65_536).await;
    let body: serde_json::Value = serde_json::from_slice(&body.unwrap()).unwrap_or_default();
    let code = body["code"].as_str().unwrap_or_default();
    assert_eq!((status, code), wanted, "{body}");
    assert_eq!(allowed(&headers), Some(APP), "{wanted:?}");
    let vary = headers.get_all(header::VARY).iter();
    let vary: Vec<&str> = vary
        .flat_map(|vary| vary.to_str().unwrap().split(", "))
        .collect();
    let origins = vary
        .iter()
        .filter(|name| name.eq_ignore_ascii_case("origin"));
    assert_eq!(origins.count(), 1, "{wanted:?}: {vary:?}");
    let exposed = headers[header::ACCESS_CONTROL_EXPOSE_HEADERS]
        .to_str()
        .unwrap();
    assert!(exposed.contains("retry-after"), "{exposed}");
    assert!(exposed.contains("x-request-id"), "{exposed}");
    assert!(headers.contains_key("x-request-id"), "{wanted:?}");
}

#[tokio::test]
async fn pages_of_configured_origins_can_read_whatever_is_answered() {
    const CODE: &str = "/api/referrals/code";
    let config = HttpConfig {
        request_timeout: Duration::from_millis(500),
        ..config(APP)
    };
    let stand = Stand::with(config).await;
    let key = stand.key(&["account:user:alice"]).await;
    let other = stand.key(&["account:user:bob"]).await;
    let foreign = Request::get(POINTS)
        .header(header::HOST, "elsewhere.example")
        .header(header::ORIGIN, APP);
    let endless = futures::stream::pending::<std::io::Result<Vec<u8>>>();
    let mut encoded = request(Method::POST, CODE, &key, Body::from("{}"));
    let zstd = header::HeaderValue::from_static("zstd");
    encoded.headers_mut().insert(header::CONTENT_ENCODING, zstd);
    let large = || Body::from("x".repeat(2 << 20));
    let path = |path: &'static str| request(Method::GET, path, &key, Body::empty());
    for (request, wanted) in [
        (get(&key), (200, "")),
        (
            path("/api/users/alice/points?mouth=x"),
            (400, "invalid_query"),
        ),
        (get("tmk_nothing"), (401, "bad_key")),
        (get(&other), (403, "forbidden")),
        (
            request(Method::PUT, POINTS, &key, Body::empty()),
            (405, "method_not_allowed"),
        ),
        (
            request(Method::POST, CODE, &key, Body::from_stream(endless)),
            (408, "body_timeout"),
        ),
        (
            request(Method::POST, CODE, &key, large()),
            (413, "body_too_large"),
        ),
        (encoded, (415, "unsupported_content_encoding")),
        (foreign.body(Body::empty()).unwrap(), (421, "foreign_host")),
    ] {
        check_readable(answer(&stand.service, request).await, wanted).await;
    }
    // A bug, and a store that does not answer.
    let db = Arc::new(Hanging::new(stand.db.clone()));
    let service = service_on(&stand, db.clone());
    check_readable(answer(&service, get(&key)).await, (200, "")).await;
    db.panics.store(true, Ordering::Relaxed);
    check_readable(answer(&service, get(&key)).await, (500, "internal")).await;
    db.panics.store(false, Ordering::Relaxed);
    db.hangs.store(true, Ordering::Relaxed);
    check_readable(answer(&service, get(&key)).await, (503, "timeout")).await;
}

#[tokio::test]
async fn pages_of_configured_origins_can_read_that_they_ask_too_often() {
    let few = NonZeroU32::new(1);
    for limits in [
        HttpConfig {
            requests_per_second_per_key: few,
            ..config(APP)
        },
        HttpConfig {
            requests_per_second_per_address: few,
            ..config(APP)
        },
    ] {
        let stand = Stand::with(limits).await;
        let key = stand.key(&["account:user:alice"]).await;
        let mut refused = None;
        for _ in 0..20 {
            let answer = answer(&stand.service, from_one_address(get(&key))).await;
            if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                refused = Some(answer);
            }
        }
        let refused = refused.expect("20 requests are more than a second's worth of one");
        assert!(refused.headers().contains_key(header::RETRY_AFTER));
        check_readable(refused, (429, "too_many_requests")).await;
    }
}

#[tokio::test]
async fn preflights_ask_no_store_count_for_no_limit_and_open_no_way_around_one() {
    let stand = Stand::with(HttpConfig {
        requests_per_second_per_address: NonZeroU32::new(1),
        ..config(APP)
    })
    .await;
    let key = stand.key(&["account:user:alice"]).await;
    let db = Arc::new(Counted::new(stand.db.clone()));
    let service = service_on(&stand, db.clone());
    for _ in 0..50 {
        let answer = answer(&service, from_one_address(preflight())).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(allowed(answer.headers()), Some(APP));
    }
    // With a key and a body it still is nothing but a question of a browser.
    for path in [POINTS, "/api/referrals/code"] {
        let body = Body::from(r#"{"userType":"user","userId":"alice"}"#);
        let mut disguised = request(Method::OPTIONS, path, &key, body);
        let post = header::HeaderValue::from_static("POST");
        let headers = disguised.headers_mut();
        headers.insert(header::ACCESS_CONTROL_REQUEST_METHOD, post);
        let answer = answer(&service, from_one_address(disguised)).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_eq!(db.count(), 0);
    // They took nothing of what the address may ask ...
    let first = answer(&service, from_one_address(get(&key))).await;
    assert_eq!(first.status(), StatusCode::OK);
    // ... and what browsers send with them does not make a request one of them.
    let mut refused = 0;
    for _ in 0..20 {
        let mut request = from_one_address(get(&key));
        let asked = header::HeaderValue::from_static("GET");
        let headers = request.headers_mut();
        headers.insert(header::ACCESS_CONTROL_REQUEST_METHOD, asked);
        let answer = answer(&service, request).await;
        refused += usize::from(answer.status() == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(refused > 10, "{refused}");
    // Routes of others than accounts have no preflights: these count.
    let mut limited = 0;
    for _ in 0..20 {
        let mut request = from_one_address(preflight());
        *request.uri_mut() = "/api/admin/rules".parse().unwrap();
        let answer = answer(&service, request).await;
        assert_eq!(allowed(answer.headers()), None);
        limited += usize::from(answer.status() == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(limited > 10, "{limited}");
}
