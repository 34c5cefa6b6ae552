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
    let (fields, faults) = parse_all(&object(value)?);
    faults.into_iter().next().map_or(Ok(fields), Err)
}

/// The record as an object.
pub(super) fn object(value: &[u8]) -> Result<Object<'_>, Rejection> {
    serde_json::from_slice(value)
        .map_err(|error| refuse(Reason::Malformed, None, malformed(value, &error)))
}

/// The fields that can be read, and why the others cannot.
pub(super) fn parse_all<'a>(top: &Object<'a>) -> (Fields<'a>, Vec<Rejection>) {
    let mut faults = Faults::default();
    let spec_version = top.text("specversion");
    let form = match &spec_version {
        Ok(None) => Form::Plain,
        Ok(Some(_)) | Err(_) => Form::CloudEvent,
    };
    let spec_version = faults.keep(spec_version);
    let fields = match form {
        Form::Plain => plain(top, &mut faults),
        Form::CloudEvent => cloud_event(top, spec_version, &mut faults),
    };
    (fields, faults.0)
}

/// Why fields cannot be read.
#[derive(Default)]
struct Faults(Vec<Rejection>);

impl Faults {
    /// What was read, or nothing.
    fn keep<T: Default>(&mut self, read: Result<T, Rejection>) -> T {
        read.unwrap_or_else(|fault| {
            self.0.push(fault);
            T::default()
        })
    }
}

fn cloud_event<'a>(
    top: &Object<'a>,
    spec_version: Option<Cow<'a, str>>,
    faults: &mut Faults,
) -> Fields<'a> {
    let data = faults.keep(top.object(DATA));
    Fields {
        form: Form::CloudEvent,
        printable: false,
        spec_version,
        event_type: faults.keep(top.text("type")),
        source: faults.keep(top.text("source")),
        id: faults.keep(top.text("id")),
        time: faults.keep(top.text("time")),
        user: faults.keep(top.text("subject")),
        usage: usage(&data, Form::CloudEvent, faults),
    }
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

fn plain<'a>(top: &Object<'a>, faults: &mut Faults) -> Fields<'a> {
    let names = Form::Plain.names();
    Fields {
        form: Form::Plain,
        printable: false,
        spec_version: None,
        event_type: None,
        source: faults.keep(top.text("source")),
        id: faults.keep(top.text(names.id)),
        time: faults.keep(top.text(names.time)),
        user: faults.keep(top.text(names.user)),
        usage: usage(top, Form::Plain, faults),
    }
}

fn usage<'a>(object: &Object<'a>, form: Form, faults: &mut Faults) -> Usage<'a> {
    let names = form.names();
    Usage {
        has_others: false,
        provider: faults.keep(object.text(names.provider)),
        endpoint: faults.keep(object.text(names.endpoint)),
        model: faults.keep(object.text(names.model)),
        status: faults.keep(object.count(names.status)),
        latency_ms: faults.keep(object.count(names.latency_ms)),
        input_tokens: faults.keep(object.count(names.input_tokens)),
        output_tokens: faults.keep(object.count(names.output_tokens)),
        cached_input_tokens: faults.keep(object.count(names.cached_input_tokens)),
        cache_write_tokens: faults.keep(object.count(names.cache_write_tokens)),
        reasoning_tokens: faults.keep(object.count(names.reasoning_tokens)),
        audio_millis: faults.keep(object.count(names.audio_millis)),
        image_count: faults.keep(object.count(names.image_count)),
        request_bytes: faults.keep(object.count(names.request_bytes)),
        response_bytes: faults.keep(object.count(names.response_bytes)),
        error_message: faults.keep(object.text(names.error_message)),
        stream: faults.keep(object.flag(names.stream)),
    }
}

/// A JSON object, its values unread. Nothing here recurses, so no nesting is too deep.
#[derive(Default)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// The names of its members that are not `null`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let members = self.0.iter().filter(|(_, value)| value.get() != "null");
        members.map(|(name, _)| name.as_ref())
    }

    /// Whether it has a member of this name that is not `null`.
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// The JSON text of a member; `None` if it is missing or `null`. `field` is its full name
    /// (`data.statusCode`).
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

    pub fn text(&self, field: &'static str) -> Result<Option<Cow<'a, str>>, Rejection> {
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

    pub fn object(&self, field: &'static str) -> Result<Object<'a>, Rejection> {
        let Some(json) = self.member(field)? else {
            let detail = format!("{field} is missing; it is required");
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
