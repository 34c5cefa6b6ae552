//! OpenTelemetry traces, OTLP/JSON: the spans of GenAI clients. `protobuf` writes its spans in
//! JSON, one by one.
//!
//! Where this is written down:
//! - [OTLP, JSON encoding](https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): ids
//!   are hexadecimal, 64-bit integers may be texts, enums are numbers.
//! - [GenAI client spans](https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/): kind
//!   CLIENT, or INTERNAL for a model in the same process, `gen_ai.operation.name`. Spans of agents
//!   and tools (`invoke_agent`, `execute_tool`, …) stand around the same calls, and spans of
//!   servers are the other end of them: neither is counted. Frameworks and SDKs both write a span
//!   for one call: `calls` makes them one.
//! - Cached tokens: the conventions say that input tokens hold them. Some instrumentations add them
//!   up, and are known by their scopes: OpenLLMetry's for Anthropic (not its one for Bedrock),
//!   Pydantic AI, Logfire, OpenTelemetry's own. The others copy what the provider's API says, where
//!   Anthropic and Bedrock count them beside the input. So the provider decides, or the vendor of
//!   the model where the provider's name is one of the marketplace's.
//! - Older names: `gen_ai.system`, `gen_ai.usage.prompt_tokens` and `completion_tokens`
//!   ([deprecated
//!   attributes](https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/)), and
//!   `llm.request.type` of [OpenLLMetry](https://github.com/traceloop/openllmetry).
//! - The [Vercel AI SDK](https://ai-sdk.dev/docs/ai-sdk-core/telemetry) has operations of its own,
//!   `ai.operationId`.
//! - LiteLLM's `otel` callback writes its call types as operations: `litellm`.

mod attributes;
mod links;
mod litellm;
mod names;
pub(super) mod protobuf;
mod span;

use serde::de::IgnoredAny;

use self::attributes::{WantedAttributes, attributes, attributes_in};
use self::links::{Link, Links};
use self::names::{COUNTS, LITELLM_CALL_TYPE, OPERATIONS, SUMMING_SCOPES};

use self::span::Span;
use super::calls::Reports;
use super::items::{broken_part, no_object};
use super::structure::{
    each_element, each_member, each_value, member, without_bare_numbers, without_mark,
};
use super::{BodyError, GatewaySettings, ITEMS_MAX, Outcomes};
use crate::gateways::fields::Fields;
use crate::gateways::json::{Object, Scalar, repaired};
use crate::gateways::litellm::UNSET;
use crate::gateways::outcome::Skip;

/// The outcomes of an export request, one per span. Several requests may follow one another, or one
/// per line, as the collector's file exporter writes them.
///
/// Lists are read element by element, where they stand: an empty span is two bytes of text, and
/// would be a hundred as a value. One that is broken costs only itself.
pub(super) fn read(body: &[u8], settings: &GatewaySettings) -> Result<Outcomes, BodyError> {
    let (text, is_repaired) = repaired(body);
    let text = without_bare_numbers(&text);
    let mut spans = Spans::new(settings);
    let (mut readable, mut is_json) = (0, true);
    each_export(without_mark(text.trim()), |export| {
        // Nothing was found in what is not JSON either: the sender should know.
        is_json &= serde_json::from_str::<IgnoredAny>(export).is_ok();
        let is_export = each_resource(export, &mut spans, is_repaired)?;
        readable += usize::from(is_export);
        spans.refuse_unless(is_export)
    })?;
    match readable == 0 || spans.nothing_read() && (spans.seen > 0 || !is_json) {
        true => Err(UNREADABLE),
        false => spans.finish(),
    }
}

const UNREADABLE: BodyError = BodyError::Unreadable {
    wanted: "an ExportTraceServiceRequest in OTLP/JSON",
};

