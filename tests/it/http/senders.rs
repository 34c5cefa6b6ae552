//! Usage events as their senders meet the routes: CloudEvents in binary mode, what the answers say, and checks without taking.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tidemark::log::{Topic, usage};

use super::stand::{Answer, Stand};

const EVENTS: &str = "/api/v1/events";
const OPENMETER: &str = "/litellm/openmeter/api/v1/events";
const DATA: &str =
    r#"{"endpoint":"/v1/chat/completions","statusCode":200,"inputTokens":150,"outputTokens":75}"#;

/// The attributes as both generations of the Python SDK write them.
const ATTRIBUTES: [(&str, &str); 6] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "r-1"),
    ("ce-source", "gateway-eu-1"),
    ("ce-type", "tidemark.usage.v1"),
    ("ce-time", "2026-11-22T07:01:02.123000+00:00"),
    ("ce-subject", "anna"),
];
const JSON: (&str, &str) = ("content-type", "application/json");

struct Edge(Stand);

impl std::ops::Deref for Edge {
    type Target = Stand;
    fn deref(&self) -> &Stand {
        &self.0
    }
}

impl Edge {
    async fn new() -> Edge {
        Edge(Stand::new().await)
    }

    async fn post(
        &self,
        path: &str,
        headers: &[(&str, impl AsRef<[u8]>)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::post(path)
            .header(header::HOST, "localhost:8787")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.admin));
        for (name, value) in headers {
            request = request.header(*name, value.as_ref());
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Source, id, user and input tokens of the events that the log has.
    fn events(&self) -> Vec<(String, String, String, Option<u64>)> {
        let records = self.log.all(Topic::UsageEvents).into_iter();
        let event = |record: tidemark::log::Record| {
            let event = usage::decode(&record.value, &record.headers).expect("an event");
            (
                event.source.clone().into_owned(),
                event.id.clone().into_owned(),
                event.user.clone().into_owned(),
                event.input_tokens,
            )
        };
        records.map(|(_, record)| event(record)).collect()
    }
}

/// The attributes with one changed, or left out.
fn with<'a>(name: &str, value: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let attributes = ATTRIBUTES.into_iter().filter_map(|(known, usual)| {
        let is_changed = known == name;
        let value = if is_changed { value? } else { usual };
        Some((known, value))
    });
    attributes.collect()
}

