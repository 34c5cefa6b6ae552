//! What a log entry says, read by the table of its format.

use std::borrow::Cow;

use super::decimal::Decimal;
use super::json::{Object, Scalar, Unreadable};
use super::{Refusal, Where};
use crate::domain::event::{Reason, UsageEvent};
use crate::domain::time::Millis;
use crate::ops::config::{AdapterConfig, CachedTokens, Endpoint, FieldPath};

/// The last instant of the year 9999, ms.
const TIME_MS_MAX: i64 = 253_402_300_799_999;

/// Where a format has what. Paths as [`Object::at`] takes them.
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
    /// Input tokens.
    pub input_tokens: &'static str,
    /// Output tokens.
    pub output_tokens: &'static str,
    /// Input tokens read from a cache.
    pub cached_tokens: Option<&'static str>,
    /// Input tokens written to a cache.
    pub cache_write_tokens: Option<&'static str>,
    /// Size of the request.
    pub request_bytes: &'static str,
    /// Size of the response.
    pub response_bytes: &'static str,
    /// Whether it was streamed.
    pub stream: Option<&'static str>,
    /// Texts by which this gateway says that it knows nothing, besides the empty one.
    pub unset: &'static [&'static str],
}

/// One log entry.
pub(super) struct Entry<'a> {
    pub object: Object<'a>,
    pub shape: &'static Shape,
    /// The record was no UTF-8, so that a text with a replacement character is not what the gateway wrote.
    pub is_repaired: bool,
}

/// Token counts in the sense of the canonical event: input holds the cached ones.
#[derive(Default)]
struct Tokens {
    input: Option<u64>,
    output: Option<u64>,
    cached: Option<u64>,
}

impl<'a> Entry<'a> {
    /// Whether it is about inference at all.
    pub fn is_inference(&self) -> bool {
        // What cannot be read says something, too: its refusal comes later.
        let says = |path: &&str| !matches!(self.at(path), Ok(None));
        self.shape.inference.iter().any(says)
    }

