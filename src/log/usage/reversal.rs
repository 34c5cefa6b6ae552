//! Reversals on the wire: CloudEvents of a type of their own in `usage.events`.

use bytes::Bytes;
use serde::Serialize;

use super::check::{id, known, required, short, time};
use super::precise;
use super::{EVENT_BYTES_MAX, SPEC_VERSION, too_large};
use crate::domain::event::{Reason, Rejection};
use crate::domain::reversal::{Original, Reversal};

/// The CloudEvents type of a reversal.
pub const REVERSAL_TYPE: &str = "tidemark.reversal.v1";
/// Longest reason, in characters.
pub const REASON_CHARS_MAX: usize = 1_024;

const DATA: &str = "data";
const TYPE: &str = "type";
const USER: &str = "subject";
const SOURCE: &str = "data.source";
const ID: &str = "data.id";
const TIME: &str = "data.time";
const REASON: &str = "data.reason";

/// The reversal that a record holds which was refused as an event.
///
/// # Errors
/// Why it is neither: the refusal as an event, unless it says that it is a reversal.
pub fn decode_refused(value: &[u8], refusal: Rejection) -> Result<Reversal<'_>, Rejection> {
    // Only a record of another type can be a reversal: events are not looked at twice.
    match refusal.reason == Reason::UnknownType && is_reversal(value) {
        true => decode(value),
        false => Err(refusal),
    }
}

/// Whether a record says that it is a reversal.
pub(super) fn is_reversal(value: &[u8]) -> bool {
    let top = precise::object(value).ok();
    let named = top.and_then(|top| top.text(TYPE).ok().flatten());
    named.as_deref() == Some(REVERSAL_TYPE)
}

/// Decodes a reversal.
///
/// # Errors
/// Why it is none. The same bytes are always refused with the same reason.
pub fn decode(value: &[u8]) -> Result<Reversal<'_>, Rejection> {
    if value.len() > EVENT_BYTES_MAX {
        return Err(too_large(value));
    }
    let top = precise::object(value)?;
    known(
        top.text("specversion")?.as_deref(),
        "specversion",
        SPEC_VERSION,
    )?;
    known(top.text(TYPE)?.as_deref(), TYPE, REVERSAL_TYPE)?;
    let data = top.object(DATA)?;
    Ok(Reversal {
        source: id(required(top.text("source")?, "source")?, "source", false)?,
        id: id(required(top.text("id")?, "id")?, "id", false)?,
        user: id(required(top.text(USER)?, USER)?, USER, false)?,
        original: Original {
            source: id(required(data.text(SOURCE)?, SOURCE)?, SOURCE, false)?,
            id: id(required(data.text(ID)?, ID)?, ID, false)?,
            time: time(&required(data.text(TIME)?, TIME)?, TIME)?,
        },
        reason: match data.text(REASON)? {
            Some(reason) if !reason.is_empty() => Some(short(reason, REASON, REASON_CHARS_MAX)?),
            _ => None,
        },
    })
}

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    #[serde(rename = "type")]
    event_type: &'static str,
    source: &'a str,
    id: &'a str,
    subject: &'a str,
    datacontenttype: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    source: &'a str,
    id: &'a str,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// The canonical form of a reversal.
pub fn encode(reversal: &Reversal<'_>) -> Bytes {
    let Original { source, id, time } = &reversal.original;
    let event = CloudEvent {
        specversion: SPEC_VERSION,
        event_type: REVERSAL_TYPE,
        source: &reversal.source,
        id: &reversal.id,
        subject: &reversal.user,
        datacontenttype: "application/json",
        data: Data {
            source,
            id,
            time: time.to_string(),
            reason: reversal.reason.as_deref(),
        },
    };
    let json = serde_json::to_vec(&event).expect("texts and a time can always be written as JSON");
    Bytes::from(json)
}
