//! Spans that LiteLLM's `otel` callback writes: what they say besides the conventions.
//!
//! Where this is written down:
//! - [`opentelemetry.py`](https://github.com/BerriAI/litellm/blob/main/litellm/integrations/opentelemetry.py),
//!   and
//!   [`otel/`](https://github.com/BerriAI/litellm/tree/main/litellm/integrations/otel), its successor
//!   (`LITELLM_OTEL_V2`). The fixtures of the tests are what LiteLLM 1.106 really exported.
//! - **the call type** decides the endpoint, as it does for the `generic_api` callback. The
//!   operation is the call type again (`acompletion`), nothing (where texts are not captured), or,
//!   with the newest conventions, `chat` for whatever is not an embedding, images too.
//! - **the user** is the one to whom the key belongs, where the payload of `generic_api` has it
//!   too: so one setting is for both. Attributes that a span could have from its client are not
//!   looked at.
//! - **the provider** is the deployment, whose id is in the JSON of `hidden_params`;
//!   `gen_ai.system` is empty for most calls.
//! - **cached tokens** are counted inside the input, whatever the provider. Which they are, stands
//!   in `metadata.usage_object`, as Python shows a dictionary.
//! - **one call** is one span with these attributes: those around it (`Received Proxy Server
//!   Request`, FastAPI's) and within (`raw_gen_ai_request`) name no operation.

use std::borrow::Cow;
use std::str::Chars;

use serde_json::value::RawValue;

use super::{Scope, names};
use crate::domain::event::Reason;
use crate::domain::time::Millis;
use crate::gateways::GatewaySettings;
use crate::gateways::claim::Read;
use crate::gateways::fields::{Fields, without_query};
use crate::gateways::json::{Object, Scalar};
use crate::gateways::litellm::call_types::{base_name, endpoint_of, is_housekeeping};
use crate::gateways::litellm::payload::{CACHED, IMAGES, REASONING, SECONDS, WRITTEN};
use crate::gateways::litellm::provider::{Provider, Route};
use crate::gateways::litellm::{CALL_ORIGIN, HEALTH_CHECK, KEY_NAME, KEY_USER, ROUTE};
use crate::gateways::outcome::{Refusal, Skip};
use crate::gateways::structure::without_bare_numbers;
use crate::gateways::tokens::Places;
use crate::gateways::unknown::says_nothing;

/// The scope of its spans, and of spans of its own work.
const SCOPE: &str = "litellm";
/// Only its spans about calls have this.
pub(super) const CALL_ID: &str = "litellm.call_id";
/// Where the call type is: the later ones have it in some modes only.
const CALL_TYPES: [&str; 3] = [
    names::LITELLM_CALL_TYPE,
    "llm.request.type",
    "gen_ai.operation.name",
];
/// Which feature of LiteLLM made a call that no client made.
const PURPOSE: &str = "litellm.request.purpose";
const ROUTES: [&str; 3] = [ROUTE, "litellm.request.route", "http.route"];
const MODEL_GROUP: &str = "litellm.model_group";
/// With the vendor in front, most of the time: `openai/gpt-4o`.
const VENDOR_MODEL: &str = "litellm.provider.model";
/// The model of the deployment, as the payload of `generic_api` has it. The others may be the name
/// that clients know.
pub(super) const MODELS: [&str; 3] = [
    VENDOR_MODEL,
    "gen_ai.request.model",
    "gen_ai.response.model",
];
/// Texts that hold objects: one in JSON, one as Python shows it.
const HIDDEN: &str = "hidden_params";
const USAGE: &str = "metadata.usage_object";
const DEPLOYMENT: &str = "hidden_params.model_id";
/// Only answers from LiteLLM's cache have it.
const CACHE_KEY: &str = "hidden_params.cache_key";
const STREAMS: [&str; 3] = [
    "llm.is_streaming",
    "gen_ai.request.stream",
    "litellm.request.streaming",
];
/// What the successor writes in front of the names of metadata.
const SUCCESSOR: &str = "litellm.";
/// The customer whom a request names: in the payload of `generic_api`, and in spans.
const CUSTOMER: &str = "end_user";
const CUSTOMERS: [&str; 2] = ["llm.user", "litellm.end_user.id"];

