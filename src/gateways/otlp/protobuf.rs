//! OTLP in protobuf: the few fields of its messages that events are made of, written as OTLP/JSON
//! has them, span by span, so that both are read alike.
//!
//! Tags are those of [opentelemetry-proto](https://github.com/open-telemetry/opentelemetry-proto)
//! (`trace/v1`, `common/v1`, `collector/trace/v1`). All other fields are passed over, messages and
//! prompts among them. Texts are read as bytes: one that is broken must not cost the spans beside
//! it.
//!
//! Nothing is decoded as a whole: an empty span is two bytes on the wire and would be 150 as a
//! value. Messages are walked through where they stand, and spans are counted on the way.

use std::borrow::Cow;

use prost::Message;
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value, json};

use super::attributes::{WantedAttributes, attributes};
use super::links::Link;
use super::names::{COUNTS, OPERATIONS};
use super::{SpanText, Spans, Surroundings, fields, is_summing};
use crate::gateways::json::{SCALAR_BYTES_MAX, repaired};
use crate::gateways::{BodyError, GatewaySettings, Outcomes};

/// What OTLP answers in protobuf: nothing is said of full success.
#[derive(Clone, PartialEq, Message)]
struct Exported {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// The ExportTraceServiceResponse: how many spans were rejected and why, if any was.
pub fn exported(rejected: Option<(usize, &str)>) -> Vec<u8> {
    let partial_success = rejected.map(|(count, message)| PartialSuccess {
        rejected_spans: i64::try_from(count).unwrap_or(i64::MAX),
        error_message: message.to_owned(),
    });
    Exported { partial_success }.encode_to_vec()
}

/// The outcomes of an ExportTraceServiceRequest, one per span.
pub(in crate::gateways) fn read(
    body: &[u8],
    settings: &GatewaySettings,
) -> Result<Outcomes, BodyError> {
    const RESOURCE_SPANS: u32 = 1;
    let mut spans = Spans::new(settings);
    each_message(body, RESOURCE_SPANS, |one| resource_spans(one, &mut spans))?;
    spans.finish()
}

/// The resource may be written behind its spans, so this goes through the message twice.
fn resource_spans(message: &[u8], spans: &mut Spans<'_>) -> Result<(), BodyError> {
    const RESOURCE: u32 = 1;
    const SCOPE_SPANS: u32 = 2;
    const ATTRIBUTES: u32 = 1;
    const SPANS: u32 = 2;
    let mut about = Translated::default();
    each_message(message, RESOURCE, |resource| {
        // One that is broken names no user; its spans may.
        let _ = each_message(resource, ATTRIBUTES, |attribute| {
            about.attribute(attribute, &spans.wanted)
        });
        Ok(())
    })?;
    let list = raw(&Value::Array(about.attributes))?;
    let about_fields = attributes(Some(&list), &spans.wanted);
    let about_fields = about_fields.map(|object| fields(object, about.is_repaired));
    each_message(message, SCOPE_SPANS, |scope| {
        let around = Surroundings {
            resource: about_fields.as_ref(),
            is_summed: is_summing(&scope_name(scope)?),
        };
        each_message(scope, SPANS, |written| {
            let has_counts = names(written, &COUNTS);
            if !has_counts && !names(written, &OPERATIONS) {
                spans.pass_over(link(written));
                return Ok(());
            }
            // A broken span costs itself.
            let Ok((span, is_repaired)) = translated(written, &spans.wanted) else {
                return spans.refuse_unless(false);
            };
            let span = SpanText {
                text: &span.to_string(),
                is_repaired,
                has_counts,
            };
            spans.add(&span, &around)
        })
    })
}

/// The name of the instrumentation; empty if there is none. It may be written behind the spans.
fn scope_name(scope_spans: &[u8]) -> Result<Cow<'_, str>, BodyError> {
    const SCOPE: u32 = 1;
    const NAME: u32 = 1;
    let mut name = Cow::Borrowed("");
    each_message(scope_spans, SCOPE, |scope| {
        // One that is broken is of no instrumentation that is known.
        let _ = each_message(scope, NAME, |text| {
            name = String::from_utf8_lossy(text);
            Ok(())
        });
        Ok(())
    })?;
    Ok(name)
}

/// Whether one of the names is anywhere in the span.
fn names(span: &[u8], names: &[&str]) -> bool {
    names
        .iter()
        .any(|name| memchr::memmem::find(span, name.as_bytes()).is_some())
}

