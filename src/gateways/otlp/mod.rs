//! OpenTelemetry traces, OTLP/JSON: the spans of GenAI clients. `protobuf` writes its spans in JSON, one by one.
//!
//! Where this is written down:
//! - [OTLP, JSON encoding](https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): ids are hexadecimal, 64-bit integers may be texts, enums are numbers.
//! - [GenAI client spans](https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/): kind CLIENT, `gen_ai.operation.name`; input tokens hold the cached ones.
//!   Spans of agents and tools (`invoke_agent`, `execute_tool`, …) stand around the same calls, and spans of servers are the other end of them:
//!   neither is counted.
//! - Older names: `gen_ai.system`, `gen_ai.usage.prompt_tokens` and `completion_tokens`
//!   ([deprecated attributes](https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/)), and `llm.request.type` of
//!   [OpenLLMetry](https://github.com/traceloop/openllmetry).

pub(super) mod protobuf;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::claim::{Claim, Read};
use super::items::no_object;
use super::{BodyError, Format, ITEMS_MAX, Outcome};
use crate::gateways::fields::{Fields, Instant, Tokens, counted_once, missing};
use crate::gateways::json::{Object, Scalar, repaired};
use crate::gateways::outcome::Skip;
use crate::log::json_array::{ArrayError, each_element};

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
/// Where a status can be told; the first one counts.
const STATUSES: [&str; 2] = ["http.response.status_code", ERROR_TYPE];
const ERROR_TYPE: &str = "error.type";
/// `SPAN_KIND_CLIENT`.
const CLIENT: [&str; 2] = ["3", "SPAN_KIND_CLIENT"];
/// `STATUS_CODE_ERROR`.
const ERROR: [&str; 2] = ["2", "STATUS_CODE_ERROR"];
const SUCCESS: u16 = 200;
const FAILED: u16 = 500;

/// Lists that are absent or null are empty, as in all of protobuf's JSON. They are kept as they were written, and read element by element: an empty
/// span is two bytes of text, and would be a hundred as a value.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    resource_spans: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    #[serde(borrow, default)]
    resource: Option<Resource<'a>>,
    #[serde(borrow, default)]
    scope_spans: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Resource<'a> {
    #[serde(borrow, default)]
    attributes: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ScopeSpans<'a> {
    #[serde(borrow, default)]
    spans: Option<&'a RawValue>,
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

/// The names of the attributes that events are made of. No other is kept: so it does not matter how many a resource has, and each is looked at once,
/// however many spans follow.
pub(super) struct Wanted<'u> {
    user_from: &'u [String],
}

impl<'u> Wanted<'u> {
    pub const fn new(user_from: &'u [String]) -> Wanted<'u> {
        Wanted { user_from }
    }

    pub fn has(&self, name: &str) -> bool {
        let fixed: [&[&str]; 7] = [
            &PROVIDERS,
            &OPERATIONS,
            &MODELS,
            &INPUT,
            &OUTPUT,
            &CACHED,
            &STATUSES,
        ];
        fixed.iter().any(|names| names.contains(&name))
            || self.user_from.iter().any(|user| user == name)
    }
}

/// The outcomes of an export request, one per span.
pub(super) fn read(body: &[u8], user_from: &[String]) -> Result<Vec<Outcome>, BodyError> {
    let (text, is_repaired) = repaired(body);
    // An array of the members' values in their order would do for serde.
    if !text.trim_start().starts_with('{') {
        return Err(UNREADABLE);
    }
    let request: Request<'_> = parsed(&text)?;
    let mut spans = Spans::new(user_from);
    each(request.resource_spans, |raw| {
        let one: ResourceSpans<'_> = parsed(raw.get())?;
        let about = one.resource.and_then(|resource| resource.attributes);
        let about = attributes(about, &spans.wanted);
        let about = about.map(|object| fields(object, is_repaired));
        each(one.scope_spans, |raw| {
            let scope: ScopeSpans<'_> = parsed(raw.get())?;
            each(scope.spans, |raw| {
                spans.add(raw, about.as_ref(), is_repaired)
            })
        })
    })?;
    Ok(spans.outcomes)
}

const UNREADABLE: BodyError = BodyError::Unreadable {
    wanted: "ExportTraceServiceRequest of OTLP/JSON",
};

fn parsed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, BodyError> {
    serde_json::from_str(text).map_err(|_| UNREADABLE)
}

/// Visits the elements of a list that may be absent.
fn each<'a>(
    list: Option<&'a RawValue>,
    visit: impl FnMut(&'a RawValue) -> Result<(), BodyError>,
) -> Result<(), BodyError> {
    let Some(list) = list else { return Ok(()) };
    each_element(list.get(), visit).map_err(|error| match error {
        ArrayError::Json(_) => UNREADABLE,
        ArrayError::Stopped(error) => error,
    })
}

/// Spans on their way to outcomes, counted.
pub(super) struct Spans<'u> {
    pub wanted: Wanted<'u>,
    pub outcomes: Vec<Outcome>,
}

