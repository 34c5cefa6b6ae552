//! The precise parse: what decoding means. It finds the field that is wrong, and why.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::COUNT_MAX;
use super::check::refuse;
use super::fields::{Fields, Form, Text, Usage};
use crate::domain::event::{Reason, Rejection};

const DATA: &str = "data";

/// The fields of a record.
pub(super) fn parse(value: &[u8]) -> Result<Fields<'_>, Rejection> {
    let top: Object<'_> = serde_json::from_slice(value)
        .map_err(|error| refuse(Reason::Malformed, None, malformed(value, &error)))?;
    let spec_version = top.text("specversion")?;
    if spec_version.is_none() {
        return plain(&top);
    }
    let data = top.object(DATA)?;
    Ok(Fields {
        form: Form::CloudEvent,
        printable: false,
        spec_version,
        event_type: top.text("type")?,
        source: top.text("source")?,
        id: top.text("id")?,
        time: top.text("time")?,
        user: top.text("subject")?,
        usage: usage(&data, Form::CloudEvent)?,
    })
}

fn malformed(value: &[u8], error: &serde_json::Error) -> String {
    if error.is_data() {
        return "the event is not a JSON object".to_owned();
    }
    match std::str::from_utf8(value) {
        Err(error) => format!(
            "the event is not UTF-8 from byte {} on",
            error.valid_up_to()
        ),
        Ok(_) => format!("the event is not JSON: {error}"),
    }
}

fn plain<'a>(top: &Object<'a>) -> Result<Fields<'a>, Rejection> {
    let names = Form::Plain.names();
    Ok(Fields {
        form: Form::Plain,
        printable: false,
        spec_version: None,
        event_type: None,
        source: top.text("source")?,
        id: top.text(names.id)?,
        time: top.text(names.time)?,
        user: top.text(names.user)?,
        usage: usage(top, Form::Plain)?,
    })
}

fn usage<'a>(object: &Object<'a>, form: Form) -> Result<Usage<'a>, Rejection> {
    let names = form.names();
    Ok(Usage {
        provider: object.text(names.provider)?,
        endpoint: object.text(names.endpoint)?,
        model: object.text(names.model)?,
        status: object.count(names.status)?,
        latency_ms: object.count(names.latency_ms)?,
        input_tokens: object.count(names.input_tokens)?,
        output_tokens: object.count(names.output_tokens)?,
        cached_input_tokens: object.count(names.cached_input_tokens)?,
        cache_write_tokens: object.count(names.cache_write_tokens)?,
        reasoning_tokens: object.count(names.reasoning_tokens)?,
        audio_millis: object.count(names.audio_millis)?,
        request_bytes: object.count(names.request_bytes)?,
        response_bytes: object.count(names.response_bytes)?,
        error_message: object.text(names.error_message)?,
        stream: object.flag(names.stream)?,
    })
}

/// A JSON object, its values unread. Nothing here recurses, so no nesting is too deep.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// The JSON text of a member; `None` if it is missing or `null`. `field` is its full name (`data.statusCode`).
    fn member(&self, field: &'static str) -> Result<Option<&'a str>, Rejection> {
        let name = field.rsplit_once('.').map_or(field, |(_, name)| name);
        let mut found = self.0.iter().filter(|(key, _)| key == name);
        let first = found.next().map(|(_, value)| value.get());
        if found.next().is_some() {
            let detail = format!("{field} is in the event more than once");
            return Err(refuse(Reason::Malformed, Some(field), detail));
        }
        Ok(first.filter(|json| *json != "null"))
    }

    fn text(&self, field: &'static str) -> Result<Option<Cow<'a, str>>, Rejection> {
        let Some(json) = self.member(field)? else {
            return Ok(None);
        };
        if !json.starts_with('"') {
            return Err(wrong_type(field, "a string"));
        }
        match serde_json::from_str::<Text<'a>>(json) {
            Ok(text) => Ok(Some(text.0)),
            Err(error) => {
                let detail = format!("{field} is not a valid string: {error}");
                Err(refuse(Reason::Malformed, Some(field), detail))
            }
        }
    }

    fn count(&self, field: &'static str) -> Result<Option<u64>, Rejection> {
        let Some(json) = self.member(field)? else {
            return Ok(None);
        };
        let digits = json.strip_prefix('-').unwrap_or(json);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong_type(
                field,
                "a whole number without decimals or exponent",
            ));
        }
        json.parse().map(Some).map_err(|_| {
            let detail = format!("{field} is out of range; numbers are from 0 to {COUNT_MAX}");
            refuse(Reason::OutOfRange, Some(field), detail)
        })
    }

    fn flag(&self, field: &'static str) -> Result<Option<bool>, Rejection> {
        match self.member(field)? {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(wrong_type(field, "true or false")),
        }
    }

    fn object(&self, field: &'static str) -> Result<Object<'a>, Rejection> {
        let Some(json) = self.member(field)? else {
            let detail = format!("{field} is missing; every event must have it");
            return Err(refuse(Reason::MissingField, Some(field), detail));
        };
        serde_json::from_str(json).map_err(|_| wrong_type(field, "an object"))
    }
}

fn wrong_type(field: &'static str, wanted: &str) -> Rejection {
    let detail = format!("{field} must be {wanted}");
    refuse(Reason::WrongType, Some(field), detail)
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<'a>, D::Error> {
        deserializer.deserialize_map(ObjectVisitor).map(Object)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((key, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
            members.push((key.0, value));
        }
        Ok(members)
    }
}
