//! LiteLLM's `generic_api` callback: StandardLoggingPayloads.
//!
//! Where this is written down:
//! - [`StandardLoggingPayload`](https://github.com/BerriAI/litellm/blob/main/litellm/types/utils.py)
//!   and how it is filled, `get_standard_logging_object_payload` in
//!   [`litellm_logging.py`](https://github.com/BerriAI/litellm/blob/main/litellm/litellm_core_utils/litellm_logging.py):
//!   tokens are 0 where there was no usage; times are seconds as Python floats; `id` is the
//!   provider's own id of the response, or the call's where there is none, and with `_cache_hit`
//!   and a time behind it when LiteLLM answered from its cache.
//! - [`generic_api_callback.py`](https://github.com/BerriAI/litellm/blob/main/litellm/integrations/generic_api/generic_api_callback.py):
//!   an array, one a line, or a single one, always as `application/json`; what is not taken is
//!   thrown away.
//! - The fixtures of the tests are what LiteLLM 1.106 really sent.
//!
//! What stands behind the choices:
//! - **id**: call id and start together. A call id alone is not unique: it is the same in each
//!   attempt of a call, and a client may choose it. A response id is neither: some providers repeat
//!   them, and two callbacks may report one call with different ones. It counts where there is no
//!   call id.
//! - **provider**: the id that the operator gave to the deployment (`model_info.id`), so that a
//!   deployment can be named after the provider's account. An id that LiteLLM made up (a SHA-256, a
//!   UUID) says nothing: then the configured provider of the deployment or model group, else the
//!   vendor, `custom_llm_provider`.
//! - **cache hits** are requests that nobody served: no provider, and no tokens, which is known and
//!   not unknown.
//! - **cached tokens**: LiteLLM counts them inside `prompt_tokens` for every vendor, unless
//!   configured.
//! - **background responses and batches** are counted when LiteLLM has fetched their usage; a
//!   client's own polls are not.

use std::borrow::Cow;

use super::call_types::{GET_RESPONSES, RETRIEVE_BATCH, base_name, endpoint_of, is_housekeeping};
use super::provider::{Provider, Route};
use super::response_id::response_id;
use super::{CALL_ORIGIN, HEALTH_CHECK, KEY_NAME, KEY_USER, ROUTE, UNSET, hashed};
use crate::domain::event::Reason;
use crate::domain::ids::check_id;
use crate::gateways::calls::Report;
use crate::gateways::claim::{Claim, Read};
use crate::gateways::fields::{Fields, Instant, missing, without_query};
use crate::gateways::items::ItemReader;
use crate::gateways::json::Scalar;
use crate::gateways::kind::{endpoint_of_model, has_output, is_images, is_transcription};
use crate::gateways::outcome::{Refusal, Skip};
use crate::gateways::tokens::{Places, ReportedTokens, Tokens};
use crate::gateways::{BodyError, Format, GatewaySettings, Outcomes};

const NAMES: &[(&str, &str)] = &[
    // Whatever is configured: what LiteLLM users look for.
    ("subject", KEY_USER),
    ("id", "id"),
    ("time", "startTime"),
    ("data.providerId", "model_id or custom_llm_provider"),
    ("data.endpoint", "call_type"),
    ("data.model", "model"),
    ("data.statusCode", "status"),
    ("data.inputTokens", INPUT),
    ("data.outputTokens", OUTPUT),
    ("data.cachedInputTokens", CACHED[0]),
    ("data.cacheWriteTokens", WRITTEN[0]),
    ("data.reasoningTokens", REASONING[0]),
    ("data.audioMillis", SECONDS[0]),
    ("data.imageCount", IMAGES),
];
const INPUT: &str = "prompt_tokens";
const OUTPUT: &str = "completion_tokens";
pub(in crate::gateways) const CACHED: [&str; 3] = [
    "metadata.usage_object.prompt_tokens_details.cached_tokens",
    "metadata.usage_object.cache_read_input_tokens",
    "metadata.usage_object.input_tokens_details.cached_tokens",
];
pub(in crate::gateways) const WRITTEN: [&str; 3] = [
    "metadata.usage_object.cache_creation_input_tokens",
    "metadata.usage_object.prompt_tokens_details.cache_creation_tokens",
    "metadata.usage_object.prompt_tokens_details.cache_write_tokens",
];
pub(in crate::gateways) const REASONING: [&str; 2] = [
    "metadata.usage_object.completion_tokens_details.reasoning_tokens",
    "metadata.usage_object.output_tokens_details.reasoning_tokens",
];
/// The counts of the provider; no version writes anything but an object, or nothing.
const USAGE: &str = "metadata.usage_object";
/// How many images there were; older versions do not count them.
pub(in crate::gateways) const IMAGES: &str = "metadata.usage_object.output_image_count";
/// Where the length of audio is, in seconds.
pub(in crate::gateways) const SECONDS: [&str; 3] = [
    "metadata.usage_object.seconds",
    "response.usage.seconds",
    "response.duration",
];
const TOKENS: Places<'_> = Places {
    input: &[INPUT],
    output: &[OUTPUT],
    cached: &CACHED,
    written: &WRITTEN,
    reasoning: &REASONING,
    total: &["total_tokens"],
};