/// Code and field of each fault, after the status.
fn faults(answer: &Answer) -> (u16, Vec<(String, String)>) {
    let problem = answer.json();
    let events = problem["events"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let fault = |event: &Value| (text(&event["code"]), text(&event["field"]));
    (answer.status.as_u16(), events.iter().map(fault).collect())
}

#[tokio::test]
async fn a_cloud_event_in_binary_mode_is_the_same_event_as_in_structured_mode() {
    let structured = json!({"specversion": "1.0", "type": "tidemark.usage.v1", "source": "gateway-eu-1", "id": "r-1",
        "time": "2026-11-22T07:01:02.123Z", "subject": "anna", "data": serde_json::from_str::<Value>(DATA).unwrap()})
    .to_string();
    let headers = tidemark::log::Headers::new();
    let expected = usage::decode(structured.as_bytes(), &headers).unwrap();
    for content_type in [
        Some("application/json"),
        Some("application/json; charset=utf-8"),
        Some("application/vnd.usage+json"),
        // The SDK without a `datacontenttype`.
        None,
    ] {
        let edge = Edge::new().await;
        let mut sent = ATTRIBUTES.to_vec();
        sent.extend(content_type.map(|value| ("content-type", value)));
        let answer = edge.post(EVENTS, &sent, DATA).await;
        assert_eq!(answer.status.as_u16(), 204, "{content_type:?}");
        let records = edge.log.all(Topic::UsageEvents);
        let [(_, record)] = &records[..] else {
            panic!("{records:?}")
        };
        let event = usage::decode(&record.value, &record.headers).unwrap();
        assert_eq!(event, expected);
    }
}

#[tokio::test]
async fn headers_of_binary_mode_are_decoded_once() {
    let edge = Edge::new().await;
    for subject in ["J%C3%B6rg%20%251", "\"J%C3%B6rg \\%251\"", "J\u{f6}rg %251"] {
        let sent = with("ce-subject", Some(subject));
        let answer = edge.post(EVENTS, &sent, DATA).await;
        assert_eq!(answer.status.as_u16(), 204, "{subject}");
    }
    let users = edge.events().into_iter().map(|(_, _, user, _)| user);
    assert_eq!(users.collect::<Vec<_>>(), vec!["J\u{f6}rg %1"; 3]);
    for subject in [&b"%C0%A0"[..], b"J\xf6rg"] {
        let mut sent: Vec<(&str, &[u8])> = Vec::new();
        for (name, value) in ATTRIBUTES {
            let value = if name == "ce-subject" {
                subject
            } else {
                value.as_bytes()
            };
            sent.push((name, value));
        }
        let answer = edge.post(EVENTS, &sent, DATA).await;
        let fault = ("malformed".to_owned(), "ce-subject".to_owned());
        assert_eq!(faults(&answer), (400, vec![fault]));
    }
}

#[tokio::test]
async fn what_is_wrong_in_binary_mode_is_refused_by_name() {
    let edge = Edge::new().await;
    for (name, value, code, field) in [
        ("ce-id", None, "missing_field", "ce-id"),
        ("ce-source", None, "missing_field", "ce-source"),
        ("ce-type", None, "missing_field", "ce-type"),
        ("ce-specversion", None, "missing_field", "ce-specversion"),
        ("ce-subject", None, "missing_field", "subject"),
        ("ce-time", None, "missing_field", "time"),
        ("ce-id", Some(""), "invalid_id", "id"),
        ("ce-subject", Some("a%0Ab"), "invalid_id", "subject"),
        ("ce-time", Some("yesterday"), "invalid_time", "time"),
        ("ce-type", Some("other"), "unknown_type", "type"),
        ("ce-specversion", Some("0.3"), "unknown_type", "specversion"),
    ] {
        let answer = edge.post(EVENTS, &with(name, value), DATA).await;
        let fault = (code.to_owned(), field.to_owned());
        assert_eq!(faults(&answer), (400, vec![fault]), "{name} {value:?}");
    }
    let refused = &edge.metrics.ingest_refused_total;
    let missing = refused.with_label_values(&["events", "missing_field"]);
    assert_eq!(missing.get(), 6);
    // Nothing that a body says may become an attribute.
    for (body, code) in [
        ("", "missing_field"),
        ("no JSON", "malformed"),
        (r#"{},"subject":"eve""#, "malformed"),
        ("[{}]", "wrong_type"),
    ] {
        let answer = edge.post(EVENTS, &ATTRIBUTES, body).await;
        let fault = (code.to_owned(), "data".to_owned());
        assert_eq!(faults(&answer), (400, vec![fault]), "{body}");
    }
    let mut twice = ATTRIBUTES.to_vec();
    twice.push(("ce-id", "r-2"));
    let answer = edge.post(EVENTS, &twice, DATA).await;
    assert_eq!(answer.code(), (400, "duplicate_header".to_owned()));
    let mut xml = ATTRIBUTES.to_vec();
    xml.push(("content-type", "application/xml"));
    let answer = edge.post(EVENTS, &xml, DATA).await;
    assert_eq!(answer.code(), (415, "unsupported_media_type".to_owned()));
    assert_eq!(edge.events(), []);
}

/// Headers and data are checked at once, by every route and in the same answers as in structured
/// mode.
#[tokio::test]
async fn every_fault_of_an_event_in_binary_mode_is_named_at_once() {
    let edge = Edge::new().await;
    let latin = b"J\xf6rg";
    for (changed, body, expected) in [
        (
            vec![("ce-id", None)],
            r#"{"endpoint": 5, "statusCode": "x"}"#,
            vec![
                ("missing_field", "ce-id"),
                ("wrong_type", "data.endpoint"),
                ("wrong_type", "data.statusCode"),
            ],
        ),
        (
            vec![
                ("ce-type", None),
                ("ce-source", None),
                ("ce-time", Some(&b"never"[..])),
            ],
            "{}",
            vec![
                ("missing_field", "ce-type"),
                ("missing_field", "ce-source"),
                ("invalid_time", "time"),
                ("missing_field", "data.endpoint"),
                ("missing_field", "data.statusCode"),
            ],
        ),
        (
            vec![("ce-subject", Some(&latin[..])), ("ce-specversion", None)],
            "no JSON",
            vec![
                ("missing_field", "ce-specversion"),
                ("malformed", "ce-subject"),
                ("malformed", "data"),
            ],
        ),
        (
            vec![("ce-id", Some(&b""[..]))],
            r#"{"endpoint": 5, "statusCode": 200}"#,
            vec![("invalid_id", "id"), ("wrong_type", "data.endpoint")],
        ),
    ] {
        let usual = ATTRIBUTES.into_iter().filter_map(|(name, usual)| {
            match changed.iter().find(|(changed, _)| *changed == name) {
                Some((_, value)) => value.map(|value| (name, value)),
                None => Some((name, usual.as_bytes())),
            }
        });
        let sent: Vec<(&str, &[u8])> = usual.collect();
        let mut expected: Vec<(String, String)> = expected
            .into_iter()
            .map(|(code, field)| (code.to_owned(), field.to_owned()))
            .collect();
        expected.sort_unstable();
        let answer = edge.post(EVENTS, &sent, body).await;
        let (status, mut found) = faults(&answer);
        found.sort_unstable();
        assert_eq!((status, &found), (400, &expected), "{body}");
        for path in [
            format!("{EVENTS}/validate"),
            format!("{EVENTS}?partial=true"),
        ] {
            let answer = edge.post(&path, &sent, body).await;
            assert_eq!(answer.status, 200, "{path}: {:?}", answer.body);
            let told = answer.json();
            let refused = told["refused"].as_array().unwrap().iter();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let mut found: Vec<(String, String)> = refused
                .map(|fault| (text(&fault["code"]), text(&fault["field"])))
                .collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{path}");
        }
    }
    assert_eq!(edge.events(), []);
}

#[tokio::test]
async fn attributes_beside_a_structured_event_are_not_read() {
    let edge = Edge::new().await;
    let event = json!({"specversion": "1.0", "type": "tidemark.usage.v1", "source": "s", "id": "i",
        "time": "2026-11-22T07:01:02Z", "subject": "ben", "data": {"endpoint": "/scrape", "statusCode": 200}});
    let mut sent = ATTRIBUTES.to_vec();
    sent.push(("content-type", "application/cloudevents+json"));
    let answer = edge.post(EVENTS, &sent, event.to_string()).await;
    assert_eq!(answer.status.as_u16(), 204);
    let expected = ("s".to_owned(), "i".to_owned(), "ben".to_owned(), None);
    assert_eq!(edge.events(), [expected]);
}

#[tokio::test]
async fn a_key_of_one_source_is_held_to_it_in_binary_mode() {
    let edge = Edge::new().await;
    let key = edge.key(&["ingest:gateway-us-1"]).await;
    let mut request = Request::post(EVENTS)
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {key}"));
    for (name, value) in ATTRIBUTES {
        request = request.header(name, value);
    }
    let answer = edge.send(request.body(DATA.into()).unwrap()).await;
    assert_eq!(answer.code(), (403, "foreign_source".to_owned()));
    assert_eq!(edge.events(), []);
}

#[tokio::test]
async fn the_openmeter_route_takes_binary_mode_too() {
    let edge = Edge::new().await;
    let mut sent = with("ce-type", Some("litellm_tokens"));
    sent.push(JSON);
    let body = r#"{"model":"llama-3-70b","prompt_tokens":150,"completion_tokens":75}"#;
    let answer = edge.post(OPENMETER, &sent, body).await;
    assert_eq!(answer.status.as_u16(), 204);
    let [(source, _, user, input)] = &edge.events()[..] else {
        panic!("one event")
    };
    let found = (source.as_str(), user.as_str(), *input);
    assert_eq!(found, ("litellm-openmeter", "anna", Some(150)));
}

/// A chat of a user, with a part replaced.
fn chat(id: &str, from: &str, to: &str) -> String {
    let event = format!(
        r#"{{"requestId":"{id}","userId":"anna","endpoint":"/v1/chat/completions","timestamp":"2026-11-22T07:01:02Z","statusCode":200,"inputTokens":150}}"#
    );
    assert!(event.contains(from), "{from}");
    event.replacen(from, to, 1)
}

const LINES: [(&str, &str); 1] = [("content-type", "application/x-ndjson")];

/// Good, bad in two ways, good without a count, too large.
fn mixed() -> String {
    let bad = chat("2", "\"userId\"", "\"user_id\"").replace("200", "\"200\"");
    let large = chat("4", "anna", &"x".repeat(64 * 1024));
    [
        chat("1", "", ""),
        bad,
        chat("3", ",\"inputTokens\":150", ""),
        large,
    ]
    .join("\n")
}

fn mixed_faults() -> Value {
    json!([
        {"index": 1, "code": "wrong_type", "field": "statusCode",
         "detail": "statusCode must be a whole number without decimals or exponent"},
        {"index": 1, "code": "misnamed_field", "field": "userId",
         "detail": "user_id is not a field of an event; it is probably userId, which is missing: rename it, or send userId beside it"},
        {"index": 3, "code": "too_large", "detail": "the event has 65669 bytes; the maximum is 65536"},
    ])
}

fn ids(edge: &Edge) -> Vec<String> {
    let mut ids: Vec<String> = edge.events().into_iter().map(|(_, id, ..)| id).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn a_batch_is_refused_with_every_fault_of_every_event() {
    let edge = Edge::new().await;
    for path in [
        EVENTS,
        "/api/v1/events?partial=false",
        "/api/v1/events?other=1",
    ] {
        let answer = edge.post(path, &LINES, mixed()).await;
        assert_eq!(answer.code(), (413, "invalid_events".to_owned()));
        let problem = answer.json();
        assert_eq!(problem["events"], mixed_faults());
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with("2 of 4 events are invalid"), "{detail}");
    }
    assert_eq!(ids(&edge), [""; 0]);
    let refused = &edge.metrics.ingest_refused_total;
    let of = |code| refused.with_label_values(&["events", code]).get();
    // An event counts once, by its first fault.
    assert_eq!(
        ["wrong_type", "misnamed_field", "too_large"].map(of),
        [3, 0, 3]
    );
}

#[tokio::test]
async fn the_good_events_of_a_batch_are_taken_on_request() {
    let edge = Edge::new().await;
    let path = "/api/v1/events?partial=true";
    let answer = edge.post(path, &LINES, mixed()).await;
    assert_eq!(answer.status.as_u16(), 200);
    let expected = json!({"taken": 2, "refused": mixed_faults(), "usageUnknown": [2]});
    assert_eq!(answer.json(), expected);
    assert_eq!(ids(&edge), ["1", "3"]);
    let answer = edge.post(path, &LINES, chat("5", "", "")).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    let answer = edge.post(path, &LINES, "{}").await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["taken"]),
        (200, &json!(0))
    );
    let answer = edge.post("/api/v1/events?partial=1", &LINES, mixed()).await;
    assert_eq!(answer.code(), (400, "invalid_query".to_owned()));
    assert_eq!(ids(&edge), ["1", "3", "5"]);
}

