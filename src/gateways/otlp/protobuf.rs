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
//!
//! A message has its length in front, so one that is broken costs itself alone: what is before and
//! behind it is read. Of a body that is cut short, everything is read that is whole, and likewise of
//! a message whose list of messages breaks off. Each broken part is one refusal.

use std::borrow::Cow;

use prost::Message;
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value, json};

use super::attributes::{WantedAttributes, attributes};
use super::links::Link;
use super::names::{COUNTS, LITELLM_CALL_TYPE, OPERATIONS};
use super::{Scope, SpanText, Spans, Surroundings, fields};
use crate::gateways::fields::Fields;
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
    let body = Part {
        bytes: body,
        is_cut: false,
    };
    each_part(body, RESOURCE_SPANS, |part| match part {
        Some(part) => resource_spans(part, &mut spans),
        None => spans.refuse_part(),
    })?;
    match spans.seen > 0 && spans.nothing_read() {
        true => Err(unreadable()),
        false => spans.finish(),
    }
}

fn resource_spans(message: Part<'_>, spans: &mut Spans<'_>) -> Result<(), BodyError> {
    const SCOPE_SPANS: u32 = 2;
    let about = resource(message.bytes, &spans.wanted).ok();
    let (list, is_repaired) = match about {
        Some(about) => (
            Some(raw(&Value::Array(about.attributes))?),
            about.is_repaired,
        ),
        None => (None, false),
    };
    let about = list.as_deref().and_then(|list| {
        let object = attributes(Some(list), &spans.wanted)?;
        Some(fields(object, is_repaired))
    });
    each_part(message, SCOPE_SPANS, |part| match part {
        Some(part) => scope_spans(part, about.as_ref(), spans),
        None => spans.refuse_part(),
    })
}

fn scope_spans(
    message: Part<'_>,
    resource: Option<&Fields<'_>>,
    spans: &mut Spans<'_>,
) -> Result<(), BodyError> {
    const SPANS: u32 = 2;
    let around = Surroundings {
        resource,
        scope: scope(message.bytes).unwrap_or(Scope::Broken),
    };
    each_part(message, SPANS, |part| match part {
        Some(Part {
            bytes,
            is_cut: false,
        }) => span(bytes, &around, spans),
        _ => spans.refuse_part(),
    })
}

fn span(
    message: &[u8],
    around: &Surroundings<'_, '_>,
    spans: &mut Spans<'_>,
) -> Result<(), BodyError> {
    let has_counts = names(message, &COUNTS);
    let is_named = names(message, &OPERATIONS) || names(message, &[LITELLM_CALL_TYPE]);
    if !has_counts && !is_named {
        return match link(message) {
            Ok(link) => {
                spans.pass_over(link);
                Ok(())
            }
            Err(Broken) => spans.refuse_part(),
        };
    }
    let Ok((span, is_repaired)) = translated(message, &spans.wanted) else {
        return spans.refuse_part();
    };
    let span = SpanText {
        text: &span.to_string(),
        is_repaired,
        has_counts,
    };
    spans.add(&span, around)
}

/// The attributes of the resource, which may be written behind its spans. Of one that is broken
/// none counts: the one that names the user might be what is missing.
fn resource(resource_spans: &[u8], wanted: &WantedAttributes<'_>) -> Result<Translated, Broken> {
    const RESOURCE: u32 = 1;
    const ATTRIBUTES: u32 = 1;
    let mut about = Translated::default();
    each_beside(resource_spans, RESOURCE, |resource| {
        each_message(resource, ATTRIBUTES, |attribute| {
            about.attribute(attribute, wanted)
        })
    })?;
    Ok(about)
}

/// The instrumentation, whose scope may be written behind the spans.
fn scope(scope_spans: &[u8]) -> Result<Scope, Broken> {
    const SCOPE: u32 = 1;
    const NAME: u32 = 1;
    let mut name = Cow::Borrowed("");
    each_beside(scope_spans, SCOPE, |scope| {
        each_message(scope, NAME, |text| {
            name = String::from_utf8_lossy(text);
            Ok(())
        })
    })?;
    Ok(Scope::of_name(&name))
}

/// Whether one of the names is anywhere in the span.
fn names(span: &[u8], names: &[&str]) -> bool {
    names
        .iter()
        .any(|name| memchr::memmem::find(span, name.as_bytes()).is_some())
}

