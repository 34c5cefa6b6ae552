//! Requests that were made to hurt: small bodies that unpack into millions of things, forms of strangers, slow senders. What they cost in memory is tested
//! on the real process (`process::hostile`); here, that they are refused for the right reason, and soon.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, header};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{StreamExt, stream};
use tidemark::log::Topic;
use tidemark::ops::config::{Config, HttpConfig};
use tokio::sync::Semaphore;

use super::stand::{Answer, Stand};

/// A debug build on a busy machine is slow; before there were bounds these took minutes.
const SOON: Duration = Duration::from_secs(20);
const EVENTS: &str = "/api/v1/events";
const JSON: &str = "application/json";

/// Bodies that unpack into more than any request may hold; path, Content-Type, body.
pub fn bombs(bytes: usize) -> Vec<(&'static str, &'static str, &'static str, Vec<u8>)> {
    const LITELLM: &str = "/api/v1/events/litellm";
    const OTLP: &str = "/api/v1/events/otlp";
    let fill = |begin: &str, unit: &[u8], end: &str| {
        let count = (bytes - begin.len() - end.len()) / unit.len();
        [begin.as_bytes(), &unit.repeat(count), end.as_bytes()].concat()
    };
    let spans = "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{}";
    let chats = chats(9_000);
    let wide = format!("{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{chats}]}}],")
        + "\"resource\":{\"attributes\":[{}";
    let many = "too_many_events";
    vec![
        (EVENTS, JSON, many, fill("[1", b",1", "]")),
        (EVENTS, "application/x-ndjson", many, fill("", b"1\n", "")),
        (LITELLM, JSON, many, fill("[1", b",1", "]")),
        (LITELLM, JSON, many, fill("[{}", b",{}", "]")),
        (LITELLM, JSON, many, fill("{}\n", b"1\n", "")),
        (LITELLM, JSON, many, fill("", b"\n{}", "")),
        (LITELLM, JSON, "", fill("{\"\":1", b",\"\":1", "}")),
        (LITELLM, JSON, "", fill("{\"a\":\"", b"\xff", "\"}")),
        (
            LITELLM,
            JSON,
            "",
            fill("{\"end_user\":\"", b"\\u0001", "\"}"),
        ),
        (LITELLM, JSON, "", fill("{\"prompt_tokens\":", b"1", "}")),
        (
            "/litellm/openmeter/api/v1/events",
            JSON,
            many,
            fill("[1", b",1", "]"),
        ),
        (
            "/litellm/lago/api/v1/events",
            JSON,
            many,
            fill("[1", b",1", "]"),
        ),
        ("/api/v1/events/new-api", JSON, many, fill("[1", b",1", "]")),
        ("/api/v1/events/sub2api", JSON, many, fill("[1", b",1", "]")),
        (
            "/api/v1/events/new-api",
            JSON,
            "",
            fill("{\"type\":2,\"other\":\"", b"\\u0001", "\"}"),
        ),
        // Spans between two reports of a call are remembered for a while.
        (
            OTLP,
            JSON,
            "",
            fill(
                spans,
                b",{\"traceId\":\"0123456789abcdef0123456789abcdef\",\"spanId\":\"0123456789abcdef\",\"parentSpanId\":\"fedcba9876543210\"}",
                "]}]}]}",
            ),
        ),
        // Spans about something else are no events, and cost next to nothing.
        (OTLP, JSON, "", fill(spans, b",{}", "]}]}]}")),
        (
            OTLP,
            JSON,
            "",
            fill("{\"resourceSpans\":[{\"scopeSpans\":[{}", b",{}", "]}]}"),
        ),
        (OTLP, JSON, "", fill("{\"resourceSpans\":[{}", b",{}", "]}")),
        (OTLP, "application/x-protobuf", "", protobuf_spans(bytes)),
        // Each span has all attributes of its resource.
        (
            OTLP,
            JSON,
            "",
            fill(
                &wide,
                b",{\"key\":\"k\",\"value\":{\"stringValue\":\"v\"}}",
                "]}}]}",
            ),
        ),
    ]
}

/// So many spans of chats that succeeded, each of its own.
fn chats(count: usize) -> String {
    let span = |n: usize| {
        format!(
            "{{\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"{n:016x}\",\"kind\":3,\
             \"startTimeUnixNano\":\"1795330862123000000\",\"endTimeUnixNano\":\"1795330862373000000\",\
             \"attributes\":[{{\"key\":\"gen_ai.operation.name\",\"value\":{{\"stringValue\":\"chat\"}}}}]}}"
        )
    };
    let spans: Vec<String> = (0..count).map(span).collect();
    spans.join(",")
}

/// One resource with one scope of empty spans, two bytes each.
fn protobuf_spans(bytes: usize) -> Vec<u8> {
    let spans = b"\x12\x00".repeat((bytes - 64) / 2);
    message(1, &message(2, &spans))
}

