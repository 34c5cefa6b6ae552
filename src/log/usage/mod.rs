//! The record formats of `usage.events`: decoding, encoding, and what the edge must know of a
//! record (see also docs/wire.md).
//!
//! Two forms carry the same meaning: CloudEvents 1.0 in structured JSON (what tidemark writes), and
//! a plain JSON object for producers without a CloudEvents library. A record with a `specversion`
//! is of the first form, any other of the second.
//!
//! Decoding is the hottest path there is. It runs a typed, borrowed parse first; only when that
//! refuses, a precise one finds out what is wrong and where. Both end in the same checks, so a
//! record means the same whichever read it.

mod check;
mod encode;
mod fast;
mod fields;
mod hash;
mod misnamed;
mod precise;
pub mod reversal;

use bytes::Bytes;

use crate::domain::event::{Reason, Rejection, TokenCounts, UsageEvent};
use crate::domain::reversal::Reversal;
use crate::log::{Headers, NewRecord};

use fields::Fields;

pub use encode::encode;

/// Largest event, bytes.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Largest count of tokens, milliseconds or bytes.
pub const COUNT_MAX: u64 = 1 << 40;
/// Longest latency, ms: a day. One absurd value would spoil the quality of its provider's day.
pub const LATENCY_MS_MAX: u64 = 86_400_000;
/// Longest endpoint, in characters.
pub const ENDPOINT_CHARS_MAX: usize = 2_048;
/// Longest model name, in characters.
pub const MODEL_CHARS_MAX: usize = 256;
/// Longest error message, in characters.
pub const ERROR_MESSAGE_CHARS_MAX: usize = 8_192;
/// The CloudEvents type of a usage event.
pub const EVENT_TYPE: &str = "tidemark.usage.v1";
/// The version of CloudEvents.
pub const SPEC_VERSION: &str = "1.0";
/// The header that names the source of an event in the plain form which does not name it itself.
pub const SOURCE_HEADER: &str = "source";
/// The header in which the ingest routes record who sent an event: the id of the API key, never its
/// secret. Nothing is decided by it: neither decoding nor rating reads it, and a reject keeps it
/// like every header of its original.
pub const SENDER_HEADER: &str = "tidemark-sender";
/// The header of an event whose gateway counted a total of tokens that is not the sum of its parts.
/// It decides nothing: the event's usage row remembers it, for the explanation of the request.
pub const ODD_TOTAL_HEADER: &str = "tidemark-odd-total";
/// The source of an event in the plain form where nothing names one.
pub const SOURCE_DEFAULT: &str = "plain";

/// Decodes one record's value, in either form.
///
/// # Errors
/// Why it is no usage event. The same bytes and headers are always refused with the same reason, so
/// trying again is of no use.
pub fn decode<'a>(value: &'a [u8], headers: &'a Headers) -> Result<UsageEvent<'a>, Rejection> {
    Decoder::default().decode(value, headers)
}

/// [`decode`] for many records: it remembers in which order members came, and reads the next record
/// of that order faster. What it remembers never changes what a record means.
#[derive(Clone, Debug, Default)]
pub struct Decoder(fast::Guesses);

impl Decoder {
    /// As [`decode`].
    ///
    /// # Errors
    /// As [`decode`].
    pub fn decode<'a>(
        &mut self,
        value: &'a [u8],
        headers: &'a Headers,
    ) -> Result<UsageEvent<'a>, Rejection> {
        if value.len() > EVENT_BYTES_MAX {
            return Err(too_large(value));
        }
        let mut fields = Fields::default();
        match fast::parse(value, &mut self.0, &mut fields) {
            Some(()) => check::event(fields, headers),
            None => decode_precisely(value, headers),
        }
    }
}

/// What a record of `usage.events` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageRecord<'a> {
    /// A request.
    Event(UsageEvent<'a>),
    /// The reversal of one.
    Reversal(Reversal<'a>),
}

impl<'a> UsageRecord<'a> {
    /// The user whose partition it belongs into.
    pub fn into_user(self) -> std::borrow::Cow<'a, str> {
        match self {
            UsageRecord::Event(event) => event.user,
            UsageRecord::Reversal(reversal) => reversal.user,
        }
    }
}

/// [`decode`] by the slow pass alone: the definition of what decoding means. Public for the tests
/// that compare the two.
#[doc(hidden)]
pub fn decode_precisely<'a>(
    value: &'a [u8],
    headers: &'a Headers,
) -> Result<UsageEvent<'a>, Rejection> {
    check::event(precise::parse(value)?, headers)
}

