//! What an item says of one request. Every field stands by itself, so that one that cannot be read
//! does not hide the others.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{Outcome, Refused};
use crate::domain::event::UsageEvent;
use crate::domain::time::Millis;
use crate::gateways::outcome::{Adapted, Refusal, Remarks, canonical_record};
use crate::gateways::tokens::Tokens;
use crate::log::usage::{EVENT_TYPE, SPEC_VERSION};

/// A field: its value, or why there is none.
pub(super) type Read<T> = Result<T, Refusal>;

/// Longer texts stay out of drafts: no field of an event is as long.
const DRAFT_TEXT_BYTES_MAX: usize = 8_192;

/// The fields of an event.
pub(super) struct Claim<'a> {
    /// The names of the fields in this form, by their canonical names.
    pub names: &'static [(&'static str, &'static str)],
    pub source: &'static str,
    pub id: Read<Cow<'a, str>>,
    pub time: Read<Millis>,
    pub user: Read<Cow<'a, str>>,
    pub provider: Read<Option<Cow<'a, str>>>,
    pub endpoint: Read<Cow<'a, str>>,
    pub model: Read<Option<Cow<'a, str>>>,
    pub status: Read<u16>,
    pub latency_ms: Option<u64>,
    pub tokens: Read<Tokens>,
    /// Length of the audio that went in or came out.
    pub audio_millis: Option<u64>,
    /// How many images came out.
    pub image_count: Option<u64>,
    pub error_message: Option<Cow<'a, str>>,
    pub is_stream: bool,
    pub is_provider_made_up: bool,
    /// It failed, and the provider is only a guess: the vendor of the model.
    pub is_failure_unattributed: bool,
}

