//! OpenTelemetry traces, OTLP/JSON: the spans of GenAI clients. `protobuf` writes its spans in JSON, one by one.
//!
//! Where this is written down:
//! - [OTLP, JSON encoding](https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): ids are hexadecimal, 64-bit integers may be texts, enums are numbers.
//! - [GenAI client spans](https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/): kind CLIENT, or INTERNAL for a model in the same process,
//!   `gen_ai.operation.name`. Spans of agents and tools (`invoke_agent`, `execute_tool`, …) stand around the same calls, and spans of servers are the
//!   other end of them: neither is counted. Frameworks and SDKs both write a span for one call: `calls` makes them one.
//! - Cached tokens: the conventions say that input tokens hold them, and instrumentations copy what the provider's API says, where Anthropic and Bedrock
//!   count them beside the input. So the provider decides, or the vendor of the model where the provider's name is one of the marketplace's.
//! - Older names: `gen_ai.system`, `gen_ai.usage.prompt_tokens` and `completion_tokens`
//!   ([deprecated attributes](https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/)), and `llm.request.type` of
//!   [OpenLLMetry](https://github.com/traceloop/openllmetry).

pub(super) mod protobuf;

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::calls::{Report, Reports};
use super::claim::{Claim, Read};
use super::items::no_object;
use super::structure::{each_element, each_member, without_bare_numbers};
use super::tokens::{Counted, Places, Tokens};
use super::{BodyError, Format, GatewaySettings, Outcomes};
use crate::domain::ids::{ID_CHARS_MAX, check_id};
use crate::gateways::fields::{Fields, Instant, missing};
use crate::gateways::json::{Object, Scalar, repaired};
use crate::gateways::kind::has_output;
use crate::gateways::outcome::Skip;
use crate::ops::config::CachedTokens;

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
    ("data.cacheWriteTokens", WRITTEN[0]),
    ("data.reasoningTokens", REASONING[0]),
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
const CACHED: [&str; 3] = [
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.details.cache_read_tokens",
];
const WRITTEN: [&str; 4] = [
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.details.cache_write_tokens",
];
const REASONING: [&str; 4] = [
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "gen_ai.usage.details.reasoning_tokens",
    "llm.usage.reasoning_tokens",
];
const TOTAL: [&str; 2] = ["gen_ai.usage.total_tokens", "llm.usage.total_tokens"];
const TOKENS: Places<'_> = Places {
    input: &INPUT,
    output: &OUTPUT,
    cached: &CACHED,
    written: &WRITTEN,
    reasoning: &REASONING,
    total: &TOTAL,
};
const RESPONSE_ID: &str = "gen_ai.response.id";
/// Providers whose APIs count cached tokens beside the input, by the beginnings of their names.
const OUTSIDE: [&str; 4] = ["anthropic", "aws.bedrock", "bedrock", "aws_bedrock"];
/// Providers whose APIs count them inside.
const INSIDE: [&str; 18] = [
    "openai",
    "azure",
    "az.",
    "gcp.",
    "google",
    "vertex",
    "gemini",
    "groq",
    "deepseek",
    "mistral",
    "cohere",
    "x_ai",
    "xai",
    "perplexity",
    "ibm.watsonx",
    "openrouter",
    "together",
    "fireworks",
];
/// Those among them that also host models of others, whose counts they pass on.
const HOSTS: [&str; 5] = ["azure", "az.", "gcp.", "google", "vertex"];
/// Models of the former, wherever they run.
const OUTSIDE_MODELS: [&str; 2] = ["claude", "anthropic."];
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
/// The kinds of spans that are not the client's side of a call: server, producer, consumer.
const OTHER_SIDES: [&str; 6] = [
    "2",
    "SPAN_KIND_SERVER",
    "4",
    "SPAN_KIND_PRODUCER",
    "5",
    "SPAN_KIND_CONSUMER",
];
/// What is not CLIENT then: a model in the same process, or a wrapper around its client.
const CLIENT: [&str; 2] = ["3", "SPAN_KIND_CLIENT"];
/// `STATUS_CODE_ERROR`.
const ERROR: [&str; 2] = ["2", "STATUS_CODE_ERROR"];
const SUCCESS: u16 = 200;
const FAILED: u16 = 500;

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
        let fixed: [&[&str]; 10] = [
            &[RESPONSE_ID],
            &WRITTEN,
            &TOTAL,
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
///
/// Lists are read element by element, where they stand: an empty span is two bytes of text, and would
/// be a hundred as a value. One that is broken costs only itself.
pub(super) fn read(body: &[u8], settings: &GatewaySettings) -> Result<Outcomes, BodyError> {
    let (text, is_repaired) = repaired(body);
    let text = without_bare_numbers(&text);
    let text = text.trim();
    if !text.starts_with('{') {
        return Err(UNREADABLE);
    }
    let mut spans = Spans::new(settings);
    let is_list = each_of(text, "resourceSpans", &mut |one| {
        let mut resource = None;
        each_member(one, |name, value| {
            if name == "\"resource\"" {
                resource = Some(value);
            }
            Ok(())
        })?;
        let about = attributes_in(resource.unwrap_or("{}"), &spans.wanted);
        let about = about.map(|object| fields(object, is_repaired));
        let is_list = each_of(one, "scopeSpans", &mut |scope| {
            let is_list = each_of(scope, "spans", &mut |span| {
                spans.add(span, about.as_ref(), is_repaired)
            })?;
            spans.refuse_unless(is_list)
        })?;
        spans.refuse_unless(is_list)
    })?;
    // Nothing was found in what is not JSON either: the sender should know.
    let is_json = || serde_json::from_str::<IgnoredAny>(text).is_ok();
    match !is_list || spans.nothing_read() && (spans.seen > 0 || !is_json()) {
        true => Err(UNREADABLE),
        false => spans.finish(),
    }
}

const UNREADABLE: BodyError = BodyError::Unreadable {
    wanted: "ExportTraceServiceRequest of OTLP/JSON",
};

/// Visits the elements of an object's list. One that is absent or null is empty, as in all of
/// protobuf's JSON. False: it is not such an object, or not a list.
fn each_of<'a>(
    object: &'a str,
    list: &str,
    visit: &mut dyn FnMut(&'a str) -> Result<(), BodyError>,
) -> Result<bool, BodyError> {
    let mut is_list = object.starts_with('{');
    each_member(object, |name, value| {
        if name.trim_matches('"') != list || value == "null" {
            return Ok(());
        }
        match value.starts_with('[') {
            true => each_element(value, &mut *visit).map(drop),
            false => {
                is_list = false;
                Ok(())
            }
        }
    })?;
    Ok(is_list)
}

/// The wanted ones among the attributes of a span or resource.
fn attributes_in<'a>(object: &'a str, wanted: &Wanted<'_>) -> Option<Object<'a>> {
    let object = Object::parse(object)?;
    attributes(object.raw("attributes").ok()?, wanted)
}

/// Spans on their way to outcomes.
pub(super) struct Spans<'u> {
    settings: &'u GatewaySettings,
    pub wanted: Wanted<'u>,
    seen: usize,
    reports: Reports,
    outcomes: Outcomes,
}