/// Visits the requests of a body. A broken one ends with its line, if each has one of its own.
fn each_export<'a>(
    text: &'a str,
    mut visit: impl FnMut(&'a str) -> Result<(), BodyError>,
) -> Result<(), BodyError> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let is_whole = |line: &str| serde_json::from_str::<IgnoredAny>(line).is_ok();
    let is_lines = lines.clone().nth(1).is_some()
        && (lines.clone().next().is_some_and(is_whole)
            || lines.all(|line| line.starts_with('{') && line.ends_with('}')));
    let mut exports = Vec::new();
    let mut found = Ok(());
    let mut keep = |export: &'a str| match exports.len() {
        ITEMS_MAX => found = Err(BodyError::TooManyItems),
        _ => exports.push(export),
    };
    match is_lines {
        true => text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .for_each(keep),
        false => each_value(text, &mut keep),
    }
    found?;
    exports.into_iter().try_for_each(&mut visit)
}

/// Reads the spans of one request. False: it is not one.
fn each_resource(
    export: &str,
    spans: &mut Spans<'_>,
    is_repaired: bool,
) -> Result<bool, BodyError> {
    each_of(export, "resourceSpans", &[], &mut |one| {
        let about = member(one, "resource").filter(|text| *text != "null");
        let about = attributes_in(about.unwrap_or("{}"), &spans.wanted);
        let resource = about.map(|object| fields(object, is_repaired));
        let known = ["resource", "schemaUrl"];
        let is_list = each_of(one, "scopeSpans", &known, &mut |scope| {
            let around = Surroundings {
                resource: resource.as_ref(),
                scope: Scope::of_text(member(scope, "scope").unwrap_or("null")),
            };
            let is_list = each_of(scope, "spans", &["scope", "schemaUrl"], &mut |span| {
                spans.add_text(span, &around, is_repaired)
            })?;
            spans.refuse_unless(is_list)
        })?;
        spans.refuse_unless(is_list)
    })
}

/// Visits the elements of an object's list. One that is absent or null is empty, as in all of
/// protobuf's JSON; but an object that has only members of other names (`known` are those beside
/// the list) is not what it should be. False: it is not such an object, or not a list.
fn each_of<'a>(
    object: &'a str,
    list: &str,
    known: &[&str],
    visit: &mut dyn FnMut(&'a str) -> Result<(), BodyError>,
) -> Result<bool, BodyError> {
    let mut is_list = object.starts_with('{');
    let (mut is_there, mut has_others) = (false, false);
    each_member(object, |name, value| {
        let name = name.trim_matches('"');
        is_there |= name == list;
        has_others |= name != list && !known.contains(&name);
        if name != list || value == "null" {
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
    Ok(is_list && (is_there || !has_others))
}

/// What is around a span in its request.
pub(super) struct Surroundings<'s, 'a> {
    /// Attributes of its resource; `None`: they cannot be read.
    pub resource: Option<&'s Fields<'a>>,
    pub scope: Scope,
}

/// Which instrumentation wrote a span, as far as that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The name of the scope cannot be read.
    Broken,
    /// LiteLLM's own.
    Litellm,
    /// One that adds cached tokens to the input, whatever the provider.
    Summing,
    /// Any other, also one without a name.
    Other,
}

impl Scope {
    pub fn of_name(name: &str) -> Scope {
        match name {
            name if litellm::is_scope(name) => Scope::Litellm,
            name if SUMMING_SCOPES.iter().any(|begin| name.starts_with(begin)) => Scope::Summing,
            _ => Scope::Other,
        }
    }

    /// Of a scope in JSON.
    fn of_text(scope: &str) -> Scope {
        if scope == "null" {
            return Scope::Other;
        }
        match Object::parse(scope).map(|scope| scope.at("name")) {
            Some(Ok(Some(Scalar::Text(name)))) => Scope::of_name(&name),
            Some(Ok(None)) => Scope::Other,
            _ => Scope::Broken,
        }
    }
}

/// Spans on their way to outcomes.
pub(super) struct Spans<'u> {
    settings: &'u GatewaySettings,
    pub wanted: WantedAttributes<'u>,
    seen: usize,
    reports: Reports,
    links: Links,
    outcomes: Outcomes,
}

/// A span in JSON.
pub(super) struct SpanText<'t> {
    pub text: &'t str,
    /// A text of it was not UTF-8.
    pub is_repaired: bool,
    /// It names token counts.
    pub has_counts: bool,
}