fn message(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn post(
    stand: &Stand,
    path: &str,
    kind: &str,
    coding: &str,
    body: impl Into<Body>,
) -> Answer {
    let request = Request::post(path)
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {}", stand.admin))
        .header(header::CONTENT_ENCODING, coding)
        .header(header::CONTENT_TYPE, kind);
    stand.send(request.body(body.into()).unwrap()).await
}

/// An event in our own form, or the beginning of one, as it is.
async fn post_event(stand: &Stand, body: impl Into<Body>) -> Answer {
    post(stand, EVENTS, JSON, "identity", body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_body_that_unpacks_into_millions_of_items_is_refused_soon() {
    let stand = Stand::new().await;
    for (number, (path, kind, code, body)) in bombs(4 << 20).into_iter().enumerate() {
        let packed = gzip(&body);
        assert!(packed.len() < 64 * 1024, "{path}: {} bytes", packed.len());
        let begun = Instant::now();
        let answer = post(&stand, path, kind, "gzip", packed).await;
        assert!(
            begun.elapsed() < SOON,
            "{number} {path}: {:?}",
            begun.elapsed()
        );
        match code {
            // Nothing to count, or refused items that are kept.
            "" => assert_eq!(
                answer.status.as_u16(),
                200,
                "{number} {path}: {:?}",
                answer.body
            ),
            code => assert_eq!(answer.code(), (413, code.to_owned()), "{number} {path}"),
        }
    }
    assert!(stand.log.all(Topic::UsageEvents).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_of_traces_does_not_grow_with_attributes_times_spans() {
    let stand = Stand::with(Config::default().http).await;
    let attributes: Vec<String> = (0..100_000)
        .map(|n| format!("{{\"key\":\"k{n}\",\"value\":{{\"stringValue\":\"v\"}}}}"))
        .collect();
    let attributes = attributes.join(",");
    let spans = chats(9_000);
    // A resource whose user stands behind 100,000 other attributes; and a span with as many.
    let user = "{\"key\":\"user.id\",\"value\":{\"stringValue\":\"alice\"}}";
    let body = format!(
        "{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{spans}]}}],\"resource\":{{\"attributes\":[{attributes},{user}]}}}}]}}"
    );
    let begun = Instant::now();
    let answer = post(
        &stand,
        "/api/v1/events/otlp",
        "application/json",
        "gzip",
        gzip(body.as_bytes()),
    )
    .await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(answer.status.as_u16(), 200);
    assert_eq!(stand.log.all(Topic::UsageEvents).len(), 9_000);
}

#[tokio::test]
async fn a_form_of_a_stranger_is_refused_before_it_is_read() {
    let stand = Stand::new().await;
    let form = |length: &'static str, body: Body| {
        let request = Request::post("/signin")
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::CONTENT_LENGTH, length);
        stand.send(request.body(body).unwrap())
    };
    let never = || Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let announced = tokio::time::timeout(SOON, form("1048576", never())).await;
    assert_eq!(announced.expect("at once").status.as_u16(), 413);
    // Without a length it is cut off where it is too long; what follows is not waited for.
    let piece = Bytes::from(vec![b'x'; 9 * 1024]);
    let pieces = stream::iter([Ok::<_, std::io::Error>(piece)]).chain(stream::pending());
    let request = Request::post("/signin")
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let cut = stand.send(request.body(Body::from_stream(pieces)).unwrap());
    let answer = tokio::time::timeout(SOON, cut).await.expect("at once");
    assert_eq!(answer.status.as_u16(), 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_senders_hold_the_room_of_what_they_sent_and_stop_nobody() {
    let stand = Stand::with(HttpConfig {
        request_timeout: Duration::from_secs(600),
        body_bytes_per_second_min: None,
        ..Config::default().http
    })
    .await;
    let event = r#"{"requestId":"1","userId":"alice","endpoint":"/v1/scrape","timestamp":"2026-11-22T07:01:02Z","statusCode":200}"#;
    // The key is known from here on: on a busy machine, who looks it up may be told to retry.
    let start = Instant::now();
    loop {
        let body = event.as_bytes().to_vec();
        let first = post_event(&stand, body).await;
        match first.status.as_u16() {
            204 => break,
            503 if start.elapsed() < SOON => {}
            _ => panic!("{:?}", first.body),
        }
    }
    // Each sends a little of its body, and ends it only when the good ones have their answers. Before, eight of them took all the room there was:
    // then the good ones waited until the slow ones were cut off.
    const SENDERS: usize = 40;
    let begun = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(Semaphore::new(0));
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let begin = Bytes::from_static(b"{\"requestId\":");
            let (begun, done) = (begun.clone(), done.clone());
            let rest = async move {
                begun.fetch_add(1, Ordering::Relaxed);
                drop(done.acquire().await);
                Ok::<_, std::io::Error>(Bytes::from_static(b"}"))
            };
            let body = stream::iter([Ok::<_, std::io::Error>(begin)]).chain(stream::once(rest));
            post_event(&stand, Body::from_stream(body))
        })
        .collect();
    let slow = futures::future::join_all(senders);
    let good = async {
        // A sender that is answered early never begins; what it was told is shown below.
        let start = Instant::now();
        while begun.load(Ordering::Relaxed) < SENDERS && start.elapsed() < SOON {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for coding in ["identity", "gzip"] {
            let body = match coding {
                "gzip" => gzip(event.as_bytes()),
                _ => event.as_bytes().to_vec(),
            };
            let answer = post(&stand, "/api/v1/events", "application/json", coding, body).await;
            assert_eq!(answer.status.as_u16(), 204, "{coding}: {:?}", answer.body);
        }
        done.add_permits(SENDERS);
    };
    let (slow, ()) = tokio::join!(slow, good);
    for answer in slow {
        assert_eq!(answer.status.as_u16(), 400, "{:?}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_trickles_is_cut_off_long_before_the_request_times_out() {
    let stand = Stand::with(HttpConfig {
        request_timeout: Duration::from_secs(60),
        ..Config::default().http
    })
    .await;
    let trickle = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
    });
    let begun = Instant::now();
    let body = Body::from_stream(trickle);
    let answer = post_event(&stand, body).await;
    assert_eq!(answer.code(), (408, "body_timeout".to_owned()));
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    let text = stand.metrics.render();
    assert!(
        text.contains("tidemark_http_bodies_refused_total{reason=\"too_slow\"} 1"),
        "{text}"
    );
}
