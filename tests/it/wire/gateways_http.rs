//! The routes on which gateways post usage in forms of their own.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tidemark::domain::position::Partition;
use tidemark::gateways::Format;
use tidemark::http::EVENTS_PER_REQUEST_MAX;
use tidemark::log::rejected::{self, Reject};
use tidemark::log::{LogError, Record, Topic, usage, usage_partition};

use super::gateways::{LAGO, LITELLM, OPENMETER, OTLP, payload};
use crate::edge::memory_log::PARTITIONS;
use crate::http::stand::Stand;

const LITELLM_PATH: &str = "/api/v1/events/litellm";
const OPENMETER_PATH: &str = "/litellm/openmeter/api/v1/events";
const LAGO_PATH: &str = "/litellm/lago/api/v1/events";
const OTLP_PATHS: [&str; 3] = [
    "/api/v1/events/otlp",
    "/api/v1/events/otlp/v1/traces",
    // OTEL_EXPORTER_OTLP_ENDPOINT at the root of the service.
    "/v1/traces",
];

struct Edge(Stand);

impl std::ops::Deref for Edge {
    type Target = Stand;
    fn deref(&self) -> &Stand {
        &self.0
    }
}

struct Answer {
    status: u16,
    retry_after: Option<String>,
    content_type: String,
    body: Value,
}

impl Edge {
    async fn new() -> Edge {
        Edge(Stand::new().await)
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.post_with(path, &[], body).await
    }

    /// Posts with further headers.
    async fn post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::post(path)
            .header(header::HOST, "localhost:8787")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.admin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let answer = self.send(request).await;
        let text = |name| {
            let value = answer.headers.get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        Answer {
            status: answer.status.as_u16(),
            retry_after: text(header::RETRY_AFTER),
            content_type: text(header::CONTENT_TYPE).unwrap_or_default(),
            body: serde_json::from_slice(&answer.body).unwrap_or_default(),
        }
    }

    /// The users of the events that the log has, in order.
    fn users(&self) -> Vec<String> {
        let of = |(partition, record): (Partition, Record)| {
            let event = usage::decode(&record.value, &record.headers).expect("an event");
            assert_eq!(partition, usage_partition(&event.user, PARTITIONS));
            assert_eq!(record.key.as_deref(), Some(event.user.as_bytes()));
            event.user.clone().into_owned()
        };
        let mut users: Vec<String> = self
            .log
            .all(Topic::UsageEvents)
            .into_iter()
            .map(of)
            .collect();
        users.sort();
        users
    }

    fn rejects(&self) -> Vec<Reject> {
        let all = self.log.all(Topic::UsageRejected).into_iter();
        all.map(|(_, record)| rejected::decode_reject(&record).expect("a reject"))
            .collect()
    }

