//! Bodies that are packed, too large, too slow, or say a thing twice; and what is said back of them.

use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, header};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tidemark::log::Topic;
use tidemark::ops::config::{Config, HttpConfig};

use super::stand::{Answer, Stand};
use crate::wire::gateways_otlp::PROTOBUF;

const EVENTS: &str = "/api/v1/events";

fn event(id: &str) -> Value {
    json!({"requestId": id, "userId": "alice", "endpoint": "/v1/scrape", "timestamp": "2026-11-22T07:01:02Z", "statusCode": 200})
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn send(
    stand: &Stand,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Answer {
    let mut request = Request::post(path)
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {}", stand.admin));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    stand.send(request.body(body.into()).unwrap()).await
}

const JSON: (&str, &str) = ("content-type", "application/json");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

/// Bytes, and then nothing more for ever.
fn unfinished(begin: &'static str) -> Body {
    let begin = stream::iter([Ok::<Bytes, std::io::Error>(Bytes::from_static(
        begin.as_bytes(),
    ))]);
    Body::from_stream(begin.chain(stream::pending()))
}

#[tokio::test]
async fn packed_usage_is_taken_as_it_was_before_it_was_packed() {
    let stand = Stand::new().await;
    let litellm = json!([{"id": "c-1", "call_type": "acompletion", "status": "success", "model": "llama-3-70b",
        "prompt_tokens": 150, "completion_tokens": 75, "startTime": 1_795_330_862.123, "endTime": 1_795_330_862.373, "metadata": {"user_api_key_user_id": "alice"}}]);
    let rows = [
        (EVENTS, event("1"), 204),
        ("/api/v1/events/litellm", litellm, 204),
        ("/api/v1/events/otlp", json!({"resourceSpans": []}), 200),
        ("/api/v1/events/otlp/v1/traces", json!({}), 200),
    ];
    for (path, body, status) in rows {
        let packed = gzip(body.to_string().as_bytes());
        let answer = send(&stand, path, &[JSON, GZIP], packed).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {:?}", answer.body);
    }
    let taken = stand.log.all(Topic::UsageEvents);
    assert_eq!(taken.len(), 2);
    assert!(
        taken
            .iter()
            .any(|(_, record)| record.value == event("1").to_string())
    );
    // In several pieces, of two members, under gzip's older name.
    let [one, two] = [event("2"), event("3")].map(|event| format!("{event}\n"));
    let packed = [gzip(one.as_bytes()), gzip(two.as_bytes())].concat();
    let pieces: Vec<_> = packed
        .chunks(7)
        .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
        .collect();
    let headers = [
        ("content-type", "application/x-ndjson"),
        ("content-encoding", "X-Gzip"),
    ];
    let answer = send(
        &stand,
        EVENTS,
        &headers,
        Body::from_stream(stream::iter(pieces)),
    )
    .await;
    assert_eq!(answer.status.as_u16(), 204, "{:?}", answer.body);
    assert_eq!(stand.log.all(Topic::UsageEvents).len(), 4);
}

#[tokio::test]
async fn packed_bodies_that_are_no_good_are_refused() {
    let stand = Stand::new().await;
    let good = gzip(event("1").to_string().as_bytes());
    let cut = good[..good.len() - 9].to_vec();
    let mut broken = good.clone();
    let last = broken.len() - 6;
    broken[last] ^= 1;
    // 64 MiB of nothing, in some 300 KB.
    let bomb = gzip(&vec![b' '; 64 << 20]);
    let rows = [
        (GZIP, cut, 400, "unreadable_body"),
        (GZIP, broken, 400, "unreadable_body"),
        (GZIP, b"no gzip".to_vec(), 400, "unreadable_body"),
        (GZIP, bomb, 413, "body_too_large"),
        (
            ("content-encoding", "zstd"),
            good.clone(),
            415,
            "unsupported_content_encoding",
        ),
        (
            ("content-encoding", "gzip, gzip"),
            good.clone(),
            415,
            "unsupported_content_encoding",
        ),
    ];
    for (encoding, body, status, code) in rows {
        for path in [EVENTS, "/api/v1/events/litellm"] {
            let answer = send(&stand, path, &[JSON, encoding], body.clone()).await;
            assert_eq!(
                answer.code(),
                (status, code.to_owned()),
                "{path} {encoding:?}"
            );
        }
    }
    for path in [
        "/api/admin/credits",
        "/api/referrals/code",
        "/api/admin/pricing",
    ] {
        let answer = send(&stand, path, &[JSON, GZIP], good.clone()).await;
        assert_eq!(
            answer.code(),
            (415, "unsupported_content_encoding".to_owned()),
            "{path}"
        );
    }
    assert!(stand.log.all(Topic::UsageEvents).is_empty());
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_refused_before_it_comes() {
    let stand = Stand::new().await;
    let length = ("content-length", "1000000000000000");
    for path in [
        EVENTS,
        "/api/v1/events/otlp",
        "/api/referrals/code",
        "/api/admin/rules",
    ] {
        for encoding in [GZIP, ("x-none", "")] {
            let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
            let headers = [JSON, length, encoding];
            let asked = send(&stand, path, &headers, body);
            let answer = tokio::time::timeout(Duration::from_secs(10), asked).await;
            let (status, code) = answer.expect("at once").code();
            let is_packed = encoding == GZIP && !path.starts_with(EVENTS);
            let expected = if is_packed {
                (415, "unsupported_content_encoding")
            } else {
                (413, "body_too_large")
            };
            assert_eq!((status, code.as_str()), expected, "{path}");
        }
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_a_408_and_a_log_that_does_not_answer_a_503() {
    let stand = Stand::with(HttpConfig {
        request_timeout: Duration::from_millis(200),
        append_timeout: Duration::from_millis(100),
        ..Config::default().http
    })
    .await;
    for path in [EVENTS, "/api/v1/events/litellm", "/api/referrals/code"] {
        for encoding in [GZIP, ("x-none", "")] {
            if encoding == GZIP && !path.starts_with(EVENTS) {
                continue;
            }
            let answer = send(&stand, path, &[JSON, encoding], unfinished("")).await;
            assert_eq!(answer.code(), (408, "body_timeout".to_owned()), "{path}");
        }
    }
    let answer = send(&stand, EVENTS, &[JSON], unfinished("{\"requestId\":")).await;
    assert_eq!(answer.code(), (408, "body_timeout".to_owned()));
    stand.log.append_hangs.store(true, Ordering::Relaxed);
    let answer = send(&stand, EVENTS, &[JSON], event("1").to_string()).await;
    assert_eq!(answer.code(), (503, "log_unavailable".to_owned()));
}

#[tokio::test]
async fn a_header_that_could_mean_either_is_refused() {
    let stand = Stand::new().await;
    let other = stand.key(&["ingest"]).await;
    let body = json!({"userId": "alice", "amount": 1, "reason": "x"}).to_string();
    let bearer = format!("Bearer {other}");
    let rows = [
        vec![JSON, ("idempotency-key", "a"), ("idempotency-key", "b")],
        vec![JSON, ("idempotency-key", "a"), ("idempotency-key", "a")],
        vec![JSON, ("idempotency-key", "a"), ("authorization", &bearer)],
        vec![
            JSON,
            ("idempotency-key", "a"),
            ("content-type", "text/plain"),
        ],
        vec![JSON, GZIP, GZIP],
    ];
    for headers in rows {
        let answer = send(&stand, "/api/admin/credits", &headers, body.clone()).await;
        assert_eq!(
            answer.code(),
            (400, "duplicate_header".to_owned()),
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn what_is_said_back_is_short_and_in_words_of_our_own() {
    let stand = Stand::new().await;
    let long = "x".repeat(100_000);
    let bodies = [
        (
            "/api/admin/credits",
            json!({"userId": "alice", "amount": long, "reason": "x"}),
        ),
        ("/api/admin/credits", json!({long.clone(): 1})),
        (
            "/api/admin/pricing",
            json!({"configKey": long, "pricePerUnit": 1, "unit": "request"}),
        ),
        (
            "/api/admin/pricing",
            json!({"configKey": "scrape", "pricePerUnit": 1, "unit": "request", "effectiveFrom": long}),
        ),
        ("/api/admin/keys", json!({"name": "x", "scopes": [long]})),
        (
            EVENTS,
            json!({"requestId": "1", "userId": "alice", "endpoint": "/v1/scrape", "timestamp": long, "statusCode": 200}),
        ),
    ];
    for (path, body) in bodies {
        let answer = send(
            &stand,
            path,
            &[JSON, ("idempotency-key", "k")],
            body.to_string(),
        )
        .await;
        assert!(answer.status.is_client_error(), "{path}");
        assert!(
            answer.body.len() < 4_000,
            "{path}: {} bytes",
            answer.body.len()
        );
    }
    let answer = send(&stand, EVENTS, &[("content-type", &long[..60_000])], "{}").await;
    assert!(answer.body.len() < 4_000, "{} bytes", answer.body.len());
    let queries = [
        "/api/admin/audit?limit=x",
        "/api/admin/audit?nothing=1",
        "/api/admin/rewards",
        "/api/admin/rejects/x/0",
        "/api/admin/rejects/0/-1",
        "/api/referrals/nobody/alice",
        "/api/users/alice/points?month=2026-13",
        "/internal/log/usage.events/x",
    ];
    for path in queries {
        let answer = stand.get(path).await;
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!(answer.status.as_u16(), 400, "{path}: {detail}");
        for word in [
            "deserialize",
            "u32",
            "u64",
            "tuple",
            "Failed",
            "URL",
            "parse `",
        ] {
            assert!(!detail.contains(word), "{path}: {detail}");
        }
    }
}

#[tokio::test]
async fn every_list_refuses_a_limit_beyond_its_bounds_and_names_them() {
    let stand = Stand::new().await;
    let lists = [
        ("/api/admin/audit?", 500),
        ("/api/admin/audit/findings?", 1_000),
        ("/api/admin/adjustments?kind=user&id=alice&", 1_000),
        ("/api/admin/credits?userId=alice&", 1_000),
        ("/api/admin/rejects?partition=0&", 500),
        ("/api/admin/rewards?type=leaderboard&", 1_000),
        ("/api/referrals/user/alice?", 1_000),
        ("/api/users/alice/usage?", 1_000),
    ];
    super::admin::publish(&stand, tidemark::domain::rules::Network::Testnet).await;
    for (path, max) in lists {
        for limit in [0, max + 1, u32::MAX] {
            let answer = stand.get(&format!("{path}limit={limit}")).await;
            assert_eq!(
                answer.code(),
                (400, "invalid_query".to_owned()),
                "{path}{limit}"
            );
            let detail = answer.json()["detail"].to_string();
            assert!(
                detail.contains(&format!("allowed: 1 to {max}")),
                "{path}: {detail}"
            );
        }
        for limit in [1, max] {
            let path = format!("{path}limit={limit}");
            assert_eq!(
                stand
                    .ask(Some(&stand.admin), Method::GET, &path, None)
                    .await
                    .status
                    .as_u16(),
                200,
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn traces_in_protobuf_are_answered_in_protobuf() {
    let stand = Stand::new().await;
    let protobuf = ("content-type", "application/x-protobuf");
    for path in ["/api/v1/events/otlp", "/api/v1/events/otlp/v1/traces"] {
        let answer = send(&stand, path, &[protobuf, GZIP], gzip(PROTOBUF)).await;
        assert_eq!(answer.status.as_u16(), 200, "{:?}", answer.body);
        assert_eq!(
            answer.headers[header::CONTENT_TYPE],
            "application/x-protobuf"
        );
        // partial_success { rejected_spans: 1, error_message: … }
        let text = &answer.body[6..];
        let [all, message] = [text.len() + 4, text.len()].map(|len| u8::try_from(len).unwrap());
        assert_eq!(answer.body[..6], [0x0a, all, 0x08, 0x01, 0x12, message]);
        assert!(text.starts_with(b"1 spans cannot be counted"), "{text:?}");
        let answer = send(&stand, path, &[protobuf], "").await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    }
    assert_eq!(stand.log.all(Topic::UsageEvents).len(), 8);
}

#[tokio::test]
async fn the_page_of_the_document_names_the_fields_of_bodies() {
    let stand = Stand::new().await;
    let page = stand.get("/docs").await;
    let page = std::str::from_utf8(&page.body).unwrap();
    for (field, kind) in [
        ("pricePerUnit", "string, required"),
        ("effectiveFrom", "string"),
        ("isMainnet", "boolean, required"),
        ("scopes", "array of string, required"),
        ("refereeType", "string, required"),
    ] {
        let row = format!("<th><code>{field}</code></th><td>{kind}</td><td>");
        let (_, after) = page.split_once(&row).unwrap_or_else(|| panic!("{row}"));
        assert!(!after.starts_with("</td>"), "{field} is described");
    }
}
