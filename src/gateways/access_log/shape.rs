//! What a log entry says, read by the table of its format.

use std::borrow::Cow;

use super::Where;
use crate::domain::event::{Reason, UsageEvent};
use crate::domain::time::Millis;
use crate::gateways::fields::{Fields, Instant, missing, without_query};
use crate::gateways::json::Scalar;
use crate::gateways::kind::has_output;
use crate::gateways::outcome::Refusal;
use crate::gateways::tokens::{Places, ReportedTokens, Tokens};
use crate::ops::config::{AdapterConfig, CachedTokens, Endpoint, FieldPath};

/// Where a format has what. Paths as [`crate::gateways::json::Object::at`] takes them.
pub(super) struct Shape {
    /// An entry with none of these is about something else than inference.
    pub inference: &'static [&'static str],
    /// When the request came in.
    pub time: &'static str,
    /// Whether that is RFC 3339; else it is milliseconds since 1970.
    pub is_time_text: bool,
    /// The HTTP status.
    pub status: &'static str,
    /// The status to take where the gateway wrote 0: there was no answer.
    pub unanswered: Option<u64>,
    /// The model: what answered before what was asked for, since that is what was served.
    pub models: &'static [&'static str],
    /// How long it took, ms.
    pub latency_ms: &'static str,
    /// Token counts; the first name of each is that of the newest version.
    pub tokens: Places<'static>,
    /// What says that the gateway answered from a cache of its own: a text of these at one of these
    /// places.
    pub cache_hit: (&'static [&'static str], &'static [&'static str]),
    /// Size of the request.
    pub request_bytes: &'static str,
    /// Size of the response.
    pub response_bytes: &'static str,
    /// Whether it was streamed: at the first of these places that says something.
    pub stream: &'static [&'static str],
    /// Texts by which this gateway says that it knows nothing, besides the empty one.
    pub unset: &'static [&'static str],
}

/// One log entry.
pub(super) struct Entry<'a> {
    pub fields: Fields<'a>,
    pub shape: &'static Shape,
}

impl<'a> Entry<'a> {
    /// Whether it is about inference at all.
    pub fn is_inference(&self) -> bool {
        // What cannot be read says something, too: its refusal comes later.
        let says = |path: &&str| !matches!(self.fields.at(path), Ok(None));
        self.shape.inference.iter().any(says)
    }

    /// The event, before anything about limits is checked, and where its fields stood.
    pub fn event(
        &self,
        settings: &AdapterConfig,
        place_id: String,
    ) -> Result<(UsageEvent<'a>, Where), Refusal> {
        let shape = self.shape;
        let user = self.fields.user(&settings.user_from)?;
        let user_at = settings
            .user_from
            .iter()
            .map(AsRef::as_ref)
            .collect::<Vec<&str>>()
            .join(" or ");
        let (provider_at, provider) = self.fields.first(&settings.provider_from)?;
        let (id_at, id) = self.fields.first(&settings.id_from)?;
        let (model_at, model) = self.fields.first(shape.models)?;
        let (endpoint_at, endpoint) = self.endpoint(&settings.endpoint)?;
        let status = self.status()?;
        let has_output = status < 300 && endpoint.as_deref().is_some_and(has_output);
        let tokens = self.tokens(settings.cached_tokens, has_output)?;
        let latency_ms = self.fields.measure(shape.latency_ms)?;
        // A line that is written while an answer is streamed: of what it says, the size will grow.
        // What it does not say, the last line completes.
        let goes_on = has_output && latency_ms.is_none() && tokens.input.is_none();
        let response_bytes = self.fields.measure(shape.response_bytes)?;
        let time = self.time()?;
        let provider = provider.filter(|_| !self.is_cache_hit());
        let provider = provider.map(|name| match settings.providers.of(&name, time) {
            Some(account) => Cow::Owned(account.to_owned()),
            None => name,
        });
        let event = UsageEvent {
            source: Cow::Owned(settings.source.clone()),
            id: id.unwrap_or(Cow::Owned(place_id)),
            time,
            user: user.ok_or_else(|| missing(&user_at))?,
            provider,
            endpoint: endpoint.ok_or_else(|| missing(&endpoint_at))?,
            model,
            status,
            latency_ms,
            input_tokens: tokens.input,
            output_tokens: tokens.output,
            cached_input_tokens: tokens.cached,
            cache_write_tokens: tokens.written,
            reasoning_tokens: tokens.reasoning,
            audio_millis: None,
            image_count: None,
            request_bytes: self.fields.measure(shape.request_bytes)?,
            response_bytes: response_bytes.filter(|_| !goes_on),
            // A gateway's text about a failure may hold addresses, and what the provider quoted of
            // the request.
            error_message: None,
            stream: self.is_streamed()?,
        };
        let stood = Where {
            shape,
            user: user_at,
            provider: provider_at,
            id: id_at,
            model: model_at,
            endpoint: endpoint_at,
        };
        Ok((event, stood))
    }

