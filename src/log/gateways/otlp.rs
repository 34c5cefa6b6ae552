//! OpenTelemetry traces, OTLP/JSON: the spans of GenAI clients. Protobuf is translated to it (`otlp_protobuf`).
//!
//! Where this is written down:
//! - [OTLP, JSON encoding](https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): ids are hexadecimal, 64-bit integers may be texts, enums are numbers.
//! - [GenAI client spans](https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/): kind CLIENT, `gen_ai.operation.name`; input tokens hold the cached ones.
//!   Spans of agents and tools (`invoke_agent`, `execute_tool`, …) stand around the same calls, and spans of servers are the other end of them:
//!   neither is counted.
//! - Older names: `gen_ai.system`, `gen_ai.usage.prompt_tokens` and `completion_tokens`
//!   ([deprecated attributes](https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/)), and `llm.request.type` of
//!   [OpenLLMetry](https://github.com/traceloop/openllmetry).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::claim::{Claim, Read};
use super::items::no_object;
use super::litellm::counted_once;
use super::{Format, Outcome, Unreadable};
use crate::log::adapt::Skip;
use crate::log::adapt::fields::{Fields, Instant, Tokens, missing};
use crate::log::adapt::json::{Object, Scalar};

const NAMES: &[(&str, &str)] = &[
    ("subject", USER),
    ("id", "spanId"),
    ("time", "startTimeUnixNano"),
    ("data.providerId", PROVIDERS[0]),
    ("data.endpoint", OPERATIONS[0]),
    ("data.model", MODELS[0]),
    ("data.statusCode", "status.code"),
    ("data.inputTokens", INPUT[0]),
    ("data.outputTokens", OUTPUT[0]),
    ("data.cachedInputTokens", CACHED[0]),
];
const USER: &str = "the user's attribute";
const PROVIDERS: [&str; 2] = ["gen_ai.provider.name", "gen_ai.system"];
const OPERATIONS: [&str; 2] = ["gen_ai.operation.name", "llm.request.type"];
/// What answered before what was asked for, since that is what was served.
const MODELS: [&str; 2] = ["gen_ai.response.model", "gen_ai.request.model"];
const INPUT: [&str; 2] = ["gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"];
const OUTPUT: [&str; 2] = [
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
];
const CACHED: [&str; 2] = [
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
];
/// Inference, by operation: the names of the conventions, then OpenLLMetry's.
const ENDPOINTS: [(&str, &str); 6] = [
    ("chat", "/v1/chat/completions"),
    ("generate_content", "/v1/chat/completions"),
    ("text_completion", "/v1/completions"),
    ("embeddings", "/v1/embeddings"),
    ("completion", "/v1/completions"),
    ("embedding", "/v1/embeddings"),
];
/// `SPAN_KIND_CLIENT`.
const CLIENT: [&str; 2] = ["3", "SPAN_KIND_CLIENT"];
/// `STATUS_CODE_ERROR`.
const ERROR: [&str; 2] = ["2", "STATUS_CODE_ERROR"];
const SUCCESS: u16 = 200;
const FAILED: u16 = 500;

/// Lists that are absent or null are empty, as in all of protobuf's JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    resource_spans: Option<Vec<ResourceSpans<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    #[serde(borrow, default)]
    resource: Option<Resource<'a>>,
    #[serde(borrow, default)]
    scope_spans: Option<Vec<ScopeSpans<'a>>>,
}

#[derive(Deserialize)]
struct Resource<'a> {
    #[serde(borrow, default)]
    attributes: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ScopeSpans<'a> {
    #[serde(borrow, default)]
    spans: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Attribute<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow, default)]
    value: Option<AnyValue<'a>>,
}

/// The values that an event can be made of; lists and maps (messages) are none.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyValue<'a> {
    #[serde(borrow, default)]
    string_value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    int_value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    double_value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    bool_value: Option<&'a RawValue>,
}

/// The outcomes of an export request, one per span.
pub(super) fn read(body: &[u8], user_from: &[String]) -> Result<Vec<Outcome>, Unreadable> {
    let text = String::from_utf8_lossy(body);
    let is_repaired = matches!(text, Cow::Owned(_));
    read_text(&text, is_repaired, user_from)
}

/// [`read`], of a text in which replacement characters stand for what was broken, if it `is_repaired`.
pub(super) fn read_text(
    text: &str,
    is_repaired: bool,
    user_from: &[String],
) -> Result<Vec<Outcome>, Unreadable> {
    let unreadable = || Unreadable {
        wanted: "ExportTraceServiceRequest of OTLP/JSON",
    };
    // An array of the members' values in their order would do for serde.
    if !text.trim_start().starts_with('{') {
        return Err(unreadable());
    }
    let request: Request<'_> = serde_json::from_str(text).map_err(|_| unreadable())?;
    let mut outcomes = Vec::new();
    for resource_spans in request.resource_spans.iter().flatten() {
        let resource = resource_spans.resource.as_ref();
        let about = resource.and_then(|resource| attributes(resource.attributes));
        let about = about.map(|object| fields(object, is_repaired));
        let scopes = resource_spans.scope_spans.iter().flatten();
        for raw in scopes.flat_map(|scope| scope.spans.iter().flatten()) {
            let span = Object::parse(raw).and_then(|object| {
                let attributes = attributes(object.raw("attributes").ok()?)?;
                Some(Span {
                    itself: fields(object, is_repaired),
                    attributes: fields(attributes, is_repaired),
                    resource: about.as_ref(),
                })
            });
            let index = outcomes.len();
            outcomes.push(match span {
                Some(span) => span.outcome(index, user_from),
                None => no_object(index),
            });
        }
    }
    Ok(outcomes)
}