    /// The event, before anything about limits is checked, and where its fields stood.
    pub fn event(
        &self,
        settings: &AdapterConfig,
        place_id: String,
    ) -> Result<(UsageEvent<'a>, Where), Refusal> {
        let shape = self.shape;
        let (user_at, user) = self.first(&settings.user_from)?;
        let (provider_at, provider) = self.first(&settings.provider_from)?;
        let (id_at, id) = self.first(&settings.id_from)?;
        let (model_at, model) = self.first(shape.models)?;
        let (endpoint_at, endpoint) = self.endpoint(&settings.endpoint)?;
        let tokens = self.tokens(settings.cached_tokens)?;
        let event = UsageEvent {
            source: Cow::Owned(settings.source.clone()),
            id: id.unwrap_or(Cow::Owned(place_id)),
            time: self.time()?,
            user: user.ok_or_else(|| missing(&user_at))?,
            provider,
            endpoint: endpoint.ok_or_else(|| missing(&endpoint_at))?,
            model,
            status: self.status()?,
            latency_ms: self.measure(shape.latency_ms)?,
            input_tokens: tokens.input,
            output_tokens: tokens.output,
            cached_input_tokens: tokens.cached,
            audio_millis: None,
            request_bytes: self.measure(shape.request_bytes)?,
            response_bytes: self.measure(shape.response_bytes)?,
            // A gateway's text about a failure may hold addresses, and what the provider quoted of the request.
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

    /// The value at a path; `None` where the gateway knows nothing.
    fn at(&self, path: &str) -> Result<Option<Scalar<'a>>, Refusal> {
        let value = self.object.at(path).map_err(|unreadable| {
            let problem = match unreadable {
                Unreadable::Twice => "stands twice in one entry",
                Unreadable::Broken => "is a broken text",
            };
            Refusal::new(Reason::Malformed, path, problem)
        })?;
        match value {
            Some(Scalar::Text(text)) if text.is_empty() || self.shape.unset.contains(&&*text) => {
                Ok(None)
            }
            Some(Scalar::Text(text))
                if self.is_repaired && text.contains(char::REPLACEMENT_CHARACTER) =>
            {
                Err(Refusal::new(Reason::Malformed, path, "is not UTF-8"))
            }
            value => Ok(value),
        }
    }

    /// The first of the paths that has a text, and that path; without any, all of them.
    fn first<P: AsRef<str>>(&self, paths: &[P]) -> Result<(String, Option<Cow<'a, str>>), Refusal> {
        for path in paths {
            let path = path.as_ref();
            if let Some(value) = self.at(path)? {
                return Ok((path.to_owned(), Some(text(path, value)?)));
            }
        }
        let all: Vec<&str> = paths.iter().map(AsRef::as_ref).collect();
        Ok((all.join(" or "), None))
    }

    /// The path that was called. A query string never is part of it: some clients put their key there.
    fn endpoint(&self, endpoint: &Endpoint) -> Result<(String, Option<Cow<'a, str>>), Refusal> {
        match endpoint {
            Endpoint::Always(path) => {
                Ok(("endpoint_from".to_owned(), Some(Cow::Owned(path.clone()))))
            }
            Endpoint::From(paths) => {
                let (at, found) = self.first(paths)?;
                Ok((at, found.map(without_query).filter(|path| !path.is_empty())))
            }
        }
    }

    fn time(&self) -> Result<Millis, Refusal> {
        let path = self.shape.time;
        let value = self.at(path)?.ok_or_else(|| missing(path))?;
        let millis = match (&value, self.shape.is_time_text) {
            (Scalar::Text(text), true) => text.parse().ok().map(|Millis(millis)| millis),
            (Scalar::Text(text), false) => Decimal::parse(text).map(Decimal::floor),
            (Scalar::Number(number), false) => Decimal::parse(number).map(Decimal::floor),
            _ => None,
        };
        let wanted = if self.shape.is_time_text {
            "RFC 3339 with an offset"
        } else {
            "milliseconds since 1970"
        };
        millis
            .filter(|millis| (0..=TIME_MS_MAX).contains(millis))
            .map(Millis)
            .ok_or_else(|| {
                Refusal::new(
                    Reason::InvalidTime,
                    path,
                    &format!("is no instant as {wanted}"),
                )
            })
    }

    fn status(&self) -> Result<u16, Refusal> {
        let path = self.shape.status;
        let status = match (
            self.count(path)?.ok_or_else(|| missing(path))?,
            self.shape.unanswered,
        ) {
            (0, Some(unanswered)) => unanswered,
            (status, _) => status,
        };
        let problem = "is no HTTP status, which is from 100 to 599";
        u16::try_from(status).map_err(|_| Refusal::new(Reason::OutOfRange, path, problem))
    }

    /// Whole, and not below zero: this is charged for.
    fn count(&self, path: &str) -> Result<Option<u64>, Refusal> {
        let Some(number) = self.number(path)? else {
            return Ok(None);
        };
        if number.has_fraction {
            return Err(Refusal::new(Reason::WrongType, path, "is no whole number"));
        }
        if number.is_negative {
            return Err(Refusal::new(Reason::OutOfRange, path, "is below zero"));
        }
        Ok(Some(number.whole))
    }

    /// A time or a size: rounded down; unknown where it is below zero, as it is when a clock was set back meanwhile.
    fn measure(&self, path: &str) -> Result<Option<u64>, Refusal> {
        let number = self.number(path)?;
        Ok(number
            .filter(|number| !number.is_negative)
            .map(|number| number.whole))
    }

    fn number(&self, path: &str) -> Result<Option<Decimal>, Refusal> {
        let parsed = match self.at(path)? {
            None => return Ok(None),
            Some(Scalar::Number(text)) => Decimal::parse(text),
            Some(Scalar::Text(text)) => Decimal::parse(&text),
            Some(_) => None,
        };
        let refusal = || Refusal::new(Reason::WrongType, path, "is no number");
        parsed.map(Some).ok_or_else(refusal)
    }

    fn is_streamed(&self) -> Result<bool, Refusal> {
        let value = self.shape.stream.map(|path| self.at(path)).transpose()?;
        Ok(match value.flatten() {
            Some(Scalar::Bool(is_streamed)) => is_streamed,
            Some(Scalar::Text(text)) => text == "true" || text == "stream",
            _ => false,
        })
    }

    /// Every inference has input. A gateway that says 0 means that it was told nothing: unknown, which is not the same as free.
    fn tokens(&self, counted: CachedTokens) -> Result<Tokens, Refusal> {
        let optional = |path: Option<&'static str>| path.map(|path| self.count(path)).transpose();
        let output = self.count(self.shape.output_tokens)?;
        let cached = optional(self.shape.cached_tokens)?.flatten();
        let written = optional(self.shape.cache_write_tokens)?.flatten();
        let input = self.count(self.shape.input_tokens)?;
        let input = match counted {
            CachedTokens::Inside => input,
            CachedTokens::Outside => {
                let beside = cached.unwrap_or(0).saturating_add(written.unwrap_or(0));
                input.map(|input| input.saturating_add(beside))
            }
        };
        if let (Some(path), Some(cached)) = (self.shape.cached_tokens, cached)
            && cached > input.unwrap_or(0)
        {
            let problem = "is more than all input tokens: if this gateway counts them beside the others, set cached_tokens = \"outside\"";
            return Err(Refusal::new(Reason::OutOfRange, path, problem));
        }
        let input = input.filter(|input| *input > 0);
        Ok(match input {
            Some(_) => Tokens {
                input,
                output,
                cached,
            },
            None => Tokens {
                output: output.filter(|output| *output > 0),
                ..Tokens::default()
            },
        })
    }
}

impl AsRef<str> for FieldPath {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

fn missing(path: &str) -> Refusal {
    Refusal::new(Reason::MissingField, path, "is missing")
}

/// A text, or a whole number as it was written: some systems number their users.
fn text<'a>(path: &str, value: Scalar<'a>) -> Result<Cow<'a, str>, Refusal> {
    match value {
        Scalar::Text(text) => Ok(text),
        Scalar::Number(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(Cow::Borrowed(number))
        }
        _ => Err(Refusal::new(
            Reason::WrongType,
            path,
            "is neither a text nor a whole number",
        )),
    }
}

fn without_query(path: Cow<'_, str>) -> Cow<'_, str> {
    let end = path.find(['?', '#']).unwrap_or(path.len());
    match path {
        Cow::Borrowed(path) => Cow::Borrowed(&path[..end]),
        Cow::Owned(mut path) => {
            path.truncate(end);
            Cow::Owned(path)
        }
    }
}
