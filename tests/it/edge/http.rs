use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use serde_json::{Value, json};
use tidemark::domain::position::Partition;
use tidemark::http::{EVENTS_PER_REQUEST_MAX, LogOverview, RecordLine};
use tidemark::log::usage::SENDER_HEADER;
use tidemark::log::{Log, LogError, NewRecord, Record, Refusal, Topic, usage_partition};
use tidemark::ops::health::{Role, TaskId};

use super::memory_log::PARTITIONS;
use crate::http::stand::{Answer, Stand};

const CLOUDEVENT: &str = "application/cloudevents+json";
const CLOUDEVENTS: &str = "application/cloudevents-batch+json";
const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

struct Edge(Stand);

impl std::ops::Deref for Edge {
    type Target = Stand;
    fn deref(&self) -> &Stand {
        &self.0
    }
}

/// Index, code and field.
type BadEvent = (u64, String, Option<String>);

trait Bad {
    /// Status, code, and index, code and field of each bad event.
    fn problem(&self) -> (u16, String, Vec<BadEvent>);
}

impl Bad for Answer {
    fn problem(&self) -> (u16, String, Vec<BadEvent>) {
        assert_eq!(
            self.headers[header::CONTENT_TYPE],
            "application/problem+json"
        );
        let problem = self.json();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let events = problem["events"].as_array().cloned().unwrap_or_default();
        let bad = |e: &Value| {
            (
                e["index"].as_u64().unwrap(),
                text(&e["code"]).unwrap(),
                text(&e["field"]),
            )
        };
        assert_eq!(problem["status"], self.status.as_u16());
        (
            self.status.as_u16(),
            text(&problem["code"]).unwrap(),
            events.iter().map(bad).collect(),
        )
    }
}

impl Edge {
    async fn new() -> Edge {
        Edge(Stand::new().await)
    }

    async fn ask(&self, mut request: Request<Body>) -> Answer {
        let bearer = format!("Bearer {}", self.admin).parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        self.send(request).await
    }

    async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).header(header::HOST, "127.0.0.1:8787");
        self.ask(request.body(Body::empty()).unwrap()).await
    }

    async fn post(&self, content_type: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post("/api/v1/events")
            .header(header::HOST, "localhost:8787")
            .header(header::CONTENT_TYPE, content_type);
        self.ask(request.body(body.into()).unwrap()).await
    }

    fn events(&self) -> Vec<(Partition, Record)> {
        self.log.all(Topic::UsageEvents)
    }

    fn values(&self) -> Vec<String> {
        let mut values: Vec<String> = self
            .events()
            .iter()
            .map(|(_, record)| String::from_utf8(record.value.to_vec()).unwrap())
            .collect();
        values.sort();
        values
    }
}

fn cloudevent(id: &str, user: &str) -> String {
    // Spaces and an unknown field: bytes that a re-encoding would lose.
    format!(
        r#"{{"specversion":"1.0", "type":"tidemark.usage.v1","source":"gw","id":"{id}","time":"2026-11-22T07:01:02.123Z",
"subject":"{user}","x":1.50,"data":{{"endpoint":"/v1/chat/completions","statusCode":200,"outputTokens":7}}}}"#
    )
    .replace('\n', " ")
}

fn plain(id: &str, user: &str) -> String {
    format!(
        r#"{{"requestId":"{id}","userId":"{user}","endpoint":"/v1/scrape","timestamp":"2026-11-22T07:01:02Z","statusCode":200}}"#
    )
}

#[tokio::test]
async fn every_media_type_of_the_contract_is_taken() {
    let (a, b) = (cloudevent("1", "anna"), plain("2", "ben"));
    let rows: &[(&str, String, Vec<String>)] = &[
        (CLOUDEVENT, a.clone(), vec![a.clone()]),
        (CLOUDEVENT, format!("\n {a}\n"), vec![a.clone()]),
        (
            CLOUDEVENTS,
            format!("[{a}, {b}]"),
            vec![b.clone(), a.clone()],
        ),
        (CLOUDEVENTS, "[]".into(), vec![]),
        (JSON, b.clone(), vec![b.clone()]),
        (JSON, format!(" [ {a} , {b} ] "), vec![b.clone(), a.clone()]),
        (
            "application/json; charset=utf-8",
            b.clone(),
            vec![b.clone()],
        ),
        ("Application/JSON", b.clone(), vec![b.clone()]),
        (LINES, format!("{a}\n\n{b}\r\n"), vec![b.clone(), a.clone()]),
    ];
    for (content_type, body, expected) in rows {
        let edge = Edge::new().await;
        let answer = edge.post(content_type, body.clone()).await;
        assert_eq!(
            answer.status,
            StatusCode::NO_CONTENT,
            "{content_type} {body}"
        );
        assert!(answer.body.is_empty());
        let mut expected = expected.clone();
        expected.sort();
        assert_eq!(edge.values(), expected, "{content_type}");
    }
}