/// Attributes that are read of these spans alone.
const ATTRIBUTES: [&str; 16] = [
    CALL_ID,
    CALL_TYPES[0],
    PURPOSE,
    ROUTES[0],
    ROUTES[1],
    ROUTES[2],
    MODEL_GROUP,
    VENDOR_MODEL,
    HIDDEN,
    USAGE,
    STREAMS[0],
    STREAMS[1],
    STREAMS[2],
    KEY_NAME,
    KEY_USER,
    CALL_ORIGIN,
];

pub(super) const TOKENS: Places<'_> = Places {
    input: &names::INPUT,
    output: &names::OUTPUT,
    cached: &[names::CACHED[0], CACHED[0], CACHED[1], CACHED[2]],
    written: &[names::WRITTEN[0], WRITTEN[0], WRITTEN[1], WRITTEN[2]],
    reasoning: &REASONING,
    total: &names::TOTAL,
};

/// Whether a scope is LiteLLM's.
pub(super) fn is_scope(name: &str) -> bool {
    name.starts_with(SCOPE)
}

/// Whether an attribute is read of LiteLLM's spans alone.
pub(super) fn has_attribute(name: &str) -> bool {
    ATTRIBUTES.contains(&name)
}

/// Whether a span is about a call of LiteLLM's. One with its id is, whatever the scope; and one with
/// what it writes of every call, where the scope cannot be read.
pub(super) fn is_call(attributes: &Object<'_>, scope: Scope) -> bool {
    let has = |name| attributes.at(name) != Ok(None);
    match scope {
        Scope::Litellm => true,
        Scope::Broken => [CALL_ID, CALL_TYPES[0], HIDDEN, USAGE].into_iter().any(has),
        Scope::Summing | Scope::Other => has(CALL_ID),
    }
}

/// Where the user of such a span is: the fields of `http.gateways.litellm_user`, by their names in
/// spans. What an operator has set for all spans comes before.
pub(super) fn user_places(settings: &GatewaySettings) -> Vec<String> {
    let is_set = settings.otlp_user != GatewaySettings::default().otlp_user;
    let own = settings.otlp_user.iter().filter(|_| is_set).cloned();
    let names = |place: &String| match &**place {
        CUSTOMER => CUSTOMERS.map(str::to_owned).to_vec(),
        metadata if metadata.starts_with("metadata.") => {
            vec![place.clone(), format!("{SUCCESSOR}{metadata}")]
        }
        other => vec![other.to_owned()],
    };
    own.chain(settings.litellm_user.iter().flat_map(names))
        .collect()
}

/// The objects that texts of a span hold.
#[derive(Default)]
pub(super) struct Unfolded {
    /// By their names.
    pub objects: Vec<(&'static str, Box<RawValue>)>,
    /// Those that cannot be read: an SDK may cut long texts
    /// (`OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`).
    unreadable: Vec<&'static str>,
}

impl Unfolded {
    pub fn of(attributes: &Object<'_>) -> Unfolded {
        let mut unfolded = Unfolded::default();
        for name in [HIDDEN, USAGE] {
            let text = match attributes.at(name) {
                Ok(None) => continue,
                Ok(Some(Scalar::Text(text))) if says_nothing(&text) => continue,
                Ok(Some(Scalar::Text(text))) => text,
                _ => {
                    unfolded.unreadable.push(name);
                    continue;
                }
            };
            let json = || RawValue::from_string(without_bare_numbers(&text).into_owned()).ok();
            let python = || RawValue::from_string(json_of(&text)?).ok();
            match json().or_else(python) {
                Some(object) if object.get().starts_with('{') => {
                    unfolded.objects.push((name, object));
                }
                Some(null) if null.get() == "null" => {}
                _ => unfolded.unreadable.push(name),
            }
        }
        unfolded
    }

