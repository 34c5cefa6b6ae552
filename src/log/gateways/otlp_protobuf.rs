//! OTLP in protobuf: the few fields of its messages that events are made of, written as OTLP/JSON has them, so that both are read alike.
//!
//! Tags are those of [opentelemetry-proto](https://github.com/open-telemetry/opentelemetry-proto) (`trace/v1`, `common/v1`, `collector/trace/v1`). All
//! other fields are passed over while decoding, messages and prompts among them. Texts are declared as bytes: one that is broken must not cost the
//! spans beside it.

use std::borrow::Cow;

use bytes::Bytes;
use prost::Message;
use serde_json::{Map, Number, Value, json};

use super::Unreadable;

#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "bytes", tag = "1")]
    trace_id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    span_id: Bytes,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

/// Lists and maps (messages) are no values of ours.
#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Scalar", tags = "1, 2, 3, 4")]
    value: Option<Scalar>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Scalar {
    #[prost(bytes = "bytes", tag = "1")]
    Text(Bytes),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
}

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

/// An export as OTLP/JSON.
pub(super) struct Translated {
    /// The JSON.
    pub text: String,
    /// Whether a text in it was no UTF-8.
    pub is_repaired: bool,
}

/// Decodes an ExportTraceServiceRequest.
pub(super) fn translated(body: &[u8]) -> Result<Translated, Unreadable> {
    let export = Export::decode(body).map_err(|_| Unreadable {
        wanted: "ExportTraceServiceRequest in protobuf",
    })?;
    let mut translator = Translator { is_repaired: false };
    let all = export.resource_spans.iter();
    let all: Vec<Value> = all.map(|spans| translator.resource_spans(spans)).collect();
    Ok(Translated {
        text: json!({"resourceSpans": all}).to_string(),
        is_repaired: translator.is_repaired,
    })
}

struct Translator {
    is_repaired: bool,
}

impl Translator {
    fn resource_spans(&mut self, spans: &ResourceSpans) -> Value {
        let resource = spans.resource.as_ref();
        let about = resource.map(|resource| self.attributes(&resource.attributes));
        let scopes = spans.scope_spans.iter();
        let scopes = scopes.map(|scope| {
            let spans = scope.spans.iter().map(|span| self.span(span));
            json!({"spans": spans.collect::<Vec<Value>>()})
        });
        let scopes: Vec<Value> = scopes.collect();
        json!({"resource": {"attributes": about}, "scopeSpans": scopes})
    }

    /// What protobuf leaves out, zeros and empty bytes, is left out.
    fn span(&mut self, span: &Span) -> Value {
        let mut told = Map::new();
        for (name, id) in [("traceId", &span.trace_id), ("spanId", &span.span_id)] {
            if !id.is_empty() {
                told.insert(name.to_owned(), json!(hexadecimal(id)));
            }
        }
        for (name, at) in [
            ("startTimeUnixNano", span.start_time_unix_nano),
            ("endTimeUnixNano", span.end_time_unix_nano),
        ] {
            if at > 0 {
                told.insert(name.to_owned(), json!(at.to_string()));
            }
        }
        told.insert("kind".to_owned(), json!(span.kind));
        if let Some(status) = &span.status {
            told.insert("status".to_owned(), json!({"code": status.code}));
        }
        told.insert("attributes".to_owned(), self.attributes(&span.attributes));
        Value::Object(told)
    }

    fn attributes(&mut self, attributes: &[KeyValue]) -> Value {
        let told = attributes.iter().filter_map(|KeyValue { key, value }| {
            let value = match value.as_ref()?.value.as_ref()? {
                Scalar::Text(text) => json!({"stringValue": self.text(text)}),
                Scalar::Bool(is) => json!({"boolValue": is}),
                Scalar::Int(number) => json!({"intValue": number.to_string()}),
                Scalar::Double(number) => json!({"doubleValue": Number::from_f64(*number)?}),
            };
            Some(json!({"key": self.text(key), "value": value}))
        });
        Value::Array(told.collect())
    }

    fn text<'b>(&mut self, bytes: &'b Bytes) -> Cow<'b, str> {
        let text = String::from_utf8_lossy(bytes);
        self.is_repaired |= matches!(text, Cow::Owned(_));
        text
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