/// What a span that is passed over says about its place in the trace.
fn link(span: &[u8]) -> Result<Option<Link>, Broken> {
    let (mut trace, mut id, mut parent) = (None, None, None);
    each_field_of_whole(span, |tag, value| {
        match (tag, value) {
            (1, Wire::Bytes(bytes)) => trace = bytes.try_into().ok().map(u128::from_be_bytes),
            (2, Wire::Bytes(bytes)) => id = bytes.try_into().ok().map(u64::from_be_bytes),
            (4, Wire::Bytes(bytes)) => parent = bytes.try_into().ok().map(u64::from_be_bytes),
            _ => (),
        }
        Ok(())
    })?;
    Ok(match (trace, id, parent) {
        (Some(trace), Some(span), Some(parent)) => Some(Link {
            trace,
            span,
            parent,
        }),
        _ => None,
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
fn translated(message: &[u8], wanted: &WantedAttributes<'_>) -> Result<(Value, bool), Broken> {
    let mut told = Map::new();
    let mut attributes = Translated::default();
    let mut kind = 0;
    each_field_of_whole(message, |tag, value| {
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
            (1 | 2 | 4 | 6..=9 | 15, _) => return Err(Broken),
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

fn status_code(status: &[u8]) -> Result<i32, Broken> {
    const CODE: u32 = 3;
    let mut code = 0;
    each_field_of_whole(status, |tag, value| {
        match (tag, value) {
            (CODE, Wire::Varint(number)) => code = int32(number),
            (CODE, _) => return Err(Broken),
            _ => (),
        }
        Ok(())
    })?;
    Ok(code)
}

/// The wanted attributes as OTLP/JSON writes them.
#[derive(Default)]
struct Translated {
    attributes: Vec<Value>,
    is_repaired: bool,
}

impl Translated {
    fn attribute(&mut self, message: &[u8], wanted: &WantedAttributes<'_>) -> Result<(), Broken> {
        /// Two different ones of a name mean that neither counts; a third changes nothing.
        const OF_ONE_NAME_MAX: usize = 2;
        const KEY: u32 = 1;
        const VALUE: u32 = 2;
        let (mut key, mut value) = (&b""[..], None);
        each_field_of_whole(message, |tag, field| {
            match (tag, field) {
                (KEY, Wire::Bytes(bytes)) => key = bytes,
                (VALUE, Wire::Bytes(bytes)) => value = scalar(bytes)?.or(value),
                (KEY | VALUE, _) => return Err(Broken),
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

fn scalar(any_value: &[u8]) -> Result<Option<Scalar<'_>>, Broken> {
    let mut value = None;
    each_field_of_whole(any_value, |tag, field| {
        value = match (tag, field) {
            (1, Wire::Bytes(bytes)) => Some(Scalar::Text(bytes)),
            (2, Wire::Varint(number)) => Some(Scalar::Bool(number != 0)),
            (3, Wire::Varint(number)) => Some(Scalar::Int(number.cast_signed())),
            (4, Wire::Fixed64(bits)) => Some(Scalar::Double(f64::from_bits(bits))),
            (5..=7, Wire::Bytes(_)) => Some(Scalar::Other),
            (1..=7, _) => return Err(Broken),
            _ => return Ok(()),
        };
        Ok(())
    })?;
    Ok(value)
}

/// What is not a message, or not all of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken;

/// A message that is a list of others.
#[derive(Clone, Copy)]
struct Part<'a> {
    bytes: &'a [u8],
    /// It is longer than what is there of it.
    is_cut: bool,
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

/// How the fields of a message end.
enum End<'a> {
    /// With the message.
    Whole,
    /// Where something is not a field: nothing can be found behind it.
    Broken,
    /// In a field of this tag, which is longer than what is there of it.
    Cut(u32, &'a [u8]),
}

/// Visits every message of this tag in a list, the last of which may be cut; `None`: a part that
/// cannot be read. However deep it is in messages, what is cut is one such part.
fn each_part<'a>(
    list: Part<'a>,
    wanted: u32,
    mut visit: impl FnMut(Option<Part<'a>>) -> Result<(), BodyError>,
) -> Result<(), BodyError> {
    let end = each_field(list.bytes, |tag, value| match value {
        Wire::Bytes(bytes) if tag == wanted => visit(Some(Part {
            bytes,
            is_cut: false,
        })),
        _ if tag == wanted => visit(None),
        _ => Ok(()),
    })?;
    match end {
        End::Whole if !list.is_cut => Ok(()),
        End::Cut(tag, bytes) if tag == wanted => visit(Some(Part {
            bytes,
            is_cut: true,
        })),
        End::Whole | End::Broken | End::Cut(..) => visit(None),
    }
}

/// Visits the messages of this tag that are beside a list in its message. What is behind the place
/// where that breaks off might have been one, unless there was one already.
fn each_beside<'a>(
    message: &'a [u8],
    wanted: u32,
    mut visit: impl FnMut(&'a [u8]) -> Result<(), Broken>,
) -> Result<(), Broken> {
    let mut has_one = false;
    let end = each_field(message, |tag, value| match value {
        Wire::Bytes(bytes) if tag == wanted => {
            has_one = true;
            visit(bytes)
        }
        _ if tag == wanted => Err(Broken),
        _ => Ok(()),
    })?;
    match end {
        End::Cut(tag, _) if tag == wanted => Err(Broken),
        End::Broken | End::Cut(..) if !has_one => Err(Broken),
        _ => Ok(()),
    }
}

/// Visits every field of this tag, which must be a message, in a message that must be whole.
fn each_message<'a>(
    message: &'a [u8],
    wanted: u32,
    mut visit: impl FnMut(&'a [u8]) -> Result<(), Broken>,
) -> Result<(), Broken> {
    each_field_of_whole(message, |tag, value| match value {
        Wire::Bytes(bytes) if tag == wanted => visit(bytes),
        _ if tag == wanted => Err(Broken),
        _ => Ok(()),
    })
}

/// Visits every field of a message that must be whole.
fn each_field_of_whole<'a>(
    message: &'a [u8],
    visit: impl FnMut(u32, Wire<'a>) -> Result<(), Broken>,
) -> Result<(), Broken> {
    match each_field(message, visit)? {
        End::Whole => Ok(()),
        End::Broken | End::Cut(..) => Err(Broken),
    }
}

/// Visits every field of a message in order. Fields of groups, which OTLP does not have, are passed
/// over.
fn each_field<'a, E>(
    mut message: &'a [u8],
    mut visit: impl FnMut(u32, Wire<'a>) -> Result<(), E>,
) -> Result<End<'a>, E> {
    let mut groups: Vec<u32> = Vec::new();
    while !message.is_empty() {
        let (tag, value) = match field(&mut message) {
            Ok(field) => field,
            Err(end) if groups.is_empty() => return Ok(end),
            Err(_) => return Ok(End::Broken),
        };
        match value {
            Wire::StartGroup if groups.len() < GROUPS_MAX => groups.push(tag),
            Wire::StartGroup => return Ok(End::Broken),
            Wire::EndGroup if groups.pop() == Some(tag) => (),
            Wire::EndGroup => return Ok(End::Broken),
            value if groups.is_empty() => visit(tag, value)?,
            _ => (),
        }
    }
    Ok(match groups.is_empty() {
        true => End::Whole,
        false => End::Broken,
    })
}

/// Deepest group in a group.
const GROUPS_MAX: usize = 100;

/// The next field; or how the message ends instead.
fn field<'a>(message: &mut &'a [u8]) -> Result<(u32, Wire<'a>), End<'a>> {
    let key = varint(message).ok_or(End::Broken)?;
    let tag = u32::try_from(key >> 3).ok().filter(|tag| *tag > 0);
    let tag = tag.ok_or(End::Broken)?;
    let value = match key & 7 {
        0 => Wire::Varint(varint(message).ok_or(End::Broken)?),
        1 => {
            let (bytes, rest) = message.split_first_chunk().ok_or(End::Broken)?;
            *message = rest;
            Wire::Fixed64(u64::from_le_bytes(*bytes))
        }
        2 => {
            let length = varint(message).ok_or(End::Broken)?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let (bytes, rest) = message
                .split_at_checked(length)
                .ok_or(End::Cut(tag, message))?;
            *message = rest;
            Wire::Bytes(bytes)
        }
        3 => Wire::StartGroup,
        4 => Wire::EndGroup,
        5 => {
            let (_, rest) = message.split_first_chunk::<4>().ok_or(End::Broken)?;
            *message = rest;
            Wire::Fixed32
        }
        _ => return Err(End::Broken),
    };
    Ok((tag, value))
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    // It takes a slice and moves it on; a number of more than 64 bits is an error.
    prost::encoding::decode_varint(message).ok()
}