    fn has_metric(&self, line: &str) {
        let text = self.metrics.render();
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn what_can_be_read_is_taken_whatever_the_content_type_says() {
    let (a, b) = (
        payload(&[]).to_string(),
        payload(&[("metadata.user_api_key_user_id", json!("ben"))]).to_string(),
    );
    for content_type in ["application/json", "application/x-ndjson", "text/plain", ""] {
        for body in [format!("[{a},null,{b}]"), format!("{a}\n{b}")] {
            let edge = Edge::new().await;
            let headers = [("content-type", content_type)];
            let answer = edge.post_with(LITELLM_PATH, &headers, body).await;
            assert_eq!(
                (answer.status, answer.body),
                (204, Value::Null),
                "{content_type}"
            );
            assert_eq!(edge.users(), ["anna", "ben"]);
            assert_eq!(edge.rejects(), []);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_read_costs_only_itself_and_is_kept_as_a_draft() {
    let edge = Edge::new().await;
    let nobody = [("metadata.user_api_key_user_id", Value::Null)];
    let body = json!([
        payload(&[]),
        payload(&nobody),
        null,
        7,
        payload(&[("call_type", json!("aget_responses"))])
    ]);
    let answer = edge.post(LITELLM_PATH, body.to_string()).await;
    assert_eq!(
        (answer.status, answer.content_type.as_str()),
        (200, "application/json")
    );
    let field = "metadata.user_api_key_user_id";
    assert_eq!(
        answer.body,
        json!({"taken": 1, "skipped": 2, "refused": [
            {"index": 1, "code": "missing_field", "field": field, "detail": format!("{field} is missing")},
            {"index": 3, "code": "malformed", "detail": "the item is not a JSON object"},
        ]})
    );
    assert_eq!(edge.users(), ["anna"]);
    let mut drafts = Vec::new();
    for reject in edge.rejects() {
        let Reject::Gateway(reject) = reject else {
            panic!("{reject:?}")
        };
        assert_eq!(reject.format, "litellm");
        drafts.push(String::from_utf8(reject.draft.to_vec()).unwrap());
    }
    drafts.sort();
    assert_eq!(drafts.len(), 2);
    assert_eq!(drafts[0], "");
    let mut draft: Value = serde_json::from_str(&drafts[1]).unwrap();
    assert_eq!(draft["data"]["model"], "openai/gpt-4o");
    assert!(!drafts[1].contains("SECRET"));
    // Mended, it is an event.
    draft["subject"] = json!("carl");
    let headers = [("content-type", "application/json")];
    let answer = edge
        .post_with("/api/v1/events", &headers, draft.to_string())
        .await;
    assert_eq!(answer.status, 204);
    assert_eq!(edge.users(), ["anna", "carl"]);
    for line in [
        r#"tidemark_ingest_requests_total{format="litellm"} 1"#,
        r#"tidemark_ingest_requests_total{format="events"} 1"#,
        r#"tidemark_ingest_events_total{format="litellm"} 1"#,
        r#"tidemark_ingest_events_total{format="events"} 1"#,
        r#"tidemark_ingest_refused_total{format="litellm",reason="missing_field"} 1"#,
        r#"tidemark_ingest_refused_total{format="litellm",reason="malformed"} 1"#,
        r#"tidemark_ingest_skipped_total{format="litellm",reason="empty"} 1"#,
        r#"tidemark_ingest_skipped_total{format="litellm",reason="housekeeping"} 1"#,
        r#"tidemark_ingest_usage_unknown_total{format="litellm"} 0"#,
    ] {
        edge.has_metric(line);
    }
}

#[tokio::test]
async fn the_callbacks_of_litellm_have_paths_of_their_own() {
    let edge = Edge::new().await;
    let openmeter: Vec<Value> = serde_json::from_str(OPENMETER).unwrap();
    let headers = [("content-type", "application/cloudevents+json")];
    let answer = edge
        .post_with(OPENMETER_PATH, &headers, openmeter[0].to_string())
        .await;
    assert_eq!(answer.status, 204);
    assert_eq!(edge.post(LAGO_PATH, LAGO).await.status, 204);
    assert_eq!(edge.users(), ["anna", "customer-7"]);
    // LiteLLM really sends these, without a subject, for /v1/responses and /v1/messages.
    let nobody = openmeter
        .iter()
        .find(|event| event["subject"] == "")
        .expect("one");
    let answer = edge.post(OPENMETER_PATH, nobody.to_string()).await;
    assert_eq!(
        (answer.status, &answer.body["refused"][0]["field"]),
        (200, &json!("subject"))
    );
    assert_eq!(edge.rejects().len(), 1);
    // A completion, whose usage this callback leaves out.
    let unknown = openmeter
        .iter()
        .find(|event| event["data"]["prompt_tokens"].is_null())
        .expect("one");
    assert_eq!(
        edge.post(OPENMETER_PATH, unknown.to_string()).await.status,
        204
    );
    edge.has_metric(r#"tidemark_ingest_usage_unknown_total{format="litellm-openmeter"} 1"#);
}

#[tokio::test]
async fn traces_are_answered_as_otlp_wants_it() {
    for path in OTLP_PATHS {
        let edge = Edge::new().await;
        let answer = edge.post(path, OTLP).await;
        assert_eq!(
            (answer.status, answer.content_type.as_str()),
            (200, "application/json")
        );
        let partial = &answer.body["partialSuccess"];
        assert_eq!(partial["rejectedSpans"], "1");
        assert_eq!(
            partial["errorMessage"],
            "1 spans cannot be counted and are kept in usage.rejected; the first: enduser.id or user.id is missing"
        );
        assert_eq!(edge.users(), ["4711", "anna", "anna", "ben"]);
        assert_eq!(edge.rejects().len(), 1);
        let answer = edge.post(path, r#"{"resourceSpans": []}"#).await;
        assert_eq!((answer.status, answer.body), (200, json!({})));
        let answer = edge.post(path, "no JSON").await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (400, &json!("malformed"))
        );
    }
}

#[tokio::test]
async fn what_is_no_body_of_the_form_is_refused_and_nothing_is_taken() {
    let edge = Edge::new().await;
    for path in [
        LITELLM_PATH,
        OPENMETER_PATH,
        LAGO_PATH,
        OTLP_PATHS[0],
        OTLP_PATHS[1],
        OTLP_PATHS[2],
    ] {
        for body in ["", "no JSON", "[{", "null"] {
            let answer = edge.post(path, body).await;
            assert_eq!(
                (answer.status, &answer.body["code"]),
                (400, &json!("malformed")),
                "{path} {body}"
            );
            assert_eq!(answer.content_type, "application/problem+json");
        }
        let of_protobuf = match OTLP_PATHS.contains(&path) {
            true => (400, "malformed"),
            false => (415, "unsupported_media_type"),
        };
        for (header, status, code) in [
            (("content-encoding", "gzip"), 400, "unreadable_body"),
            (
                ("content-encoding", "br"),
                415,
                "unsupported_content_encoding",
            ),
            (
                ("content-type", "application/x-protobuf"),
                of_protobuf.0,
                of_protobuf.1,
            ),
        ] {
            let answer = edge.post_with(path, &[header], "\u{1f}").await;
            assert_eq!(
                (answer.status, &answer.body["code"]),
                (status, &json!(code)),
                "{path} {header:?}"
            );
        }
        let answer = edge.post(path, vec![b' '; (4 << 20) + 1]).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (413, &json!("body_too_large"))
        );
    }
    let many = format!("[{}7]", "7,".repeat(EVENTS_PER_REQUEST_MAX));
    let answer = edge.post(LITELLM_PATH, many).await;
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (413, &json!("too_many_events"))
    );
    assert!(edge.users().is_empty());
    assert_eq!(edge.rejects(), []);
}

#[tokio::test]
async fn a_log_that_cannot_take_it_is_a_503_on_every_path() {
    let edge = Edge::new().await;
    *edge.log.append_fails.lock().unwrap() = Some(LogError::Unavailable("away".into()));
    for (path, body) in [
        (LITELLM_PATH, LITELLM),
        (OPENMETER_PATH, OPENMETER),
        (LAGO_PATH, LAGO),
        (OTLP_PATHS[1], OTLP),
    ] {
        let answer = edge.post(path, body).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (503, &json!("log_unavailable"))
        );
        assert_eq!(answer.retry_after.as_deref(), Some("1"));
    }
    assert_eq!(
        edge.metrics
            .ingest_events_total
            .with_label_values(&["litellm"])
            .get(),
        0
    );
}

#[tokio::test]
async fn a_log_that_never_answers_is_a_503_within_a_bound() {
    let edge = Edge::new().await;
    // Its key is known from here on, so that nothing but the log is waited for.
    assert_eq!(edge.post(LAGO_PATH, LAGO).await.status, 204);
    edge.log.append_hangs.store(true, Ordering::Relaxed);
    let start = Instant::now();
    let json = [("content-type", "application/json")];
    let event = json!({"requestId": "1", "userId": "anna", "endpoint": "/v1/scrape", "timestamp": "2026-11-22T07:01:02Z", "statusCode": 200});
    let (own, gateways) = tokio::join!(
        edge.post_with("/api/v1/events", &json, event.to_string()),
        edge.post(LAGO_PATH, LAGO)
    );
    for answer in [own, gateways] {
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (503, &json!("log_unavailable"))
        );
        assert_eq!(answer.retry_after.as_deref(), Some("1"));
    }
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn every_form_has_a_name_of_its_own() {
    let mut names = Format::ALL.map(Format::as_str).to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Format::ALL.len());
}
