//! What must hold of the fields' values, whichever parse read them.

use std::borrow::Cow;

use super::fields::{Fields, Form, Usage};
use super::{
    COUNT_MAX, ENDPOINT_CHARS_MAX, ERROR_MESSAGE_CHARS_MAX, EVENT_TYPE, LATENCY_MS_MAX,
    MODEL_CHARS_MAX, SOURCE_DEFAULT, SOURCE_HEADER, SPEC_VERSION,
};
use crate::domain::event::{Reason, Rejection, TokenPart, UsageEvent};
use crate::domain::ids::{ID_CHARS_MAX, check_id, is_printable_ascii};
use crate::domain::time::Millis;
use crate::log::Headers;

/// The names of the fields in one form, as senders write them.
pub(super) struct Names {
    pub id: &'static str,
    pub time: &'static str,
    pub user: &'static str,
    pub provider: &'static str,
    pub endpoint: &'static str,
    pub model: &'static str,
    pub status: &'static str,
    pub latency_ms: &'static str,
    pub input_tokens: &'static str,
    pub output_tokens: &'static str,
    pub cached_input_tokens: &'static str,
    pub cache_write_tokens: &'static str,
    pub reasoning_tokens: &'static str,
    pub audio_millis: &'static str,
    pub image_count: &'static str,
    pub request_bytes: &'static str,
    pub response_bytes: &'static str,
    pub error_message: &'static str,
    pub stream: &'static str,
}

const CLOUD_EVENT: Names = Names {
    id: "id",
    time: "time",
    user: "subject",
    provider: "data.providerId",
    endpoint: "data.endpoint",
    model: "data.model",
    status: "data.statusCode",
    latency_ms: "data.latencyMs",
    input_tokens: "data.inputTokens",
    output_tokens: "data.outputTokens",
    cached_input_tokens: "data.cachedInputTokens",
    cache_write_tokens: "data.cacheWriteTokens",
    reasoning_tokens: "data.reasoningTokens",
    audio_millis: "data.audioMillis",
    image_count: "data.imageCount",
    request_bytes: "data.requestBytes",
    response_bytes: "data.responseBytes",
    error_message: "data.errorMessage",
    stream: "data.stream",
};

const PLAIN: Names = Names {
    id: "requestId",
    time: "timestamp",
    user: "userId",
    provider: "providerId",
    endpoint: "endpoint",
    model: "model",
    status: "statusCode",
    latency_ms: "latencyMs",
    input_tokens: "inputTokens",
    output_tokens: "outputTokens",
    cached_input_tokens: "cachedInputTokens",
    cache_write_tokens: "cacheWriteTokens",
    reasoning_tokens: "reasoningTokens",
    audio_millis: "audioMillis",
    image_count: "imageCount",
    request_bytes: "requestBytes",
    response_bytes: "responseBytes",
    error_message: "errorMessage",
    stream: "stream",
};

impl Form {
    /// The names of its fields.
    pub const fn names(self) -> &'static Names {
        match self {
            Form::CloudEvent => &CLOUD_EVENT,
            Form::Plain => &PLAIN,
        }
    }
}

/// A refusal.
pub(super) fn refuse(
    reason: Reason,
    field: Option<&'static str>,
    detail: impl Into<String>,
) -> Rejection {
    Rejection {
        reason,
        field,
        detail: detail.into(),
    }
}

/// The event that the fields describe.
pub(super) fn event<'a>(
    fields: Fields<'a>,
    headers: &'a Headers,
) -> Result<UsageEvent<'a>, Rejection> {
    let (names, printable) = (fields.form.names(), fields.printable);
    if fields.form == Form::CloudEvent {
        envelope(&fields)?;
    }
    let usage = &fields.usage;
    let status = status(required(usage.status, names.status)?, names.status)?;
    counts(usage, names)?;
    let source = source(fields.form, fields.source, headers, printable)?;
    let id = id(required(fields.id, names.id)?, names.id, printable)?;
    let time = time(&required(fields.time, names.time)?, names.time)?;
    let user = self::id(required(fields.user, names.user)?, names.user, printable)?;
    let usage = fields.usage;
    let provider = usage
        .provider
        .map(|p| self::id(p, names.provider, printable));
    let endpoint = required(usage.endpoint, names.endpoint)?;
    Ok(UsageEvent {
        source,
        id,
        time,
        user,
        provider: provider.transpose()?,
        endpoint: line(endpoint, names.endpoint, ENDPOINT_CHARS_MAX, printable)?,
        model: optional(usage.model)
            .map(|model| line(model, names.model, MODEL_CHARS_MAX, printable))
            .transpose()?,
        status,
        latency_ms: usage.latency_ms,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cached_input_tokens: usage.cached_input_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        reasoning_tokens: usage.reasoning_tokens,
        audio_millis: usage.audio_millis,
        image_count: usage.image_count,
        request_bytes: usage.request_bytes,
        response_bytes: usage.response_bytes,
        error_message: optional(usage.error_message)
            .map(|text| short(text, names.error_message, ERROR_MESSAGE_CHARS_MAX))
            .transpose()?,
        stream: usage.stream.unwrap_or(false),
    })
}