#[tokio::test]
async fn an_event_stands_in_its_users_partition_under_its_user_unchanged() {
    let edge = Edge::new().await;
    let users: Vec<String> = (0..50).map(|n| format!("user-{n}")).collect();
    let lines: String = users
        .iter()
        .map(|user| cloudevent(user, user) + "\n")
        .collect();
    assert_eq!(edge.post(LINES, lines).await.status, StatusCode::NO_CONTENT);
    let events = edge.events();
    assert_eq!(events.len(), users.len());
    for (partition, record) in events {
        let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
        assert_eq!(partition, usage_partition(&key, PARTITIONS));
        assert_eq!(record.value, cloudevent(&key, &key));
        assert!(record.headers.iter().all(|(name, _)| name == SENDER_HEADER));
    }
}

#[tokio::test]
async fn a_batch_with_bad_events_names_each_and_takes_none() {
    let edge = Edge::new().await;
    let good = cloudevent("1", "anna");
    let body = format!(
        "[{good}, {}, null, {}, {good}, {}]",
        good.replace("200", "\"200\""),
        plain("2", "ben").replace("\"userId\":\"ben\",", ""),
        good.replace("2026-11-22", "2026-13-22"),
    );
    for content_type in [CLOUDEVENTS, JSON] {
        let (status, code, events) = edge.post(content_type, body.clone()).await.problem();
        assert_eq!((status, code.as_str()), (400, "invalid_events"));
        let expected = [
            (1, "wrong_type", Some("data.statusCode")),
            (2, "malformed", None),
            (3, "missing_field", Some("userId")),
            (5, "invalid_time", Some("time")),
        ];
        let expected = expected.map(|(i, c, f)| (i, c.to_owned(), f.map(str::to_owned)));
        assert_eq!(events, expected);
    }
    assert!(edge.events().is_empty());
}

#[tokio::test]
async fn what_only_rating_can_decide_is_taken() {
    let edge = Edge::new().await;
    let strange = [
        cloudevent("1", "anna").replace("chat/completions", "horoscopes"),
        cloudevent("2", "anna").replace("2026-11", "1999-11"),
        cloudevent("3", "anna").replace("2026-11", "2099-11"),
        cloudevent("4", "anna"),
        cloudevent("4", "anna"),
        cloudevent("4", "anna").replace("200", "500"),
    ];
    let answer = edge.post(LINES, strange.join("\n")).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(edge.events().len(), strange.len());
}