impl Claim<'_> {
    /// One that outlives the item that it was read from.
    pub fn into_owned(self) -> Claim<'static> {
        fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
            Cow::Owned(text.into_owned())
        }
        Claim {
            names: self.names,
            source: self.source,
            id: self.id.map(owned),
            time: self.time,
            user: self.user.map(owned),
            provider: self.provider.map(|provider| provider.map(owned)),
            endpoint: self.endpoint.map(owned),
            model: self.model.map(|model| model.map(owned)),
            status: self.status,
            latency_ms: self.latency_ms,
            tokens: self.tokens,
            audio_millis: self.audio_millis,
            image_count: self.image_count,
            error_message: self.error_message.map(owned),
            is_stream: self.is_stream,
            is_provider_made_up: self.is_provider_made_up,
            is_failure_unattributed: self.is_failure_unattributed,
        }
    }

    /// The same request, answered by the gateway's own cache: nobody served it, so no provider
    /// earns, and nothing was used.
    pub fn answered_from_cache(self) -> Self {
        Claim {
            provider: Ok(None),
            tokens: Ok(Tokens::OF_CACHE_HIT),
            audio_millis: None,
            image_count: None,
            is_provider_made_up: false,
            ..self
        }
    }

    /// Whether nothing but the user may be missing.
    pub fn is_readable(&self) -> bool {
        let is_told = [
            self.id.is_ok(),
            self.time.is_ok(),
            self.provider.is_ok(),
            self.endpoint.is_ok(),
            self.model.is_ok(),
            self.status.is_ok(),
            self.tokens.is_ok(),
        ];
        is_told.into_iter().all(|is_told| is_told)
    }

    /// Whether it says how many tokens went in.
    pub fn has_usage(&self) -> bool {
        self.tokens
            .as_ref()
            .is_ok_and(|tokens| tokens.input.is_some())
    }

    /// Takes what this one does not know from another report of the same call.
    pub fn complete_from(&mut self, other: &Self)
    where
        Self: Sized,
    {
        fn missing<T>(field: &Read<Option<T>>) -> bool {
            matches!(field, Ok(None) | Err(_))
        }
        if self.user.is_err() && other.user.is_ok() {
            self.user.clone_from(&other.user);
        }
        if self.endpoint.is_err() && other.endpoint.is_ok() {
            self.endpoint.clone_from(&other.endpoint);
        }
        if self.time.is_err() && other.time.is_ok() {
            self.time.clone_from(&other.time);
        }
        if self.status.is_err() && other.status.is_ok() {
            self.status.clone_from(&other.status);
        }
        if missing(&self.provider) && !missing(&other.provider) {
            self.provider.clone_from(&other.provider);
            self.is_provider_made_up = other.is_provider_made_up;
            self.is_failure_unattributed = other.is_failure_unattributed;
        }
        if missing(&self.model) && !missing(&other.model) {
            self.model.clone_from(&other.model);
        }
        if !self.has_usage() && other.has_usage() {
            self.tokens.clone_from(&other.tokens);
        }
        self.latency_ms = self.latency_ms.or(other.latency_ms);
        self.audio_millis = self.audio_millis.or(other.audio_millis);
        self.image_count = self.image_count.or(other.image_count);
        self.is_stream |= other.is_stream;
    }

    /// The event; or the first thing that is wrong, and the draft.
    pub fn outcome(&self, index: usize) -> Outcome {
        match self.adapted() {
            Ok(adapted) => Outcome::Event(adapted),
            Err(refusal) => {
                let draft = self.draft(refusal.field.as_deref());
                Outcome::Refused(Refused {
                    refusal: at(refusal, index),
                    draft: draft.to_string().into(),
                })
            }
        }
    }

    fn adapted(&self) -> Result<Adapted, Refusal> {
        let tokens = self.tokens.clone()?;
        let event = UsageEvent {
            user: self.user.clone()?,
            source: Cow::Borrowed(self.source),
            id: self.id.clone()?,
            time: self.time.clone()?,
            provider: self.provider.clone()?,
            endpoint: self.endpoint.clone()?,
            model: self.model.clone()?,
            status: self.status.clone()?,
            latency_ms: self.latency_ms,
            input_tokens: tokens.input,
            output_tokens: tokens.output,
            cached_input_tokens: tokens.cached,
            cache_write_tokens: tokens.written,
            reasoning_tokens: tokens.reasoning,
            audio_millis: self.audio_millis,
            image_count: self.image_count,
            request_bytes: None,
            response_bytes: None,
            error_message: self.error_message.clone(),
            stream: self.is_stream,
        };
        let adapted = canonical_record(&event, |canonical| {
            let named = self.names.iter().find(|(known, _)| *known == canonical);
            named.map(|(_, name)| *name)
        })?;
        let remarks = Remarks {
            is_total_odd: tokens.is_total_odd,
            is_provider_made_up: self.is_provider_made_up,
            is_failure_unattributed: adapted.remarks.is_failure_unattributed
                || self.is_failure_unattributed,
            ..adapted.remarks
        };
        Ok(adapted.with_remarks(remarks))
    }

    /// Everything that can be read, but for the field that was refused.
    fn draft(&self, refused: Option<&str>) -> Value {
        let is_refused = |canonical: &str| {
            let named = self.names.iter().find(|(_, name)| Some(*name) == refused);
            named.is_some_and(|(known, _)| *known == canonical)
        };
        let text = |text: &str| (text.len() <= DRAFT_TEXT_BYTES_MAX).then(|| json!(text));
        let tokens = self.tokens.clone().unwrap_or_default();
        let data = [
            (
                "data.providerId",
                self.provider.iter().flatten().find_map(|p| text(p)),
            ),
            ("data.endpoint", self.endpoint.iter().find_map(|e| text(e))),
            (
                "data.model",
                self.model.iter().flatten().find_map(|m| text(m)),
            ),
            (
                "data.statusCode",
                self.status.as_ref().ok().map(|status| json!(status)),
            ),
            ("data.latencyMs", self.latency_ms.map(|ms| json!(ms))),
            ("data.inputTokens", tokens.input.map(|tokens| json!(tokens))),
            (
                "data.outputTokens",
                tokens.output.map(|tokens| json!(tokens)),
            ),
            (
                "data.cachedInputTokens",
                tokens.cached.map(|tokens| json!(tokens)),
            ),
            (
                "data.cacheWriteTokens",
                tokens.written.map(|tokens| json!(tokens)),
            ),
            (
                "data.reasoningTokens",
                tokens.reasoning.map(|tokens| json!(tokens)),
            ),
            ("data.audioMillis", self.audio_millis.map(|ms| json!(ms))),
            (
                "data.imageCount",
                self.image_count.map(|count| json!(count)),
            ),
            ("data.stream", Some(json!(self.is_stream))),
        ];
        let envelope = [
            ("specversion", Some(json!(SPEC_VERSION))),
            ("type", Some(json!(EVENT_TYPE))),
            ("source", Some(json!(self.source))),
            ("id", self.id.iter().find_map(|id| text(id))),
            (
                "time",
                self.time.as_ref().ok().map(|time| json!(time.to_string())),
            ),
            ("subject", self.user.iter().find_map(|user| text(user))),
        ];
        let kept = |fields: &[(&str, Option<Value>)]| -> Map<String, Value> {
            let kept = fields.iter().filter(|(name, _)| !is_refused(name));
            let named = kept.filter_map(|(name, value)| {
                Some((name.trim_start_matches("data.").to_owned(), value.clone()?))
            });
            named.collect()
        };
        let mut draft = kept(&envelope);
        draft.insert("data".to_owned(), Value::Object(kept(&data)));
        Value::Object(draft)
    }
}

/// The refusal of the item at that place.
pub(super) fn at(refusal: Refusal, index: usize) -> Refusal {
    Refusal {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        ..refusal
    }
}