impl<'u> Spans<'u> {
    pub fn new(settings: &'u GatewaySettings) -> Spans<'u> {
        Spans {
            settings,
            wanted: Wanted::new(&settings.otlp_user),
            seen: 0,
            reports: Reports::default(),
            outcomes: Outcomes::default(),
        }
    }

    /// Whether there is neither an inference span nor anything that was passed over.
    fn nothing_read(&self) -> bool {
        self.reports.is_empty() && self.outcomes.skipped.is_empty()
    }

    /// Keeps a refusal in place of spans that cannot be found.
    pub fn refuse_unless(&mut self, is_list: bool) -> Result<(), BodyError> {
        if is_list {
            return Ok(());
        }
        let index = self.seen;
        self.seen += 1;
        self.outcomes.keep(index, no_object(index))
    }

    /// One more span, which is about something else.
    pub fn pass_over(&mut self) {
        self.seen += 1;
        self.outcomes.skip(Skip::NotInference);
    }

    /// Reads one more span, of this resource.
    pub fn add(
        &mut self,
        text: &str,
        about: Option<&Fields<'_>>,
        is_repaired: bool,
    ) -> Result<(), BodyError> {
        if !may_be_inference(text) {
            self.pass_over();
            return Ok(());
        }
        let index = self.seen;
        self.seen += 1;
        let span = Object::parse(text).and_then(|object| {
            let attributes = attributes(object.raw("attributes").ok()?, &self.wanted)?;
            Some(Span {
                itself: fields(object, is_repaired),
                attributes: fields(attributes, is_repaired),
            })
        });
        let Some(span) = span else {
            return self.outcomes.keep(index, no_object(index));
        };
        match span.endpoint(self.settings) {
            Ok(endpoint) => self
                .reports
                .push(span.report(index, endpoint, self.settings, about)),
            Err(skip) => {
                self.outcomes.skip(skip);
                Ok(())
            }
        }
    }

    pub fn finish(mut self) -> Result<Outcomes, BodyError> {
        self.reports.finish(&mut self.outcomes)?;
        Ok(self.outcomes)
    }
}

/// Whether the span names an operation, or may do so in escapes. Most spans of a trace do not, and
/// there may be a million of them in a small packed body.
fn may_be_inference(span: &str) -> bool {
    OPERATIONS.iter().any(|name| span.contains(name)) || span.contains("\\u")
}

pub(super) const fn fields(object: Object<'_>, is_repaired: bool) -> Fields<'_> {
    Fields {
        object,
        unset: &[],
        is_repaired,
    }
}

/// The wanted ones of a list of attributes, as an object; without any, an empty one. `None`: it is
/// not such a list.
pub(super) fn attributes<'a>(
    list: Option<&'a RawValue>,
    wanted: &Wanted<'_>,
) -> Option<Object<'a>> {
    let Some(list) = list.filter(|list| list.get() != "null") else {
        return Some(Object::of([]));
    };
    if !list.get().starts_with('[') {
        return None;
    }
    let mut kept: Vec<(Cow<'a, str>, &'a RawValue)> = Vec::new();
    each_element(list.get(), |text| {
        let Attribute { key, value } = serde_json::from_str(text)?;
        if let Some(value) = value
            .and_then(AnyValue::written)
            .filter(|_| wanted.has(&key))
        {
            keep(&mut kept, key, value);
        }
        Ok::<(), serde_json::Error>(())
    })
    .ok()?;
    Some(Object::of(kept))
}

