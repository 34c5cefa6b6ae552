//! CORS: which pages of other origins may ask the routes of accounts from a browser.

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use tidemark::ops::config::{Config, HttpConfig, Sources};

use super::stand::Stand;

const POINTS: &str = "/api/users/alice/streak";

/// A service for which these origins are configured.
async fn stand(origins: &str) -> Stand {
    let sources = Sources {
        file: Some((
            "tidemark.toml".into(),
            format!("[http]\ncors_origins = '{origins}'"),
        )),
        ..Sources::default()
    };
    let http: HttpConfig = Config::read(&sources).expect("valid").http;
    Stand::with(http).await
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
