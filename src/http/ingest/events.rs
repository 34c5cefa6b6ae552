//! Usage events in tidemark's own forms. The edge refuses only what can never be read; what depends on rules or log time is decided by rating alone.

use std::borrow::Cow;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::append::{Batches, append};
use super::binary::Attributes;
use super::body::{self, Framing};
use crate::domain::event::{Reason, Rejection};
use crate::http::Service;
use crate::http::caller::{Sender, Sources};
use crate::http::problem::{BadEvent, Problem};
use crate::log::usage::decode_at_edge;
use crate::log::{Headers, NewRecord, Topic, usage_partition};

/// The label of this form in metrics.
const FORMAT: &str = "events";

/// Takes usage events: 204 once the log has every one of them.
///
/// A CloudEvent may also come in binary mode: its attributes as headers (`ce-id`, `ce-source`, …), its data as the body.
///
/// A batch is taken whole or not at all. Anything but 204 may be sent again as it was: an event counts once. After a 503 some events may be in
/// the log already: send the batch again.
#[utoipa::path(post, path = "/api/v1/events", tag = "ingest", security(("key" = ["ingest"]), ("key" = ["ingest:plain"])),
    request_body(
        description = "One event, an array, or one per line: CloudEvents or the plain form.",
        content(
            (serde_json::Value = "application/json", example = json!({"requestId": "r-1", "userId": "alice", "providerId": "prov-1",
                "endpoint": "/v1/chat/completions", "model": "llama-3-70b", "timestamp": "2026-11-22T07:01:02.123Z", "statusCode": 200,
                "latencyMs": 250, "inputTokens": 150, "outputTokens": 75})),
            (serde_json::Value = "application/cloudevents+json"),
            (serde_json::Value = "application/cloudevents-batch+json"),
            (serde_json::Value = "application/x-ndjson"),
        ),
    ),
    responses(
        (status = 204, description = "Taken, durably."),
        (status = 400, description = "Invalid events: `events` lists each; none was accepted."),
    ))]
pub(super) async fn events(
    sender: Sender,
    State(service): State<Service>,
    request: Request,
) -> Response {
    match take(&service, sender, request).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// How a request holds its events.
enum Mode {
    /// All of each event is in the body.
    Framed(Framing),
    /// One event: attributes in headers, data in the body.
    Binary(Attributes),
}

impl Mode {
    fn of(headers: &HeaderMap) -> Result<Mode, Problem> {
        match Attributes::of(headers)? {
            Some(attributes) => Ok(Mode::Binary(attributes)),
            None => Framing::of(headers).map(Mode::Framed),
        }
    }

    fn events(&self, body: &Bytes) -> Result<Vec<Bytes>, Problem> {
        match self {
            Mode::Framed(framing) => framing.split(body),
            Mode::Binary(attributes) => Ok(vec![attributes.event(body)?]),
        }
    }
}

async fn take(service: &Service, sender: Sender, request: Request) -> Result<(), Problem> {
    let metrics = service.metrics.clone();
    metrics
        .ingest_requests_total
        .with_label_values(&[FORMAT])
        .inc();
    let mode = Mode::of(request.headers())?;
    let partitions = service.partitions.source;
    let Sender { caller, sources } = sender;
    let work = move |body: Bytes| {
        let events = mode.events(&body)?;
        let count = events.len() as u64;
        let batches = batches(events, partitions, &sources).map_err(|refused| match refused {
            RefusedBatch::Foreign(problem) => problem,
            RefusedBatch::Bad(bad) => {
                for event in &bad {
                    let labels = [FORMAT, event.code];
                    metrics
                        .ingest_refused_total
                        .with_label_values(&labels)
                        .inc();
                }
                of_bad_events(bad, count)
            }
        })?;
        Ok((batches, count))
    };
    let ((batches, count), _room) = body::worked_on(service, &caller, request, work).await?;
    append(service, Topic::UsageEvents, batches).await?;
    let taken = &service.metrics.ingest_events_total;
    taken.with_label_values(&[FORMAT]).inc_by(count);
    Ok(())
}

/// Why a request was refused as a whole.
enum RefusedBatch {
    /// Events that cannot be read.
    Bad(Vec<BadEvent>),
    /// An event of a source that is not the sender's.
    Foreign(Problem),
}

/// Reads every event, and sorts the records by partition; or names every bad one.
fn batches(
    events: Vec<Bytes>,
    partitions: u32,
    sources: &Sources,
) -> Result<Batches, RefusedBatch> {
    let mut batches = Batches::default();
    let mut bad = Vec::new();
    for (index, value) in events.into_iter().enumerate() {
        match user_and_source(&value) {
            Ok((user, source)) => {
                sources.must_have(&source).map_err(RefusedBatch::Foreign)?;
                let partition = usage_partition(&user, partitions);
                let record = NewRecord {
                    key: Some(Bytes::from(user)),
                    value,
                    headers: Headers::new(),
                };
                batches.push(partition, record, index);
            }
            Err(rejection) => bad.push(BadEvent::new(index, rejection)),
        }
    }
    if bad.is_empty() {
        Ok(batches)
    } else {
        Err(RefusedBatch::Bad(bad))
    }
}

fn user_and_source(value: &Bytes) -> Result<(String, Cow<'_, str>), Rejection> {
    // Only texts of the headers would be borrowed from them, and there are none.
    const NONE: &Headers = &Headers::new();
    decode_at_edge(value, NONE).map(|event| (event.user.into_owned(), event.source))
}

fn of_bad_events(bad: Vec<BadEvent>, count: u64) -> Problem {
    let too_large = bad
        .iter()
        .any(|event| event.code == Reason::TooLarge.as_str());
    let status = if too_large {
        StatusCode::PAYLOAD_TOO_LARGE
    } else {
        StatusCode::BAD_REQUEST
    };
    let detail = format!(
        "{} of {count} events are invalid, so none was accepted; correct or leave out those that `events` lists",
        bad.len()
    );
    Problem::new(status, "invalid_events", detail).of_events(bad)
}