/// Some SDKs export a key twice. Equal values say the same; of different ones neither can be
/// believed, and then a third changes nothing.
fn keep<'a>(kept: &mut Vec<(Cow<'a, str>, &'a RawValue)>, key: Cow<'a, str>, value: &'a RawValue) {
    let bare = |raw: &'a RawValue| raw.get().trim_matches('"');
    let mut same_name = kept.iter().filter(|(name, _)| *name == key);
    let (first, second) = (same_name.next(), same_name.next());
    let is_known = first.is_some_and(|(_, known)| bare(known) == bare(value));
    if !is_known && second.is_none() {
        kept.push((key, value));
    }
}

impl<'a> AnyValue<'a> {
    fn written(self) -> Option<&'a RawValue> {
        let values = [
            self.string_value,
            self.int_value,
            self.double_value,
            self.bool_value,
        ];
        values.into_iter().flatten().next()
    }
}

struct Span<'a> {
    itself: Fields<'a>,
    attributes: Fields<'a>,
}

impl<'a> Span<'a> {
    /// The endpoint, if this is inference as a client saw it.
    fn endpoint(&self, settings: &GatewaySettings) -> Result<Read<&'static str>, Skip> {
        let operation = match self.first(&OPERATIONS) {
            Ok(Some(operation)) => operation,
            Ok(None) => return Err(Skip::NotInference),
            // It says that it is an operation of a model, and not which one.
            Err(refusal) => return Ok(Err(refusal)),
        };
        let known = ENDPOINTS.iter().find(|(name, _)| *name == operation);
        let (_, endpoint) = known.ok_or(Skip::NotInference)?;
        let is_client = self.itself_is("kind", &CLIENT);
        let is_internal = !is_client && !self.itself_is("kind", &OTHER_SIDES);
        match is_client || (is_internal && settings.otlp_internal_spans) {
            true => Ok(Ok(endpoint)),
            false => Err(Skip::OtherSide),
        }
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

    fn report(
        &self,
        index: usize,
        endpoint: Read<&'static str>,
        settings: &GatewaySettings,
        about: Option<&Fields<'_>>,
    ) -> Report {
        let text = |path| {
            let text = self.itself.text(path).ok().flatten();
            text.filter(|text| text.len() <= ID_CHARS_MAX)
        };
        let trace = text("traceId").map(|trace| trace.to_ascii_lowercase());
        let in_trace = |id: Cow<'_, str>| Some(format!("{}/{id}", trace.as_deref()?));
        let in_lowercase = |id: Cow<'_, str>| in_trace(id.to_ascii_lowercase().into());
        let response = self.attributes.text(RESPONSE_ID).ok().flatten();
        let response = response.filter(|id| id.len() <= ID_CHARS_MAX);
        Report {
            index,
            call: response.and_then(in_trace),
            span: text("spanId").and_then(in_lowercase),
            parent: text("parentSpanId").and_then(in_lowercase),
            claim: self.claim(endpoint, settings, about).into_owned(),
        }
    }