/// Where the deployment is named; failures of some versions name it in the second place only.
const DEPLOYMENTS: [&str; 2] = ["model_id", "hidden_params.model_id"];
/// Where the vendor is named; the second place is that of failures.
const VENDORS: [&str; 2] = ["custom_llm_provider", "error_information.llm_provider"];

/// Fetches the usage of a response that was made in the background.
const BACKGROUND_POLL: &str = "background_response_cost_poll";
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
const SUCCESS: u16 = 200;
/// A failure about which nothing more is known.
const FAILED: u16 = 500;
const ERROR_CLASS_CHARS_MAX: usize = 100;

/// The outcomes of a body.
pub(in crate::gateways) fn read(
    body: &[u8],
    settings: &GatewaySettings,
) -> Result<Outcomes, BodyError> {
    let items = ItemReader {
        wanted: "LiteLLM's format: a StandardLoggingPayload, an array of them, or one per line",
        unset: UNSET,
        lists: &[],
        item: |fields: &Fields<'_>, index| report(fields, index, settings),
    };
    items.read(body)
}

fn report(fields: &Fields<'_>, index: usize, settings: &GatewaySettings) -> Result<Report, Skip> {
    let payload = Payload { fields, settings };
    let billed = payload.billed()?;
    let claim = payload.claim(billed);
    // A client may choose a call's id: it must not reach another user's calls.
    let call = claim.id.as_ref().ok().zip(claim.user.as_ref().ok());
    Ok(Report {
        index,
        call: call.map(|(id, user)| format!("{user}\n{id}")),
        span: None,
        parent: None,
        claim: claim.into_owned(),
    })
}

/// What a payload stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Billed {
    /// The call that it is about.
    Call,
    /// A response or batch whose usage was fetched afterwards: its id.
    Later(&'static str),
}

struct Payload<'f, 'a> {
    fields: &'f Fields<'a>,
    settings: &'f GatewaySettings,
}

