//! Takes a request's body in, and splits it into events without touching their bytes.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use serde_json::value::RawValue;

use crate::gateways;
use crate::http::ApiState;
use crate::http::body::{Incoming, Packing};
use crate::http::budget::Room;
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use crate::log::json_array::{ArrayError, TooMany, elements};

/// Most events in one request: keeps a problem document that names each of them within bounds.
pub const EVENTS_PER_REQUEST_MAX: usize = gateways::ITEMS_MAX;

/// How the body of a request holds events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// One JSON value.
    One,
    /// A JSON array of events.
    Array,
    /// One event, or an array of events.
    OneOrArray,
    /// One event a line; empty lines are skipped.
    Lines,
}

impl Framing {
    /// By `Content-Type`; its parameters (`charset`) don't matter, JSON is UTF-8.
    pub(super) fn of(headers: &HeaderMap) -> Result<Framing, Problem> {
        match media_type(headers).as_str() {
            "application/cloudevents+json" => Ok(Framing::One),
            "application/cloudevents-batch+json" => Ok(Framing::Array),
            "application/json" => Ok(Framing::OneOrArray),
            "application/x-ndjson" => Ok(Framing::Lines),
            other => Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                format!(
                    "the Content-Type is '{other}'; send application/cloudevents+json (one event), \
                     application/cloudevents-batch+json (an array), application/json (either), application/x-ndjson (one a line), or a CloudEvent in binary mode"
                ),
            )),
        }
    }

    /// The events of a body, each exactly as it was written.
    pub(super) fn split(self, body: &Bytes) -> Result<Vec<Bytes>, Problem> {
        let is_array = body.trim_ascii_start().first() == Some(&b'[');
        let events = match self {
            Framing::One => vec![trimmed(body, body)],
            Framing::OneOrArray if !is_array => vec![trimmed(body, body)],
            Framing::Array | Framing::OneOrArray => split_array(body)?,
            Framing::Lines => body
                .split(|byte| *byte == b'\n')
                .map(|line| trimmed(body, line))
                .filter(|line| !line.is_empty())
                .take(EVENTS_PER_REQUEST_MAX + 1)
                .collect(),
        };
        if events.len() > EVENTS_PER_REQUEST_MAX {
            return Err(too_many_events());
        }
        Ok(events)
    }
}

/// The media type that the `Content-Type` names, in lower case, without its parameters; empty if
/// there is none.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let media_type = content_type.unwrap_or_default().split(';').next();
    media_type.unwrap_or_default().trim().to_ascii_lowercase()
}

/// A request with more than [`EVENTS_PER_REQUEST_MAX`].
pub(super) fn too_many_events() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_many_events",
        format!("a request takes at most {EVENTS_PER_REQUEST_MAX} events; send smaller batches"),
    )
}

/// What `work` makes of the body of a request, and the room that the body takes, to be held until
/// all of it is given back.
///
/// A body that is large, or may be once it is unpacked, is worked on by a thread of its own.
pub(super) async fn worked_on<T: Send + 'static>(
    service: &ApiState,
    caller: &Caller,
    request: Request,
    work: impl FnOnce(Bytes) -> Result<T, Problem> + Send + 'static,
) -> Result<(T, Room), Problem> {
    let work = |body: Bytes, ()| work(body);
    worked_on_with(service, caller, request, async { Ok(()) }, work).await
}

/// [`worked_on`], together with what is asked for once the body has been received.
pub(super) async fn worked_on_with<P: Send + 'static, T: Send + 'static>(
    service: &ApiState,
    caller: &Caller,
    request: Request,
    prepared: impl Future<Output = Result<P, Problem>> + Send,
    work: impl FnOnce(Bytes, P) -> Result<T, Problem> + Send + 'static,
) -> Result<(T, Room), Problem> {
    let incoming = Incoming::of(request, service.config.body_bytes_max, Packing::Gzip)?;
    let received = incoming.receive(&service.reading(&caller.by)).await?;
    let prepared = prepared.await?;
    let is_large = received.is_large();
    let worked = service.decoding.run(is_large, move || {
        let (body, room) = received.unpack()?;
        Ok((work(body, prepared)?, room))
    });
    worked.await?
}

/// `part` of `body` without surrounding white space, sharing its memory.
fn trimmed(body: &Bytes, part: &[u8]) -> Bytes {
    body.slice_ref(part.trim_ascii())
}

fn split_array(body: &Bytes) -> Result<Vec<Bytes>, Problem> {
    let malformed = |error: &dyn std::fmt::Display| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "malformed",
            format!("the body is not a JSON array of events: {error}"),
        )
    };
    let text = std::str::from_utf8(body).map_err(|error| malformed(&error))?;
    let elements = match elements(text, EVENTS_PER_REQUEST_MAX) {
        Ok(elements) => elements.into_iter().map(RawValue::get).collect(),
        Err(ArrayError::Stopped(TooMany)) => return Err(too_many_events()),
        // One event that is not JSON is refused by its place, as any other bad event.
        Err(ArrayError::Json(error)) => gateways::elements_of_broken_array(text)
            .map_err(|_| too_many_events())?
            .ok_or_else(|| malformed(&error))?,
    };
    let bytes = |element: &str| trimmed(body, element.as_bytes());
    Ok(elements.into_iter().map(bytes).collect())
}
