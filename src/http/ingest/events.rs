//! Usage events in tidemark's own forms. The edge refuses only what can never be read; what depends
//! on rules or log time is decided by rating alone.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::append::{Batches, append};
use super::binary::Attributes;
use super::body::{self, Framing};
use crate::domain::event::{Reason, Rejection, UsageEvent};
use crate::domain::rating::service_of;
use crate::gateways::says_nothing;
use crate::http::ApiState;
use crate::http::budget::Room;
use crate::http::caller::{Sender, Sources};
use crate::http::extract::QueryParams;
use crate::http::problem::{BadEvent, Problem};
use crate::log::usage::{self, UsageRecord, decode_record_or_faults};
use crate::log::{Headers, NewRecord, Topic, usage_partition};
use crate::ops::metrics::Metrics;

/// The label of this form in metrics.
const FORMAT: &str = "events";
/// Every bad event is named with one fault; at most this many further faults are named per request.
const FURTHER_FAULTS_MAX: usize = 1_000;

/// What a sender asks for. Other parameters are passed over, as ever: a sender that adds one of its
/// own loses nothing.
#[derive(Debug, Deserialize)]
pub(super) struct EventsQuery {
    /// Take the good events of a batch that has bad ones.
    #[serde(default)]
    partial: bool,
}

/// What became of a request of which there is something to say.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TakenEvents {
    /// Usage events accepted by the log.
    taken: u64,
    /// Why events were not accepted (`?partial=true`): every fault of each. Correct and resend
    /// them.
    refused: Vec<BadEvent>,
    /// Events of successful requests without any token count, by their place in the request. They
    /// were accepted, but are not charged.
    usage_unknown: Vec<usize>,
}

/// What would become of events.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckedEvents {
    /// Events that would be accepted.
    valid: u64,
    /// Why the others would be refused: every fault of each.
    refused: Vec<BadEvent>,
    /// Events of successful requests without any token count, by their place in the request. They
    /// would be accepted, but not charged.
    usage_unknown: Vec<usize>,
}

/// Accepts usage events. The answer is 204 once the log has all of them.
///
/// A CloudEvent may also be sent in binary mode: its attributes as headers (`ce-id`, `ce-source`,
/// …), its data as the body.
///
/// A batch is accepted as a whole or not at all, unless `partial` is true: then its valid events
/// are accepted, and the answer lists the others. After any answer but 200 or 204 the request can
/// be sent again unchanged: each event counts once. After a 503 some events may already be in the
/// log; send the whole batch again.
#[utoipa::path(post, path = "/api/v1/events", tag = "ingest", security(("key" = ["ingest"]), ("key" = ["ingest:plain"])),
    params(("partial" = Option<bool>, Query, description = "Accept the valid events of a batch that has invalid ones.", example = false)),
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
        (status = 200, description = "Accepted, durably, except for `refused`; `usageUnknown` lists events without any count.", body = TakenEvents),
        (status = 204, description = "Accepted, durably."),
        (status = 400, description = "Invalid events: `events` lists every fault of each; none was accepted."),
    ))]
