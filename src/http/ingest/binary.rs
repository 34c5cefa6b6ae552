//! CloudEvents in binary mode: attributes are headers (`ce-id`), the body is `data`.
//!
//! The rules are those of the HTTP protocol binding 1.0.2, section 3.1: values are unquoted, then
//! percent-decoded, then must be UTF-8. A percent sign without two digits stands for itself,
//! because older SDKs do not encode values at all. Attributes that events do not have are left out.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use bytes::Bytes;
use percent_encoding::percent_decode;
use serde::Serialize;
use serde_json::value::RawValue;

use super::body::media_type;
use crate::domain::event::{Reason, Rejection};
use crate::http::problem::{BadEvent, Problem};
use crate::log::Headers;
use crate::log::usage::{EVENT_TYPE, decode_record_or_faults};

/// The content types of the other modes begin with it.
const CLOUD_EVENTS: &str = "application/cloudevents";
/// Without these, a CloudEvent is none.
const REQUIRED: [&str; 4] = ["ce-specversion", "ce-type", "ce-source", "ce-id"];
const OPTIONAL: [&str; 2] = ["ce-time", "ce-subject"];

/// The attributes that a request has in its headers.
pub(super) struct Attributes {
    /// By header; a valid value in place of one that cannot be read, so that what else is wrong with
    /// the event is found too.
    values: Vec<(&'static str, String)>,
    /// Why headers are missing, or cannot be read.
    faults: Vec<Rejection>,
}

/// The same event in structured mode.
#[derive(Serialize)]
struct Structured<'a> {
    specversion: Option<&'a str>,
    r#type: Option<&'a str>,
    source: Option<&'a str>,
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

impl Attributes {
    /// The attributes of a request in binary mode; `None`: it is in another mode.
    pub fn of(headers: &HeaderMap) -> Result<Option<Attributes>, Problem> {
        let is_other_mode = media_type(headers).starts_with(CLOUD_EVENTS);
        let has = |name: &&str| headers.contains_key(*name);
        if is_other_mode || !REQUIRED.iter().any(has) {
            return Ok(None);
        }
        must_be_json(headers)?;
        let (mut values, mut faults) = (Vec::new(), Vec::new());
        for name in REQUIRED.into_iter().chain(OPTIONAL) {
            let value = match value(headers, name)? {
                Ok(None) if REQUIRED.contains(&name) => Err(missing(name)),
                value => value,
            };
            let value = value.unwrap_or_else(|fault| {
                faults.push(fault);
                Some(valid(name).to_owned())
            });
            values.extend(value.map(|value| (name, value)));
        }
        Ok(Some(Attributes { values, faults }))
    }

    /// The event that they and the body make.
    pub fn event(self, body: &Bytes) -> Result<BinaryEvent, Problem> {
        let mut faults = self.faults;
        // Only one whole JSON value may stand there, or a body could add attributes.
        let data = match body.trim_ascii() {
            [] => None,
            json => serde_json::from_slice::<&RawValue>(json)
                .map(Some)
                .unwrap_or_else(|error| {
                    let detail =
                        format!("the body, which is the event's data, is not JSON: {error}");
                    faults.push(fault(Reason::Malformed, "data", detail));
                    None
                }),
        };
        let attribute = |name| {
            let found = self.values.iter().find(|(header, _)| *header == name);
            found.map(|(_, value)| value.as_str())
        };
        let structured = Structured {
            specversion: attribute("ce-specversion"),
            r#type: attribute("ce-type"),
            source: attribute("ce-source"),
            id: attribute("ce-id"),
            time: attribute("ce-time"),
            subject: attribute("ce-subject"),
            datacontenttype: "application/json",
            data,
        };
        let event = serde_json::to_vec(&structured).map_err(|_| Problem::internal())?;
        Ok(BinaryEvent {
            event: event.into(),
            faults,
        })
    }
}

/// The event of a request in binary mode.
pub(super) struct BinaryEvent {
    /// In structured mode; with valid attributes in place of those that cannot be read.
    event: Bytes,
    /// Why headers, or the body, cannot be read.
    faults: Vec<Rejection>,
}

impl BinaryEvent {
    /// The event, or what is wrong with the request.
    pub fn whole(self) -> Result<Bytes, Problem> {
        match self.faults.is_empty() {
            true => Ok(self.event),
            false => Err(refused(self.faults)),
        }
    }