    /// Refuses a span that does not tell which deployment served it, nor whether any did.
    pub fn check_provider(&self) -> Read<()> {
        self.check(HIDDEN, "so it is not known who served this call")
    }

    /// Refuses a span that does not tell which of its tokens are charged at other prices.
    pub fn check_tokens(&self) -> Read<()> {
        self.check(USAGE, "so it is not known which tokens were cached")
    }

    fn check(&self, name: &'static str, so: &str) -> Read<()> {
        if !self.unreadable.contains(&name) {
            return Ok(());
        }
        let problem = format!(
            "cannot be read, {so}: it is cut (see OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT), or in a form \
             that is not known"
        );
        Err(Refusal::new(Reason::Malformed, name, &problem))
    }
}

/// A dictionary as Python shows it, in JSON: `{'cached_tokens': 1000, 'audio_tokens': None}`.
/// `None`: it is cut, or a text in it is. What else is not plain, JSON's parser finds.
fn json_of(python: &str) -> Option<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    let mut json = String::with_capacity(python.len());
    let mut rest = python;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '\'' | '"' => {
                let (text, after) = text_of(rest)?;
                json.push_str(&serde_json::to_string(&text).ok()?);
                after
            }
            _ if is_word(first) => {
                let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                json.push_str(match word {
                    "None" => "null",
                    "True" => "true",
                    "False" => "false",
                    "nan" | "inf" | "-inf" => "null",
                    // What is not a number is not JSON.
                    number => number,
                });
                after
            }
            other => {
                json.push(other);
                &rest[other.len_utf8()..]
            }
        };
    }
    Some(json)
}

/// What a text says that begins with its quote, as Python shows it, and what follows after it.
/// `None`: it does not end.
fn text_of(shown: &str) -> Option<(String, &str)> {
    let mut chars = shown.chars();
    let quote = chars.next()?;
    let mut text = String::new();
    loop {
        let next = match chars.next()? {
            end if end == quote => return Some((text, chars.as_str())),
            '\\' => match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'x' => of_number(&mut chars, 2)?,
                'u' => of_number(&mut chars, 4)?,
                'U' => of_number(&mut chars, 8)?,
                itself => itself,
            },
            plain => plain,
        };
        text.push(next);
    }
}

/// The character whose number stands in so many hexadecimal digits. Half of a pair, which Python
/// shows too, is no character.
fn of_number(chars: &mut Chars<'_>, digits: usize) -> Option<char> {
    let number: String = chars.take(digits).collect();
    let number = u32::from_str_radix(&number, 16).ok()?;
    Some(char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER))
}

/// The endpoint of the call, if the span names its type; `None`: what the conventions say counts.
pub(super) fn endpoint<'a>(attributes: &Fields<'a>) -> Result<Option<Read<Cow<'a, str>>>, Skip> {
    let said = |name| attributes.text(name).ok().flatten();
    let is_health_check = said(KEY_NAME).as_deref() == Some(HEALTH_CHECK);
    if is_health_check && said(KEY_USER).is_none() {
        return Err(Skip::HealthCheck);
    }
    if said(CALL_ORIGIN).is_some() || said(PURPOSE).is_some() {
        return Err(Skip::GatewayCall);
    }
    for name in CALL_TYPES {
        let call = match attributes.text(name) {
            Ok(Some(call)) => call,
            Ok(None) => continue,
            Err(refusal) => return Ok(Some(Err(refusal))),
        };
        if is_housekeeping(base_name(&call)) {
            return Err(Skip::Housekeeping);
        }
        if let Some(endpoint) = endpoint_of(&call) {
            return Ok(Some(Ok(Cow::Borrowed(endpoint))));
        }
        // A call that is passed through, or of a type that is new: rating decides whether the route
        // is a service. An operation of the conventions is not such a type.
        if name != names::OPERATIONS[0]
            && let Ok((_, Some(route))) = attributes.first(&ROUTES)
        {
            return Ok(Some(Ok(without_query(route))));
        }
    }
    Ok(None)
}