/// [`decode`] for events that come in at the edge: it also refuses counts that contradict each
/// other ([`UsageEvent::oversized_part`]) and fields that are probably misnamed
/// ([`Reason::MisnamedField`]). A record that reaches the log past the edge is rated as far as it
/// makes sense. What depends on rules or log time (unknown service, too old, duplicate, conflict)
/// is decided by rating alone.
///
/// # Errors
/// The first of [`decode_or_faults`].
pub fn decode_at_edge<'a>(
    value: &'a [u8],
    headers: &'a Headers,
) -> Result<UsageEvent<'a>, Rejection> {
    decode_or_faults(value, headers).map_err(|mut faults| faults.swap_remove(0))
}

/// [`decode_at_edge`], which names everything that is wrong.
///
/// # Errors
/// Every fault, at most one per field; never none.
pub fn decode_or_faults<'a>(
    value: &'a [u8],
    headers: &'a Headers,
) -> Result<UsageEvent<'a>, Vec<Rejection>> {
    if value.len() > EVENT_BYTES_MAX {
        return Err(vec![too_large(value)]);
    }
    let mut fields = Fields::default();
    let parsed = fast::parse(value, &mut fast::Guesses::default(), &mut fields);
    if parsed.is_some()
        && !fields.usage.has_others
        && let Ok(event) = check::event(fields, headers)
        && event.oversized_part().is_none()
    {
        return Ok(event);
    }
    examine(value, headers)
}

/// [`decode_or_faults`] of a record that may be a reversal.
///
/// # Errors
/// As [`decode_or_faults`].
pub fn decode_record_or_faults<'a>(
    value: &'a [u8],
    headers: &'a Headers,
) -> Result<UsageRecord<'a>, Vec<Rejection>> {
    match decode_or_faults(value, headers) {
        Ok(event) => Ok(UsageRecord::Event(event)),
        Err(faults) => {
            let is_of_other_type = faults.iter().any(|f| f.reason == Reason::UnknownType);
            match is_of_other_type && reversal::is_reversal(value) {
                true => reversal::decode(value)
                    .map(UsageRecord::Reversal)
                    .map_err(|fault| vec![fault]),
                false => Err(faults),
            }
        }
    }
}

/// [`decode_or_faults`] by the slow pass.
fn examine<'a>(value: &'a [u8], headers: &'a Headers) -> Result<UsageEvent<'a>, Vec<Rejection>> {
    let top = precise::object(value).map_err(|fault| vec![fault])?;
    let (fields, mut faults) = precise::parse_all(&top);
    let others = misnamed::faults(&top, fields.form).into_iter();
    for fault in others.chain(check::faults(&fields, headers)) {
        if !faults.iter().any(|known| covers(known, &fault)) {
            faults.push(fault);
        }
    }
    faults.extend(oversized(&fields, &faults));
    match faults.is_empty() {
        true => check::event(fields, headers).map_err(|fault| vec![fault]),
        false => Err(faults),
    }
}

/// Whether a fault is all there is to say about another's field.
fn covers(known: &Rejection, other: &Rejection) -> bool {
    let is_within = |field: &str| known.field == Some("data") && field.starts_with("data.");
    known.field == other.field || other.field.is_some_and(is_within)
}

/// The refusal of a part that is larger than its whole, if nothing else is wrong with either whole.
fn oversized(fields: &Fields<'_>, faults: &[Rejection]) -> Option<Rejection> {
    let (usage, names) = (&fields.usage, fields.form.names());
    let wholes = [names.input_tokens, names.output_tokens].map(Some);
    if faults.iter().any(|fault| wholes.contains(&fault.field)) {
        return None;
    }
    let counts = TokenCounts {
        input: usage.input_tokens,
        output: usage.output_tokens,
        cached_input: usage.cached_input_tokens,
        cache_write: usage.cache_write_tokens,
        reasoning: usage.reasoning_tokens,
    };
    let part = counts.oversized_part()?;
    Some(check::oversized(part, fields.form))
}

/// The source that a record names, or that it has by default, also of one that [`decode`] refuses
/// for something else. `None`: it is no event at all, or its source is not an id.
pub fn source_of(value: &[u8], headers: &Headers) -> Option<String> {
    let top = precise::object(value).ok()?;
    let (fields, faults) = precise::parse_all(&top);
    if faults.iter().any(|fault| fault.field == Some("source")) {
        return None;
    }
    let source = check::source(fields.form, fields.source, headers, false).ok()?;
    Some(source.into_owned())
}

fn too_large(value: &[u8]) -> Rejection {
    Rejection {
        reason: Reason::TooLarge,
        field: None,
        detail: format!(
            "the event has {} bytes; the maximum is {EVENT_BYTES_MAX}",
            value.len()
        ),
    }
}

/// The record of an event that came in at the edge: checked, keyed by its user, bytes and headers
/// unchanged.
///
/// # Errors
/// As [`decode_at_edge`].
pub fn record(value: Bytes, headers: Headers) -> Result<NewRecord, Rejection> {
    let event = decode_at_edge(&value, &headers)?;
    let key = Bytes::from(event.user.into_owned());
    Ok(NewRecord {
        key: Some(key),
        value,
        headers,
    })
}
