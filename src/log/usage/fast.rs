//! The typed parse. It may refuse what is right (the precise pass then decides), but never accept what is wrong.

use std::borrow::Cow;

use serde::Deserialize;

use super::fields::{Fields, Form, Text, Usage};

/// Both forms at once: which one it is, is known only at the end.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default)]
    specversion: Option<Text<'a>>,
    #[serde(borrow, default, rename = "type")]
    event_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    source: Option<Text<'a>>,
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    time: Option<Text<'a>>,
    #[serde(borrow, default)]
    subject: Option<Text<'a>>,
    #[serde(borrow, default)]
    data: Option<RawUsage<'a>>,
    #[serde(borrow, default, rename = "requestId")]
    request_id: Option<Text<'a>>,
    #[serde(borrow, default, rename = "userId")]
    user_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    timestamp: Option<Text<'a>>,
    #[serde(borrow, default, rename = "providerId")]
    provider: Option<Text<'a>>,
    #[serde(borrow, default)]
    endpoint: Option<Text<'a>>,
    #[serde(borrow, default)]
    model: Option<Text<'a>>,
    #[serde(default, rename = "statusCode")]
    status: Option<u64>,
    #[serde(default, rename = "latencyMs")]
    latency_ms: Option<u64>,
    #[serde(default, rename = "inputTokens")]
    input_tokens: Option<u64>,
    #[serde(default, rename = "outputTokens")]
    output_tokens: Option<u64>,
    #[serde(default, rename = "cachedInputTokens")]
    cached_input_tokens: Option<u64>,
    #[serde(default, rename = "audioMillis")]
    audio_millis: Option<u64>,
    #[serde(default, rename = "requestBytes")]
    request_bytes: Option<u64>,
    #[serde(default, rename = "responseBytes")]
    response_bytes: Option<u64>,
    #[serde(borrow, default, rename = "errorMessage")]
    error_message: Option<Text<'a>>,
    #[serde(default)]
    stream: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawUsage<'a> {
    #[serde(borrow, default, rename = "providerId")]
    provider: Option<Text<'a>>,
    #[serde(borrow, default)]
    endpoint: Option<Text<'a>>,
    #[serde(borrow, default)]
    model: Option<Text<'a>>,
    #[serde(default, rename = "statusCode")]
    status: Option<u64>,
    #[serde(default)]
    latency_ms: Option<u64>,
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    cached_input_tokens: Option<u64>,
    #[serde(default)]
    audio_millis: Option<u64>,
    #[serde(default)]
    request_bytes: Option<u64>,
    #[serde(default)]
    response_bytes: Option<u64>,
    #[serde(borrow, default)]
    error_message: Option<Text<'a>>,
    #[serde(default)]
    stream: Option<bool>,
}

/// The fields, if the record is one JSON object whose known fields have their types.
pub(super) fn parse(value: &[u8]) -> Option<Fields<'_>> {
    let raw: Raw<'_> = sonic_rs::from_slice(value).ok()?;
    if raw.specversion.is_some() {
        cloud_event(raw)
    } else {
        Some(plain(raw))
    }
}

fn text(text: Option<Text<'_>>) -> Option<Cow<'_, str>> {
    text.map(|text| text.0)
}

fn cloud_event(raw: Raw<'_>) -> Option<Fields<'_>> {
    let data = raw.data?;
    Some(Fields {
        form: Form::CloudEvent,
        spec_version: text(raw.specversion),
        event_type: text(raw.event_type),
        source: text(raw.source),
        id: text(raw.id),
        time: text(raw.time),
        user: text(raw.subject),
        usage: Usage {
            provider: text(data.provider),
            endpoint: text(data.endpoint),
            model: text(data.model),
            status: data.status,
            latency_ms: data.latency_ms,
            input_tokens: data.input_tokens,
            output_tokens: data.output_tokens,
            cached_input_tokens: data.cached_input_tokens,
            audio_millis: data.audio_millis,
            request_bytes: data.request_bytes,
            response_bytes: data.response_bytes,
            error_message: text(data.error_message),
            stream: data.stream,
        },
    })
}

fn plain(raw: Raw<'_>) -> Fields<'_> {
    Fields {
        form: Form::Plain,
        spec_version: None,
        event_type: None,
        source: text(raw.source),
        id: text(raw.request_id),
        time: text(raw.timestamp),
        user: text(raw.user_id),
        usage: Usage {
            provider: text(raw.provider),
            endpoint: text(raw.endpoint),
            model: text(raw.model),
            status: raw.status,
            latency_ms: raw.latency_ms,
            input_tokens: raw.input_tokens,
            output_tokens: raw.output_tokens,
            cached_input_tokens: raw.cached_input_tokens,
            audio_millis: raw.audio_millis,
            request_bytes: raw.request_bytes,
            response_bytes: raw.response_bytes,
            error_message: text(raw.error_message),
            stream: raw.stream,
        },
    }
}