impl<'u> Spans<'u> {
    pub const fn new(user_from: &'u [String]) -> Spans<'u> {
        Spans {
            wanted: Wanted::new(user_from),
            outcomes: Vec::new(),
        }
    }

    /// Reads one more span, of this resource.
    pub fn add(
        &mut self,
        raw: &RawValue,
        about: Option<&Fields<'_>>,
        is_repaired: bool,
    ) -> Result<(), BodyError> {
        let index = self.outcomes.len();
        if index == ITEMS_MAX {
            return Err(BodyError::TooManyItems);
        }
        let span = Object::parse(raw).and_then(|object| {
            let attributes = attributes(object.raw("attributes").ok()?, &self.wanted)?;
            Some(Span {
                itself: fields(object, is_repaired),
                attributes: fields(attributes, is_repaired),
            })
        });
        self.outcomes.push(match span {
            Some(span) => span.outcome(index, self.wanted.user_from, about),
            None => no_object(index),
        });
        Ok(())
    }
}

pub(super) const fn fields(object: Object<'_>, is_repaired: bool) -> Fields<'_> {
    Fields {
        object,
        unset: &[],
        is_repaired,
    }
}

/// The wanted ones of a list of attributes, as an object; without any, an empty one. `None`: it is no such list.
pub(super) fn attributes<'a>(
    list: Option<&'a RawValue>,
    wanted: &Wanted<'_>,
) -> Option<Object<'a>> {
    /// A second one of the same name makes both worthless; a third changes nothing.
    const OF_ONE_NAME_MAX: usize = 2;
    let mut kept: Vec<(Cow<'a, str>, &'a RawValue)> = Vec::new();
    let list = list.filter(|list| list.get() != "null");
    each(list, |raw| {
        let Attribute { key, value } = parsed(raw.get())?;
        let value = value.and_then(|value| {
            let written = [
                value.string_value,
                value.int_value,
                value.double_value,
                value.bool_value,
            ];
            written.into_iter().flatten().next()
        });
        let Some(value) = value.filter(|_| wanted.has(&key)) else {
            return Ok(());
        };
        if kept.iter().filter(|(name, _)| *name == key).count() < OF_ONE_NAME_MAX {
            kept.push((key, value));
        }
        Ok(())
    })
    .ok()?;
    Some(Object::of(kept))
}

struct Span<'a> {
    itself: Fields<'a>,
    attributes: Fields<'a>,
}

impl<'a> Span<'a> {
    fn outcome(&self, index: usize, user_from: &[String], about: Option<&Fields<'_>>) -> Outcome {
        let Some(endpoint) = self.inference() else {
            return Outcome::Skipped(Skip::NotInference);
        };
        self.claim(endpoint, user_from, about).outcome(index)
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

    fn claim(
        &self,
        endpoint: &'static str,
        user_from: &[String],
        about: Option<&Fields<'_>>,
    ) -> Claim<'a> {
        Claim {
            names: NAMES,
            source: Format::Otlp.as_str(),
            id: self.id(),
            time: self.instant("startTimeUnixNano"),
            user: self.user(user_from, about),
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

    fn user(&self, user_from: &[String], about: Option<&Fields<'_>>) -> Read<Cow<'a, str>> {
        let of_span = self.first(user_from)?;
        let found = match (of_span, about) {
            (Some(user), _) => Some(user),
            // It may live shorter than the span, or longer.
            (None, Some(resource)) => {
                let (_, user) = resource.first(user_from)?;
                user.map(|user| Cow::Owned(user.into_owned()))
            }
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
            || !matches!(self.attributes.at(ERROR_TYPE), Ok(None));
        let said = STATUSES.iter().find_map(|name| code(name));
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
