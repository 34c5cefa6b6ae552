//! Writing the canonical form.

use serde::Serialize;

use super::{EVENT_TYPE, SPEC_VERSION};
use crate::domain::event::UsageEvent;

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    #[serde(rename = "type")]
    event_type: &'static str,
    source: &'a str,
    id: &'a str,
    time: String,
    subject: &'a str,
    datacontenttype: &'static str,
    data: Data<'a>,
}

/// What is unknown is left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_id: Option<&'a str>,
    endpoint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    status_code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_millis: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
    stream: bool,
}

/// The event in the canonical form. Decoding gives the same event back, if it keeps the limits and
/// its time is a year of four digits.
pub fn encode(event: &UsageEvent<'_>) -> Vec<u8> {
    let form = CloudEvent {
        specversion: SPEC_VERSION,
        event_type: EVENT_TYPE,
        source: &event.source,
        id: &event.id,
        time: event.time.to_string(),
        subject: &event.user,
        datacontenttype: "application/json",
        data: Data {
            provider_id: event.provider.as_deref(),
            endpoint: &event.endpoint,
            model: event.model.as_deref(),
            status_code: event.status,
            latency_ms: event.latency_ms,
            input_tokens: event.input_tokens,
            output_tokens: event.output_tokens,
            cached_input_tokens: event.cached_input_tokens,
            cache_write_tokens: event.cache_write_tokens,
            reasoning_tokens: event.reasoning_tokens,
            audio_millis: event.audio_millis,
            image_count: event.image_count,
            request_bytes: event.request_bytes,
            response_bytes: event.response_bytes,
            error_message: event.error_message.as_deref(),
            stream: event.stream,
        },
    };
    serde_json::to_vec(&form).expect("texts and numbers always serialise")
}
