//! LiteLLM's `generic_api` callback: StandardLoggingPayloads.
//!
//! Where this is written down:
//! - [`StandardLoggingPayload`](https://github.com/BerriAI/litellm/blob/main/litellm/types/utils.py) and how it is filled, `get_standard_logging_object_payload`
//!   in [`litellm_logging.py`](https://github.com/BerriAI/litellm/blob/main/litellm/litellm_core_utils/litellm_logging.py): tokens are 0 where there was no
//!   usage; times are seconds as Python floats; `id` is the provider's own id of the response, or the call's where there is none, and with
//!   `_cache_hit` and a time behind it when LiteLLM answered from its cache.
//! - [`generic_api_callback.py`](https://github.com/BerriAI/litellm/blob/main/litellm/integrations/generic_api/generic_api_callback.py): an array, one a line, or a
//!   single one, always as `application/json`; what is not taken is thrown away.
//! - The fixtures of the tests are what LiteLLM 1.106 really sent.
//!
//! What stands behind the choices:
//! - **id**: call id, start and response id together. A response id alone is not unique (some providers repeat them), and a call id neither: it is the
//!   same in each attempt of a call, and a client may choose it.
//! - **provider**: the id that the operator gave to the deployment (`model_info.id`), so that a deployment can be named after the provider's account.
//!   An id that LiteLLM made up (a SHA-256) says nothing: then the vendor, `custom_llm_provider`.
//! - **cache hits** are requests that nobody served: no provider, and no tokens, which is known and not unknown.
//! - **cached tokens**: LiteLLM counts them inside `prompt_tokens` for every vendor. More of them than input can only have been counted outside.

use std::borrow::Cow;

use super::hashed;
use crate::domain::ids::check_id;
use crate::gateways::claim::{Claim, Read};
use crate::gateways::fields::{Fields, Instant, Tokens, counted_once, missing, without_query};
use crate::gateways::items::Items;
use crate::gateways::json::Scalar;
use crate::gateways::outcome::Skip;
use crate::gateways::{BodyError, Format, Outcome};

/// What LiteLLM calls the user of its master key: nobody.
const UNSET: &[&str] = &["default_user_id"];
/// The key by which LiteLLM asks its own models whether they live.
const HEALTH_CHECK: &str = "litellm-internal-health-check";

const NAMES: &[(&str, &str)] = &[
    ("subject", USER),
    ("id", "id"),
    ("time", "startTime"),
    ("data.providerId", "model_id or custom_llm_provider"),
    ("data.endpoint", "call_type"),
    ("data.model", "model"),
    ("data.statusCode", "status"),
    ("data.inputTokens", INPUT),
    ("data.outputTokens", OUTPUT),
    ("data.cachedInputTokens", CACHED[0]),
];
/// The name of the user's field in refusals, whatever is configured: what LiteLLM users look for.
const USER: &str = "metadata.user_api_key_user_id";
const INPUT: &str = "prompt_tokens";
const OUTPUT: &str = "completion_tokens";
const CACHED: [&str; 2] = [
    "metadata.usage_object.prompt_tokens_details.cached_tokens",
    "metadata.usage_object.cache_read_input_tokens",
];

/// The endpoints of call types, without the `a` of their asynchronous twins.
const ENDPOINTS: [(&str, &str); 9] = [
    ("completion", "/v1/chat/completions"),
    ("text_completion", "/v1/completions"),
    ("embedding", "/v1/embeddings"),
    ("speech", "/v1/audio/speech"),
    ("responses", "/v1/responses"),
    ("anthropic_messages", "/v1/messages"),
    // Google's own form of chat.
    ("generate_content", "/v1/chat/completions"),
    ("generate_content_stream", "/v1/chat/completions"),
    ("scrape", "/v1/scrape"),
];
/// Call types about things that exist already: LiteLLM's `NON_INFERENCE_CALL_TYPES`, of which all about vector stores begin alike.
const HOUSEKEEPING: [&str; 4] = [
    "get_responses",
    "delete_responses",
    "cancel_responses",
    "list_input_items",
];
const VECTOR_STORES: &str = "vector_store_";
/// The statuses of LiteLLM's exceptions, for failures whose code is a vendor's word.
const STATUSES: [(&str, u16); 13] = [
    ("BadRequestError", 400),
    ("ContextWindowExceededError", 400),
    ("ContentPolicyViolationError", 400),
    ("InvalidRequestError", 400),
    ("UnsupportedParamsError", 400),
    ("ProxyModelNotFoundError", 400),
    ("AuthenticationError", 401),
    ("PermissionDeniedError", 403),
    ("NotFoundError", 404),
    ("Timeout", 408),
    ("UnprocessableEntityError", 422),
    ("RateLimitError", 429),
    ("BudgetExceededError", 429),
];
/// A failure about which nothing more is known.
const FAILED: u16 = 500;
const ERROR_CLASS_CHARS_MAX: usize = 100;