pub(super) fn required<T>(value: Option<T>, field: &'static str) -> Result<T, Rejection> {
    value.ok_or_else(|| {
        let detail = format!("{field} is missing; it is required");
        refuse(Reason::MissingField, Some(field), detail)
    })
}

/// Many producers write an empty text where they have none.
fn optional(text: Option<Cow<'_, str>>) -> Option<Cow<'_, str>> {
    text.filter(|text| !text.is_empty())
}

fn envelope(fields: &Fields<'_>) -> Result<(), Rejection> {
    spec_version(fields)?;
    event_type(fields)
}

fn spec_version(fields: &Fields<'_>) -> Result<(), Rejection> {
    known(fields.spec_version.as_deref(), "specversion", SPEC_VERSION)
}

fn event_type(fields: &Fields<'_>) -> Result<(), Rejection> {
    known(fields.event_type.as_deref(), "type", EVENT_TYPE)
}

pub(super) fn known(
    value: Option<&str>,
    field: &'static str,
    known: &str,
) -> Result<(), Rejection> {
    match required(value, field)? {
        value if value == known => Ok(()),
        value => {
            let detail = format!("{field} is {value:?}; only {known:?} is known");
            Err(refuse(Reason::UnknownType, Some(field), detail))
        }
    }
}

fn status(status: u64, field: &'static str) -> Result<u16, Rejection> {
    match u16::try_from(status) {
        Ok(status @ 100..=599) => Ok(status),
        _ => {
            let detail = format!("{field} is {status}; an HTTP status is from 100 to 599");
            Err(refuse(Reason::OutOfRange, Some(field), detail))
        }
    }
}

fn counts(usage: &Usage<'_>, names: &Names) -> Result<(), Rejection> {
    latency(usage, names)?;
    excessive_counts(usage, names).next().map_or(Ok(()), Err)
}

fn latency(usage: &Usage<'_>, names: &Names) -> Result<(), Rejection> {
    let Some(latency_ms) = usage.latency_ms.filter(|ms| *ms > LATENCY_MS_MAX) else {
        return Ok(());
    };
    let field = names.latency_ms;
    let detail =
        format!("{field} is {latency_ms}; a latency is from 0 to {LATENCY_MS_MAX} ms (a day)");
    Err(refuse(Reason::OutOfRange, Some(field), detail))
}

/// The refusals of counts that are too large.
fn excessive_counts(usage: &Usage<'_>, names: &Names) -> impl Iterator<Item = Rejection> {
    let counts = [
        (usage.input_tokens, names.input_tokens),
        (usage.output_tokens, names.output_tokens),
        (usage.cached_input_tokens, names.cached_input_tokens),
        (usage.cache_write_tokens, names.cache_write_tokens),
        (usage.reasoning_tokens, names.reasoning_tokens),
        (usage.audio_millis, names.audio_millis),
        (usage.image_count, names.image_count),
        (usage.request_bytes, names.request_bytes),
        (usage.response_bytes, names.response_bytes),
    ];
    let counts = counts.into_iter();
    let excessive = counts.filter(|(count, _)| count.is_some_and(|count| count > COUNT_MAX));
    excessive.map(|(_, field)| {
        let detail = format!("{field} is too large; a count is from 0 to {COUNT_MAX}");
        refuse(Reason::OutOfRange, Some(field), detail)
    })
}

/// Every refusal of what [`event`] checks, in the same order: its own is the first. A law in the
/// tests holds them together.
pub(super) fn faults(fields: &Fields<'_>, headers: &Headers) -> Vec<Rejection> {
    let (names, usage) = (fields.form.names(), &fields.usage);
    let mut faults = Vec::new();
    let mut check = |checked: Result<(), Rejection>| faults.extend(checked.err());
    if fields.form == Form::CloudEvent {
        check(spec_version(fields));
        check(event_type(fields));
    }
    check(required(usage.status, names.status).and_then(|s| status(s, names.status).map(drop)));
    check(latency(usage, names));
    excessive_counts(usage, names).for_each(|fault| check(Err(fault)));
    check(source(fields.form, borrowed(&fields.source), headers, false).map(drop));
    let id_of = |text, field| required(text, field).and_then(|text| id(text, field, false));
    check(id_of(borrowed(&fields.id), names.id).map(drop));
    let read = required(fields.time.as_deref(), names.time);
    check(read.and_then(|text| time(text, names.time)).map(drop));
    check(id_of(borrowed(&fields.user), names.user).map(drop));
    let endpoint = required(borrowed(&usage.endpoint), names.endpoint);
    let endpoint = endpoint.map_err(|fault| check(Err(fault))).ok();
    let provider = borrowed(&usage.provider).map(|text| id(text, names.provider, false));
    check(provider.transpose().map(drop));
    let text_of = |text, field, max| line(text, field, max, false).map(drop);
    if let Some(endpoint) = endpoint {
        check(text_of(endpoint, names.endpoint, ENDPOINT_CHARS_MAX));
    }
    if let Some(model) = optional(borrowed(&usage.model)) {
        check(text_of(model, names.model, MODEL_CHARS_MAX));
    }
    if let Some(text) = optional(borrowed(&usage.error_message)) {
        check(short(text, names.error_message, ERROR_MESSAGE_CHARS_MAX).map(drop));
    }
    faults
}

fn borrowed<'f>(text: &'f Option<Cow<'_, str>>) -> Option<Cow<'f, str>> {
    text.as_deref().map(Cow::Borrowed)
}

/// The refusal of a part of a count that is larger than its whole.
pub(super) fn oversized(part: TokenPart, form: Form) -> Rejection {
    let names = form.names();
    let (field, detail) = match part {
        TokenPart::CachedInput => (
            names.cached_input_tokens,
            format!(
                "{} is larger than {}, which contains it and must be sent with it",
                names.cached_input_tokens, names.input_tokens
            ),
        ),
        TokenPart::CacheWrite => (
            names.cache_write_tokens,
            format!(
                "{} and {} together are larger than {}, which contains both and must be sent with them",
                names.cache_write_tokens, names.cached_input_tokens, names.input_tokens
            ),
        ),
        TokenPart::Reasoning => (
            names.reasoning_tokens,
            format!(
                "{} is larger than {}, which contains it and must be sent with it",
                names.reasoning_tokens, names.output_tokens
            ),
        ),
    };
    refuse(Reason::OutOfRange, Some(field), detail)
}

pub(super) fn source<'a>(
    form: Form,
    field: Option<Cow<'a, str>>,
    headers: &'a Headers,
    printable: bool,
) -> Result<Cow<'a, str>, Rejection> {
    const FIELD: &str = "source";
    let source = match (form, field) {
        (_, Some(source)) => return id(source, FIELD, printable),
        (Form::CloudEvent, None) => return required(None, FIELD),
        (Form::Plain, None) => match headers.iter().find(|(name, _)| name == SOURCE_HEADER) {
            None => return Ok(Cow::Borrowed(SOURCE_DEFAULT)),
            Some((_, value)) => std::str::from_utf8(value).map(Cow::Borrowed).map_err(|_| {
                let detail = "the header source is not UTF-8";
                refuse(Reason::InvalidId, Some(FIELD), detail)
            })?,
        },
    };
    id(source, FIELD, false)
}