/// What a span that is passed over says about its place in the trace.
fn link(span: &[u8]) -> Option<Link> {
    let (mut trace, mut id, mut parent) = (None, None, None);
    each_field(span, |tag, value| {
        match (tag, value) {
            (1, Wire::Bytes(bytes)) => trace = bytes.try_into().ok().map(u128::from_be_bytes),
            (2, Wire::Bytes(bytes)) => id = bytes.try_into().ok().map(u64::from_be_bytes),
            (4, Wire::Bytes(bytes)) => parent = bytes.try_into().ok().map(u64::from_be_bytes),
            _ => (),
        }
        Ok(())
    })
    .ok()?;
    Some(Link {
        trace: trace?,
        span: id?,
        parent: parent?,
    })
}

const fn unreadable() -> BodyError {
    BodyError::Unreadable {
        wanted: "an ExportTraceServiceRequest in protobuf",
    }
}

fn raw(value: &Value) -> Result<Box<RawValue>, BodyError> {
    RawValue::from_string(value.to_string()).map_err(|_| unreadable())
}

/// A span as OTLP/JSON writes it, with its wanted attributes alone; and whether a text of it was no
/// UTF-8. What protobuf leaves out, zeros and empty bytes, is left out.
fn translated(message: &[u8], wanted: &WantedAttributes<'_>) -> Result<(Value, bool), BodyError> {
    let mut told = Map::new();
    let mut attributes = Translated::default();
    let mut kind = 0;
    each_field(message, |tag, value| {
        match (tag, value) {
            (1, Wire::Bytes(id)) => set(&mut told, "traceId", identity(id)),
            (2, Wire::Bytes(id)) => set(&mut told, "spanId", identity(id)),
            (4, Wire::Bytes(id)) => set(&mut told, "parentSpanId", identity(id)),
            (6, Wire::Varint(number)) => kind = int32(number),
            (7, Wire::Fixed64(at)) => set(&mut told, "startTimeUnixNano", instant(at)),
            (8, Wire::Fixed64(at)) => set(&mut told, "endTimeUnixNano", instant(at)),
            (9, Wire::Bytes(attribute)) => attributes.attribute(attribute, wanted)?,
            (15, Wire::Bytes(status)) => {
                told.extend([("status".to_owned(), json!({"code": status_code(status)?}))])
            }
            (1 | 2 | 4 | 6..=9 | 15, _) => return Err(unreadable()),
            _ => (),
        }
        Ok(())
    })?;
    told.insert("kind".to_owned(), json!(kind));
    told.insert("attributes".to_owned(), Value::Array(attributes.attributes));
    Ok((Value::Object(told), attributes.is_repaired))
}

/// The last one counts, if a field is sent twice; also one that takes an earlier one back.
fn set(told: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    match value {
        Some(value) => told.insert(name.to_owned(), value),
        None => told.remove(name),
    };
}

fn identity(id: &[u8]) -> Option<Value> {
    /// Longer ones are refused, whatever their end is.
    const BYTES_MAX: usize = 256;
    let id = &id[..id.len().min(BYTES_MAX)];
    (!id.is_empty()).then(|| json!(base16ct::lower::encode_string(id)))
}

fn instant(at: u64) -> Option<Value> {
    (at > 0).then(|| json!(at.to_string()))
}

/// An `int32` on the wire: the low 32 bits.
const fn int32(number: u64) -> i32 {
    number as i32
}

fn status_code(status: &[u8]) -> Result<i32, BodyError> {
    const CODE: u32 = 3;
    let mut code = 0;
    each_field(status, |tag, value| {
        match (tag, value) {
            (CODE, Wire::Varint(number)) => code = int32(number),
            (CODE, _) => return Err(unreadable()),
            _ => (),
        }
        Ok(())
    })?;
    Ok(code)
}

/// WantedAttributes attributes as OTLP/JSON writes them.
#[derive(Default)]
struct Translated {
    attributes: Vec<Value>,
    is_repaired: bool,
}

impl Translated {
    fn attribute(
        &mut self,
        message: &[u8],
        wanted: &WantedAttributes<'_>,
    ) -> Result<(), BodyError> {
        /// Two different ones of a name mean that neither counts; a third changes nothing.
        const OF_ONE_NAME_MAX: usize = 2;
        const KEY: u32 = 1;
        const VALUE: u32 = 2;
        let (mut key, mut value) = (&b""[..], None);
        each_field(message, |tag, field| {
            match (tag, field) {
                (KEY, Wire::Bytes(bytes)) => key = bytes,
                (VALUE, Wire::Bytes(bytes)) => value = scalar(bytes)?.or(value),
                (KEY | VALUE, _) => return Err(unreadable()),
                _ => (),
            }
            Ok(())
        })?;
        let name = std::str::from_utf8(key).ok();
        let name = name.filter(|name| wanted.has(name));
        if let (Some(name), Some(value)) = (name, value) {
            let attribute = json!({"key": name, "value": self.written(value)});
            let same_name = self.attributes.iter().filter(|known| known["key"] == name);
            if same_name.count() < OF_ONE_NAME_MAX && !self.attributes.contains(&attribute) {
                self.attributes.push(attribute);
            }
        }
        Ok(())
    }