/// The outcomes of a body.
pub(in crate::gateways) fn read(
    body: &[u8],
    user_from: &[String],
) -> Result<Vec<Outcome>, BodyError> {
    let items = Items {
        wanted: "StandardLoggingPayload of LiteLLM, nor an array of them, nor one a line",
        unset: UNSET,
        item: |fields: &Fields<'_>, index| item(fields, index, user_from),
    };
    items.read(body)
}

fn item(fields: &Fields<'_>, index: usize, user_from: &[String]) -> Outcome {
    let payload = Payload(fields);
    if payload.is_about_something_else() {
        return Outcome::Skipped(Skip::NotInference);
    }
    payload.claim(user_from).outcome(index)
}

struct Payload<'f, 'a>(&'f Fields<'a>);

impl<'a> Payload<'_, 'a> {
    fn is_about_something_else(&self) -> bool {
        let text = |path| self.0.text(path).ok().flatten();
        let is_housekeeping = text("call_type").is_some_and(|call| {
            let call = base_name(&call);
            HOUSEKEEPING.contains(&call) || call.starts_with(VECTOR_STORES)
        });
        is_housekeeping || text("metadata.user_api_key_alias").as_deref() == Some(HEALTH_CHECK)
    }

    fn claim(&self, user_from: &[String]) -> Claim<'a> {
        let is_cache_hit = self.is_cache_hit();
        let tokens = if is_cache_hit {
            Ok(Tokens {
                input: Some(0),
                output: Some(0),
                cached: None,
            })
        } else {
            self.tokens()
        };
        Claim {
            names: NAMES,
            source: Format::Litellm.as_str(),
            id: self.id(),
            time: self.time(),
            user: self.user(user_from),
            provider: if is_cache_hit {
                Ok(None)
            } else {
                self.provider()
            },
            endpoint: self.endpoint(),
            model: self
                .0
                .first(&["model", "model_group"])
                .map(|(_, model)| model),
            status: self.status(),
            latency_ms: self.latency_ms(),
            tokens,
            error_message: self.error_class(),
            is_stream: self.is("stream"),
        }
    }

    fn id(&self) -> Read<Cow<'a, str>> {
        let call = self.0.text("litellm_call_id")?;
        let id = self.0.text("id")?;
        if call.is_none() && id.is_none() {
            return Err(missing("id"));
        }
        let start = self.time().ok().map(|time| Cow::Owned(time.0.to_string()));
        let id = id.filter(|id| Some(id) != call.as_ref());
        let parts: Vec<Cow<'_, str>> = [call, start, id].into_iter().flatten().collect();
        let whole = parts.join("/");
        Ok(Cow::Owned(match check_id(&whole) {
            Ok(()) => whole,
            // Some ids of responses have hundreds of characters.
            Err(_) => hashed(&whole),
        }))
    }

    fn time(&self) -> Read<crate::domain::time::Millis> {
        let time = self.0.instant("startTime", Instant::Seconds)?;
        time.ok_or_else(|| missing("startTime"))
    }

    /// How long it took says nothing about money: unknown where it cannot be read.
    fn latency_ms(&self) -> Option<u64> {
        let end = self.0.instant("endTime", Instant::Seconds).ok().flatten()?;
        u64::try_from(end.0 - self.time().ok()?.0).ok()
    }

    fn user(&self, user_from: &[String]) -> Read<Cow<'a, str>> {
        let (_, user) = self.0.first(user_from)?;
        user.ok_or_else(|| missing(&user_from.join(" or ")))
    }

    fn provider(&self) -> Read<Option<Cow<'a, str>>> {
        let given = self.0.text("model_id")?.filter(|id| !is_made_up(id));
        match given {
            Some(id) => Ok(Some(id)),
            None => self.0.text("custom_llm_provider"),
        }
    }

    /// By the call type; for one that is not known, the route of the proxy: then rating decides whether that is a service.
    fn endpoint(&self) -> Read<Cow<'a, str>> {
        let call = self.0.text("call_type")?;
        let call = call.ok_or_else(|| missing("call_type"))?;
        if let Some(endpoint) = endpoint_of(&call) {
            return Ok(Cow::Borrowed(endpoint));
        }
        let route = self.0.text("metadata.user_api_key_request_route")?;
        let route = route.map(without_query).filter(|route| !route.is_empty());
        Ok(route.unwrap_or_else(|| Cow::Owned(format!("/{call}"))))
    }

    /// Of a client that went away, LiteLLM says `success` with an error 499 beside it: what it was sent has been used.
    fn status(&self) -> Read<u16> {
        match self.0.text("status")?.as_deref() {
            Some("success") => Ok(200),
            Some(_) => Ok(self.failure()),
            None => Err(missing("status")),
        }
    }

    fn failure(&self) -> u16 {
        let text = |path| self.0.text(path).ok().flatten();
        let code = text("error_information.error_code").and_then(|code| code.parse().ok());
        let of_class = || {
            let class = text("error_information.error_class")?;
            let known = STATUSES.iter().find(|(name, _)| *name == class);
            known.map(|(_, status)| *status)
        };
        code.filter(|code| (300..600).contains(code))
            .or_else(of_class)
            .unwrap_or(FAILED)
    }

    /// The name of an exception. Its text may quote the prompt, or hold keys and addresses, and stays out.
    fn error_class(&self) -> Option<Cow<'a, str>> {
        let class = self.0.text("error_information.error_class").ok()??;
        let is_name = class.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && class.len() <= ERROR_CLASS_CHARS_MAX;
        let has_failed = self.status().is_ok_and(|status| status >= 300);
        (is_name && has_failed).then_some(class)
    }

    fn tokens(&self) -> Read<Tokens> {
        let input = self.0.count(INPUT)?;
        let output = self.0.count(OUTPUT)?;
        let cached = match self.0.count(CACHED[0])? {
            Some(cached) => Some(cached),
            None => self.0.count(CACHED[1])?,
        };
        Ok(counted_once(Tokens::told(input, output, cached)))
    }

    fn is_cache_hit(&self) -> bool {
        self.is("cache_hit")
    }

    fn is(&self, path: &str) -> bool {
        match self.0.at(path) {
            Ok(Some(Scalar::Bool(value))) => value,
            Ok(Some(Scalar::Text(text))) => text.eq_ignore_ascii_case("true"),
            _ => false,
        }
    }
}

/// `acompletion` is `completion`, awaited.
fn base_name(call: &str) -> &str {
    let awaited = call.strip_prefix('a');
    let is_known = |name: &&str| {
        ENDPOINTS.iter().any(|(known, _)| known == name)
            || HOUSEKEEPING.contains(name)
            || name.starts_with(VECTOR_STORES)
    };
    awaited.filter(is_known).unwrap_or(call)
}

fn endpoint_of(call: &str) -> Option<&'static str> {
    let known = ENDPOINTS.iter().find(|(name, _)| *name == base_name(call));
    known.map(|(_, endpoint)| *endpoint)
}

/// Whether LiteLLM made up the id of a deployment: the SHA-256 of its settings.
fn is_made_up(id: &str) -> bool {
    const SHA_256_CHARS: usize = 64;
    id.len() == SHA_256_CHARS && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}