    /// The path that was called. A query string never is part of it: some clients put their key
    /// there.
    fn endpoint(&self, endpoint: &Endpoint) -> Result<(String, Option<Cow<'a, str>>), Refusal> {
        match endpoint {
            Endpoint::Always(path) => {
                Ok(("endpoint_from".to_owned(), Some(Cow::Owned(path.clone()))))
            }
            Endpoint::From(paths) => {
                let (at, found) = self.fields.first(paths)?;
                Ok((at, found.map(without_query).filter(|path| !path.is_empty())))
            }
        }
    }

    fn time(&self) -> Result<Millis, Refusal> {
        let path = self.shape.time;
        let written = if self.shape.is_time_text {
            Instant::Rfc3339
        } else {
            Instant::Millis
        };
        let instant = self.fields.instant(path, written)?;
        instant.ok_or_else(|| missing(path))
    }

    fn status(&self) -> Result<u16, Refusal> {
        let path = self.shape.status;
        let status = match (
            self.fields.count(path)?.ok_or_else(|| missing(path))?,
            self.shape.unanswered,
        ) {
            (0, Some(unanswered)) => unanswered,
            (status, _) => status,
        };
        let problem = "is not an HTTP status (100 to 599)";
        u16::try_from(status).map_err(|_| Refusal::new(Reason::OutOfRange, path, problem))
    }

    fn is_streamed(&self) -> Result<bool, Refusal> {
        for path in self.shape.stream {
            match self.fields.at(path)? {
                None => (),
                Some(Scalar::Bool(is_streamed)) => return Ok(is_streamed),
                Some(Scalar::Text(text)) => return Ok(text == "true" || text == "stream"),
                Some(_) => return Ok(false),
            }
        }
        Ok(false)
    }

    fn tokens(&self, counted: CachedTokens, has_output: bool) -> Result<Tokens, Refusal> {
        if self.is_cache_hit() {
            return Ok(Tokens::OF_CACHE_HIT);
        }
        let places = &self.shape.tokens;
        let cached_at = places.cached.first().copied().unwrap_or("cached tokens");
        ReportedTokens::read(&self.fields, places)?.tokens(counted, cached_at, has_output)
    }

    /// Whether the gateway's own total is not the sum of its parts.
    pub fn is_total_odd(&self) -> bool {
        let counted = ReportedTokens::read(&self.fields, &self.shape.tokens);
        counted.is_ok_and(|counted| counted.is_total_odd())
    }

    /// A request that nobody served: no provider earns, and nothing was used, which is known.
    fn is_cache_hit(&self) -> bool {
        let (paths, words) = self.shape.cache_hit;
        let says_hit = |path: &&str| {
            let text = self.fields.text(path).ok().flatten();
            text.is_some_and(|text| words.iter().any(|word| text.eq_ignore_ascii_case(word)))
        };
        paths.iter().any(says_hit)
    }

    /// An early line about a request that goes on: nothing has been answered, and no time has
    /// passed.
    pub fn is_unfinished(&self) -> bool {
        let is_nothing = |path| matches!(self.fields.count(path), Ok(None | Some(0)));
        self.shape.unanswered.is_some()
            && is_nothing(self.shape.status)
            && self.fields.at(self.shape.latency_ms) == Ok(None)
    }
}

impl AsRef<str> for FieldPath {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}
