//! Usage in the forms of gateways: what can be read is taken; what cannot goes to `usage.rejected`,
//! as far as it can be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use prometheus::IntCounterVec;
use serde::Serialize;
use serde_json::json;

use super::append::{Batches, append};
use super::binary::Attributes;
use super::body::{self, media_type, too_many_events};
use super::provider_names::current_settings;
use crate::domain::time::Millis;
use crate::gateways::{self, BodyError, Format, GatewaySettings, Outcome, Refused, Remarks, Skip};
use crate::http::ApiState;
use crate::http::caller::Sender;
use crate::http::problem::{Problem, shortened};
use crate::log::{Partitions, Topic, rejected, usage_partition};
use crate::ops::metrics::Metrics;

/// The Content-Type of OTLP in protobuf.
const PROTOBUF: &str = "application/x-protobuf";

/// What became of a request of which not everything could be read.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
pub(super) struct Taken {
    /// Usage events accepted by the log.
    taken: u64,
    /// Items in which there was nothing to count.
    skipped: u64,
    /// Items that cannot be read. They are kept in `usage.rejected`; sending them again changes
    /// nothing.
    refused: Vec<RefusedItem>,
}

/// An item that cannot be read.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct RefusedItem {
    /// Its place in the request, from 0.
    index: u32,
    /// Stable: the reason codes of rejected records.
    code: &'static str,
    /// The field, as the gateway names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// A sentence for people.
    detail: String,
}

/// Accepts what LiteLLM's `generic_api` callback sends: StandardLoggingPayloads, as an array, one
/// per line, or a single one, whatever the Content-Type says.
///
/// LiteLLM corrects nothing and discards what is not accepted. So everything that can be read is
/// accepted, and the rest is kept in `usage.rejected` as a draft; the answer is then 200 and names
/// it. A payload that is sent again counts once.
#[utoipa::path(post, path = "/api/v1/events/litellm", tag = "ingest", security(("key" = ["ingest"]), ("key" = ["ingest:litellm"])),
    request_body(description = "StandardLoggingPayloads.", content((serde_json::Value = "application/json", example = json!([{
        "id": "chatcmpl-1", "litellm_call_id": "018f3c1e", "call_type": "acompletion", "status": "success", "model": "llama-3-70b",
        "custom_llm_provider": "openai", "prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225, "startTime": 1795330862.123,
        "endTime": 1795330862.373, "stream": false, "metadata": {"user_api_key_user_id": "alice"}}])))),
    responses(
        (status = 200, description = "Accepted, durably, except for the listed items: they are kept in usage.rejected.", body = Taken),
        (status = 204, description = "Taken, durably."),
    ))]
pub(super) async fn litellm(
    sender: Sender,
    State(service): State<ApiState>,
    request: Request,
) -> Response {
    answer(append_events(&service, sender, request, Format::Litellm).await)
}