#[tokio::test]
async fn an_event_of_an_array_that_is_not_json_is_refused_by_its_place() {
    const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
    let edge = Edge::new().await;
    let not_json = chat("2", ":150", ":NaN");
    let array = format!("[{}, {not_json}, {}]", chat("1", "", ""), chat("3", "", ""));
    let answer = edge.post(EVENTS, &JSON, array.clone()).await;
    assert_eq!(answer.code(), (400, "invalid_events".to_owned()));
    let bad = &answer.json()["events"];
    assert_eq!(
        (&bad[0]["index"], &bad[0]["code"], &bad[1]),
        (&json!(1), &json!("malformed"), &serde_json::Value::Null)
    );
    assert_eq!(ids(&edge), [""; 0]);
    let path = "/api/v1/events?partial=true";
    let answer = edge.post(path, &JSON, array.clone()).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["taken"]),
        (200, &json!(2))
    );
    assert_eq!(ids(&edge), ["1", "3"]);
    // One that was cut off may lack events of which nothing is known.
    let cut = array.trim_end_matches(']').to_owned();
    let answer = edge.post(path, &JSON, cut).await;
    assert_eq!(answer.code(), (400, "malformed".to_owned()));
}

#[tokio::test]
async fn further_faults_have_a_bound_and_no_bad_event_is_left_out() {
    let edge = Edge::new().await;
    let body = "{}\n".repeat(9_000);
    let answer = edge.post("/api/v1/events?partial=true", &LINES, body).await;
    let told = answer.json();
    let refused = told["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 10_000);
    let mut indexes: Vec<u64> = refused
        .iter()
        .map(|bad| bad["index"].as_u64().unwrap())
        .collect();
    indexes.dedup();
    assert_eq!(indexes, (0..9_000).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_success_without_any_count_is_told_and_counted() {
    let edge = Edge::new().await;
    let events = [
        chat("1", ",\"inputTokens\":150", ""),
        chat("2", "inputTokens", "outputTokens"),
        chat("3", ":200,\"inputTokens\":150", ":500"),
        chat("4", ",\"inputTokens\":150", "").replace("chat/completions", "scrape"),
        chat("5", ",\"inputTokens\":150", "").replace("chat/completions", "embeddings"),
        chat("6", ",\"inputTokens\":150", "").replace("chat/completions", "horoscopes"),
        chat("7", "150", "0"),
    ];
    let answer = edge.post(EVENTS, &LINES, events.join("\n")).await;
    assert_eq!(answer.status.as_u16(), 200);
    let expected = json!({"taken": 7, "refused": [], "usageUnknown": [0, 4]});
    assert_eq!(answer.json(), expected);
    assert_eq!(ids(&edge).len(), 7);
    let unknown = &edge.metrics.ingest_usage_unknown_total;
    assert_eq!(unknown.with_label_values(&["events"]).get(), 2);
}

#[tokio::test]
async fn events_are_checked_without_being_taken() {
    let edge = Edge::new().await;
    let path = "/api/v1/events/validate";
    let answer = edge.post(path, &LINES, mixed()).await;
    assert_eq!(answer.status.as_u16(), 200);
    let expected = json!({"valid": 2, "refused": mixed_faults(), "usageUnknown": [2]});
    assert_eq!(answer.json(), expected);
    let answer = edge.post(path, &ATTRIBUTES, DATA).await;
    let expected = json!({"valid": 1, "refused": [], "usageUnknown": []});
    assert_eq!(answer.json(), expected);
    // What ingest refuses as a whole, and by the key, this does too.
    let answer = edge
        .post(path, &[("content-type", "text/plain")], mixed())
        .await;
    assert_eq!(answer.code(), (415, "unsupported_media_type".to_owned()));
    let many = "{}\n".repeat(tidemark::http::EVENTS_PER_REQUEST_MAX + 1);
    let answer = edge.post(path, &LINES, many).await;
    assert_eq!(answer.code(), (413, "too_many_events".to_owned()));
    let key = edge.key(&["ingest:gateway-us-1"]).await;
    let event: Value = serde_json::from_str(&chat("1", "", "")).unwrap();
    let post = axum::http::Method::POST;
    let answer = edge.ask(Some(&key), post, path, Some(&event)).await;
    assert_eq!(answer.code(), (403, "foreign_source".to_owned()));
    assert_eq!(ids(&edge), [""; 0]);
    let text = edge.metrics.render();
    assert!(!text.contains("format=\"events\""), "{text}");
}

#[tokio::test]
async fn a_name_that_says_that_it_is_unknown_names_nobody() {
    let edge = Edge::new().await;
    let body = |id: usize, data: Value| {
        let mut event = json!({
            "requestId": format!("r-{id}"), "userId": "none", "timestamp": "2026-11-22T07:01:02Z",
            "endpoint": "/v1/chat/completions", "statusCode": 200, "inputTokens": 1, "outputTokens": 1,
        });
        let fields = event.as_object_mut().expect("an object");
        fields.extend(data.as_object().expect("an object").clone());
        event
    };
    let rows = [
        (json!({"providerId": "none", "model": "-"}), None, None),
        (json!({"providerId": " UNSPECIFIED "}), None, None),
        (
            json!({"providerId": "p", "model": "Unset"}),
            Some("p"),
            None,
        ),
        (
            json!({"providerId": "none-of-us", "model": "unknown-7b"}),
            Some("none-of-us"),
            Some("unknown-7b"),
        ),
    ];
    let events = rows.iter().enumerate();
    let events: Vec<Value> = events.map(|(id, row)| body(id, row.0.clone())).collect();
    let answer = edge
        .post(EVENTS, &[JSON], Value::from(events).to_string())
        .await;
    assert_eq!(answer.status, 204);
    let mut found = 0;
    for (_, record) in edge.log.all(Topic::UsageEvents) {
        let event = usage::decode(&record.value, &record.headers).expect("an event");
        let id: usize = event.id.trim_start_matches("r-").parse().expect("a number");
        let (sent, provider, model) = &rows[id];
        let is = (event.provider.as_deref(), event.model.as_deref());
        assert_eq!(is, (*provider, *model), "{sent}");
        // Who uses it is always taken as it is, and nothing else changes.
        assert_eq!((&*event.user, event.input_tokens), ("none", Some(1)));
        found += 1;
    }
    assert_eq!(found, rows.len());
}