pub(super) async fn events(
    sender: Sender,
    State(service): State<ApiState>,
    QueryParams(taking): QueryParams<EventsQuery>,
    request: Request,
) -> Response {
    match append_events(&service, sender, request, taking).await {
        Ok(told) if told.refused.is_empty() && told.usage_unknown.is_empty() => {
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(told) => Json(told).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// Checks usage events as `POST /api/v1/events` does, and accepts none.
///
/// The body is the same. What depends on rules or log time (unknown service, too old, duplicate,
/// conflict) is not checked.
#[utoipa::path(post, path = "/api/v1/events/validate", tag = "ingest", security(("key" = ["ingest"]), ("key" = ["ingest:plain"])),
    request_body(
        description = "One event, an array, or one per line: CloudEvents or the plain form.",
        content(
            (serde_json::Value = "application/json", example = json!({"requestId": "r-1", "userId": "alice",
                "endpoint": "/v1/chat/completions", "timestamp": "2026-11-22T07:01:02.123Z", "statusCode": 200, "inputTokens": 150})),
            (serde_json::Value = "application/cloudevents+json"),
            (serde_json::Value = "application/cloudevents-batch+json"),
            (serde_json::Value = "application/x-ndjson"),
        ),
    ),
    responses((status = 200, description = "What would be accepted, and why the rest would be refused.", body = CheckedEvents)))]
pub(super) async fn validate(
    sender: Sender,
    State(service): State<ApiState>,
    request: Request,
) -> Response {
    let sorted = sort(&service, sender, request).await;
    let checked = sorted.map(|(sorted, _room)| CheckedEvents {
        valid: sorted.good,
        refused: sorted.bad,
        usage_unknown: sorted.usage_unknown,
    });
    checked.map(Json).into_response()
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
}

async fn append_events(
    service: &ApiState,
    sender: Sender,
    request: Request,
    taking: EventsQuery,
) -> Result<TakenEvents, Problem> {
    let metrics = &service.metrics;
    let requests = &metrics.ingest_requests_total;
    requests.with_label_values(&[FORMAT]).inc();
    let sorted = sort(service, sender, request).await;
    let (sorted, _room) = sorted?;
    count_refused(metrics, sorted.bad_codes.iter().copied());
    if !taking.partial && !sorted.bad.is_empty() {
        return Err(of_bad_events(sorted));
    }
    append(service, Topic::UsageEvents, sorted.batches).await?;
    let add = |counter: &prometheus::IntCounterVec, by: u64| {
        counter.with_label_values(&[FORMAT]).inc_by(by);
    };
    add(&metrics.ingest_events_total, sorted.good);
    let unknown = sorted.usage_unknown.len() as u64;
    add(&metrics.ingest_usage_unknown_total, unknown);
    Ok(TakenEvents {
        taken: sorted.good,
        refused: sorted.bad,
        usage_unknown: sorted.usage_unknown,
    })
}

/// The events of a request, and the room that they take.
async fn sort(
    service: &ApiState,
    sender: Sender,
    request: Request,
) -> Result<(Sorted, Room), Problem> {
    let mode = Mode::of(request.headers())?;
    let partitions = service.partitions.source;
    let mut sorted = Sorted::new(&sender);
    let Sender { caller, sources } = sender;
    let work = move |body: Bytes| {
        match mode {
            Mode::Framed(framing) => {
                for (index, value) in framing.split(&body)?.into_iter().enumerate() {
                    sorted.sort(index, value, partitions, &sources)?;
                }
            }
            Mode::Binary(attributes) => match attributes.event(&body)?.usage_event() {
                Ok(value) => sorted.sort(0, value, partitions, &sources)?,
                Err(faults) => sorted.refuse(0, faults),
            },
        }
        Ok(sorted)
    };
    body::worked_on(service, &caller, request, work).await
}

/// Events, those that can be read by partition.
struct Sorted {
    batches: Batches,
    good: u64,
    /// The faults of the others.
    bad: Vec<BadEvent>,
    /// The first fault of each of the others.
    bad_codes: Vec<&'static str>,
    usage_unknown: Vec<usize>,
}

impl Sorted {
    fn new(sender: &Sender) -> Sorted {
        Sorted {
            batches: Batches::of(sender),
            good: 0,
            bad: Vec::new(),
            bad_codes: Vec::new(),
            usage_unknown: Vec::new(),
        }
    }

    /// Fails if the event's source is not the sender's.
    fn sort(
        &mut self,
        index: usize,
        value: Bytes,
        partitions: u32,
        sources: &Sources,
    ) -> Result<(), Problem> {
        // Only texts of the headers would be borrowed from them, and there are none.
        const NONE: &Headers = &Headers::new();
        let mut known = None;
        let user = match decode_record_or_faults(&value, NONE) {
            Ok(UsageRecord::Event(mut event)) => {
                sources.must_have(&event.source)?;
                if has_no_count(&event) {
                    self.usage_unknown.push(index);
                }
                if drop_placeholders(&mut event) {
                    known = Some(Bytes::from(usage::encode(&event)));
                }
                event.user.into_owned()
            }
            Ok(UsageRecord::Reversal(reversal)) => {
                // Who may speak for one source must not take back what another has reported.
                sources.must_have(&reversal.source)?;
                sources.must_have(&reversal.original.source)?;
                reversal.user.into_owned()
            }
            Err(faults) => {
                self.refuse(index, faults);
                return Ok(());
            }
        };
        self.good += 1;
        let partition = usage_partition(&user, partitions);
        let record = NewRecord {
            key: Some(Bytes::from(user)),
            value: known.unwrap_or(value),
            headers: Headers::new(),
        };
        self.batches.push_event(partition, record, index);
        Ok(())
    }

    fn refuse(&mut self, index: usize, faults: Vec<Rejection>) {
        for (place, fault) in faults.into_iter().enumerate() {
            let bad = BadEvent::new(index, fault);
            if place == 0 {
                self.bad_codes.push(bad.code);
            } else if self.bad.len() - self.bad_codes.len() >= FURTHER_FAULTS_MAX {
                return;
            }
            self.bad.push(bad);
        }
    }
}

/// Counts events that were refused, by their first fault.
fn count_refused(metrics: &Metrics, codes: impl IntoIterator<Item = &'static str>) {
    for code in codes {
        let refused = &metrics.ingest_refused_total;
        refused.with_label_values(&[FORMAT, code]).inc();
    }
}

/// Takes a provider or model out whose name says that it is unknown (`none`, `-`), as gateways'
/// formats are read. Here, and not where records are decoded: what stands in the log already keeps
/// its meaning.
fn drop_placeholders(event: &mut UsageEvent<'_>) -> bool {
    let mut is_changed = false;
    for name in [&mut event.provider, &mut event.model] {
        if name.as_deref().is_some_and(says_nothing) {
            *name = None;
            is_changed = true;
        }
    }
    is_changed
}

/// Whether its usage is unknown, for all that its sender says.
fn has_no_count(event: &UsageEvent<'_>) -> bool {
    service_of(&event.endpoint).is_some_and(|service| event.has_no_count(service))
}

fn of_bad_events(sorted: Sorted) -> Problem {
    let too_large = sorted.bad_codes.contains(&Reason::TooLarge.as_str());
    let status = if too_large {
        StatusCode::PAYLOAD_TOO_LARGE
    } else {
        StatusCode::BAD_REQUEST
    };
    let bad = sorted.bad_codes.len() as u64;
    let detail = format!(
        "{bad} of {} events {} invalid, so none was accepted; correct or leave out those that `events` lists, or send with ?partial=true",
        bad + sorted.good,
        if bad == 1 { "is" } else { "are" }
    );
    Problem::new(status, "invalid_events", detail).of_events(sorted.bad)
}
