//! `POST /api/v1/events`: answers 204 only when the log has acknowledged every event of the request.
//!
//! The edge refuses only what can never be read; what depends on rules or log time is decided by rating alone. A batch is taken
//! whole or not at all. After a 503 some of its events may be in the log: send it again, rating drops what it has seen.

use std::collections::BTreeMap;

use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::future::try_join_all;
use tokio::sync::OwnedSemaphorePermit;

use super::Service;
use super::access::{Ingest, May};
use super::body::Framing;
use super::problem::{BadEvent, Problem};
use crate::domain::event::{Reason, Rejection};
use crate::domain::position::Partition;
use crate::log::usage::decode;
use crate::log::{Headers, LogError, NewRecord, Topic, usage_partition};

/// When to try again if the log does not answer.
const RETRY_AFTER_SECS: u32 = 1;
/// When to try again if the log needs a person first.
const RETRY_AFTER_REPAIR_SECS: u32 = 60;

/// Records for one partition, with the place of each in the request.
#[derive(Default)]
struct Batch {
    records: Vec<NewRecord>,
    indexes: Vec<usize>,
}

/// Takes usage events: 204 once the log has every one of them.
///
/// A batch is taken whole or not at all. Anything but 204 may be sent again as it was: an event counts once.
#[utoipa::path(post, path = "/api/v1/events", tag = "ingest", security(("key" = ["ingest"])),
    request_body(
        description = "One event, an array, or one a line: CloudEvents or the plain form.",
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
        (status = 413, description = "Too large, or too many events.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The Content-Type is none that is taken.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn events(
    _: May<Ingest>,
    State(service): State<Service>,
    request: Request,
) -> Response {
    match take(&service, request).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn take(service: &Service, request: Request) -> Result<(), Problem> {
    let framing = Framing::of(request.headers())?;
    let _permit = reserve(service, request.headers()).await?;
    let body = Bytes::from_request(request, &()).await.map_err(|error| {
        let (status, code) = match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            _ => (StatusCode::BAD_REQUEST, "unreadable_body"),
        };
        let max = service.config.body_bytes_max;
        Problem::new(
            status,
            code,
            format!("{error}; a request takes at most {max} bytes"),
        )
    })?;
    let batches = batches(framing.split(&body)?, service.partitions.source)?;
    append(service, batches).await
}

/// Room in memory for the body, so that many large requests wait instead of growing the process.
async fn reserve(service: &Service, headers: &HeaderMap) -> Result<OwnedSemaphorePermit, Problem> {
    let max = service.config.body_bytes_max;
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or(max);
    let bytes = u32::try_from(announced.min(max)).unwrap_or(u32::MAX);
    let permits = service.body_permits.clone().acquire_many_owned(bytes).await;
    // The semaphore is never closed.
    permits.map_err(|_| unavailable("this process is stopping"))
}

/// Reads every event, and sorts the records by partition; or names every bad one.
fn batches(events: Vec<Bytes>, partitions: u32) -> Result<BTreeMap<Partition, Batch>, Problem> {
    let mut batches: BTreeMap<Partition, Batch> = BTreeMap::new();
    let mut bad = Vec::new();
    let count = events.len();
    for (index, value) in events.into_iter().enumerate() {
        match user_of(&value) {
            Ok(user) => {
                let batch = batches
                    .entry(usage_partition(&user, partitions))
                    .or_default();
                batch.indexes.push(index);
                batch.records.push(NewRecord {
                    key: Some(Bytes::from(user)),
                    value,
                    headers: Headers::new(),
                });
            }
            Err(rejection) => bad.push(BadEvent::new(index, rejection)),
        }
    }
    if bad.is_empty() {
        Ok(batches)
    } else {
        Err(of_bad_events(bad, count))
    }
}

fn user_of(value: &Bytes) -> Result<String, Rejection> {
    decode(value, &Headers::new()).map(|event| event.user.into_owned())
}

fn of_bad_events(bad: Vec<BadEvent>, count: usize) -> Problem {
    let too_large = bad
        .iter()
        .any(|event| event.code == Reason::TooLarge.as_str());
    let status = if too_large {
        StatusCode::PAYLOAD_TOO_LARGE
    } else {
        StatusCode::BAD_REQUEST
    };
    let detail = format!(
        "{} of {count} events cannot be read, so none was taken; correct or leave out those that `events` names",
        bad.len()
    );
    Problem::new(status, "invalid_events", detail).of_events(bad)
}

async fn append(service: &Service, batches: BTreeMap<Partition, Batch>) -> Result<(), Problem> {
    let appends = batches.into_iter().map(|(partition, batch)| async move {
        let count = batch.records.len() as u64;
        let appended = service
            .log
            .append(Topic::UsageEvents, partition, batch.records);
        match appended.await {
            Ok(_) => Ok(count),
            Err(error) => Err(of_append(error, &batch.indexes)),
        }
    });
    // An error drops the other appends' futures, not what they have sent: 503 promises nothing about the rest of a batch.
    let counts = try_join_all(appends).await?;
    service
        .metrics
        .log_appended_records_total
        .with_label_values(&[Topic::UsageEvents.name()])
        .inc_by(counts.iter().sum());
    Ok(())
}

fn of_append(error: LogError, indexes: &[usize]) -> Problem {
    match error {
        LogError::TooLarge { index, .. } => {
            let bad = BadEvent {
                index: indexes.get(index).copied().unwrap_or(index),
                code: Reason::TooLarge.as_str(),
                field: None,
                detail: error.to_string(),
            };
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "invalid_events",
                error.to_string(),
            )
            .of_events(vec![bad])
        }
        other => of_log(other),
    }
}

/// What a caller is told when the log fails.
pub(super) fn of_log(error: LogError) -> Problem {
    match error {
        LogError::Unavailable(_) => unavailable(&error.to_string()),
        LogError::Damaged { .. } => {
            tracing::error!(%error, "the log cannot take records");
            unavailable(&error.to_string()).retry_after(RETRY_AFTER_REPAIR_SECS)
        }
        LogError::OutOfRange { .. } => Problem::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "out_of_range",
            error.to_string(),
        ),
        LogError::TooLarge { .. } => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            error.to_string(),
        ),
    }
}

fn unavailable(detail: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "log_unavailable", detail)
        .retry_after(RETRY_AFTER_SECS)
}