/// Whether a text of the record was looked at with the record as a whole, and is printable ASCII.
/// One with escapes is not of the record.
#[expect(clippy::ptr_arg, reason = "whether it is borrowed is what is asked")]
fn was_seen(text: &Cow<'_, str>, printable: bool) -> bool {
    printable && matches!(text, Cow::Borrowed(_))
}

pub(super) fn id<'a>(
    id: Cow<'a, str>,
    field: &'static str,
    printable: bool,
) -> Result<Cow<'a, str>, Rejection> {
    if was_seen(&id, printable) && (1..=ID_CHARS_MAX).contains(&id.len()) {
        return Ok(id);
    }
    match check_id(&id) {
        Ok(()) => Ok(id),
        Err(error) => {
            let detail = format!("{field} is not a valid id: {error}");
            Err(refuse(Reason::InvalidId, Some(field), detail))
        }
    }
}

/// A text of 1 to `max` characters without control characters.
fn line<'a>(
    text: Cow<'a, str>,
    field: &'static str,
    max: usize,
    printable: bool,
) -> Result<Cow<'a, str>, Rejection> {
    let problem = if text.is_empty() {
        "is empty"
    } else if !was_seen(&text, printable)
        && !is_printable_ascii(&text)
        && text.chars().any(char::is_control)
    {
        "has control characters"
    } else {
        return short(text, field, max);
    };
    Err(refuse(
        Reason::InvalidId,
        Some(field),
        format!("{field} {problem}"),
    ))
}

pub(super) fn short<'a>(
    text: Cow<'a, str>,
    field: &'static str,
    max: usize,
) -> Result<Cow<'a, str>, Rejection> {
    // A text has at most as many characters as bytes.
    if text.len() <= max || text.chars().count() <= max {
        return Ok(text);
    }
    let detail = format!("{field} has more than {max} characters");
    Err(refuse(Reason::TooLong, Some(field), detail))
}

pub(super) fn time(text: &str, field: &'static str) -> Result<Millis, Rejection> {
    text.parse().map_err(|error| {
        let detail = format!("{field} is {error}");
        refuse(Reason::InvalidTime, Some(field), detail)
    })
}
