//! What a span says of the request that it is about.

use std::borrow::Cow;

use super::attributes::WantedAttributes;
use super::names::{
    CACHED, CLIENT, ENDPOINTS, ERROR, ERROR_TYPE, FAILED, HOSTS, INSIDE, IS_SUMMED, MODELS, NAMES,
    OPERATIONS, OTHER_OPERATIONS, OTHER_SIDES, OUTSIDE, OUTSIDE_MODELS, PROVIDERS, RESPONSE_ID,
    STATUSES, SUCCESS, TOKENS, WRITTEN,
};
use super::{Scope, Surroundings, litellm};
use crate::domain::event::Reason;
use crate::domain::ids::{ID_CHARS_MAX, check_id};
use crate::gateways::calls::Report;
use crate::gateways::claim::{Claim, Read};
use crate::gateways::fields::{Fields, Instant, missing};
use crate::gateways::json::Scalar;
use crate::gateways::kind::{has_output, is_images, is_transcription};
use crate::gateways::litellm::provider::Provider;
use crate::gateways::outcome::{Refusal, Skip};
use crate::gateways::tokens::{ReportedTokens, Tokens};
use crate::gateways::{Format, GatewaySettings};
use crate::ops::config::CachedTokens;

/// A span that may be inference.
pub(super) struct Span<'a> {
    pub itself: Fields<'a>,
    pub attributes: Fields<'a>,
    /// It names token counts.
    pub has_counts: bool,
    /// LiteLLM's `otel` callback wrote it, and this is what texts in it hold.
    pub litellm: Option<&'a litellm::Unfolded>,
}