impl<'a> Payload<'_, 'a> {
    fn said(&self, path: &str) -> Option<Cow<'a, str>> {
        self.fields.text(path).ok().flatten()
    }

    /// Whether there is something to count, and what.
    fn billed(&self) -> Result<Billed, Skip> {
        // Whoever makes a key may give it this name. LiteLLM's own has no user.
        let is_health_check = self.said(KEY_NAME).as_deref() == Some(HEALTH_CHECK);
        if is_health_check && self.said(KEY_USER).is_none() {
            return Err(Skip::HealthCheck);
        }
        let call = self.said("call_type");
        let call = call.as_deref().map(base_name).unwrap_or_default();
        // Tokens that cannot be read are there, and refused with the claim.
        let has_tokens = !self.tokens().is_ok_and(|tokens| tokens.input.is_none());
        // LiteLLM's own job that fetches the cost of batches does not say that it did, but it called
        // no route. A client's poll did: anybody may poll, so that it would be charged again.
        if call == RETRIEVE_BATCH && has_tokens && self.said(ROUTE).is_none() {
            return Ok(Billed::Later("batch"));
        }
        match self.said(CALL_ORIGIN).as_deref() {
            Some(BACKGROUND_POLL) if has_tokens => return Ok(Billed::Later("response")),
            Some(BACKGROUND_POLL) if self.has_failed_later() => {
                return Ok(Billed::Later("response"));
            }
            Some(BACKGROUND_POLL) => return Err(Skip::UsagePending),
            Some(_) => return Err(Skip::GatewayCall),
            None => (),
        }
        // Not every version says who fetched it, but that it was made in the background.
        let is_fetched = call == GET_RESPONSES
            && self.is("response.background")
            && matches!(
                self.said("response.status").as_deref(),
                Some("completed" | "incomplete" | "failed" | "cancelled")
            );
        if is_fetched && (has_tokens || self.has_failed_later()) {
            return Ok(Billed::Later("response"));
        }
        if is_housekeeping(call) {
            return Err(Skip::Housekeeping);
        }
        let is_pending = self.is("response.background")
            && matches!(
                self.said("response.status").as_deref(),
                Some("queued" | "in_progress")
            );
        match is_pending && !has_tokens {
            true => Err(Skip::UsagePending),
            false => Ok(Billed::Call),
        }
    }

    /// Of a response that is fetched, LiteLLM names any model that it has.
    fn model(&self, billed: Billed) -> Read<Option<Cow<'a, str>>> {
        const MODELS: [&str; 3] = ["response.model", "model", "model_group"];
        let models = match billed {
            Billed::Later("response") => &MODELS[..],
            _ => &MODELS[1..],
        };
        self.fields.first(models).map(|(_, model)| model)
    }

    /// A response in the background that ended without an answer.
    fn has_failed_later(&self) -> bool {
        self.said("response.status").as_deref() == Some("failed")
    }

    fn claim(&self, billed: Billed) -> Claim<'a> {
        let is_cache_hit = self.is("cache_hit");
        let tokens = self.tokens();
        let status = match billed {
            Billed::Later(_) if self.has_failed_later() => Ok(FAILED),
            _ => self.status(),
        };
        let endpoint = self.endpoint(billed);
        let is_early = self.is("stream")
            && !is_cache_hit
            && status == Ok(SUCCESS)
            && tokens.as_ref().is_ok_and(|tokens| tokens.input.is_none());
        let Provider {
            provider,
            is_made_up,
            is_guessed,
        } = self.provider(billed);
        let has_failed = status.as_ref().is_ok_and(|status| *status >= 500);
        let claim = Claim {
            names: NAMES,
            source: Format::Litellm.as_str(),
            id: self.id(billed),
            time: self.time_of(billed),
            user: self.user(),
            provider,
            image_count: endpoint
                .as_ref()
                .ok()
                .filter(|_| status == Ok(SUCCESS))
                .and_then(|endpoint| self.image_count(endpoint)),
            audio_millis: endpoint
                .as_ref()
                .ok()
                .filter(|endpoint| is_transcription(endpoint))
                .and_then(|_| SECONDS.iter().find_map(|path| self.fields.seconds(path))),
            endpoint,
            model: self.model(billed),
            status,
            // Of a stream that is told of before its usage is known: the whole takes longer, and
            // the report that knows both completes this one only if nothing contradicts it.
            latency_ms: self
                .latency_ms()
                .filter(|_| billed == Billed::Call && !is_early),
            tokens,
            error_message: self.error_class(),
            is_stream: self.is("stream"),
            is_provider_made_up: is_made_up,
            is_failure_unattributed: is_guessed && has_failed,
        };
        match is_cache_hit {
            true => claim.answered_from_cache(),
            false => claim,
        }
    }

    fn id(&self, billed: Billed) -> Read<Cow<'a, str>> {
        let call = self.fields.text("litellm_call_id")?;
        let id = self.fields.text("id")?;
        let whole = match (billed, call, id) {
            // Every time that it is fetched is another call.
            (Billed::Later("response"), _, Some(id)) => {
                let tokens = self.tokens().unwrap_or_default();
                format!("response/{}", response_id(self.fields, &id, tokens))
            }
            (Billed::Later(what), _, Some(id)) => format!("{what}/{id}"),
            // To the microsecond: a client may give several calls one id.
            (_, Some(id), _) | (_, None, Some(id)) => match self.fields.micros("startTime") {
                Some(start) => format!("{id}/{start}"),
                None => id.into_owned(),
            },
            (_, None, None) => return Err(missing("id")),
        };
        Ok(Cow::Owned(match check_id(&whole) {
            Ok(()) => whole,
            // Some ids of responses have hundreds of characters.
            Err(_) => hashed(&whole),
        }))
    }

    fn time(&self) -> Read<crate::domain::time::Millis> {
        let time = self.fields.instant("startTime", Instant::Seconds)?;
        time.ok_or_else(|| missing("startTime"))
    }

    /// A response in the background was made when it was created, whenever it is fetched.
    fn time_of(&self, billed: Billed) -> Read<crate::domain::time::Millis> {
        let created = self.fields.instant("response.created_at", Instant::Seconds);
        match (billed, created) {
            (Billed::Later(_), Ok(Some(created))) => Ok(created),
            _ => self.time(),
        }
    }

    /// How long it took says nothing about money: unknown where it cannot be read.
    fn latency_ms(&self) -> Option<u64> {
        let end = self
            .fields
            .instant("endTime", Instant::Seconds)
            .ok()
            .flatten()?;
        u64::try_from(end.0 - self.time().ok()?.0).ok()
    }

    fn user(&self) -> Read<Cow<'a, str>> {
        let places = &self.settings.litellm_user;
        let user = self.fields.user(places)?;
        user.ok_or_else(|| missing(&places.join(" or ")))
    }

    fn provider(&self, billed: Billed) -> Provider<'a> {
        let first = |paths: &[&str]| self.fields.first(paths).map(|(_, found)| found);
        let route = Route {
            deployment: first(&DEPLOYMENTS),
            group: self.said("model_group"),
            vendor: first(&VENDORS),
        };
        Provider::of(route, self.settings, self.time_of(billed).ok())
    }

    /// By the call type; for one that is not known, the route of the proxy: then rating decides
    /// whether that is a service.
    fn endpoint(&self, billed: Billed) -> Read<Cow<'a, str>> {
        match billed {
            Billed::Later("response") => return Ok(Cow::Borrowed("/v1/responses")),
            // A batch is of one endpoint; some providers do not name it.
            Billed::Later(_) => {
                if let Some(endpoint) = self.said("response.endpoint") {
                    return Ok(without_query(endpoint));
                }
                let model = self.said("model");
                return Ok(Cow::Borrowed(endpoint_of_model(model.as_deref())));
            }
            Billed::Call => (),
        }
        let call = self.fields.text("call_type")?;
        let call = call.ok_or_else(|| missing("call_type"))?;
        if let Some(endpoint) = endpoint_of(&call) {
            return Ok(Cow::Borrowed(endpoint));
        }
        let route = self.fields.text(ROUTE)?;
        let route = route.map(without_query).filter(|route| !route.is_empty());
        Ok(route.unwrap_or_else(|| Cow::Owned(format!("/{call}"))))
    }

    /// Of a client that went away, LiteLLM says `success` with an error 499 beside it: what it was
    /// sent has been used.
    fn status(&self) -> Read<u16> {
        match self.fields.text("status")?.as_deref() {
            Some("success") => Ok(SUCCESS),
            Some(_) => Ok(self.failure()),
            None => Err(missing("status")),
        }
    }

    fn failure(&self) -> u16 {
        let text = |path| self.fields.text(path).ok().flatten();
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

    /// The name of an exception. Its text may quote the prompt, or hold keys and addresses, and
    /// stays out.
    fn error_class(&self) -> Option<Cow<'a, str>> {
        let class = self.fields.text("error_information.error_class").ok()??;
        let is_name = class.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && class.len() <= ERROR_CLASS_CHARS_MAX;
        let has_failed = self.status().is_ok_and(|status| status >= 300);
        (is_name && has_failed).then_some(class)
    }

    /// The images of the answer; or as many as were asked for, which is one by default.
    fn image_count(&self, endpoint: &str) -> Option<u64> {
        if !is_images(endpoint) {
            return None;
        }
        let told = self.fields.count(IMAGES).ok().flatten();
        let answered = told.or_else(|| self.fields.elements("response.data"));
        let asked = || match self.fields.count("model_parameters.n") {
            Ok(None) => self.fields.object.raw("model_parameters").ok()?.map(|_| 1),
            Ok(asked) => asked,
            Err(_) => None,
        };
        answered.filter(|count| *count > 0).or_else(asked)
    }

    fn tokens(&self) -> Read<Tokens> {
        let is_success = self.said("status").as_deref() == Some("success");
        if is_success && self.said(USAGE).is_some() {
            let problem = "is a text, so it is not known which tokens were cached: send the object";
            return Err(Refusal::new(Reason::WrongType, USAGE, problem));
        }
        let counted = ReportedTokens::read(self.fields, &TOKENS)?;
        let endpoint = self.endpoint(Billed::Call);
        let has_output = is_success && endpoint.is_ok_and(|endpoint| has_output(&endpoint));
        counted.tokens(self.settings.litellm_cached_tokens, CACHED[0], has_output)
    }

    fn is(&self, path: &str) -> bool {
        match self.fields.at(path) {
            Ok(Some(Scalar::Bool(value))) => value,
            Ok(Some(Scalar::Text(text))) => text.eq_ignore_ascii_case("true"),
            _ => false,
        }
    }
}