/// Whether the answer came from LiteLLM's cache.
pub(super) fn is_cache_hit(attributes: &Fields<'_>) -> bool {
    matches!(attributes.text(CACHE_KEY), Ok(Some(_)))
}

pub(super) fn is_stream(attributes: &Fields<'_>) -> bool {
    STREAMS.iter().any(|name| match attributes.at(name) {
        Ok(Some(Scalar::Bool(is))) => is,
        Ok(Some(Scalar::Text(text))) => text.eq_ignore_ascii_case("true"),
        _ => false,
    })
}

/// Length of the audio that was transcribed.
pub(super) fn audio_millis(attributes: &Fields<'_>) -> Option<u64> {
    attributes.seconds(SECONDS[0])
}

/// How many images came out, if the provider counted them.
pub(super) fn image_count(attributes: &Fields<'_>) -> Option<u64> {
    attributes.count(IMAGES).ok().flatten()
}

/// Who served the call, as for the `generic_api` callback; a vendor stands for the account that is
/// configured for it, as in all spans.
pub(super) fn provider<'a>(
    attributes: &Fields<'a>,
    settings: &GatewaySettings,
    at: Option<Millis>,
) -> Provider<'a> {
    let vendor = match attributes.first(&names::PROVIDERS) {
        Ok((_, None)) => Ok(vendor_of_model(attributes)),
        Ok((_, vendor)) => Ok(vendor),
        Err(refusal) => Err(refusal),
    };
    let route = Route {
        deployment: attributes.text(DEPLOYMENT),
        group: attributes.text(MODEL_GROUP).ok().flatten(),
        vendor,
    };
    let found = Provider::of(route, settings, at);
    let is_vendor = found.is_made_up || found.is_guessed;
    let vendor = found.provider.as_ref().ok().filter(|_| is_vendor);
    match vendor.and_then(|vendor| settings.provider_of([vendor.as_deref(), None], at)) {
        Some(account) => Provider {
            provider: Ok(Some(Cow::Owned(account.to_owned()))),
            is_made_up: false,
            is_guessed: false,
        },
        None => found,
    }
}

fn vendor_of_model<'a>(attributes: &Fields<'a>) -> Option<Cow<'a, str>> {
    let model = attributes.text(VENDOR_MODEL).ok().flatten()?;
    let (vendor, _) = model.split_once('/')?;
    Some(Cow::Owned(vendor.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::json_of;

    #[test]
    fn a_dictionary_as_python_shows_it_is_read_as_json() {
        for (python, json) in [
            ("{}", Some("{}")),
            (
                "{'prompt_tokens': 1200, 'details': {'cached_tokens': 1000, 'audio_tokens': None}}",
                Some(
                    r#"{"prompt_tokens": 1200, "details": {"cached_tokens": 1000, "audio_tokens": null}}"#,
                ),
            ),
            (
                r#"{'seconds': 13.0, 'cost': 1e-05, "it's": True, 'list': [-1, False]}"#,
                Some(r#"{"seconds": 13.0, "cost": 1e-05, "it's": true, "list": [-1, false]}"#),
            ),
            ("{'said': 'a \"text\"'}", Some(r#"{"said": "a \"text\""}"#)),
            (
                r#"{'said': 'it\'s "so"'}"#,
                Some(r#"{"said": "it's \"so\""}"#),
            ),
            (
                r"{'a\\b\n': '\xe9\u20ac\U0001f600', 'half': '\ud83d'}",
                Some("{\"a\\\\b\\n\": \"é€😀\", \"half\": \"\u{fffd}\"}"),
            ),
            ("{'cut", None),
            (r"{'cut\", None),
            (r"{'cut\u20", None),
        ] {
            assert_eq!(json_of(python).as_deref(), json, "{python}");
        }
        // What is no JSON then is found by the parser of JSON.
        assert_eq!(
            json_of("Usage(cached=None)").as_deref(),
            Some("Usage(cached=null)")
        );
    }
}