impl<'a> Span<'a> {
    /// The endpoint, if this is inference as a client saw it.
    pub fn endpoint(&self, settings: &GatewaySettings) -> Result<Read<Cow<'a, str>>, Skip> {
        if self.litellm.is_some()
            && let Some(endpoint) = litellm::endpoint(&self.attributes)?
        {
            // Where there is a span around the call already, LiteLLM writes its attributes there:
            // that may be the span of a server.
            let is_client = self.itself_is("kind", &CLIENT);
            let is_counted = is_client || settings.otlp_internal_spans;
            return is_counted.then_some(endpoint).ok_or(Skip::OtherSide);
        }
        let operation = match self.operation() {
            Ok(Some(operation)) => operation,
            Ok(None) if self.has_counts => return Err(Skip::UnknownOperation),
            Ok(None) => return Err(Skip::NotInference),
            // It says that it is an operation of a model, and not which one.
            Err(refusal) => return Ok(Err(refusal)),
        };
        let is = |name: &str| operation.eq_ignore_ascii_case(name);
        let Some((_, endpoint)) = ENDPOINTS.iter().find(|(name, _)| is(name)) else {
            let is_around = OTHER_OPERATIONS
                .iter()
                .any(|name| operation.starts_with(name));
            return Err(match self.has_counts && !is_around {
                true => Skip::UnknownOperation,
                false => Skip::NotInference,
            });
        };
        let is_client = self.itself_is("kind", &CLIENT);
        let is_internal = !is_client && !self.itself_is("kind", &OTHER_SIDES);
        match is_client || (is_internal && settings.otlp_internal_spans) {
            true => Ok(Ok(Cow::Borrowed(endpoint))),
            false => Err(Skip::OtherSide),
        }
    }

    /// The first of the names that has a text. Anything else than a text is refused.
    fn operation(&self) -> Read<Option<Cow<'a, str>>> {
        for name in OPERATIONS {
            match self.attributes.at(name)? {
                Some(Scalar::Text(operation)) => return Ok(Some(operation)),
                Some(_) => {
                    return Err(Refusal::new(Reason::WrongType, name, "is not a text"));
                }
                None => (),
            }
        }
        Ok(None)
    }

    fn itself_is(&self, path: &str, names: &[&str]) -> bool {
        match self.itself.at(path) {
            Ok(Some(Scalar::Number(text))) => names.contains(&text),
            Ok(Some(Scalar::Text(text))) => names.contains(&&*text),
            _ => false,
        }
    }

    pub fn first<P: AsRef<str>>(&self, names: &[P]) -> Read<Option<Cow<'a, str>>> {
        self.attributes.first(names).map(|(_, found)| found)
    }

    pub fn report(
        &self,
        index: usize,
        endpoint: Read<Cow<'a, str>>,
        settings: &GatewaySettings,
        wanted: &WantedAttributes<'_>,
        around: &Surroundings<'_, '_>,
    ) -> Report {
        let text = |path| {
            let text = self.itself.text(path).ok().flatten();
            text.filter(|text| text.len() <= ID_CHARS_MAX)
        };
        let trace = text("traceId").map(|trace| trace.to_ascii_lowercase());
        let in_trace = |id: Cow<'_, str>| Some(format!("{}/{id}", trace.as_deref()?));
        let in_lowercase = |id: Cow<'_, str>| in_trace(id.to_ascii_lowercase().into());
        let response = self.given_response_id();
        let response = response.filter(|id| id.len() <= ID_CHARS_MAX);
        Report {
            index,
            call: response.and_then(in_trace),
            span: text("spanId").and_then(in_lowercase),
            parent: text("parentSpanId").and_then(in_lowercase),
            claim: match self.litellm {
                Some(unfolded) => self.litellm_claim(unfolded, endpoint, settings, wanted, around),
                None => self.claim(endpoint, settings, &settings.otlp_user, around),
            }
            .into_owned(),
        }
    }

    /// Of LiteLLM: its users, deployments, counts and cache.
    fn litellm_claim(
        &self,
        unfolded: &litellm::Unfolded,
        endpoint: Read<Cow<'a, str>>,
        settings: &GatewaySettings,
        wanted: &WantedAttributes<'_>,
        around: &Surroundings<'_, '_>,
    ) -> Claim<'a> {
        let Provider {
            provider,
            is_made_up,
            is_guessed,
        } = litellm::provider(&self.attributes, settings, self.time().ok());
        let users = wanted.litellm_user_from();
        let claim = self.claim(endpoint, settings, users, around);
        let is_of = |is: fn(&str) -> bool| claim.endpoint.as_ref().is_ok_and(|at| is(at));
        let is_audio = is_of(is_transcription);
        let is_picture = is_of(is_images) && claim.status == Ok(SUCCESS);
        let has_failed = claim.status.as_ref().is_ok_and(|status| *status >= FAILED);
        let claim = Claim {
            provider: unfolded.check_provider().and(provider),
            model: self.first(&litellm::MODELS),
            // What a failure used is charged to nobody.
            tokens: match has_failed {
                true => claim.tokens,
                false => unfolded.check_tokens().and(claim.tokens),
            },
            audio_millis: is_audio
                .then(|| litellm::audio_millis(&self.attributes))
                .flatten(),
            image_count: is_picture
                .then(|| litellm::image_count(&self.attributes))
                .flatten(),
            is_stream: litellm::is_stream(&self.attributes),
            is_provider_made_up: is_made_up,
            is_failure_unattributed: is_guessed && has_failed,
            ..claim
        };
        match litellm::is_cache_hit(&self.attributes) {
            true => claim.answered_from_cache(),
            false => claim,
        }
    }

    fn claim(
        &self,
        endpoint: Read<Cow<'a, str>>,
        settings: &GatewaySettings,
        user_from: &[String],
        around: &Surroundings<'_, '_>,
    ) -> Claim<'a> {
        let provider = self.first(&PROVIDERS);
        let time = self.time();
        let configured = provider.as_ref().ok().and_then(|provider| {
            let at = time.as_ref().ok().copied();
            let configured = settings.provider_of([provider.as_deref(), None], at)?;
            Some(Cow::Owned(configured.to_owned()))
        });
        let status = self.status();
        let has_output =
            status < 300 && endpoint.as_ref().is_ok_and(|endpoint| has_output(endpoint));
        Claim {
            names: NAMES,
            source: Format::Otlp.as_str(),
            id: self.id(),
            time,
            user: self.user(user_from, &settings.otlp_user, around.resource),
            provider: configured.map_or(provider, |configured| Ok(Some(configured))),
            endpoint,
            model: self.first(&MODELS),
            status: Ok(status),
            latency_ms: self.latency_ms(),
            tokens: self.tokens(settings, around, has_output),
            audio_millis: None,
            image_count: None,
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
        let id = self.given_response_id()?;
        (UNIQUE_CHARS_MIN..=ID_CHARS_MAX)
            .contains(&id.len())
            .then_some(id)
    }

    /// The id of the response, if a provider gave it: LiteLLM writes its own id of the call where
    /// it has none, and that a client may choose. An answer from LiteLLM's cache has the id of the
    /// call that filled it, which may be in the same trace.
    fn given_response_id(&self) -> Option<Cow<'a, str>> {
        if self.litellm.is_some() && litellm::is_cache_hit(&self.attributes) {
            return None;
        }
        let id = self.attributes.text(RESPONSE_ID).ok().flatten()?;
        let call = self.attributes.text(litellm::CALL_ID).ok().flatten();
        (call.as_ref() != Some(&id)).then_some(id)
    }

    /// The trace with the response that the provider named, which all spans of a call share;
    /// without one, with the span. The same in every export of it.
    fn id(&self) -> Read<Cow<'a, str>> {
        let part = |path| self.itself.text(path)?.ok_or_else(|| missing(path));
        let trace = part("traceId")?.to_ascii_lowercase();
        // A trace of zeros is invalid: spans of different calls may be in it.
        if trace.bytes().all(|byte| byte == b'0') {
            return Err(missing("traceId"));
        }
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

    /// When the call began: the time of its event.
    fn time(&self) -> Read<crate::domain::time::Millis> {
        self.instant("startTimeUnixNano")
    }

    fn latency_ms(&self) -> Option<u64> {
        let (start, end) = (self.time(), self.instant("endTimeUnixNano"));
        u64::try_from(end.ok()?.0 - start.ok()?.0).ok()
    }

    /// The user that the span names, else its resource.
    fn user(
        &self,
        of_span: &[String],
        of_resource: &[String],
        resource: Option<&Fields<'_>>,
    ) -> Read<Cow<'a, str>> {
        let named = self.attributes.user(of_span);
        if let Ok(Some(user)) = named {
            return Ok(user);
        }
        let Some(resource) = resource else {
            named?;
            let problem = "is not in the span, and the attributes of its resource are broken";
            let places = of_span.join(" or ");
            return Err(Refusal::new(Reason::Malformed, &places, problem));
        };
        match (resource.user(of_resource)?, named?) {
            // It may live shorter than the span, or longer.
            (Some(user), _) => Ok(Cow::Owned(user.into_owned())),
            (None, user) => user.ok_or_else(|| missing(&of_span.join(" or "))),
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

    fn tokens(
        &self,
        settings: &GatewaySettings,
        around: &Surroundings<'_, '_>,
        has_output: bool,
    ) -> Read<Tokens> {
        let places = match self.litellm {
            Some(_) => &litellm::TOKENS,
            None => &TOKENS,
        };
        let counted = ReportedTokens::read(&self.attributes, places)?;
        let told = match around.scope {
            _ if self.litellm.is_some() => Some(settings.litellm_cached_tokens),
            Scope::Summing => settings.otlp_cached_tokens.or(Some(CachedTokens::Inside)),
            _ => settings.otlp_cached_tokens,
        };
        let inside = told.unwrap_or_else(|| self.cached_tokens());
        // It depends on the instrumentation, which is not known.
        let is_guess = around.scope == Scope::Broken
            && told.is_none()
            && inside == CachedTokens::Outside
            && (counted.cached.is_some() || counted.written.is_some());
        if is_guess {
            let problem = "cannot be counted: the span's scope is broken, so it is not known whether the input \
                           has them";
            let name = if counted.cached.is_some() {
                CACHED[0]
            } else {
                WRITTEN[0]
            };
            return Err(Refusal::new(Reason::Malformed, name, problem));
        }
        counted.tokens(inside, CACHED[0], has_output)
    }

    /// Where the span's version of its instrumentation counts cached tokens, if that can be told;
    /// else where the provider does.
    fn cached_tokens(&self) -> CachedTokens {
        if self.attributes.at(IS_SUMMED) != Ok(None) {
            return CachedTokens::Inside;
        }
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
