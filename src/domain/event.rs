//! Usage events: what a gateway says about one request.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use super::service::Service;
use super::time::{MINUTE_MS, Millis};

/// How far an event's time may be ahead of log time.
pub const AHEAD_MS_MAX: i64 = 5 * MINUTE_MS;
/// How far an event's time may be behind log time: 35 days.
pub const BEHIND_MS_MAX: i64 = 35 * super::time::DAY_MS;

/// A decoded usage event. Text is borrowed from the record where it can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageEvent<'a> {
    /// Who says it: CloudEvents `source`.
    pub source: Cow<'a, str>,
    /// CloudEvents `id` (plain form: `requestId`).
    pub id: Cow<'a, str>,
    /// When the request was made.
    pub time: Millis,
    /// The user who made it.
    pub user: Cow<'a, str>,
    /// The provider who served it.
    pub provider: Option<Cow<'a, str>>,
    /// The path that was called.
    pub endpoint: Cow<'a, str>,
    /// The model.
    pub model: Option<Cow<'a, str>>,
    /// The HTTP status.
    pub status: u16,
    /// How long it took, ms.
    pub latency_ms: Option<u64>,
    /// Input tokens; `None` is unknown.
    pub input_tokens: Option<u64>,
    /// Output tokens; `None` is unknown.
    pub output_tokens: Option<u64>,
    /// Input tokens that came from a cache (contained in `input_tokens`).
    pub cached_input_tokens: Option<u64>,
    /// Input tokens that were written to a cache (contained in `input_tokens`).
    pub cache_write_tokens: Option<u64>,
    /// Output tokens that were spent on reasoning (contained in `output_tokens`).
    pub reasoning_tokens: Option<u64>,
    /// Length of the audio, ms.
    pub audio_millis: Option<u64>,
    /// Images that were made or read.
    pub image_count: Option<u64>,
    /// Size of the request.
    pub request_bytes: Option<u64>,
    /// Size of the response.
    pub response_bytes: Option<u64>,
    /// The gateway's text about a failure.
    pub error_message: Option<Cow<'a, str>>,
    /// Whether the answer was streamed.
    pub stream: bool,
}

impl UsageEvent<'_> {
    /// Whether it should have token counts: a completion that succeeded.
    pub fn is_metered(&self, service: Service) -> bool {
        service == Service::CHAT_COMPLETIONS && (200..300).contains(&self.status)
    }

    /// The first part of a count that is larger than the whole that contains it.
    pub fn oversized_part(&self) -> Option<TokenPart> {
        let counts = TokenCounts {
            input: self.input_tokens,
            output: self.output_tokens,
            cached_input: self.cached_input_tokens,
            cache_write: self.cache_write_tokens,
            reasoning: self.reasoning_tokens,
        };
        counts.oversized_part()
    }

    /// Whether it succeeded, should have token counts, and has none: for the answer to its sender.
    pub fn has_no_count(&self, service: Service) -> bool {
        matches!(service, Service::CHAT_COMPLETIONS | Service::EMBEDDINGS) && self.has_no_tokens()
    }

    /// Whether it succeeded and has no token counts.
    pub fn has_no_tokens(&self) -> bool {
        let is_success = (200..300).contains(&self.status);
        is_success && self.input_tokens.is_none() && self.output_tokens.is_none()
    }

    /// Whether it should have token counts and has none: its usage is unknown, not zero.
    pub fn lacks_usage(&self, service: Service) -> bool {
        self.is_metered(service) && self.input_tokens.is_none() && self.output_tokens.is_none()
    }
}

/// The token counts of an event; `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// Input, the cached and cache-writing tokens included.
    pub input: Option<u64>,
    /// Output, the reasoning tokens included.
    pub output: Option<u64>,
    /// Input from a cache.
    pub cached_input: Option<u64>,
    /// Input that was written to a cache.
    pub cache_write: Option<u64>,
    /// Output that was spent on reasoning.
    pub reasoning: Option<u64>,
}