const fn fields(object: Object<'_>, is_repaired: bool) -> Fields<'_> {
    Fields {
        object,
        unset: &[],
        is_repaired,
    }
}

/// A list of attributes as an object; without any, an empty one. `None`: it is no such list.
fn attributes(raw: Option<&RawValue>) -> Option<Object<'_>> {
    let Some(raw) = raw else {
        return Some(Object::of([]));
    };
    let list: Option<Vec<Attribute<'_>>> = serde_json::from_str(raw.get()).ok()?;
    let known = list
        .into_iter()
        .flatten()
        .filter_map(|Attribute { key, value }| {
            let value = value?;
            let written = [
                value.string_value,
                value.int_value,
                value.double_value,
                value.bool_value,
            ];
            Some((key, written.into_iter().flatten().next()?))
        });
    Some(Object::of(known))
}

struct Span<'s, 'a> {
    itself: Fields<'a>,
    attributes: Fields<'a>,
    resource: Option<&'s Fields<'a>>,
}

impl<'a> Span<'_, 'a> {
    fn outcome(&self, index: usize, user_from: &[String]) -> Outcome {
        let Some(endpoint) = self.inference() else {
            return Outcome::Skipped(Skip::NotInference);
        };
        self.claim(endpoint, user_from).outcome(index)
    }

    /// The endpoint, if this is inference as a client saw it.
    fn inference(&self) -> Option<&'static str> {
        let is_client = self.itself_is("kind", &CLIENT);
        let operation = self.first(&OPERATIONS).ok()??;
        let known = ENDPOINTS.iter().find(|(name, _)| *name == operation);
        known.filter(|_| is_client).map(|(_, endpoint)| *endpoint)
    }

    fn itself_is(&self, path: &str, names: &[&str]) -> bool {
        match self.itself.at(path) {
            Ok(Some(Scalar::Number(text))) => names.contains(&text),
            Ok(Some(Scalar::Text(text))) => names.contains(&&*text),
            _ => false,
        }
    }

    fn first<P: AsRef<str>>(&self, names: &[P]) -> Read<Option<Cow<'a, str>>> {
        self.attributes.first(names).map(|(_, found)| found)
    }

    fn claim(&self, endpoint: &'static str, user_from: &[String]) -> Claim<'a> {
        Claim {
            names: NAMES,
            source: Format::Otlp.as_str(),
            id: self.id(),
            time: self.instant("startTimeUnixNano"),
            user: self.user(user_from),
            provider: self.first(&PROVIDERS),
            endpoint: Ok(Cow::Borrowed(endpoint)),
            model: self.first(&MODELS),
            status: Ok(self.status()),
            latency_ms: self.latency_ms(),
            tokens: self.tokens(),
            error_message: None,
            is_stream: false,
        }
    }

    /// Trace and span: the same in every export of it.
    fn id(&self) -> Read<Cow<'a, str>> {
        let part = |path| self.itself.text(path)?.ok_or_else(|| missing(path));
        let whole = format!("{}/{}", part("traceId")?, part("spanId")?);
        Ok(Cow::Owned(whole.to_ascii_lowercase()))
    }

    fn instant(&self, path: &str) -> Read<crate::domain::time::Millis> {
        let instant = self.itself.instant(path, Instant::Nanos)?;
        instant.ok_or_else(|| missing(path))
    }

    fn latency_ms(&self) -> Option<u64> {
        let (start, end) = (
            self.instant("startTimeUnixNano"),
            self.instant("endTimeUnixNano"),
        );
        u64::try_from(end.ok()?.0 - start.ok()?.0).ok()
    }

    fn user(&self, user_from: &[String]) -> Read<Cow<'a, str>> {
        let of_span = self.first(user_from)?;
        let found = match (of_span, self.resource) {
            (Some(user), _) => Some(user),
            (None, Some(resource)) => resource.first(user_from)?.1,
            (None, None) => None,
        };
        found.ok_or_else(|| missing(&user_from.join(" or ")))
    }

    /// What the span says of the answer; else whether it says that something went wrong.
    fn status(&self) -> u16 {
        let code = |name| {
            let text = self.attributes.text(name).ok()??;
            let code = text.parse().ok();
            code.filter(|code| (100..600).contains(code))
        };
        let has_failed = self.itself_is("status.code", &ERROR)
            || !matches!(self.attributes.at("error.type"), Ok(None));
        let said = code("http.response.status_code").or_else(|| code("error.type"));
        match (has_failed, said) {
            (true, Some(said)) if said >= 300 => said,
            (true, _) => FAILED,
            (false, said) => said.unwrap_or(SUCCESS),
        }
    }

    fn tokens(&self) -> Read<Tokens> {
        let count = |[new, old]: [&str; 2]| match self.attributes.count(new)? {
            Some(count) => Ok(Some(count)),
            None => self.attributes.count(old),
        };
        let told = Tokens::told(count(INPUT)?, count(OUTPUT)?, count(CACHED)?);
        Ok(counted_once(told))
    }
}