    fn claim(
        &self,
        endpoint: Read<&'static str>,
        settings: &GatewaySettings,
        about: Option<&Fields<'_>>,
    ) -> Claim<'a> {
        let provider = self.first(&PROVIDERS);
        let configured = provider.as_ref().ok().and_then(|provider| {
            let configured = settings.providers.get(provider.as_deref()?)?;
            Some(Cow::Owned(configured.clone()))
        });
        let status = self.status();
        let has_output =
            status < 300 && endpoint.as_ref().is_ok_and(|endpoint| has_output(endpoint));
        Claim {
            names: NAMES,
            source: Format::Otlp.as_str(),
            id: self.id(),
            time: self.instant("startTimeUnixNano"),
            user: self.user(&settings.otlp_user, about),
            provider: configured.map_or(provider, |configured| Ok(Some(configured))),
            endpoint: endpoint.map(Cow::Borrowed),
            model: self.first(&MODELS),
            status: Ok(status),
            latency_ms: self.latency_ms(),
            tokens: self.tokens(settings, has_output),
            error_message: None,
            is_stream: false,
            is_provider_made_up: false,
            is_failure_unattributed: false,
        }
    }

    /// The id that the provider gave to its response, if it can be unique: some servers write a
    /// constant, or one of a thousand numbers (`chatcmpl-417`), and a client may choose the trace.
    fn response_id(&self) -> Option<Cow<'a, str>> {
        const UNIQUE_CHARS_MIN: usize = 16;
        let id = self.attributes.text(RESPONSE_ID).ok().flatten()?;
        (UNIQUE_CHARS_MIN..=ID_CHARS_MAX)
            .contains(&id.len())
            .then_some(id)
    }

    /// The trace with the response that the provider named, which all spans of a call share; without
    /// one, with the span. The same in every export of it.
    fn id(&self) -> Read<Cow<'a, str>> {
        let part = |path| self.itself.text(path)?.ok_or_else(|| missing(path));
        let trace = part("traceId")?.to_ascii_lowercase();
        let span = part("spanId")?.to_ascii_lowercase();
        let response = self.response_id();
        let whole = format!("{trace}/{}", response.as_deref().unwrap_or(&span));
        Ok(Cow::Owned(match check_id(&whole) {
            Ok(()) => whole,
            Err(_) => format!("{trace}/{span}"),
        }))
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
        let of_span = self.attributes.user(user_from);
        if let Ok(Some(user)) = of_span {
            return Ok(user);
        }
        let of_resource = about.map(|resource| resource.user(user_from)).transpose()?;
        match (of_resource.flatten(), of_span?) {
            // It may live shorter than the span, or longer.
            (Some(user), _) => Ok(Cow::Owned(user.into_owned())),
            (None, user) => user.ok_or_else(|| missing(&user_from.join(" or "))),
        }
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

    fn tokens(&self, settings: &GatewaySettings, has_output: bool) -> Read<Tokens> {
        let counted = Counted::read(&self.attributes, &TOKENS)?;
        let inside = settings
            .otlp_cached_tokens
            .unwrap_or_else(|| self.cached_tokens());
        counted.tokens(inside, CACHED[0], has_output)
    }

    /// Where the provider counts cached tokens.
    fn cached_tokens(&self) -> CachedTokens {
        let lowercase = |names: &[&str]| {
            let text = self.first(names).ok().flatten();
            text.map(|text| text.to_ascii_lowercase())
                .unwrap_or_default()
        };
        let (provider, model) = (lowercase(&PROVIDERS), lowercase(&MODELS));
        let begins = |names: &[&str]| names.iter().any(|name| provider.starts_with(name));
        let is_claude = OUTSIDE_MODELS.iter().any(|mark| model.contains(mark));
        if begins(&INSIDE) && !(begins(&HOSTS) && is_claude) {
            return CachedTokens::Inside;
        }
        match begins(&OUTSIDE) || is_claude {
            true => CachedTokens::Outside,
            false => CachedTokens::Inside,
        }
    }
}