impl TokenCounts {
    /// The first part that is larger than the whole that contains it. A part of an unknown whole is
    /// larger: whoever knows the part knows that there was at least as much.
    pub fn oversized_part(&self) -> Option<TokenPart> {
        let known = |count: Option<u64>| count.unwrap_or(0);
        let (input, cached) = (known(self.input), known(self.cached_input));
        if cached > input {
            return Some(TokenPart::CachedInput);
        }
        if cached.saturating_add(known(self.cache_write)) > input {
            return Some(TokenPart::CacheWrite);
        }
        (known(self.reasoning) > known(self.output)).then_some(TokenPart::Reasoning)
    }
}

/// A count of tokens that is contained in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenPart {
    /// Read from a cache, part of the input.
    CachedInput,
    /// Written to a cache, part of the input.
    CacheWrite,
    /// Spent on reasoning, part of the output.
    Reasoning,
}

/// The identity of an event: a 128-bit hash of user, source and id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity(pub u128);

/// A hash of everything that an event says beside its identity. Two events of one identity with the
/// same content are duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentHash(pub u64);

/// Why an event earns nothing and stands in `usage.rejected`. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Not JSON, not UTF-8, or not an object.
    Malformed,
    /// A required field is missing.
    MissingField,
    /// A field has another type than it must.
    WrongType,
    /// A field that is not one of an event, and probably means one that is missing.
    MisnamedField,
    /// A value outside its limits.
    OutOfRange,
    /// A text that is no id.
    InvalidId,
    /// An endpoint, a model or an error message that is too long.
    TooLong,
    /// The time cannot be read or has no offset.
    InvalidTime,
    /// Over 64 KiB.
    TooLarge,
    /// A CloudEvent of a type that we do not know.
    UnknownType,
    /// An endpoint that is no service of ours.
    UnknownService,
    /// More than five minutes ahead of log time.
    InTheFuture,
    /// More than 35 days behind log time, or beyond what can be checked for duplicates.
    TooOld,
    /// The same identity, with other content, came before.
    Conflict,
    /// A reversal of an event that was never accepted.
    UnknownOriginal,
    /// A reversal of an event that another reversal has taken back.
    AlreadyReversed,
    /// A reversal of an event that earned and cost nothing.
    NothingToReverse,
}

impl Reason {
    /// All, for metrics and documentation.
    pub const ALL: [Reason; 17] = [
        Reason::Malformed,
        Reason::MissingField,
        Reason::WrongType,
        Reason::MisnamedField,
        Reason::OutOfRange,
        Reason::InvalidId,
        Reason::TooLong,
        Reason::InvalidTime,
        Reason::TooLarge,
        Reason::UnknownType,
        Reason::UnknownService,
        Reason::InTheFuture,
        Reason::TooOld,
        Reason::Conflict,
        Reason::UnknownOriginal,
        Reason::AlreadyReversed,
        Reason::NothingToReverse,
    ];

    /// The one with that code.
    pub fn named(code: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|one| one.as_str() == code)
    }

    /// The stable code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Malformed => "malformed",
            Reason::MissingField => "missing_field",
            Reason::WrongType => "wrong_type",
            Reason::MisnamedField => "misnamed_field",
            Reason::OutOfRange => "out_of_range",
            Reason::InvalidId => "invalid_id",
            Reason::TooLong => "too_long",
            Reason::InvalidTime => "invalid_time",
            Reason::TooLarge => "too_large",
            Reason::UnknownType => "unknown_type",
            Reason::UnknownService => "unknown_service",
            Reason::InTheFuture => "in_the_future",
            Reason::TooOld => "too_old",
            Reason::Conflict => "conflict",
            Reason::UnknownOriginal => "unknown_original",
            Reason::AlreadyReversed => "already_reversed",
            Reason::NothingToReverse => "nothing_to_reverse",
        }
    }
}

/// A refusal of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The stable code.
    pub reason: Reason,
    /// The field it is about, as the sender wrote it (`data.statusCode`).
    pub field: Option<&'static str>,
    /// A sentence for people.
    pub detail: String,
}