/// Accepts what LiteLLM's `openmeter` callback sends: a CloudEvent of type `litellm_tokens` for
/// each successful call.
///
/// LiteLLM appends `/api/v1/events` to its configured address. The events have no failures,
/// providers or latencies: prefer `generic_api`, and never configure both, because their ids have
/// nothing in common and usage would count twice.
#[utoipa::path(post, path = "/litellm/openmeter/api/v1/events", tag = "ingest", security(("key" = ["ingest"]), ("key" = ["ingest:litellm-openmeter"])),
    request_body(description = "A CloudEvent of LiteLLM's openmeter callback.", content((serde_json::Value = "application/cloudevents+json",
        example = json!({"specversion": "1.0", "type": "litellm_tokens", "source": "litellm-proxy", "id": "chatcmpl-1",
            "time": "2026-11-22T07:01:02.123", "subject": "alice",
            "data": {"model": "llama-3-70b", "cost": 0.0002, "prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225}})))),
    responses(
        (status = 200, description = "Kept in usage.rejected, because it cannot be read.", body = Taken),
        (status = 204, description = "Taken, durably."),
    ))]
pub(super) async fn litellm_openmeter(
    sender: Sender,
    State(service): State<ApiState>,
    request: Request,
) -> Response {
    answer(append_events(&service, sender, request, Format::LitellmOpenmeter).await)
}

/// Accepts what LiteLLM's `lago` callback sends: `{"event": {…}}` for each successful call.
///
/// **A call that is sent twice counts twice**, because LiteLLM generates a new `transaction_id` for
/// each attempt. Prefer `generic_api`. The time of an event without a `timestamp` (LiteLLM sends
/// none) is its time of arrival.
#[utoipa::path(post, path = "/litellm/lago/api/v1/events", tag = "ingest", security(("key" = ["ingest"]), ("key" = ["ingest:litellm-lago"])),
    request_body(description = "An event of LiteLLM's lago callback.", content((serde_json::Value = "application/json",
        example = json!({"event": {"transaction_id": "018f3c1e", "external_subscription_id": "alice", "code": "litellm_tokens",
            "properties": {"model": "llama-3-70b", "response_cost": 0.0002, "prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225}}})))),
    responses(
        (status = 200, description = "Kept in usage.rejected, because it cannot be read.", body = Taken),
        (status = 204, description = "Taken, durably."),
    ))]
pub(super) async fn litellm_lago(
    sender: Sender,
    State(service): State<ApiState>,
    request: Request,
) -> Response {
    answer(append_events(&service, sender, request, Format::LitellmLago).await)
}

/// Accepts rows of the logs of new-api or one-api, as their table or `GET /api/log/` has them: one,
/// an array, a page, or one per line.
///
/// Requests (type 2) and failed attempts (type 5) count; refunds (type 6) are kept in
/// `usage.rejected`; top-ups and administration are skipped. `quota` is not read: tokens are rated
/// here.
#[utoipa::path(post, path = "/api/v1/events/new-api", tag = "ingest", security(("key" = ["ingest"]), ("key" = ["ingest:new-api"])),
    request_body(description = "A row, an array of rows, or one a line.", content((serde_json::Value = "application/json",
        example = json!([{"id": 4711, "user_id": 42, "created_at": 1795330862, "type": 2, "model_name": "llama-3-70b", "quota": 1125,
            "prompt_tokens": 150, "completion_tokens": 75, "use_time": 2, "is_stream": true, "channel": 7,
            "other": "{\"request_path\":\"/v1/chat/completions\",\"cache_tokens\":0}"}])))),
    responses(
        (status = 200, description = "Accepted, durably, except for the listed items: they are kept in usage.rejected.", body = Taken),
        (status = 204, description = "Taken, durably."),
    ))]
pub(super) async fn new_api(
    sender: Sender,
    State(service): State<ApiState>,
    request: Request,
) -> Response {
    answer(append_events(&service, sender, request, Format::NewApi).await)
}

/// Accepts rows of the usage logs of sub2api, as `GET /api/v1/admin/usage` lists them: one, an
/// array, a page, or one per line.
///
/// Costs are not read: tokens are rated here. sub2api counts input, cached and cache-writing tokens
/// separately.
#[utoipa::path(post, path = "/api/v1/events/sub2api", tag = "ingest", security(("key" = ["ingest"]), ("key" = ["ingest:sub2api"])),
    request_body(description = "A row, an array of rows, or one a line.", content((serde_json::Value = "application/json",
        example = json!([{"id": 90211, "user_id": 42, "account_id": 3, "request_id": "msg-1", "model": "llama-3-70b",
            "inbound_endpoint": "/v1/messages", "input_tokens": 12, "output_tokens": 30, "cache_creation_tokens": 0,
            "cache_read_tokens": 1000, "stream": true, "duration_ms": 2345, "created_at": "2026-11-22T07:01:02.123456Z"}])))),
    responses(
        (status = 200, description = "Accepted, durably, except for the listed items: they are kept in usage.rejected.", body = Taken),
        (status = 204, description = "Taken, durably."),
    ))]
pub(super) async fn sub2api(
    sender: Sender,
    State(service): State<ApiState>,
    request: Request,
) -> Response {
    answer(append_events(&service, sender, request, Format::Sub2Api).await)
}

/// Takes OpenTelemetry traces (OTLP, in JSON or protobuf), and counts the inference spans of GenAI
/// clients in them.
///
/// The same is at `/api/v1/events/otlp/v1/traces` and at `/v1/traces`, for exporters that append
/// `/v1/traces` to the address that they are given. Everything else in a trace is passed over. The
/// answer is an ExportTraceServiceResponse; spans that should count and cannot be read are its
/// `rejectedSpans`, and are kept in `usage.rejected`.
#[utoipa::path(post, path = "/api/v1/events/otlp", tag = "ingest", security(("key" = ["ingest"]), ("key" = ["ingest:otlp"])),
    request_body(description = "An ExportTraceServiceRequest.", content((Vec<u8> = "application/x-protobuf"), (serde_json::Value = "application/json",
        example = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "5b8efff798038103d269b633813fc60c",
            "spanId": "eee19b7ec3c1b174", "name": "chat llama-3-70b", "kind": 3, "startTimeUnixNano": "1795330862123000000",
            "endTimeUnixNano": "1795330862373000000", "attributes": [
                {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
                {"key": "gen_ai.request.model", "value": {"stringValue": "llama-3-70b"}},
                {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "150"}},
                {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "75"}},
                {"key": "user.id", "value": {"stringValue": "alice"}}]}]}]}]})))),
    responses(
        (status = 200, description = "Accepted, durably, except for `partialSuccess.rejectedSpans`.", body = serde_json::Value),
    ))]