    /// The event, or every fault of headers and data, if it is a usage event in our own form.
    pub fn usage_event(self) -> Result<Bytes, Vec<Rejection>> {
        let BinaryEvent { event, mut faults } = self;
        if faults.is_empty() {
            return Ok(event);
        }
        let others = decode_record_or_faults(&event, &Headers::new()).err();
        for other in others.into_iter().flatten() {
            // Data that is not JSON is not missing.
            if !faults.iter().any(|known| known.field == other.field) {
                faults.push(other);
            }
        }
        Err(faults)
    }
}

/// A valid value of an attribute.
fn valid(header: &'static str) -> &'static str {
    match header {
        "ce-specversion" => "1.0",
        "ce-type" => EVENT_TYPE,
        "ce-time" => "2026-01-01T00:00:00Z",
        _ => "-",
    }
}

/// The event of a request in binary mode, if it is one: for the fuzz targets.
#[doc(hidden)]
pub fn fuzzed_binary_event<'a>(
    headers: impl Iterator<Item = (&'a String, &'a Bytes)>,
    body: &Bytes,
) -> Option<Bytes> {
    let valid = headers.filter_map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(value).ok()?))
    });
    let mut map = HeaderMap::new();
    for (name, value) in valid {
        map.append(name, value);
    }
    Attributes::of(&map).ok()??.event(body).ok()?.whole().ok()
}

/// Refuses data in another format. SDKs omit the Content-Type if the event has no
/// `datacontenttype`; its data is JSON then.
fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    let media_type = media_type(headers);
    let is_json = ["", "application/json", "text/json"].contains(&media_type.as_str())
        || media_type.ends_with("+json");
    if is_json {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        format!(
            "the headers are those of a CloudEvent in binary mode, whose Content-Type '{media_type}' is that of its data; \
             send the data as application/json"
        ),
    ))
}

/// The value of an attribute's header. The outer error is about the request, the inner one about
/// the event.
fn value(
    headers: &HeaderMap,
    name: &'static str,
) -> Result<Result<Option<String>, Rejection>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        let why = format!("the header {name} was sent more than once; send it once");
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "duplicate_header",
            why,
        ));
    }
    let decoded = first.map(|value| decoded(value.as_bytes())).transpose();
    Ok(decoded.map_err(|_| {
        let detail = format!("the header {name} is not UTF-8, percent-encoded or not");
        fault(Reason::Malformed, name, detail)
    }))
}

fn decoded(value: &[u8]) -> Result<String, std::string::FromUtf8Error> {
    let unquoted = unquoted(value.trim_ascii());
    String::from_utf8(percent_decode(&unquoted).collect())
}

/// A double-quoted value without its quotes and backslashes; any other as it is.
fn unquoted(value: &[u8]) -> Cow<'_, [u8]> {
    let inner = value
        .strip_prefix(b"\"")
        .and_then(|v| v.strip_suffix(b"\""));
    let Some(inner) = inner else {
        return Cow::Borrowed(value);
    };
    let mut unescaped = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'\\' => bytes.next().unwrap_or(byte),
            byte => byte,
        };
        unescaped.push(*byte);
    }
    Cow::Owned(unescaped)
}

fn missing(name: &'static str) -> Rejection {
    let detail = format!("the header {name} is missing; it is required in binary mode");
    fault(Reason::MissingField, name, detail)
}

fn fault(reason: Reason, field: &'static str, detail: String) -> Rejection {
    Rejection {
        reason,
        field: Some(field),
        detail,
    }
}

fn refused(faults: Vec<Rejection>) -> Problem {
    let faults = faults.into_iter().map(|fault| BadEvent::new(0, fault));
    Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid_events",
        "the event is invalid and was not accepted; `events` says why",
    )
    .of_events(faults.collect())
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn header_values_are_decoded_as_the_binding_says() {
        for (value, expected) in [
            (&b"plain"[..], Some("plain")),
            (b"", Some("")),
            (
                b"Euro%20%E2%82%AC%20%f0%9f%98%80",
                Some("Euro \u{20ac} \u{1f600}"),
            ),
            (b"a%2541", Some("a%41")),
            (b"100%", Some("100%")),
            (b"%zz%4", Some("%zz%4")),
            ("é".as_bytes(), Some("é")),
            (br#""in quotes \"\\ %41""#, Some(r#"in quotes "\ A"#)),
            (br#""one quote"#, Some(r#""one quote"#)),
            (b"\"", Some("\"")),
            (b"%C0%A0", None),
            (b"%FF", None),
            (b"\xe9", None),
        ] {
            assert_eq!(decoded(value).ok().as_deref(), expected, "{value:?}");
        }
    }
}