impl<'u> Spans<'u> {
    pub fn new(settings: &'u GatewaySettings) -> Spans<'u> {
        Spans {
            settings,
            wanted: WantedAttributes::new(settings),
            seen: 0,
            reports: Reports::default(),
            links: Links::default(),
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

    /// Keeps a refusal in place of a part of the body, one span or more.
    fn refuse_part(&mut self) -> Result<(), BodyError> {
        let index = self.seen;
        self.seen += 1;
        self.outcomes.keep(index, broken_part(index))
    }

    /// One more span, which is about something else.
    pub fn pass_over(&mut self, link: Option<Link>) {
        self.seen += 1;
        self.outcomes.skip(Skip::NotInference);
        self.links.extend(link);
    }

    /// Reads one more span as it is written.
    fn add_text(
        &mut self,
        text: &str,
        around: &Surroundings<'_, '_>,
        is_repaired: bool,
    ) -> Result<(), BodyError> {
        if text == "null" {
            self.seen += 1;
            self.outcomes.skip(Skip::Empty);
            return Ok(());
        }
        let names = |names: &[&str]| names.iter().any(|name| text.contains(name));
        let may_have_escapes = text.contains("\\u");
        let is_named = names(&OPERATIONS) || names(&[LITELLM_CALL_TYPE]);
        if !text.starts_with('{') || is_named || names(&COUNTS) || may_have_escapes {
            let span = SpanText {
                text,
                is_repaired,
                has_counts: names(&COUNTS),
            };
            return self.add(&span, around);
        }
        self.pass_over(Link::of_text(text));
        Ok(())
    }

    /// Reads one more span.
    pub fn add(
        &mut self,
        written: &SpanText<'_>,
        around: &Surroundings<'_, '_>,
    ) -> Result<(), BodyError> {
        let index = self.seen;
        self.seen += 1;
        let SpanText {
            text, is_repaired, ..
        } = *written;
        let Some((object, attributes)) = Object::parse(text).and_then(|object| {
            let attributes = attributes(object.raw("attributes").ok()?, &self.wanted)?;
            Some((object, attributes))
        }) else {
            return self.outcomes.keep(index, no_object(index));
        };
        let is_litellm = litellm::is_call(&attributes, around.scope);
        let unfolded = is_litellm.then(|| litellm::Unfolded::of(&attributes));
        let objects = unfolded.iter().flat_map(|unfolded| &unfolded.objects);
        let objects = objects.map(|(name, object)| (*name, &**object));
        let span = Span {
            itself: fields(object, is_repaired),
            attributes: Fields {
                object: attributes.with(objects),
                unset: if is_litellm { UNSET } else { &[] },
                is_repaired,
            },
            has_counts: written.has_counts,
            litellm: unfolded.as_ref(),
        };
        match span.endpoint(self.settings) {
            Ok(endpoint) => {
                self.reports
                    .push(span.report(index, endpoint, self.settings, &self.wanted, around))
            }
            Err(skip) => {
                if skip == Skip::NotInference && span.first(&OPERATIONS) == Ok(None) {
                    self.links.extend(Link::of_text(text));
                }
                self.outcomes.skip(skip);
                Ok(())
            }
        }
    }

    pub fn finish(mut self) -> Result<Outcomes, BodyError> {
        self.links.bridge(&mut self.reports);
        self.reports.finish(&mut self.outcomes)?;
        Ok(self.outcomes)
    }
}

pub(super) const fn fields(object: Object<'_>, is_repaired: bool) -> Fields<'_> {
    Fields {
        object,
        unset: &[],
        is_repaired,
    }
}