pub(super) async fn otlp(
    sender: Sender,
    State(service): State<ApiState>,
    request: Request,
) -> Response {
    let writing = Writing::of(request.headers());
    let taken = match append_events(&service, sender, request, Format::Otlp).await {
        Ok(taken) => taken,
        Err(problem) => return problem.into_response(),
    };
    // In the form in which it was asked.
    match writing {
        Writing::Json => Json(exported(&taken)).into_response(),
        Writing::Protobuf => {
            let message = partial_success(&taken);
            let rejected = message
                .as_ref()
                .map(|text| (taken.refused.len(), text.as_str()));
            let exported = gateways::otlp_exported(rejected);
            ([(header::CONTENT_TYPE, PROTOBUF)], exported).into_response()
        }
    }
}

fn answer(taken: Result<Taken, Problem>) -> Response {
    match taken {
        Ok(taken) if taken.refused.is_empty() => StatusCode::NO_CONTENT.into_response(),
        Ok(taken) => Json(taken).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// What OTLP says of spans that are rejected; nothing is said of full success.
fn partial_success(taken: &Taken) -> Option<String> {
    let first = taken.refused.first()?;
    Some(format!(
        "{} spans cannot be counted and are kept in usage.rejected; the first: {}",
        taken.refused.len(),
        first.detail
    ))
}

/// What OTLP/JSON answers: 64-bit integers are texts.
fn exported(taken: &Taken) -> serde_json::Value {
    match partial_success(taken) {
        None => json!({}),
        Some(message) => {
            let count = taken.refused.len().to_string();
            json!({"partialSuccess": {"rejectedSpans": count, "errorMessage": message}})
        }
    }
}

async fn append_events(
    service: &ApiState,
    sender: Sender,
    request: Request,
    format: Format,
) -> Result<Taken, Problem> {
    sender.sources.must_have(format.as_str())?;
    let requests = &service.metrics.ingest_requests_total;
    requests.with_label_values(&[format.as_str()]).inc();
    let writing = Writing::of(request.headers());
    writing.must_be_of(format)?;
    let attributes = match format {
        Format::LitellmOpenmeter => Attributes::of(request.headers())?,
        _ => None,
    };
    let received = service.clock.now();
    let partitions = service.partitions;
    let settings = current_settings(service);
    let mut sorted = Sorted::new(format, received, &sender);
    let work = move |body: Bytes, settings: Arc<GatewaySettings>| {
        let body = match attributes {
            Some(attributes) => attributes.event(&body)?.whole()?,
            None => body,
        };
        let outcomes = match writing {
            Writing::Json => gateways::read(format, &body, received, &settings),
            Writing::Protobuf => gateways::read_otlp_protobuf(&body, &settings),
        };
        let outcomes = outcomes.map_err(of_body)?;
        for (index, outcome) in outcomes.kept {
            sorted.add(outcome, index, partitions);
        }
        sorted.told.taken.skipped = outcomes.skipped.values().sum();
        sorted.told.skipped = outcomes.skipped;
        Ok(sorted)
    };
    let worked = body::worked_on_with(service, &sender.caller, request, settings, work);
    let (sorted, _room) = worked.await?;
    // Events first: a sender that sends again because of the rejects sends events that count once.
    append(service, Topic::UsageEvents, sorted.events).await?;
    append(service, Topic::UsageRejected, sorted.rejects).await?;
    sorted.told.count(format, &service.metrics);
    Ok(sorted.told.taken)
}

fn of_body(error: BodyError) -> Problem {
    match error {
        BodyError::Unreadable { .. } => {
            Problem::new(StatusCode::BAD_REQUEST, "malformed", error.to_string())
        }
        BodyError::TooManyItems => too_many_events(),
    }
}

/// What a request becomes, and what is told of it once the log has it.
struct Sorted {
    format: Format,
    received: Millis,
    sender: Option<String>,
    events: Batches,
    rejects: Batches,
    told: RequestReport,
}

/// What is told of a request, in its answer and in metrics.
#[derive(Default)]
struct RequestReport {
    taken: Taken,
    skipped: BTreeMap<Skip, u64>,
    remarks: Remarked,
}

/// How many events have which remark.
#[derive(Default)]
struct Remarked {
    usage_unknown: u64,
    odd_totals: u64,
    made_up_providers: u64,
    unattributed_failures: u64,
}

impl Remarked {
    fn add(&mut self, remarks: Remarks) {
        self.usage_unknown += u64::from(remarks.is_usage_unknown);
        self.odd_totals += u64::from(remarks.is_total_odd);
        self.made_up_providers += u64::from(remarks.is_provider_made_up);
        self.unattributed_failures += u64::from(remarks.is_failure_unattributed);
    }
}

impl Sorted {
    fn new(format: Format, received: Millis, sender: &Sender) -> Sorted {
        Sorted {
            format,
            received,
            sender: sender.key().map(|key| key.as_ref().to_owned()),
            events: Batches::of(sender),
            rejects: Batches::of(sender),
            told: RequestReport::default(),
        }
    }

    fn add(&mut self, outcome: Outcome, index: usize, partitions: Partitions) {
        match outcome {
            Outcome::Event(adapted) => {
                self.told.taken.taken += 1;
                self.told.remarks.add(adapted.remarks);
                let partition = usage_partition(&adapted.user, partitions.source);
                self.events.push_event(partition, adapted.record, index);
            }
            Outcome::Refused(refused) => self.refuse(refused, index, partitions),
        }
    }

    fn refuse(&mut self, refused: Refused, index: usize, partitions: Partitions) {
        let refusal = &refused.refusal;
        self.told.taken.refused.push(RefusedItem {
            index: refusal.index,
            code: refusal.reason.as_str(),
            field: refusal.field.clone(),
            detail: shortened(refusal.detail.clone()),
        });
        let reject = refused.reject(self.format, self.received, self.sender.clone());
        let record = rejected::encode_gateway(&reject);
        let key = record.key.clone().unwrap_or_default();
        let partition = usage_partition(&String::from_utf8_lossy(&key), partitions.rejected);
        self.rejects.push(partition, record, index);
    }
}

impl RequestReport {
    fn count(&self, format: Format, metrics: &Metrics) {
        let format = format.as_str();
        let of = |counter: &IntCounterVec, by| counter.with_label_values(&[format]).inc_by(by);
        of(&metrics.ingest_events_total, self.taken.taken);
        of(
            &metrics.ingest_usage_unknown_total,
            self.remarks.usage_unknown,
        );
        of(&metrics.ingest_odd_totals_total, self.remarks.odd_totals);
        of(
            &metrics.ingest_made_up_providers_total,
            self.remarks.made_up_providers,
        );
        of(
            &metrics.ingest_unattributed_failures_total,
            self.remarks.unattributed_failures,
        );
        let because = |counter: &IntCounterVec, reason| {
            counter.with_label_values(&[format, reason]).inc();
        };
        for (skip, count) in &self.skipped {
            let labels = [format, skip.as_str()];
            metrics
                .ingest_skipped_total
                .with_label_values(&labels)
                .inc_by(*count);
        }
        for item in &self.taken.refused {
            because(&metrics.ingest_refused_total, item.code);
        }
    }
}

/// How the items of a body are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    /// JSON, whatever the Content-Type says: not every gateway says it.
    Json,
    /// Protobuf, by the Content-Type.
    Protobuf,
}

impl Writing {
    fn of(headers: &HeaderMap) -> Writing {
        match media_type(headers).as_str() {
            PROTOBUF => Writing::Protobuf,
            _ => Writing::Json,
        }
    }

    /// Refuses protobuf for what is written in JSON alone.
    fn must_be_of(self, format: Format) -> Result<(), Problem> {
        if self == Writing::Json || format == Format::Otlp {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "the body is protobuf, which only the OTLP route accepts; send JSON",
        ))
    }
}
