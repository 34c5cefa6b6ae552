//! The fields of an event as they were parsed, before anything about their values is checked.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Which form a record has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    CloudEvent,
    #[default]
    Plain,
}

/// The fields of either form. `None`: missing, or `null`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    pub form: Form,
    /// Every text that is borrowed from the record is printable ASCII: it was looked at once, as a
    /// whole.
    pub printable: bool,
    pub spec_version: Option<Cow<'a, str>>,
    pub event_type: Option<Cow<'a, str>>,
    pub source: Option<Cow<'a, str>>,
    pub id: Option<Cow<'a, str>>,
    pub time: Option<Cow<'a, str>>,
    pub user: Option<Cow<'a, str>>,
    pub usage: Usage<'a>,
}

/// The fields that CloudEvents have under `data`, and plain events at the top.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage<'a> {
    /// The fast parse passed over members that it does not know.
    pub has_others: bool,
    pub provider: Option<Cow<'a, str>>,
    pub endpoint: Option<Cow<'a, str>>,
    pub model: Option<Cow<'a, str>>,
    pub status: Option<u64>,
    pub latency_ms: Option<u64>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cached_input_tokens: Option<u64>,
    pub cache_write_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    pub audio_millis: Option<u64>,
    pub image_count: Option<u64>,
    pub request_bytes: Option<u64>,
    pub response_bytes: Option<u64>,
    pub error_message: Option<Cow<'a, str>>,
    pub stream: Option<bool>,
}

/// A text that is borrowed from the record unless it has escapes. (Serde's own `Option<Cow<str>>`
/// always copies.)
#[derive(Clone, Debug)]
pub(super) struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text))
    }
}