    fn written(&mut self, value: Scalar<'_>) -> Value {
        match value {
            Scalar::Text(bytes) => {
                // One that is too long is refused for that, which needs no more of it.
                let bytes = &bytes[..bytes.len().min(SCALAR_BYTES_MAX)];
                let (text, is_repaired) = repaired(bytes);
                self.is_repaired |= is_repaired;
                json!({"stringValue": text})
            }
            Scalar::Bool(is) => json!({"boolValue": is}),
            Scalar::Other => json!({"arrayValue": {}}),
            Scalar::Int(number) => json!({"intValue": number.to_string()}),
            // What JSON has no number for is refused as a text.
            Scalar::Double(number) => match Number::from_f64(number) {
                Some(number) => json!({"doubleValue": number}),
                None => json!({"stringValue": number.to_string()}),
            },
        }
    }
}

#[derive(Clone, Copy)]
enum Scalar<'a> {
    Text(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// A list, a map or bytes.
    Other,
}

fn scalar(any_value: &[u8]) -> Result<Option<Scalar<'_>>, BodyError> {
    let mut value = None;
    each_field(any_value, |tag, field| {
        value = match (tag, field) {
            (1, Wire::Bytes(bytes)) => Some(Scalar::Text(bytes)),
            (2, Wire::Varint(number)) => Some(Scalar::Bool(number != 0)),
            (3, Wire::Varint(number)) => Some(Scalar::Int(number.cast_signed())),
            (4, Wire::Fixed64(bits)) => Some(Scalar::Double(f64::from_bits(bits))),
            (5..=7, Wire::Bytes(_)) => Some(Scalar::Other),
            (1..=7, _) => return Err(unreadable()),
            _ => return Ok(()),
        };
        Ok(())
    })?;
    Ok(value)
}

/// A value on the wire.
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
    StartGroup,
    EndGroup,
}

/// Visits every field of this tag, which must be a message.
fn each_message<'a>(
    message: &'a [u8],
    wanted: u32,
    mut visit: impl FnMut(&'a [u8]) -> Result<(), BodyError>,
) -> Result<(), BodyError> {
    each_field(message, |tag, value| match value {
        Wire::Bytes(bytes) if tag == wanted => visit(bytes),
        _ if tag == wanted => Err(unreadable()),
        _ => Ok(()),
    })
}

/// Visits every field of a message in order. Fields of groups, which OTLP does not have, are passed
/// over.
fn each_field<'a>(
    mut message: &'a [u8],
    mut visit: impl FnMut(u32, Wire<'a>) -> Result<(), BodyError>,
) -> Result<(), BodyError> {
    let mut groups: Vec<u32> = Vec::new();
    while !message.is_empty() {
        let (tag, value) = field(&mut message).ok_or_else(unreadable)?;
        match value {
            Wire::StartGroup if groups.len() < GROUPS_MAX => groups.push(tag),
            Wire::StartGroup => return Err(unreadable()),
            Wire::EndGroup if groups.pop() == Some(tag) => (),
            Wire::EndGroup => return Err(unreadable()),
            value if groups.is_empty() => visit(tag, value)?,
            _ => (),
        }
    }
    if groups.is_empty() {
        Ok(())
    } else {
        Err(unreadable())
    }
}

/// Deepest group in a group.
const GROUPS_MAX: usize = 100;

fn field<'a>(message: &mut &'a [u8]) -> Option<(u32, Wire<'a>)> {
    let key = varint(message)?;
    let tag = u32::try_from(key >> 3).ok().filter(|tag| *tag > 0)?;
    let value = match key & 7 {
        0 => Wire::Varint(varint(message)?),
        1 => {
            let (bytes, rest) = message.split_first_chunk()?;
            *message = rest;
            Wire::Fixed64(u64::from_le_bytes(*bytes))
        }
        2 => {
            let length = usize::try_from(varint(message)?).ok()?;
            let (bytes, rest) = message.split_at_checked(length)?;
            *message = rest;
            Wire::Bytes(bytes)
        }
        3 => Wire::StartGroup,
        4 => Wire::EndGroup,
        5 => {
            let (_, rest) = message.split_first_chunk::<4>()?;
            *message = rest;
            Wire::Fixed32
        }
        _ => return None,
    };
    Some((tag, value))
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    // It takes a slice and moves it on; a number of more than 64 bits is an error.
    prost::encoding::decode_varint(message).ok()
}