#[tokio::test]
async fn other_media_types_are_refused() {
    let edge = Edge::new().await;
    for content_type in [
        "text/plain",
        "application/xml",
        "",
        "application/cloudevents",
    ] {
        let (status, code, _) = edge
            .post(content_type, cloudevent("1", "anna"))
            .await
            .problem();
        assert_eq!((status, code.as_str()), (415, "unsupported_media_type"));
    }
    assert!(edge.events().is_empty());
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let edge = Edge::new().await;
    let rows: &[(&str, &[u8], &str)] = &[
        (CLOUDEVENTS, b"", "malformed"),
        (CLOUDEVENTS, b"[", "malformed"),
        (CLOUDEVENTS, b"{}", "malformed"),
        (CLOUDEVENTS, b"[1,]", "malformed"),
        (CLOUDEVENTS, b"[\"\xff\"]", "malformed"),
        (CLOUDEVENT, b"", "invalid_events"),
        (CLOUDEVENT, b"{", "invalid_events"),
        (CLOUDEVENT, b"[]", "invalid_events"),
        (JSON, b"nonsense", "invalid_events"),
        (JSON, b"\xff", "invalid_events"),
        (LINES, b"{\n}", "invalid_events"),
    ];
    for (content_type, body, code) in rows {
        let problem = edge.post(content_type, body.to_vec()).await.problem();
        assert_eq!(
            (problem.0, problem.1.as_str()),
            (400, *code),
            "{content_type} {body:?}"
        );
    }
    assert!(edge.events().is_empty());
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_413() {
    let edge = Edge::new().await;
    let good = cloudevent("1", "anna");
    let large = good.replace("1.50", &format!("\"{}\"", "x".repeat(64 * 1024)));
    let (status, _, events) = edge
        .post(CLOUDEVENTS, format!("[{good},{large}]"))
        .await
        .problem();
    assert_eq!(
        (status, events),
        (413, vec![(1, "too_large".to_owned(), None)])
    );

    let body = vec![b' '; (4 << 20) + 1];
    let problem = edge.post(JSON, body).await.problem();
    assert_eq!((problem.0, problem.1.as_str()), (413, "body_too_large"));

    let many = "{}\n".repeat(EVENTS_PER_REQUEST_MAX + 1);
    let problem = edge.post(LINES, many).await.problem();
    assert_eq!((problem.0, problem.1.as_str()), (413, "too_many_events"));
    assert!(edge.events().is_empty());
}

#[tokio::test]
async fn a_log_that_cannot_take_events_is_a_503_with_retry_after() {
    let edge = Edge::new().await;
    let damaged = LogError::Damaged {
        topic: Topic::UsageEvents,
        partition: Partition(0),
        what: "shorter than acknowledged".into(),
    };
    for (error, secs) in [(LogError::Unavailable("full".into()), "1"), (damaged, "60")] {
        *edge.log.append_fails.lock().unwrap() = Some(error);
        let answer = edge.post(CLOUDEVENT, cloudevent("1", "anna")).await;
        assert_eq!(answer.problem().0, 503);
        assert_eq!(answer.headers[header::RETRY_AFTER], secs);
    }
}

#[tokio::test]
async fn a_full_disk_is_a_507_a_clock_that_jumped_or_a_missing_topic_a_503_and_each_says_so() {
    let edge = Edge::new().await;
    let what = || "why, and what to do".to_owned();
    let refused = |why| LogError::Refused { why, what: what() };
    let gone = LogError::NoTopic {
        topic: Topic::UsageEvents,
        what: what(),
    };
    let rows = [
        (refused(Refusal::DiskFull), 507, "log_disk_full"),
        (refused(Refusal::ClockAhead), 503, "log_clock_ahead"),
        (gone, 503, "topic_missing"),
    ];
    for (error, status, code) in rows {
        *edge.log.append_fails.lock().unwrap() = Some(error);
        let answer = edge.post(CLOUDEVENT, cloudevent("1", "anna")).await;
        assert_eq!(answer.headers[header::RETRY_AFTER], "10");
        let problem = answer.problem();
        assert_eq!((problem.0, problem.1.as_str()), (status, code));
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        let resend = "Resending the same events is safe";
        assert!(detail.starts_with("why, and what to do"), "{detail}");
        assert!(detail.contains(resend), "{detail}");
    }
}

#[tokio::test]
async fn a_record_that_the_log_finds_too_large_is_named_by_its_place_in_the_request() {
    let edge = Edge::new().await;
    let (topic, bytes, max) = (Topic::UsageEvents, 70_000, 65_536);
    *edge.log.append_fails.lock().unwrap() = Some(LogError::TooLarge {
        index: 0,
        bytes,
        max,
        topic,
    });
    let (status, _, events) = edge
        .post(CLOUDEVENT, cloudevent("1", "anna"))
        .await
        .problem();
    assert_eq!(
        (status, events),
        (413, vec![(0, "too_large".to_owned(), None)])
    );
}

#[tokio::test]
async fn only_loopback_hosts_are_answered() {
    let edge = Edge::new().await;
    let rows: &[(Option<&str>, u16)] = &[
        (Some("localhost"), 200),
        (Some("LOCALHOST:1"), 200),
        (Some("127.0.0.1:8787"), 200),
        (Some("127.9.9.9"), 200),
        (Some("[::1]:8787"), 200),
        (Some("evil.example"), 421),
        (Some("evil.example:8787"), 421),
        (Some("localhost.evil.example"), 421),
        (Some("192.168.0.1"), 421),
        (Some("127.0.0.1.evil.example"), 421),
        (Some(""), 421),
        (None, 421),
    ];
    for (host, status) in rows {
        let mut request = Request::get("/metrics");
        if let Some(host) = host {
            request = request.header(header::HOST, *host);
        }
        let answer = edge.ask(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status.as_u16(), *status, "{host:?}");
    }
}

#[tokio::test]
async fn liveness_fails_while_a_partition_with_lag_makes_no_progress() {
    let edge = Edge::new().await;
    let task = TaskId::new(Role::Post, Partition(1));
    assert_eq!(edge.get("/healthz").await.status, StatusCode::OK);
    edge.health.progressed(task, 3);
    tokio::time::sleep(Duration::from_millis(2)).await;
    let answer = edge.get("/healthz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["stalled"], json!(["post/1"]));
    edge.health.progressed(task, 0);
    assert_eq!(edge.get("/healthz").await.status, StatusCode::OK);
    edge.health.lags(task, 9, Duration::ZERO);
    edge.health
        .halted(task, "sequence_gap", "block 7 is missing");
    let answer = edge.get("/healthz").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json()["partitions"][0]["halted"]["code"],
        "sequence_gap"
    );
}

#[tokio::test]
async fn readiness_follows_the_process() {
    let edge = Edge::new().await;
    assert_eq!(edge.get("/readyz").await.problem().0, 503);
    edge.health.set_ready(true);
    assert_eq!(edge.get("/readyz").await.status, StatusCode::OK);
    // A worker whose topics are not there has nothing to work on, and says what it lacks.
    edge.health.set_ready(false);
    edge.health
        .set_missing(vec!["topic eu.usage.events".to_owned()]);
    let answer = edge.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let problem = answer.json();
    assert_eq!(problem["code"], "missing", "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("topic eu.usage.events"), "{detail}");
    assert!(detail.contains("tidemark topics apply"), "{detail}");
    edge.health.set_missing(Vec::new());
    edge.health.set_ready(true);
    assert_eq!(edge.get("/readyz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_never_by_path() {
    let edge = Edge::new().await;
    edge.post(
        LINES,
        cloudevent("1", "anna") + "\n" + &cloudevent("2", "ben"),
    )
    .await;
    edge.get("/internal/log/usage.events/0").await;
    edge.get("/somewhere/else").await;
    let text = String::from_utf8(edge.get("/metrics").await.body.to_vec()).unwrap();
    for line in [
        r#"tidemark_http_requests_total{code="204",route="/api/v1/events"} 1"#,
        r#"tidemark_http_requests_total{code="200",route="/internal/log/{topic}/{partition}"} 1"#,
        r#"tidemark_http_requests_total{code="404",route="other"} 1"#,
        r#"tidemark_http_request_seconds_count{route="/api/v1/events"} 1"#,
        r#"tidemark_log_appended_records_total{topic="usage.events"} 2"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert_eq!(edge.metrics.events_rated_total.get(), 0);
}

#[tokio::test]
async fn the_log_can_be_read_back_byte_for_byte() {
    let edge = Edge::new().await;
    let record = NewRecord {
        key: Some(Bytes::from_static(b"anna")),
        value: Bytes::from_static(b"\xff\x00 not text"),
        headers: vec![("reason".into(), Bytes::from_static(b"malformed"))],
    };
    let text = NewRecord {
        value: Bytes::from_static(b"{\"a\": 1}"),
        ..NewRecord::default()
    };
    edge.log
        .append(Topic::UsageRejected, Partition(2), vec![record, text])
        .await
        .unwrap();
    let answer = edge
        .get("/internal/log/usage.rejected/2?from=0&max=10")
        .await;
    let lines = std::str::from_utf8(&answer.body).unwrap().lines();
    let read: Vec<Record> = lines
        .map(|line| {
            serde_json::from_str::<RecordLine>(line)
                .unwrap()
                .try_into()
                .unwrap()
        })
        .collect();
    let expected: Vec<Record> = edge
        .log
        .all(Topic::UsageRejected)
        .into_iter()
        .map(|(_, r)| r)
        .collect();
    assert_eq!(read, expected);
}

#[tokio::test]
async fn reads_of_the_log_are_bounded_and_unknown_places_are_named() {
    let edge = Edge::new().await;
    let overview: LogOverview =
        serde_json::from_value(edge.get("/internal/log").await.json()).unwrap();
    assert_eq!(overview.topics.len(), Topic::ALL.len());
    assert!(
        overview
            .topics
            .iter()
            .all(|topic| topic.partitions.len() == PARTITIONS as usize)
    );
    for path in ["/internal/log/nonsense/0", "/internal/log/usage.events/4"] {
        assert_eq!(edge.get(path).await.problem().0, 404, "{path}");
    }
    let values: Vec<NewRecord> = (0..5).map(|_| NewRecord::default()).collect();
    edge.log
        .append(Topic::UsageEvents, Partition(0), values)
        .await
        .unwrap();
    let answer = edge.get("/internal/log/usage.events/0?from=1&max=2").await;
    let body = String::from_utf8(answer.body.to_vec()).unwrap();
    assert_eq!(body.lines().count(), 2);
    assert!(body.starts_with("{\"offset\":1,"));
}
